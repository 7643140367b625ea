//! Feature representation: pictures and texts to embeddings. Equal pictures and equal texts of a batch are encoded once.
//!
//! Texts run in groups of exactly equal length, so nothing is ever padded: padding is work for nothing, and it would let a
//! text's embedding depend (in the last bits) on how long its neighbours are.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use ndarray::{Array2, Array3, Array4, ArrayView1, Axis, s};

use super::error::ModelError;
use super::graph::{Graph, lend, ranked};
use crate::message::ModelInput;
use crate::metrics::Metrics;

/// Bounds a text run's memory: texts x tokens.
const TEXTS_AREA: usize = 8192;
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

    /// Takes a field from a post.
    pub fn clear(&mut self, post: usize, field: usize) {
        self.embedding.slice_mut(s![post, field, ..]).fill(0.0);
        self.present.slice_mut(s![post, field]).fill(false);
    }
}

/// The pictures to f32 [B, Dv].
/// `per_run` at a time, which bounds the memory of a run.
pub(super) fn images(
    graph: &mut Graph,
    inputs: &[&ModelInput],
    per_run: usize,
    metrics: &Metrics,
) -> Result<Array2<f32>, ModelError> {
    let (unique, places) = distinct(inputs.iter().map(|input| Picture(&input.pixels)));
    let mut embeddings = Array2::zeros((unique.len(), graph.size("Dv")));
    let runs = unique.chunks(per_run).zip(embeddings.axis_chunks_iter_mut(Axis(0), per_run));
    for (run, mut rows) in runs {
        rows.assign(&run_images(graph, run, metrics)?);
    }
    Ok(embeddings.select(Axis(0), &places))
}

fn run_images(graph: &mut Graph, pictures: &[Picture<'_>], metrics: &Metrics) -> Result<Array2<f32>, ModelError> {
    let pixels = pictures.iter().flat_map(|picture| picture.0).copied().collect();
    let shape = (pictures.len(), graph.size("H"), graph.size("W"), 3);
    let pixels =
        Array4::from_shape_vec(shape, pixels).map_err(|error| ModelError::Input(format!("pixels: {error}")))?;
    let inputs = ort::inputs!["pixels" => lend(graph.file(), &pixels)?];
    let [embedding] = graph.run(inputs, pictures.len(), metrics)?;
    ranked(graph.file(), embedding)
}

/// The texts of all fields of all posts to f32 [B, K, Dt].
pub(super) fn texts(graph: &mut Graph, inputs: &[&ModelInput], metrics: &Metrics) -> Result<Fields, ModelError> {
    let all = inputs.iter().flat_map(|input| &input.fields);
    let (unique, places) = distinct(all.filter_map(Option::as_deref));
    let embeddings = unique_texts(graph, &unique, metrics)?;
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

/// Distinct texts to f32 [T, Dt], in their order.
fn unique_texts(graph: &mut Graph, texts: &[&[u32]], metrics: &Metrics) -> Result<Array2<f32>, ModelError> {
    let mut embeddings = Array2::zeros((texts.len(), graph.size("Dt")));
    let mut numbered: Vec<(usize, &[u32])> = texts.iter().copied().enumerate().collect();
    numbered.sort_by_key(|(_, text)| text.len());
    for group in numbered.chunk_by(|(_, one), (_, other)| one.len() == other.len()) {
        let tokens = group.first().map_or(1, |(_, text)| text.len().max(1));
        for run in group.chunks((TEXTS_AREA / tokens).max(1)) {
            let rows = run_texts(graph, run, tokens, metrics)?;
            for ((place, _), row) in run.iter().zip(rows.rows()) {
                embeddings.row_mut(*place).assign(&row);
            }
        }
    }
    Ok(embeddings)
}

/// Texts of exactly `tokens` tokens to f32 [T, Dt].
fn run_texts(
    graph: &mut Graph,
    texts: &[(usize, &[u32])],
    tokens: usize,
    metrics: &Metrics,
) -> Result<Array2<f32>, ModelError> {
    let shape = (texts.len(), tokens);
    let ids = texts.iter().flat_map(|(_, text)| *text).map(|&id| i64::from(id)).collect();
    let ids = Array2::from_shape_vec(shape, ids).map_err(|error| ModelError::Input(format!("tokens: {error}")))?;
    let mask = Array2::<i64>::ones(shape);
    let file = graph.file();
    let inputs = ort::inputs!["input_ids" => lend(file, &ids)?, "attention_mask" => lend(file, &mask)?];
    let [embedding] = graph.run(inputs, texts.len(), metrics)?;
    ranked(file, embedding)
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
struct Picture<'a>(&'a [u8]);

impl Hash for Picture<'_> {
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
        let (unique, _) = distinct([Picture(&one), Picture(&other), Picture(&one)].into_iter());
        assert_eq!(unique.len(), 2);
    }
}
