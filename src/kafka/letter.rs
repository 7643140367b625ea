//! What is published of an outcome: a [`Letter`] to the output topic or the dead-letter topic, and the smaller one that
//! takes its place where the broker refuses it for its size.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, OwnedHeaders};
use sha2::{Digest, Sha256};

use super::Settings;
use crate::error::{Reason, Refusal, Stage};
use crate::message::{Outcome, Record, Verdict};
use crate::result::{Labelling, dead_letter_headers};

/// A key that is longer does not stay with a dead letter that lost everything else.
const LONGEST_BARE_KEY: usize = 1024;

/// What is published of an outcome.
#[derive(Debug)]
pub struct Letter {
    /// As in `sentistream_outcomes_total`.
    pub kind: &'static str,
    /// Code of a dead letter's reason, else empty.
    pub reason: &'static str,
    /// Stage that refused the record of a dead letter, else empty.
    pub stage: &'static str,
    /// Where it goes.
    pub topic: Arc<str>,
    /// The key of the record.
    pub key: Option<Bytes>,
    /// `None` is a tombstone, or a dead letter that lost its value.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: OwnedHeaders,
    /// What of the outcome it still holds.
    form: Form,
}

/// From the whole to what any broker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// A result, a tombstone, or a dead letter with everything.
    Whole,
    /// A dead letter without its value.
    WithoutValue,
    /// A dead letter with nothing but our own headers.
    Bare,
}

impl Letter {
    /// Nothing smaller is left.
    pub fn is_last_resort(&self) -> bool {
        self.form == Form::Bare
    }
}

/// Makes letters.
#[derive(Debug)]
pub struct Letters {
    output_topic: Arc<str>,
    dead_letter_topic: Arc<str>,
    labelling: Labelling,
}

impl Letters {
    /// For the topics of `settings`.
    pub fn new(settings: &Settings, labelling: Labelling) -> Self {
        let output_topic = settings.output_topic.as_str().into();
        let dead_letter_topic = settings.dead_letter_topic.as_str().into();
        Self { output_topic, dead_letter_topic, labelling }
    }

    /// The letter of an outcome.
    pub fn of(&self, outcome: &Outcome) -> Letter {
        let to_output = |kind, value| Letter {
            kind,
            reason: "",
            stage: "",
            topic: Arc::clone(&self.output_topic),
            key: outcome.record.key.clone(),
            value,
            headers: context_headers(outcome),
            form: Form::Whole,
        };
        match &outcome.verdict {
            Verdict::Tombstone => to_output("tombstone", None),
            Verdict::Refused { refusal, stage } => self.dead_letter(&outcome.record, refusal, *stage, Form::Whole),
            Verdict::Scored(scored) => {
                let result = self.labelling.result(scored, &outcome.record.position.origin, Timestamp::now());
                match serde_json::to_vec(&result) {
                    Ok(json) => to_output("result", Some(json.into())),
                    Err(error) => {
                        let refusal = Refusal::new(Reason::InferenceFailed, format!("result is no JSON: {error}"));
                        self.dead_letter(&outcome.record, &refusal, Stage::Publish, Form::Whole)
                    }
                }
            }
        }
    }

    /// The original record, byte for byte as far as `form` goes, with the reason in headers of our own.
    fn dead_letter(&self, record: &Record, refusal: &Refusal, stage: Stage, form: Form) -> Letter {
        let origin = &record.position.origin;
        tracing::debug!(%origin, reason = %refusal.reason, detail = refusal.detail, "dead letter");
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 8);
        if form < Form::Bare {
            for header in record.headers.iter().filter(|header| !header.key.starts_with("dlq.")) {
                headers = headers.insert(KafkaHeader { key: &header.key, value: header.value.as_deref() });
            }
        }
        let attempts = record.attempts_before().saturating_add(refusal.attempts);
        for (key, value) in &dead_letter_headers(refusal, stage, origin, attempts, Timestamp::now()) {
            headers = headers.insert(KafkaHeader { key, value: Some(value) });
        }
        if form > Form::Whole {
            let digest = hex::encode(Sha256::digest(record.value.as_deref().unwrap_or_default()));
            headers = headers.insert(KafkaHeader { key: "dlq.truncated", value: Some("true") });
            headers = headers.insert(KafkaHeader { key: "dlq.sha256", value: Some(&digest) });
        }
        let fits = |key: &Bytes| form < Form::Bare || key.len() <= LONGEST_BARE_KEY;
        Letter {
            kind: "dead_letter",
            reason: refusal.reason.as_str(),
            stage: stage.as_str(),
            topic: Arc::clone(&self.dead_letter_topic),
            key: record.key.clone().filter(fits),
            value: record.value.clone().filter(|_| form == Form::Whole),
            headers,
            form,
        }
    }

    /// What the broker refused, in another form: a result becomes a dead letter, a dead letter loses its value, then the
    /// record's headers and an overlong key.
    pub fn reduced(&self, letter: &Letter, outcome: &Outcome, code: RDKafkaErrorCode) -> Letter {
        let form = match (letter.kind, letter.form) {
            ("dead_letter", Form::Whole) => Form::WithoutValue,
            ("dead_letter", _) => Form::Bare,
            _ => Form::Whole,
        };
        match &outcome.verdict {
            Verdict::Refused { refusal, stage } => self.dead_letter(&outcome.record, refusal, *stage, form),
            Verdict::Scored(_) | Verdict::Tombstone => {
                self.dead_letter(&outcome.record, &refused_by_broker(code, letter.reason), Stage::Publish, form)
            }
        }
    }
}

/// `traceparent` and `tracestate` of a traced record, so that whoever reads the result goes on with its trace.
fn context_headers(outcome: &Outcome) -> OwnedHeaders {
    let mut context = HashMap::new();
    outcome.record.span.iter().for_each(|span| span.inject(&mut context));
    let context: BTreeMap<String, String> = context.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    context
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(KafkaHeader { key, value: Some(value) }))
}

/// Why the broker refused what was no dead letter; `told` is the reason where it has become one meanwhile.
fn refused_by_broker(code: RDKafkaErrorCode, told: &str) -> Refusal {
    if code == RDKafkaErrorCode::InvalidRecord || told == Reason::BadField.as_str() {
        let why = "the output topic refused the result; a compacted topic takes no record without a key";
        return Refusal::new(Reason::BadField, format!("{why}: {code}"));
    }
    Refusal::new(Reason::ResultTooLarge, format!("the broker refused the result: {code}"))
}

/// The code of an error that says: the broker will never take this message as it is.
pub fn refusal(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    use RDKafkaErrorCode::{InvalidMessageSize, InvalidRecord, MessageBatchTooLarge, MessageSizeTooLarge};
    let code = error.rdkafka_error_code()?;
    matches!(code, MessageSizeTooLarge | InvalidMessageSize | InvalidRecord | MessageBatchTooLarge).then_some(code)
}
