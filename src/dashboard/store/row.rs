//! A post as the store keeps it: every name by its number.

use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow};
use serde::{Deserialize, Serialize};

use super::Error;

/// When the first and the last post were published, where there are any.
pub fn span(store: &Connection) -> Result<Option<(i64, i64)>, Error> {
    let bound = |order: &str| {
        let mut bound = store.prepare_cached(&format!("SELECT at FROM posts ORDER BY at {order} LIMIT 1"))?;
        Ok::<_, Error>(bound.query_row([], |row| row.get::<_, i64>(0)).optional()?)
    };
    Ok(bound("ASC")?.zip(bound("DESC")?))
}

/// Number of a name, and millionths.
pub type Weights = Vec<(i64, i64)>;

/// What is not asked for by itself: probabilities, relevance, effects, tags, flags, and the fields that are missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details(pub Weights, pub Weights, pub Weights, pub Vec<i64>, pub Vec<i64>, pub Vec<i64>);

impl Details {
    /// By field.
    pub fn relevance(&self) -> &Weights {
        &self.1
    }

    /// The tags.
    pub fn tags(&self) -> &[i64] {
        &self.3
    }

    /// Fields flagged `<field>_missing`.
    pub fn missing(&self) -> &[i64] {
        &self.5
    }
}

/// What sums are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Milliseconds since 1970.
    pub at: i64,
    /// Number of its source.
    pub source: i64,
    /// Number of its label.
    pub label: i64,
    /// Number of its bundle.
    pub bundle: i64,
    /// Millionths.
    pub polarity: i64,
    /// Millionths.
    pub confidence: i64,
    /// Milliseconds since 1970.
    pub scored_at: i64,
    /// The rest.
    pub details: Details,
}

/// In the order in which [`Row::read`] takes them.
pub const COLUMNS: &str = "at, source, label, bundle, polarity, confidence, scored_at, details";

impl Row {
    /// Off the columns [`COLUMNS`] from `first` on.
    pub fn read(row: &SqlRow<'_>, first: usize) -> Result<Self, Error> {
        let number = |offset: usize| row.get::<_, i64>(first + offset);
        Ok(Self {
            at: number(0)?,
            source: number(1)?,
            label: number(2)?,
            bundle: number(3)?,
            polarity: number(4)?,
            confidence: number(5)?,
            scored_at: number(6)?,
            details: serde_json::from_str(row.get_ref(first + 7)?.as_str().unwrap_or_default())?,
        })
    }
}
