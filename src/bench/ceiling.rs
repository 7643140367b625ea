//! The ceiling: the same bytes through the bare minimum, in a process of its own (`sentistream bench-ceiling`, hidden). A corpus in memory,
//! decoded, tokenised and run through the model on all cores, decoding and inference overlapped; no broker, no pipeline, no results.
//!
//! Started without a layout, it tries them all and tells what each did; with one, it waits for a line on standard input, so that
//! several start together, runs its share of the posts once and tells what was measured. JSON on standard output.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::corpus::Corpus;
use super::process;
use super::window::{Measured, Reading, marks};
use crate::budget::{Budget, Limits};
use crate::cores::cores;
use crate::decode::{Decoded, Decoder};
use crate::message::{Assignment, ModelInput, Origin, Outcome, Verdict};
use crate::metrics::Metrics;
use crate::model::{Bundle, Model};
use crate::scorer::spec;
use crate::settings::Settings;

/// How long each layout is tried.
const TRIAL: Duration = Duration::from_secs(4);
/// What is tried.
pub(super) const LAYOUTS: [Layout; 5] = [
    Layout { threads: Threads::PerCore, batch: 8 },
    Layout { threads: Threads::PerCore, batch: 16 },
    Layout { threads: Threads::PerCore, batch: 32 },
    Layout { threads: Threads::Shared, batch: 8 },
    Layout { threads: Threads::Shared, batch: 32 },
];

/// How threads and batches are laid out. Written `per-core:8`, `shared:32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    threads: Threads,
    batch: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Threads {
    /// On each core a thread that decodes a batch and then runs it, in a session of its own with one thread.
    PerCore,
    /// On each core a thread that decodes; one session with as many threads.
    Shared,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = match self.threads {
            Threads::PerCore => "per-core",
            Threads::Shared => "shared",
        };
        write!(f, "{threads}:{}", self.batch)
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no layout; per-core:8 or shared:32, for instance");
        let (threads, batch) = text.split_once(':').ok_or_else(wrong)?;
        let threads = match threads {
            "per-core" => Threads::PerCore,
            "shared" => Threads::Shared,
            _ => return Err(wrong()),
        };
        let batch = batch.parse().ok().filter(|batch| (1..=1024).contains(batch)).ok_or_else(wrong)?;
        Ok(Self { threads, batch })
    }
}

/// Arguments of the hidden command.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folder of the corpus
    #[arg(long)]
    corpus: PathBuf,
    /// Which of `of` shares of the posts
    #[arg(long, default_value_t = 0)]
    share: usize,
    #[arg(long, default_value_t = 1)]
    of: usize,
    #[arg(long)]
    layout: Option<Layout>,
}

/// What it tells, a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// Everything is loaded: a line on standard input starts it.
    Ready,
    /// What a layout did in posts a second.
    Tried {
        /// The layout, as written.
        layout: String,
        /// Posts a second.
        posts_per_second: f64,
    },
    /// What was measured.
    Ran {
        /// Within its window.
        measured: Measured,
        /// Bytes, those of the corpus in memory included.
        peak_memory: u64,
    },
}

/// # Errors
/// A corpus or a bundle that cannot be used, a post that cannot be scored.
pub fn run(settings: &Settings, arguments: &Arguments) -> Result<()> {
    let ceiling = Ceiling::open(settings, arguments)?;
    let Some(layout) = arguments.layout else {
        for layout in LAYOUTS {
            let measured = ceiling.run(layout, Until::Deadline(TRIAL), || Ok(()))?;
            tell(&Told::Tried { layout: layout.to_string(), posts_per_second: measured.posts_per_second })?;
        }
        return Ok(());
    };
    let measured =
        ceiling.run(layout, Until::Posts { all: ceiling.posts(), in_flight: settings.limits.records }, || {
            tell(&Told::Ready)?;
            io::stdin().read_line(&mut String::new())?;
            Ok(())
        })?;
    let peak_memory = process::peak_memory("self").context("cannot read /proc/self/status")?;
    tell(&Told::Ran { measured, peak_memory })
}

fn tell(told: &Told) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(told)?)?;
    out.flush().map_err(Into::into)
}

/// When a run is over.
#[derive(Debug, Clone, Copy)]
enum Until {
    Posts { all: usize, in_flight: usize },
    Deadline(Duration),
}

struct Ceiling {
    settings: Settings,
    bundle: Bundle,
    decoder: Decoder,
    corpus: Corpus,
    share: usize,
    of: usize,
    cores: usize,
    budget: Arc<Budget>,
    metrics: Metrics,
}

impl Ceiling {
    fn open(settings: &Settings, arguments: &Arguments) -> Result<Self> {
        let corpus = Corpus::open(&arguments.corpus)?;
        let bundle = Bundle::open(&settings.model.bundle).context("cannot use the bundle (model.bundle)")?;
        let decoder = Decoder::new(settings.decode.clone(), spec(&bundle))?;
        let metrics = Metrics::new();
        let unlimited = Limits { records: usize::MAX, bytes: usize::MAX, record_bytes: usize::MAX };
        let budget = Budget::new(unlimited, metrics.in_flight_records.clone(), metrics.in_flight_bytes.clone());
        let (share, of) = (arguments.share, arguments.of.max(1));
        Ok(Self { settings: settings.clone(), bundle, decoder, corpus, share, of, cores: cores(), budget, metrics })
    }

    fn posts(&self) -> usize {
        (self.corpus.len() + self.of - 1 - self.share) / self.of
    }

    fn model(&self, threads: usize, batch: usize) -> Result<Model> {
        let mut settings = self.settings.model.clone();
        settings.threads = threads;
        let mut model = Model::load(&self.bundle, &settings, self.decoder.empty_text())?;
        model.warm_up(batch)?;
        Ok(model)
    }

    /// `start` is called once everything is loaded and warm.
    fn run(&self, layout: Layout, until: Until, start: impl FnOnce() -> Result<()>) -> Result<Measured> {
        let models = match layout.threads {
            Threads::PerCore => (0..self.cores).map(|_| self.model(1, layout.batch)).collect::<Result<Vec<_>>>()?,
            Threads::Shared => vec![self.model(self.cores, layout.batch)?],
        };
        start()?;
        let progress = Progress::new(until);
        let ended = match layout.threads {
            Threads::PerCore => self.per_core(models, layout.batch, &progress),
            Threads::Shared => self.shared(models, layout.batch, &progress),
        };
        ended?;
        progress.measured()
    }

    fn per_core(&self, models: Vec<Model>, batch: usize, progress: &Progress) -> Result<()> {
        let started = Barrier::new(models.len());
        thread::scope(|scope| {
            let threads: Vec<_> = models
                .into_iter()
                .map(|mut model| {
                    let started = &started;
                    scope.spawn(move || {
                        started.wait();
                        while let Some(numbers) = progress.take(batch) {
                            let inputs = numbers.map(|number| self.decode(number)).collect::<Result<Vec<_>>>()?;
                            self.predict(&mut model, &inputs, progress)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            threads.into_iter().try_for_each(joined)
        })
    }

    fn shared(&self, models: Vec<Model>, batch: usize, progress: &Progress) -> Result<()> {
        let (decoded, waiting) = crossbeam_channel::bounded(2 * batch);
        thread::scope(|scope| {
            let decoding: Vec<_> = (0..self.cores)
                .map(|_| {
                    let decoded = decoded.clone();
                    scope.spawn(move || {
                        while let Some(number) = progress.take(1).and_then(|mut numbers| numbers.next()) {
                            if decoded.send(self.decode(number)?).is_err() {
                                break;
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            drop(decoded);
            let scored = models.into_iter().try_for_each(|mut model| {
                loop {
                    let inputs: Vec<ModelInput> = waiting.iter().take(batch).collect();
                    if inputs.is_empty() {
                        return Ok(());
                    }
                    self.predict(&mut model, &inputs, progress)?;
                }
            });
            // Whoever still decodes has nobody to decode for.
            drop(waiting);
            decoding.into_iter().try_for_each(joined).and(scored)
        })
    }

    fn predict(&self, model: &mut Model, inputs: &[ModelInput], progress: &Progress) -> Result<()> {
        model.predict(&inputs.iter().collect::<Vec<_>>(), &self.metrics)?;
        progress.done(inputs.len());
        Ok(())
    }

    fn decode(&self, number: usize) -> Result<ModelInput> {
        let post = self.corpus.post(self.share + number * self.of);
        let origin = Origin { topic: "ceiling".into(), partition: 0, offset: 0 };
        let (key, permit) = (post.key.clone(), self.budget.admit(post.value.len()));
        let record = post.into_record(origin, Assignment::new(0), 0, permit);
        match self.decoder.decode(record, &self.metrics) {
            Decoded::Prepared(prepared) => Ok(prepared.input),
            Decoded::Settled(Outcome { verdict: Verdict::Refused { refusal, .. }, .. }) => {
                bail!("post {} is refused: {} {}", key.unwrap_or_default(), refusal.reason, refusal.detail)
            }
            Decoded::Settled(_) => bail!("a tombstone in the corpus"),
        }
    }
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
}

/// Hands out posts and takes the readings.
struct Progress {
    until: Until,
    started: Instant,
    next: AtomicUsize,
    is_over: AtomicBool,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    outcomes: u64,
    readings: Vec<Reading>,
}

impl Progress {
    fn new(until: Until) -> Self {
        let progress = Self {
            until,
            started: Instant::now(),
            next: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            done: Mutex::default(),
        };
        if matches!(until, Until::Deadline(_)) {
            progress.done(0);
        }
        progress
    }

    /// The next posts; `None` when it is over.
    fn take(&self, batch: usize) -> Option<std::ops::Range<usize>> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let first = self.next.fetch_add(batch, Ordering::Relaxed);
        match self.until {
            Until::Posts { all, .. } => (first < all).then(|| first..all.min(first + batch)),
            Until::Deadline(_) => Some(first..first + batch),
        }
    }

    fn done(&self, posts: usize) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.outcomes += posts as u64;
        let is_due = match self.until {
            Until::Posts { all, in_flight } => {
                marks(all as u64, in_flight).get(done.readings.len()).is_some_and(|mark| done.outcomes >= *mark)
            }
            Until::Deadline(after) => {
                let is_over = self.started.elapsed() >= after;
                self.is_over.store(is_over, Ordering::Relaxed);
                done.readings.is_empty() || is_over
            }
        };
        if is_due {
            let cpu_seconds = process::cpu_seconds_of("self").unwrap_or(0.0);
            let reading = Reading { at: Instant::now(), outcomes: done.outcomes, cpu_seconds };
            done.readings.push(reading);
        }
    }

    fn measured(self) -> Result<Measured> {
        let readings = self.done.into_inner().unwrap_or_else(PoisonError::into_inner).readings;
        let readings = match (self.until, readings.as_slice()) {
            // The end of the last batch, on all cores: a large one is not to count for nothing.
            (Until::Deadline(_), [start, .., end]) => [*start, *end, *end],
            (Until::Posts { .. }, [start, middle, end, ..]) => [*start, *middle, *end],
            _ => bail!("too few posts to measure; give more (--posts)"),
        };
        Measured::between(readings).context("too few posts to measure; give more (--posts)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_read_as_they_are_written() {
        for layout in LAYOUTS {
            assert_eq!(layout.to_string().parse(), Ok(layout));
        }
        for wrong in ["", "per-core", "per-core:", "shared:0", "shared:x", "both:8"] {
            assert!(wrong.parse::<Layout>().expect_err("refused").contains("per-core:8"), "{wrong}");
        }
    }

    #[test]
    fn posts_are_handed_out_once_and_read_at_their_marks() {
        let progress = Progress::new(Until::Posts { all: 100, in_flight: 10 });
        let mut taken = Vec::new();
        while let Some(numbers) = progress.take(8) {
            progress.done(numbers.len());
            taken.extend(numbers);
        }
        assert_eq!(taken, (0..100).collect::<Vec<_>>());
        let outcomes: Vec<u64> =
            progress.done.lock().expect("not poisoned").readings.iter().map(|reading| reading.outcomes).collect();
        assert_eq!(outcomes, [16, 56, 96], "the ends of the batches that reached 10, 50 and 90");
    }
}
