//! How many posts carry each tag: whole weeks, days and quarters of a day from their sums, what is left from the posts' own rows.

use std::collections::HashMap;

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::super::names::name_of;
use super::super::range::Range;
use super::super::sums::{ALL, OPINION, QUARTER, TAG_GRAINS};
use super::super::write::counter;
use super::{Error, Filter, Numbers, share};

/// More different tags than any feed has in a range; further ones are not counted there.
const MOST_TAGS: usize = 500_000;

/// Of the posts that carry a tag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TagCell {
    /// How many, and the sum of their polarity.
    pub all: (i64, i64),
    /// The same of those of at least a third.
    pub positive: (i64, i64),
    /// The same of those of at most minus a third.
    pub negative: (i64, i64),
}

/// `GET /api/v1/tags`.
#[derive(Debug, Serialize)]
pub struct Tags {
    revision: i64,
    /// Of positive posts.
    pub positive: Vec<Tag>,
    /// Of negative posts.
    pub negative: Vec<Tag>,
}

/// A tag among the top ones.
#[derive(Debug, Serialize)]
pub struct Tag {
    /// The tag.
    pub tag: String,
    /// Posts.
    pub posts: i64,
    /// Their mean polarity.
    pub polarity: Option<f64>,
}

/// The tags that most positive posts carry, and most negative ones.
pub fn read(store: &Connection, range: Range, filter: &Filter, limit: usize) -> Result<Tags, Error> {
    let numbers = Numbers::of(store, filter)?;
    let cells = count(store, range.from, range.to, &numbers.sources)?;
    let top = |side: fn(&TagCell) -> (i64, i64)| top(store, &cells, side, limit);
    Ok(Tags {
        revision: counter(store, "revision")?,
        positive: top(|cell| cell.positive)?,
        negative: top(|cell| cell.negative)?,
    })
}

fn top(
    store: &Connection,
    cells: &HashMap<i64, TagCell>,
    side: fn(&TagCell) -> (i64, i64),
    limit: usize,
) -> Result<Vec<Tag>, Error> {
    let mut tags: Vec<_> =
        cells.iter().map(|(tag, cell)| (side(cell), *tag)).filter(|((posts, _), _)| *posts > 0).collect();
    tags.sort_unstable_by_key(|((posts, _), tag)| (-posts, *tag));
    let named = tags
        .into_iter()
        .take(limit)
        .map(|((posts, polarity), tag)| Ok(Tag { tag: name_of(store, tag)?, posts, polarity: share(polarity, posts) }));
    named.collect()
}

/// Every tag with its posts between two times; of these sources, or of all where there are none.
pub fn count(store: &Connection, from: i64, to: i64, sources: &[i64]) -> Result<HashMap<i64, TagCell>, Error> {
    let mut counting = Counting { cells: HashMap::new() };
    // Quarters are kept of all sources together alone.
    let finest = usize::from(!sources.is_empty());
    let sources = if sources.is_empty() { &[ALL] } else { sources };
    for piece in pieces(from, to, finest) {
        match piece {
            Piece::Sum { grain, at } => {
                for source in sources {
                    counting.sum(store, grain, at, *source)?;
                }
            }
            Piece::Posts { quarter, from, to } => counting.posts(store, quarter, (from, to), sources)?,
        }
    }
    Ok(counting.cells)
}

struct Counting {
    cells: HashMap<i64, TagCell>,
}

impl Counting {
    fn cell(&mut self, tag: i64) -> Option<&mut TagCell> {
        if self.cells.len() >= MOST_TAGS {
            return self.cells.get_mut(&tag);
        }
        Some(self.cells.entry(tag).or_default())
    }

    fn sum(&mut self, store: &Connection, grain: usize, at: i64, source: i64) -> Result<(), Error> {
        let mut select = store.prepare_cached(
            "SELECT tag, posts, polarity, positive, positive_polarity, negative, negative_polarity FROM tag_sums WHERE grain = ? AND at = ? AND source = ?",
        )?;
        let mut rows = select.query(params![i64::try_from(grain).unwrap_or_default(), at, source])?;
        while let Some(row) = rows.next()? {
            let pair = |first| Ok::<_, Error>((row.get::<_, i64>(first)?, row.get::<_, i64>(first + 1)?));
            let (all, positive, negative) = (pair(1)?, pair(3)?, pair(5)?);
            if let Some(cell) = self.cell(row.get(0)?) {
                for (sum, more) in
                    [(&mut cell.all, all), (&mut cell.positive, positive), (&mut cell.negative, negative)]
                {
                    sum.0 += more.0;
                    sum.1 += more.1;
                }
            }
        }
        Ok(())
    }

    fn posts(
        &mut self,
        store: &Connection,
        quarter: i64,
        (from, to): (i64, i64),
        sources: &[i64],
    ) -> Result<(), Error> {
        let mut select = store
            .prepare_cached("SELECT tag, polarity, source FROM post_tags WHERE quarter = ? AND ms >= ? AND ms < ?")?;
        let mut rows = select.query(params![quarter, from, to])?;
        while let Some(row) = rows.next()? {
            let source: i64 = row.get(2)?;
            if sources == [ALL] || sources.contains(&source) {
                self.post(row)?;
            }
        }
        Ok(())
    }

    fn post(&mut self, row: &Row<'_>) -> Result<(), Error> {
        let polarity: i64 = row.get(1)?;
        let Some(cell) = self.cell(row.get(0)?) else { return Ok(()) };
        let mut add = |sum: fn(&mut TagCell) -> &mut (i64, i64)| {
            let sum = sum(cell);
            sum.0 += 1;
            sum.1 += polarity;
        };
        add(|cell| &mut cell.all);
        if polarity >= OPINION {
            add(|cell| &mut cell.positive);
        }
        if polarity <= -OPINION {
            add(|cell| &mut cell.negative);
        }
        Ok(())
    }
}

/// A part of a range.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// The whole of one of [`TAG_GRAINS`], by how many of them there are since 1970.
    Sum { grain: usize, at: i64 },
    /// From and to within a quarter of a day.
    Posts { quarter: i64, from: i64, to: i64 },
}

fn pieces(from: i64, to: i64, finest: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = from;
    while at < to {
        let whole = |(_, length): &(usize, i64)| at % length == 0 && at + length <= to;
        let piece = TAG_GRAINS.into_iter().enumerate().skip(finest).rfind(whole);
        if let Some((grain, length)) = piece {
            pieces.push(Piece::Sum { grain, at: at.div_euclid(length) });
            at += length;
        } else {
            let quarter = at.div_euclid(QUARTER);
            let end = to.min((quarter + 1) * QUARTER);
            pieces.push(Piece::Posts { quarter, from: at - quarter * QUARTER, to: end - quarter * QUARTER });
            at = end;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::super::sums::{DAY, WEEK};
    use super::*;

    #[test]
    fn a_range_is_taken_apart_into_the_longest_pieces() {
        let from = 100 * WEEK - DAY - QUARTER - 5;
        let found = pieces(from, 101 * WEEK + 7, 0);
        let expected = [
            Piece::Posts { quarter: 100 * 28 - 6, from: QUARTER - 5, to: QUARTER },
            Piece::Sum { grain: 0, at: 100 * 28 - 5 },
            Piece::Sum { grain: 1, at: 699 },
            Piece::Sum { grain: 2, at: 100 },
            Piece::Posts { quarter: 101 * 28, from: 0, to: 7 },
        ];
        assert_eq!(found, expected);
        let of_a_source = pieces(QUARTER, 2 * QUARTER, 1);
        assert_eq!(of_a_source, [Piece::Posts { quarter: 1, from: 0, to: QUARTER }]);
        assert_eq!(pieces(5, 5, 0), []);
    }
}
