//! `sentistream demo`: the main job with nothing set up - a broker in this process, sample posts, one worker - and its
//! results as they come.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use tempfile::TempDir;

use super::{Common, Ended, printable};
use crate::kafka::embedded::EmbeddedBroker;
use crate::kafka::feed::{Feeder, Read, Reader, Sent};
use crate::posts::{self, Encoding, Reading, SourcePost};
use crate::settings::Settings;
use crate::worker::Worker;

/// Sample photographs and the posts made of them; licences in `tests/fixtures/photos/README.md`.
macro_rules! samples {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../tests/fixtures/photos/", $name)))),*]
    };
}
const SAMPLES: &[(&str, &[u8])] = samples![
    "posts.jsonl",
    "astronaut.jpg",
    "cameraman.jpg",
    "cat.jpg",
    "coffee.jpg",
    "coins.png",
    "flower.webp",
    "hubble.jpg",
    "retina.png",
    "rocket.webp",
    "temple.jpg",
];

/// What may be on the embedded broker unread: a partition keeps only its newest 5 MiB.
const UNREAD_BYTES: usize = 9 << 19;
/// The largest picture that the embedded broker takes.
const PICTURE_BYTES: usize = 4 << 20;
/// Posts on their way to the broker at once.
const UNCONFIRMED: usize = 32;
/// How long the same posts are fed over and over to measure a rate.
const MEASURED: Duration = Duration::from_secs(4);
/// How long nothing may happen before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) const HELP: &str = "\
Examples:
  sentistream demo
  sentistream demo --photos ~/Pictures

With --photos, a posts.jsonl or posts.csv in the folder gives captions (columns image, caption, tags, objects, scene).
Each line of results: label and polarity (-1 to 1), what the reading was read off - the image and each piece of metadata,
in percent - and the post. Then the same posts are fed over and over for 4 seconds, to measure posts/s from feed to result.";

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Your own pictures instead of the samples
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// A model that cannot be loaded, a folder without pictures, or a stream that stands still.
pub async fn run(mut settings: Settings, arguments: &Arguments) -> Result<Ended> {
    let (folder, _samples) = folder(arguments.photos.as_deref())?;
    let reading = Reading { encoding: Encoding::Binary, most_bytes: PICTURE_BYTES };
    let posts = posts::open(&folder, reading)?;
    let kafka = &mut settings.kafka;
    let topics = [kafka.input_topic.clone(), kafka.output_topic.clone(), kafka.dead_letter_topic.clone()];
    let topics = topics.each_ref().map(String::as_str);
    say("starting a broker inside this process ...");
    let broker = EmbeddedBroker::start(&topics, 1)?;
    kafka.brokers = broker.brokers();
    settings.admin.listen = None;
    say("warming the model up and joining the consumer group ...");
    let worker = Worker::start(&settings).await?;
    let mut stream = Stream {
        feeder: Feeder::new(&settings.kafka, topics[0])?,
        reader: Reader::new(&settings.kafka, &topics[1..], 1)?,
        number: 0,
        fed: HashMap::new(),
        last_outcome: Instant::now(),
        next: None,
        sent: VecDeque::new(),
        tally: Tally::default(),
    };
    say("feeding posts; the first results come once the group has formed, about 3 seconds from now\n");
    stream.show(posts).await?;
    say(&format!("\nmeasuring: the same posts over and over for {} s ...", MEASURED.as_secs()));
    stream.measure(&folder, reading).await?;
    worker.stopper().stop();
    worker.drained().await?;
    say(&stream.tally.summary());
    Ok(Ended::of_refused(stream.tally.refused))
}

/// The user's folder, or the samples in a temporary one.
fn folder(photos: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(photos) = photos {
        return Ok((photos.to_owned(), None));
    }
    let samples = TempDir::with_prefix("sentistream-demo-").context("cannot make a temporary folder")?;
    for (name, bytes) in SAMPLES {
        fs::write(samples.path().join(name), bytes).context("cannot write the samples")?;
    }
    Ok((samples.path().to_owned(), Some(samples)))
}

struct Stream {
    feeder: Feeder,
    reader: Reader,
    /// Posts fed so far; each goes under its number, since two pictures may have the same name.
    number: u64,
    /// Bytes and caption of the posts whose result has not come, by id.
    fed: HashMap<String, (usize, String)>,
    last_outcome: Instant,
    /// Read, and waiting for room.
    next: Option<SourcePost>,
    sent: VecDeque<Sent>,
    tally: Tally,
}

type Posts = Box<dyn Iterator<Item = Result<SourcePost, posts::Error>> + Send>;

impl Stream {
    /// Feeds as much as the broker keeps, and prints what comes back, until everything came back.
    async fn show(&mut self, mut posts: Posts) -> Result<()> {
        while self.fill(&mut posts).await? || !self.fed.is_empty() {
            if let Some((read, description)) = self.next_outcome()? {
                self.tally.tell(&read, &description);
            }
        }
        if self.tally.results == 0 {
            bail!("found no picture that can be scored (.jpg .jpeg .png .webp .gif)");
        }
        Ok(())
    }

    /// Feeds the folder's posts over and over, as fast as outcomes come back.
    async fn measure(&mut self, folder: &Path, reading: Reading) -> Result<()> {
        while !self.sent.is_empty() {
            self.confirm().await?;
        }
        // Told already: the posts that cannot be read.
        let again = || Ok::<Posts, posts::Error>(Box::new(posts::open(folder, reading)?.flatten().map(Ok)));
        let started = Instant::now();
        let mut posts = again()?;
        let mut outcomes: u32 = 0;
        loop {
            while started.elapsed() < MEASURED && !self.fill(&mut posts).await? {
                posts = again()?;
            }
            if self.fed.is_empty() {
                break;
            }
            outcomes += u32::from(self.next_outcome()?.is_some());
        }
        self.tally.rate = f64::from(outcomes) / started.elapsed().as_secs_f64();
        Ok(())
    }

    /// Feeds as many posts as the broker has room for; false once there are no more.
    async fn fill(&mut self, posts: &mut Posts) -> Result<bool> {
        loop {
            let post = match self.next.take().map(Ok).or_else(|| posts.next()) {
                Some(Ok(post)) => post,
                Some(Err(error)) => {
                    self.tally.unreadable(&error);
                    continue;
                }
                None => return Ok(false),
            };
            let unread: usize = self.fed.values().map(|(bytes, _)| bytes).sum();
            if unread > 0 && unread + post.value.len() > UNREAD_BYTES {
                self.next = Some(post);
                return Ok(true);
            }
            self.feed(post).await?;
        }
    }

    async fn feed(&mut self, post: SourcePost) -> Result<()> {
        self.number += 1;
        let id = self.number.to_string();
        self.fed.insert(id.clone(), (post.value.len(), description(&post)));
        self.sent.push_back(self.feeder.send(Some(id.as_bytes()), &post.value, &post.headers).await?);
        while self.sent.len() > UNCONFIRMED {
            self.confirm().await?;
        }
        Ok(())
    }

    /// Waits until the broker has the post sent first.
    async fn confirm(&mut self) -> Result<()> {
        if let Some(sent) = self.sent.pop_front() {
            self.feeder.delivered(sent).await?;
        }
        Ok(())
    }

    /// The next result or dead letter with what it is of, if one comes soon.
    fn next_outcome(&mut self) -> Result<Option<(Read, String)>> {
        let Some(read) = tokio::task::block_in_place(|| self.reader.next(Duration::from_millis(200)))? else {
            if self.last_outcome.elapsed() > PATIENCE {
                bail!("no result for {} s", PATIENCE.as_secs());
            }
            return Ok(None);
        };
        self.last_outcome = Instant::now();
        let description = read.key.as_ref().and_then(|key| self.fed.remove(key)).map(|(_, description)| description);
        Ok(Some((read, description.unwrap_or_default())))
    }
}

/// Id and caption, from the headers the post travels with.
fn description(post: &SourcePost) -> String {
    let header = post.headers.iter().find(|header| header.key == "metadata").and_then(|header| header.value.as_ref());
    let metadata: Value = header.and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default();
    let caption = metadata
        .get("caption")
        .and_then(Value::as_str)
        .map_or("(no caption)".into(), |caption| format!("\"{caption}\""));
    format!("{}: {}", post.key.as_deref().unwrap_or("?"), caption.chars().take(70).collect::<String>())
}

fn line(result: &Value, description: &str) -> String {
    let text = |pointer| result.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let polarity = result.pointer("/sentiment/polarity").and_then(Value::as_f64).unwrap_or_default();
    let mut line = format!("{:<9} {polarity:+.2} | ", text("/sentiment/label"));
    for (name, weight) in result.get("relevance").and_then(Value::as_object).into_iter().flatten() {
        let percent = 100.0 * weight.as_f64().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(line, "{name} {percent:>3.0}%  ");
    }
    line + "| " + description
}

#[derive(Debug, Default)]
struct Tally {
    results: u64,
    refused: u64,
    labels: BTreeMap<String, u64>,
    /// Posts per second, from feed to outcome.
    rate: f64,
}

impl Tally {
    fn tell(&mut self, read: &Read, description: &str) {
        let result = read.value.as_deref().and_then(|value| serde_json::from_slice::<Value>(value).ok());
        if let Some(result) = result.filter(|result| result.get("sentiment").is_some()) {
            self.results += 1;
            let label = result.pointer("/sentiment/label").and_then(Value::as_str).unwrap_or("?");
            *self.labels.entry(label.to_owned()).or_default() += 1;
            say(&line(&result, description));
            return;
        }
        self.refused += 1;
        let reason = read.headers.iter().find(|(key, _)| key == "dlq.reason").map_or("?", |(_, reason)| reason);
        say(&format!("{:<9}       | {reason} | {description}", "refused"));
    }

    fn unreadable(&mut self, error: &posts::Error) {
        self.refused += 1;
        say(&format!("{:<9}       | {error}", "refused"));
    }

    fn summary(&self) -> String {
        let labels: Vec<_> = self.labels.iter().map(|(label, count)| format!("{label} {count}")).collect();
        let (results, refused, labels, rate) = (self.results, self.refused, labels.join(", "), self.rate);
        format!("summary: {results} results ({labels}), {refused} refused; {rate:.0} posts/s from feed to result")
    }
}

/// A line to watch. Nobody watching is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{}", printable(line));
}
