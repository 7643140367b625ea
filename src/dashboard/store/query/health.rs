//! How the store and what it reads are doing, as far as the store knows.

use rusqlite::{Connection, OptionalExtension as _};
use serde::Serialize;

use super::super::names::name_of;
use super::super::range::Range;
use super::super::sums::MINUTE;
use super::super::write::counter;
use super::posts::rfc_3339;
use super::{Error, told};

/// Minutes of throughput told.
const MINUTES: i64 = 60;

/// What the store tells of `GET /api/v1/health`.
#[derive(Debug, Serialize)]
pub struct Stored {
    /// Of the store.
    pub revision: i64,
    /// Results a second in the last minute.
    pub per_second: f64,
    /// When the newest result was scored.
    pub last_scored_at: Option<String>,
    /// What was read and not kept.
    pub skipped: Skipped,
    /// By minute.
    pub throughput: Throughput,
    /// By reason.
    pub dead_letters: DeadLetters,
    /// What is kept.
    pub store: Kept,
}

/// Counts of records.
#[derive(Debug, Serialize)]
pub struct Skipped {
    not_a_result: i64,
    too_old: i64,
}

/// Results by the minute they were scored in.
#[derive(Debug, Serialize)]
pub struct Throughput {
    at: Vec<i64>,
    results: Vec<i64>,
}

/// Dead letters of the range.
#[derive(Debug, Serialize)]
pub struct DeadLetters {
    total: i64,
    reasons: Vec<Reason>,
}

/// Dead letters of a reason.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "as the API has them")]
pub struct Reason {
    reason: String,
    count: i64,
    last_at: Option<String>,
}

/// The store itself.
#[derive(Debug, Serialize)]
pub struct Kept {
    posts: i64,
    bytes: i64,
    oldest: Option<String>,
}

/// All of it, at `now`.
pub fn read(store: &Connection, range: Range, now: i64) -> Result<Stored, Error> {
    let last = counter(store, "last_scored_at")?;
    let skipped = Skipped { not_a_result: counter(store, "not_a_result")?, too_old: counter(store, "too_old")? };
    Ok(Stored {
        revision: counter(store, "revision")?,
        per_second: per_second(store, now)?,
        last_scored_at: (last > 0).then(|| rfc_3339(last)),
        skipped,
        throughput: throughput(store, now)?,
        dead_letters: dead_letters(store, range)?,
        store: kept(store)?,
    })
}

fn per_second(store: &Connection, now: i64) -> Result<f64, Error> {
    let second = now.div_euclid(1000);
    let mut sum = store.prepare_cached("SELECT total(results) FROM throughput WHERE second > ? AND second <= ?")?;
    let results: f64 = sum.query_row([second - 60, second], |row| row.get(0))?;
    Ok(told(results / 60.0))
}

/// The last whole hour up to the minute that is under way.
fn throughput(store: &Connection, now: i64) -> Result<Throughput, Error> {
    let last = now.div_euclid(MINUTE);
    let at: Vec<_> = (last - MINUTES + 1..=last).map(|minute| minute * 60).collect();
    let mut results = vec![0; at.len()];
    let mut select = store.prepare_cached(
        "SELECT second / 60, sum(results) FROM throughput WHERE second >= ? AND second < ? GROUP BY second / 60",
    )?;
    let mut rows = select.query([(last - MINUTES + 1) * 60, (last + 1) * 60])?;
    while let Some(row) = rows.next()? {
        let place = usize::try_from(row.get::<_, i64>(0)? - (last - MINUTES + 1)).unwrap_or(usize::MAX);
        if let Some(sum) = results.get_mut(place) {
            *sum = row.get(1)?;
        }
    }
    Ok(Throughput { at, results })
}

fn dead_letters(store: &Connection, range: Range) -> Result<DeadLetters, Error> {
    let mut numbers = store.prepare_cached("SELECT id FROM names WHERE kind = 8")?;
    let numbers = numbers.query_map([], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>()?;
    let mut reasons = Vec::new();
    for number in numbers {
        let mut count =
            store.prepare_cached("SELECT count(*), max(at) FROM letters WHERE reason = ? AND at >= ? AND at < ?")?;
        let (count, last) =
            count.query_row([number, range.from, range.to], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)))?;
        if count > 0 {
            reasons.push(Reason { reason: name_of(store, number)?, count, last_at: last.map(rfc_3339) });
        }
    }
    reasons.sort_by(|one, other| other.count.cmp(&one.count).then_with(|| one.reason.cmp(&other.reason)));
    Ok(DeadLetters { total: reasons.iter().map(|reason| reason.count).sum(), reasons })
}

fn kept(store: &Connection) -> Result<Kept, Error> {
    let pragma = |name: &str| store.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let mut oldest = store.prepare_cached("SELECT at FROM posts ORDER BY at LIMIT 1")?;
    let oldest: Option<i64> = oldest.query_row([], |row| row.get(0)).optional()?;
    Ok(Kept {
        posts: counter(store, "posts")?,
        bytes: pragma("page_count")? * pragma("page_size")?,
        oldest: oldest.map(rfc_3339),
    })
}

/// Whether the store can be read at all.
pub fn revision(store: &Connection) -> Result<i64, Error> {
    counter(store, "revision")
}
