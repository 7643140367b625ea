//! The same post scores the same: by `score` and by the stream, alone and among any neighbours, here and in the Python
//! reference.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::end_to_end::{joined, stop};
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, samples};
use crate::support::process::{ended, sentistream};
use crate::support::repository;

/// Every number of a result that the model gives, by its JSON pointer.
fn numbers(result: &Value) -> BTreeMap<String, f64> {
    let mut numbers = BTreeMap::new();
    for (section, pointer) in
        [("probabilities", "/sentiment/probabilities"), ("relevance", "/relevance"), ("effects", "/effects")]
    {
        for (name, value) in result.pointer(pointer).and_then(Value::as_object).expect("an object") {
            numbers.insert(format!("{section}/{name}"), value.as_f64().expect("a number"));
        }
    }
    numbers
}

/// The largest difference; the same numbers must be there.
pub fn difference(one: &Value, other: &Value) -> f64 {
    let (one, other) = (numbers(one), numbers(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    one.iter().map(|(name, value)| (value - other[name]).abs()).fold(0.0, f64::max)
}

/// Results of `sentistream score`, by id.
fn score(path: &Path) -> BTreeMap<String, Value> {
    let (code, out, error) = ended(&sentistream(&["score"]).arg(path).output().expect("runs"));
    assert_eq!(code, 0, "{error}");
    let results = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    results.map(|result| (result["id"].as_str().expect("an id").to_owned(), result)).collect()
}

#[test]
fn a_post_alone_scores_as_among_any_neighbours() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let samples_folder = repository("tests/fixtures/photos");
    let list = fs::read_to_string(samples_folder.join("posts.jsonl")).expect("sample posts");
    let absolute = |line: &str| {
        let mut post: Value = serde_json::from_str(line).expect("JSON");
        let path = samples_folder.join(post["image"]["path"].as_str().expect("a path"));
        post["image"]["path"] = json!(path);
        post.to_string()
    };
    let lines: Vec<String> = list.lines().map(absolute).collect();
    let write = |name: &str, lines: &[String]| {
        let path = folder.path().join(name);
        fs::write(&path, lines.join("\n")).expect("written");
        path
    };
    let together = score(&write("together.jsonl", &lines));
    let mut reversed = lines.clone();
    reversed.reverse();
    let reversed = score(&write("reversed.jsonl", &reversed));
    let mut worst: f64 = 0.0;
    for (number, line) in lines.iter().enumerate() {
        for (id, alone) in score(&write(&format!("alone-{number}.jsonl"), std::slice::from_ref(line))) {
            worst = worst.max(difference(&alone, &together[&id])).max(difference(&alone, &reversed[&id]));
        }
    }
    println!("largest difference between a post alone and among others: {worst:e}");
    assert!(worst <= 1e-5, "{worst:e}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn the_stream_scores_as_score_does() {
    let topics = Topics::create("same-numbers", 2).await;
    let posts = samples().into_iter().enumerate().map(|(number, (name, image, metadata))| {
        let content_type = if name.ends_with("jpg") { "image/jpeg" } else { "image/png" };
        let id = format!("sample-{number}");
        if number % 2 == 0 {
            TestPost::binary(&id, content_type, &image, &metadata)
        } else {
            TestPost::json(&id, &image, &metadata)
        }
    });
    let posts: Vec<TestPost> = posts.collect();
    let workers = joined(&topics, 1).await;
    topics.feed(&posts);
    topics.wait_for_outcomes(posts.len()).await;
    stop(workers).await;

    let folder = tempfile::tempdir().expect("temporary folder");
    let samples_folder = repository("tests/fixtures/photos");
    let list = fs::read_to_string(samples_folder.join("posts.jsonl")).expect("sample posts");
    let lines = list.lines().enumerate().map(|(number, line)| {
        let mut post: Value = serde_json::from_str(line).expect("JSON");
        post["image"]["path"] = json!(samples_folder.join(post["image"]["path"].as_str().expect("a path")));
        post["id"] = json!(format!("sample-{number}"));
        post.to_string()
    });
    let list = folder.path().join("posts.jsonl");
    fs::write(&list, lines.collect::<Vec<_>>().join("\n")).expect("written");
    let scored = score(&list);
    let streamed = topics.read_all(&topics.output());
    assert_eq!((streamed.len(), scored.len()), (posts.len(), posts.len()));
    let worst = streamed.iter().map(|read| difference(&read.json(), &scored[read.key.as_deref().expect("a key")]));
    let worst = worst.fold(0.0, f64::max);
    println!("largest difference between the stream and score: {worst:e}");
    assert!(worst <= 1e-5, "{worst:e}");
}

/// Against Pillow, `tokenizers` and ONNX Runtime in Python on the same graphs (`tests/fixtures/goldens`).
#[test]
fn the_python_reference_gives_the_same_numbers() {
    let goldens = repository("tests/fixtures/goldens");
    let text = fs::read_to_string(goldens.join("goldens.json")).expect("goldens");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let posts = golden["posts"].as_array().expect("posts");
    let list = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("temporary file");
    let lines = posts.iter().map(|post| {
        let image = goldens.join(post["image"].as_str().expect("a name"));
        json!({"id": post["name"], "image": {"path": image}, "metadata": post["metadata"]}).to_string()
    });
    fs::write(&list, lines.collect::<Vec<_>>().join("\n")).expect("written");
    let scored = score(list.path());
    let names = |key: &str| golden[key].as_array().expect("names").iter().map(|name| name.as_str().expect("text"));
    let mut worst: f64 = 0.0;
    for post in posts {
        let result = &scored[post["name"].as_str().expect("a name")];
        assert_eq!(result["model"]["digest"], golden["bundle_digest"], "remake the goldens: the bundle has changed");
        let told = names("labels").map(|label| &result["sentiment"]["probabilities"][label]);
        let told = told.chain(["image"].into_iter().chain(names("fields")).map(|name| &result["relevance"][name]));
        let expected = ["probabilities", "relevance"].iter().flat_map(|key| post[*key].as_array().expect("numbers"));
        for (told, expected) in told.zip(expected) {
            let difference = told.as_f64().expect("a number") - expected.as_f64().expect("a number");
            println!("{}: {difference:+.1e}", post["name"]);
            worst = worst.max(difference.abs());
        }
    }
    println!("largest difference to the Python reference: {worst:.1e}");
    assert!(worst <= 1e-3, "{worst:e}");
}
