//! The one writer. A batch of records, what they change in every sum, and the positions behind them become one transaction:
//! after a crash the store is where its positions say.
//!
//! A post is known by its origin and its id. Of two results of one post the one scored later stands, whatever the order they
//! come in, so that a topic may be read again from its beginning at any time.

use std::collections::HashMap;
use std::fs::File;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::Error;
use super::names::{Kind, Names};
use super::row::{self, COLUMNS, Details, Row, Weights};
use super::sums::{DAY, Gathered, WEEK};
use crate::dashboard::record::{self, Entry, Letter, Scored, Weight};
use crate::kafka::follow::Position;

/// The API tells the results of the last hour.
pub(super) const THROUGHPUT_KEPT: i64 = 2 * super::sums::HOUR;
/// How a field is flagged that a post did not bring.
const MISSING: &str = "_missing";

/// The clock, and what is too old by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds since 1970.
    pub now: i64,
    /// What was published earlier is not kept; the start of a day.
    pub horizon: i64,
}

impl Clock {
    /// At `now`, where posts are kept for so many days.
    #[must_use]
    pub fn at(now: i64, retention_days: u32) -> Self {
        Self { now, horizon: (now.div_euclid(DAY) - i64::from(retention_days)) * DAY }
    }
}

/// Writes to the store.
pub struct Writer {
    pub(super) store: Connection,
    pub(super) names: Names,
    _lock: File,
}

/// What one transaction changes beside rows.
#[derive(Default)]
struct Tally {
    gathered: Gathered,
    not_a_result: i64,
    too_old: i64,
    last_scored_at: i64,
    changed: bool,
}

impl Writer {
    pub(super) fn new(store: Connection, lock: File) -> Self {
        store.set_prepared_statement_cache_capacity(64);
        Self { store, names: Names::default(), _lock: lock }
    }

    /// How far every partition has been read.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn positions(&self) -> Result<Vec<Position>, Error> {
        let mut select = self.store.prepare("SELECT topic, partition, next, anchors FROM positions")?;
        let mut rows = select.query([])?;
        let mut positions = Vec::new();
        while let Some(row) = rows.next()? {
            let anchors = serde_json::from_str(row.get_ref(3)?.as_str().unwrap_or_default())?;
            positions.push(Position { topic: row.get(0)?, partition: row.get(1)?, next: row.get(2)?, anchors });
        }
        Ok(positions)
    }

    /// Writes what records say and the positions behind them; the revision of the store after it. Either all of it is kept or
    /// nothing.
    ///
    /// # Errors
    /// A full disk, a damaged file …
    pub fn apply(&mut self, entries: &[Entry], positions: &[Position], clock: Clock) -> Result<i64, Error> {
        let applied = write(&mut self.store, &mut self.names, entries, positions, clock);
        if applied.is_err() {
            self.names.forget();
        }
        applied
    }

    /// The revision of the store.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn revision(&self) -> Result<i64, Error> {
        counter(&self.store, "revision")
    }
}

fn write(
    store: &mut Connection,
    names: &mut Names,
    entries: &[Entry],
    positions: &[Position],
    clock: Clock,
) -> Result<i64, Error> {
    let transaction = store.transaction()?;
    let horizon = clock.horizon.max(counter(&transaction, "expired_before")?);
    let clock = Clock { horizon, ..clock };
    let mut writing = Writing { store: &transaction, names, clock, tally: Tally::default() };
    for entry in entries {
        writing.entry(entry)?;
    }
    let tally = writing.tally;
    tally.gathered.write(&transaction)?;
    add(&transaction, "posts", tally.gathered.posts)?;
    add(&transaction, "not_a_result", tally.not_a_result)?;
    add(&transaction, "too_old", tally.too_old)?;
    if tally.last_scored_at > 0 {
        let mut set = transaction.prepare_cached(
            "INSERT INTO counters VALUES ('last_scored_at', ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)",
        )?;
        set.execute([tally.last_scored_at])?;
    }
    for position in positions {
        let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?)")?;
        let anchors = serde_json::to_string(&position.anchors)?;
        put.execute(params![position.topic, position.partition, position.next, anchors])?;
    }
    let changed = tally.changed || tally.not_a_result + tally.too_old > 0;
    let revision = revise(&transaction, changed)?;
    transaction.commit()?;
    Ok(revision)
}

/// The revision, which is one more where something changed.
pub(super) fn revise(transaction: &Transaction<'_>, changed: bool) -> Result<i64, Error> {
    add(transaction, "revision", i64::from(changed))?;
    counter(transaction, "revision")
}

pub(super) fn add(store: &Connection, name: &str, more: i64) -> Result<(), Error> {
    if more != 0 {
        let mut add = store.prepare_cached(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        )?;
        add.execute(params![name, more])?;
    }
    Ok(())
}

pub(super) fn counter(store: &Connection, name: &str) -> Result<i64, Error> {
    let mut get = store.prepare_cached("SELECT value FROM counters WHERE name = ?")?;
    Ok(get.query_row([name], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// One transaction under way.
struct Writing<'t> {
    store: &'t Transaction<'t>,
    names: &'t mut Names,
    clock: Clock,
    tally: Tally,
}

/// What makes a post unique: number of its topic, partition, offset, hash of its id.
type Identity = (i64, i32, i64, i64);

impl Writing<'_> {
    fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        match entry {
            Entry::Scored(scored) => self.scored(scored),
            Entry::Erased(key) => self.erase(*key),
            Entry::Letter(letter) => self.letter(letter),
            Entry::NotAResult => {
                self.tally.not_a_result += 1;
                Ok(())
            }
        }
    }

    fn scored(&mut self, scored: &Scored) -> Result<(), Error> {
        let day = scored.at.div_euclid(DAY);
        let topic = self.names.number(self.store, Kind::Topic, &scored.origin.topic, day)?;
        let identity = (topic, scored.origin.partition, scored.origin.offset, record::key_hash(scored.id.as_bytes()));
        let kept = self.find(identity)?;
        if kept.as_ref().is_some_and(|(_, row)| row.scored_at > scored.scored_at) {
            return Ok(());
        }
        let row = if scored.at < self.clock.horizon {
            self.tally.too_old += 1;
            None
        } else {
            Some(self.row(scored, day)?)
        };
        match (kept, row) {
            (None, None) => {}
            // A record that came twice.
            (Some((_, kept)), Some(row)) if kept == row => {}
            (Some((post, kept)), None) => self.remove(post, &kept)?,
            (None, Some(row)) => self.put(None, identity, scored, &row)?,
            (Some((post, kept)), Some(row)) => {
                self.tally.gathered.subtract(post, &kept, self.throughput_since());
                self.put(Some(post), identity, scored, &row)?;
            }
        }
        Ok(())
    }

    const fn throughput_since(&self) -> i64 {
        self.clock.now - THROUGHPUT_KEPT
    }

    fn find(&self, (topic, partition, offset, name_hash): Identity) -> Result<Option<(i64, Row)>, Error> {
        let mut find = self.store.prepare_cached(&format!(
            "SELECT id, {COLUMNS} FROM posts WHERE topic = ? AND partition = ? AND offset = ? AND name_hash = ?"
        ))?;
        let mut rows = find.query(params![topic, partition, offset, name_hash])?;
        rows.next()?.map(|row| Ok((row.get(0)?, Row::read(row, 1)?))).transpose()
    }

    /// The result by its numbers.
    fn row(&mut self, scored: &Scored, day: i64) -> Result<Row, Error> {
        let details = self.details(scored, day)?;
        let bundle = serde_json::to_string(&scored.bundle)?;
        Ok(Row {
            at: scored.at,
            source: self.names.number(self.store, Kind::Source, &scored.source, day)?,
            label: self.names.number(self.store, Kind::Label, &scored.label, day)?,
            bundle: self.names.number(self.store, Kind::Bundle, &bundle, day)?,
            polarity: scored.polarity,
            confidence: scored.confidence,
            scored_at: scored.scored_at,
            details,
        })
    }

    fn details(&mut self, scored: &Scored, day: i64) -> Result<Details, Error> {
        let weights =
            [(Kind::Label, &scored.probabilities), (Kind::Field, &scored.relevance), (Kind::Field, &scored.effects)];
        let [mut probabilities, mut relevance, mut effects] = [const { Weights::new() }; 3];
        for ((kind, from), to) in weights.into_iter().zip([&mut probabilities, &mut relevance, &mut effects]) {
            for (name, weight) in from as &[Weight] {
                to.push((self.names.number(self.store, kind, name, day)?, *weight));
            }
        }
        let (mut tags, mut flags, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for tag in &scored.tags {
            tags.push(self.names.number(self.store, Kind::Tag, tag, day)?);
        }
        for flag in &scored.flags {
            flags.push(self.names.number(self.store, Kind::Flag, flag, day)?);
            // A field that never had a weight is none.
            if let Some(field) = flag.strip_suffix(MISSING) {
                missing.extend(self.names.existing(self.store, Kind::Field, field)?);
            }
        }
        Ok(Details(probabilities, relevance, effects, tags, flags, missing))
    }

    /// Writes a new post, or in place of one that is counted out already.
    fn put(&mut self, post: Option<i64>, identity: Identity, scored: &Scored, row: &Row) -> Result<(), Error> {
        let (topic, partition, offset, name_hash) = identity;
        let mut put = self
            .store
            .prepare_cached("INSERT OR REPLACE INTO posts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
        let details = serde_json::to_string(&row.details)?;
        put.execute(params![
            post,
            row.at,
            row.source,
            row.label,
            row.bundle,
            row.polarity,
            row.confidence,
            row.scored_at,
            scored.key,
            topic,
            partition,
            offset,
            name_hash,
            scored.id,
            details
        ])?;
        self.tally.gathered.add(self.store.last_insert_rowid(), row, self.throughput_since());
        self.tally.last_scored_at = self.tally.last_scored_at.max(row.scored_at);
        self.tally.changed = true;
        Ok(())
    }

    fn remove(&mut self, post: i64, row: &Row) -> Result<(), Error> {
        self.tally.gathered.subtract(post, row, self.throughput_since());
        self.tally.changed = true;
        self.store.prepare_cached("DELETE FROM posts WHERE id = ?")?.execute([post])?;
        Ok(())
    }

    /// Every post under this key goes. Keys are kept by week, so every week there is has to be looked into.
    fn erase(&mut self, key: i64) -> Result<(), Error> {
        let Some((first, last)) = row::span(self.store)? else { return Ok(()) };
        let mut found = HashMap::new();
        for week in first / WEEK..=last / WEEK {
            let mut find = self
                .store
                .prepare_cached(&format!("SELECT id, {COLUMNS} FROM posts WHERE at / {WEEK} = ? AND key = ?"))?;
            let mut rows = find.query([week, key])?;
            while let Some(row) = rows.next()? {
                found.insert(row.get(0)?, Row::read(row, 1)?);
            }
        }
        for (post, row) in found {
            self.remove(post, &row)?;
        }
        Ok(())
    }

    fn letter(&mut self, letter: &Letter) -> Result<(), Error> {
        if letter.at < self.clock.horizon {
            return Ok(());
        }
        let day = letter.at.div_euclid(DAY);
        let topic = self.names.number(self.store, Kind::Topic, &letter.origin.topic, day)?;
        let reason = self.names.number(self.store, Kind::Reason, &letter.reason, day)?;
        // Of a record that was refused several times the latest letter counts.
        let mut put = self.store.prepare_cached(
            "INSERT INTO letters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET reason = excluded.reason, at = excluded.at WHERE excluded.at > at",
        )?;
        let changed =
            put.execute(params![topic, letter.origin.partition, letter.origin.offset, letter.key, reason, letter.at])?;
        self.tally.changed |= changed > 0;
        Ok(())
    }
}
