//! What stands behind a shift: the tags whose share rose most, and the sources that moved the mean most.

use rusqlite::Connection;
use serde::Serialize;

use super::super::super::sums::Cell;
use super::super::tags::{TagCell, count};
use super::super::{share, told as rounded};
use super::{Adding, Error};
use crate::dashboard::shift::{Shift, mean};
use crate::dashboard::store::names::name_of;

const MOST_TAGS: usize = 5;
const MOST_SOURCES: usize = 3;

/// A shift as it is told.
#[derive(Debug, Serialize)]
pub struct Told {
    /// Seconds since 1970.
    pub at: i64,
    from: i64,
    to: i64,
    before: Option<f64>,
    after: Option<f64>,
    score: f64,
    posts: i64,
    /// Whose share rose most.
    pub tags: Vec<Tag>,
    /// That moved the mean most.
    pub sources: Vec<Source>,
}

/// A tag with its shares of the posts.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "as the API has them")]
pub struct Tag {
    /// The tag.
    pub tag: String,
    before: f64,
    after: f64,
    polarity: Option<f64>,
}

/// A source with its means.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "as the API has them")]
pub struct Source {
    /// Empty of posts without one.
    pub source: String,
    before: Option<f64>,
    after: Option<f64>,
    posts: i64,
}

pub fn told(adding: &Adding, store: &Connection, shift: &Shift) -> Result<Told, Error> {
    let time = |step| adding.range.start_of(step);
    Ok(Told {
        at: time(shift.edge) / 1000,
        from: time(shift.from) / 1000,
        to: time(shift.to) / 1000,
        before: mean(&shift.before).map(rounded),
        after: mean(&shift.after).map(rounded),
        score: (shift.score * 10.0).round() / 10.0,
        posts: shift.before.posts + shift.after.posts,
        tags: tags(adding, store, shift)?,
        sources: sources(adding, store, shift)?,
    })
}

/// With a tag none are told: which others its posts carry is not kept.
#[expect(clippy::cast_precision_loss, reason = "told with six digits")]
fn tags(adding: &Adding, store: &Connection, shift: &Shift) -> Result<Vec<Tag>, Error> {
    if adding.numbers.tag.is_some() {
        return Ok(Vec::new());
    }
    let count =
        |from, to| count(store, adding.range.start_of(from), adding.range.start_of(to), &adding.numbers.sources);
    let (before, after) = (count(shift.from, shift.edge)?, count(shift.edge, shift.to)?);
    let share_of = |cell: TagCell, side: Cell| cell.all.0 as f64 / side.posts as f64;
    let mut rises: Vec<_> = after
        .iter()
        .map(|(tag, cell)| {
            let earlier = before.get(tag).copied().unwrap_or_default();
            (share_of(*cell, shift.after), share_of(earlier, shift.before), *tag, cell.all)
        })
        .filter(|(after, before, ..)| after > before)
        .collect();
    rises.sort_unstable_by(|one, other| (other.0 - other.1).total_cmp(&(one.0 - one.1)).then(one.2.cmp(&other.2)));
    let tags = rises.into_iter().take(MOST_TAGS).map(|(after, before, tag, (posts, polarity))| {
        let tag = name_of(store, tag)?;
        Ok(Tag { tag, before: rounded(before), after: rounded(after), polarity: share(polarity, posts) })
    });
    tags.collect()
}

/// What a source adds to the difference of the means: its posts' distance from the mean before, by their share of each side. These add
/// up to the whole difference.
#[expect(clippy::cast_precision_loss, reason = "an order")]
fn sources(adding: &Adding, store: &Connection, shift: &Shift) -> Result<Vec<Source>, Error> {
    let overall = mean(&shift.before).unwrap_or_default();
    let difference = mean(&shift.after).unwrap_or_default() - overall;
    let side = |steps: &[Cell]| {
        steps.iter().fold(Cell::default(), |mut sum, step| {
            sum.add(*step);
            sum
        })
    };
    let pull = |cell: &Cell, all: &Cell| {
        mean(cell).map_or(0.0, |mean| (mean - overall) * cell.posts as f64 / all.posts as f64)
    };
    let mut moved: Vec<_> = adding
        .sources
        .iter()
        .filter(|(source, _)| adding.numbers.has_source(**source))
        .map(|(source, of_source)| {
            let part = |from, to| side(of_source.steps.get(from..to).unwrap_or_default());
            let (before, after) = (part(shift.from, shift.edge), part(shift.edge, shift.to));
            let moved = (pull(&after, &shift.after) - pull(&before, &shift.before)) * difference.signum();
            (moved, *source, before, after)
        })
        .filter(|(moved, ..)| *moved > 0.0)
        .collect();
    moved.sort_unstable_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
    let sources = moved.into_iter().take(MOST_SOURCES).map(|(_, source, before, after)| {
        Ok(Source {
            source: name_of(store, source)?,
            before: mean(&before).map(rounded),
            after: mean(&after).map(rounded),
            posts: before.posts + after.posts,
        })
    });
    sources.collect()
}
