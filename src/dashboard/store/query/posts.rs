//! The posts behind a point: newest first, a page at a time.
//!
//! With a tag they are found by it, quarter of a day by quarter. With a source or a label the sums say which hours have any, so that
//! what is rare is not looked for in everything.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::names::name_of;
use super::super::range::Range;
use super::super::row::{self, COLUMNS, Row, Weights};
use super::super::sums::{HOUR, QUARTER};
use super::super::write::counter;
use super::{Error, Filter, Numbers, told};

/// `GET /api/v1/posts`.
#[derive(Debug, Serialize)]
pub struct Posts {
    revision: i64,
    next: Option<String>,
    /// Newest first.
    pub posts: Vec<Post>,
}

/// A post as it is told.
#[derive(Debug, Serialize)]
pub struct Post {
    /// Its id.
    pub id: String,
    /// Empty where it has none.
    pub source: String,
    /// RFC 3339.
    pub published_at: String,
    /// RFC 3339.
    pub scored_at: String,
    /// Its label.
    pub label: String,
    /// In [-1, 1].
    pub polarity: f64,
    /// In [0, 1].
    pub confidence: f64,
    /// By label.
    pub probabilities: Map<String, Value>,
    /// By field.
    pub relevance: Map<String, Value>,
    /// By field.
    pub effects: Map<String, Value>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Remarks.
    pub flags: Vec<String>,
    /// Name and version.
    pub bundle: String,
    /// `topic/partition/offset`.
    pub origin: String,
}

/// Where a page ended: time and number of its last post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(i64, i64);

impl Cursor {
    /// Reads what [`Posts`] told as `next`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (at, post) = text.split_once('-')?;
        Some(Self(at.parse().ok()?, post.parse().ok()?))
    }
}

/// A page.
pub fn read(
    store: &Connection,
    range: Range,
    filter: &Filter,
    limit: usize,
    after: Option<Cursor>,
) -> Result<Posts, Error> {
    let numbers = Numbers::of(store, filter)?;
    let end = after.unwrap_or(Cursor(range.to, 0)).min(Cursor(range.to, 0));
    let mut finding = Finding { store, numbers, from: range.from, end, most: limit + 1, found: Vec::new() };
    finding.find()?;
    let mut found = finding.found;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|Cursor(at, post)| format!("{at}-{post}"));
    let posts = found.iter().map(|Cursor(_, post)| load(store, *post)).collect::<Result<_, _>>()?;
    Ok(Posts { revision: counter(store, "revision")?, next, posts })
}

struct Finding<'s> {
    store: &'s Connection,
    numbers: Numbers,
    from: i64,
    end: Cursor,
    most: usize,
    found: Vec<Cursor>,
}

impl Finding<'_> {
    fn find(&mut self) -> Result<(), Error> {
        // Nothing lies outside of what is kept, and a range may be long.
        let Some((first, last)) = row::span(self.store)? else { return Ok(()) };
        (self.from, self.end) = (self.from.max(first), self.end.min(Cursor(last + 1, 0)));
        match self.numbers.tag {
            Some(tag) => self.by_tag(tag),
            None if self.numbers.sources.is_empty() && self.numbers.label.is_none() => self.between(self.from),
            None => self.by_hours(),
        }
    }

    fn by_tag(&mut self, tag: i64) -> Result<(), Error> {
        let mut select = self.store.prepare_cached(
            "SELECT ms, post, source, label FROM post_tags WHERE quarter = ? AND tag = ? AND (ms, post) < (?, ?) ORDER BY ms DESC, post DESC",
        )?;
        let Cursor(end, last) = self.end;
        let mut quarter = end.div_euclid(QUARTER);
        while quarter * QUARTER + QUARTER > self.from && self.found.len() < self.most {
            let start = quarter * QUARTER;
            let (ms, post) = if end - start <= QUARTER { (end - start, last) } else { (QUARTER, 0) };
            let mut rows = select.query(params![quarter, tag, ms, post])?;
            while let Some(row) = rows.next()?.filter(|_| self.found.len() < self.most) {
                let (at, post): (i64, i64) = (start + row.get::<_, i64>(0)?, row.get(1)?);
                if at >= self.from && self.is_meant(row.get(2)?, row.get(3)?) {
                    self.found.push(Cursor(at, post));
                }
            }
            quarter -= 1;
        }
        Ok(())
    }

    fn is_meant(&self, source: i64, label: i64) -> bool {
        self.numbers.has_source(source) && self.numbers.label.is_none_or(|meant| meant == label)
    }

    /// Hour by hour, of those that have any such post.
    fn by_hours(&mut self) -> Result<(), Error> {
        let mut select = self.store.prepare_cached(
            "SELECT at, source, label FROM sums WHERE grain = 1 AND at >= ? AND at <= ? ORDER BY at DESC, source DESC, label DESC",
        )?;
        let mut rows = select.query([self.from.div_euclid(HOUR), self.end.0.div_euclid(HOUR)])?;
        let mut looked_at = None;
        while let Some(row) = rows.next()?.filter(|_| self.found.len() < self.most) {
            let hour: i64 = row.get(0)?;
            if looked_at != Some(hour) && self.is_meant(row.get(1)?, row.get(2)?) {
                looked_at = Some(hour);
                self.between(self.from.max(hour * HOUR))?;
                self.end = self.end.min(Cursor(hour * HOUR, 0));
            }
        }
        Ok(())
    }

    /// All from a time on up to the end.
    fn between(&mut self, from: i64) -> Result<(), Error> {
        let mut select = self.store.prepare_cached(
            "SELECT at, id, source, label FROM posts INDEXED BY posts_by_time WHERE at >= ? AND (at, id) < (?, ?) ORDER BY at DESC, id DESC",
        )?;
        let mut rows = select.query([from, self.end.0, self.end.1])?;
        while let Some(row) = rows.next()?.filter(|_| self.found.len() < self.most) {
            if self.is_meant(row.get(2)?, row.get(3)?) {
                self.found.push(Cursor(row.get(0)?, row.get(1)?));
            }
        }
        Ok(())
    }
}

fn load(store: &Connection, post: i64) -> Result<Post, Error> {
    let mut select =
        store.prepare_cached(&format!("SELECT topic, partition, offset, name, {COLUMNS} FROM posts WHERE id = ?"))?;
    let mut rows = select.query([post])?;
    let sql = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let row = Row::read(sql, 4)?;
    let name = |number: &i64| name_of(store, *number);
    let weights = |weights: &Weights| {
        let named = weights.iter().map(|(number, weight)| Ok((name(number)?, millionths(*weight).into())));
        named.collect::<Result<Map<String, Value>, Error>>()
    };
    let row::Details(probabilities, relevance, effects, tags, flags, _) = &row.details;
    let [bundle, version, _] = bundle(store, row.bundle)?;
    let (topic, partition, offset): (i64, i64, i64) = (sql.get(0)?, sql.get(1)?, sql.get(2)?);
    Ok(Post {
        id: sql.get(3)?,
        source: name(&row.source)?,
        published_at: rfc_3339(row.at),
        scored_at: rfc_3339(row.scored_at),
        label: name(&row.label)?,
        polarity: millionths(row.polarity),
        confidence: millionths(row.confidence),
        probabilities: weights(probabilities)?,
        relevance: weights(relevance)?,
        effects: weights(effects)?,
        tags: tags.iter().map(name).collect::<Result<_, _>>()?,
        flags: flags.iter().map(name).collect::<Result<_, _>>()?,
        bundle: format!("{bundle} {version}").trim().to_owned(),
        origin: format!("{}/{partition}/{offset}", name(&topic)?),
    })
}

/// Name, version and digest of a bundle.
pub fn bundle(store: &Connection, number: i64) -> Result<[String; 3], Error> {
    let name = name_of(store, number)?;
    // All those beyond the limit stand together under a name that is no list.
    Ok(serde_json::from_str(&name).unwrap_or_else(|_| [name, String::new(), String::new()]))
}

#[expect(clippy::cast_precision_loss, reason = "within a million")]
fn millionths(number: i64) -> f64 {
    told(number as f64 / 1e6)
}

/// A time as it is told.
#[must_use]
pub fn rfc_3339(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default()
}
