//! Bluesky: feeds as `app.bsky.feed.getAuthorFeed`, `getTimeline`, `getPosts` and `searchPosts` give them, and records as
//! `com.atproto.repo.listRecords` does.

use serde::Deserialize;
use serde_json::Value;

use super::archive::{Drafted, NO_IMAGE};
use super::draft::{Draft, Image, id};

#[derive(Deserialize)]
struct FeedItem {
    post: Box<serde_json::value::RawValue>,
    /// Why it is in the feed where its author did not put it there.
    reason: Option<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    #[serde(rename = "$type")]
    kind: String,
}

#[derive(Deserialize)]
struct PostView {
    uri: String,
    author: Option<Author>,
    record: Record,
    embed: Option<Value>,
}

#[derive(Deserialize)]
struct Author {
    handle: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(rename = "$type")]
    kind: Option<String>,
    created_at: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    facets: Vec<Facet>,
    #[serde(default)]
    tags: Vec<String>,
    embed: Option<Value>,
}

#[derive(Deserialize)]
struct Facet {
    #[serde(default)]
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    uri: String,
    value: Record,
}

/// An item of `feed`.
pub(super) fn feed_item(text: &str) -> Result<Drafted, String> {
    let item: FeedItem = serde_json::from_str(text).map_err(|error| format!("no item of a feed: {error}"))?;
    match item.reason {
        Some(reason) if reason.kind.ends_with("#reasonRepost") => Ok(Drafted::Skipped("a repost")),
        _ => post_view(item.post.get()),
    }
}

/// An item of `posts`.
pub(super) fn post_view(text: &str) -> Result<Drafted, String> {
    let view: PostView = serde_json::from_str(text).map_err(|error| format!("no view of a post: {error}"))?;
    let shown = view.embed.as_ref().and_then(first_image);
    let Some(image) = shown.and_then(|image| image.get("fullsize")).and_then(Value::as_str) else {
        return Ok(Drafted::Skipped(NO_IMAGE));
    };
    let source = view.author.and_then(|author| author.handle);
    Ok(drafted(image, &view.uri, source, view.record, shown))
}

/// An item of `records`, whose image is a blob of the author's repository: Bluesky's own servers give it out by its id.
pub(super) fn record(text: &str) -> Result<Drafted, String> {
    let Listed { uri, value } = serde_json::from_str(text).map_err(|error| format!("no record: {error}"))?;
    if value.kind.as_deref() != Some("app.bsky.feed.post") {
        return Ok(Drafted::Skipped("no post"));
    }
    let embed = value.embed.clone();
    let shown = embed.as_ref().and_then(first_image);
    let blob = shown.and_then(|image| image.pointer("/image/ref/$link")).and_then(Value::as_str);
    let author = uri.strip_prefix("at://").and_then(|rest| rest.split('/').next());
    let (Some(blob), Some(author)) = (blob, author) else { return Ok(Drafted::Skipped(NO_IMAGE)) };
    let is_plain = |id: &str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":.-_%".contains(&byte));
    if !is_plain(blob) || !is_plain(author) {
        return Err("the id of its image or its author is none".into());
    }
    let image = format!("https://cdn.bsky.app/img/feed_fullsize/plain/{author}/{blob}@jpeg");
    Ok(drafted(&image, &uri, Some(author.to_owned()), value, shown))
}

/// Of a post with images, or with images and a quoted post.
fn first_image(embed: &Value) -> Option<&Value> {
    embed.pointer("/images/0").or_else(|| embed.pointer("/media/images/0"))
}

fn drafted(image: &str, uri: &str, source: Option<String>, record: Record, shown: Option<&Value>) -> Drafted {
    let features = record.facets.into_iter().flat_map(|facet| facet.features);
    let tags: Vec<String> = features.filter_map(|feature| feature.tag).chain(record.tags).collect();
    let described = shown.and_then(|image| image.get("alt")).and_then(Value::as_str).unwrap_or_default();
    let text = if record.text.trim().is_empty() { described } else { &record.text };
    let draft = Draft::new(Image::Url(image.to_owned()), &id(uri))
        .with([("source", source), ("published_at", record.created_at)])
        .with_text(text.trim(), &tags);
    Drafted::Post(Box::new(draft))
}
