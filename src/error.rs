//! Why a record is refused. The codes are stable: they travel in dead letters (`dlq.reason`) and in metric labels.

use std::fmt;

/// The closed list of reasons a record becomes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Reason {
    /// The value is 0 bytes long.
    Empty,
    /// The record, the JSON text or the image is larger than its configured limit.
    TooLarge,
    /// The `content-type` header names an encoding that no worker reads.
    UnsupportedContentType,
    /// The schema that the value is written by is unknown to the registry, or cannot be read by.
    SchemaUnknown,
    /// The value does not fit the schema that it says it is written by.
    SchemaMismatch,
    /// The value is not JSON in UTF-8, or not an object.
    NotJson,
    /// JSON nested deeper than the limit.
    TooDeep,
    /// A known field is missing, of the wrong type or out of its range; the detail names it.
    BadField,
    /// A text of the metadata is longer than its limit.
    TextTooLong,
    /// More headers than the limit.
    TooManyHeaders,
    /// A post without an image.
    NoImage,
    /// `image.data` is not base64.
    BadBase64,
    /// The image is given by URL, and fetching is off or that URL is not allowed.
    FetchRefused,
    /// The image's URL is allowed, but gave no image: not found, too slow, or failing for too long.
    FetchFailed,
    /// Not one of the image formats that are read.
    UnsupportedFormat,
    /// The image is truncated or broken.
    CorruptImage,
    /// The image's header promises more pixels than the limit.
    TooManyPixels,
    /// An animation of more frames than the limit.
    TooManyFrames,
    /// Decoding took longer than the limit.
    DecodeTimeout,
    /// The codec panicked; contained to this record.
    CodecPanicked,
    /// The model failed on this record alone, and works otherwise.
    InferenceFailed,
    /// The broker refused the result for its size.
    ResultTooLarge,
}

impl Reason {
    /// The code as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::UnsupportedContentType => "unsupported_content_type",
            Self::SchemaUnknown => "schema_unknown",
            Self::SchemaMismatch => "schema_mismatch",
            Self::NotJson => "not_json",
            Self::TooDeep => "too_deep",
            Self::BadField => "bad_field",
            Self::TextTooLong => "text_too_long",
            Self::TooManyHeaders => "too_many_headers",
            Self::NoImage => "no_image",
            Self::BadBase64 => "bad_base64",
            Self::FetchRefused => "fetch_refused",
            Self::FetchFailed => "fetch_failed",
            Self::UnsupportedFormat => "unsupported_format",
            Self::CorruptImage => "corrupt_image",
            Self::TooManyPixels => "too_many_pixels",
            Self::TooManyFrames => "too_many_frames",
            Self::DecodeTimeout => "decode_timeout",
            Self::CodecPanicked => "codec_panicked",
            Self::InferenceFailed => "inference_failed",
            Self::ResultTooLarge => "result_too_large",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The stage that refused a record (`dlq.stage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Fetching the image by its URL.
    Fetch,
    /// Envelope, image bytes and text: everything else before the model.
    Decode,
    /// The model's stages.
    Model,
    /// Publishing the outcome.
    Publish,
}

impl Stage {
    /// All of them, in the order of the flow.
    pub const ALL: &[Self] = &[Self::Fetch, Self::Decode, Self::Model, Self::Publish];

    /// Whether the stage refuses records for this reason.
    #[must_use]
    pub const fn refuses(self, reason: Reason) -> bool {
        use Reason::{BadField, FetchFailed, FetchRefused, InferenceFailed, NoImage, ResultTooLarge, TooLarge};
        match self {
            Self::Fetch => matches!(reason, FetchRefused | FetchFailed | TooLarge | NoImage),
            Self::Decode => !matches!(reason, FetchFailed | InferenceFailed | ResultTooLarge),
            Self::Model => matches!(reason, InferenceFailed),
            Self::Publish => matches!(reason, BadField | ResultTooLarge | InferenceFailed),
        }
    }

    /// The name as it travels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Decode => "decode",
            Self::Model => "model",
            Self::Publish => "publish",
        }
    }
}

/// A text as one line: what breaks lines, steers a terminal or turns the reading direction becomes a space.
#[must_use]
pub fn one_line(text: &str) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{200E}' | '\u{200F}')
    };
    text.chars().map(|c| if steers(c) { ' ' } else { c }).collect()
}

/// A permanent fault of one record: it becomes a dead letter and the stream goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The stable code.
    pub reason: Reason,
    /// One line for a person: what was found, and where.
    pub detail: String,
    /// How often it was tried; more than once only where the fault might have passed.
    pub attempts: u32,
}

impl Refusal {
    /// A refusal with its one-line detail (line breaks in `detail`, which may quote input, become spaces).
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let detail = one_line(&detail.into().chars().take(300).collect::<String>());
        Self { reason, detail, attempts: 1 }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_line_stays_one_and_steers_nothing() {
        assert_eq!(one_line("a\nb\r\x1b[2J\u{202E}c\u{2028}d é😀"), "a b  [2J c d é😀");
    }

    #[test]
    fn a_reason_is_asked_for_by_the_code_that_travels() {
        for reason in Reason::value_variants() {
            assert_eq!(Reason::from_str(reason.as_str(), false).as_ref(), Ok(reason));
        }
    }
}
