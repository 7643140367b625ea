//! What a bundle's results looked like where it was made: what drift is measured against. Optional; it changes no score.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Bins of the confidence, each a tenth wide.
const BINS: usize = 10;
/// Shares are rounded where they are written.
const ROUNDING: f64 = 0.002;

/// `[reference]` of `bundle.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// How many results it was counted over.
    pub posts: u64,
    /// Share of the results with each label.
    pub labels: BTreeMap<String, f64>,
    /// Share of the results whose confidence is in each tenth, from (0, 0.1] to (0.9, 1].
    pub confidence: Vec<f64>,
    /// Share of the results that are flagged `<field>_missing`.
    pub missing: BTreeMap<String, f64>,
}

impl Reference {
    /// # Errors
    /// The key that is wrong, and what is wrong with it.
    pub(super) fn check(&self, labels: &[&str], fields: &[&str]) -> Result<(), (&'static str, String)> {
        if self.posts == 0 {
            return Err(("reference.posts", "0; count over posts".into()));
        }
        names("reference.labels", &self.labels, labels)?;
        names("reference.missing", &self.missing, fields)?;
        if self.confidence.len() != BINS {
            return Err(("reference.confidence", format!("{} shares, {BINS} are wanted", self.confidence.len())));
        }
        whole("reference.labels", self.labels.values())?;
        whole("reference.confidence", self.confidence.iter())?;
        shares("reference.missing", self.missing.values())
    }
}

type Checked = Result<(), (&'static str, String)>;

fn names(key: &'static str, found: &BTreeMap<String, f64>, wanted: &[&str]) -> Checked {
    if let Some(unknown) = found.keys().find(|name| !wanted.contains(&name.as_str())) {
        return Err((key, format!("{unknown:?} is none of {}", wanted.join(", "))));
    }
    match wanted.iter().find(|name| !found.contains_key(**name)) {
        Some(lacking) => Err((key, format!("{lacking:?} is not there"))),
        None => Ok(()),
    }
}

fn shares<'a>(key: &'static str, mut shares: impl Iterator<Item = &'a f64>) -> Checked {
    match shares.find(|share| !(0.0..=1.0).contains(*share)) {
        Some(share) => Err((key, format!("{share} is not in [0, 1]"))),
        None => Ok(()),
    }
}

fn whole<'a>(key: &'static str, all: impl Iterator<Item = &'a f64> + Clone) -> Checked {
    shares(key, all.clone())?;
    let sum: f64 = all.sum();
    if (sum - 1.0).abs() <= ROUNDING { Ok(()) } else { Err((key, format!("the shares sum to {sum:.4}, not to 1"))) }
}
