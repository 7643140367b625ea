//! The tagger: reads tags off the image embedding, and stands in for the field that names it where a post brings nothing.

use ndarray::{Array2, ArrayView1, Axis};

use super::bundle::{Bundle, Tagger};
use super::contract::{self, Contract};
use super::encode::Fields;
use super::error::ModelError;
use super::graph::{Graph, ranked};
use crate::metrics::Metrics;

/// The tagger's graph and what its scores mean.
#[derive(Debug)]
pub(super) struct TagReader {
    pub graph: Graph,
    pub tagger: Tagger,
    /// The field it stands in for.
    pub field: usize,
}

impl TagReader {
    /// The bundle's tagger, if it has one that stands in for a field.
    pub fn open(
        bundle: &Bundle,
        open: &mut impl FnMut(&'static Contract) -> Result<Graph, ModelError>,
    ) -> Result<Option<Self>, ModelError> {
        let (Some(tagger), Some(field)) = (&bundle.tagger, bundle.inferred_field()) else { return Ok(None) };
        Ok(Some(Self { graph: open(&contract::TAGGER)?, tagger: tagger.clone(), field }))
    }

    /// Fills the field for the posts that lack it, and returns for every post the tags told (none where the field was there).
    /// With no tag at the threshold there is nothing to say, and the field stays absent.
    pub fn fill(
        &mut self,
        images: &Array2<f32>,
        fields: &mut Fields,
        metrics: &Metrics,
    ) -> Result<Vec<Vec<String>>, ModelError> {
        let mut told = vec![Vec::new(); images.nrows()];
        let present = fields.present.column(self.field).to_vec();
        let lacking: Vec<usize> =
            (0..images.nrows()).zip(present).filter(|(_, present)| !present).map(|(post, _)| post).collect();
        if lacking.is_empty() {
            return Ok(told);
        }
        let rows = images.select(Axis(0), &lacking);
        let file = self.graph.file();
        let feeds = [("image_embedding", (&rows).into())];
        let [scores, embedding] = self.graph.run(&feeds, lacking.len(), metrics)?;
        let (scores, embedding): (Array2<f32>, Array2<f32>) = (ranked(file, scores)?, ranked(file, embedding)?);
        for (row, &post) in lacking.iter().enumerate() {
            let tags = self.told(&scores.row(row));
            if let Some(place) = told.get_mut(post).filter(|_| !tags.is_empty()) {
                fields.set(post, self.field, &embedding.row(row));
                *place = tags;
            }
        }
        Ok(told)
    }

    /// Names of the tags at or above the threshold, best first.
    fn told(&self, scores: &ArrayView1<'_, f32>) -> Vec<String> {
        let named = scores.iter().zip(&self.tagger.tags);
        let mut seen: Vec<(&f32, &String)> = named.filter(|(score, _)| **score >= self.tagger.threshold).collect();
        seen.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        seen.into_iter().take(self.tagger.max_tags).map(|(_, tag)| tag.clone()).collect()
    }
}
