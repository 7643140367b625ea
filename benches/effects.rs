//! What telling effects costs: `make effects-cost`, or `cargo bench --bench effects`.
//!
//! Two whole pipelines (decoding to outcomes, as `sentistream score` runs them), one with `model.effects` on and one with it
//! off, are fed the same posts in turn within one process, and each pair of turns gives one ratio: what slows the machine down
//! for a while slows both. Told are medians and quartiles, by the clock and by processor time, and what each stage took.
//!
//! `POSTS=path` takes posts of your own (a folder, .jsonl or .csv; `MOST=n` the first n of them); without it the sample photographs are cut and captioned
//! anew, 192 posts of which no two are equal. `ROUNDS=n` (default 40) pairs. Settings come from the environment as ever, so
//! `SENTISTREAM__MODEL__BUNDLE=dir` measures another bundle.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark: it may stop, and tells"
)]

use std::path::{Path, PathBuf};
use std::{env, fs};

use indicatif::ProgressBar;
use sentistream::drive::Drive;
use sentistream::posts::{self, Encoding, Reading, SourcePost};
use sentistream::settings::{self, Settings};
use serde_json::{Value, json};

/// Posts made of the sample photographs.
const MADE: u32 = 192;
const STAGES: [&str; 7] = ["pixels", "tokens", "image_encoder", "text_encoder", "tagger", "relevance", "fusion"];

/// What one turn took, in seconds.
#[derive(Clone, Copy)]
struct Cost {
    clock: f64,
    processor: f64,
}

/// A running pipeline.
struct Stream {
    drive: Drive,
    turns: u64,
}

impl Stream {
    fn start(settings: &Settings, effects: bool) -> Self {
        let mut settings = settings.clone();
        settings.model.effects = effects;
        // The same posts come again and again.
        settings.model.cache_bytes = 0;
        Self { drive: Drive::start(&settings).expect("a bundle that loads"), turns: 0 }
    }

    /// All posts once, from the first record to the last outcome.
    async fn turn(&mut self, posts: &[SourcePost]) -> Cost {
        self.turns += 1;
        let processor = processor_seconds();
        let turn = self.drive.turn(posts.iter().cloned(), None).await.expect("scored");
        Cost { clock: turn.elapsed.as_secs_f64(), processor: processor_seconds() - processor }
    }

    /// Milliseconds that a post spent in a stage, by the clock.
    fn stage(&self, stage: &str, posts: usize) -> f64 {
        let seconds = self.drive.metrics.stage_seconds.with_label_values(&[stage]).get_sample_sum();
        seconds * 1000.0 / (self.turns as f64 * posts as f64)
    }
}

/// Processor time of this process, by Linux's count of hundredths.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, numbers) = stat.rsplit_once(')').expect("a name in parentheses");
    numbers.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("a number") / 100.0).sum()
}

/// The sample posts, each time another cut of the photograph and other words.
fn made_posts(folder: &Path) -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/photos");
    let list = fs::read_to_string(samples.join("posts.jsonl")).expect("sample posts");
    let samples: Vec<(Value, image::DynamicImage)> = list
        .lines()
        .map(|line| {
            let post: Value = serde_json::from_str(line).expect("JSON");
            let photo =
                image::open(samples.join(post["image"]["path"].as_str().expect("a path"))).expect("a photograph");
            (post, photo)
        })
        .collect();
    let lines = (0..MADE).zip(samples.iter().cycle()).map(|(number, (post, photo))| {
        let path = folder.join(format!("{number}.jpg"));
        let inset = number % 48;
        let cut = photo.crop_imm(inset / 2, inset, photo.width() - inset, photo.height() - inset);
        cut.to_rgb8().save(&path).expect("written");
        let mut metadata = post.get("metadata").cloned().unwrap_or(json!({}));
        if let Some(caption) = metadata.get("caption").and_then(Value::as_str) {
            metadata["caption"] = json!(format!("{caption} {number}"));
        }
        json!({"id": number.to_string(), "image": {"path": path}, "metadata": metadata}).to_string()
    });
    let path = folder.join("posts.jsonl");
    fs::write(&path, lines.collect::<Vec<_>>().join("\n")).expect("written");
    path
}

/// First quartile, median, third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}

fn number(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::main]
async fn main() {
    let settings = settings::load(None).expect("valid settings");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = env::var_os("POSTS").filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = path.unwrap_or_else(|| made_posts(folder.path()));
    let reading = Reading { encoding: Encoding::Binary, most_bytes: settings.limits.record_bytes };
    let most = number("MOST", usize::MAX);
    let posts =
        posts::open(&path, reading).expect("posts").take(most).collect::<Result<Vec<_>, _>>().expect("readable");
    let (mut on, mut off) = (Stream::start(&settings, true), Stream::start(&settings, false));
    let (rounds, mut pairs) = (number("ROUNDS", 40), Vec::new());
    let progress = ProgressBar::new(rounds as u64);
    for round in 0..rounds {
        let pair = if round % 2 == 0 {
            let on = on.turn(&posts).await;
            (on, off.turn(&posts).await)
        } else {
            let off = off.turn(&posts).await;
            (on.turn(&posts).await, off)
        };
        pairs.push(pair);
        progress.inc(1);
    }
    progress.finish_and_clear();
    tell(&settings, &posts, &pairs, [&on, &off]);
}

fn tell(settings: &Settings, posts: &[SourcePost], pairs: &[(Cost, Cost)], [on, off]: [&Stream; 2]) {
    let (bundle, count) = (settings.model.bundle.display(), posts.len());
    println!("{bundle}: {} pairs of turns of {count} posts, effects on and off", pairs.len());
    for (name, cost) in
        [("clock", (|cost: &Cost| cost.clock) as fn(&Cost) -> f64), ("processor", |cost| cost.processor)]
    {
        let each = |side: fn(&(Cost, Cost)) -> &Cost| {
            let [_, median, _] = quartiles(pairs.iter().map(|pair| cost(side(pair)) * 1000.0 / count as f64).collect());
            median
        };
        let [low, median, high] =
            quartiles(pairs.iter().map(|(on, off)| 100.0 * (1.0 - cost(off) / cost(on))).collect());
        println!(
            "{name:>10}: {:.2} ms a post on, {:.2} off; effects take {median:.1}% of throughput (quartiles {low:.1}% to {high:.1}%)",
            each(|pair| &pair.0),
            each(|pair| &pair.1)
        );
    }
    for stage in STAGES {
        println!("{stage:>14}: {:.3} ms a post on, {:.3} off", on.stage(stage, count), off.stage(stage, count));
    }
}
