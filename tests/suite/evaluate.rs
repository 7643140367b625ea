//! `sentistream evaluate`: its numbers are those of `score`, whoever takes no part is told, and hostile posts stay text.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::{ended, sentistream};
use crate::support::repository;

const HOSTILE: &str =
    r#"</bdi></article><script>alert(1)</script><img src=x onerror="alert(2)">&lt;b&gt; I hate this so much"#;

/// A photo of the samples, by its absolute path.
fn photo(name: &str) -> PathBuf {
    repository("tests/fixtures/photos").join(name)
}

/// The sample posts, labelled by their ids: fitting captions are glad, misleading ones are not, and the rest is neutral. The
/// label is spelt as people do.
fn labelled_samples() -> Vec<Value> {
    let list = fs::read_to_string(photo("posts.jsonl")).expect("sample posts");
    let labelled = |line: &str| {
        let mut post: Value = serde_json::from_str(line).expect("JSON");
        post["image"]["path"] = json!(photo(post["image"]["path"].as_str().expect("a path")));
        let id = post["id"].as_str().expect("an id");
        let label = match id.rsplit('-').next().expect("a kind") {
            "fitting" | "only" => "Positive",
            "misleading" => "negative",
            _ => " neutral ",
        };
        post["label"] = json!(label);
        post
    };
    list.lines().map(labelled).collect()
}

fn write_list(folder: &TempDir, posts: &[Value]) -> PathBuf {
    let path = folder.path().join("posts.jsonl");
    fs::write(&path, posts.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")).expect("written");
    path
}

struct Evaluated {
    code: i32,
    said: String,
    report: Value,
    page: String,
}

fn evaluate(data: &Path, out: &Path) -> Evaluated {
    let (code, printed, said) =
        ended(&sentistream(&["evaluate"]).arg(data).arg("--out").arg(out).output().expect("runs"));
    assert!(printed.is_empty(), "{printed}");
    let read =
        |name: &str| fs::read_to_string(out.join(name)).unwrap_or_else(|error| panic!("{name}: {error}: {said}"));
    Evaluated {
        code,
        report: serde_json::from_str(&read("report.json")).expect("JSON"),
        page: read("report.html"),
        said,
    }
}

/// Results of `score` by id.
fn score(data: &Path) -> BTreeMap<String, Value> {
    let (code, out, error) = ended(&sentistream(&["score"]).arg(data).output().expect("runs"));
    assert_eq!(code, 0, "{error}");
    let results = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    results.map(|result| (result["id"].as_str().expect("an id").to_owned(), result)).collect()
}

fn number(report: &Value, pointer: &str) -> f64 {
    report.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number {pointer} in {report}"))
}

/// Both the same number, or both none.
fn close(one: &Value, other: &Value) {
    let difference = one.as_f64().zip(other.as_f64()).map_or(0.0, |(one, other)| (one - other).abs());
    assert!(one.is_number() == other.is_number() && difference <= 1e-5, "{one} {other}");
}

fn name_of(index: usize, report: &Value) -> String {
    report["labels"][index].as_str().expect("a name").to_owned()
}

#[test]
fn the_numbers_are_those_of_score() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let posts = labelled_samples();
    let list = write_list(&folder, &posts);
    let Evaluated { code, said, report, .. } = evaluate(folder.path(), &folder.path().join("out"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("evaluated 24 of 24 posts") && said.contains("report.html"), "{said}");
    let scored = score(&list);
    let truth = |id: &str| {
        let post = posts.iter().find(|post| post["id"] == id).expect("listed");
        post["label"].as_str().expect("a label").trim().to_lowercase()
    };

    let mut counted = vec![vec![0u8; 3]; 3];
    for (id, result) in &scored {
        let place =
            |label: &str| (0..3).find(|place| name_of(*place, &report) == label).expect("a label of the bundle");
        counted[place(&truth(id))][place(result["sentiment"]["label"].as_str().expect("a label"))] += 1;
    }
    assert_eq!(report["confusion"], json!(counted), "{report}");
    let right = (0..3).map(|label| counted[label][label]).sum::<u8>();
    let (wrong, right) = (usize::from(24 - right), f64::from(right));
    assert!((number(&report, "/scores/accuracy/value") - right / 24.0).abs() < 1e-9);
    assert!(
        number(&report, "/scores/accuracy/low") < right / 24.0
            && right / 24.0 < number(&report, "/scores/accuracy/high")
    );

    let mistakes = report["mistakes"].as_array().expect("mistakes");
    assert_eq!(mistakes.len(), wrong);
    for mistake in mistakes {
        let result = &scored[mistake["id"].as_str().expect("an id")];
        close(&mistake["confidence"], &result["sentiment"]["confidence"]);
        for weight in mistake["weights"].as_array().expect("weights") {
            let name = weight["name"].as_str().expect("a name");
            close(&weight["weight"], &result["relevance"][name]);
            close(&weight["effect"], result["effects"].get(name).unwrap_or(&Value::Null));
        }
    }
    let mean = scored.values().map(|result| number(result, "/relevance/image")).sum::<f64>() / 24.0;
    assert!((number(&report, "/relevance/0/mean") - mean).abs() < 1e-6);
}

/// The heads run again: with all of a post's metadata gone it scores as the same picture posted without any.
#[test]
fn a_post_without_its_metadata_scores_as_its_picture_does() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let posts = labelled_samples();
    write_list(&folder, &posts);
    let with = evaluate(folder.path(), &folder.path().join("out")).report;
    let bare_folder = tempfile::tempdir().expect("temporary folder");
    let bare = posts.into_iter().map(|mut post| {
        post.as_object_mut().expect("a post").remove("metadata");
        post
    });
    write_list(&bare_folder, &bare.collect::<Vec<_>>());
    let bare = evaluate(bare_folder.path(), &bare_folder.path().join("out")).report;
    for measure in ["accuracy", "macro_f1", "weighted_f1"] {
        let removed = number(&with, &format!("/noise/removed/4/{measure}"));
        assert!((removed - number(&bare, &format!("/noise/removed/0/{measure}"))).abs() < 1e-9, "{measure}");
    }
    assert_eq!(with["noise"]["removed"][0]["accuracy"], with["noise"]["swapped"][0]["accuracy"], "nobody hit");
    assert_eq!(with["ablation"][1]["name"], "image only");
    assert_eq!(with["ablation"][1]["accuracy"], bare["ablation"][1]["accuracy"], "the same pictures");
    assert_eq!(bare["findings"]["without_metadata"], 24);
}

#[test]
fn whoever_takes_no_part_is_told() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::write(folder.path().join("cut.png"), b"\x89PNG\r\n\x1a\n").expect("written");
    let cat = photo("cat.jpg");
    let rows = [
        "image,id,caption,label".to_owned(),
        format!("{},glad,so happy today,positive", cat.display()),
        format!("{},glad again,so happy today,negative", cat.display()),
        format!("{},unsure,whatever,", cat.display()),
        format!("{},angry,whatever,rage", cat.display()),
        "cut.png,broken,whatever,neutral".into(),
        "absent.jpg,absent,whatever,neutral".into(),
    ];
    let list = folder.path().join("list.csv");
    fs::write(&list, rows.join("\n")).expect("written");
    let Evaluated { code, said, report, page } = evaluate(&list, &folder.path().join("out"));
    assert_eq!(code, 3, "{said}");
    let posts = &report["posts"];
    assert_eq!(
        (&posts["read"], &posts["evaluated"], &posts["unlabelled"]),
        (&json!(6), &json!(2), &json!(1)),
        "{posts}"
    );
    assert_eq!((&posts["unknown_labels"], &posts["unreadable"]), (&json!({"rage": 1}), &json!(1)), "{posts}");
    assert_eq!(posts["refused"]["corrupt_image"]["posts"], 1, "{posts}");
    assert!(said.contains("broken") && said.contains("corrupt_image") && said.contains("absent.jpg"), "{said}");
    assert!(page.contains("refused: corrupt_image") && page.contains("rage"));
    let same = &report["findings"]["same_post"];
    assert_eq!((&same["contradictory_groups"], &same["posts"]), (&json!(1), &json!(2)), "{same}");
    assert!(page.contains("glad again"), "the contradiction is told");
}

#[test]
fn a_list_without_labels_is_an_error_with_the_fix() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let refused = |data: &Path| {
        let out = folder.path().join("out");
        let (code, _, error) =
            ended(&sentistream(&["evaluate"]).arg(data).arg("--out").arg(&out).output().expect("runs"));
        assert!(code == 1 && !out.join("report.html").exists(), "{code}: {error}");
        error
    };
    let error = refused(&repository("tests/fixtures/photos"));
    assert!(
        error.contains("none of the 24 posts") && error.contains("`label`") && error.contains("negative"),
        "{error}"
    );
    let list = folder.path().join("list.csv");
    fs::write(&list, format!("image,label\n{},joyful\n", photo("cat.jpg").display())).expect("written");
    let error = refused(&list);
    assert!(error.contains("\"joyful\"") && error.contains("negative, neutral, positive"), "{error}");
    assert!(refused(Path::new("no-such-list.csv")).contains("no-such-list.csv"));
}

#[test]
fn hostile_posts_stay_text() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let cat = photo("cat.jpg");
    let post = |id: &str, label: &str| {
        json!({"id": id, "label": label, "image": {"path": cat}, "metadata": {
            "caption": HOSTILE, "tags": ["<svg/onload=alert(3)>"], "scene": "\u{202E}<iframe>", "place": "'\"><b>",
            "objects": [{"label": "<style>*{display:none}"}]}})
    };
    let posts = [
        post("\"><script>alert(4)</script>", "positive"),
        post("<i>contradiction</i>", "neutral"),
        json!({"id": "unknown", "label": "<b>bold</b>", "image": {"path": cat}}),
    ];
    write_list(&folder, &posts);
    let Evaluated { report, page, .. } = evaluate(folder.path(), &folder.path().join("out"));
    assert!(!report["mistakes"].as_array().expect("mistakes").is_empty(), "two labels, one answer");
    for tag in ["<script", "<iframe", "<svg/", "<img src=x", "<b>", "<i>", "<style>*", "\u{202E}"] {
        assert!(!page.contains(tag), "{tag}");
    }
    let escaped = "&lt;/bdi&gt;&lt;/article&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&quot;alert(2)&quot;&gt;&amp;lt;b&amp;gt;";
    assert!(page.contains(escaped), "what was posted is shown as posted");
    assert!(page.contains("&lt;b&gt;bold&lt;/b&gt;"), "so is an unknown label");
}

/// The page stands alone: what is not in it is not asked for.
#[test]
fn the_page_needs_nothing_else() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let Evaluated { page, .. } = evaluate(&photo("labelled.csv"), &folder.path().join("out"));
    let captions_without_links = ["menu", "review", "course"]
        .iter()
        .fold(page.clone(), |page, link| page.replace(&format!("https://example.com/{link}"), ""));
    for reference in ["http://", "https://", "url(", "@import", "<link", "<script", "src=\"/"] {
        assert!(!captions_without_links.contains(reference), "{reference}");
    }
    for reference in ["src=\"http", "href=\"http"] {
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("data:image/jpeg;base64,") && page.contains("<svg role=\"img\" aria-label="));
    assert_eq!(page.matches("<table>").count(), page.matches("<caption>").count(), "every table has a caption");
    assert_eq!(
        page.matches("<img ").count(),
        page.matches(" alt=\"The image of post").count(),
        "every picture is named"
    );
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
}
