//! Adaptive relevance learning: how much of the answer the image and each field carry, and what the fusion reads.

use ndarray::{Array2, ArrayD, ArrayView1, Axis};

use super::encode::Fields;
use super::error::ModelError;
use super::graph::{Graph, ranked};
use super::simplex;
use crate::metrics::Metrics;

/// The relevance stage.
#[derive(Debug)]
pub(super) struct Relevance {
    pub graph: Graph,
}

/// What the stage says of each row.
#[derive(Debug)]
pub(super) struct Weighed {
    /// For the fusion, unread.
    pub hyper: ArrayD<f32>,
    /// For the fusion, unread.
    pub target: ArrayD<f32>,
    /// f32 [B, 1 + K]: column 0 the image.
    pub relevance: Array2<f32>,
}

impl Relevance {
    /// Weighs images f32 [B, Dv] and fields.
    pub fn weigh(&mut self, images: &Array2<f32>, fields: &Fields, metrics: &Metrics) -> Result<Weighed, ModelError> {
        let graph = self.graph.file();
        let feeds = [
            ("image_embedding", images.into()),
            ("field_embedding", (&fields.embedding).into()),
            ("field_present", (&fields.present).into()),
        ];
        let [hyper, target, relevance] = self.graph.run(&feeds, images.nrows(), metrics)?;
        let relevance: Array2<f32> = ranked(graph, relevance)?;
        for (row, present) in relevance.axis_iter(Axis(0)).zip(fields.present.axis_iter(Axis(0))) {
            check(graph, &row, &present)?;
        }
        Ok(Weighed { hyper, target, relevance })
    }
}

fn check(graph: &'static str, row: &ArrayView1<'_, f32>, present: &ArrayView1<'_, bool>) -> Result<(), ModelError> {
    simplex(graph, "relevance", row)?;
    let mut absent = row.iter().skip(1).zip(present).filter(|(_, present)| !**present);
    match absent.find(|(weight, _)| **weight != 0.0) {
        None => Ok(()),
        Some((weight, _)) => {
            let problem = format!("an absent field has weight {weight}, not exactly 0");
            Err(ModelError::Output { graph, tensor: "relevance", problem })
        }
    }
}
