//! The model: a bundle's graphs run by ONNX Runtime, in the order encode, tag, relevance, fuse. The only place that names
//! `ort`. A [`Model`] belongs to one thread; what it says of a post does not depend on the posts beside it.

mod bundle;
mod contract;
mod device;
mod encode;
mod error;
mod fuse;
mod graph;
mod onnx;
mod query;
mod reference;
mod relevance;
mod rerun;
mod runtime;
mod settings;
mod tag;
mod warm_up;
mod worker;

use std::sync::Arc;

use ndarray::ArrayView1;

pub use self::bundle::{Bundle, BundleError, Field, Image, InferredBy, Label, Precision, Tagger};
pub use self::error::ModelError;
pub use self::rerun::{Answer, Rerun, Variation};
pub use self::runtime::{library, rest};
pub use self::settings::{Provider, Settings};
pub use self::worker::score;

use self::contract::Sizes;
use self::fuse::Heads;
use self::graph::Graph;
use self::query::Query;
use self::relevance::Relevance;
use self::tag::TagReader;
use crate::cache::Cache;
use crate::message::{Digest, ModelInput, Picture, Prediction};
use crate::metrics::Metrics;

/// How far from 1 a sum of f32 probabilities may be.
const SUM_TOLERANCE: f32 = 1e-3;

/// A bundle's graphs, opened. Owned by one thread: `predict` takes `&mut self`.
#[derive(Debug)]
pub struct Model {
    image_encoder: Graph,
    text_encoder: Graph,
    tagger: Option<TagReader>,
    heads: Heads,
    fields: Vec<Arc<str>>,
    max_tokens: usize,
    provider: Provider,
    keeps_traces: bool,
    cache: Option<Arc<Cache>>,
}

impl Model {
    /// Opens every graph of a bundle and compares it with `docs/bundle.md`. `empty_text` are the token ids of the empty text,
    /// which stands in for a query that a post does not bring.
    ///
    /// # Errors
    /// Where a setting makes no sense, ONNX Runtime or the provider is not there, or a graph breaks the contract.
    pub fn load(bundle: &Bundle, settings: &Settings, empty_text: &[u32]) -> Result<Self, ModelError> {
        settings.validate()?;
        let environment = runtime::environment(settings)?;
        let mut sizes = given_sizes(bundle);
        let mut open = |contract| Graph::open(contract, bundle, settings, &environment, &mut sizes);
        let image_encoder = open(&contract::IMAGE_ENCODER)?;
        let mut text_encoder = open(&contract::TEXT_ENCODER)?;
        let relevance = Relevance { graph: open(&contract::RELEVANCE)? };
        let fusion = open(&contract::FUSION)?;
        let tagger = TagReader::open(bundle, &mut open)?;
        let query = Query::of(bundle, &mut text_encoder, empty_text, settings.provider)?;
        tracing::info!(
            bundle = bundle.name, version = bundle.version, digest = bundle.digest, license = bundle.license,
            provider = %settings.provider, threads = settings.threads(), sessions = settings.sessions(), "opened the model"
        );
        Ok(Self {
            image_encoder,
            text_encoder,
            tagger,
            heads: Heads { relevance, fusion, query, effects: settings.effects },
            fields: bundle.fields.iter().map(|field| field.name.as_str().into()).collect(),
            max_tokens: bundle.max_tokens,
            provider: settings.provider,
            keeps_traces: false,
            cache: None,
        })
    }

    /// What runs the graphs. Never anything but what was asked for.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// How many batches to give it at once.
    pub fn batches_ahead(&self) -> usize {
        self.provider.batches_ahead()
    }

    /// Posts from which on a batch costs no less a post.
    pub fn enough_posts(&self) -> usize {
        self.provider.enough_posts()
    }

    /// Closes the sessions, unless the process is ending.
    pub fn retire(self) {
        let _at_work = runtime::at_work();
        drop(self);
    }

    /// From now on what the cache has is not computed, and what is computed is kept there. Leaves no trace in predictions,
    /// so it is not for a model that keeps them.
    pub fn use_cache(&mut self, cache: Option<Arc<Cache>>) {
        self.cache = cache;
    }

    /// From now on predictions carry the [`crate::message::Trace`] that a [`Rerun`] starts from, some 10 KB a post.
    pub fn keep_traces(&mut self) {
        self.keeps_traces = true;
    }

    /// Names of the fields, in the bundle's order.
    pub fn fields(&self) -> &[Arc<str>] {
        &self.fields
    }

    /// One prediction for each input, in order.
    ///
    /// # Errors
    /// For all inputs at once: where one does not fit the bundle, a graph fails, or an output is no answer (NaN, say).
    pub fn predict(&mut self, inputs: &[&ModelInput], metrics: &Metrics) -> Result<Vec<Prediction>, ModelError> {
        inputs.iter().try_for_each(|input| self.check_input(input))?;
        let _at_work = runtime::at_work();
        let Some(cache) = self.cache.clone() else { return self.compute(inputs, metrics) };
        let keys: Vec<Option<Digest>> = inputs.iter().map(|input| cache.post_key(input)).collect();
        let known = keys.iter().map(|key| cache.prediction(key.as_ref()?, metrics).as_deref().cloned());
        let mut predictions: Vec<Option<Prediction>> = known.collect();
        let new = inputs.iter().zip(&predictions).filter(|(_, known)| known.is_none());
        let new: Vec<&ModelInput> = new.map(|(input, _)| *input).collect();
        let mut computed = self.compute(&new, metrics)?.into_iter();
        for (place, key) in predictions.iter_mut().zip(keys).filter(|(place, _)| place.is_none()) {
            *place = computed.next();
            if let (Some(prediction), Some(key)) = (place, key) {
                cache.keep_prediction(key, Arc::new(prediction.clone()), metrics);
            }
        }
        Ok(predictions.into_iter().flatten().collect())
    }

    /// One prediction for each input, of which all are checked.
    fn compute(&mut self, inputs: &[&ModelInput], metrics: &Metrics) -> Result<Vec<Prediction>, ModelError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        let run =
            encode::Run { provider: self.provider, max_tokens: self.max_tokens, cache: self.cache.as_deref(), metrics };
        let images = encode::images(&mut self.image_encoder, inputs, run)?;
        let mut fields = encode::texts(&mut self.text_encoder, inputs, run)?;
        let tags = match &mut self.tagger {
            Some(tagger) => tagger.fill(&images, &mut fields, metrics)?,
            None => vec![Vec::new(); inputs.len()],
        };
        let answers = self.heads.answer(&images, &mut fields, metrics)?;
        let inferred = self.tagger.as_ref().map(|tagger| tagger.field);
        let mut predictions: Vec<Prediction> = answers
            .into_iter()
            .zip(tags)
            .zip(inputs)
            .map(|((answer, tags), input)| told(answer, tags, input, inferred))
            .collect();
        if self.keeps_traces {
            rerun::trace(&mut predictions, inputs, &images, &fields);
        }
        Ok(predictions)
    }

    /// What the graphs would say less clearly, or not at all.
    fn check_input(&self, input: &ModelInput) -> Result<(), ModelError> {
        let (width, height) = (self.image_encoder.size("W"), self.image_encoder.size("H"));
        let (pixels, fields) = (width * height * 3, self.text_encoder.size("K"));
        match &input.picture {
            Picture::Pixels { rgb, .. } if rgb.len() != pixels => {
                return Err(ModelError::Input(format!(
                    "{} bytes of pixels, {pixels} expected for {width} x {height} RGB",
                    rgb.len()
                )));
            }
            Picture::Known { embedding, .. } if embedding.len() != self.image_encoder.size("Dv") => {
                return Err(ModelError::Input(format!("an image embedding of {} numbers", embedding.len())));
            }
            Picture::Pixels { .. } | Picture::Known { .. } => {}
        }
        if input.fields.len() != fields {
            return Err(ModelError::Input(format!("{} fields, the bundle has {fields}", input.fields.len())));
        }
        match input.fields.iter().flatten().find(|text| !(1..=self.max_tokens).contains(&text.len())) {
            None => Ok(()),
            Some(text) => {
                Err(ModelError::Input(format!("a text of {} tokens, 1 to {} expected", text.len(), self.max_tokens)))
            }
        }
    }
}

fn told(answer: fuse::Answer, inferred_tags: Vec<String>, input: &ModelInput, inferred: Option<usize>) -> Prediction {
    let stood_in = !inferred_tags.is_empty();
    Prediction {
        probabilities: answer.probabilities,
        relevance: answer.relevance,
        effects: answer.effects,
        inferred: (0..input.fields.len()).map(|field| stood_in && inferred == Some(field)).collect(),
        inferred_tags,
        trace: None,
    }
}

/// The axes whose size the manifest tells.
fn given_sizes(bundle: &Bundle) -> Sizes {
    Sizes::given(&[
        ("W", bundle.image.width),
        ("H", bundle.image.height),
        ("K", bundle.fields.len()),
        ("1 + K", 1 + bundle.fields.len()),
        ("L", bundle.labels.len()),
        ("C", bundle.tagger.as_ref().map_or(0, |tagger| tagger.tags.len())),
    ])
}

/// Checks that numbers are not negative and sum to 1.
fn simplex(graph: &'static str, tensor: &'static str, row: &ArrayView1<'_, f32>) -> Result<(), ModelError> {
    let sum = row.sum();
    if (sum - 1.0).abs() <= SUM_TOLERANCE && row.iter().all(|number| *number >= 0.0) {
        return Ok(());
    }
    let problem = format!("{row} sums to {sum}; expected numbers >= 0 that sum to 1");
    Err(ModelError::Output { graph, tensor, problem })
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
