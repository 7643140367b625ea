//! What goes wrong in a transaction, sorted by what helps.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::Statistics;

use crate::kafka::client::{Error, Logged};
use crate::kafka::letter::refusal;
use crate::kafka::requests::Requests;
use crate::metrics::Metrics;

/// How long a call may take at most, whatever limit it was given: librdkafka's wait for a group's coordinator was
/// seen to outlast its own by minutes.
pub(super) const STUCK: Duration = Duration::from_secs(15);

/// Why a transaction did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// By the places of the messages.
    #[error("the broker refused {} messages as they are", .0.len())]
    Refused(Vec<(usize, RDKafkaErrorCode)>),
    /// The next owner publishes it.
    #[error("a partition was taken away")]
    Revoked,
    /// To be tried again.
    #[error("{0}")]
    Passing(KafkaError),
    /// This producer cannot go on; another one may.
    #[error("fenced: {0}")]
    Fenced(KafkaError),
    /// Nor can this one.
    #[error("no answer within {} s", STUCK.as_secs())]
    Stuck,
    /// Trying again does not help.
    #[error("{0}")]
    Permanent(Error),
    /// Nobody may publish in its name any more.
    #[error("the worker has left its group")]
    Left,
}

/// librdkafka says that the same call may be made again.
pub(super) fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable())
}

/// What an error of the producer means.
pub(super) fn sorted(error: KafkaError) -> Failure {
    let fatal = matches!(&error, KafkaError::Transaction(inner) if inner.is_fatal());
    match error.rdkafka_error_code() {
        Some(code) if is_denied(code) => Failure::Permanent(Error::Fatal(error.to_string())),
        Some(code) if fatal || is_fenced(code) => Failure::Fenced(error),
        _ => Failure::Passing(error),
    }
}

const fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Fatal, Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(code, Fatal | Fenced | InvalidProducerEpoch | ProducerFenced)
}

/// Somebody has to mend the broker's topics or permissions.
pub(in crate::kafka) const fn is_denied(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed, UnknownTopic, UnknownTopicOrPartition,
    };
    matches!(
        code,
        ClusterAuthorizationFailed
            | GroupAuthorizationFailed
            | TopicAuthorizationFailed
            | TransactionalIdAuthorizationFailed
            | UnknownTopic
            | UnknownTopicOrPartition
    )
}

/// Errors of deliveries, which come on librdkafka's thread.
#[derive(Debug)]
pub(super) struct Deliveries {
    /// The rest of the context.
    pub(super) logged: Logged,
    failed: Mutex<Vec<(usize, KafkaError, String)>>,
    requests: Requests,
}

impl Deliveries {
    /// None yet.
    pub(super) fn new(logged: Logged, metrics: &Metrics) -> Self {
        Self { logged, failed: Mutex::default(), requests: Requests::new("producer", metrics) }
    }

    /// Forgets the deliveries of the last transaction.
    pub(super) fn start_anew(&self) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// What the deliveries that failed since [`Self::start_anew`] mean.
    pub(super) fn failure(&self) -> Option<Failure> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let refused: Vec<_> = failed.iter().filter_map(|(place, error, _)| Some((*place, refusal(error)?))).collect();
        if !refused.is_empty() {
            return Some(Failure::Refused(refused));
        }
        let denied = failed.iter().find(|(_, error, _)| error.rdkafka_error_code().is_some_and(is_denied));
        if let Some((_, source, topic)) = denied {
            return Some(Failure::Permanent(self.logged.unpublished(topic, source.clone())));
        }
        failed.first().map(|(_, error, _)| sorted(error.clone()))
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.logged.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.logged.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        self.requests.count(&statistics);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, place: usize) {
        if let Err((error, message)) = delivery {
            let topic = message.topic().to_owned();
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push((place, error.clone(), topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(errors: &[RDKafkaErrorCode]) -> Option<Failure> {
        let error =
            |(place, code): (usize, &RDKafkaErrorCode)| (place, KafkaError::MessageProduction(*code), "t".into());
        let deliveries = Deliveries::new(Logged::default(), &Metrics::new());
        deliveries.failed.lock().expect("not poisoned").extend(errors.iter().enumerate().map(error));
        deliveries.failure()
    }

    #[test]
    fn what_can_be_mended_is_told_before_what_came_of_it() {
        use RDKafkaErrorCode::{
            Fenced, InvalidRecord, MessageSizeTooLarge, MessageTimedOut, PurgeQueue, TopicAuthorizationFailed,
        };
        assert!(failed(&[]).is_none());
        let Some(Failure::Refused(refused)) = failed(&[PurgeQueue, MessageSizeTooLarge, InvalidRecord]) else {
            panic!("not refused")
        };
        assert_eq!(refused, [(1, MessageSizeTooLarge), (2, InvalidRecord)]);
        assert!(matches!(failed(&[PurgeQueue, TopicAuthorizationFailed]), Some(Failure::Permanent(_))));
        assert!(matches!(failed(&[Fenced]), Some(Failure::Fenced(_))));
        assert!(matches!(failed(&[MessageTimedOut]), Some(Failure::Passing(_))));
    }
}
