//! What a client's requests to the brokers go through, as its statistics tell it: sent again, failed, unanswered.

use std::sync::{Mutex, PoisonError};

use prometheus::IntCounter;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::statistics::{Broker, Statistics};

use super::client::Logged;
use crate::metrics::Metrics;

/// How often a producer tells its statistics.
pub const STATISTICS_MS: &str = "5000";

/// Counts the requests of one client.
#[derive(Debug)]
pub struct Requests {
    counters: [IntCounter; 3],
    /// What was counted so far: statistics tell sums since the start of the client.
    told: Mutex<[u64; 3]>,
}

impl Requests {
    /// `client` is the label.
    pub fn new(client: &str, metrics: &Metrics) -> Self {
        let counters = [&metrics.request_retries, &metrics.request_errors, &metrics.request_timeouts];
        Self { counters: counters.map(|counter| counter.with_label_values(&[client])), told: Mutex::default() }
    }

    /// What came since the last time.
    pub fn count(&self, statistics: &Statistics) {
        let sum = |of: fn(&Broker) -> u64| statistics.brokers.values().map(of).sum::<u64>();
        self.enter([sum(|b| b.txretries), sum(|b| b.txerrs + b.rxerrs), sum(|b| b.req_timeouts)]);
    }

    fn enter(&self, sums: [u64; 3]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for ((counter, told), sum) in self.counters.iter().zip(told.iter_mut()).zip(sums) {
            counter.inc_by(sum.saturating_sub(*told));
            // A broker that left the cluster takes its share of the sum along.
            *told = sum;
        }
    }
}

/// As [`Logged`], with its requests counted.
#[derive(Debug)]
pub struct Counted {
    requests: Requests,
    /// The rest of the context.
    pub logged: Logged,
}

impl Counted {
    /// `client` is the label.
    pub fn new(client: &str, logged: Logged, metrics: &Metrics) -> Self {
        Self { requests: Requests::new(client, metrics), logged }
    }
}

impl ClientContext for Counted {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_counted_once_and_never_down() {
        let metrics = Metrics::new();
        let requests = Requests::new("producer", &metrics);
        for sums in [[1, 0, 0], [3, 2, 0], [2, 2, 0], [4, 2, 1]] {
            requests.enter(sums);
        }
        let of = |counters: &prometheus::IntCounterVec| counters.with_label_values(&["producer"]).get();
        assert_eq!(
            [of(&metrics.request_retries), of(&metrics.request_errors), of(&metrics.request_timeouts)],
            [5, 2, 1]
        );
    }
}
