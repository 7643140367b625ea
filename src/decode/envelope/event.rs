//! A `CloudEvent` in structured mode: one JSON object with the event's attributes and its data, which is a post (or a feed's own
//! JSON, where a mapping says how to read it), or an image in base64 with the metadata in an extension attribute, as in the
//! binary mode's headers.

use bytes::Bytes;
use serde::Deserialize;

use super::fields::{base64, optional};
use super::{Attributes, IMAGES, JSON, media, metadata_text, of_image, of_json, unsupported, whole_object};
use crate::decode::Settings;
use crate::decode::json::{self, Raw, bad_field};
use crate::error::{Reason, Refusal};
use crate::message::{Metadata, Post, Record};

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    specversion: Raw<'a>,
    #[serde(borrow)]
    id: Raw<'a>,
    #[serde(borrow)]
    source: Raw<'a>,
    #[serde(borrow)]
    time: Raw<'a>,
    #[serde(borrow)]
    datacontenttype: Raw<'a>,
    #[serde(borrow)]
    data: Raw<'a>,
    #[serde(borrow)]
    data_base64: Raw<'a>,
    #[serde(borrow)]
    metadata: Raw<'a>,
}

/// The post in an event.
pub(super) fn read(
    record: &Record,
    value: &[u8],
    settings: &Settings,
    by_url: impl FnOnce(&str) -> Option<Bytes>,
) -> Result<Post, Refusal> {
    let event: RawEvent = json::object(whole_object(value, settings)?, "the event")?;
    if optional(event.specversion, "specversion", json::string)?.as_deref() != Some("1.0") {
        return Err(bad_field("specversion must be \"1.0\", the version of CloudEvents that is read"));
    }
    let beside = Attributes {
        id: Ok(optional(event.id, "id", json::string)?),
        source: Ok(optional(event.source, "source", json::string)?),
        time: Ok(optional(event.time, "time", json::string)?),
    };
    let kind = optional(event.datacontenttype, "datacontenttype", json::string)?;
    let kind = kind.map_or_else(|| JSON.to_owned(), |given| media(&given));
    let nothing = |field: &str| Refusal::new(Reason::NoImage, format!("the event has no {field}, so no image"));
    match (event.data, event.data_base64) {
        (Some(_), Some(_)) => Err(bad_field("an event must have one of data and data_base64, not both")),
        (data, None) if kind == JSON || kind.ends_with("+json") => {
            let data = data.ok_or_else(|| nothing("data"))?.get();
            if !data.starts_with('{') {
                return Err(bad_field("data must be an object"));
            }
            of_json(record, data, beside, settings, by_url)
        }
        (None, image) if IMAGES.contains(&kind.as_str()) => {
            let image = base64(image.ok_or_else(|| nothing("data_base64"))?, "data_base64", settings)?;
            let metadata = optional(event.metadata, "metadata", json::string)?;
            let metadata = metadata.map_or_else(
                || Ok(Metadata::default()),
                |text| metadata_text(text.as_bytes(), "the attribute metadata", settings),
            )?;
            of_image(record, image, beside, metadata, settings)
        }
        _ => Err(unsupported(format!(
            "the event's datacontenttype is {kind}; read are application/json as data, and image/jpeg, image/png, image/webp and \
             image/gif as data_base64"
        ))),
    }
}
