//! The heads once more: what a post would have scored with other metadata, from the embeddings that [`Model`] kept
//! of it. The encoders, which are nearly all of the work, do not run again.

use ndarray::{Array2, Array3, ArrayView1, Axis};
use sha2::{Digest, Sha256};

use super::bundle::Bundle;
use super::contract;
use super::encode::Fields;
use super::error::ModelError;
use super::fuse::{Heads, ROWS_PER_RUN};
use super::graph::Graph;
use super::relevance::Relevance;
use super::tag::TagReader;
use super::{Model, Settings, given_sizes, runtime};
use crate::message::{ModelInput, Picture, Prediction, Trace, TracedText};
use crate::metrics::Metrics;

/// A post as it might have been. The tagger stands in for what it does not bring, as in the stream; then fields are taken away.
#[derive(Debug, Clone)]
pub struct Variation<'a> {
    /// The image's embedding.
    pub image: &'a [f32],
    /// The embedding of each field of the bundle; `None` where the post brings none.
    pub fields: Vec<Option<&'a [f32]>>,
    /// For each field whether it is kept from the heads, whoever filled it.
    pub without: Vec<bool>,
}

/// What the heads say of a variation.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// One per label of the bundle.
    pub probabilities: Vec<f32>,
    /// The image's weight, then one per field of the bundle.
    pub relevance: Vec<f32>,
}

/// The part of a bundle behind its encoders. Owned by one thread.
#[derive(Debug)]
pub struct Rerun {
    tagger: Option<TagReader>,
    heads: Heads,
}

impl Model {
    /// Opens this model's tagger, relevance and fusion once more, for a thread of their own.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn rerun(&self, bundle: &Bundle, settings: &Settings) -> Result<Rerun, ModelError> {
        let environment = runtime::environment(settings)?;
        let mut sizes = given_sizes(bundle);
        let mut open = |contract| Graph::open(contract, bundle, settings, &environment, &mut sizes);
        let relevance = Relevance { graph: open(&contract::RELEVANCE)? };
        let (fusion, query) = (open(&contract::FUSION)?, self.heads.query.clone());
        let heads = Heads { relevance, fusion, query, effects: false };
        Ok(Rerun { tagger: TagReader::open(bundle, &mut open)?, heads })
    }
}

impl Rerun {
    /// One answer for each variation, in order.
    ///
    /// # Errors
    /// Where a variation does not fit the bundle, a graph fails, or an output is no answer.
    pub fn answer(&mut self, variations: &[Variation<'_>], metrics: &Metrics) -> Result<Vec<Answer>, ModelError> {
        let _at_work = runtime::at_work();
        let mut answers = Vec::with_capacity(variations.len());
        for run in variations.chunks(ROWS_PER_RUN) {
            let (images, mut fields) = self.gather(run)?;
            if let Some(tagger) = &mut self.tagger {
                tagger.fill(&images, &mut fields, metrics)?;
            }
            for (post, variation) in run.iter().enumerate() {
                let taken = variation.without.iter().enumerate().filter(|(_, taken)| **taken);
                taken.for_each(|(field, _)| fields.clear(post, field));
            }
            if let Some(query) = &self.heads.query {
                query.fill(&mut fields);
            }
            let weighed = self.heads.relevance.weigh(&images, &fields, metrics)?;
            let probabilities = self.heads.fuse(&weighed, run.len(), metrics)?;
            let rows = probabilities.axis_iter(Axis(0)).zip(weighed.relevance.axis_iter(Axis(0)));
            answers.extend(rows.map(|(probabilities, relevance)| Answer {
                probabilities: probabilities.to_vec(),
                relevance: relevance.to_vec(),
            }));
        }
        Ok(answers)
    }

    /// What some variations bring, as the encoders would have given it.
    fn gather(&self, run: &[Variation<'_>]) -> Result<(Array2<f32>, Fields), ModelError> {
        let graph = &self.heads.relevance.graph;
        let (count, image, text) = (graph.size("K"), graph.size("Dv"), graph.size("Dt"));
        let mut images = Array2::zeros((run.len(), image));
        let mut fields = Fields {
            embedding: Array3::zeros((run.len(), count, text)),
            present: Array2::from_elem((run.len(), count), false),
        };
        for (post, variation) in run.iter().enumerate() {
            let embeddings = variation.fields.iter().flatten();
            let fits = variation.image.len() == image
                && (variation.fields.len(), variation.without.len()) == (count, count)
                && embeddings.map(|text| text.len()).all(|length| length == text);
            if !fits {
                return Err(ModelError::Input("embeddings of another bundle".into()));
            }
            images.row_mut(post).assign(&ArrayView1::from(variation.image));
            for (field, embedding) in
                variation.fields.iter().enumerate().filter_map(|(field, text)| Some((field, (*text)?)))
            {
                fields.set(post, field, &ArrayView1::from(embedding));
            }
        }
        Ok((images, fields))
    }
}

/// Adds to predictions what they were made of. What the tagger filled in is not the post's own, and left out.
pub(super) fn trace(predictions: &mut [Prediction], inputs: &[&ModelInput], images: &Array2<f32>, fields: &Fields) {
    let rows = images.axis_iter(Axis(0)).zip(fields.embedding.axis_iter(Axis(0)));
    for ((prediction, input), (image, embeddings)) in predictions.iter_mut().zip(inputs).zip(rows) {
        let texts = input.fields.iter().zip(embeddings.axis_iter(Axis(0))).map(|(tokens, embedding)| {
            tokens.as_ref().map(|tokens| TracedText { tokens: tokens.clone(), embedding: embedding.to_vec() })
        });
        prediction.trace = Some(Box::new(Trace {
            picture: match &input.picture {
                Picture::Pixels { rgb, .. } => Sha256::digest(rgb).into(),
                Picture::Known { key, .. } => *key,
            },
            image: image.to_vec(),
            texts: texts.collect(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    /// Predictions of the tiny bundle with their traces.
    fn traced(posts: &[ModelInput]) -> Vec<Prediction> {
        let mut model = fixture::model();
        model.keep_traces();
        model.predict(&posts.iter().collect::<Vec<_>>(), &Metrics::new()).expect("predicted")
    }

    fn rerun() -> Rerun {
        let tiny = fixture::folder("tiny");
        let bundle = Bundle::open(&tiny).expect("a whole bundle");
        let settings = fixture::settings(&tiny, crate::model::Provider::Cpu);
        fixture::model().rerun(&bundle, &settings).expect("a sound bundle")
    }

    fn as_it_was(trace: &Trace) -> Variation<'_> {
        Variation {
            image: &trace.image,
            fields: trace.texts.iter().map(|text| text.as_ref().map(|text| text.embedding.as_slice())).collect(),
            without: vec![false; trace.texts.len()],
        }
    }

    fn posts() -> Vec<ModelInput> {
        vec![
            fixture::post(250, [Some(&[4]), None, None]),
            fixture::post(128, [None, Some(&[4]), Some(&[5])]),
            fixture::post(250, [None, None, None]),
        ]
    }

    #[test]
    fn a_post_as_it_was_scores_as_it_did() {
        let predictions = traced(&posts());
        let traces: Vec<&Trace> =
            predictions.iter().map(|prediction| prediction.trace.as_deref().expect("kept")).collect();
        let variations: Vec<_> = traces.iter().map(|trace| as_it_was(trace)).collect();
        let answers = rerun().answer(&variations, &Metrics::new()).expect("answered");
        for (answer, prediction) in answers.iter().zip(&predictions) {
            assert_eq!((&answer.probabilities, &answer.relevance), (&prediction.probabilities, &prediction.relevance));
        }
    }

    #[test]
    fn a_field_taken_away_has_no_weight_though_the_tagger_filled_it() {
        let predictions = traced(&posts());
        assert!(predictions[0].relevance[3] > 0.0, "the tagger stands in for the context");
        let trace = predictions[0].trace.as_deref().expect("kept");
        assert_eq!(trace.texts[2], None, "what the tagger says is not the post's own");
        let bare = Variation { without: vec![true; 3], ..as_it_was(trace) };
        let answers = rerun().answer(&[bare, as_it_was(trace)], &Metrics::new()).expect("answered");
        assert_eq!(answers[0].relevance, [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(answers[1].relevance, predictions[0].relevance, "neighbours do not matter");
    }

    /// Where the query is a field, the empty text stands in for it here as it does there.
    #[test]
    fn a_query_taken_away_is_a_query_never_brought() {
        let copy = fixture::altered(|manifest| manifest.replacen("precision", "query = \"caption\"\nprecision", 1));
        let settings = fixture::settings(copy.path(), crate::model::Provider::Cpu);
        let bundle = Bundle::open(copy.path()).expect("a whole bundle");
        let mut model = fixture::load(copy.path(), &settings).expect("a sound bundle");
        model.keep_traces();
        let posts = [fixture::post(128, [Some(&[4]), Some(&[5]), None]), fixture::post(128, [None, Some(&[5]), None])];
        let told = model.predict(&posts.iter().collect::<Vec<_>>(), &Metrics::new()).expect("predicted");
        let trace = |post: usize| as_it_was(told[post].trace.as_deref().expect("kept"));
        let taken = Variation { without: vec![true, false, false], ..trace(0) };
        let mut rerun = model.rerun(&bundle, &settings).expect("a sound bundle");
        let answers = rerun.answer(&[trace(0), taken, trace(1)], &Metrics::new()).expect("answered");
        for (answer, prediction) in answers.iter().zip([&told[0], &told[1], &told[1]]) {
            assert_eq!((&answer.probabilities, &answer.relevance), (&prediction.probabilities, &prediction.relevance));
        }
        assert_ne!(answers[0], answers[1], "the caption says something");
    }

    #[test]
    fn equal_pictures_have_equal_sums_and_traces_are_kept_only_where_asked_for() {
        let predictions = traced(&posts());
        let sums: Vec<_> =
            predictions.iter().map(|prediction| prediction.trace.as_ref().expect("kept").picture).collect();
        assert!(sums[0] == sums[2] && sums[0] != sums[1]);
        let posts = posts();
        let plain = fixture::model().predict(&posts.iter().collect::<Vec<_>>(), &Metrics::new()).expect("predicted");
        assert!(plain.iter().all(|prediction| prediction.trace.is_none()));
    }

    #[test]
    fn embeddings_of_another_bundle_are_refused() {
        let strange = Variation { image: &[1.0], fields: vec![None; 3], without: vec![false; 3] };
        let refused = rerun().answer(&[strange], &Metrics::new()).expect_err("refused");
        assert!(refused.to_string().contains("another bundle"), "{refused}");
    }
}
