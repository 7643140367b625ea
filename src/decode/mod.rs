//! The decode stage: a record to a post ready for the model, or to the outcome that it ends in right here.
//!
//! ```text
//! record ── envelope ── pixels ── text ── tokens ──► Prepared
//!    │          │          │                 │
//!    └ tombstone└──────────┴─────────────────┴─────► Settled: tombstone or dead letter
//! ```
//!
//! Pure computation on the caller's thread: no I/O, no state between records (what a value is written by is found before, by
//! [`registry`], whose stage stands in front). Whatever is in a record, one call takes
//! memory of a few times `image_pixels`, and a panic in a codec costs that record only. How a codec that takes longer than
//! `timeout_ms` costs that record only, [`Watch`] says; so a decode is two steps, of which the second may take long.

mod envelope;
mod frames;
#[cfg(test)]
mod goldens;
mod jpeg;
mod json;
mod pixels;
pub mod registry;
mod resample;
#[cfg(test)]
mod tests;
mod text;
mod thumbnail;
mod tokens;
mod watch;
mod webp;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use serde::Deserialize;

use crate::cache::Cache;
use crate::error::{Reason, Refusal, Stage};
use crate::message::{Digest, Facts, Flag, ModelInput, Outcome, Picture, Post, Prepared, Record, Verdict};
use crate::metrics::Metrics;

pub use envelope::mapping::Mapping;
pub use registry::Registry;
pub use watch::Watch;

/// The parser of JSON gives up at this depth by itself.
const MAX_JSON_DEPTH: usize = 128;
/// A post with all its known fields is nested this deep: post, metadata, objects, object.
const MIN_JSON_DEPTH: usize = 4;
/// A codec that is busy for longer does not come back.
const MOST_TIMEOUT_MS: u64 = 3_600_000;

/// Limits of what is decoded. A record beyond one of them becomes a dead letter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Threads that decode; 0 is one for each core.
    pub threads: usize,
    /// Bytes of the largest encoded image.
    pub image_bytes: usize,
    /// Pixels (width x height) of the largest image, by its header.
    pub image_pixels: u64,
    /// Pixels of the longest side of an image.
    pub image_side: u32,
    /// Frames of an animation.
    pub frames: usize,
    /// Milliseconds that decoding a record may take.
    pub timeout_ms: u64,
    /// Characters of each text of a post; all its tags together are one, and so are the labels of its objects.
    pub text_chars: usize,
    /// Items of `metadata.tags`, and of `metadata.objects`.
    pub tags: usize,
    /// How deep the JSON of a post may be nested.
    pub json_depth: usize,
    /// Headers of a record.
    pub headers: usize,
    /// Where the fields stand in a feed's own JSON; null reads JSON as documented.
    pub mapping: Option<Mapping>,
    /// Where the schemas are that values are written by; null reads none of them.
    pub registry: Option<registry::Settings>,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        let at_least_one = [
            ("image_bytes", self.image_bytes == 0),
            ("image_pixels", self.image_pixels == 0),
            ("image_side", self.image_side == 0),
            ("frames", self.frames == 0),
            ("timeout_ms", self.timeout_ms == 0),
            ("text_chars", self.text_chars == 0),
            ("tags", self.tags == 0),
            ("headers", self.headers == 0),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, is_zero)| *is_zero) {
            return Err(format!("decode.{key} is 0, which refuses every post; set it to at least 1"));
        }
        if self.image_side > 65_535 {
            let side = self.image_side;
            return Err(format!("decode.image_side is {side}; set it to at most 65535, the longest side of a JPEG"));
        }
        if self.image_pixels > 1 << 30 {
            let pixels = self.image_pixels;
            return Err(format!("decode.image_pixels is {pixels}; set it to at most {}", 1 << 30));
        }
        if self.timeout_ms > MOST_TIMEOUT_MS {
            let timeout = self.timeout_ms;
            return Err(format!("decode.timeout_ms is {timeout}; set it to at most {MOST_TIMEOUT_MS}, an hour"));
        }
        if !(MIN_JSON_DEPTH..MAX_JSON_DEPTH).contains(&self.json_depth) {
            let (depth, least, most) = (self.json_depth, MIN_JSON_DEPTH, MAX_JSON_DEPTH - 1);
            return Err(format!("decode.json_depth is {depth}; set it between {least} and {most}"));
        }
        self.registry.as_ref().map_or(Ok(()), registry::Settings::validate)
    }
}

/// What a bundle demands of decoding.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Pixels of a row of the model's image.
    pub width: u32,
    /// Rows of the model's image.
    pub height: u32,
    /// Share of the shorter side that is seen, in (0, 1].
    pub crop: f64,
    /// Tokens of a field, special ones included.
    pub max_tokens: usize,
    /// The metadata fields, in the order of the model's input.
    pub fields: Vec<FieldSpec>,
    /// Path of `tokenizer.json`.
    pub tokenizer: PathBuf,
}

/// A metadata field of a bundle.
#[derive(Debug, Clone)]
pub struct FieldSpec {
    /// Its name, as in `relevance` and in flags.
    pub name: Arc<str>,
    /// Templates of its text.
    pub parts: Vec<String>,
}

/// A bundle demands what cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// An image without pixels.
    #[error("image size {width} x {height}: both must be at least 1")]
    ImageSize {
        /// `image.width`.
        width: u32,
        /// `image.height`.
        height: u32,
    },
    /// A crop outside of its range.
    #[error("image crop {0}: it must be above 0 and at most 1")]
    Crop(f64),
    /// A template that names no value, or is no template.
    #[error("field {field}: part {part:?}: {problem}")]
    Template {
        /// The field.
        field: Arc<str>,
        /// The template as given.
        part: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tokenizer that does not load, or leaves no room for text.
    #[error("tokenizer {}: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// How decoding ended.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "taken apart at once, never queued as it is")]
pub enum Decoded {
    /// On to the model.
    Prepared(Box<Prepared>),
    /// A tombstone or a dead letter: on to the publisher.
    Settled(Outcome),
}

impl Decoded {
    /// The record it is of.
    pub fn record(&self) -> &Record {
        match self {
            Self::Prepared(prepared) => &prepared.record,
            Self::Settled(outcome) => &outcome.record,
        }
    }
}

/// Decodes records for one bundle. Share it among threads by `Arc`.
#[derive(Debug)]
pub struct Decoder {
    settings: Settings,
    spec: Spec,
    /// The templates of each field, in the order of the spec's.
    templates: Vec<Vec<text::Template>>,
    tokens: tokens::Encoder,
    /// Of images that need no decoding.
    cache: Option<Arc<Cache>>,
    /// Of what values are written by.
    registry: Option<Arc<Registry>>,
}

impl Decoder {
    /// # Errors
    /// When the bundle's demands contradict themselves, or its tokenizer does not load.
    pub fn new(settings: Settings, spec: Spec) -> Result<Self, SpecError> {
        let (width, height) = (spec.width, spec.height);
        if width == 0 || height == 0 {
            return Err(SpecError::ImageSize { width, height });
        }
        if !(spec.crop > 0.0 && spec.crop <= 1.0) {
            return Err(SpecError::Crop(spec.crop));
        }
        let templates = spec.fields.iter().map(parse_parts).collect::<Result<_, _>>()?;
        let tokens = tokens::Encoder::load(&spec.tokenizer, spec.max_tokens)
            .map_err(|problem| SpecError::Tokenizer { path: spec.tokenizer.clone(), problem })?;
        Ok(Self { settings, spec, templates, tokens, cache: None, registry: None })
    }

    /// From now on images whose embedding the cache has are not decoded.
    #[must_use]
    pub fn with_cache(self, cache: Option<Arc<Cache>>) -> Self {
        Self { cache, ..self }
    }

    /// From now on values are read by the schemas of this registry: `registry::Stage` finds them before decoding.
    #[must_use]
    pub fn with_registry(self, registry: Option<Arc<Registry>>) -> Self {
        Self { registry, ..self }
    }

    /// What the values of records may be written by.
    pub fn registry(&self) -> Option<&Arc<Registry>> {
        self.registry.as_ref()
    }

    /// Token ids of the empty text, which the model may have to read where a post brings no text.
    pub fn empty_text(&self) -> &[u32] {
        &self.tokens.empty_text
    }

    /// Decodes one record, however long that takes. It never panics, and the record is in what it returns, whole.
    pub fn decode(&self, record: Record, metrics: &Metrics) -> Decoded {
        match self.read(record, metrics) {
            Ok((record, post)) => self.prepare(post, metrics).end(record),
            Err(outcome) => Decoded::Settled(outcome),
        }
    }

    /// The URL of the image of a post that is whole but for it, or why the post is refused; `None` where the record is no
    /// post with an image by URL.
    pub fn image_url(&self, record: &Record) -> Option<Result<String, Refusal>> {
        let may_have_url = |value: &&bytes::Bytes| match &self.settings.mapping {
            Some(mapping) => mapping.has_urls(),
            None => record.schema.is_some() || may_have_url(value),
        };
        let value = record.value.as_ref().filter(may_have_url)?;
        contained(|| envelope::image_url(record, value, &self.settings)).ok().flatten()
    }

    /// The first step: the post in a record, in time that is linear in its bytes; or how it ends without one.
    #[expect(clippy::result_large_err, reason = "taken apart at once, never queued as it is")]
    pub fn read(&self, record: Record, metrics: &Metrics) -> Result<(Record, Post), Outcome> {
        let Some(value) = record.value.clone() else {
            return Err(Outcome { record, verdict: Verdict::Tombstone });
        };
        let timer = metrics.stage_seconds.with_label_values(&["envelope"]).start_timer();
        match refusing_panics(metrics, || envelope::read(&record, &value, &self.settings)) {
            Ok(post) => {
                timer.observe_duration();
                Ok((record, post))
            }
            Err(refusal) => Err(refused(record, refusal)),
        }
    }

    /// The second step: what the model reads of a post.
    pub fn prepare(&self, post: Post, metrics: &Metrics) -> Ready {
        Ready(refusing_panics(metrics, || self.ready(post, metrics)))
    }

    /// A small JPEG of what the model sees of an image, its longer side of `side` pixels; `None` of what cannot be decoded.
    pub fn thumbnail(&self, image: &[u8], side: u32) -> Option<Vec<u8>> {
        contained(|| thumbnail::of(image, side, &self.settings, &self.spec)).ok().flatten()
    }

    /// Whether the bundle's tokenizer has no word for most of a text.
    pub fn is_mostly_unknown(&self, tokens: &[u32]) -> bool {
        self.tokens.is_mostly_unknown(tokens)
    }

    /// A watch over decode threads, by the limit of the second step.
    pub fn watch<T>(&self, most_abandoned: usize) -> Watch<T> {
        Watch::new(Duration::from_millis(self.settings.timeout_ms), most_abandoned)
    }

    /// What a post ends with whose second step took too long.
    pub fn too_late(&self) -> Ready {
        let detail = format!("decoding took more than {} ms (decode.timeout_ms)", self.settings.timeout_ms);
        Ready(Err(Refusal::new(Reason::DecodeTimeout, detail)))
    }

    fn ready(&self, mut post: Post, metrics: &Metrics) -> Result<Parts, Refusal> {
        let timed = |stage| metrics.stage_seconds.with_label_values(&[stage]).start_timer();

        let key = self.cache.as_ref().map(|cache| cache.image_key(&post.image));
        let picture = if let Some(known) = self.known(key, metrics) {
            known
        } else {
            let pixels_timer = timed("pixels");
            let rgb = pixels::read(&post.image, &self.settings, &self.spec)?;
            pixels_timer.observe_duration();
            Picture::Pixels { rgb, key }
        };

        let _tokens_timer = timed("tokens");
        let values = text::Values::new(&post.metadata);
        let mut flags = Vec::new();
        let fields = self.fields(&values, &mut flags)?;
        post.facts.tags = values.into_tags();
        Ok(Parts { facts: post.facts, input: ModelInput { picture, fields }, flags })
    }

    fn known(&self, key: Option<Digest>, metrics: &Metrics) -> Option<Picture> {
        let (cache, key) = (self.cache.as_ref()?, key?);
        Some(Picture::Known { embedding: cache.image(&key, metrics)?, key })
    }

    /// The token ids of each field, and remarks on them.
    fn fields(&self, values: &text::Values, flags: &mut Vec<Flag>) -> Result<Vec<Option<Vec<u32>>>, Refusal> {
        let (mut fields, mut truncated) = (Vec::new(), false);
        for (field, templates) in self.spec.fields.iter().zip(&self.templates) {
            let tokens = values.field(templates).map(|text| self.tokens.encode(&text)).transpose();
            let tokens = tokens.map_err(|error| {
                Refusal::new(Reason::BadField, format!("the text of the field {} has no tokens: {error}", field.name))
            })?;
            // A tokenizer without special tokens may know no token of a text; the model takes no empty row.
            let tokens = tokens.filter(|tokens| !tokens.ids.is_empty());
            truncated |= tokens.as_ref().is_some_and(|tokens| tokens.truncated);
            fields.push(tokens.map(|tokens| tokens.ids));
        }
        flags.extend(truncated.then_some(Flag::TextTruncated));
        Ok(fields)
    }
}

/// Whether a JSON text may have a field `url`, spelt out or with a letter of it escaped. Spares a post that brings its image a second reading.
fn may_have_url(json: &[u8]) -> bool {
    static NAME: LazyLock<regex::bytes::Regex> = LazyLock::new(|| {
        #[expect(clippy::expect_used, reason = "a literal")]
        regex::bytes::Regex::new(r#"(?i-u)"url"|\\u00(75|72|6c)"#).expect("a valid pattern")
    });
    NAME.is_match(json)
}

/// A [`Prepared`] without the record, which stays outside of what may panic or take long.
struct Parts {
    facts: Facts,
    input: ModelInput,
    flags: Vec<Flag>,
}

/// A post ready for the model, or why it will not be.
pub struct Ready(Result<Parts, Refusal>);

impl Ready {
    /// Ends the record that the post came in.
    pub fn end(self, mut record: Record) -> Decoded {
        match self.0 {
            Ok(Parts { facts, input, flags }) => {
                record.fetched = None;
                Decoded::Prepared(Box::new(Prepared { record, facts, input, flags }))
            }
            Err(refusal) => Decoded::Settled(refused(record, refusal)),
        }
    }
}

/// A dead letter. As with a prepared post, the next image may be fetched in the place of its own.
fn refused(mut record: Record, refusal: Refusal) -> Outcome {
    record.fetched = None;
    Outcome::refused(record, Stage::Decode, refusal)
}

fn parse_parts(field: &FieldSpec) -> Result<Vec<text::Template>, SpecError> {
    let parse = |part: &String| {
        text::Template::parse(part).map_err(|problem| SpecError::Template {
            field: Arc::clone(&field.name),
            part: part.clone(),
            problem,
        })
    };
    field.parts.iter().map(parse).collect()
}

/// Runs `work`; a panic in it becomes its message. Nothing that `work` borrows may be left half-changed by a panic: here
/// it only reads.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| panic_message(payload.as_ref()))
}

/// Runs `work`; a panic in it becomes a refusal, and is counted.
fn refusing_panics<T>(metrics: &Metrics, work: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    contained(work).unwrap_or_else(|message| {
        metrics.panics.inc();
        Err(Refusal::new(Reason::CodecPanicked, message))
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("a panic without a message").to_owned()
}
