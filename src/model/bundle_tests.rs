//! Every promise of the manifest, broken one at a time.

use super::*;
use crate::model::fixture::{altered, folder};

#[test]
fn a_whole_bundle_opens() {
    let bundle = Bundle::open(&folder("tiny")).expect("whole");
    assert_eq!((&*bundle.name, &*bundle.version, &*bundle.license), ("tiny", "1.0.0", "Apache-2.0"));
    assert_eq!(bundle.labels.iter().map(|label| &*label.name).collect::<Vec<_>>(), ["negative", "neutral", "positive"]);
    assert_eq!(bundle.fields.iter().map(|field| &*field.name).collect::<Vec<_>>(), ["caption", "tags", "context"]);
    assert_eq!(bundle.inferred_field(), Some(2));
    assert_eq!(bundle.tagger.as_ref().map(|tagger| tagger.tags.len()), Some(5));
    assert_eq!((bundle.image.width, bundle.image.height, bundle.max_tokens), (16, 16, 16));
    assert!(bundle.tokenizer.is_file());
    assert_eq!((bundle.query, Bundle::open(&folder("wide")).expect("whole").query), (None, Some(0)));
}

#[test]
fn the_digest_is_the_sum_of_the_manifest() {
    let bundle = Bundle::open(&folder("tiny")).expect("whole");
    assert_eq!(bundle.digest, sum(&folder("tiny").join(MANIFEST)).expect("read"));
    assert_eq!(bundle.digest.len(), 64);
}

/// Opens the tiny bundle with `from` in its manifest replaced by `to`, and returns why it is refused.
fn refusal(from: &str, to: &str) -> String {
    let copy = altered(|manifest| {
        assert!(manifest.contains(from), "nothing to replace: {from}");
        manifest.replacen(from, to, 1)
    });
    Bundle::open(copy.path()).expect_err(to).to_string()
}

#[test]
fn a_broken_promise_is_refused_by_its_key() {
    for (from, to, expected) in [
        ("format = 1", "format = 2", "bundle.toml: format: found 2"),
        ("name = \"tiny\"", "name = \" \"", "bundle.toml: name: empty"),
        ("name = \"neutral\"", "name = \"negative\"", "bundle.toml: labels: \"negative\" is there twice"),
        ("polarity = 1.0", "polarity = 1.5", "bundle.toml: labels.polarity: 1.5 of label \"positive\""),
        ("polarity = 1.0", "polarity = nan", "bundle.toml: labels.polarity: NaN"),
        ("width = 16", "width = 0", "bundle.toml: image.width: 0"),
        ("height = 16", "height = 100000", "bundle.toml: image.height: 100000"),
        ("crop = 0.875", "crop = 0.0", "bundle.toml: image.crop: 0"),
        ("crop = 0.875", "crop = 1.01", "bundle.toml: image.crop: 1.01"),
        ("crop = 0.875", "crop = nan", "bundle.toml: image.crop: NaN"),
        ("max_tokens = 16", "max_tokens = 0", "bundle.toml: text.max_tokens: 0"),
        ("name = \"tags\"", "name = \"caption\"", "bundle.toml: fields: \"caption\" is there twice"),
        ("name = \"tags\"", "name = \"image\"", "bundle.toml: fields.name: \"image\" is what results call"),
        ("parts = [\"{caption}\"]", "parts = []", "bundle.toml: fields.parts: field \"caption\" has none"),
        (
            "precision = \"fp32\"",
            "precision = \"fp32\"\nquery = \"text\"",
            "bundle.toml: query: \"text\" is no field; set it to \"image\" or one of \"caption\", \"tags\", \"context\"",
        ),
        ("threshold = 0.1", "threshold = 0.0", "bundle.toml: tagger.threshold: 0"),
        ("max_tags = 2", "max_tags = 0", "bundle.toml: tagger.max_tags: 0"),
        (
            "parts = [\"{caption}\"]",
            "parts = [\"{caption}\"]\ninferred_by = \"tagger\"",
            "bundle.toml: fields.inferred_by: 2",
        ),
        ("inferred_by = \"tagger\"\n", "", "bundle.toml: tagger: no field"),
        ("tags_file = \"tags.txt\"", "tags_file = \"other.txt\"", "bundle.toml: files: other.txt is required"),
    ] {
        let found = refusal(from, to);
        assert!(found.starts_with(expected), "{to}: {found}");
    }
}

const REFERENCE: &str = "[reference]\nposts = 40\nlabels = { negative = 0.25, neutral = 0.25, positive = 0.5 }\n\
    confidence = [0, 0, 0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.25, 0.25]\nmissing = { caption = 0.0, tags = 1.0, context = 0.5 }\n\n[files]\n";

#[test]
fn a_reference_is_optional_and_read_whole() {
    assert_eq!(Bundle::open(&folder("tiny")).expect("whole").reference, None);
    let copy = altered(|manifest| manifest.replacen("[files]\n", REFERENCE, 1));
    let reference = Bundle::open(copy.path()).expect("whole").reference.expect("a reference");
    assert_eq!((reference.posts, reference.confidence[3], reference.missing["tags"]), (40, 0.1, 1.0));
}

#[test]
fn a_reference_that_cannot_be_is_refused_by_its_key() {
    for (from, to, expected) in [
        ("posts = 40", "posts = 0", "reference.posts: 0"),
        ("neutral = 0.25", "neutrall = 0.25", "reference.labels: \"neutrall\" is none of negative, neutral, positive"),
        (", neutral = 0.25", "", "reference.labels: \"neutral\" is not there"),
        ("neutral = 0.25", "neutral = 0.5", "reference.labels: the shares sum to 1.2500, not to 1"),
        ("[0, 0, 0,", "[0, 0,", "reference.confidence: 9 shares, 10 are wanted"),
        ("[0, 0, 0,", "[-0.1, 0.1, 0,", "reference.confidence: -0.1 is not in [0, 1]"),
        ("tags = 1.0", "tags = 1.01", "reference.missing: 1.01 is not in [0, 1]"),
        ("tags = 1.0", "place = 1.0", "reference.missing: \"place\" is none of"),
    ] {
        assert!(REFERENCE.contains(from), "{from}");
        let found = refusal("[files]\n", &REFERENCE.replacen(from, to, 1));
        assert!(found.starts_with(&format!("bundle.toml: {expected}")), "{to}: {found}");
    }
}

#[test]
fn unknown_keys_and_values_are_refused_with_their_line() {
    for (from, to, expected) in [
        ("format = 1", "format = 1\nflavour = 2", "flavour"),
        ("crop = 0.875", "crop = 0.875\nresize = 1", "resize"),
        ("inferred_by = \"tagger\"", "inferred_by = \"oracle\"", "oracle"),
        ("precision = \"fp32\"", "precision = \"fp8\"", "fp8"),
    ] {
        let found = refusal(from, to);
        assert!(found.contains("is not a bundle manifest") && found.contains(expected), "{to}: {found}");
    }
}

#[test]
fn no_file_outside_the_folder_is_touched() {
    for name in ["../escape", "/etc/passwd", "a/b", ".", "..", "", "a\\\\b", "bundle.toml"] {
        let found = refusal("[files]\n", &format!("[files]\n\"{name}\" = \"00\"\n"));
        assert!(found.contains("is not the plain name of a file"), "{name}: {found}");
    }
    let found = refusal("tags_file = \"tags.txt\"", "tags_file = \"../tags.txt\"");
    assert!(found.contains("is not the plain name of a file"), "{found}");
}

#[test]
fn a_required_file_must_be_listed() {
    let listed = fs::read_to_string(folder("tiny").join(MANIFEST)).expect("manifest");
    for file in REQUIRED.into_iter().chain([TAGGER, "tags.txt"]) {
        let line = listed.lines().find(|line| line.starts_with(&format!("\"{file}\""))).expect("listed");
        assert!(refusal(line, "").contains(&format!("files: {file} is required and not listed")));
    }
}

#[test]
fn a_listed_file_must_be_there_and_untouched() {
    let copy = altered(|manifest| manifest);
    fs::write(copy.path().join("fusion.onnx"), "other").expect("written");
    let tampered = Bundle::open(copy.path()).expect_err("tampered").to_string();
    assert!(
        tampered.starts_with(
            "bundle file fusion.onnx has SHA-256 d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"
        ),
        "{tampered}"
    );
    fs::remove_file(copy.path().join("fusion.onnx")).expect("removed");
    let missing = Bundle::open(copy.path()).expect_err("missing").to_string();
    assert!(missing.starts_with("cannot read") && missing.contains("fusion.onnx"), "{missing}");
}

#[test]
fn a_folder_without_a_manifest_is_told_as_such() {
    let found = Bundle::open(Path::new("nowhere")).expect_err("missing").to_string();
    assert!(found.contains("nowhere/bundle.toml") && found.contains("model.bundle"), "{found}");
}
