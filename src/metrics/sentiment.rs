//! What the results say: labels and polarity by source, what they were read off, and what the bundle's reference says of the
//! same, so that drift is a matter of two numbers from one place.
//!
//! Sources come from strangers: the first so many have series of their own, all others share one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Counter, CounterVec, GaugeVec, Histogram, IntCounter, IntCounterVec};

use super::make::Maker;
use crate::message::{Flag, Scored};
use crate::result::{Labelling, best};

/// Upper edges of the bins of confidence, in a histogram and in a bundle's reference alike.
const CONFIDENCE: &[f64] = &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// `source` of posts that tell none.
const NO_SOURCE: &str = "none";
/// `source` of posts beyond the sources that are told apart.
const OTHER_SOURCES: &str = "other";
/// A source with a longer name is one of the others.
const LONGEST_SOURCE: usize = 128;

/// Counters and gauges of the results' content.
#[derive(Debug)]
pub struct Sentiment {
    /// Results acknowledged, by `label` and `source`.
    pub results: IntCounterVec,
    /// Sum of the polarities' positive and negative part (`sign`), by `source`.
    pub polarity: CounterVec,
    /// Sum of the weights of each `field`, the image among them.
    pub relevance: CounterVec,
    /// Results of posts that brought nothing for a `field`.
    pub missing_fields: IntCounterVec,
    /// Results in which the tagger stood in for a `field`.
    pub inferred_fields: IntCounterVec,
    /// Probability of the label told.
    pub confidence: Histogram,
    reference_labels: GaugeVec,
    reference_confidence: GaugeVec,
    reference_missing: GaugeVec,
}

impl Sentiment {
    pub(super) fn new(make: &Maker) -> Self {
        Self {
            results: make.counters("results_total", "Results acknowledged.", &["label", "source"]),
            polarity: make.sums(
                "polarity_total",
                "Sum of the results' polarities, those above and below zero apart; both parts count up.",
                &["sign", "source"],
            ),
            relevance: make.sums("relevance_total", "Sum of the results' weights of a field.", &["field"]),
            missing_fields: make.counters(
                "missing_fields_total",
                "Results of posts that brought nothing for the field, and nothing stood in for it.",
                &["field"],
            ),
            inferred_fields: make.counters(
                "inferred_fields_total",
                "Results in which the bundle's tagger stood in for the field.",
                &["field"],
            ),
            confidence: make.histogram("confidence_ratio", "Probability of the label told.", CONFIDENCE),
            reference_labels: make.measures(
                "reference_label_ratio",
                "Share of results with the label in the bundle's reference.",
                &["label"],
            ),
            reference_confidence: make.measures(
                "reference_confidence_ratio",
                "Share of results in the bundle's reference whose confidence is in the tenth that ends at bin.",
                &["bin"],
            ),
            reference_missing: make.measures(
                "reference_missing_ratio",
                "Share of results without the field in the bundle's reference.",
                &["field"],
            ),
        }
    }

    /// Shows the reference of a bundle: shares of labels, of confidence by tenths, of missing fields.
    pub fn show_reference(&self, labels: &BTreeMap<String, f64>, confidence: &[f64], missing: &BTreeMap<String, f64>) {
        for (label, share) in labels {
            self.reference_labels.with_label_values(&[label]).set(*share);
        }
        for (edge, share) in CONFIDENCE.iter().zip(confidence) {
            self.reference_confidence.with_label_values(&[&format!("{edge:.1}")]).set(*share);
        }
        for (field, share) in missing {
            self.reference_missing.with_label_values(&[field]).set(*share);
        }
    }
}

/// Counts results, with every series at hand: a result looks no label up but its source.
#[derive(Debug)]
pub struct Readings {
    labelling: Labelling,
    confidence: Histogram,
    /// As [`Labelling::weighed`].
    relevance: Vec<Counter>,
    /// As the fields of the labelling.
    missing: Vec<IntCounter>,
    inferred: Vec<IntCounter>,
    sources: Sources,
}

impl Readings {
    /// All at zero. The first `most` sources are told apart.
    #[must_use]
    pub fn new(sentiment: &Sentiment, labelling: Labelling, most: usize) -> Self {
        let by_field = |counters: &IntCounterVec| {
            labelling.fields.iter().map(|field| counters.with_label_values(&[field])).collect()
        };
        Self {
            confidence: sentiment.confidence.clone(),
            relevance: labelling.weighed().map(|field| sentiment.relevance.with_label_values(&[field])).collect(),
            missing: by_field(&sentiment.missing_fields),
            inferred: by_field(&sentiment.inferred_fields),
            sources: Sources::new(sentiment, &labelling, most),
            labelling,
        }
    }

    /// The broker has this result.
    pub fn count(&self, scored: &Scored) {
        let probabilities = &scored.prediction.probabilities;
        let (_, polarity, confidence) = self.labelling.reading(probabilities);
        self.confidence.observe(f64::from(confidence.min(1.0)));
        self.sources.of(scored.facts.source.as_deref()).count(best(probabilities).0, polarity);
        for (sum, weight) in self.relevance.iter().zip(&scored.prediction.relevance) {
            sum.inc_by(f64::from(weight.max(0.0)));
        }
        for flag in &scored.flags {
            let (counters, field) = match flag {
                Flag::Missing(field) => (&self.missing, field),
                Flag::Inferred(field) => (&self.inferred, field),
                Flag::TextTruncated => continue,
            };
            let place = self.labelling.fields.iter().position(|known| **known == **field);
            if let Some(counter) = place.and_then(|place| counters.get(place)) {
                counter.inc();
            }
        }
    }
}

#[derive(Debug)]
struct Sources {
    most: usize,
    results: IntCounterVec,
    polarity: CounterVec,
    labels: Vec<String>,
    known: Mutex<HashMap<Box<str>, Arc<OfSource>>>,
    none: Arc<OfSource>,
    other: Arc<OfSource>,
}

impl Sources {
    fn new(sentiment: &Sentiment, labelling: &Labelling, most: usize) -> Self {
        let labels: Vec<_> = labelling.labels.iter().map(|(label, _)| label.clone()).collect();
        let (results, polarity) = (sentiment.results.clone(), sentiment.polarity.clone());
        let of = |source| Arc::new(OfSource::new(&results, &polarity, &labels, source));
        let (none, other) = (of(NO_SOURCE), of(OTHER_SOURCES));
        Self { most, results, polarity, labels, known: Mutex::default(), none, other }
    }

    fn of(&self, source: Option<&str>) -> Arc<OfSource> {
        let Some(source) = source else { return Arc::clone(&self.none) };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(source) {
            return Arc::clone(series);
        }
        if known.len() >= self.most || source.len() > LONGEST_SOURCE {
            return Arc::clone(&self.other);
        }
        let series = Arc::new(OfSource::new(&self.results, &self.polarity, &self.labels, source));
        known.insert(source.into(), Arc::clone(&series));
        series
    }
}

/// The series of one source.
#[derive(Debug)]
struct OfSource {
    results: Vec<IntCounter>,
    positive: Counter,
    negative: Counter,
}

impl OfSource {
    fn new(results: &IntCounterVec, polarity: &CounterVec, labels: &[String], source: &str) -> Self {
        Self {
            results: labels.iter().map(|label| results.with_label_values(&[label, source])).collect(),
            positive: polarity.with_label_values(&["positive", source]),
            negative: polarity.with_label_values(&["negative", source]),
        }
    }

    fn count(&self, label: usize, polarity: f64) {
        if let Some(counter) = self.results.get(label) {
            counter.inc();
        }
        self.positive.inc_by(polarity.max(0.0));
        self.negative.inc_by((-polarity).max(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Facts, Prediction};
    use crate::metrics::Metrics;

    fn labelling() -> Labelling {
        Labelling {
            bundle: "b".into(),
            version: "1".into(),
            digest: "d".into(),
            labels: vec![("negative".into(), -1.0), ("positive".into(), 0.5)],
            fields: vec!["caption".into(), "context".into()],
        }
    }

    fn scored(source: Option<&str>, probabilities: [f32; 2], flags: &[Flag]) -> Scored {
        Scored {
            facts: Facts { id: "p".into(), source: source.map(Into::into), published_at: None, tags: vec![] },
            prediction: Prediction {
                probabilities: probabilities.to_vec(),
                relevance: vec![0.5, 0.25, 0.25],
                effects: vec![],
                inferred: vec![false, true],
                inferred_tags: vec![],
                trace: None,
            },
            flags: flags.to_vec(),
        }
    }

    fn told(metrics: &Metrics, series: &str) -> String {
        let text = metrics.expose().expect("exposes");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("sentistream_{series} ")));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).to_owned()
    }

    #[test]
    fn a_result_counts_by_label_source_and_field() {
        let metrics = Metrics::new();
        let readings = Readings::new(&metrics.sentiment, labelling(), 5);
        assert_eq!(told(&metrics, r#"results_total{label="positive",source="none"}"#), "0");
        assert_eq!(told(&metrics, r#"relevance_total{field="caption"}"#), "0");
        readings.count(&scored(Some("a"), [0.75, 0.25], &[Flag::Missing("caption".into()), Flag::TextTruncated]));
        readings.count(&scored(Some("a"), [0.25, 0.75], &[Flag::Inferred("context".into())]));
        assert_eq!(told(&metrics, r#"results_total{label="negative",source="a"}"#), "1");
        assert_eq!(told(&metrics, r#"results_total{label="positive",source="a"}"#), "1");
        assert_eq!(told(&metrics, r#"polarity_total{sign="negative",source="a"}"#), "0.625");
        assert_eq!(told(&metrics, r#"polarity_total{sign="positive",source="a"}"#), "0.125");
        assert_eq!(told(&metrics, r#"relevance_total{field="image"}"#), "1");
        assert_eq!(told(&metrics, r#"missing_fields_total{field="caption"}"#), "1");
        assert_eq!(told(&metrics, r#"inferred_fields_total{field="context"}"#), "1");
        assert_eq!(told(&metrics, r#"confidence_ratio_bucket{le="0.8"}"#), "2");
    }

    #[test]
    fn the_first_sources_are_told_apart_and_others_share_one_series() {
        let metrics = Metrics::new();
        let readings = Readings::new(&metrics.sentiment, labelling(), 2);
        let long = "x".repeat(LONGEST_SOURCE + 1);
        for source in [Some(long.as_str()), Some("a"), Some("b"), Some("c"), Some("a"), Some("d"), None] {
            readings.count(&scored(source, [1.0, 0.0], &[]));
        }
        let of = |source: &str| told(&metrics, &format!(r#"results_total{{label="negative",source="{source}"}}"#));
        assert_eq!([of("a"), of("b"), of("other"), of("none")], ["2", "1", "3", "1"]);
        assert!(!metrics.expose().expect("exposes").contains(r#"source="c""#));
    }

    #[test]
    fn a_reference_is_shown_by_the_edges_of_the_histogram() {
        let metrics = Metrics::new();
        let shares = |name: &str, share| BTreeMap::from([(name.to_owned(), share)]);
        metrics.sentiment.show_reference(&shares("negative", 0.25), &[0.0, 0.125], &shares("caption", 0.5));
        assert_eq!(told(&metrics, r#"reference_confidence_ratio{bin="0.2"}"#), "0.125");
        assert_eq!(told(&metrics, r#"reference_label_ratio{label="negative"}"#), "0.25");
        assert_eq!(told(&metrics, r#"reference_missing_ratio{field="caption"}"#), "0.5");
    }
}
