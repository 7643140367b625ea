//! Values that are written by a schema of a registry: Avro, Protobuf and JSON Schema in Confluent's wire format, which is a
//! byte 0, the schema's id in four bytes, and the payload. Only there when `decode.registry` is set.
//!
//! ```text
//! record ──┬── no byte 0 in front, or an image ─────────────────────────────► decode, as always
//!          └── id ──┬── known ──────────────────────────────────────────────► decode: the payload as JSON, read as any JSON
//!                   └── asked for, once however many wait ──┬───────────────► decode
//!                                                           └── unknown ────► Settled: dead letter
//! ```
//!
//! Ids are what strangers wrote: whatever they make the registry say is limited in size and number, and so is what a payload
//! becomes. A registry that is away costs no post: it is asked again, with growing pauses, and what waits for it holds the feed
//! up by its place in the budget. That wait comes before decoding and its time limit.

mod avro;
mod client;
mod json_text;
mod protobuf;
pub mod settings;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder};
use reqwest::StatusCode;
use tokio::sync::Semaphore;
use url::Url;

use self::client::{Client, Failure, Told};
use self::json_text::JsonText;
pub use self::settings::Settings;
pub(crate) use self::stage::{Onward, Stage};
use crate::error::{Reason, Refusal};
use crate::message::Encoding;
use crate::metrics::Metrics;
use crate::retry::pauses;

/// The byte 0 and the id.
const PREFIX: usize = 5;
/// A schema is text that people write; with all that it refers to it has at most so many bytes, in so many parts.
const MOST_TEXT: usize = 1 << 20;
const MOST_REFERENCES: usize = 64;
/// Of the schemas kept, their texts together. Beyond that those that are asked for least are forgotten, and asked for again.
const MOST_KEPT: u64 = 16 << 20;
/// What a schema costs beside its text, in bytes of that.
const SMALLEST: u64 = 4096;
/// Questions at once.
const MOST_QUESTIONS: usize = 8;
/// Answers that are no schema, one after the other, before that is taken for the answer. The first may be of something in front of
/// a registry that is starting; all of them may be what an id stands for, which a stranger chose.
const MOST_STRANGE: usize = 5;
/// How long the registry's no to an id is remembered: a schema may be registered, or replicated, a little later.
const NO_LASTS: Duration = Duration::from_secs(10);

/// The registry cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the settings.
    #[error("cannot use decode.registry.{key} {}: {why}", path.display())]
    File {
        /// Of which key.
        key: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The password's file.
    #[error("{0}")]
    Password(String),
    /// The client, as a rule for want of certificates.
    #[error(
        "cannot ask a schema registry (decode.registry): {0}; is there a bundle of root certificates (ca-certificates)?"
    )]
    Client(String),
    /// It does not answer.
    #[error(
        "the schema registry at {url} does not answer: {why}; start it, or set decode.registry.url to where it is (and ca_file to \
         the certificates that its own is signed by)"
    )]
    Unreachable {
        /// Where.
        url: Url,
        /// Why.
        why: String,
    },
    /// The user is refused.
    #[error(
        "the schema registry at {url} answers {status}: set decode.registry.username and password_file (or password) to a user \
         who may read schemas"
    )]
    Credentials {
        /// Where.
        url: Url,
        /// 401 or 403.
        status: StatusCode,
    },
    /// Something else answers.
    #[error(
        "what answers at {url} is no schema registry: {why}; set decode.registry.url to the root of Confluent's API, such as \
         http://registry:8081, or http://registry:8080/apis/ccompat/v7 of Apicurio"
    )]
    Strange {
        /// Where.
        url: Url,
        /// What it says.
        why: String,
    },
}

impl Error {
    fn file(key: &'static str, path: &Path, why: &dyn std::fmt::Display) -> Self {
        Self::File { key, path: path.to_owned(), why: why.to_string() }
    }
}

/// Schemas by their id, asked for when they are first needed. Share it by `Arc`.
pub struct Registry {
    client: Client,
    known: Cache<u32, Known, Weight>,
    questions: Semaphore,
    retries: IntCounter,
    panics: IntCounter,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("url", &self.client.root().as_str()).finish_non_exhaustive()
    }
}

/// What is known of an id.
#[derive(Clone)]
struct Known {
    schema: Result<Arc<Schema>, Refusal>,
    bytes: usize,
    /// When to ask again, of a no.
    until: Option<Instant>,
}

#[derive(Clone)]
struct Weight;

impl quick_cache::Weighter<u32, Known> for Weight {
    fn weight(&self, _: &u32, known: &Known) -> u64 {
        SMALLEST + known.bytes as u64
    }
}

/// What a payload is read by.
#[derive(Debug)]
enum Schema {
    Avro(avro::Avro),
    Protobuf(protobuf::Protobuf),
    /// Its payload is JSON already, which its producer held against the schema.
    Json,
}

/// A schema's text with those of all it refers to, by the names by which it does.
struct Source {
    kind: Option<String>,
    text: String,
    references: Vec<(String, String)>,
}

impl Registry {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// When a file of the settings cannot be read, or the system has no root certificates.
    pub fn new(settings: &Settings, metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            client: Client::new(settings)?,
            known: kept(),
            questions: Semaphore::new(MOST_QUESTIONS),
            retries: metrics.registry_retries.clone(),
            panics: metrics.panics.clone(),
        })
    }

    /// [`Self::check`] of the registry that is set, if one is.
    ///
    /// # Errors
    /// As [`Self::new`] and [`Self::check`].
    pub async fn check_set(settings: Option<&Settings>, metrics: &Metrics) -> Result<(), Error> {
        match settings {
            Some(settings) => Self::new(settings, metrics)?.check().await,
            None => Ok(()),
        }
    }

    /// Asks what any registry answers, so that a wrong URL or password is told at the start.
    ///
    /// # Errors
    /// What is wrong, with the fix.
    pub async fn check(&self) -> Result<(), Error> {
        let url = self.client.root().clone();
        let Err(failure) = self.client.kinds().await else { return Ok(()) };
        Err(match failure {
            Failure::Status { status: status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN), .. } => {
                Error::Credentials { url, status }
            }
            Failure::Status { status, .. } if status.is_server_error() => {
                Error::Unreachable { url, why: failure.told() }
            }
            Failure::Unreachable(why) => Error::Unreachable { url, why },
            failure => Error::Strange { url, why: failure.told() },
        })
    }

    /// What is known of an id now.
    fn known(&self, id: u32) -> Option<Result<Arc<Schema>, Refusal>> {
        let known = self.known.get(&id)?;
        if known.until.is_some_and(|until| until <= Instant::now()) {
            self.known.remove(&id);
            return None;
        }
        Some(known.schema)
    }

    /// The schema of an id, however long the registry is away.
    ///
    /// # Errors
    /// The registry knows none, or none that can be read by.
    async fn schema(&self, id: u32) -> Result<Arc<Schema>, Refusal> {
        let asked = async { Ok::<_, Infallible>(self.ask(id).await) };
        let Ok(known) = self.known.get_or_insert_async(&id, asked).await;
        known.schema
    }

    async fn ask(&self, id: u32) -> Known {
        let source = match self.source(id).await {
            Ok(source) => source,
            Err(refusal) => return Known { schema: Err(refusal), bytes: 0, until: Some(Instant::now() + NO_LASTS) },
        };
        let bytes = source.bytes();
        // Parsing may take as long as it takes, on no thread that others wait for.
        let compiled = tokio::task::spawn_blocking(move || source.compile()).await.unwrap_or_else(|panicked| {
            self.panics.inc();
            Err(panicked.to_string())
        });
        let schema = compiled.map(Arc::new).map_err(|why| unknown(format!("the schema {id} cannot be read by: {why}")));
        Known { schema, bytes, until: None }
    }

    async fn source(&self, id: u32) -> Result<Source, Refusal> {
        let what = format!("the schema {id}");
        let Told { schema, schema_type, references } = self.persist(&what, || self.client.schema(id)).await?;
        let mut source = Source { kind: schema_type, text: schema, references: Vec::new() };
        let mut wanted = references.unwrap_or_default();
        let mut named = BTreeSet::new();
        while let Some(reference) = wanted.pop() {
            if !named.insert(reference.name.clone()) {
                continue;
            }
            if named.len() > MOST_REFERENCES || wanted.len() > MOST_REFERENCES * MOST_REFERENCES {
                return Err(unknown(format!("{what} refers to more than {MOST_REFERENCES} others")));
            }
            let what = format!("{what}, which refers to version {} of {}", reference.version, reference.subject);
            let asked = self.persist(&what, || self.client.version(&reference.subject, reference.version)).await?;
            wanted.extend(asked.references.unwrap_or_default());
            source.references.push((reference.name, asked.schema));
            if source.bytes() > MOST_TEXT {
                break;
            }
        }
        if source.bytes() > MOST_TEXT {
            return Err(unknown(format!("{what} has more than {MOST_TEXT} bytes with all it refers to")));
        }
        Ok(source)
    }

    /// Asks until there is an answer, or none that can be one.
    async fn persist<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T, Refusal> {
        let (mut pauses, mut strange) = (pauses(), 0);
        loop {
            let asked = {
                let _turn = self.questions.acquire().await;
                ask().await
            };
            let failure = match asked {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let why = failure.told();
            strange = if matches!(failure, Failure::Strange(_)) { strange + 1 } else { 0 };
            if failure.is_final() || strange == MOST_STRANGE {
                return Err(unknown(format!("{what}: {why} (decode.registry.url {})", self.client.root())));
            }
            tracing::warn!(url = %self.client.root(), why, "no answer of the schema registry on {what}: its posts wait");
            self.retries.inc();
            tokio::time::sleep(pauses.next().unwrap_or_default()).await;
        }
    }
}

/// One shard: of many, each would take no schema larger than its share.
fn kept() -> Cache<u32, Known, Weight> {
    let entries = usize::try_from(MOST_KEPT / SMALLEST).unwrap_or(1);
    let mut options = OptionsBuilder::new();
    options.shards(1).estimated_items_capacity(entries).weight_capacity(MOST_KEPT);
    #[expect(clippy::expect_used, reason = "all that it asks for is given")]
    let options = options.build().expect("complete options");
    Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

impl Source {
    fn bytes(&self) -> usize {
        self.text.len() + self.references.iter().map(|(_, text)| text.len()).sum::<usize>()
    }

    fn compile(self) -> Result<Schema, String> {
        match self.kind.as_deref() {
            None | Some("AVRO") => avro::Avro::parse(&self.text, &self.references).map(Schema::Avro),
            Some("PROTOBUF") => protobuf::Protobuf::parse(self.text, self.references).map(Schema::Protobuf),
            Some("JSON") => Ok(Schema::Json),
            Some(other) => Err(format!("it is of the type {other:?}; read are AVRO, PROTOBUF and JSON")),
        }
    }
}

impl Encoding for Schema {
    fn json(&self, value: &[u8]) -> Result<Vec<u8>, Refusal> {
        let payload = value.get(PREFIX..).unwrap_or_default();
        let mut out = JsonText::of_payload(payload);
        match self {
            Self::Avro(avro) => avro.write(payload, &mut out)?,
            Self::Protobuf(protobuf) => protobuf.write(payload, &mut out)?,
            Self::Json => return Ok(payload.to_vec()),
        }
        Ok(out.into_bytes())
    }
}

/// The id in front of a payload.
fn id(value: &[u8]) -> Result<u32, Refusal> {
    let bytes: Option<[u8; 4]> = value.get(1..PREFIX).and_then(|bytes| bytes.try_into().ok());
    let id = bytes.map(u32::from_be_bytes).ok_or_else(|| mismatch("it ends within the schema's id"))?;
    // A registry counts in Java's int.
    match i32::try_from(id) {
        Ok(1..) => Ok(id),
        _ => Err(unknown(format!("the schema {id}: no registry has one of that id"))),
    }
}

fn unknown(detail: impl AsRef<str>) -> Refusal {
    Refusal::new(Reason::SchemaUnknown, detail.as_ref())
}

fn mismatch(detail: impl AsRef<str>) -> Refusal {
    Refusal::new(Reason::SchemaMismatch, format!("the value does not fit its schema: {}", detail.as_ref()))
}

/// Takes a zig-zag varint off the front, as both Avro and Confluent's message indexes have them.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let whole = unsigned(rest)?;
    let (half, sign) = (whole >> 1, whole & 1);
    Some(half.cast_signed() ^ -sign.cast_signed())
}

/// Takes a varint off the front.
fn unsigned(rest: &mut &[u8]) -> Option<u64> {
    let mut whole = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        whole |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(whole);
        }
    }
    None
}
