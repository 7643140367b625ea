//! What all turns on one corpus share: the topics, the corpus in the input topic, and how processes are told of them.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Handle;

use super::corpus::Corpus;
use super::progress;
use crate::kafka::feed::{Feeder, Reader, Sent};
use crate::kafka::topics::{Topic, Topics};
use crate::settings::Settings;

/// What is on its way to the broker at once while feeding.
const WINDOW_RECORDS: usize = 4096;
const WINDOW_BYTES: usize = 64 << 20;
/// Room beside the largest value for key, headers and framing; a dead letter has more headers.
const FRAMING_BYTES: usize = 64 << 10;
/// As a broker takes them by default.
const DEFAULT_MOST_BYTES: usize = 1_000_000;
/// No new outcome for so long means that none comes.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// The place where contenders run in turn.
pub struct Stand<'a> {
    /// Settings as the user has them, with the bundle of this corpus.
    pub settings: &'a Settings,
    /// `--config`, for workers.
    pub config: Option<PathBuf>,
    /// Variables that every process gets.
    pub environment: Vec<(String, String)>,
    /// The corpus.
    pub corpus: &'a Corpus,
    /// Its folder.
    pub folder: PathBuf,
    /// Partitions of every topic.
    pub partitions: i32,
    /// Processes of every contender.
    pub workers: usize,
    /// Whether each of them has a core to itself.
    pub pin: bool,
    /// Set when somebody wants this to end.
    pub stop: &'a AtomicBool,
    /// Makes and counts topics.
    pub topics: &'a Topics,
    /// Process id of the broker, where it is known.
    pub broker: Option<String>,
}

/// Topics and a group of one use; deleted when dropped.
pub struct Own<'a> {
    stand: &'a Stand<'a>,
    /// Where posts come from.
    pub input: Topic,
    /// Where results go.
    pub output: Topic,
    /// Where dead letters go.
    pub dead: Topic,
    /// The consumer group.
    pub group: String,
    made: Vec<String>,
}

impl Stand<'_> {
    /// # Errors
    /// When somebody wants this to end.
    pub fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted; the topics of this run are deleted");
        }
        Ok(())
    }

    /// Sleeps, though not for long after somebody wants this to end.
    pub fn sleep(&self, duration: Duration) -> Result<()> {
        let until = Instant::now() + duration;
        loop {
            self.go_on()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Topics of these names; without `input`, one of their own is made, too. `options` are of the topics that are made.
    pub fn own(&self, name: &str, input: Option<&Topic>, options: &[(&str, &str)]) -> Result<Own<'_>> {
        let topic = |end: &str| Topic { name: format!("{name}{end}"), partitions: self.partitions };
        let (output, dead) = (topic("-out"), topic("-dead"));
        let mut own = Own {
            stand: self,
            input: input.cloned().unwrap_or_else(|| topic("")),
            output,
            dead,
            group: name.to_owned(),
            made: vec![],
        };
        if input.is_none() {
            own.make(own.input.clone(), options)?;
        }
        own.make(own.output.clone(), options)?;
        own.make(own.dead.clone(), options)?;
        Ok(own)
    }

    /// Publishes posts, as fast as the broker takes them.
    pub fn feed(&self, topic: &str) -> Result<()> {
        let feeder = Feeder::new(&self.settings.kafka, topic)?;
        let bar = progress::bar(self.corpus.len() as u64, &format!("feeding {}", self.corpus.name()))?;
        let (mut under_way, mut bytes): (VecDeque<(Sent, usize)>, usize) = (VecDeque::new(), 0);
        for number in 0..self.corpus.len() {
            self.go_on()?;
            let post = self.corpus.post(number);
            while under_way.len() >= WINDOW_RECORDS || bytes > WINDOW_BYTES {
                let Some((sent, size)) = under_way.pop_front() else { break };
                Handle::current().block_on(feeder.delivered(sent))?;
                bytes -= size;
                bar.inc(1);
            }
            let key = post.key.as_deref().map(str::as_bytes);
            let sent = Handle::current().block_on(feeder.send(key, &post.value, &post.headers))?;
            under_way.push_back((sent, post.value.len()));
            bytes += post.value.len();
        }
        for (sent, _) in under_way {
            Handle::current().block_on(feeder.delivered(sent))?;
        }
        bar.finish_and_clear();
        Ok(())
    }
}

impl Own<'_> {
    fn make(&mut self, topic: Topic, options: &[(&str, &str)]) -> Result<()> {
        let most = (self.stand.corpus.largest() + FRAMING_BYTES).max(DEFAULT_MOST_BYTES).to_string();
        let options = [options, &[("max.message.bytes", most.as_str()), ("retention.ms", "-1")]].concat();
        Handle::current().block_on(self.stand.topics.create(&topic, &options))?;
        self.made.push(topic.name);
        Ok(())
    }

    /// What tells a worker or a peer where to read and write.
    pub fn environment(&self) -> Vec<(String, String)> {
        let set = |key: &str, value: &str| (format!("SENTISTREAM__{key}"), value.to_owned());
        let mut environment = self.stand.environment.clone();
        environment.extend([
            set("KAFKA__BROKERS", &self.stand.settings.kafka.brokers),
            set("KAFKA__GROUP", &self.group),
            set("KAFKA__INPUT_TOPIC", &self.input.name),
            set("KAFKA__OUTPUT_TOPIC", &self.output.name),
            set("KAFKA__DEAD_LETTER_TOPIC", &self.dead.name),
        ]);
        environment
    }

    /// Results and dead letters so far.
    ///
    /// # Errors
    /// No broker.
    pub fn outcomes(&self) -> Result<u64> {
        Ok(self.stand.topics.ends(&[&self.output, &self.dead])?)
    }

    /// # Errors
    /// Where there are dead letters, or more or fewer results than posts.
    pub fn check(&self, name: &str, posts: u64) -> Result<()> {
        let dead = self.stand.topics.ends(&[&self.dead])?;
        if dead > 0 {
            let why = self.first_dead_letter().unwrap_or_default();
            bail!("{name}: {dead} of {posts} posts became dead letters, so nothing was measured; the first: {why}");
        }
        let results = self.stand.topics.ends(&[&self.output])?;
        ensure!(results == posts, "{name}: {results} results of {posts} posts; every post must have exactly one");
        Ok(())
    }

    fn first_dead_letter(&self) -> Result<String> {
        let reader = Reader::new(&self.stand.settings.kafka, &[&self.dead.name], self.dead.partitions)?;
        let letter = reader.next(Duration::from_secs(10))?.context("none")?;
        let told = letter.headers.iter().filter(|(key, _)| ["dlq.reason", "dlq.detail"].contains(&key.as_str()));
        Ok(told.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(": "))
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        let topics = self.stand.topics;
        let deleted = Handle::current().block_on(topics.delete(&self.made));
        let group = std::slice::from_ref(&self.group);
        if let Err(error) = deleted.and(Handle::current().block_on(topics.delete_groups(group))) {
            tracing::warn!(topics = ?self.made, %error, "topics are left behind; delete them");
        }
    }
}

/// Where a relative path leads from here.
pub fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}
