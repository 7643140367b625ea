//! The tables, and the versions of them. A store of a later version is refused; one of an earlier version would be brought
//! up to date here.
//!
//! Times are whole numbers: milliseconds since 1970, or how many minutes, hours … since then. Names (of sources, labels, fields,
//! tags …) stand in one table and elsewhere by their number. What is read by range is clustered by time first, so that what comes in
//! touches few pages and what expires lies together.

use rusqlite::Connection;

use super::Error;

/// `PRAGMA user_version`.
const VERSION: i64 = 1;
/// `PRAGMA application_id`: "sent".
const APPLICATION: i64 = 0x7365_6e74;

const TABLES: &str = "
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (topic TEXT, partition INTEGER, next INTEGER NOT NULL, anchors TEXT NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
-- a number is never given twice: sums may still tell of what has gone
CREATE TABLE names (id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, name TEXT NOT NULL, last_day INTEGER NOT NULL, UNIQUE (kind, name));
CREATE INDEX names_by_day ON names (kind, last_day);

-- weight lists, tags and flags by number, in JSON (store::row)
CREATE TABLE posts (
  id INTEGER PRIMARY KEY, at INTEGER NOT NULL, source INTEGER NOT NULL, label INTEGER NOT NULL, bundle INTEGER NOT NULL,
  polarity INTEGER NOT NULL, confidence INTEGER NOT NULL, scored_at INTEGER NOT NULL, key INTEGER,
  topic INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, name_hash INTEGER NOT NULL, name TEXT NOT NULL,
  details TEXT NOT NULL
);
CREATE UNIQUE INDEX posts_by_origin ON posts (topic, partition, offset, name_hash);
CREATE INDEX posts_by_time ON posts (at, id, source, label);
-- by week first: what is published together has its keys together, and a tombstone looks into every week
CREATE INDEX posts_by_key ON posts (at / 604800000, key) WHERE key IS NOT NULL;
CREATE INDEX posts_by_bundle ON posts (bundle, at);

-- every tag of every post, by quarter of a day and what is left of its time
CREATE TABLE post_tags (
  quarter INTEGER, tag INTEGER, ms INTEGER, post INTEGER,
  source INTEGER NOT NULL, label INTEGER NOT NULL, polarity INTEGER NOT NULL, confidence INTEGER NOT NULL,
  PRIMARY KEY (quarter, tag, ms, post)
) WITHOUT ROWID;

-- grain 0, 1, 2: minute, hour, day; squares in thousandths of square millionths
CREATE TABLE sums (
  grain INTEGER, at INTEGER, source INTEGER, label INTEGER,
  posts INTEGER NOT NULL, polarity INTEGER NOT NULL, squares INTEGER NOT NULL, confidence INTEGER NOT NULL,
  PRIMARY KEY (grain, at, source, label)
) WITHOUT ROWID;
CREATE TABLE field_sums (
  grain INTEGER, at INTEGER, source INTEGER, field INTEGER,
  posts INTEGER NOT NULL, relevance INTEGER NOT NULL, missing INTEGER NOT NULL,
  PRIMARY KEY (grain, at, source, field)
) WITHOUT ROWID;
-- grain 0, 1, 2: quarter of a day, day, week; source 0: all of them
CREATE TABLE tag_sums (
  grain INTEGER, at INTEGER, source INTEGER, tag INTEGER,
  posts INTEGER NOT NULL, polarity INTEGER NOT NULL, positive INTEGER NOT NULL, positive_polarity INTEGER NOT NULL,
  negative INTEGER NOT NULL, negative_polarity INTEGER NOT NULL,
  PRIMARY KEY (grain, at, source, tag)
) WITHOUT ROWID;
-- results by second of scoring, of the last hours
CREATE TABLE throughput (second INTEGER PRIMARY KEY, results INTEGER NOT NULL);

-- with a hash of the record's key: a topic made anew has other records at the same offsets
CREATE TABLE letters (
  topic INTEGER, partition INTEGER, offset INTEGER, key INTEGER, reason INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (topic, partition, offset, key)
) WITHOUT ROWID;
CREATE INDEX letters_by_reason ON letters (reason, at);
CREATE INDEX letters_by_time ON letters (at);
";

/// Makes the tables of a new store, and refuses a file that is none of ours.
pub fn prepare(connection: &mut Connection, path: &std::path::Path) -> Result<(), Error> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (version, application) = (pragma("user_version")?, pragma("application_id")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        return Ok(transaction.commit()?);
    }
    if application != APPLICATION {
        return Err(Error::Foreign(path.to_owned()));
    }
    if version != VERSION {
        return Err(Error::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    Ok(())
}
