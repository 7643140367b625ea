//! The same as a file: one row a step, a tag, a post. What a spreadsheet would take for a formula is told as a text.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::store::query::posts::{Posts, rfc_3339};
use super::store::query::series::Series;
use super::store::query::tags::Tags;

type Table = Vec<Vec<String>>;

/// A table as a file to save.
pub fn answer(name: &str, table: Table) -> Response {
    let mut writer =
        csv::WriterBuilder::new().flexible(true).quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
    for row in table {
        // Writing to memory does not fail.
        let _ = writer.write_record(row);
    }
    let bytes = writer.into_inner().unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"sentistream-{name}.csv\"")),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, bytes).into_response()
}

/// A text of a stranger's: no formula.
fn text(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { format!("'{text}") } else { text.to_owned() }
}

fn number(number: Option<f64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// One row a step.
pub fn series(series: &Series) -> Table {
    let mut header: Vec<String> = ["at", "posts"].map(str::to_owned).to_vec();
    header.extend(series.labels.iter().map(|label| text(&format!("posts {}", label.label))));
    header.extend(["polarity", "polarity low", "polarity high", "confidence"].map(str::to_owned));
    header.extend(series.relevance.iter().map(|field| format!("relevance {}", field.field)));
    header.extend(series.missing.iter().map(|field| format!("missing {}", field.field)));
    let at = |values: &[Option<f64>], step: usize| number(values.get(step).copied().flatten());
    let rows = series.at.iter().enumerate().map(|(step, seconds)| {
        let mut row = vec![rfc_3339(seconds * 1000), series.posts.get(step).copied().unwrap_or_default().to_string()];
        row.extend(series.labels.iter().map(|label| label.posts.get(step).copied().unwrap_or_default().to_string()));
        let bands = &series.polarity;
        row.extend([&bands.mean, &bands.low, &bands.high, &series.confidence].map(|values| at(values, step)));
        row.extend(series.relevance.iter().map(|field| at(&field.mean, step)));
        row.extend(series.missing.iter().map(|field| at(&field.share, step)));
        row
    });
    std::iter::once(header).chain(rows).collect()
}

/// One row a tag.
pub fn tags(tags: &Tags) -> Table {
    let header = ["of", "tag", "posts", "polarity"].map(str::to_owned).to_vec();
    let sides = [("positive", &tags.positive), ("negative", &tags.negative)];
    let rows = sides.into_iter().flat_map(|(of, tags)| {
        tags.iter().map(move |tag| vec![of.to_owned(), text(&tag.tag), tag.posts.to_string(), number(tag.polarity)])
    });
    std::iter::once(header).chain(rows).collect()
}

/// One row a post.
pub fn posts(posts: &Posts) -> Table {
    let header = [
        "id",
        "source",
        "published_at",
        "scored_at",
        "label",
        "polarity",
        "confidence",
        "probabilities",
        "relevance",
        "effects",
        "tags",
        "flags",
        "bundle",
        "origin",
    ];
    let weights = |weights: &Map<String, Value>| {
        let told: Vec<_> = weights.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
        text(&told.join(", "))
    };
    let rows = posts.posts.iter().map(|post| {
        vec![
            text(&post.id),
            text(&post.source),
            post.published_at.clone(),
            post.scored_at.clone(),
            text(&post.label),
            post.polarity.to_string(),
            post.confidence.to_string(),
            weights(&post.probabilities),
            weights(&post.relevance),
            weights(&post.effects),
            text(&post.tags.join(", ")),
            text(&post.flags.join(", ")),
            text(&post.bundle),
            text(&post.origin),
        ]
    });
    std::iter::once(header.map(str::to_owned).to_vec()).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_told_as_a_text() {
        for formula in ["=1+1", "+1", "-1", "@x", "\tx"] {
            assert_eq!(text(formula), format!("'{formula}"));
        }
        assert_eq!(text("a-b=c"), "a-b=c");
    }
}
