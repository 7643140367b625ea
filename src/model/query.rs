//! A query that is a field: what relevance and fusion read everything else by. The graphs of such a bundle always see it.
//! Where a post brings nothing for it the empty text stands in, and that is what the post without the field means.

use ndarray::Array1;

use super::Provider;
use super::bundle::Bundle;
use super::encode::{Fields, Run, encoded};
use super::error::ModelError;
use super::graph::Graph;
use crate::metrics::Metrics;

/// The field that is the query.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub field: usize,
    /// f32 [Dt]: the embedding of the empty text.
    pub empty: Array1<f32>,
}

impl Query {
    /// The bundle's, where it is a field; `empty_text` are the token ids of the empty text.
    pub fn of(
        bundle: &Bundle,
        text_encoder: &mut Graph,
        empty_text: &[u32],
        provider: Provider,
    ) -> Result<Option<Self>, ModelError> {
        let Some(field) = bundle.query else { return Ok(None) };
        if empty_text.is_empty() {
            return Err(ModelError::Refused {
                graph: "tokenizer.json",
                problem:
                    "the empty text has no token, and it stands in for a query that a post does not bring; add special \
                          tokens, or set query = \"image\" in bundle.toml"
                        .into(),
            });
        }
        let empty = encoded(
            text_encoder,
            &[empty_text],
            Run { provider, max_tokens: bundle.max_tokens, cache: None, metrics: &Metrics::new() },
        )?
        .row(0)
        .to_owned();
        Ok(Some(Self { field, empty }))
    }

    /// Stands in where a post brings no query.
    pub fn fill(&self, fields: &mut Fields) {
        for post in 0..fields.present.nrows() {
            if fields.present.get((post, self.field)) == Some(&false) {
                fields.set(post, self.field, &self.empty.view());
            }
        }
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
