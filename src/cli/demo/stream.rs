//! Feeds posts and reads back what becomes of them: as fast as outcomes come, or at the pace of a story.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use super::story::Told;
use super::tally::Tally;
use crate::kafka::feed::{Feeder, Read, Reader, Sent};
use crate::kafka::{self, client};
use crate::posts::{self, SourcePost};

/// What may be on the embedded broker unread: a partition keeps only its newest 5 MiB.
const UNREAD_BYTES: usize = 9 << 19;
/// Posts on their way to the broker at once.
const UNCONFIRMED: usize = 32;
/// How long nothing may happen before the demo gives up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one wait for an outcome takes at most.
const TICK: Duration = Duration::from_millis(200);
/// A second of the demo is so many of its story.
const SPEED: u32 = 600;
/// Between the posts that go on once the story has caught up with the clock.
const TRICKLE: Duration = Duration::from_secs(2);

/// Posts found in a folder.
pub type Posts = Box<dyn Iterator<Item = Result<SourcePost, posts::Error>> + Send>;

/// The two ends of what is being shown.
pub struct Stream {
    feeder: Feeder,
    reader: Reader,
    /// Posts fed so far; each goes under its number, since two pictures may have the same name.
    number: u64,
    /// The posts whose outcome has not come, by key: bytes, and what they are.
    fed: HashMap<String, (usize, String)>,
    last_outcome: Instant,
    sent: VecDeque<Sent>,
    /// What came back.
    pub tally: Tally,
}

impl Stream {
    /// Feeds the first of `topics` and reads the others, each of one partition.
    pub fn new(settings: &kafka::Settings, topics: &[&str; 3]) -> Result<Self, client::Error> {
        let [input, outcomes @ ..] = topics;
        Ok(Self {
            feeder: Feeder::new(settings, input)?,
            reader: Reader::new(settings, outcomes, 1)?,
            number: 0,
            fed: HashMap::new(),
            last_outcome: Instant::now(),
            sent: VecDeque::new(),
            tally: Tally::default(),
        })
    }

    /// Feeds posts as fast as outcomes come back, and prints each, until everything came back.
    pub async fn show(&mut self, posts: Posts) -> Result<()> {
        for post in posts {
            match post {
                Ok(post) => self.feed(post, Tally::shown).await?,
                Err(error) => self.tally.unreadable(&error),
            }
        }
        self.finish(Tally::shown).await?;
        if self.tally.results == 0 {
            bail!("found no picture that can be scored (.jpg .jpeg .png .webp .gif)");
        }
        Ok(())
    }

    /// Tells a story: what was published before `live` at once, the rest at its own pace, ten minutes a second.
    pub async fn tell(&mut self, story: &[Told], live: Timestamp) -> Result<()> {
        let started = Instant::now();
        let (past, present) = story.split_at(story.partition_point(|told| told.at < live));
        for post in past.iter().filter_map(Told::post) {
            self.feed(post, Tally::told).await?;
        }
        self.finish(Tally::told).await?;
        self.tally.rate = f64::from(u32::try_from(past.len())?) / started.elapsed().as_secs_f64();
        let started = Instant::now();
        for told in present {
            let since = Duration::try_from(told.at.duration_since(live)).unwrap_or_default();
            self.wait_until(started + since / SPEED).await?;
            if let Some(post) = told.post() {
                self.feed(post, Tally::told).await?;
            }
        }
        self.finish(Tally::told).await
    }

    /// A post now and then, for as long as somebody looks.
    pub async fn go_on(&mut self, story: &[Told]) -> Result<()> {
        for told in story.iter().rev().cycle() {
            if let Some(post) = told.again(Timestamp::now()).post() {
                self.feed(post, Tally::told).await?;
            }
            self.wait_until(Instant::now() + TRICKLE).await?;
        }
        Ok(())
    }

    /// Reads outcomes until then.
    async fn wait_until(&mut self, then: Instant) -> Result<()> {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.take(left.min(TICK), Tally::told).await?;
        }
    }

    /// Feeds a post once the broker has room for it.
    async fn feed(&mut self, post: SourcePost, tell: Tell) -> Result<()> {
        while !self.fed.is_empty() && self.unread() + post.value.len() > UNREAD_BYTES {
            self.take(TICK, tell).await?;
        }
        self.number += 1;
        let key = self.number.to_string();
        self.fed.insert(key.clone(), (post.value.len(), description(&post)));
        self.sent.push_back(self.feeder.send(Some(key.as_bytes()), &post.value, &post.headers).await?);
        while self.sent.len() > UNCONFIRMED {
            self.confirm().await?;
        }
        Ok(())
    }

    fn unread(&self) -> usize {
        self.fed.values().map(|(bytes, _)| bytes).sum()
    }

    /// Waits until the broker has the post sent first.
    async fn confirm(&mut self) -> Result<()> {
        if let Some(sent) = self.sent.pop_front() {
            self.feeder.delivered(sent).await?;
        }
        Ok(())
    }

    /// Waits for the outcomes of everything fed.
    async fn finish(&mut self, tell: Tell) -> Result<()> {
        while !self.fed.is_empty() {
            self.take(TICK, tell).await?;
        }
        Ok(())
    }

    /// Takes the next result or dead letter, if one comes within `patience`.
    async fn take(&mut self, patience: Duration, tell: Tell) -> Result<()> {
        // Reading blocks, and Ctrl-C has to be heard in between.
        tokio::task::yield_now().await;
        if let Some(read) = tokio::task::block_in_place(|| self.reader.next(patience))? {
            self.last_outcome = Instant::now();
            let fed = read.key.as_ref().and_then(|key| self.fed.remove(key));
            tell(&mut self.tally, &read, &fed.map(|(_, description)| description).unwrap_or_default());
        } else if !self.fed.is_empty() && self.last_outcome.elapsed() > PATIENCE {
            bail!("no result for {} s", PATIENCE.as_secs());
        }
        Ok(())
    }
}

/// What is told of an outcome and its post's description.
type Tell = fn(&mut Tally, &Read, &str);

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
