//! A query that is a field: what stands in for it, and bundles that have one.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;
use crate::message::{ModelInput, Prediction};
use crate::model::fixture::{EMPTY, altered, close, folder, load, model, post, settings};
use crate::model::{Model, Provider};

/// Special tokens of `wide`; its tokenizer knows 85 words.
const WIDE_EMPTY: &[u32] = &[83, 84];

/// The tiny bundle with this query.
fn tiny(query: &str) -> Model {
    let copy = altered(|manifest| manifest.replacen("precision", &format!("query = \"{query}\"\nprecision"), 1));
    load(copy.path(), &settings(copy.path(), Provider::Cpu)).expect("sound")
}

fn wide() -> Model {
    let folder = folder("wide");
    let bundle = Bundle::open(&folder).expect("whole");
    Model::load(&bundle, &settings(&folder, Provider::Cpu), WIDE_EMPTY).expect("sound")
}

/// A post for `wide`, grey.
fn wide_post(caption: Option<&[u32]>, prompt: Option<&[u32]>) -> ModelInput {
    let fields = [caption, prompt].map(|text| text.map(<[u32]>::to_vec)).to_vec();
    ModelInput { picture: crate::model::fixture::pixels(vec![90; 16 * 16 * 3]), fields }
}

fn predict(model: &mut Model, posts: &[ModelInput]) -> Vec<Prediction> {
    model.predict(&posts.iter().collect::<Vec<_>>(), &Metrics::new()).expect("scored")
}

#[test]
fn the_empty_text_stands_in_for_a_query_that_is_not_there() {
    let posts = [wide_post(None, Some(&[7, 9])), wide_post(Some(WIDE_EMPTY), Some(&[7, 9]))];
    let told = predict(&mut wide(), &posts);
    assert_eq!((&told[0].probabilities, &told[0].relevance), (&told[1].probabilities, &told[1].relevance));
    assert!(told[0].relevance[1] > 0.0, "what stands in has the weight that the graph gives it: {told:?}");
    assert_eq!(told[0].effects[0], None, "what is not there has no effect");
    assert_eq!(told[1].effects[0], Some(0.0), "the empty text is what its absence means");
    assert_eq!(told[0].effects[1], told[1].effects[1]);
}

#[test]
fn the_effect_of_the_query_is_the_difference_to_the_empty_text() {
    let told = predict(&mut wide(), &[wide_post(Some(&[83, 40, 3, 84]), None), wide_post(None, None)]);
    let (with, without) = (&told[0].probabilities, &told[1].probabilities);
    let label = (0..8).max_by(|one, other| with[*one].total_cmp(&with[*other])).expect("8");
    assert!((told[0].effects[0].expect("told") - (with[label] - without[label])).abs() < 1e-6);
}

#[test]
fn a_bundle_of_other_shapes_runs_and_stands_its_warm_up() {
    let mut model = wide();
    model.warm_up(5).expect("rows stand alone");
    let told = predict(&mut model, &[wide_post(Some(&[40; 77]), None), wide_post(None, None)]);
    assert_eq!((told[0].probabilities.len(), told[0].relevance.len(), told[0].effects.len()), (8, 3, 2));
    assert_eq!((told[1].relevance[2], &told[1].inferred_tags), (0.0, &vec![]));
    let long = wide_post(Some(&[40; 78]), None);
    assert!(model.predict(&[&long], &Metrics::new()).is_err());
}

#[test]
fn tags_stand_in_for_a_query_before_the_empty_text_does() {
    let told = predict(&mut tiny("context"), &[post(20, [None, None, None]), post(128, [None, None, None])]);
    assert_eq!((told[0].inferred[2], &*told[0].inferred_tags), (true, &["night".to_owned()][..]));
    assert!(told[0].effects[2].is_some());
    assert!(!told[1].inferred[2] && told[1].effects[2].is_none() && told[1].relevance[3] > 0.0, "{:?}", told[1]);
}

#[test]
fn a_tokenizer_without_a_token_for_the_empty_text_is_refused() {
    let copy = altered(|manifest| manifest.replacen("precision", "query = \"tags\"\nprecision", 1));
    let bundle = Bundle::open(copy.path()).expect("whole");
    let settings = settings(copy.path(), Provider::Cpu);
    let found = Model::load(&bundle, &settings, &[]).expect_err("no tokens").to_string();
    assert!(found.starts_with("tokenizer.json is refused: the empty text has no token"), "{found}");
    assert!(
        Model::load(&Bundle::open(&folder("tiny")).expect("whole"), &settings, &[]).is_ok(),
        "the image needs none"
    );
}

/// Saying that the image is the query says nothing new, and a field that is the query changes no post that brings it but for
/// what it would be without.
#[test]
fn posts_that_bring_their_query_score_as_ever() {
    let models = RefCell::new([model(), tiny("image"), tiny("caption")]);
    let text = || prop::option::of(prop::collection::vec(4_u32..12, 1..9));
    let posts = prop::collection::vec((any::<u8>(), prop::array::uniform3(text())), 1..6);
    proptest!(ProptestConfig::with_cases(48), |(posts in posts)| {
        let [plain, image, caption] = &mut *models.borrow_mut();
        let posts: Vec<ModelInput> =
            posts.iter().map(|(grey, fields)| post(*grey, [0, 1, 2].map(|field| fields[field].as_deref()))).collect();
        let expected = predict(plain, &posts);
        prop_assert_eq!(&predict(image, &posts), &expected);
        for ((post, expected), told) in posts.iter().zip(expected).zip(predict(caption, &posts)) {
            if post.fields[0].is_some() {
                prop_assert_eq!((&told.probabilities, &told.relevance), (&expected.probabilities, &expected.relevance));
                prop_assert_eq!(&told.effects[1..], &expected.effects[1..]);
            } else {
                let mut empty = post.clone();
                empty.fields[0] = Some(EMPTY.to_vec());
                let as_if = predict(plain, &[empty]).remove(0);
                prop_assert!(close(&told.probabilities, &as_if.probabilities) && close(&told.relevance, &as_if.relevance));
            }
        }
    });
}
