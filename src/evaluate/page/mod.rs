//! `report.html`: one file that needs nothing else - no script, no font, no network - and holds the numbers of a [`Report`]
//! for people. Whatever comes from a post is escaped by `maud`; what is not escaped is this crate's own style sheet.

mod metadata;
mod posts;
mod scores;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::intervals::Measured;
use super::report::Report;

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn page(report: &Report) -> String {
    let title = format!("Evaluation of {} {}", report.model.bundle, report.model.version);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="referrer" content="no-referrer";
                // Nothing is loaded and nothing runs, should an escape ever fail.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p.quiet { bdi { (report.data) } ", " (report.made_at.strftime("%Y-%m-%d %H:%M UTC")) ", bundle " (digest(report)) }
                }
                main {
                    (scores::summary(report))
                    (contents())
                    (posts::taking_part(report))
                    (scores::by_label(report))
                    (scores::confidence(report))
                    (metadata::ablation(report))
                    (metadata::noise(report))
                    (metadata::relevance(report))
                    (posts::findings(report))
                    (posts::mistakes(report))
                }
                (footer())
            }
        }
    };
    page.into_string()
}

fn digest(report: &Report) -> String {
    report.model.digest.chars().take(12).collect()
}

const SECTIONS: [(&str, &str); 8] = [
    ("posts", "Posts"),
    ("labels", "Labels"),
    ("confidence", "Confidence"),
    ("ablation", "What metadata adds"),
    ("noise", "Wrong and missing metadata"),
    ("relevance", "Relevance"),
    ("data", "The data"),
    ("mistakes", "Worst mistakes"),
];

fn contents() -> Markup {
    html! {
        nav aria-label="Contents" {
            ul { @for (id, name) in SECTIONS { li { a href=(format!("#{id}")) { (name) } } } }
        }
    }
}

/// A section that the contents list.
fn section(id: &str, content: &Markup) -> Markup {
    let name = SECTIONS.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| name);
    html! { section id=(id) aria-label=(name) { h2 { (name) } (content) } }
}

fn footer() -> Markup {
    html! {
        footer {
            p {
                "Intervals hold the true value in 95 of 100 such samples: accuracy by Wilson, F1 by 1,000 resamples with a fixed seed. They tell "
                "of chance alone, not of posts that differ from those to come. This page holds texts and pictures of posts: treat it as you treat them."
            }
        }
    }
}

fn percent(value: f64) -> String {
    format!("{:.1}%", 100.0 * value)
}

fn three(value: f64) -> String {
    format!("{value:.3}")
}

/// A number that may not be defined.
fn three_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), three)
}

fn interval(measured: &Measured, write: fn(f64) -> String) -> Markup {
    html! { (write(measured.value)) " " small { (write(measured.low)) "–" (write(measured.high)) } }
}
