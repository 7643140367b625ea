//! The model on the tiny bundle: what it answers, what it promises, and what it refuses.

use std::fs;

use super::fixture::{altered, close, folder, load, model, pixels, post, replaced, settings, with_corner};
use super::*;

/// Ids of the tiny bundle's vocabulary.
const GOOD: &[u32] = &[2, 4, 3];
const BAD: &[u32] = &[2, 9, 3];

fn predict(model: &mut Model, posts: &[ModelInput]) -> Vec<Prediction> {
    model.predict(&posts.iter().collect::<Vec<_>>(), &Metrics::new()).expect("scored")
}

#[test]
fn light_and_good_words_are_positive_and_their_effect_is_told() {
    let posts =
        [post(240, [Some(GOOD), None, None]), post(20, [Some(BAD), None, None]), post(20, [Some(GOOD), None, None])];
    let told = predict(&mut model(), &posts);
    assert!(told[0].probabilities[2] > 0.6, "{:?}", told[0]);
    assert!(told[1].probabilities[0] > 0.6, "{:?}", told[1]);
    assert!(told[2].effects[0].is_some_and(|effect| effect > 0.1), "the words turn a dark picture: {:?}", told[2]);
}

#[test]
fn weights_sum_to_one_and_absent_fields_have_none() {
    let told = predict(&mut model(), &[post(128, [None, None, None]), post(128, [Some(GOOD), None, Some(BAD)])]);
    assert_eq!(told[0].relevance, [1.0, 0.0, 0.0, 0.0], "with no metadata the image has weight 1");
    assert_eq!(told[0].effects, [None, None, None]);
    assert!((told[1].relevance.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    assert!(told[1].relevance[1] > 0.0 && told[1].relevance[3] > 0.0);
    assert!(told[1].relevance[2].abs() < f32::EPSILON && told[1].effects[1].is_none());
}

#[test]
fn a_post_scores_alone_as_among_any_neighbours() {
    let texts: [Option<&[u32]>; 4] = [Some(GOOD), None, Some(BAD), Some(&[2, 4, 9, 5, 3])];
    let posts: Vec<ModelInput> = (0..70usize)
        .map(|number| {
            let text = |shift: usize| texts[(number / 4_usize.pow(u32::try_from(shift).expect("small"))) % 4];
            post(u8::try_from(number * 3).expect("small"), [text(0), text(1), text(2)])
        })
        .collect();
    let mut model = model();
    let together = predict(&mut model, &posts);
    for (post, together) in posts.iter().zip(together) {
        let alone = predict(&mut model, std::slice::from_ref(post)).remove(0);
        assert!(close(&alone.probabilities, &together.probabilities), "{alone:?} {together:?}");
        assert!(close(&alone.relevance, &together.relevance), "{alone:?} {together:?}");
        assert_eq!((alone.inferred, alone.inferred_tags), (together.inferred, together.inferred_tags));
    }
}

#[test]
fn an_effect_is_the_difference_to_the_post_without_the_field() {
    let told = predict(&mut model(), &[post(128, [Some(GOOD), Some(BAD), None]), post(128, [Some(GOOD), None, None])]);
    let label =
        (0..3).max_by(|one, other| told[0].probabilities[*one].total_cmp(&told[0].probabilities[*other])).expect("3");
    let expected = told[0].probabilities[label] - told[1].probabilities[label];
    assert!((told[0].effects[1].expect("present") - expected).abs() < 1e-6);
}

#[test]
fn effects_that_are_off_change_nothing_else() {
    let tiny = folder("tiny");
    let off = Settings { effects: false, ..settings(&tiny, Provider::Cpu) };
    let posts = [post(20, [Some(GOOD), None, None]), post(128, [None, None, None])];
    let (told, untold) = (predict(&mut model(), &posts), predict(&mut load(&tiny, &off).expect("sound"), &posts));
    for (told, untold) in told.into_iter().zip(untold) {
        assert_eq!(told.effects.len(), 3);
        assert_eq!(untold, Prediction { effects: vec![], ..told });
    }
}

#[test]
fn the_tagger_stands_in_for_what_a_post_does_not_bring() {
    let told = predict(
        &mut model(),
        &[post(20, [None, None, None]), post(20, [None, None, Some(GOOD)]), post(128, [None, None, None])],
    );
    assert_eq!((&told[0].inferred, &told[0].inferred_tags), (&vec![false, false, true], &vec!["night".to_owned()]));
    assert!(told[0].relevance[3] > 0.0 && told[0].effects[2].is_some());
    assert_eq!(told[1].inferred, [false; 3], "the post's own context is kept");
    assert!(told[1].inferred_tags.is_empty());
    assert_eq!(told[2].inferred, [false; 3], "no tag reaches the threshold");
    assert!(told[2].relevance[3].abs() < f32::EPSILON);
}

/// A model with a cache, and how often a graph ran since.
fn remembering() -> (Model, Arc<Cache>, Metrics, impl Fn(&Metrics, &str) -> u64) {
    let (mut model, cache) = (model(), Cache::new(1 << 20, "tiny").expect("not off"));
    model.use_cache(Some(Arc::clone(&cache)));
    let runs = |metrics: &Metrics, stage: &str| metrics.stage_seconds.with_label_values(&[stage]).get_sample_count();
    (model, cache, Metrics::new(), runs)
}

/// As decoded from encoded bytes that have this key.
fn keyed(mut post: ModelInput, key: u8) -> ModelInput {
    let rgb = post.picture.rgb().expect("pixels").to_vec();
    post.picture = Picture::Pixels { rgb, key: Some([key; 32]) };
    post
}

#[test]
fn a_post_scored_before_is_told_again_without_a_run() {
    let (mut model, _, metrics, runs) = remembering();
    let (one, other) = (keyed(post(20, [Some(GOOD), None, None]), 1), keyed(post(128, [None, Some(GOOD), None]), 2));
    let first = model.predict(&[&one], &metrics).expect("predicted");
    let both = model.predict(&[&other, &one, &other], &metrics).expect("predicted");
    assert_eq!(both[1], first[0]);
    assert_eq!(both[0], both[2]);
    let stages = ["image_encoder", "text_encoder", "relevance", "fusion"];
    let before = stages.map(|stage| runs(&metrics, stage));
    assert_eq!(model.predict(&[&one, &other], &metrics).expect("predicted"), [first[0].clone(), both[0].clone()]);
    assert_eq!(stages.map(|stage| runs(&metrics, stage)), before);
    for (told, computed) in both[..2].iter().rev().zip(predict(&mut self::model(), &[one, other])) {
        assert!(close(&told.probabilities, &computed.probabilities) && close(&told.relevance, &computed.relevance));
    }
}

#[test]
fn a_known_image_with_another_text_is_not_encoded_again() {
    let (mut model, cache, metrics, runs) = remembering();
    model.predict(&[&keyed(post(20, [Some(GOOD), None, None]), 1)], &metrics).expect("predicted");
    let embedding = cache.image(&[1; 32], &metrics).expect("kept");
    let (images, texts) = (runs(&metrics, "image_encoder"), runs(&metrics, "text_encoder"));
    let mut reposted = post(20, [None, Some(GOOD), Some(&[5, 5])]);
    reposted.picture = Picture::Known { embedding, key: [1; 32] };
    let told = model.predict(&[&reposted], &metrics).expect("predicted");
    assert_eq!((runs(&metrics, "image_encoder"), runs(&metrics, "text_encoder")), (images, texts + 1));
    let fresh = predict(&mut self::model(), &[post(20, [None, Some(GOOD), Some(&[5, 5])])]);
    assert_eq!(told, fresh);
}

#[test]
fn a_warm_up_neither_asks_the_cache_nor_fills_it() {
    let (mut model, _, metrics, _) = remembering();
    model.warm_up(4).expect("warm");
    assert_eq!(metrics.cache_bytes.get(), 0);
    assert!(model.cache.is_some());
}

/// The way to a card, but for the card: fixed numbers of rows, padded texts, bound inputs and outputs.
fn as_on_a_card() -> Model {
    let mut model = model();
    let Model { image_encoder, text_encoder, tagger, heads, .. } = &mut model;
    let tagger = tagger.as_mut().map(|tagger| &mut tagger.graph);
    let graphs = [image_encoder, text_encoder, &mut heads.relevance.graph, &mut heads.fusion].into_iter().chain(tagger);
    graphs.for_each(Graph::bind_to_processor);
    model.provider = Provider::Cuda;
    model
}

#[test]
fn posts_score_on_the_way_to_a_card_as_they_do_without() {
    let posts = [
        post(20, [Some(GOOD), None, None]),
        post(128, [None, Some(GOOD), Some(&[5, 5, 5])]),
        post(90, [None, None, None]),
        post(20, [Some(&[5]), Some(GOOD), None]),
        post(250, [Some(&[4, 5, 4]), None, Some(GOOD)]),
    ];
    let (mut plain, mut card) = (model(), as_on_a_card());
    // Shapes come again and change, so that what an earlier run left in a buffer would show.
    for run in [&posts[..], &posts[..1], &posts[1..4], &posts[..], &posts[2..]] {
        for (card, plain) in predict(&mut card, run).iter().zip(predict(&mut plain, run)) {
            assert!(close(&card.probabilities, &plain.probabilities), "{card:?} {plain:?}");
            assert!(close(&card.relevance, &plain.relevance), "{card:?} {plain:?}");
            assert_eq!(card.inferred_tags, plain.inferred_tags);
        }
    }
}

#[test]
fn a_nan_is_an_error_and_not_an_answer() {
    let poisoned = with_corner(post(100, [None, None, None]), [1, 2, 3]);
    let error = model().predict(&[&poisoned], &Metrics::new()).expect_err("NaN").to_string();
    assert_eq!(error, "image_encoder.onnx: image_embedding: NaN among its numbers");
}

#[test]
fn an_input_that_does_not_fit_is_an_error() {
    let small = ModelInput { picture: pixels(vec![1; 767]), ..post(1, [None, None, None]) };
    let mut narrow = post(1, [None, None, None]);
    narrow.fields.pop();
    for (input, expected) in [
        (small, "767 bytes of pixels, 768 expected"),
        (narrow, "2 fields, the bundle has 3"),
        (post(1, [Some(&[]), None, None]), "a text of 0 tokens"),
        (post(1, [Some(&[1; 17]), None, None]), "a text of 17 tokens, 1 to 16 expected"),
        (post(1, [Some(&[9999]), None, None]), "text_encoder.onnx failed"),
    ] {
        let error = model().predict(&[&input], &Metrics::new()).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn every_graph_is_timed() {
    let metrics = Metrics::new();
    let mut model = model();
    model.predict(&[&post(20, [Some(GOOD), None, None])], &metrics).expect("scored");
    let text = metrics.expose().expect("text");
    for stage in ["image_encoder", "text_encoder", "tagger", "relevance", "fusion"] {
        assert!(text.contains(&format!("stage_seconds_count{{stage=\"{stage}\"}} 1")), "{stage}: {text}");
    }
}

#[test]
fn warming_up_passes_on_a_sound_bundle() {
    for batch in [0, 1, 2, 33] {
        model().warm_up(batch).expect("sound");
    }
}

#[test]
fn an_empty_batch_has_no_predictions() {
    assert_eq!(model().predict(&[], &Metrics::new()).expect("nothing to do"), []);
}

/// Why the tiny bundle is refused with another graph in the place of `file`.
fn refusal(file: &str, bytes: &[u8]) -> String {
    let copy = replaced(file, bytes);
    load(copy.path(), &settings(copy.path(), Provider::Cpu)).expect_err(file).to_string()
}

fn read(file: &str) -> Vec<u8> {
    fs::read(folder(file)).expect("fixture")
}

#[test]
fn dynamic_quantisation_is_refused() {
    let found = refusal("image_encoder.onnx", &read("broken/quantised.onnx"));
    assert!(found.starts_with("image_encoder.onnx is refused: it has a DynamicQuantizeLinear node"), "{found}");
}

#[test]
fn weights_outside_the_digest_are_refused() {
    let found = refusal("image_encoder.onnx", &read("broken/external.onnx"));
    assert!(found.contains("its weights lie in another file"), "{found}");
}

#[test]
fn a_graph_that_mixes_the_rows_of_a_batch_fails_the_warm_up() {
    let copy = replaced("image_encoder.onnx", &read("broken/neighbours.onnx"));
    let mut model = load(copy.path(), &settings(copy.path(), Provider::Cpu)).expect("nothing to be seen from outside");
    let found = model.warm_up(4).expect_err("mixes").to_string();
    assert!(found.contains("depend on a post's neighbours: alone and in a batch of 4"), "{found}");
}

#[test]
fn a_graph_that_breaks_the_contract_is_refused_by_tensor() {
    for (file, other, expected) in [
        ("text_encoder.onnx", "fusion.onnx", "text_encoder.onnx: hyper: expected the inputs input_ids, attention_mask"),
        ("fusion.onnx", "tagger.onnx", "fusion.onnx: image_embedding: expected the inputs hyper, target"),
        ("image_encoder.onnx", "tokenizer.json", "image_encoder.onnx is refused: not an ONNX file"),
    ] {
        let found = refusal(file, &read(&format!("tiny/{other}")));
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_size_that_disagrees_with_the_manifest_is_refused() {
    let copy = altered(|manifest| manifest.replace("height = 16", "height = 17"));
    let found = load(copy.path(), &settings(copy.path(), Provider::Cpu)).expect_err("16 is not 17").to_string();
    let expected =
        "image_encoder.onnx: pixels: expected axis 1 (H) to be 17 as in bundle.toml, found Tensor<u8>(B, 16, 16, 3)";
    assert_eq!(found, expected);
}

#[test]
fn a_provider_that_is_not_there_is_an_error_with_the_fix() {
    let tiny = folder("tiny");
    for provider in [Provider::Cuda, Provider::TensorRt] {
        let found = load(&tiny, &settings(&tiny, provider)).expect_err("no card").to_string();
        assert!(
            found.starts_with(&format!("model.provider is {provider}, which ONNX Runtime cannot use here")),
            "{found}"
        );
        assert!(found.contains("make onnxruntime-gpu") && found.contains("model.provider to cpu"), "{found}");
    }
}

#[test]
fn a_model_may_move_to_the_thread_that_owns_it() {
    let mut model = model();
    let scoring = std::thread::spawn(move || predict(&mut model, &[post(9, [None, None, None])]).len());
    assert_eq!(scoring.join().expect("no panic"), 1);
}

#[test]
fn what_runs_is_told() {
    assert_eq!(model().provider(), Provider::Cpu);
}
