//! Every metric's name, in one place and one registry. Names follow the Prometheus conventions: base units, `_total` for
//! counters, and label values from closed or bounded lists only (never ids or texts of posts). What each tells, and what to do
//! about it, stands in `docs/metrics.md`, which a test compares with a running worker.
//!
//! Series of closed lists are there from the start, at zero, so that their rates exist before the first event.

mod make;
pub(crate) mod process;
mod sentiment;

use clap::ValueEnum as _;
use prometheus::{
    Counter, Encoder, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use self::make::Maker;
use self::process::Process;
pub use self::sentiment::{Readings, Sentiment};
use crate::error::{Reason, Stage};

/// From 0.1 ms to 30 s, each bucket 2.5 times the one before it at most.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Up to a day: what lay on the topic before it was pulled is in it.
const HOURS: &[f64] = &[
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0, 28_800.0,
    86_400.0,
];
const POSTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What is timed. Fetching waits in the queue for its turn, and each other stage works.
const STAGES: &[&str] = &[
    "fetch",
    "envelope",
    "pixels",
    "tokens",
    "batch",
    "image_encoder",
    "text_encoder",
    "tagger",
    "relevance",
    "fusion",
    "publish",
];

/// All metrics of a worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    process: Option<Process>,
    /// Records pulled.
    pub records: IntCounter,
    /// Bytes of the records pulled (key, value and headers).
    pub record_bytes: IntCounter,
    /// Bytes received from the brokers: what records and their waste (fetched twice, cut off at the end of a fetch) cost.
    pub fetched_bytes: IntCounter,
    /// Outcomes acknowledged, by `kind` (`result`, `dead_letter`, `tombstone`, `dropped`) and `reason` (of dead letters).
    pub outcomes: IntCounterVec,
    /// From pull to acknowledged outcome.
    pub post_seconds: Histogram,
    /// From a record's timestamp to its acknowledged outcome.
    pub end_to_end_seconds: Histogram,
    /// Dead letters acknowledged, by the `stage` that refused the record and the `reason`.
    pub dead_letters: IntCounterVec,
    /// Time spent in a `stage`, per record (`fetch`, `envelope`, `pixels`, `tokens`, `publish`) or per batch (`batch`, which is the
    /// wait of its first post, and the graphs).
    pub stage_seconds: HistogramVec,
    /// Posts whose image is being fetched, or waits for its turn.
    pub fetches_in_flight: IntGauge,
    /// Attempts at an image after one that failed.
    pub fetch_retries: IntCounter,
    /// Posts whose schema is being asked for.
    pub schema_waits: IntGauge,
    /// Questions to the schema registry after one that had no answer.
    pub registry_retries: IntCounter,
    /// Questions to the cache by `kind` (`image`, `text`, `post`) and `outcome` (`hit`, `miss`).
    pub cache_requests: IntCounterVec,
    /// Bytes that the cache holds.
    pub cache_bytes: IntGauge,
    /// Most bytes that the cache may hold.
    pub cache_limit: IntGauge,
    /// Posts per batch.
    pub batch_size: Histogram,
    /// Batches by the `reason` they were started.
    pub batches: IntCounterVec,
    /// Most posts per batch.
    pub batch_limit: IntGauge,
    /// Batches that the model failed on, and that were tried again in halves.
    pub batch_failures: IntCounter,
    /// Tokens that the text encoder computed, those of padding among them.
    pub tokens: IntCounter,
    /// Tokens of padding that it computed.
    pub padding_tokens: IntCounter,
    /// Records in flight.
    pub in_flight_records: IntGauge,
    /// Bytes in flight.
    pub in_flight_bytes: IntGauge,
    /// `limits.in_flight_records`.
    pub in_flight_limit_records: IntGauge,
    /// `limits.in_flight_bytes`.
    pub in_flight_limit_bytes: IntGauge,
    /// Bytes of the largest record that is decoded.
    pub record_limit: IntGauge,
    /// Items waiting in front of a stage, by `queue` (`decode`, `batch`, `model`, `publish`).
    pub queue_depth: IntGaugeVec,
    /// Records behind the end of the partition: high watermark less the position behind the last settled record.
    pub consumer_lag: IntGaugeVec,
    /// How old the oldest record of a partition is that is not settled; see [`crate::kafka`]'s lag.
    pub consumer_lag_seconds: GaugeVec,
    /// Partitions of the input `topic`.
    pub topic_partitions: IntGaugeVec,
    /// Partitions assigned.
    pub assigned_partitions: IntGauge,
    /// Rebalances by `kind` (`assign`, `revoke`, `lost`, and `broken`: lost without librdkafka saying so).
    pub rebalances: IntCounterVec,
    /// Times the partitions were paused because nothing left the pipeline for a while.
    pub pauses: IntCounter,
    /// How long they were paused.
    pub paused_seconds: Counter,
    /// How long the poll loop waited for room in the budget.
    pub room_wait_seconds: Counter,
    /// Records that retention removed before this group read them.
    pub records_lost_to_retention: IntCounter,
    /// Transactions by `outcome` (`committed`, `aborted`, `fenced`).
    pub transactions: IntCounterVec,
    /// Offset commits by `outcome` (`ok`, `failed`).
    pub commits: IntCounterVec,
    /// Requests to the brokers that were sent again, by `client` (`consumer`, `producer`).
    pub request_retries: IntCounterVec,
    /// Requests that failed, or whose answer did.
    pub request_errors: IntCounterVec,
    /// Requests that got no answer in time.
    pub request_timeouts: IntCounterVec,
    /// Outcomes sent again, since the broker refused them as they were.
    pub publish_retries: IntCounter,
    /// Panics contained to one record.
    pub panics: IntCounter,
    /// 1, with what runs as labels: `provider`, `bundle`, `version`, `digest`.
    pub model_info: IntGaugeVec,
    /// Sessions of the model side by side.
    pub model_sessions: IntGauge,
    /// What the results say.
    pub sentiment: Sentiment,
}

impl Metrics {
    /// All metrics at zero in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let make = Maker { registry: Registry::new() };
        let metrics = Self {
            records: make.counter("records_total", "Records pulled."),
            record_bytes: make.counter("record_bytes_total", "Bytes of the records pulled: keys, values, headers."),
            fetched_bytes: make.counter(
                "fetched_bytes_total",
                "Bytes the consumer received from the brokers, as compressed; far above record_bytes_total, records are fetched twice.",
            ),
            outcomes: make.counters("outcomes_total", "Outcomes acknowledged.", &["kind", "reason"]),
            post_seconds: make.histogram("post_seconds", "From pull to acknowledged outcome.", SECONDS),
            end_to_end_seconds: make.histogram(
                "end_to_end_seconds",
                "From a record's timestamp to its acknowledged outcome.",
                HOURS,
            ),
            dead_letters: make.counters("dead_letters_total", "Dead letters acknowledged.", &["stage", "reason"]),
            stage_seconds: make.histograms("stage_seconds", "Time in a stage, per record or batch.", &["stage"], SECONDS),
            fetches_in_flight: make.gauge("fetches_in_flight", "Posts whose image by URL is not there yet."),
            fetch_retries: make.counter("fetch_retries_total", "Attempts at an image after one that failed."),
            schema_waits: make.gauge("schema_waits", "Posts whose schema is being asked for."),
            registry_retries: make
                .counter("registry_retries_total", "Questions to the schema registry after one without an answer."),
            cache_requests: make.counters(
                "cache_requests_total",
                "Questions to the cache of what was encoded or scored before.",
                &["kind", "outcome"],
            ),
            cache_bytes: make.gauge("cache_bytes", "Bytes that the cache holds."),
            cache_limit: make.gauge("cache_limit_bytes", "Most bytes that the cache may hold."),
            batch_size: make.histogram("batch_posts", "Posts per batch.", POSTS),
            batches: make.counters("batches_total", "Batches by why they were started.", &["reason"]),
            batch_limit: make.gauge("batch_limit_posts", "Most posts per batch."),
            batch_failures: make.counter(
                "batch_failures_total",
                "Batches that the model failed on, and that were tried again in halves.",
            ),
            tokens: make.counter("tokens_total", "Tokens that the text encoder computed, padding among them."),
            padding_tokens: make.counter("padding_tokens_total", "Tokens of padding that the text encoder computed."),
            in_flight_records: make.gauge("in_flight_records", "Records pulled and not yet settled."),
            in_flight_bytes: make.gauge("in_flight_bytes", "Bytes of the records in flight."),
            in_flight_limit_records: make.gauge("in_flight_limit_records", "Most records in flight."),
            in_flight_limit_bytes: make.gauge("in_flight_limit_bytes", "Most bytes in flight."),
            record_limit: make.gauge("record_limit_bytes", "Largest record that is decoded."),
            queue_depth: make.gauges("queue_depth", "Items waiting in front of a stage.", &["queue"]),
            consumer_lag: make.gauges(
                "consumer_lag_records",
                "High watermark less the position behind the last settled record; 0 once all is read and settled.",
                &["topic", "partition"],
            ),
            consumer_lag_seconds: make.measures(
                "consumer_lag_seconds",
                "Age of the oldest record that is not settled, by its timestamp; 0 once all is read and settled.",
                &["topic", "partition"],
            ),
            topic_partitions: make.gauges("topic_partitions", "Partitions of the input topic.", &["topic"]),
            assigned_partitions: make.gauge("assigned_partitions", "Partitions assigned to this worker."),
            rebalances: make.counters("rebalances_total", "Rebalances seen.", &["kind"]),
            pauses: make.counter("pauses_total", "Times all partitions were paused for want of permits."),
            paused_seconds: make.sum("paused_seconds_total", "How long the partitions were paused."),
            room_wait_seconds: make
                .sum("room_wait_seconds_total", "How long the poll loop waited for room in the budget."),
            records_lost_to_retention: make
                .counter("records_lost_to_retention_total", "Records that retention removed before they were read."),
            commits: make.counters("commits_total", "Offset commits.", &["outcome"]),
            transactions: make.counters("transactions_total", "Transactions of exactly-once delivery.", &["outcome"]),
            request_retries: make.counters(
                "kafka_request_retries_total",
                "Requests to the brokers that were sent again.",
                &["client"],
            ),
            request_errors: make.counters(
                "kafka_request_errors_total",
                "Requests to the brokers, or answers, that failed in transmission.",
                &["client"],
            ),
            request_timeouts: make.counters(
                "kafka_request_timeouts_total",
                "Requests to the brokers that got no answer in time.",
                &["client"],
            ),
            publish_retries: make.counter(
                "publish_retries_total",
                "Outcomes sent again, since the broker refused them as they were.",
            ),
            panics: make.counter("panics_total", "Panics contained to one record."),
            model_info: make.gauges("model_info", "What runs.", &["provider", "bundle", "version", "digest"]),
            model_sessions: make.gauge("model_sessions", "Sessions of the model side by side."),
            sentiment: Sentiment::new(&make),
            process: None,
            registry: make.registry,
        };
        metrics.start_at_zero();
        metrics
    }

    /// Also what is told of the process: its memory against what it may take, its processor time, its start, its build.
    #[must_use]
    pub fn with_process(self) -> Self {
        let make = Maker { registry: self.registry.clone() };
        let process = make.process();
        make.gauges("build_info", "What was built.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Self { process: Some(process), ..self }
    }

    /// So that rates exist before the first event.
    fn start_at_zero(&self) {
        for kind in ["result", "tombstone", "dropped"] {
            self.outcomes.with_label_values(&[kind, ""]);
        }
        for reason in Reason::value_variants() {
            self.outcomes.with_label_values(&["dead_letter", reason.as_str()]);
            for stage in Stage::ALL.iter().filter(|stage| stage.refuses(*reason)) {
                self.dead_letters.with_label_values(&[stage.as_str(), reason.as_str()]);
            }
        }
        for stage in STAGES {
            self.stage_seconds.with_label_values(&[stage]);
        }
        for kind in ["image", "text", "post"] {
            for outcome in ["hit", "miss"] {
                self.cache_requests.with_label_values(&[kind, outcome]);
            }
        }
        for client in ["consumer", "producer"] {
            for counters in [&self.request_retries, &self.request_errors, &self.request_timeouts] {
                counters.with_label_values(&[client]);
            }
        }
        let start = |counters: &IntCounterVec, values: &[&str]| {
            for value in values {
                counters.with_label_values(&[value]);
            }
        };
        start(&self.batches, &["posts", "tokens", "model_free", "drain"]);
        start(&self.rebalances, &["assign", "revoke", "lost", "broken"]);
        start(&self.transactions, &["committed", "aborted", "fenced"]);
        start(&self.commits, &["ok", "failed"]);
        for queue in ["decode", "batch", "model", "publish"] {
            self.queue_depth.with_label_values(&[queue]);
        }
    }

    /// The text exposition format (version 0.0.4).
    ///
    /// # Errors
    /// Only if a metric is inconsistent, which would be a bug.
    pub fn expose(&self) -> Result<String, prometheus::Error> {
        if let Some(process) = &self.process {
            process.update();
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_is_exposed() {
        let metrics = Metrics::new();
        metrics.records.inc();
        let text = metrics.expose().expect("exposes");
        assert!(text.contains("sentistream_records_total 1"), "{text}");
    }
}
