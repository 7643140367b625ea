//! `sentistream bench`: what a worker does per second and per CPU-second, and how that compares with the hardware's ceiling and with others.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Ended, complain};
use crate::bench::ceiling::{self, Layout};
use crate::bench::contender::{Contender, Peer};
use crate::bench::corpus::{self, Corpus, Kind};
use crate::bench::report::{BundleTold, CorpusTold, Machine, Report, Run, SCHEMA};
use crate::bench::stand::{Stand, absolute};
use crate::bench::{self, Plan};
use crate::kafka::Delivery;
use crate::kafka::topics::Topics;
use crate::model::Bundle;
use crate::posts::{Encoding, Reading};
use crate::settings::Settings;

pub(super) const HELP: &str = "\
Examples:
  make bench                                           a broker of its own; CORPUS= POSTS= ROUNDS= WORKERS= BUNDLE= PHOTOS= ARGS=
  SENTISTREAM__KAFKA__BROKERS=kafka:9092 sentistream bench --corpus photos-1080 --corpus feed
  sentistream bench --corpus-path archive.csv --rounds 5 --json > bench.json
  sentistream bench --peer 'tuned=python3 peer.py'      another program on the same topic
  sentistream bench --corpus tiny --partitions 64 --posts 100000

What it does: makes topics of its own on kafka.brokers, feeds the corpus once, lets everybody read it in turn (worker, peers,
ceiling; then again, --rounds times), and deletes the topics. The worker is this program's `run` with the settings and
SENTISTREAM__ variables of this command, so that settings can be tried. The ceiling is the same bytes decoded, tokenised and
run through the model on all cores, without broker and pipeline. Rate and CPU are taken in mid-run, so that neither starting nor
running dry counts: give several times as many posts as are in flight (limits.in_flight_records). docs/performance.md has the method and the schema of --json.

A peer's COMMAND is run by the shell with SENTISTREAM__KAFKA__BROKERS, __GROUP, __INPUT_TOPIC, __OUTPUT_TOPIC and
__DEAD_LETTER_TOPIC and SENTISTREAM__MODEL__BUNDLE in its environment. It joins the group, reads from the beginning, publishes one
result for each post, keyed as the post is, and goes on until it gets SIGTERM.";

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// What posts to measure on; may be given several times [default: photos-1080]
    #[arg(long, value_enum, value_name = "CORPUS")]
    corpus: Vec<Kind>,
    /// Posts of your own instead: an image, a folder, or a list of posts (.jsonl, .csv), as `sentistream score` reads it
    #[arg(long, value_name = "PATH", conflicts_with = "corpus")]
    corpus_path: Option<PathBuf>,
    /// Posts of each corpus [default: 3000 photos-512, 2000 photos-1080, 1000 photos-2048, 20000 feed, 200000 tiny; all of PATH]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=10_000_000))]
    posts: Option<u32>,
    /// Turns of everybody
    #[arg(long, value_name = "R", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Partitions of each topic
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=1000))]
    partitions: i32,
    /// Processes of everybody, which share the work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    workers: u16,
    /// Give each of these processes a core to itself
    #[arg(long)]
    pin: bool,
    /// Another program on the same topic; may be given several times
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<Peer>,
    /// Leave the ceiling out
    #[arg(long)]
    no_ceiling: bool,
    /// Layout of the ceiling, such as per-core:8 or shared:32, instead of trying which is best
    #[arg(long, value_name = "LAYOUT", conflicts_with = "no_ceiling")]
    layout: Option<Layout>,
    /// Seconds that latency is measured for; 0 leaves it out
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    latency: u64,
    /// Share of its own rate at which everybody's latency is measured
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    load: f64,
    /// Folder of photographs that posts are made of
    #[arg(long, value_name = "DIR", default_value = "tests/fixtures/photos")]
    photos: PathBuf,
    /// Bundle of the corpus `tiny`, which is to cost next to nothing
    #[arg(long, value_name = "DIR", default_value = "tests/fixtures/bundles/tiny")]
    trivial_bundle: PathBuf,
    /// What the posts are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder where made posts are kept for the next time
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    keep: PathBuf,
    /// One JSON document instead of tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "give a share above 0 and at most 1".into())
}

/// # Errors
/// No broker, a corpus or a bundle that cannot be used, a contender that ends, stalls, refuses posts or leaves some out.
pub async fn run(settings: &Settings, arguments: Arguments) -> Result<Ended> {
    if settings.kafka.delivery == Delivery::ExactlyOnce {
        bail!("bench counts records by their offsets, which transactions use too; set kafka.delivery to at_least_once");
    }
    if i32::from(arguments.workers) > arguments.partitions {
        let (workers, partitions) = (arguments.workers, arguments.partitions);
        bail!("{workers} workers share {partitions} partitions: some would have none; raise --partitions");
    }
    let (settings, stop) = (settings.clone(), Arc::new(AtomicBool::new(false)));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = Arc::clone(&stop);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        complain("stopping; a second signal stops at once and leaves topics behind");
        stopping.store(true, Ordering::Relaxed);
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(130);
    });
    let report = tokio::task::spawn_blocking(move || {
        report(&settings, &arguments, &stop).map(|report| (report, arguments.json))
    });
    let (report, as_json) = report.await??;
    show(&report, as_json)?;
    Ok(Ended::Done)
}

/// The hidden command that [`ceiling`] is run by.
pub fn run_ceiling(settings: &Settings, arguments: &ceiling::Arguments) -> Result<Ended> {
    ceiling::run(settings, arguments)?;
    Ok(Ended::Done)
}

#[expect(clippy::print_stdout, reason = "this is the command line")]
fn show(report: &Report, as_json: bool) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

fn report(settings: &Settings, arguments: &Arguments, stop: &AtomicBool) -> Result<Report> {
    let topics = Topics::new(&settings.kafka)?;
    let mut corpora = Vec::new();
    if let Some(path) = &arguments.corpus_path {
        // A copy of somebody's posts is not left behind.
        let folder = tempfile::tempdir().context("no room for temporary files")?;
        let reading = Reading { encoding: Encoding::Binary, most_bytes: settings.limits.record_bytes };
        Corpus::copy(path, arguments.posts, reading, folder.path())?;
        corpora.push(on(settings, arguments, stop, &topics, None, folder.path())?);
    }
    let default = [Kind::Photos1080];
    let kinds: &[Kind] = match (&arguments.corpus_path, arguments.corpus.as_slice()) {
        (Some(_), _) => &[],
        (None, []) => &default,
        (None, kinds) => kinds,
    };
    for kind in kinds {
        let plan = corpus::Plan {
            kind: *kind,
            posts: arguments.posts.unwrap_or(kind.default_posts()),
            seed: arguments.seed,
            photos: arguments.photos.clone(),
        };
        let folder = Corpus::make(&plan, &arguments.keep)?;
        corpora.push(on(settings, arguments, stop, &topics, Some(*kind), &folder)?);
    }
    Ok(Report { schema: SCHEMA, version: env!("CARGO_PKG_VERSION"), machine: Machine::this(), corpora })
}

/// Everything on one corpus.
fn on(
    settings: &Settings,
    arguments: &Arguments,
    stop: &AtomicBool,
    topics: &Topics,
    kind: Option<Kind>,
    folder: &Path,
) -> Result<Run> {
    let settings = settings_of(settings, arguments, kind);
    let bundle = Bundle::open(&settings.model.bundle).context("cannot use the bundle")?;
    let corpus = Corpus::open(folder)?;
    let stand = Stand {
        settings: &settings,
        config: arguments.common.config.clone(),
        environment: environment(&settings),
        corpus: &corpus,
        folder: folder.to_owned(),
        partitions: arguments.partitions,
        workers: usize::from(arguments.workers),
        pin: arguments.pin,
        stop,
        topics,
        broker: std::env::var("SENTISTREAM_TEST_BROKER_PID").ok(),
    };
    let mut contenders = vec![Contender::Worker];
    contenders.extend(arguments.peer.iter().cloned().map(Contender::Peer));
    let plan = Plan {
        rounds: arguments.rounds,
        contenders,
        layout: arguments.layout,
        with_ceiling: !arguments.no_ceiling,
        load: arguments.load,
        latency: Duration::from_secs(arguments.latency),
    };
    let measured = bench::measure(&stand, &plan, &|line| complain(&format!("{}: {line}", corpus.name())))?;
    Ok(Run {
        corpus: told(&corpus, kind.map(|_| arguments.seed)),
        bundle: BundleTold { name: bundle.name, version: bundle.version, digest: bundle.digest },
        partitions: arguments.partitions,
        workers: stand.workers,
        pinned: arguments.pin,
        settings: settings_told(&settings),
        ceiling_layouts: measured.layouts,
        contenders: measured.contenders,
        stages: measured.stages,
    })
}

/// As the user has them; for tiny records the trivial bundle, and nothing kept, since what is measured is what all else costs.
fn settings_of(settings: &Settings, arguments: &Arguments, kind: Option<Kind>) -> Settings {
    let mut settings = settings.clone();
    if kind == Some(Kind::Tiny) {
        settings.model.bundle.clone_from(&arguments.trivial_bundle);
        settings.model.cache_bytes = 0;
    }
    settings
}

/// What of these settings differs from those that a process would find by itself.
fn environment(settings: &Settings) -> Vec<(String, String)> {
    vec![
        ("SENTISTREAM__MODEL__BUNDLE".into(), absolute(&settings.model.bundle)),
        ("SENTISTREAM__MODEL__CACHE_BYTES".into(), settings.model.cache_bytes.to_string()),
    ]
}

fn settings_told(settings: &Settings) -> serde_json::Value {
    let Settings { limits, decode, batch, model, .. } = settings;
    json!({
        "limits.in_flight_records": limits.records,
        "limits.in_flight_bytes": limits.bytes,
        "decode.threads": decode.threads,
        "batch.max_posts": batch.max_posts,
        "batch.max_tokens": batch.max_tokens,
        "batch.linger_ms": batch.linger_ms,
        "model.provider": model.provider.as_str(),
        "model.threads": model.threads,
        "model.sessions": model.sessions,
        "model.cache_bytes": model.cache_bytes,
        "model.effects": model.effects,
    })
}

fn told(corpus: &Corpus, seed: Option<u64>) -> CorpusTold {
    #[expect(clippy::cast_precision_loss, reason = "bytes")]
    let mean_bytes = corpus.bytes() as f64 / corpus.distinct() as f64;
    let pixels = corpus.side().map(|side| f64::from(side) * f64::from(side));
    CorpusTold {
        name: corpus.name().to_owned(),
        posts: corpus.len(),
        distinct: corpus.distinct(),
        mean_bytes,
        bytes_per_pixel: pixels.map(|pixels| mean_bytes / pixels),
        seed,
    }
}
