//! Names and their numbers: every text that repeats itself stands in the store once. How many there may be of a kind is limited,
//! since whoever publishes results makes them up.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Error;

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `source`.
    Source = 1,
    /// `sentiment.label`.
    Label = 2,
    /// A name among `relevance`.
    Field = 3,
    /// One of `tags`.
    Tag = 4,
    /// One of `flags`.
    Flag = 5,
    /// Name, version and digest of `model`, as JSON.
    Bundle = 6,
    /// `origin.topic`.
    Topic = 7,
    /// `dlq.reason`.
    Reason = 8,
}

impl Kind {
    /// How many there may be; more of them than any feed has.
    const fn most(self) -> i64 {
        match self {
            Self::Label | Self::Field => 64,
            Self::Flag | Self::Reason => 256,
            Self::Source | Self::Bundle | Self::Topic => 1000,
            // They go with the last post that carries them.
            Self::Tag => i64::MAX,
        }
    }
}

/// Takes the place of the names that are too many of their kind: nothing a stranger makes up keeps real results out.
pub const OTHER: &str = "(other)";
/// Numbers kept in memory; forgotten all at once, and looked up again.
const MOST_REMEMBERED: usize = 200_000;

/// Numbers of names.
#[derive(Debug, Default)]
pub struct Names {
    known: HashMap<(Kind, String), (i64, i64)>,
    counts: HashMap<Kind, i64>,
}

impl Names {
    /// Forgets what a transaction that came to nothing may have made up.
    pub fn forget(&mut self) {
        self.known.clear();
        self.counts.clear();
    }

    /// The number of a name that a post of this day carries; that of [`OTHER`] where there are too many of its kind already.
    pub fn number(&mut self, store: &Connection, kind: Kind, name: &str, day: i64) -> Result<i64, Error> {
        // Without a copy of the name this look-up cannot be written for a map keyed by a pair.
        let key = (kind, name.to_owned());
        if let Some((number, last_day)) = self.known.get_mut(&key) {
            if day > *last_day {
                touch(store, *number, day)?;
                *last_day = day;
            }
            return Ok(*number);
        }
        let Some((number, last_day)) = find(store, kind, name)? else { return self.make(store, key, day) };
        if day > last_day {
            touch(store, number, day)?;
        }
        self.remember(key, number, day.max(last_day));
        Ok(number)
    }

    /// The number of a name that some post has carried before.
    pub fn existing(&mut self, store: &Connection, kind: Kind, name: &str) -> Result<Option<i64>, Error> {
        match self.known.get(&(kind, name.to_owned())) {
            Some((number, _)) => Ok(Some(*number)),
            None => number_of(store, kind, name),
        }
    }

    fn make(&mut self, store: &Connection, key: (Kind, String), day: i64) -> Result<i64, Error> {
        let (kind, name) = &key;
        if kind.most() < i64::MAX {
            let count = match self.counts.get(kind) {
                Some(count) => *count,
                None => {
                    store.query_row("SELECT count(*) FROM names WHERE kind = ?", [*kind as i64], |row| row.get(0))?
                }
            };
            if count >= kind.most() {
                return self.other(store, *kind);
            }
            self.counts.insert(*kind, count + 1);
        }
        let mut insert = store.prepare_cached("INSERT INTO names (kind, name, last_day) VALUES (?, ?, ?)")?;
        let number = insert.insert(params![*kind as i64, name, day])?;
        self.remember(key, number, day);
        Ok(number)
    }

    /// It is one beyond the limit, and never goes.
    fn other(&mut self, store: &Connection, kind: Kind) -> Result<i64, Error> {
        let number = if let Some(number) = self.existing(store, kind, OTHER)? {
            number
        } else {
            let mut insert = store.prepare_cached("INSERT INTO names (kind, name, last_day) VALUES (?, ?, ?)")?;
            insert.insert(params![kind as i64, OTHER, i64::MAX])?
        };
        self.remember((kind, OTHER.to_owned()), number, i64::MAX);
        Ok(number)
    }

    fn remember(&mut self, key: (Kind, String), number: i64, last_day: i64) {
        if self.known.len() >= MOST_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, (number, last_day));
    }
}

fn find(store: &Connection, kind: Kind, name: &str) -> Result<Option<(i64, i64)>, Error> {
    let mut find = store.prepare_cached("SELECT id, last_day FROM names WHERE kind = ? AND name = ?")?;
    Ok(find.query_row(params![kind as i64, name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Notes the last day that a name is needed for.
fn touch(store: &Connection, number: i64, day: i64) -> Result<(), Error> {
    store.prepare_cached("UPDATE names SET last_day = ? WHERE id = ?")?.execute([day, number])?;
    Ok(())
}

/// The number of a name, where it has one.
pub fn number_of(store: &Connection, kind: Kind, name: &str) -> Result<Option<i64>, Error> {
    Ok(find(store, kind, name)?.map(|(number, _)| number))
}

/// The name of a number.
pub fn name_of(store: &Connection, number: i64) -> Result<String, Error> {
    let mut find = store.prepare_cached("SELECT name FROM names WHERE id = ?")?;
    Ok(find.query_row([number], |row| row.get(0)).optional()?.unwrap_or_default())
}
