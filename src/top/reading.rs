//! Makes [`Reading`]s out of what the workers told.

use std::collections::BTreeMap;
use std::time::Instant;

use super::ask::safe;
use super::bottleneck::bottleneck;
use super::figures::{Counted, DeadLetters, Hits, Lag, Level, Partition, Reading, Sentiment, Spread, Stage, Worker};
use super::track::{Refused, State, Track, outcomes, refused};
use crate::scrape::{Labels, Samples};

/// The stages in the order of the flow, and whether a record or batch waits there for others rather than being worked on.
const STAGES: &[(&str, bool)] = &[
    ("fetch", true),
    ("envelope", false),
    ("pixels", false),
    ("tokens", false),
    ("batch", true),
    ("image_encoder", false),
    ("text_encoder", false),
    ("tagger", false),
    ("relevance", false),
    ("fusion", false),
    ("publish", true),
];

/// What it is, the metric, and the label that it has there.
type Trouble = (&'static str, &'static str, Option<(&'static str, &'static str)>);

/// What should not happen, and is told once it has.
const TROUBLES: &[Trouble] = &[
    ("records lost to retention", "sentistream_records_lost_to_retention_total", None),
    ("panics contained", "sentistream_panics_total", None),
    ("batches that failed", "sentistream_batch_failures_total", None),
    ("offset commits failed", "sentistream_commits_total", Some(("outcome", "failed"))),
    ("transactions aborted", "sentistream_transactions_total", Some(("outcome", "aborted"))),
    ("transactions fenced", "sentistream_transactions_total", Some(("outcome", "fenced"))),
    ("assignments lost", "sentistream_rebalances_total", Some(("kind", "lost"))),
    ("assignments broken", "sentistream_rebalances_total", Some(("kind", "broken"))),
    ("posts dropped, partition taken away", "sentistream_outcomes_total", Some(("kind", "dropped"))),
    ("outcomes published again", "sentistream_publish_retries_total", None),
    ("images fetched again", "sentistream_fetch_retries_total", None),
    ("registry asked again", "sentistream_registry_retries_total", None),
    ("Kafka requests sent again", "sentistream_kafka_request_retries_total", None),
    ("Kafka requests failed", "sentistream_kafka_request_errors_total", None),
    ("Kafka requests unanswered", "sentistream_kafka_request_timeouts_total", None),
    ("partitions paused", "sentistream_pauses_total", None),
];

/// Of the workers shown, together.
struct Sums {
    now: Samples,
    rate: Option<Samples>,
    mean: Samples,
    workers: f64,
}

impl Sums {
    fn of(tracks: &[&Track]) -> Self {
        let mut sums = Self { now: Samples::default(), rate: None, mean: Samples::default(), workers: 0.0 };
        for (track, latest) in tracks.iter().filter_map(|track| Some((track, track.latest()?))) {
            sums.workers += 1.0;
            sums.now.add(latest, 1.0);
            sums.mean.add(&track.mean(), 1.0);
            if let Some((rate, _)) = track.rate() {
                sums.rate.get_or_insert_default().add(&rate, 1.0);
            }
        }
        sums
    }

    fn rate(&self, name: &str) -> Option<f64> {
        self.rate.as_ref()?.value(name)
    }

    /// Of all series that carry the labels: by second, and in all.
    fn counted(&self, name: &str, metric: &str, labels: &[(&str, &str)]) -> Option<Counted> {
        let per_second = self.rate.as_ref().and_then(|rate| sum(rate, metric, labels));
        Some(Counted { name: name.into(), per_second, total: sum(&self.now, metric, labels)? })
    }

    fn spread(&self, histogram: &str, labels: &[(&str, &str)]) -> Spread {
        let quantile = |share| self.rate.as_ref().and_then(|rate| rate.quantile(histogram, labels, share));
        Spread { p50: quantile(0.5), p99: quantile(0.99) }
    }

    /// A share of the time, of one worker on average.
    fn share_of_time(&self, name: &str) -> Option<f64> {
        self.rate(name).map(|seconds| seconds / self.workers)
    }
}

/// `None` where there is no such series.
fn sum(samples: &Samples, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut series = samples
        .series(metric)
        .filter(|(of, _)| labels.iter().all(|(label, value)| of.get(label) == Some(*value)))
        .map(|(_, value)| value);
    series.next().map(|first| first + series.sum::<f64>())
}

/// Sums by the values of a label.
fn by_label(samples: &Samples, metric: &str, label: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for (labels, value) in samples.series(metric) {
        *sums.entry(safe(labels.get(label).unwrap_or("?"))).or_default() += value;
    }
    sums
}

impl Reading {
    pub(super) fn of(tracks: &[Track], worker: Option<usize>, now: Instant) -> Self {
        let one = worker.and_then(|worker| tracks.get(worker));
        let shown: Vec<&Track> =
            tracks.iter().filter(|track| one.is_none_or(|one| std::ptr::eq(*track, one))).collect();
        let sums = Sums::of(&shown);
        let everyone = Sums::of(&tracks.iter().collect::<Vec<_>>());
        let names = |metric, label| by_label(&everyone.now, metric, label).into_keys().collect();
        let seconds = shown.iter().filter_map(|track| Some(track.rate()?.1)).reduce(f64::max);
        let room_wait = sums.share_of_time("sentistream_room_wait_seconds_total");
        Self {
            seconds,
            worker: one.map(|one| one.address.clone()),
            workers: tracks.iter().map(|track| Worker::of(track, now)).collect(),
            bundles: bundles(&everyone.now),
            providers: names("sentistream_model_info", "provider"),
            versions: names("sentistream_build_info", "version"),
            outcomes: kinds(&sums),
            trend: trend(&shown, now),
            end_to_end: sums.spread("sentistream_end_to_end_seconds", &[]),
            in_worker: sums.spread("sentistream_post_seconds", &[]),
            lag: Lag::of(&shown),
            stages: stages(&sums),
            bottleneck: bottleneck(&sums.mean, room_wait),
            levels: levels(&sums.now),
            cpu_cores: sums.rate("process_cpu_seconds_total"),
            room_wait,
            paused: sums.share_of_time("sentistream_paused_seconds_total"),
            cache_hits: ["image", "text", "post"].map(|kind| hits(&sums, kind)).into(),
            dead_letters: dead_letters(&sums, &shown, now),
            sentiment: Sentiment::of(&sums),
            troubles: troubles(&sums),
        }
    }
}

impl Worker {
    fn of(track: &Track, now: Instant) -> Self {
        let (state, why, silent_seconds) = match &track.state {
            State::Unknown => ("unknown", None, None),
            State::Answers { stalled: Some(why), .. } => ("stalled", Some(why.clone()), None),
            State::Answers { ready: true, .. } => ("ready", None, None),
            State::Answers { ready: false, .. } => ("starting", None, None),
            State::Silent { since, why } => {
                ("silent", Some(why.clone()), Some(now.duration_since(*since).as_secs_f64()))
            }
        };
        let sums = Sums::of(&[track]);
        let lag = Lag::of(&[track]);
        Self {
            address: track.address.clone(),
            state,
            why,
            silent_seconds,
            partitions: sums.now.value("sentistream_assigned_partitions"),
            per_second: sums.rate.as_ref().map(outcomes),
            lag_records: lag.records,
            lag_seconds: lag.seconds,
            cpu_cores: sums.rate("process_cpu_seconds_total"),
            memory: sums.now.value("process_resident_memory_bytes"),
        }
    }
}

fn bundles(now: &Samples) -> Vec<String> {
    let bundle = |labels: &Labels| {
        let of = |label| labels.get(label).unwrap_or("?");
        let digest: String = of("digest").chars().take(8).collect();
        safe(&format!("{} {} ({digest})", of("bundle"), of("version")))
    };
    let mut bundles: Vec<String> = now.series("sentistream_model_info").map(|(labels, _)| bundle(&labels)).collect();
    bundles.sort();
    bundles.dedup();
    bundles
}

fn kinds(sums: &Sums) -> Vec<Counted> {
    let kinds =
        [("results", "result"), ("dead letters", "dead_letter"), ("tombstones", "tombstone"), ("dropped", "dropped")];
    kinds
        .iter()
        .filter_map(|(name, kind)| sums.counted(name, "sentistream_outcomes_total", &[("kind", kind)]))
        .collect()
}

fn trend(tracks: &[&Track], now: Instant) -> Vec<Option<f64>> {
    let add = |one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    };
    let trends = tracks.iter().map(|track| track.trend(now));
    trends
        .reduce(|sum, next| sum.into_iter().zip(next).map(|(one, other)| add(one, other)).collect())
        .unwrap_or_default()
}

impl Lag {
    fn of(tracks: &[&Track]) -> Self {
        let mut partitions: BTreeMap<(String, u32), Partition> = BTreeMap::new();
        let mut set = |samples: &Samples, metric: &str, put: fn(&mut Partition) -> &mut Option<f64>| {
            for (labels, value) in samples.series(metric) {
                let topic = safe(labels.get("topic").unwrap_or("?"));
                let number = labels.get("partition").and_then(|number| number.parse().ok()).unwrap_or(u32::MAX);
                let name = format!("{topic}/{number}");
                let partition = Partition { name, records: None, seconds: None };
                let place = put(partitions.entry((topic, number)).or_insert(partition));
                *place = Some(place.map_or(value, |other| other.max(value)));
            }
        };
        for latest in tracks.iter().filter_map(|track| track.latest()) {
            set(latest, "sentistream_consumer_lag_records", |partition| &mut partition.records);
            set(latest, "sentistream_consumer_lag_seconds", |partition| &mut partition.seconds);
        }
        let mut partitions: Vec<Partition> = partitions.into_values().collect();
        let rank = |partition: &Partition| partition.records.unwrap_or(-1.0);
        partitions.sort_by(|one, other| rank(other).total_cmp(&rank(one)));
        Self {
            records: partitions.iter().filter_map(|partition| partition.records).reduce(|sum, next| sum + next),
            seconds: partitions.iter().filter_map(|partition| partition.seconds).reduce(f64::max),
            growth: tracks
                .iter()
                .filter_map(|track| track.change("sentistream_consumer_lag_records"))
                .reduce(|sum, next| sum + next),
            partitions,
        }
    }
}

fn stages(sums: &Sums) -> Vec<Stage> {
    let seconds = |name: &str| sums.rate(&format!("sentistream_stage_seconds_sum{{stage=\"{name}\"}}"));
    let worked: f64 = STAGES.iter().filter(|(_, waits)| !waits).filter_map(|(name, _)| seconds(name)).sum();
    STAGES
        .iter()
        .map(|(name, waits)| {
            let at_once = seconds(name);
            let per_second = sums.rate(&format!("sentistream_stage_seconds_count{{stage=\"{name}\"}}"));
            let Spread { p50, p99 } = sums.spread("sentistream_stage_seconds", &[("stage", name)]);
            let ms = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1000.0);
            Stage {
                name,
                waits: *waits,
                at_once,
                share: at_once.filter(|_| !waits && worked > 0.0).map(|seconds| seconds / worked),
                per_second,
                mean_ms: ms(at_once.zip(per_second).filter(|(_, rate)| *rate > 0.0).map(|(busy, rate)| busy / rate)),
                p50_ms: ms(p50),
                p99_ms: ms(p99),
            }
        })
        .collect()
}

fn levels(now: &Samples) -> Vec<Level> {
    let level = |name, bytes, value, limit| Level { name, bytes, now: now.value(value), limit: now.value(limit) };
    vec![
        level("records in flight", false, "sentistream_in_flight_records", "sentistream_in_flight_limit_records"),
        level("bytes in flight", true, "sentistream_in_flight_bytes", "sentistream_in_flight_limit_bytes"),
        level("cache", true, "sentistream_cache_bytes", "sentistream_cache_limit_bytes"),
        level("memory", true, "process_resident_memory_bytes", "sentistream_memory_limit_bytes"),
    ]
}

fn hits(sums: &Sums, kind: &'static str) -> Hits {
    let of = |outcome| sums.rate(&format!("sentistream_cache_requests_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}"));
    let share = of("hit").zip(of("miss")).filter(|(hit, miss)| hit + miss > 0.0).map(|(hit, miss)| hit / (hit + miss));
    Hits { kind, share }
}

fn dead_letters(sums: &Sums, tracks: &[&Track], now: Instant) -> Vec<DeadLetters> {
    let metric = "sentistream_dead_letters_total";
    let by_refused = |samples: &Samples| -> BTreeMap<Refused, f64> {
        samples.series(metric).map(|(labels, count)| (refused(&labels), count)).collect()
    };
    let rates = sums.rate.as_ref().map(by_refused);
    let letters = by_refused(&sums.now).into_iter().filter(|(_, total)| *total > 0.0);
    let mut letters: Vec<DeadLetters> = letters
        .map(|(of, total)| {
            let seen = tracks.iter().filter_map(|track| track.last_refused(&of)).max();
            DeadLetters {
                per_second: rates.as_ref().and_then(|rates| rates.get(&of).copied()),
                total,
                seconds_ago: seen.map(|seen| now.duration_since(seen).as_secs_f64()),
                stage: of.0,
                reason: of.1,
            }
        })
        .collect();
    let rank = |letters: &DeadLetters| (letters.per_second.unwrap_or(0.0), letters.total);
    letters.sort_by(|one, other| {
        let ((rate, total), (than, than_total)) = (rank(other), rank(one));
        rate.total_cmp(&than).then(total.total_cmp(&than_total))
    });
    letters
}

impl Sentiment {
    fn of(sums: &Sums) -> Self {
        let results = |samples: &Samples| sum(samples, "sentistream_results_total", &[]).unwrap_or(0.0);
        let recent = sums.rate.as_ref().filter(|rate| results(rate) > 0.0);
        let samples = recent.unwrap_or(&sums.now);
        let all = results(samples);
        if all <= 0.0 {
            return Self::default();
        }
        let labels = by_label(samples, "sentistream_results_total", "label").into_iter();
        let signed = |sign| sum(samples, "sentistream_polarity_total", &[("sign", sign)]);
        let confident = samples.value("sentistream_confidence_ratio_sum");
        let counted = samples.value("sentistream_confidence_ratio_count").filter(|count| *count > 0.0);
        Self {
            recent: recent.is_some(),
            labels: labels.map(|(label, count)| (label, count / all)).collect(),
            polarity: signed("positive").zip(signed("negative")).map(|(above, below)| (above - below) / all),
            confidence: confident.zip(counted).map(|(sum, count)| sum / count),
        }
    }
}

fn troubles(sums: &Sums) -> Vec<Counted> {
    let all = TROUBLES.iter().filter_map(|(name, metric, label)| sums.counted(name, metric, label.as_slice()));
    all.filter(|counted| counted.total > 0.0).collect()
}
