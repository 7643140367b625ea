//! `sentistream tune`: what threads, sessions and batches suit this machine.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Common, Ended, complain, printable};
use crate::bench::corpus::{Corpus, Kind, Plan};
use crate::cores::cores;
use crate::model::{Bundle, Provider};
use crate::posts::{self, Encoding, Reading, SourcePost};
use crate::settings::Settings;
use crate::tune::{self, LOAD, Measured};

pub(super) const HELP: &str = "\
Examples:
  sentistream tune
  sentistream tune photos/ --latency-ms 150 --write tuned.yaml
  sentistream run --config tuned.yaml

Every way is measured twice: as fast as it goes, and at 70% of that for the latency, from when a post is pulled to its
outcome, without Kafka's share. The cache is off meanwhile. Nothing else should run on the machine.";

/// Posts of the user's own that are measured with.
const MOST_POSTS: usize = 512;
/// Posts made where the user gives none: more than any batch, since equal images of a batch are encoded once.
const MADE_POSTS: u32 = 128;

/// Arguments of `tune`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Posts to measure with: a folder or a list (.jsonl, .csv), the first 512 of it [default: made of --photos, 1080 px]
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Photographs that posts are made of
    #[arg(long, value_name = "DIR", default_value = "tests/fixtures/photos", conflicts_with = "path")]
    photos: PathBuf,
    /// 99 of 100 posts must have their outcome within this; without it the highest rate wins
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    latency_ms: Option<u64>,
    /// Seconds that each way is measured for, at each load
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// File that the settings found are written to, for --config
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// Posts that cannot be read or are refused, a model that cannot be loaded, a file that cannot be written, or a latency that
/// no way keeps.
pub async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let posts = tokio::task::block_in_place(|| read(settings, arguments))?;
    let bundle = Bundle::open(&settings.model.bundle).context("cannot use the bundle (model.bundle)")?;
    let cores = cores();
    let ways = tune::ways(cores, settings.model.provider != Provider::Cpu, settings.limits.records);
    complain(&format!("{} {} on {cores} cores, {} posts", bundle.name, bundle.version, posts.len()));
    let progress = ProgressBar::new(ways.len() as u64);
    progress.set_style(ProgressStyle::with_template("measuring {wide_bar} {pos}/{len} {eta}")?);
    print(&format!(
        "{:>7} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "threads", "sessions", "max_posts", "posts/s", "p50 ms", "p99 ms"
    ))?;
    let mut measured = Vec::new();
    for way in ways {
        let now = tune::measure(way, settings, &posts, Duration::from_secs(arguments.seconds)).await?;
        progress.suspend(|| print(&row(&now)))?;
        progress.inc(1);
        measured.push(now);
    }
    progress.finish_and_clear();
    let Some(best) = tune::best(&measured, arguments.latency_ms.map(Duration::from_millis)) else {
        let lowest = measured.iter().map(|measured| measured.p99).min().unwrap_or_default();
        bail!(
            "no way keeps 99 of 100 posts within {} ms at {:.0}% of its rate; the lowest is {} ms: ask for that, or use smaller images or a smaller bundle",
            arguments.latency_ms.unwrap_or_default(),
            LOAD * 100.0,
            lowest.as_millis()
        );
    };
    let found = found(&best, cores, &bundle);
    match &arguments.write {
        Some(path) => {
            fs::write(path, found).with_context(|| format!("cannot write {}", path.display()))?;
            complain(&format!("written to {}; sentistream run --config {0}", path.display()));
        }
        None => print(&format!("\n{found}"))?,
    }
    Ok(Ended::Done)
}

fn read(settings: &Settings, arguments: &Arguments) -> Result<Vec<SourcePost>> {
    let Some(path) = &arguments.path else {
        let plan = Plan { kind: Kind::Photos1080, posts: MADE_POSTS, seed: 1, photos: arguments.photos.clone() };
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let corpus = Corpus::open(&Corpus::make(&plan, folder.path())?)?;
        return Ok((0..corpus.len()).map(|number| corpus.post(number)).collect());
    };
    let reading = Reading { encoding: Encoding::Binary, most_bytes: settings.limits.record_bytes };
    let posts = posts::open(path, reading)?.take(MOST_POSTS).collect::<Result<Vec<_>, _>>()?;
    if posts.is_empty() {
        bail!("no posts in {}; name a folder with images or a list of posts", path.display());
    }
    Ok(posts)
}

fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", printable(line))
}

fn row(measured: &Measured) -> String {
    let Measured { way, rate, p50, p99 } = measured;
    let milliseconds = |latency: &Duration| latency.as_secs_f64() * 1000.0;
    format!(
        "{:>7} {:>8} {:>9} {rate:>9.1} {:>9.1} {:>9.1}",
        way.threads,
        way.sessions,
        way.max_posts,
        milliseconds(p50),
        milliseconds(p99)
    )
}

fn found(best: &Measured, cores: usize, bundle: &Bundle) -> String {
    let Measured { way, rate, p99, .. } = best;
    format!(
        "# By sentistream tune: {} {} on {cores} cores, {rate:.0} posts/s; p99 {:.0} ms at {:.0}% of that.\n\
         model:\n  threads: {}\n  sessions: {}\nbatch:\n  max_posts: {}\n",
        bundle.name,
        bundle.version,
        p99.as_secs_f64() * 1000.0,
        LOAD * 100.0,
        way.threads,
        way.sessions,
        way.max_posts
    )
}
