//! Mastodon: an account's export (`outbox.json`, an `ActivityPub` collection with its attachments beside it), and lists of
//! statuses as the API gives them.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::archive::{Drafted, NO_IMAGE};
use super::draft::{Draft, Image, Images, id, is_read};
use super::html;

#[derive(Deserialize)]
struct Activity {
    #[serde(rename = "type")]
    kind: String,
    actor: Option<String>,
    /// A note, or the address of what is boosted.
    object: Value,
}

#[derive(Deserialize)]
struct Note {
    id: String,
    published: Option<String>,
    /// The warning that hides the content.
    summary: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    attachment: Vec<Attachment>,
    #[serde(default)]
    tag: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    media_type: Option<String>,
    url: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(rename = "type")]
    kind: Option<String>,
    name: Option<String>,
}

/// An item of an outbox.
pub(super) fn activity(text: &str, images: &Images) -> Result<Drafted, String> {
    let activity: Activity = serde_json::from_str(text).map_err(|error| format!("no activity: {error}"))?;
    if activity.kind != "Create" {
        return Ok(Drafted::Skipped("a boost"));
    }
    let note: Note = serde_json::from_value(activity.object).map_err(|error| format!("no note: {error}"))?;
    let shown = |media: &&Attachment| media.media_type.as_deref().is_some_and(is_read) && media.url.is_some();
    let Some(attachment) = note.attachment.iter().find(shown) else { return Ok(Drafted::Skipped(NO_IMAGE)) };
    let image = match attachment.url.as_deref().unwrap_or_default() {
        url if url.starts_with("http://") || url.starts_with("https://") => Image::Url(url.to_owned()),
        path => Image::File(images.clone(), attached(path, images)),
    };
    let tags = note.tag.iter().filter(|tag| tag.kind.as_deref() == Some("Hashtag"));
    let tags: Vec<String> = tags.filter_map(|tag| tag.name.clone()).collect();
    let text = written(note.summary.as_deref(), note.content.as_deref(), attachment.name.as_deref());
    let draft = Draft::new(image, &id(&note.id))
        .with([("source", activity.actor), ("published_at", note.published)])
        .with_text(&text, &tags);
    Ok(Drafted::Post(Box::new(draft)))
}

/// Below the archive's folder. Servers that keep media in a bucket write its name before `media_attachments`.
fn attached(path: &str, images: &Images) -> PathBuf {
    let path = path.trim_start_matches('/');
    if images.holds(Path::new(path)) {
        return path.into();
    }
    path.find("media_attachments/").and_then(|at| path.get(at..)).unwrap_or(path).into()
}

#[derive(Deserialize)]
struct Status {
    id: String,
    uri: Option<String>,
    created_at: Option<String>,
    #[serde(default)]
    spoiler_text: Option<String>,
    #[serde(default)]
    content: Option<String>,
    reblog: Option<serde::de::IgnoredAny>,
    account: Option<Account>,
    #[serde(default)]
    media_attachments: Vec<Media>,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
struct Account {
    acct: Option<String>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct Media {
    #[serde(rename = "type")]
    kind: Option<String>,
    url: Option<String>,
    description: Option<String>,
}

/// A status of the API.
pub(super) fn status(text: &str) -> Result<Drafted, String> {
    let status: Status = serde_json::from_str(text).map_err(|error| format!("no status: {error}"))?;
    if status.reblog.is_some() {
        return Ok(Drafted::Skipped("a boost"));
    }
    let shown = |media: &Media| {
        let url = media.url.clone().filter(|_| media.kind.as_deref() == Some("image"))?;
        Some((url, media.description.clone()))
    };
    let Some((url, described)) = status.media_attachments.iter().find_map(shown) else {
        return Ok(Drafted::Skipped(NO_IMAGE));
    };
    let tags: Vec<String> = status.tags.into_iter().filter_map(|tag| tag.name).collect();
    let text = written(status.spoiler_text.as_deref(), status.content.as_deref(), described.as_deref());
    let source = status.account.and_then(|account| account.url.or(account.acct));
    let draft = Draft::new(Image::Url(url), &id(&status.uri.unwrap_or(status.id)))
        .with([("source", source), ("published_at", status.created_at)])
        .with_text(&text, &tags);
    Ok(Drafted::Post(Box::new(draft)))
}

/// The warning and the text as readers see them; what describes the picture only where nothing else is written.
fn written(warning: Option<&str>, content: Option<&str>, described: Option<&str>) -> String {
    let lines = [warning, content].into_iter().flatten().map(html::text).filter(|text| !text.is_empty());
    let text = lines.collect::<Vec<_>>().join("\n");
    if text.is_empty() { described.unwrap_or_default().trim().to_owned() } else { text }
}
