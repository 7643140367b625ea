//! Everything that is drawn over time, from the sums of one grain; with a tag, from the rows of the posts that carry it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::{Map, Value};

use super::super::names::name_of;
use super::super::range::Range;
use super::super::sums::{Cell, GRAINS, QUARTER};
use super::super::write::counter;
use super::posts::bundle;
use super::{Error, Filter, Numbers, share, told};
use crate::dashboard::shift::{self, Shift, mean};

mod shifts;

/// Sources told.
const MOST_SOURCES: usize = 20;
/// Of a normal distribution, 95% lie within so many deviations.
const BAND: f64 = 1.96;

/// `GET /api/v1/series`.
#[derive(Debug, Serialize)]
pub struct Series {
    revision: i64,
    from: String,
    to: String,
    step_seconds: i64,
    /// Start of each step, seconds since 1970.
    pub at: Vec<i64>,
    /// Posts.
    pub posts: Vec<i64>,
    /// From the most negative on.
    pub labels: Vec<Label>,
    /// Mean with its band.
    pub polarity: Bands,
    /// Mean.
    pub confidence: Vec<Option<f64>>,
    /// By field.
    pub relevance: Vec<Relevance>,
    /// By field.
    pub missing: Vec<Missing>,
    total: Total,
    /// With the most posts first.
    pub sources: Vec<Source>,
    /// In order.
    pub shifts: Vec<shifts::Told>,
    bundles: Vec<Bundle>,
}

/// A label over time.
#[derive(Debug, Serialize)]
pub struct Label {
    /// The label.
    pub label: String,
    polarity: Option<f64>,
    /// Posts.
    pub posts: Vec<i64>,
}

/// Mean and 95% confidence band.
#[derive(Debug, Serialize)]
pub struct Bands {
    /// Mean.
    pub mean: Vec<Option<f64>>,
    /// Lower bound.
    pub low: Vec<Option<f64>>,
    /// Upper bound.
    pub high: Vec<Option<f64>>,
}

/// How much was read off a field.
#[derive(Debug, Serialize)]
pub struct Relevance {
    /// The field.
    pub field: String,
    /// Mean of the posts that tell it.
    pub mean: Vec<Option<f64>>,
}

/// How often a field was missing.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// The field.
    pub field: String,
    /// Of the posts.
    pub share: Vec<Option<f64>>,
}

#[derive(Debug, Serialize)]
struct Total {
    posts: i64,
    labels: Counts,
    polarity: Band,
    confidence: Option<f64>,
    relevance: Map<String, Value>,
    missing: Map<String, Value>,
}

type Counts = Map<String, Value>;

#[derive(Debug, Serialize)]
struct Band {
    mean: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

/// A source.
#[derive(Debug, Serialize)]
pub struct Source {
    /// Empty of posts without one.
    pub source: String,
    posts: i64,
    labels: Counts,
    polarity: Band,
    trend: Vec<Option<f64>>,
}

/// When a bundle came.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "as the API has them")]
struct Bundle {
    at: i64,
    bundle: String,
    version: String,
    digest: String,
}

impl Band {
    fn of(cell: &Cell) -> Self {
        let half = BAND * shift::squared_error(cell).sqrt();
        let at = |offset: f64| mean(cell).map(|mean| told(mean + offset));
        Self { mean: at(0.0), low: at(-half), high: at(half) }
    }
}

/// Sums of one source.
#[derive(Debug, Default)]
struct OfSource {
    total: Cell,
    labels: BTreeMap<i64, i64>,
    steps: Vec<Cell>,
}

/// What a field adds up to: posts that tell it, their weights, posts without it.
type FieldCell = [i64; 3];

struct Adding {
    range: Range,
    numbers: Numbers,
    steps: Vec<Cell>,
    total: Cell,
    /// By label: of each step how many, and all together.
    labels: BTreeMap<i64, (Vec<i64>, Cell)>,
    /// Whatever the filter says.
    sources: HashMap<i64, OfSource>,
    fields: BTreeMap<i64, (Vec<FieldCell>, FieldCell)>,
}

/// The whole answer.
pub fn read(store: &Connection, range: Range, filter: &Filter) -> Result<Series, Error> {
    let numbers = Numbers::of(store, filter)?;
    let steps = vec![Cell::default(); range.steps()];
    let mut adding = Adding {
        range,
        numbers,
        steps,
        total: Cell::default(),
        labels: BTreeMap::new(),
        sources: HashMap::new(),
        fields: BTreeMap::new(),
    };
    match adding.numbers.tag {
        Some(tag) => adding.posts_with(store, tag)?,
        None => adding.sums(store)?,
    }
    adding.told(store)
}

impl Adding {
    /// Number and length of the longest grain that divides the step.
    fn grain(&self) -> (i64, i64) {
        let fits = |(_, length): &(usize, i64)| self.range.step % length == 0;
        let (grain, length) = GRAINS.into_iter().enumerate().rfind(fits).unwrap_or((0, GRAINS[0]));
        (i64::try_from(grain).unwrap_or_default(), length)
    }

    fn sums(&mut self, store: &Connection) -> Result<(), Error> {
        let (grain, length) = self.grain();
        let bounds = [grain, self.range.from.div_euclid(length), self.range.to.div_euclid(length)];
        let mut select = store.prepare_cached(
            "SELECT at, source, label, posts, polarity, squares, confidence FROM sums WHERE grain = ? AND at >= ? AND at < ?",
        )?;
        let mut rows = select.query(bounds)?;
        while let Some(row) = rows.next()? {
            let number = |place| row.get::<_, i64>(place);
            let cell = Cell { posts: number(3)?, polarity: number(4)?, squares: number(5)?, confidence: number(6)? };
            self.add(number(0)? * length, number(1)?, number(2)?, cell);
        }
        let mut select = store.prepare_cached(
            "SELECT at, source, field, posts, relevance, missing FROM field_sums WHERE grain = ? AND at >= ? AND at < ?",
        )?;
        let mut rows = select.query(bounds)?;
        while let Some(row) = rows.next()? {
            let number = |place| row.get::<_, i64>(place);
            if self.numbers.has_source(number(1)?) {
                self.add_field(number(0)? * length, number(2)?, [number(3)?, number(4)?, number(5)?]);
            }
        }
        Ok(())
    }

    fn posts_with(&mut self, store: &Connection, tag: i64) -> Result<(), Error> {
        let mut select = store.prepare_cached(
            "SELECT ms, source, label, polarity, confidence FROM post_tags WHERE quarter = ? AND tag = ?",
        )?;
        let range = self.range;
        let kept: Option<(Option<i64>, Option<i64>)> = store
            .prepare_cached("SELECT (SELECT min(quarter) FROM post_tags), (SELECT max(quarter) FROM post_tags)")?
            .query_row([], |row| Ok(Some((row.get(0)?, row.get(1)?))))?;
        let Some((Some(first), Some(last))) = kept else { return Ok(()) };
        for quarter in first.max(range.from.div_euclid(QUARTER))..=last.min((range.to - 1).div_euclid(QUARTER)) {
            let mut rows = select.query(params![quarter, tag])?;
            while let Some(row) = rows.next()? {
                let number = |place| row.get::<_, i64>(place);
                let at = quarter * QUARTER + number(0)?;
                if (range.from..range.to).contains(&at) {
                    self.add(at, number(1)?, number(2)?, Cell::of(number(3)?, number(4)?));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, at: i64, source: i64, label: i64, cell: Cell) {
        let (step, steps) = (self.range.step_of(at), self.range.steps());
        let of_source = self
            .sources
            .entry(source)
            .or_insert_with(|| OfSource { steps: vec![Cell::default(); steps], ..OfSource::default() });
        of_source.total.add(cell);
        *of_source.labels.entry(label).or_default() += cell.posts;
        if let Some(sum) = of_source.steps.get_mut(step) {
            sum.add(cell);
        }
        let (counts, of_label) = self.labels.entry(label).or_insert_with(|| (vec![0; steps], Cell::default()));
        if !self.numbers.has_source(source) {
            return;
        }
        self.total.add(cell);
        of_label.add(cell);
        if let Some(count) = counts.get_mut(step) {
            *count += cell.posts;
        }
        if let Some(sum) = self.steps.get_mut(step) {
            sum.add(cell);
        }
    }

    fn add_field(&mut self, at: i64, field: i64, cell: FieldCell) {
        let (step, steps) = (self.range.step_of(at), self.range.steps());
        let (of_steps, total) = self.fields.entry(field).or_insert_with(|| (vec![[0; 3]; steps], [0; 3]));
        for sum in of_steps.get_mut(step).into_iter().chain([total]) {
            for (sum, more) in sum.iter_mut().zip(cell) {
                *sum += more;
            }
        }
    }

    fn told(&self, store: &Connection) -> Result<Series, Error> {
        let bands: Vec<_> = self.steps.iter().map(Band::of).collect();
        let band = |side: fn(&Band) -> Option<f64>| bands.iter().map(side).collect();
        let (relevance, missing) = self.told_fields(store)?;
        let shifts = shift::shifts(&self.steps);
        Ok(Series {
            revision: counter(store, "revision")?,
            from: super::posts::rfc_3339(self.range.from),
            to: super::posts::rfc_3339(self.range.to),
            step_seconds: self.range.step / 1000,
            at: (0..self.range.steps()).map(|step| self.range.start_of(step) / 1000).collect(),
            posts: self.steps.iter().map(|cell| cell.posts).collect(),
            labels: self.told_labels(store)?,
            polarity: Bands { mean: band(|band| band.mean), low: band(|band| band.low), high: band(|band| band.high) },
            confidence: self.steps.iter().map(|cell| share(cell.confidence, cell.posts)).collect(),
            relevance,
            missing,
            total: self.told_total(store)?,
            sources: self.told_sources(store)?,
            shifts: shifts.iter().map(|shift| self.told_shift(store, shift)).collect::<Result<_, _>>()?,
            bundles: bundles(store, self.range)?,
        })
    }

    fn told_labels(&self, store: &Connection) -> Result<Vec<Label>, Error> {
        let mut labels: Vec<_> = self.labels.iter().filter(|(_, (_, cell))| cell.posts > 0).collect();
        labels.sort_by(|(_, (_, one)), (_, (_, other))| {
            mean(one).unwrap_or_default().total_cmp(&mean(other).unwrap_or_default())
        });
        let labels = labels.into_iter().map(|(label, (posts, cell))| {
            Ok(Label { label: name_of(store, *label)?, polarity: mean(cell).map(told), posts: posts.clone() })
        });
        labels.collect()
    }

    fn told_fields(&self, store: &Connection) -> Result<(Vec<Relevance>, Vec<Missing>), Error> {
        let (mut relevance, mut missing) = (Vec::new(), Vec::new());
        for (field, (of_steps, total)) in &self.fields {
            let field = name_of(store, *field)?;
            if total[0] > 0 {
                let mean = of_steps.iter().map(|[posts, weights, _]| share(*weights, *posts)).collect();
                relevance.push(Relevance { field: field.clone(), mean });
            }
            if total[2] > 0 {
                let posts = self.steps.iter().map(|cell| cell.posts);
                let share =
                    of_steps.iter().zip(posts).map(|([_, _, missing], posts)| share(missing * 1_000_000, posts));
                missing.push(Missing { field, share: share.collect() });
            }
        }
        Ok((relevance, missing))
    }

    fn told_total(&self, store: &Connection) -> Result<Total, Error> {
        let (mut relevance, mut missing) = (Map::new(), Map::new());
        for (field, (_, [posts, weights, without])) in &self.fields {
            let field = name_of(store, *field)?;
            if *posts > 0 {
                relevance.insert(field.clone(), share(*weights, *posts).into());
            }
            if *without > 0 {
                missing.insert(field, share(without * 1_000_000, self.total.posts).into());
            }
        }
        let counts = self.labels.iter().map(|(label, (_, cell))| (*label, cell.posts));
        Ok(Total {
            posts: self.total.posts,
            labels: named(store, counts)?,
            polarity: Band::of(&self.total),
            confidence: share(self.total.confidence, self.total.posts),
            relevance,
            missing,
        })
    }

    fn told_sources(&self, store: &Connection) -> Result<Vec<Source>, Error> {
        let mut sources: Vec<_> = self.sources.iter().collect();
        sources.sort_unstable_by_key(|(source, of_source)| (-of_source.total.posts, **source));
        let sources = sources.into_iter().take(MOST_SOURCES).map(|(source, of_source)| {
            Ok(Source {
                source: name_of(store, *source)?,
                posts: of_source.total.posts,
                labels: named(store, of_source.labels.iter().map(|(label, posts)| (*label, *posts)))?,
                polarity: Band::of(&of_source.total),
                trend: of_source.steps.iter().map(|cell| mean(cell).map(told)).collect(),
            })
        });
        sources.collect()
    }

    fn told_shift(&self, store: &Connection, shift: &Shift) -> Result<shifts::Told, Error> {
        shifts::told(self, store, shift)
    }
}

fn named(store: &Connection, counts: impl Iterator<Item = (i64, i64)>) -> Result<Map<String, Value>, Error> {
    let counts = counts.filter(|(_, posts)| *posts > 0);
    counts.map(|(number, posts)| Ok((name_of(store, number)?, posts.into()))).collect()
}

/// Those that came within the range, and the one in force at its start.
fn bundles(store: &Connection, range: Range) -> Result<Vec<Bundle>, Error> {
    let mut select = store.prepare_cached(
        "SELECT id, (SELECT min(at) FROM posts WHERE bundle = names.id) AS first FROM names WHERE kind = 6 AND first IS NOT NULL ORDER BY first",
    )?;
    let all = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let before = all.iter().rposition(|(_, first)| *first < range.from).unwrap_or(0);
    let told = all.into_iter().skip(before).take_while(|(_, first)| *first < range.to).map(|(number, first)| {
        let [bundle, version, digest] = bundle(store, number)?;
        Ok(Bundle { at: first.div_euclid(1000), bundle, version, digest })
    });
    told.collect()
}
