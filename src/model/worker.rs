//! What becomes of a batch: every post is scored, or refused because the model fails on it alone. When a batch fails, the
//! warm-up decides whose fault it is: if made-up posts fail too it is the worker's, and nothing is refused for it.

use std::sync::Arc;

use super::{Model, ModelError};
use crate::error::{Reason, Refusal, Stage};
use crate::message::{Flag, ModelInput, Outcome, Prediction, Prepared, Scored, Verdict};
use crate::metrics::Metrics;
use crate::traces::BatchSpan;

/// Posts of the warm-up after a failure: one with every field and one with none.
const PROBE: usize = 2;

/// Scores a batch; the outcomes come in its order.
///
/// # Errors
/// Only where the fault is the worker's: no outcome of this batch may then be published.
pub fn score(model: &mut Model, batch: Vec<Prepared>, metrics: &Metrics) -> Result<Vec<Outcome>, ModelError> {
    let inputs: Vec<&ModelInput> = batch.iter().map(|prepared| &prepared.input).collect();
    let span = BatchSpan::start(batch.iter().filter_map(|prepared| prepared.record.span.as_ref()), batch.len());
    let verdicts = BatchSpan::during(span, || bisect(&inputs, &mut Measured { model, metrics }))?;
    let fields = model.fields();
    Ok(batch.into_iter().zip(verdicts).map(|(prepared, verdict)| outcome(prepared, verdict, fields)).collect())
}

/// What the bisecting asks; the model, or a stand-in of the tests.
trait Scorer {
    fn predict(&mut self, inputs: &[&ModelInput]) -> Result<Vec<Prediction>, ModelError>;
    /// Whether posts that are known to be good are still scored.
    fn probe(&mut self) -> Result<(), ModelError>;
}

struct Measured<'a> {
    model: &'a mut Model,
    metrics: &'a Metrics,
}

impl Scorer for Measured<'_> {
    fn predict(&mut self, inputs: &[&ModelInput]) -> Result<Vec<Prediction>, ModelError> {
        self.model.predict(inputs, self.metrics).inspect_err(|_| self.metrics.batch_failures.inc())
    }

    fn probe(&mut self) -> Result<(), ModelError> {
        self.model.warm_up(PROBE)
    }
}

type Verdicts = Vec<Result<Prediction, ModelError>>;

/// Halves a batch that fails until the posts at fault are alone. The error of the whole is the worker's.
fn bisect(inputs: &[&ModelInput], scorer: &mut impl Scorer) -> Result<Verdicts, ModelError> {
    let error = match scorer.predict(inputs) {
        Ok(predictions) => return Ok(predictions.into_iter().map(Ok).collect()),
        Err(error) => error,
    };
    tracing::warn!(posts = inputs.len(), %error, "a batch failed; running the warm-up again to see whose fault it is");
    scorer.probe()?;
    if inputs.len() <= 1 {
        // Once more: only what fails right after the warm-up passed is the post's own fault.
        let again = scorer.predict(inputs);
        return again
            .map_or_else(|error| Ok(vec![Err(error)]), |predictions| Ok(predictions.into_iter().map(Ok).collect()));
    }
    let (left, right) = inputs.split_at(inputs.len() / 2);
    let mut verdicts = bisect(left, scorer)?;
    verdicts.extend(bisect(right, scorer)?);
    Ok(verdicts)
}

fn outcome(prepared: Prepared, verdict: Result<Prediction, ModelError>, fields: &[Arc<str>]) -> Outcome {
    let Prepared { record, mut facts, input, mut flags } = prepared;
    match verdict {
        Err(error) => Outcome::refused(record, Stage::Model, Refusal::new(Reason::InferenceFailed, error.to_string())),
        Ok(prediction) => {
            flags.extend(remarks(&input, &prediction, fields));
            if facts.tags.is_empty() {
                facts.tags.clone_from(&prediction.inferred_tags);
            }
            Outcome { record, verdict: Verdict::Scored(Box::new(Scored { facts, prediction, flags })) }
        }
    }
}

/// One for each field that the post did not bring.
fn remarks(input: &ModelInput, prediction: &Prediction, names: &[Arc<str>]) -> Vec<Flag> {
    let fields = names.iter().zip(&input.fields).zip(&prediction.inferred);
    let lacking = fields.filter(|((_, text), _)| text.is_none());
    lacking
        .map(|((name, _), inferred)| if *inferred { Flag::Inferred(name.clone()) } else { Flag::Missing(name.clone()) })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::budget::{Budget, Limits};
    use crate::message::{Assignment, Facts, Origin, Position, Record};
    use crate::model::fixture;

    /// Fails on every batch that holds a post whose first pixel is listed, and altogether once `broken_after` calls were made.
    struct StandIn {
        guilty: Vec<u8>,
        calls: usize,
        broken_after: usize,
        largest: usize,
    }

    impl StandIn {
        fn new(guilty: &[u8]) -> Self {
            Self { guilty: guilty.to_vec(), calls: 0, broken_after: usize::MAX, largest: usize::MAX }
        }

        fn call(&mut self) -> Result<(), ModelError> {
            self.calls += 1;
            if self.calls > self.broken_after { Err(ModelError::Input("broken".into())) } else { Ok(()) }
        }
    }

    impl Scorer for StandIn {
        fn predict(&mut self, inputs: &[&ModelInput]) -> Result<Vec<Prediction>, ModelError> {
            self.call()?;
            if inputs.len() > self.largest || inputs.iter().any(|input| self.guilty.contains(&first(input))) {
                return Err(ModelError::Input("guilty".into()));
            }
            let prediction = |input: &&ModelInput| Prediction {
                probabilities: vec![f32::from(first(input))],
                relevance: vec![],
                effects: vec![],
                inferred: vec![],
                inferred_tags: vec![],
                trace: None,
            };
            Ok(inputs.iter().map(prediction).collect())
        }

        fn probe(&mut self) -> Result<(), ModelError> {
            self.call()
        }
    }

    fn first(input: &ModelInput) -> u8 {
        input.picture.rgb().expect("pixels")[0]
    }

    fn posts(count: u8) -> Vec<ModelInput> {
        (0..count).map(|first| ModelInput { picture: fixture::pixels(vec![first]), fields: vec![] }).collect()
    }

    /// First pixels of the posts scored, in order.
    fn scored(count: u8, scorer: &mut StandIn) -> Result<Vec<Option<f32>>, ModelError> {
        let posts = posts(count);
        let inputs: Vec<&ModelInput> = posts.iter().collect();
        let verdicts = bisect(&inputs, scorer)?;
        Ok(verdicts.into_iter().map(|verdict| verdict.ok().map(|prediction| prediction.probabilities[0])).collect())
    }

    #[test]
    fn only_the_guilty_are_refused_and_the_order_is_kept() {
        for count in 1..=9u8 {
            for guilty in 0..1u32 << count {
                let listed: Vec<u8> = (0..count).filter(|post| guilty >> post & 1 == 1).collect();
                let expected: Vec<Option<f32>> =
                    (0..count).map(|post| (!listed.contains(&post)).then_some(f32::from(post))).collect();
                assert_eq!(scored(count, &mut StandIn::new(&listed)).expect("a healthy worker"), expected);
            }
        }
    }

    #[test]
    fn one_guilty_post_among_32_is_found_in_a_few_runs() {
        let mut scorer = StandIn::new(&[21]);
        assert_eq!(scored(32, &mut scorer).expect("healthy").iter().flatten().count(), 31);
        assert!(scorer.calls <= 20, "{} calls", scorer.calls);
    }

    #[test]
    fn a_batch_too_large_for_the_device_is_scored_in_parts() {
        let mut scorer = StandIn { largest: 3, ..StandIn::new(&[]) };
        assert_eq!(scored(16, &mut scorer).expect("healthy").iter().flatten().count(), 16);
    }

    #[test]
    fn a_worker_that_breaks_refuses_nothing() {
        for broken_after in 0..12 {
            let mut scorer = StandIn { broken_after, ..StandIn::new(&[5]) };
            assert!(scored(8, &mut scorer).is_err(), "broken after {broken_after} calls");
        }
    }

    fn prepared(input: ModelInput, tags: &[&str]) -> Prepared {
        let gauge = || prometheus::IntGauge::new("g", "test").expect("gauge");
        let limits = Limits { records: 9, bytes: 9, record_bytes: 9 };
        let position = Position {
            place: Origin { topic: "posts".into(), partition: 0, offset: 0 },
            origin: Origin { topic: "posts".into(), partition: 0, offset: 0 },
            assignment: Assignment::new(0),
            sequence: 0,
            permit: Budget::new(limits, gauge(), gauge()).admit(0),
            pulled_at: Instant::now(),
        };
        let tags = tags.iter().map(ToString::to_string).collect();
        Prepared {
            record: Record {
                position,
                key: None,
                value: None,
                headers: vec![],
                timestamp: None,
                fetched: None,
                schema: None,
                span: None,
            },
            facts: Facts { id: "post".into(), source: None, published_at: None, tags },
            input,
            flags: vec![Flag::TextTruncated],
        }
    }

    #[test]
    fn a_real_graph_that_fails_costs_one_post_its_result() {
        let (mut model, metrics) = (fixture::model(), Metrics::new());
        let poisoned = fixture::with_corner(fixture::post(200, [None, None, None]), [1, 2, 3]);
        let unknown_token = fixture::post(200, [Some(&[9999]), None, None]);
        let batch = vec![
            prepared(fixture::post(200, [Some(&[4]), None, None]), &[]),
            prepared(poisoned, &[]),
            prepared(fixture::post(128, [None, Some(&[4]), None]), &["own"]),
            prepared(unknown_token, &[]),
            prepared(fixture::post(240, [None, None, None]), &["own"]),
        ];
        let outcomes = score(&mut model, batch, &metrics).expect("a healthy worker");
        let refused: Vec<Option<String>> = outcomes
            .iter()
            .map(|outcome| match &outcome.verdict {
                Verdict::Refused { refusal, stage: Stage::Model } => Some(refusal.to_string()),
                _ => None,
            })
            .collect();
        assert_eq!(refused.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true, false]);
        assert!(
            refused[1].as_deref().is_some_and(|text| text.contains("inference_failed: image_encoder.onnx")),
            "{refused:?}"
        );
        assert!(refused[3].as_deref().is_some_and(|text| text.contains("text_encoder.onnx failed")), "{refused:?}");
    }

    #[test]
    fn what_a_post_lacks_is_told() {
        let (mut model, metrics) = (fixture::model(), Metrics::new());
        let batch = vec![
            prepared(fixture::post(250, [Some(&[4]), None, None]), &[]),
            prepared(fixture::post(128, [None, Some(&[4]), None]), &["own"]),
        ];
        let outcomes = score(&mut model, batch, &metrics).expect("scored");
        let told: Vec<(Vec<String>, Vec<String>)> = outcomes
            .iter()
            .map(|outcome| match &outcome.verdict {
                Verdict::Scored(scored) => {
                    (scored.flags.iter().map(ToString::to_string).collect(), scored.facts.tags.clone())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told[0].0, ["text_truncated", "tags_missing", "context_inferred"]);
        assert_eq!(told[0].1, ["sunshine"], "the post had no tags of its own");
        assert_eq!(told[1].0, ["text_truncated", "caption_missing", "context_missing"], "no tag at the threshold");
        assert_eq!(told[1].1, ["own"]);
    }
}
