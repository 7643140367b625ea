//! Every figure of a moment, of one worker or of all together. What is not told, or not yet, is `None`: nothing is guessed. Field by
//! field it is what `sentistream top --json` prints.

use serde::Serialize;

use super::bottleneck::Bottleneck;

/// All figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reading {
    /// Seconds that rates were taken over.
    pub seconds: Option<f64>,
    /// Whose figures these are; `None`: all workers'.
    pub worker: Option<String>,
    /// Every worker, whosever figures these are.
    pub workers: Vec<Worker>,
    /// Bundles, providers and versions that run: one of each, as a rule.
    pub bundles: Vec<String>,
    /// See `bundles`.
    pub providers: Vec<String>,
    /// See `bundles`.
    pub versions: Vec<String>,
    /// Outcomes by kind.
    pub outcomes: Vec<Counted>,
    /// Outcomes a second at each point of the last three minutes.
    pub trend: Vec<Option<f64>>,
    /// From publication to acknowledged outcome, seconds.
    pub end_to_end: Spread,
    /// From pull to acknowledged outcome, seconds.
    pub in_worker: Spread,
    /// How far behind.
    pub lag: Lag,
    /// Where the time goes.
    pub stages: Vec<Stage>,
    /// Which stage holds the others up.
    pub bottleneck: Option<Bottleneck>,
    /// Against what may be.
    pub levels: Vec<Level>,
    /// Cores that are busy.
    pub cpu_cores: Option<f64>,
    /// Share of the time that the source waits for room, of one worker on average.
    pub room_wait: Option<f64>,
    /// Share of the time that partitions are paused, of one worker on average.
    pub paused: Option<f64>,
    /// Share of the cache's questions that were known, by what was asked for.
    pub cache_hits: Vec<Hits>,
    /// By stage and reason, the most frequent first.
    pub dead_letters: Vec<DeadLetters>,
    /// What the results say.
    pub sentiment: Sentiment,
    /// What should not happen and did.
    pub troubles: Vec<Counted>,
}

/// A worker at a glance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Worker {
    /// Where it was asked.
    pub address: String,
    /// `ready`, `starting`, `stalled`, `silent`, `unknown`.
    pub state: &'static str,
    /// Why it is stalled or silent.
    pub why: Option<String>,
    /// Seconds that it has been silent for.
    pub silent_seconds: Option<f64>,
    /// Partitions assigned.
    pub partitions: Option<f64>,
    /// Outcomes a second.
    pub per_second: Option<f64>,
    /// Records behind.
    pub lag_records: Option<f64>,
    /// Seconds behind.
    pub lag_seconds: Option<f64>,
    /// Cores that are busy.
    pub cpu_cores: Option<f64>,
    /// Resident memory, bytes.
    pub memory: Option<f64>,
}

/// Something that is counted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counted {
    /// What.
    pub name: String,
    /// Within the window.
    pub per_second: Option<f64>,
    /// Since the workers' start.
    pub total: f64,
}

/// Quantiles.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Spread {
    /// Half take no longer.
    pub p50: Option<f64>,
    /// 99 of 100 take no longer.
    pub p99: Option<f64>,
}

/// How far behind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Lag {
    /// Records of all partitions.
    pub records: Option<f64>,
    /// The oldest record's age.
    pub seconds: Option<f64>,
    /// Records by which it grows a second.
    pub growth: Option<f64>,
    /// Those with the most records first.
    pub partitions: Vec<Partition>,
}

/// A partition's lag.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Partition {
    /// `topic/partition`.
    pub name: String,
    /// Records behind.
    pub records: Option<f64>,
    /// Seconds behind.
    pub seconds: Option<f64>,
}

/// Where the time goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Its name in `sentistream_stage_seconds`.
    pub name: &'static str,
    /// Whether it is waited in rather than worked.
    pub waits: bool,
    /// Records or batches in it at once, on average.
    pub at_once: Option<f64>,
    /// Of the time of all stages that work.
    pub share: Option<f64>,
    /// Records or batches a second.
    pub per_second: Option<f64>,
    /// Of one, milliseconds.
    pub mean_ms: Option<f64>,
    /// Of one, milliseconds.
    pub p50_ms: Option<f64>,
    /// Of one, milliseconds.
    pub p99_ms: Option<f64>,
}

/// What there is of what may be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Level {
    /// What.
    pub name: &'static str,
    /// Whether these are bytes.
    pub bytes: bool,
    /// There is.
    pub now: Option<f64>,
    /// May be.
    pub limit: Option<f64>,
}

/// The cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hits {
    /// `image`, `text`, `post`.
    pub kind: &'static str,
    /// Within the window.
    pub share: Option<f64>,
}

/// Dead letters of one stage and reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeadLetters {
    /// The stage that refused the record.
    pub stage: String,
    /// Why.
    pub reason: String,
    /// Within the window.
    pub per_second: Option<f64>,
    /// Since the workers' start.
    pub total: f64,
    /// Since they were last seen to come; `None` where none came since `top` started.
    pub seconds_ago: Option<f64>,
}

/// What the results say.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sentiment {
    /// Whether it is of the window; of all since the workers' start where nothing came within it.
    pub recent: bool,
    /// By label.
    pub labels: Vec<(String, f64)>,
    /// Mean polarity.
    pub polarity: Option<f64>,
    /// Mean confidence.
    pub confidence: Option<f64>,
}
