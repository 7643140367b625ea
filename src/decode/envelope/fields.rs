//! The fields of a post, each by its type and within its limit; what is wrong is named by its path.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::Settings;
use crate::decode::json::{self, Raw, bad_field};
use crate::error::{Reason, Refusal};
use crate::message::{Metadata, Object};

/// How far a score may lie outside of [0, 1]: detectors compute in single precision.
const SCORE_SLACK: f64 = 1e-3;
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct RawMetadata<'a> {
    #[serde(borrow)]
    caption: Raw<'a>,
    #[serde(borrow)]
    scene: Raw<'a>,
    #[serde(borrow)]
    objects: Raw<'a>,
    #[serde(borrow)]
    tags: Raw<'a>,
    #[serde(borrow)]
    place: Raw<'a>,
    #[serde(borrow)]
    taken_at: Raw<'a>,
}

#[derive(Deserialize)]
struct RawObject<'a> {
    #[serde(borrow)]
    label: Raw<'a>,
    #[serde(borrow)]
    score: Raw<'a>,
}

/// The standard alphabet, padded or not, without white space.
pub(super) fn base64(data: &RawValue, path: &str, settings: &Settings) -> Result<Bytes, Refusal> {
    let data = &*json::string(data, path)?;
    if data.is_empty() {
        return Err(Refusal::new(Reason::NoImage, format!("{path} is empty")));
    }
    // Before anything is allocated for it: four characters make three bytes.
    check_image_bytes(data.trim_end_matches('=').len() / 4 * 3, settings)?;
    let decoded = BASE64.decode(data);
    let bytes = decoded.map_err(|error| Refusal::new(Reason::BadBase64, format!("{path}: {error}")))?;
    check_image_bytes(bytes.len(), settings)?;
    Ok(bytes.into())
}

pub(super) fn check_image_bytes(bytes: usize, settings: &Settings) -> Result<(), Refusal> {
    if bytes > settings.image_bytes {
        let detail = format!("the image has {bytes} bytes, the limit is {}", settings.image_bytes);
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    Ok(())
}

pub(super) fn metadata(raw: &str, settings: &Settings) -> Result<Metadata, Refusal> {
    let raw: RawMetadata = json::object(raw, "metadata")?;
    let text = |raw, path| text_field(raw, path, settings).map(Option::unwrap_or_default);
    let metadata = Metadata {
        caption: text(raw.caption, "metadata.caption")?,
        scene: text(raw.scene, "metadata.scene")?,
        objects: list_field(raw.objects, "metadata.objects", settings, object)?,
        tags: list_field(raw.tags, "metadata.tags", settings, string)?,
        place: text(raw.place, "metadata.place")?,
        taken_at: text(raw.taken_at, "metadata.taken_at")?,
    };
    check_lists(&metadata, ["metadata.tags", "metadata.objects"], settings)?;
    Ok(metadata)
}

/// Each list becomes one text.
pub(super) fn check_lists(metadata: &Metadata, [tags, objects]: [&str; 2], settings: &Settings) -> Result<(), Refusal> {
    let chars = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).sum();
    check_chars(chars(&mut metadata.tags.iter()), tags, settings)?;
    let mut labels = metadata.objects.iter().map(|object| &object.label);
    check_chars(chars(&mut labels), objects, settings)
}

pub(super) fn string(raw: &RawValue, path: &str, settings: &Settings) -> Result<String, Refusal> {
    let text = json::string(raw, path)?;
    check_text(&text, path, settings)?;
    Ok(text.into_owned())
}

pub(super) fn object(raw: &RawValue, path: &str, settings: &Settings) -> Result<Object, Refusal> {
    let raw: RawObject = json::object(raw.get(), path)?;
    let label = text_field(raw.label, &format!("{path}.label"), settings)?;
    let label = label.ok_or_else(|| bad_field(format!("{path}.label is missing")))?;
    let path = format!("{path}.score");
    let score = optional(raw.score, &path, json::number)?.unwrap_or(1.0);
    if !(-SCORE_SLACK..=1.0 + SCORE_SLACK).contains(&score) {
        return Err(bad_field(format!("{path} must be in [0, 1], it is {score}")));
    }
    Ok(Object { label, score: score.clamp(0.0, 1.0) })
}

pub(super) fn optional<'a, T>(
    raw: Raw<'a>,
    path: &str,
    read: impl Fn(&'a RawValue, &str) -> Result<T, Refusal>,
) -> Result<Option<T>, Refusal> {
    raw.map(|raw| read(raw, path)).transpose()
}

pub(super) fn list_field<T>(
    raw: Raw<'_>,
    path: &str,
    settings: &Settings,
    read: impl Fn(&RawValue, &str, &Settings) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let items = json::list(raw, path, settings.tags)?;
    items.iter().enumerate().map(|(index, item)| read(item, &format!("{path}[{index}]"), settings)).collect()
}

pub(super) fn text_field(raw: Raw<'_>, path: &str, settings: &Settings) -> Result<Option<String>, Refusal> {
    raw.map(|raw| string(raw, path, settings)).transpose()
}

pub(super) fn check_text(text: &str, path: &str, settings: &Settings) -> Result<(), Refusal> {
    // A character is a byte or more, so most texts need no counting.
    if text.len() > settings.text_chars {
        check_chars(text.chars().count(), path, settings)?;
    }
    Ok(())
}

pub(super) fn check_chars(chars: usize, path: &str, settings: &Settings) -> Result<(), Refusal> {
    if chars > settings.text_chars {
        let detail = format!("{path} has {chars} characters, the limit is {}", settings.text_chars);
        return Err(Refusal::new(Reason::TextTooLong, detail));
    }
    Ok(())
}
