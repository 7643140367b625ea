//! What the posts of one transaction change in the sums: gathered in memory, and written once for every key. All of it is
//! integers, so that taking a post out again leaves exactly what was there before.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use rusqlite::{Connection, params};

use super::Error;
use super::row::Row;

/// Polarity, in millionths, from which a post is called positive, and below which negative: a third.
pub const OPINION: i64 = 333_333;
/// Milliseconds.
pub const MINUTE: i64 = 60_000;
/// Milliseconds.
pub const HOUR: i64 = 60 * MINUTE;
/// Milliseconds: what the tags of posts are kept by.
pub const QUARTER: i64 = 6 * HOUR;
/// Milliseconds.
pub const DAY: i64 = 24 * HOUR;
/// Milliseconds; counted from Thursday, 1 January 1970.
pub const WEEK: i64 = 7 * DAY;

/// Lengths of the grains of `sums` and `field_sums`.
pub const GRAINS: [i64; 3] = [MINUTE, HOUR, DAY];
/// Lengths of the grains of `tag_sums`.
pub const TAG_GRAINS: [i64; 3] = [QUARTER, DAY, WEEK];
/// As a source in `tag_sums`: all of them.
pub const ALL: i64 = 0;

/// Polarity and confidence of some posts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cell {
    /// How many.
    pub posts: i64,
    /// Sum.
    pub polarity: i64,
    /// Sum of squares, each in thousandths of square millionths: nine billion posts fit.
    pub squares: i64,
    /// Sum.
    pub confidence: i64,
}

impl Cell {
    /// One post.
    #[must_use]
    pub const fn of(polarity: i64, confidence: i64) -> Self {
        Self { posts: 1, polarity, squares: polarity * polarity / 1000, confidence }
    }

    /// Adds the other.
    pub fn add(&mut self, other: Self) {
        self.posts += other.posts;
        self.polarity += other.polarity;
        self.squares += other.squares;
        self.confidence += other.confidence;
    }
}

/// Any row of integers that adds up; the first tells whether anything is left.
type Cells<const N: usize> = [i64; N];

/// What is to be added to the store.
#[derive(Debug, Default)]
pub struct Gathered {
    /// By minute, source, label: posts, polarity, squares, confidence.
    sums: HashMap<[i64; 3], Cells<4>>,
    /// By minute, source, field: posts, relevance, missing.
    fields: HashMap<[i64; 3], Cells<3>>,
    /// By quarter, source, tag: posts, polarity, positive, their polarity, negative, their polarity.
    tags: HashMap<[i64; 3], Cells<6>>,
    scored: HashMap<i64, i64>,
    /// By quarter, tag, milliseconds, post: source, label, polarity, confidence; `None` goes.
    post_tags: BTreeMap<[i64; 4], Option<[i64; 4]>>,
    /// How many posts there are more.
    pub posts: i64,
}

fn merge<K: Eq + Hash, const N: usize>(map: &mut HashMap<K, Cells<N>>, key: K, cells: Cells<N>, sign: i64) {
    for (sum, cell) in map.entry(key).or_insert([0; N]).iter_mut().zip(cells) {
        *sum += sign * cell;
    }
}

impl Gathered {
    /// Counts a post in.
    pub fn add(&mut self, post: i64, row: &Row, throughput_since: i64) {
        self.count(post, row, 1, throughput_since);
    }

    /// Counts a post out.
    pub fn subtract(&mut self, post: i64, row: &Row, throughput_since: i64) {
        self.count(post, row, -1, throughput_since);
    }

    fn count(&mut self, post: i64, row: &Row, sign: i64, throughput_since: i64) {
        self.posts += sign;
        let minute = row.at.div_euclid(MINUTE);
        let Cell { posts, polarity, squares, confidence } = Cell::of(row.polarity, row.confidence);
        merge(&mut self.sums, [minute, row.source, row.label], [posts, polarity, squares, confidence], sign);
        for (field, weight) in row.details.relevance() {
            merge(&mut self.fields, [minute, row.source, *field], [1, *weight, 0], sign);
        }
        for field in row.details.missing() {
            merge(&mut self.fields, [minute, row.source, *field], [0, 0, 1], sign);
        }
        let quarter = row.at.div_euclid(QUARTER);
        let [positive, negative] = [row.polarity >= OPINION, row.polarity <= -OPINION].map(i64::from);
        let cells = [1, polarity, positive, positive * polarity, negative, negative * polarity];
        for tag in row.details.tags() {
            merge(&mut self.tags, [quarter, row.source, *tag], cells, sign);
            let kept = (sign > 0).then_some([row.source, row.label, row.polarity, row.confidence]);
            self.post_tags.insert([quarter, *tag, row.at.rem_euclid(QUARTER), post], kept);
        }
        if row.scored_at >= throughput_since {
            *self.scored.entry(row.scored_at.div_euclid(1000)).or_default() += sign;
        }
    }

    /// Writes all of it.
    pub fn write(&self, store: &Connection) -> Result<(), Error> {
        let sums = graduated(&self.sums, GRAINS, |_, [at, source, label]| Some([at, source, label]));
        upsert(
            store,
            "sums",
            ["grain", "at", "source", "label"],
            &["posts", "polarity", "squares", "confidence"],
            "posts = 0",
            &sums,
        )?;
        let fields = graduated(&self.fields, GRAINS, |_, key| Some(key));
        let left = "posts = 0 AND missing = 0";
        upsert(
            store,
            "field_sums",
            ["grain", "at", "source", "field"],
            &["posts", "relevance", "missing"],
            left,
            &fields,
        )?;
        self.write_tags(store)?;
        for (second, results) in self.scored.iter().filter(|(_, results)| **results != 0) {
            let mut upsert = store.prepare_cached(
                "INSERT INTO throughput VALUES (?, ?) ON CONFLICT DO UPDATE SET results = results + excluded.results",
            )?;
            upsert.execute([second, results])?;
            if *results < 0 {
                store.prepare_cached("DELETE FROM throughput WHERE second = ? AND results <= 0")?.execute([second])?;
            }
        }
        Ok(())
    }

    fn write_tags(&self, store: &Connection) -> Result<(), Error> {
        // Quarters are kept of all sources together alone: of a single one its posts are read where a day is not whole.
        let of_sources = graduated(&self.tags, TAG_GRAINS, |grain, key| (grain > 0).then_some(key));
        let of_all = graduated(&self.tags, TAG_GRAINS, |_, [at, _, tag]| Some([at, ALL, tag]));
        let columns = ["posts", "polarity", "positive", "positive_polarity", "negative", "negative_polarity"];
        for sums in [of_sources, of_all] {
            upsert(store, "tag_sums", ["grain", "at", "source", "tag"], &columns, "posts = 0", &sums)?;
        }
        let mut put = store.prepare_cached("INSERT OR REPLACE INTO post_tags VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?;
        let mut delete =
            store.prepare_cached("DELETE FROM post_tags WHERE quarter = ? AND tag = ? AND ms = ? AND post = ?")?;
        for ([quarter, tag, ms, post], kept) in &self.post_tags {
            match kept {
                Some([source, label, polarity, confidence]) => {
                    put.execute(params![quarter, tag, ms, post, source, label, polarity, confidence])?
                }
                None => delete.execute([quarter, tag, ms, post])?,
            };
        }
        Ok(())
    }
}

/// Of sums by the finest grain those by every grain, in the order of their key. `key` says what they are kept under.
fn graduated<const N: usize>(
    finest: &HashMap<[i64; 3], Cells<N>>,
    grains: [i64; 3],
    key: impl Fn(usize, [i64; 3]) -> Option<[i64; 3]>,
) -> BTreeMap<[i64; 4], Cells<N>> {
    let mut sums = BTreeMap::new();
    for ([at, source, name], cells) in finest {
        for (grain, length) in grains.into_iter().enumerate() {
            let coarse = (at * grains[0]).div_euclid(length);
            let Some([at, source, name]) = key(grain, [coarse, *source, *name]) else { continue };
            let number = i64::try_from(grain).unwrap_or_default();
            let sum: &mut Cells<N> = sums.entry([number, at, source, name]).or_insert([0; N]);
            for (sum, cell) in sum.iter_mut().zip(cells) {
                *sum += cell;
            }
        }
    }
    sums
}

/// Adds to the rows of a table, and deletes those of which nothing is left.
fn upsert<const N: usize>(
    store: &Connection,
    table: &str,
    key: [&str; 4],
    columns: &[&str; N],
    nothing_left: &str,
    sums: &BTreeMap<[i64; 4], Cells<N>>,
) -> Result<(), Error> {
    let marks = vec!["?"; 4 + N].join(", ");
    let added: Vec<_> = columns.iter().map(|column| format!("{column} = {column} + excluded.{column}")).collect();
    let added = added.join(", ");
    let mut upsert =
        store.prepare_cached(&format!("INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO UPDATE SET {added}"))?;
    let [first, second, third, fourth] = key;
    let mut delete = store.prepare_cached(&format!(
        "DELETE FROM {table} WHERE {first} = ? AND {second} = ? AND {third} = ? AND {fourth} = ? AND {nothing_left}"
    ))?;
    for (key, cells) in sums {
        if cells.iter().all(|cell| *cell == 0) {
            continue;
        }
        upsert.execute(rusqlite::params_from_iter(key.iter().chain(cells)))?;
        if cells[0] <= 0 {
            delete.execute(*key)?;
        }
    }
    Ok(())
}
