//! What librdkafka tells a probe's clients beside the answers: faults of connections, what brokers can do, deliveries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;

use super::access::{Access, access, no_answer};
use super::{Topic, Unreached};
use crate::kafka::Settings;
use crate::kafka::security::faults::Fault;

/// How long another address may take to answer where one has failed.
const DOUBT: Duration = Duration::from_secs(3);

/// Requests of Kafka's protocol by which one tells what brokers can do: number and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Members that keep their partitions over a restart (Kafka 2.3).
    StaticMembers,
    /// Offsets of a group in a transaction, under its generation (Kafka 2.5).
    GroupTransactions,
    /// Groups of the consumer protocol, KIP-848 (Kafka 4.0).
    ConsumerGroups,
}

impl Api {
    const fn number_and_version(self) -> (i16, i16) {
        match self {
            Self::StaticMembers => (11, 5),
            Self::GroupTransactions => (28, 3),
            Self::ConsumerGroups => (68, 0),
        }
    }
}

/// Shared by a client and whoever asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<Mutex<Notes>>);

#[derive(Debug, Default)]
struct Notes {
    errors: Vec<RDKafkaErrorCode>,
    fault: Option<Fault>,
    /// The newest version of each request.
    apis: BTreeMap<i16, i16>,
    /// By the place of the record.
    deliveries: Vec<(usize, Option<RDKafkaErrorCode>)>,
}

impl Heard {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, code: RDKafkaErrorCode) -> bool {
        self.notes().errors.contains(&code)
    }

    /// Whether waiting is of no use, so long after the first attempt: with several addresses, one of them may answer where
    /// another one failed.
    pub(super) fn is_final(&self, waited: Duration) -> bool {
        self.notes().fault.as_ref().is_some_and(|fault| waited >= DOUBT || fault.is_final(waited))
    }

    /// Why there is no answer.
    pub(super) fn unreached(&self, settings: &Settings, error: &KafkaError) -> Unreached {
        match &self.notes().fault {
            None => Unreached::Silent(error.to_string()),
            Some(fault) => fault
                .sentence(settings)
                .map_or_else(|| Unreached::Silent(fault.reason().to_owned()), Unreached::Refused),
        }
    }

    fn note(&self, code: Option<RDKafkaErrorCode>, told: &str) {
        let mut notes = self.notes();
        notes.errors.extend(code);
        if let Some(fault) = Fault::of(code, told).filter(|fault| fault.replaces(notes.fault.as_ref())) {
            notes.fault = Some(fault);
        }
    }

    pub(super) fn knows(&self, api: Api) -> Option<bool> {
        let (number, version) = api.number_and_version();
        let notes = self.notes();
        if notes.apis.is_empty() {
            return None;
        }
        Some(notes.apis.get(&number).is_some_and(|newest| *newest >= version))
    }

    pub(super) fn delivered(&self) -> usize {
        self.notes().deliveries.len()
    }

    /// What the deliveries of a record for each partition say together.
    pub(super) fn written(&self, topic: &Topic) -> Access {
        let notes = self.notes();
        let mut silent: Vec<i32> = Vec::new();
        for (place, partition) in topic.partitions.iter().enumerate() {
            match notes.deliveries.iter().find(|(delivered, _)| *delivered == place) {
                // One that took it looked whether it may first, too.
                Some((_, None | Some(RDKafkaErrorCode::InvalidRequiredAcks))) => {}
                Some((_, Some(RDKafkaErrorCode::MessageTimedOut))) | None => silent.push(partition.id),
                Some((_, Some(code))) => return access(*code),
            }
        }
        if silent.is_empty() { Access::Granted } else { no_answer(&silent) }
    }
}

impl ClientContext for Heard {
    /// What brokers can do is told here alone, and so may be why one of them ended a connection.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.note(None, message);
        } else if let Some((number, newest)) = told_api(message) {
            self.notes().apis.insert(number, newest);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(error.rdkafka_error_code(), reason);
    }
}

/// Of a line such as `… ApiKey ConsumerGroupHeartbeat (68) Versions 0..1`.
fn told_api(line: &str) -> Option<(i16, i16)> {
    let (_, told) = line.split_once("ApiKey ")?;
    let (_, numbers) = told.split_once('(')?;
    let (number, versions) = numbers.split_once(')')?;
    let (_, newest) = versions.split_once("..")?;
    Some((number.parse().ok()?, newest.trim().parse().ok()?))
}

impl ConsumerContext for Heard {}

impl ProducerContext for Heard {
    type DeliveryOpaque = usize;

    fn delivery(&self, delivery: &DeliveryResult<'_>, place: usize) {
        let code = delivery.as_ref().err().and_then(|(error, _)| error.rdkafka_error_code());
        self.notes().deliveries.push((place, code));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_broker_can_do_is_read_off_the_log() {
        let line = "[thrd:127.0.0.1:9092/bootstrap]: 127.0.0.1:9092/bootstrap:   ApiKey ConsumerGroupHeartbeat (68) Versions 0..1";
        assert_eq!(told_api(line), Some((68, 1)));
        assert_eq!(told_api("Feature ApiVersion: ApiVersion (0..0) supported by broker"), None);
        let heard = Heard::default();
        assert_eq!(heard.knows(Api::ConsumerGroups), None);
        heard.log(RDKafkaLogLevel::Debug, "APIVERSION", &line.replace("(68) Versions 0..1", "(11) Versions 0..4"));
        assert_eq!((heard.knows(Api::ConsumerGroups), heard.knows(Api::StaticMembers)), (Some(false), Some(false)));
        heard.log(RDKafkaLogLevel::Debug, "APIVERSION", line);
        assert_eq!(heard.knows(Api::ConsumerGroups), Some(true));
    }

    #[test]
    fn a_wrong_password_is_told_before_a_connection_that_ended_by_it() {
        let settings = crate::settings::load(None).expect("the defaults are valid").kafka;
        let (heard, error) = (Heard::default(), KafkaError::Global(RDKafkaErrorCode::OperationTimedOut));
        assert!(!heard.is_final(Duration::ZERO));
        for code in [RDKafkaErrorCode::Authentication, RDKafkaErrorCode::BrokerTransportFailure] {
            heard.error(KafkaError::Global(code), &format!("{code:?}"));
        }
        assert!(heard.is_final(Duration::ZERO));
        let Unreached::Refused(sentence) = heard.unreached(&settings, &error) else { panic!("not refused") };
        assert!(sentence.contains("refused") && sentence.contains("kafka.security.username"), "{sentence}");
    }
}
