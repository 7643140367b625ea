//! What travels between the stages: a [`Record`] pulled from a topic (or read from a file), the [`Post`] in it, the
//! [`Prepared`] tensors, and the one [`Outcome`] every record ends in. No stage is imported here.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use opentelemetry::propagation::Extractor;
use tokio::sync::{OwnedSemaphorePermit, watch};

use crate::budget::Permit;
use crate::error::{Refusal, Stage};
use crate::traces::RecordSpan;

/// What of a header is taken as the context of a trace, which every span of the record repeats: what W3C has everybody keep.
const MOST_CONTEXT_BYTES: usize = 512;
/// The longest name Kafka gives a topic.
const MOST_TOPIC_CHARS: usize = 249;

/// Where a record stands: its topic, partition and offset. Displayed as `topic/partition/offset`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Topic name (or the path of a file, for posts that came from no broker).
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// The record's own offset, not the next one.
    pub offset: i64,
}

impl Origin {
    /// Reads what [`fmt::Display`] writes; `None` where that is no place a topic has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let topic = parts.next().filter(|topic| (1..=MOST_TOPIC_CHARS).contains(&topic.len()))?;
        if !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            return None;
        }
        let partition = parts.next()?.parse().ok().filter(|partition| *partition >= 0)?;
        let offset = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        Some(Self { topic: topic.into(), partition, offset })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// One assignment of a partition to this worker. The same partition assigned again is another generation, and what is
/// still on its way from the earlier one is dropped instead of published.
#[derive(Debug)]
pub struct Assignment {
    /// Unique within this process.
    pub generation: u64,
    revoked: watch::Sender<bool>,
}

impl Assignment {
    /// A live assignment.
    #[must_use]
    pub fn new(generation: u64) -> Arc<Self> {
        Arc::new(Self { generation, revoked: watch::Sender::new(false) })
    }

    /// From now on outcomes of this assignment are dropped.
    pub fn revoke(&self) {
        self.revoked.send_replace(true);
    }

    /// Whether the partition was taken away.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        *self.revoked.borrow()
    }

    /// Waits until the partition is taken away.
    pub async fn revoked(&self) {
        // Fails only without a sender, and that is ours.
        let _ = self.revoked.subscribe().wait_for(|revoked| *revoked).await;
    }
}

/// A record's place in the flow: what the offset ledger needs to settle it, and the permit it holds while in flight.
#[derive(Debug)]
pub struct Position {
    /// Where it stands: what is settled and committed.
    pub place: Origin,
    /// What its outcome calls its origin: its place, or where a replayed dead letter stood the first time.
    pub origin: Origin,
    /// The assignment it was pulled under.
    pub assignment: Arc<Assignment>,
    /// 0, 1, 2 … within the assignment, without the gaps that offsets have.
    pub sequence: u64,
    /// Given back when the position is dropped.
    pub permit: Permit,
    /// When it was pulled.
    pub pulled_at: Instant,
}

/// A header of a record; a null value is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Header name, case-sensitive in Kafka.
    pub key: String,
    /// Header value.
    pub value: Option<Bytes>,
}

/// A record as it was pulled. Kept whole until its outcome is acknowledged, since a dead letter carries it byte for byte.
#[derive(Debug)]
pub struct Record {
    /// Its place in the flow.
    pub position: Position,
    /// The key; results are keyed as their input was.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// All headers in order.
    pub headers: Vec<Header>,
    /// The record's timestamp, where it has one.
    pub timestamp: Option<Timestamp>,
    /// The image that `image.url` names, once it is there; never part of a dead letter.
    pub fetched: Option<Fetched>,
    /// What its value is read by, where that is written by a schema.
    pub schema: Option<Arc<dyn Encoding>>,
    /// Its span, where it is traced.
    pub span: Option<RecordSpan>,
}

/// How values are written that are no JSON.
pub trait Encoding: fmt::Debug + Send + Sync {
    /// The value as JSON.
    ///
    /// # Errors
    /// It is not written like that.
    fn json(&self, value: &[u8]) -> Result<Vec<u8>, Refusal>;
}

/// An image that was fetched.
#[derive(Debug)]
pub struct Fetched {
    /// Encoded image bytes.
    pub image: Bytes,
    /// Given back when the image is dropped, so that what is fetched and not yet decoded is bounded.
    pub slot: Option<OwnedSemaphorePermit>,
}

impl Record {
    /// The value of the first header of this name.
    #[must_use]
    pub fn header(&self, key: &str) -> Option<&Bytes> {
        header(&self.headers, key)
    }

    /// How often the record was tried before, if it was replayed from the dead letters.
    #[must_use]
    pub fn attempts_before(&self) -> u32 {
        let header = self.header("dlq.attempts").and_then(|value| str::from_utf8(value).ok());
        header.and_then(|attempts| attempts.parse().ok()).unwrap_or(0)
    }
}

/// The value of the first header of this name.
#[must_use]
pub fn header<'h>(headers: &'h [Header], key: &str) -> Option<&'h Bytes> {
    headers.iter().find(|header| header.key == key).and_then(|header| header.value.as_ref())
}

/// Headers, where the context of a trace is read from them.
#[derive(Debug)]
pub struct Headers<'h>(pub &'h [Header]);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = header(self.0, key).filter(|value| value.len() <= MOST_CONTEXT_BYTES);
        value.and_then(|value| str::from_utf8(value).ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|header| header.key.as_str()).collect()
    }
}

/// Where a replayed dead letter stood the first time (`dlq.origin`); `None` of any other record.
#[must_use]
pub fn replayed_origin(headers: &[Header]) -> Option<Origin> {
    Origin::parse(str::from_utf8(header(headers, "dlq.origin")?).ok()?)
}

/// An object seen in an image, as the feed tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its class name.
    pub label: String,
    /// Detector score in [0, 1]; 1 where the feed gives none.
    pub score: f64,
}

/// What a feed tells about an image. Empty means missing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Text posted with the image, hashtags and all.
    pub caption: String,
    /// Scene class.
    pub scene: String,
    /// Detected objects.
    pub objects: Vec<Object>,
    /// Hashtags, with or without `#`.
    pub tags: Vec<String>,
    /// Place name.
    pub place: String,
    /// When the photograph was taken, as given.
    pub taken_at: String,
}

/// A post: an image (still encoded) with its metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct Post {
    /// The facts that travel to the result unchanged.
    pub facts: Facts,
    /// Encoded image bytes.
    pub image: Bytes,
    /// What is told about it.
    pub metadata: Metadata,
}

/// What of a post travels to its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The post's id, at most 256 bytes.
    pub id: String,
    /// Feed or campaign.
    pub source: Option<String>,
    /// When it was published; else the record's timestamp.
    pub published_at: Option<Timestamp>,
    /// The post's own hashtags and objects, at most 16.
    pub tags: Vec<String>,
}

/// The closed list of remarks on how a result came about. Displayed as it travels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// `<field>_missing`: the post brought nothing for this field.
    Missing(Arc<str>),
    /// `<field>_inferred`: the field was filled from the image by the bundle's tagger.
    Inferred(Arc<str>),
    /// `text_truncated`: a field's text was longer than the bundle's `max_tokens`.
    TextTruncated,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(field) => write!(f, "{field}_missing"),
            Self::Inferred(field) => write!(f, "{field}_inferred"),
            Self::TextTruncated => f.write_str("text_truncated"),
        }
    }
}

/// A post ready for the model.
#[derive(Debug)]
pub struct Prepared {
    /// The record it came in.
    pub record: Record,
    /// What travels to the result.
    pub facts: Facts,
    /// What the model reads.
    pub input: ModelInput,
    /// Remarks so far.
    pub flags: Vec<Flag>,
}

/// What the model reads of one post.
#[derive(Debug, Clone)]
pub struct ModelInput {
    /// Its image.
    pub picture: Picture,
    /// Token ids of each field of the bundle, in its order; `None` is an absent field.
    pub fields: Vec<Option<Vec<u32>>>,
}

/// Hash of some content.
pub type Digest = [u8; 32];

/// An image for the model.
#[derive(Debug, Clone)]
pub enum Picture {
    /// Decoded.
    Pixels {
        /// RGB, u8 [H, W, 3] of the bundle's image size.
        rgb: Vec<u8>,
        /// The key of its encoded bytes, where there is a cache.
        key: Option<Digest>,
    },
    /// Encoded by the model before, so not decoded again.
    Known {
        /// As the image encoder gave it, f32 of `Dv` numbers.
        embedding: Arc<[f32]>,
        /// The key it was found by.
        key: Digest,
    },
}

impl Picture {
    /// RGB, u8 [H, W, 3], where it was decoded.
    #[must_use]
    pub fn rgb(&self) -> Option<&[u8]> {
        match self {
            Self::Pixels { rgb, .. } => Some(rgb),
            Self::Known { .. } => None,
        }
    }

    /// The key of the encoded bytes.
    #[must_use]
    pub const fn key(&self) -> Option<&Digest> {
        match self {
            Self::Pixels { key, .. } => key.as_ref(),
            Self::Known { key, .. } => Some(key),
        }
    }
}

/// What the model says of one post.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// One per label of the bundle, summing to 1.
    pub probabilities: Vec<f32>,
    /// The image's weight, then one per field of the bundle, summing to 1; absent fields have 0.
    pub relevance: Vec<f32>,
    /// p(label | all) - p(label | without the field), for each field present; empty where effects are not told.
    pub effects: Vec<Option<f32>>,
    /// For each field whether the tagger stood in for it.
    pub inferred: Vec<bool>,
    /// Tags that the tagger saw, best first; empty where it did not run.
    pub inferred_tags: Vec<String>,
    /// What this was made of, where that is kept.
    pub trace: Option<Box<Trace>>,
}

/// What the model read of a post, and what its encoders made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// SHA-256 of the pixels: the same for posts whose pictures look the same to the model.
    pub picture: [u8; 32],
    /// The image's embedding.
    pub image: Vec<f32>,
    /// The text of each field of the bundle; `None` where the post brought none.
    pub texts: Vec<Option<TracedText>>,
}

/// A field's text.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedText {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// Its embedding.
    pub embedding: Vec<f32>,
}

/// A scored post.
#[derive(Debug)]
pub struct Scored {
    /// What travels from the post.
    pub facts: Facts,
    /// What the model says.
    pub prediction: Prediction,
    /// Remarks, decode's and the model's.
    pub flags: Vec<Flag>,
}

/// How a record ended.
#[derive(Debug)]
pub enum Verdict {
    /// A result is published.
    Scored(Box<Scored>),
    /// A dead letter is published.
    Refused {
        /// Reason and detail.
        refusal: Refusal,
        /// The stage that refused it.
        stage: Stage,
    },
    /// A null value: forwarded under its key, so that erasing a post reaches the results.
    Tombstone,
}

/// Every record ends in exactly one outcome.
#[derive(Debug)]
pub struct Outcome {
    /// The record, whole.
    pub record: Record,
    /// How it ended.
    pub verdict: Verdict,
}

impl Outcome {
    /// A dead letter.
    #[must_use]
    pub fn refused(record: Record, stage: Stage, refusal: Refusal) -> Self {
        Self { record, verdict: Verdict::Refused { refusal, stage } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_origin_is_read_as_it_is_written(topic in "[a-zA-Z0-9._-]{1,249}", partition in 0i32.., offset in 0i64..) {
            let origin = Origin { topic: topic.as_str().into(), partition, offset };
            prop_assert_eq!(Origin::parse(&origin.to_string()), Some(origin));
        }
    }

    #[test]
    fn what_is_no_origin_is_none() {
        for text in [
            "",
            "posts",
            "posts/1",
            "posts/1/",
            "posts/-1/2",
            "posts/1/-2",
            "posts/1/2/3",
            "/1/2",
            "a b/1/2",
            "p/1/9223372036854775808",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
        assert_eq!(Origin::parse(&format!("{}/0/0", "t".repeat(250))), None);
    }
}
