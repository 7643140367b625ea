//! What librdkafka tells: its log lines and errors, in our log. The last fault of a client is kept, so that whoever waits for
//! an answer knows why there is none.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::Settings;
use super::client::Error;
use super::security::acls::{Operation, Resource, denied};
use super::security::faults::{Fault, short};

/// A fault that was not told again for so long is over: whatever is told next counts.
const OVER: Duration = Duration::from_mins(1);

/// The context of a client; it is shared by its clones.
#[derive(Debug, Clone, Default)]
pub struct Logged(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    /// `None` in tests of what needs none.
    settings: Option<Settings>,
    /// The last one, and when it was told.
    fault: Mutex<Option<(Fault, Instant)>>,
    /// Told once, and maybe before anybody asks.
    is_group_denied: AtomicBool,
}

/// A context that has a [`Logged`] within.
pub trait Telling {
    /// That.
    fn logged(&self) -> &Logged;
}

impl Telling for Logged {
    fn logged(&self) -> &Logged {
        self
    }
}

impl Logged {
    /// Of a client by these settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self(Arc::new(Told { settings: Some(settings.clone()), ..Told::default() }))
    }

    fn fault(&self) -> Option<Fault> {
        let last = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|(fault, _)| fault.clone())
    }

    /// Keeps a fault and says what to do about it.
    fn note(&self, code: Option<RDKafkaErrorCode>, reason: &str) -> Option<String> {
        let fault = Fault::of(code, reason)?;
        let sentence = self.0.settings.as_ref().and_then(|settings| fault.sentence(settings));
        let mut last = self.0.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.as_ref().filter(|(_, told)| told.elapsed() < OVER).map(|(fault, _)| fault);
        if fault.replaces(before) {
            *last = Some((fault, Instant::now()));
        }
        sentence
    }

    /// Whether waiting is of no use, so long after the first attempt.
    #[must_use]
    pub fn is_final(&self, waited: Duration) -> bool {
        self.fault().is_some_and(|fault| fault.is_final(waited))
    }

    /// Whether the group may not even be looked at.
    #[must_use]
    pub fn is_group_denied(&self) -> bool {
        self.0.is_group_denied.load(Ordering::Relaxed)
    }

    /// Why there is no answer.
    #[must_use]
    pub fn no_answer(&self, source: KafkaError) -> Error {
        let Some(settings) = &self.0.settings else { return Error::Fatal(source.to_string()) };
        let brokers = settings.brokers.clone();
        match self.fault() {
            None => Error::NoAnswer { brokers, source },
            Some(fault) => match fault.sentence(settings) {
                Some(sentence) => Error::Refused(sentence),
                None => Error::Unreached { brokers, why: fault.reason().to_owned() },
            },
        }
    }

    /// The same as a line, for whoever goes on waiting.
    #[must_use]
    pub fn why(&self, source: KafkaError) -> String {
        match self.fault() {
            None => source.to_string(),
            Some(_) => self.no_answer(source).to_string(),
        }
    }

    /// What is not permitted, with the command that grants it.
    #[must_use]
    pub fn denied(&self, operation: Operation, resource: Resource<'_>) -> Error {
        Error::Denied(match &self.0.settings {
            Some(settings) => denied(settings, operation, resource),
            None => format!("{operation:?} on the {resource} is not permitted"),
        })
    }

    /// Why a record was not published.
    #[must_use]
    pub fn unpublished(&self, topic: &str, source: KafkaError) -> Error {
        match source.rdkafka_error_code() {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => self.denied(Operation::Write, Resource::Topic(topic)),
            _ => Error::Publish { topic: topic.to_owned(), source },
        }
    }
}

impl ConsumerContext for Logged {}

impl ClientContext for Logged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // What ends a connection from the other side is no error to librdkafka, but may be the only thing that is told.
        if facility == "FAIL" {
            self.note(None, message);
        }
        // A token endpoint's whole answer may be in it.
        let message = short(message);
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        // The end of a partition is no fault, though librdkafka tells it as one.
        if code == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        if code == Some(RDKafkaErrorCode::GroupAuthorizationFailed) {
            self.0.is_group_denied.store(true, Ordering::Relaxed);
        }
        if let Some(sentence) = self.note(code, reason) {
            tracing::warn!(%error, "{sentence}");
        } else {
            tracing::warn!(%error, reason = short(reason), "Kafka client");
        }
    }
}
