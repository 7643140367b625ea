//! Every metric's name, in one place and one registry. Names follow the Prometheus conventions: base units, `_total` for
//! counters, and label values from closed lists only (never ids or texts of posts).

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// From 0.1 ms to 26 s, each bucket four times the one before it at most.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
const POSTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// All metrics of a worker.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
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
    /// Time spent in a `stage`, per record (`fetch`, `envelope`, `pixels`, `tokens`, `publish`) or per batch (the graphs).
    pub stage_seconds: HistogramVec,
    /// Posts whose image is being fetched, or waits for its turn.
    pub fetches_in_flight: IntGauge,
    /// Attempts at an image after one that failed.
    pub fetch_retries: IntCounter,
    /// Questions to the cache by `kind` (`image`, `text`, `post`) and `outcome` (`hit`, `miss`).
    pub cache_requests: IntCounterVec,
    /// Bytes that the cache holds.
    pub cache_bytes: IntGauge,
    /// Posts per batch.
    pub batch_size: Histogram,
    /// Batches by the `reason` they were started.
    pub batches: IntCounterVec,
    /// Records in flight.
    pub in_flight_records: IntGauge,
    /// Bytes in flight.
    pub in_flight_bytes: IntGauge,
    /// Configured limits, by `what` (`records`, `bytes`).
    pub in_flight_limit: IntGaugeVec,
    /// Items waiting in front of a stage, by `queue` (`decode`, `batch`, `model`, `publish`).
    pub queue_depth: IntGaugeVec,
    /// Records behind the end of the partition: high watermark less committed position.
    pub consumer_lag: IntGaugeVec,
    /// Partitions assigned.
    pub assigned_partitions: IntGauge,
    /// Rebalances by `kind` (`assign`, `revoke`, `lost`, and `broken`: lost without librdkafka saying so).
    pub rebalances: IntCounterVec,
    /// Times the partitions were paused because nothing left the pipeline for a while.
    pub pauses: IntCounter,
    /// Records that retention removed before this group read them.
    pub records_lost_to_retention: IntCounter,
    /// Transactions by `outcome` (`committed`, `aborted`, `fenced`).
    pub transactions: IntCounterVec,
    /// Offset commits by `outcome` (`ok`, `failed`).
    pub commits: IntCounterVec,
    /// Panics contained to one record.
    pub panics: IntCounter,
    /// 1, with what runs as labels: `provider`, `bundle`, `version`, `digest`.
    pub model_info: IntGaugeVec,
}

impl Metrics {
    /// All metrics at zero in a registry of their own.
    #[must_use]
    pub fn new() -> Self {
        let make = Maker { registry: Registry::new() };
        Self {
            records: make.counter("records_total", "Records pulled."),
            record_bytes: make.counter("record_bytes_total", "Bytes of the records pulled: keys, values, headers."),
            fetched_bytes: make.counter(
                "fetched_bytes_total",
                "Bytes the consumer received from the brokers, as compressed; far above record_bytes_total, records are fetched twice.",
            ),
            outcomes: make.counters("outcomes_total", "Outcomes acknowledged.", &["kind", "reason"]),
            post_seconds: make.histogram("post_seconds", "From pull to acknowledged outcome.", SECONDS),
            stage_seconds: make.histograms("stage_seconds", "Time in a stage, per record or batch.", &["stage"]),
            fetches_in_flight: make.gauge("fetches_in_flight", "Posts whose image by URL is not there yet."),
            fetch_retries: make.counter("fetch_retries_total", "Attempts at an image after one that failed."),
            cache_requests: make.counters(
                "cache_requests_total",
                "Questions to the cache of what was encoded or scored before.",
                &["kind", "outcome"],
            ),
            cache_bytes: make.gauge("cache_bytes", "Bytes that the cache holds."),
            batch_size: make.histogram("batch_posts", "Posts per batch.", POSTS),
            batches: make.counters("batches_total", "Batches by why they were started.", &["reason"]),
            in_flight_records: make.gauge("in_flight_records", "Records pulled and not yet settled."),
            in_flight_bytes: make.gauge("in_flight_bytes", "Bytes of the records in flight."),
            in_flight_limit: make.gauges("in_flight_limit", "Configured limits of what is in flight.", &["what"]),
            queue_depth: make.gauges("queue_depth", "Items waiting in front of a stage.", &["queue"]),
            consumer_lag: make.gauges(
                "consumer_lag_records",
                "High watermark less the position behind the last settled record.",
                &["topic", "partition"],
            ),
            assigned_partitions: make.gauge("assigned_partitions", "Partitions assigned to this worker."),
            rebalances: make.counters("rebalances_total", "Rebalances seen.", &["kind"]),
            pauses: make.counter("pauses_total", "Times all partitions were paused for want of permits."),
            records_lost_to_retention: make
                .counter("records_lost_to_retention_total", "Records that retention removed before they were read."),
            commits: make.counters("commits_total", "Offset commits.", &["outcome"]),
            transactions: make.counters("transactions_total", "Transactions of exactly-once delivery.", &["outcome"]),
            panics: make.counter("panics_total", "Panics contained to one record."),
            model_info: make.gauges("model_info", "What runs.", &["provider", "bundle", "version", "digest"]),
            registry: make.registry,
        }
    }

    /// The text exposition format (version 0.0.4).
    ///
    /// # Errors
    /// Only if a metric is inconsistent, which would be a bug.
    pub fn expose(&self) -> Result<String, prometheus::Error> {
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

struct Maker {
    registry: Registry,
}

#[expect(clippy::expect_used, reason = "names are literals of this file, and a test makes them all")]
impl Maker {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("sentistream_{name}"), help)
    }

    fn register<C: prometheus::core::Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let collector = made.expect("valid metric");
        self.registry.register(Box::new(collector.clone())).expect("registered once");
        collector
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(Self::opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Self::opts(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(Self::opts(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(SECONDS.to_vec());
        self.register(HistogramVec::new(opts, labels))
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
