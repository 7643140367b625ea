//! A record to the post in it. Three encodings, told apart by the `content-type` header (its letter case and anything
//! after `;` do not matter; without one it is JSON): a JSON object, a `CloudEvent` that holds the post or its image ([`event`]), or
//! the image itself with its attributes as headers. What is written by a schema of a registry becomes JSON first.
//!
//! A feed's own JSON is read where the settings say its fields stand ([`mapping`]).
//!
//! What is refused is named by its path in the post. `tags` of the post's facts stay empty here: they are cleaned texts.

mod event;
mod fields;
mod mapped;
pub(super) mod mapping;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use self::fields::{base64, check_image_bytes, check_text, metadata, optional, text_field};
use super::Settings;
use super::json::{self, Raw, bad_field};
use crate::error::{Reason, Refusal};
use crate::message::{Facts, Metadata, Post, Record};

const JSON: &str = "application/json";
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "image/gif"];
const MAX_ID_BYTES: usize = 256;
/// The first second of the year 0: RFC 3339 has no earlier years.
const YEAR_0: i64 = -62_167_219_200;
#[derive(Deserialize)]
struct RawPost<'a> {
    #[serde(borrow)]
    id: Raw<'a>,
    #[serde(borrow)]
    source: Raw<'a>,
    #[serde(borrow)]
    published_at: Raw<'a>,
    #[serde(borrow)]
    image: Raw<'a>,
    #[serde(borrow)]
    metadata: Raw<'a>,
}

#[derive(Deserialize)]
struct RawImage<'a> {
    #[serde(borrow)]
    data: Raw<'a>,
    #[serde(borrow)]
    url: Raw<'a>,
}

/// A text that is told beside a post. What is wrong with it counts only where it is needed.
type Beside<'a> = Result<Option<Cow<'a, str>>, Refusal>;

/// What is told of a post beside it, by `CloudEvents`' attributes. What the post says itself goes first.
struct Attributes<'a> {
    id: Beside<'a>,
    source: Beside<'a>,
    time: Beside<'a>,
}

impl<'a> Attributes<'a> {
    /// Of the binary mode.
    fn of_headers(record: &'a Record) -> Self {
        Self {
            id: header_text(record, "ce_id"),
            source: header_text(record, "ce_source"),
            time: header_text(record, "ce_time"),
        }
    }
}

/// What the post says itself, else what is told beside it.
fn or<'a>(own: Option<Cow<'a, str>>, beside: Beside<'a>) -> Beside<'a> {
    own.map_or(beside, |own| Ok(Some(own)))
}

fn source(own: Option<String>, beside: Beside<'_>, settings: &Settings) -> Result<Option<String>, Refusal> {
    let source = if own.is_some() {
        own
    } else {
        let told = beside?;
        told.as_deref().map_or(Ok(()), |told| check_text(told, "ce_source", settings))?;
        told.map(Cow::into_owned)
    };
    Ok(source.filter(|source| !source.is_empty()))
}

/// The post in a record's value. An image by URL is the one that was fetched for the record.
pub(super) fn read(record: &Record, value: &Bytes, settings: &Settings) -> Result<Post, Refusal> {
    let fetched = |_: &str| record.fetched.as_ref().map(|fetched| fetched.image.clone());
    read_with(record, value, settings, fetched)
}

/// The URL of the post's image, once all else of the post has been read; `None` where it has none, or cannot be read before
/// that.
pub(super) fn image_url(record: &Record, value: &Bytes, settings: &Settings) -> Option<Result<String, Refusal>> {
    let mut found = None;
    let note = |url: &str| {
        found = Some(url.to_owned());
        Some(Bytes::new())
    };
    let post = read_with(record, value, settings, note);
    found.map(|url| post.map(|_| url))
}

fn read_with(
    record: &Record,
    value: &Bytes,
    settings: &Settings,
    by_url: impl FnOnce(&str) -> Option<Bytes>,
) -> Result<Post, Refusal> {
    if value.is_empty() {
        return Err(Refusal::new(Reason::Empty, "the value is 0 bytes long"));
    }
    if record.headers.len() > settings.headers {
        let detail = format!("{} headers, the limit is {}", record.headers.len(), settings.headers);
        return Err(Refusal::new(Reason::TooManyHeaders, detail));
    }
    if let Some(schema) = &record.schema {
        let json = schema.json(value)?;
        return read_json(record, &json, Attributes::of_headers(record), settings, by_url);
    }
    match media_type(record).as_str() {
        JSON => read_json(record, value, Attributes::of_headers(record), settings, by_url),
        "application/cloudevents+json" => event::read(record, value, settings, by_url),
        kind if IMAGES.contains(&kind) => {
            let metadata = header_metadata(record, settings)?;
            of_image(record, value.clone(), Attributes::of_headers(record), metadata, settings)
        }
        "application/cloudevents-batch+json" => Err(unsupported(
            "content-type is application/cloudevents-batch+json; a record is one post: send each event of the batch as a record of \
             its own, as application/cloudevents+json",
        )),
        given => Err(unsupported(format!(
            "content-type is {given}; read are application/json, application/cloudevents+json, image/jpeg, image/png, image/webp \
             and image/gif"
        ))),
    }
}

/// The `content-type` in small letters, without what comes after `;`.
pub(super) fn media_type(record: &Record) -> String {
    record.header("content-type").map_or_else(|| JSON.to_owned(), |given| media(&String::from_utf8_lossy(given)))
}

fn media(given: &str) -> String {
    given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn unsupported(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::UnsupportedContentType, detail)
}

fn read_json(
    record: &Record,
    value: &[u8],
    beside: Attributes<'_>,
    settings: &Settings,
    by_url: impl FnOnce(&str) -> Option<Bytes>,
) -> Result<Post, Refusal> {
    of_json(record, whole_object(value, settings)?, beside, settings, by_url)
}

/// A text that is a JSON object: whether it is one at all is settled first, so that later faults are those of a field.
fn whole_object<'a>(value: &'a [u8], settings: &Settings) -> Result<&'a str, Refusal> {
    if value.first() == Some(&0) {
        let detail =
            "the value is not JSON: it begins with a byte 0, as values by a schema registry do; set decode.registry";
        return Err(Refusal::new(Reason::NotJson, detail));
    }
    let text = json::text(value, "the value", settings)?;
    let whole: &RawValue = serde_json::from_str(text)
        .map_err(|error| Refusal::new(Reason::NotJson, format!("the value is not JSON: {error}")))?;
    if !whole.get().starts_with('{') {
        return Err(Refusal::new(Reason::NotJson, "the value is JSON, but not an object"));
    }
    Ok(whole.get())
}

/// The post that a JSON object is.
fn of_json(
    record: &Record,
    json: &str,
    beside: Attributes<'_>,
    settings: &Settings,
    by_url: impl FnOnce(&str) -> Option<Bytes>,
) -> Result<Post, Refusal> {
    if let Some(mapping) = &settings.mapping {
        return mapped::read(record, json, beside, mapping, settings, by_url);
    }
    let post: RawPost = json::object(json, "the post")?;
    let source = source(text_field(post.source, "source", settings)?, beside.source, settings)?;
    Ok(Post {
        facts: Facts {
            id: id(or(optional(post.id, "id", json::string)?, beside.id)?, record)?,
            source,
            published_at: published_at(
                or(optional(post.published_at, "published_at", json::string)?, beside.time)?,
                record,
            )?,
            tags: Vec::new(),
        },
        image: image(post.image, settings, by_url)?,
        metadata: post.metadata.map_or_else(|| Ok(Metadata::default()), |raw| metadata(raw.get(), settings))?,
    })
}

/// The post that an image is, with what is told beside it.
fn of_image(
    record: &Record,
    image: Bytes,
    beside: Attributes<'_>,
    metadata: Metadata,
    settings: &Settings,
) -> Result<Post, Refusal> {
    check_image_bytes(image.len(), settings)?;
    let source = source(None, beside.source, settings)?;
    Ok(Post {
        facts: Facts {
            id: id(beside.id?, record)?,
            source,
            published_at: published_at(beside.time?, record)?,
            tags: Vec::new(),
        },
        image,
        metadata,
    })
}

fn header_text<'a>(record: &'a Record, key: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(value) = record.header(key) else { return Ok(None) };
    str::from_utf8(value)
        .map(|text| Some(Cow::Borrowed(text)))
        .map_err(|_| bad_field(format!("the header {key} must be UTF-8")))
}

fn header_metadata(record: &Record, settings: &Settings) -> Result<Metadata, Refusal> {
    let Some(value) = record.header("metadata") else { return Ok(Metadata::default()) };
    metadata_text(value, "the header metadata", settings)
}

/// The JSON object `metadata`, beside an image.
fn metadata_text(text: &[u8], what: &str, settings: &Settings) -> Result<Metadata, Refusal> {
    let text = json::text(text, what, settings)?;
    let whole: Option<&RawValue> = serde_json::from_str(text)
        .map_err(|error| Refusal::new(Reason::NotJson, format!("{what} is not JSON: {error}")))?;
    whole.map_or_else(|| Ok(Metadata::default()), |raw| metadata(raw.get(), settings))
}

/// The id as given, else the record's key where that is a text, else where the record stands.
fn id(given: Option<Cow<'_, str>>, record: &Record) -> Result<String, Refusal> {
    let key = || record.key.as_ref().and_then(|key| str::from_utf8(key).ok()).filter(|key| !key.is_empty());
    let id = given.map(Cow::into_owned).or_else(|| key().map(str::to_owned));
    let id = id.unwrap_or_else(|| record.position.origin.to_string());
    if id.is_empty() {
        return Err(bad_field("id is empty"));
    }
    if id.len() > MAX_ID_BYTES {
        return Err(bad_field(format!(
            "id (or the key in its place) has {} bytes, the limit is {MAX_ID_BYTES}",
            id.len()
        )));
    }
    Ok(id)
}

fn published_at(given: Option<Cow<'_, str>>, record: &Record) -> Result<Option<Timestamp>, Refusal> {
    let Some(given) = given else { return Ok(record.timestamp) };
    let wrong = |why: &dyn fmt::Display| {
        bad_field(format!("published_at (ce_time) must be an RFC 3339 time such as 2026-11-23T09:00:00Z: {why}"))
    };
    let parsed: Timestamp = given.parse().map_err(|error| wrong(&error))?;
    if parsed.as_second() < YEAR_0 {
        return Err(wrong(&"it has no years before 0"));
    }
    Ok(Some(parsed))
}

fn image(raw: Raw<'_>, settings: &Settings, by_url: impl FnOnce(&str) -> Option<Bytes>) -> Result<Bytes, Refusal> {
    let missing = || Refusal::new(Reason::NoImage, "the post has no image: image.data (base64) is missing");
    let image: RawImage = json::object(raw.ok_or_else(missing)?.get(), "image")?;
    match (image.data, image.url) {
        (Some(_), Some(_)) => Err(bad_field("image must have one of data and url, not both")),
        (Some(data), None) => base64(data, "image.data", settings),
        (None, Some(url)) => fetched(url, "image.url", by_url),
        (None, None) => Err(missing()),
    }
}

fn fetched(url: &RawValue, path: &str, by_url: impl FnOnce(&str) -> Option<Bytes>) -> Result<Bytes, Refusal> {
    by_url(&json::string(url, path)?).ok_or_else(|| {
        let detail = format!(
            "{path}: images are not fetched unless fetch.hosts or fetch.root is set; or send the bytes as base64, or as the \
             record's value with the content-type image/jpeg, image/png, image/webp or image/gif"
        );
        Refusal::new(Reason::FetchRefused, detail)
    })
}

#[cfg(test)]
mod tests;
