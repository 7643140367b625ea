//! What is too old goes: a few thousand rows a transaction, so that records that come meanwhile do not wait for it.

use rusqlite::{Transaction, params};

use super::Error;
use super::sums::{DAY, GRAINS, HOUR, QUARTER, TAG_GRAINS};
use super::write::{Clock, THROUGHPUT_KEPT, Writer, add, revise};

/// Rows of one table that go in one step.
const STEP: i64 = 2000;
/// Sums by day are kept so many times as long as posts.
const DAYS_KEPT_LONGER: i64 = 10;

/// Notes up to when posts have gone: should more days be kept later, what is read again of that time still counts in the sums.
const EXPIRED: &str =
    "INSERT INTO counters VALUES ('expired_before', ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)";
/// Names of tags (kind 4) that nothing carries any more; those of other kinds are told by the sums by day too.
const NAMES: &str = "DELETE FROM names WHERE id IN (SELECT id FROM names WHERE kind = 4 AND last_day < ?1 UNION ALL \
                     SELECT id FROM names WHERE kind <> 4 AND last_day < ?2 LIMIT ?3)";

impl Writer {
    /// Deletes some of what is too old; whether there is more, and the revision after it.
    ///
    /// # Errors
    /// A store that cannot be written.
    pub fn expire(&mut self, clock: Clock) -> Result<(bool, i64), Error> {
        let transaction = self.store.transaction()?;
        let Expired { deleted, names, more } = expire(&transaction, clock)?;
        let revision = revise(&transaction, deleted > 0)?;
        transaction.commit()?;
        if names > 0 {
            // Some of them may be remembered with a number that is nobody's now.
            self.names.forget();
        }
        Ok((more, revision))
    }
}

/// What one step took.
struct Expired {
    deleted: usize,
    names: usize,
    more: bool,
}

fn expire(store: &Transaction<'_>, clock: Clock) -> Result<Expired, Error> {
    let horizon = clock.horizon;
    let posts = "DELETE FROM posts WHERE id IN (SELECT id FROM posts WHERE at < ? ORDER BY at LIMIT ?)";
    let expired = store.prepare_cached(posts)?.execute([horizon, STEP])?;
    if expired > 0 {
        store.prepare_cached(EXPIRED)?.execute([horizon])?;
    }
    add(store, "posts", -i64::try_from(expired).unwrap_or_default())?;
    let (mut deleted, mut names) = (expired, 0);
    let mut more = is_step(expired);
    // A post takes its share of the sums with it when it is erased: no sum goes before its posts.
    if !more {
        for (table, key, bound) in bounds(clock) {
            let gone = delete(store, table, key, &bound)?;
            deleted += gone;
            more |= is_step(gone);
        }
        // Sums by week outlive their first day: names go when nothing can carry them.
        let day = horizon / DAY - 7;
        let longer = clock.now / DAY - DAYS_KEPT_LONGER * (clock.now / DAY - day);
        names = store.prepare_cached(NAMES)?.execute([day, longer, STEP])?;
        more |= is_step(names);
    }
    store
        .prepare_cached("DELETE FROM throughput WHERE second < ?")?
        .execute([(clock.now - THROUGHPUT_KEPT - HOUR) / 1000])?;
    Ok(Expired { deleted, names, more })
}

fn is_step(deleted: usize) -> bool {
    i64::try_from(deleted).is_ok_and(|deleted| deleted >= STEP)
}

/// Tables with their keys, and what of them is too old.
fn bounds(Clock { now, horizon }: Clock) -> Vec<(&'static str, &'static str, String)> {
    let day = now.div_euclid(DAY) * DAY;
    let mut bounds = vec![("post_tags", "quarter, tag, ms, post", format!("quarter < {}", horizon / QUARTER))];
    let days = GRAINS.len() - 1;
    for (grain, length) in GRAINS.into_iter().enumerate() {
        let horizon = if grain == days { day - DAYS_KEPT_LONGER * (day - horizon) } else { horizon };
        let bound = format!("grain = {grain} AND at < {}", horizon.div_euclid(length));
        bounds.push(("sums", "grain, at, source, label", bound.clone()));
        bounds.push(("field_sums", "grain, at, source, field", bound));
    }
    for (grain, length) in TAG_GRAINS.into_iter().enumerate() {
        bounds.push(("tag_sums", "grain, at, source, tag", format!("grain = {grain} AND at < {}", horizon / length)));
    }
    bounds.push(("letters", "topic, partition, offset, key", format!("at < {horizon}")));
    bounds
}

fn delete(store: &Transaction<'_>, table: &str, key: &str, bound: &str) -> Result<usize, Error> {
    let delete = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {bound} LIMIT ?)");
    Ok(store.prepare_cached(&delete)?.execute(params![STEP])?)
}
