//! Cross-modal fusion: the answer, and how it would have been without each field.
//!
//! The heads are small beside the encoders, so they run once more for every field present with that field masked. All these
//! rows are independent of each other; they run together, a bounded number at a time.

use ndarray::{Array2, Axis};

use super::encode::Fields;
use super::error::ModelError;
use super::graph::{Graph, ranked};
use super::query::Query;
use super::relevance::{Relevance, Weighed};
use super::simplex;
use crate::metrics::Metrics;

/// Bounds a run's memory.
pub(super) const ROWS_PER_RUN: usize = 64;

/// Relevance and fusion.
#[derive(Debug)]
pub(super) struct Heads {
    pub relevance: Relevance,
    pub fusion: Graph,
    /// Where it is a field.
    pub query: Option<Query>,
    /// Whether effects are told.
    pub effects: bool,
}

/// What the heads say of one post.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub probabilities: Vec<f32>,
    pub relevance: Vec<f32>,
    /// p(label | all) - p(label | without the field), for each field present; empty where effects are not told.
    pub effects: Vec<Option<f32>>,
}

/// A post with all its fields, or with one of them masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    post: usize,
    without: Option<usize>,
}

impl Heads {
    /// One answer for each image. Where a post brings no query, the empty text is filled in.
    pub fn answer(
        &mut self,
        images: &Array2<f32>,
        fields: &mut Fields,
        metrics: &Metrics,
    ) -> Result<Vec<Answer>, ModelError> {
        let mut answers: Vec<Answer> = Vec::with_capacity(images.nrows());
        let rows = rows(&fields.present, self.effects);
        let told = if self.effects { fields.present.ncols() } else { 0 };
        if let Some(query) = &self.query {
            query.fill(fields);
        }
        for run in rows.chunks(ROWS_PER_RUN) {
            let (images, fields) = gather(run, images, fields, self.query.as_ref());
            let weighed = self.relevance.weigh(&images, &fields, metrics)?;
            let probabilities = self.fuse(&weighed, run.len(), metrics)?;
            for (place, row) in run.iter().enumerate() {
                let probabilities = probabilities.row(place).to_vec();
                match (row.without, answers.last_mut()) {
                    (Some(field), Some(answer)) => answer.compare(field, &probabilities),
                    _ => answers.push(Answer {
                        probabilities,
                        relevance: weighed.relevance.row(place).to_vec(),
                        effects: vec![None; told],
                    }),
                }
            }
        }
        Ok(answers)
    }

    /// Probabilities f32 [B, L].
    pub fn fuse(&mut self, weighed: &Weighed, rows: usize, metrics: &Metrics) -> Result<Array2<f32>, ModelError> {
        let graph = self.fusion.file();
        let feeds = [("hyper", (&weighed.hyper).into()), ("target", (&weighed.target).into())];
        let [probabilities] = self.fusion.run(&feeds, rows, metrics)?;
        let probabilities: Array2<f32> = ranked(graph, probabilities)?;
        probabilities.axis_iter(Axis(0)).try_for_each(|row| simplex(graph, "probabilities", &row))?;
        Ok(probabilities)
    }
}

impl Answer {
    /// Notes what the label found with all fields loses without one.
    fn compare(&mut self, field: usize, without: &[f32]) {
        let both = self.probabilities.iter().zip(without);
        let effect = both.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(all, without)| all - without);
        if let Some(place) = self.effects.get_mut(field) {
            *place = effect;
        }
    }
}

/// Each post whole, directly followed by itself without each of its fields where `effects` are told.
fn rows(present: &Array2<bool>, effects: bool) -> Vec<Row> {
    let posts = present.axis_iter(Axis(0)).enumerate();
    posts
        .flat_map(|(post, present)| {
            let fields = present.into_iter().enumerate().filter(|(_, present)| effects && **present);
            let masked = fields.map(|(field, _)| Some(field)).collect::<Vec<_>>();
            std::iter::once(None).chain(masked).map(move |without| Row { post, without })
        })
        .collect()
}

/// The heads' inputs for some rows. A query is not masked: without it a post has the empty text.
fn gather(rows: &[Row], images: &Array2<f32>, fields: &Fields, query: Option<&Query>) -> (Array2<f32>, Fields) {
    let posts: Vec<usize> = rows.iter().map(|row| row.post).collect();
    let mut gathered =
        Fields { embedding: fields.embedding.select(Axis(0), &posts), present: fields.present.select(Axis(0), &posts) };
    for (place, field) in rows.iter().enumerate().filter_map(|(place, row)| Some((place, row.without?))) {
        match query.filter(|query| query.field == field) {
            Some(query) => gathered.set(place, field, &query.empty.view()),
            None => gathered.clear(place, field),
        }
    }
    (images.select(Axis(0), &posts), gathered)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, array};

    use super::*;

    #[test]
    fn each_field_present_is_masked_once() {
        let present = array![[true, false, true], [false, false, false]];
        let row = |post, without| Row { post, without };
        assert_eq!(rows(&present, true), [row(0, None), row(0, Some(0)), row(0, Some(2)), row(1, None)]);
        assert_eq!(rows(&present, false), [row(0, None), row(1, None)]);
    }

    #[test]
    fn a_masked_row_is_the_post_without_that_field() {
        let fields = Fields { embedding: Array3::ones((1, 2, 2)), present: array![[true, true]] };
        let row = Row { post: 0, without: Some(1) };
        let (images, gathered) = gather(&[row], &array![[5.0]], &fields, None);
        assert_eq!(images, array![[5.0]]);
        assert_eq!(gathered.present, array![[true, false]]);
        assert_eq!(gathered.embedding, array![[[1.0, 1.0], [0.0, 0.0]]]);
    }

    #[test]
    fn a_row_without_its_query_has_the_empty_text() {
        let fields = Fields { embedding: Array3::ones((1, 2, 2)), present: array![[true, true]] };
        let query = Query { field: 1, empty: array![2.0, 3.0] };
        let without = |field| [Row { post: 0, without: Some(field) }];
        let (_, gathered) = gather(&without(1), &array![[5.0]], &fields, Some(&query));
        assert_eq!(gathered.present, array![[true, true]]);
        assert_eq!(gathered.embedding, array![[[1.0, 1.0], [2.0, 3.0]]]);
        let (_, gathered) = gather(&without(0), &array![[5.0]], &fields, Some(&query));
        assert_eq!(gathered.present, array![[false, true]]);
    }

    #[test]
    fn an_effect_is_told_of_the_label_found_with_all_fields() {
        let mut answer = Answer { probabilities: vec![0.2, 0.7, 0.1], relevance: vec![], effects: vec![None, None] };
        answer.compare(1, &[0.6, 0.3, 0.1]);
        assert_eq!(answer.effects[0], None);
        assert!((answer.effects[1].expect("told") - 0.4).abs() < 1e-6);
    }
}
