//! Feature representation: pictures and texts to embeddings. Equal pictures and equal texts of a batch are encoded once,
//! and what the cache has is not encoded again.
//!
//! On a processor texts run in groups of exactly equal length, so nothing is ever padded: padding is work for nothing, and it
//! would let a text's embedding depend (in the last bits) on how long its neighbours are. A card plans anew for every shape, so
//! there each text is padded by its own length alone, to one of a few.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use ndarray::{Array2, Array3, Array4, ArrayView1, Axis, s};

use super::Provider;
use super::error::ModelError;
use super::graph::{Graph, ranked};
use crate::cache::Cache;
use crate::message::{ModelInput, Picture};
use crate::metrics::Metrics;

/// What the posts of a batch bring besides pictures.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    /// f32 [B, K, Dt]; zero where absent.
    pub embedding: Array3<f32>,
    /// bool [B, K].
    pub present: Array2<bool>,
}

impl Fields {
    /// Fills a field of a post.
    pub fn set(&mut self, post: usize, field: usize, embedding: &ArrayView1<'_, f32>) {
        self.embedding.slice_mut(s![post, field, ..]).assign(embedding);
        self.present.slice_mut(s![post, field]).fill(true);
    }

    /// Masks a field of a post.
    pub fn clear(&mut self, post: usize, field: usize) {
        self.embedding.slice_mut(s![post, field, ..]).fill(0.0);
        self.present.slice_mut(s![post, field]).fill(false);
    }
}

/// What of a run concerns the caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    /// Says how much a run holds.
    pub provider: Provider,
    /// Tokens of the longest text.
    pub max_tokens: usize,
    /// What was encoded before, and where it is kept.
    pub cache: Option<&'a Cache>,
    pub metrics: &'a Metrics,
}

/// The pictures to f32 [B, Dv].
pub(super) fn images(graph: &mut Graph, inputs: &[&ModelInput], run: Run<'_>) -> Result<Array2<f32>, ModelError> {
    let mut embeddings = Array2::zeros((inputs.len(), graph.size("Dv")));
    let mut new = Vec::new();
    for (post, input) in inputs.iter().enumerate() {
        match &input.picture {
            Picture::Known { embedding, .. } => {
                embeddings.row_mut(post).assign(&ArrayView1::from(&embedding[..]));
            }
            Picture::Pixels { rgb, key } => new.push((post, Pixels(rgb), *key)),
        }
    }
    let (unique, places) = distinct(new.iter().map(|(_, pixels, _)| *pixels));
    let encoded = encoded_images(graph, &unique, run)?;
    for ((post, _, key), place) in new.into_iter().zip(places) {
        embeddings.row_mut(post).assign(&encoded.row(place));
        if let (Some(cache), Some(key)) = (run.cache, key) {
            cache.keep_embedding(key, encoded.row(place).to_vec().into(), run.metrics);
        }
    }
    Ok(embeddings)
}

/// Distinct pictures to f32 [B, Dv], in their order.
fn encoded_images(graph: &mut Graph, pictures: &[Pixels<'_>], run: Run<'_>) -> Result<Array2<f32>, ModelError> {
    let mut embeddings = Array2::zeros((pictures.len(), graph.size("Dv")));
    let per_run = run.provider.images_per_run();
    for (pictures, mut rows) in pictures.chunks(per_run).zip(embeddings.axis_chunks_iter_mut(Axis(0), per_run)) {
        rows.assign(&run_images(graph, pictures, run.metrics)?);
    }
    Ok(embeddings)
}

fn run_images(graph: &mut Graph, pictures: &[Pixels<'_>], metrics: &Metrics) -> Result<Array2<f32>, ModelError> {
    let pixels = pictures.iter().map(|picture| picture.0).collect::<Vec<_>>().concat();
    let shape = (pictures.len(), graph.size("H"), graph.size("W"), 3);
    let pixels =
        Array4::from_shape_vec(shape, pixels).map_err(|error| ModelError::Input(format!("pixels: {error}")))?;
    let [embedding] = graph.run(&[("pixels", (&pixels).into())], pictures.len(), metrics)?;
    ranked(graph.file(), embedding)
}

/// The texts of all fields of all posts to f32 [B, K, Dt].
pub(super) fn texts(graph: &mut Graph, inputs: &[&ModelInput], run: Run<'_>) -> Result<Fields, ModelError> {
    let all = inputs.iter().flat_map(|input| &input.fields);
    let (unique, places) = distinct(all.filter_map(Option::as_deref));
    let embeddings = known_or_encoded(graph, &unique, run)?;
    let posts = (inputs.len(), graph.size("K"));
    let mut fields = Fields {
        embedding: Array3::zeros((posts.0, posts.1, graph.size("Dt"))),
        present: Array2::from_elem(posts, false),
    };
    let present = inputs.iter().enumerate().flat_map(|(post, input)| {
        let fields = input.fields.iter().enumerate().filter(|(_, text)| text.is_some());
        fields.map(move |(field, _)| (post, field))
    });
    for ((post, field), place) in present.zip(places) {
        fields.set(post, field, &embeddings.row(place));
    }
    Ok(fields)
}

/// Distinct texts to f32 [T, Dt], in their order; those that the cache has are not encoded.
fn known_or_encoded(graph: &mut Graph, texts: &[&[u32]], run: Run<'_>) -> Result<Array2<f32>, ModelError> {
    let Some(cache) = run.cache else { return encoded(graph, texts, run) };
    let mut embeddings = Array2::zeros((texts.len(), graph.size("Dt")));
    let mut new = Vec::new();
    for (place, &text) in texts.iter().enumerate() {
        let key = cache.text_key(text);
        match cache.text(&key, run.metrics) {
            Some(embedding) => embeddings.row_mut(place).assign(&ArrayView1::from(&embedding[..])),
            None => new.push((place, text, key)),
        }
    }
    let new_texts: Vec<&[u32]> = new.iter().map(|(_, text, _)| *text).collect();
    for ((place, _, key), row) in new.iter().zip(encoded(graph, &new_texts, run)?.rows()) {
        embeddings.row_mut(*place).assign(&row);
        cache.keep_embedding(*key, row.to_vec().into(), run.metrics);
    }
    Ok(embeddings)
}

/// Distinct texts to f32 [T, Dt], in their order.
pub(super) fn encoded(graph: &mut Graph, texts: &[&[u32]], run: Run<'_>) -> Result<Array2<f32>, ModelError> {
    let mut embeddings = Array2::zeros((texts.len(), graph.size("Dt")));
    let mut numbered: Vec<(usize, &[u32])> = texts.iter().copied().enumerate().collect();
    numbered.sort_by_key(|(_, text)| text.len());
    let padded = |text: &[u32]| run.provider.padded(text.len(), run.max_tokens);
    for group in numbered.chunk_by(|(_, one), (_, other)| padded(one) == padded(other)) {
        let tokens = group.first().map_or(1, |(_, text)| padded(text).max(1));
        for texts in group.chunks((run.provider.tokens_per_run() / tokens).max(1)) {
            let rows = run_texts(graph, texts, tokens, run.metrics)?;
            for ((place, _), row) in texts.iter().zip(rows.rows()) {
                embeddings.row_mut(*place).assign(&row);
            }
        }
    }
    Ok(embeddings)
}

/// Texts of at most `tokens` tokens to f32 [T, Dt].
fn run_texts(
    graph: &mut Graph,
    texts: &[(usize, &[u32])],
    tokens: usize,
    metrics: &Metrics,
) -> Result<Array2<f32>, ModelError> {
    let (mut ids, mut mask) =
        (Array2::<i64>::zeros((texts.len(), tokens)), Array2::<i64>::zeros((texts.len(), tokens)));
    for ((mut ids, mut mask), (_, text)) in ids.rows_mut().into_iter().zip(mask.rows_mut()).zip(texts) {
        for ((id, seen), token) in ids.iter_mut().zip(&mut mask).zip(*text) {
            (*id, *seen) = (i64::from(*token), 1);
        }
    }
    let feeds = [("input_ids", (&ids).into()), ("attention_mask", (&mask).into())];
    let [embedding] = graph.run(&feeds, texts.len(), metrics)?;
    let (computed, own) = (graph.rows_run(texts.len()) * tokens, texts.iter().map(|(_, text)| text.len()).sum());
    metrics.tokens.inc_by(computed as u64);
    metrics.padding_tokens.inc_by(computed.saturating_sub(own) as u64);
    ranked(graph.file(), embedding)
}

/// The distinct items in order of appearance, and for each item its place among them.
fn distinct<T: Copy + Eq + Hash>(items: impl Iterator<Item = T>) -> (Vec<T>, Vec<usize>) {
    let mut known = HashMap::new();
    let mut unique = Vec::new();
    let places = items
        .map(|item| {
            *known.entry(item).or_insert_with(|| {
                unique.push(item);
                unique.len() - 1
            })
        })
        .collect();
    (unique, places)
}

/// Hashed by a sample of its bytes, since most pictures differ everywhere, and compared by all.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Pixels<'a>(&'a [u8]);

impl Hash for Pixels<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // 601 is prime, so the sample runs over all columns and colours.
        for byte in self.0.iter().step_by(601) {
            state.write_u8(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_items_share_a_place() {
        let (unique, places) = distinct(["b", "a", "b", "c", "a"].into_iter());
        assert_eq!(unique, ["b", "a", "c"]);
        assert_eq!(places, [0, 1, 0, 2, 1]);
    }

    #[test]
    fn pictures_that_differ_only_off_the_sample_are_different() {
        let one = vec![7; 1000];
        let mut other = one.clone();
        other[999] = 8;
        let (unique, _) = distinct([Pixels(&one), Pixels(&other), Pixels(&one)].into_iter());
        assert_eq!(unique.len(), 2);
    }
}
