//! From the topics into the store, on one thread: a batch of records and the positions behind them at a time. A batch that cannot be
//! written - the disk is full - is kept and tried again, and nothing is read meanwhile. Between batches what is too old goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::record::{self, Entry};
use super::status::Status;
use super::store::write::Clock;
use super::store::{self, Writer};
use crate::kafka::follow::{Follower, Position, Read, State};
use crate::message::Origin;

/// Records of one transaction, and their bytes.
const MOST_RECORDS: usize = 20_000;
const MOST_BYTES: usize = 16 << 20;
/// How long a batch gathers: what a reader of the page waits for, and what bounds transactions a second.
const GATHER: Duration = Duration::from_millis(250);
const TICK: Duration = Duration::from_millis(50);
/// Between two tries at a batch.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks for what is too old.
const EXPIRY: Duration = Duration::from_mins(1);

/// What it reads and writes.
pub struct Ingest {
    /// Follows the results.
    pub results: Follower,
    /// Follows the dead letters.
    pub letters: Follower,
    /// The store.
    pub writer: Writer,
    /// What is told of it.
    pub status: Arc<Status>,
    /// Where the revision is told.
    pub revision: watch::Sender<i64>,
    /// Set when it is to end.
    pub stop: Arc<AtomicBool>,
    /// `dashboard.retention_days`.
    pub retention_days: u32,
}

#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    positions: Vec<Position>,
    bytes: usize,
}

impl Ingest {
    /// Until it is to end; the transaction under way is finished first.
    ///
    /// # Errors
    /// A store that is damaged.
    pub fn run(mut self) -> Result<(), store::Error> {
        let mut expiry = Instant::now();
        while !self.is_stopped() {
            let batch = self.gather();
            self.tell();
            if !batch.entries.is_empty() || !batch.positions.is_empty() {
                self.write(&batch)?;
            }
            if Instant::now() >= expiry && !self.expire()? {
                expiry = Instant::now() + EXPIRY;
            }
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn gather(&mut self) -> Batch {
        let mut batch = Batch::default();
        let deadline = Instant::now() + GATHER;
        let now = now();
        while batch.entries.len() < MOST_RECORDS && batch.bytes < MOST_BYTES && !self.is_stopped() {
            let result = self.results.next(Duration::ZERO);
            let letter = self.letters.next(Duration::ZERO);
            if result.is_none() && letter.is_none() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                if let Some(read) = self.results.next(left.min(TICK)) {
                    batch.result(&read, now);
                }
                continue;
            }
            if let Some(read) = result {
                batch.result(&read, now);
            }
            if let Some(read) = letter {
                batch.letter(&read, self.letters.topic(), now);
            }
        }
        batch.positions = self.results.changed();
        batch.positions.extend(self.letters.changed());
        batch
    }

    fn tell(&self) {
        let (results, letters) = (self.results.state(), self.letters.state());
        let State { connected, error, behind } = results;
        self.status.tell(|told| {
            told.connected = connected;
            told.error = error.or(letters.error);
            told.behind = behind;
        });
    }

    fn write(&mut self, batch: &Batch) -> Result<(), store::Error> {
        loop {
            let clock = Clock::at(now(), self.retention_days);
            match self.writer.apply(&batch.entries, &batch.positions, clock) {
                Ok(revision) => {
                    self.told(revision);
                    return Ok(());
                }
                Err(error) => self.failed(error)?,
            }
            if self.is_stopped() {
                // It is not kept, nor are the positions behind it: it is read again.
                return Ok(());
            }
        }
    }

    /// Whether there is more to expire.
    fn expire(&mut self) -> Result<bool, store::Error> {
        match self.writer.expire(Clock::at(now(), self.retention_days)) {
            Ok((more, revision)) => {
                self.told(revision);
                Ok(more)
            }
            Err(error) => {
                self.failed(error)?;
                Ok(true)
            }
        }
    }

    fn told(&self, revision: i64) {
        self.revision.send_if_modified(|told| std::mem::replace(told, revision) != revision);
    }

    /// What a later try may mend is told and waited for.
    fn failed(&self, error: store::Error) -> Result<(), store::Error> {
        if error.is_damage() {
            return Err(error);
        }
        tracing::error!(%error, "trying again");
        self.status.tell(|told| told.error = Some(format!("{error}; it is tried again")));
        let until = Instant::now() + RETRY;
        while Instant::now() < until && !self.is_stopped() {
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}

impl Batch {
    fn result(&mut self, read: &Read, now: i64) {
        self.bytes += read.size();
        self.entries.push(record::result(read.key.as_deref(), read.value.as_deref(), read.timestamp, now));
    }

    fn letter(&mut self, read: &Read, topic: &str, now: i64) {
        self.bytes += read.size();
        let place = Origin { topic: topic.into(), partition: read.partition, offset: read.offset };
        self.entries.push(record::letter(read.key.as_deref(), &read.headers, read.timestamp, place, now));
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
