//! The binary as a person meets it: help, exit codes, and errors that name the key and the fix.

use std::fs;
use std::process::Command;

use crate::support::process::{ended, sentistream};
use crate::support::repository;

fn run(command: &mut Command) -> (i32, String, String) {
    ended(&command.output().expect("runs"))
}

#[test]
fn help_teaches_every_command() {
    let (code, help, _) = run(&mut sentistream(&["--help"]));
    assert_eq!(code, 0);
    for word in [
        "run",
        "check",
        "score",
        "evaluate",
        "feed",
        "dlq",
        "bench",
        "tune",
        "top",
        "dashboard",
        "demo",
        "Exit codes",
        "SENTISTREAM__KAFKA__BROKERS",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
    for command in [
        &["run"][..],
        &["check"],
        &["score"],
        &["evaluate"],
        &["feed"],
        &["dlq", "list"],
        &["dlq", "replay"],
        &["bench"],
        &["tune"],
        &["top"],
        &["dashboard"],
        &["demo"],
    ] {
        let (code, help, _) = run(sentistream(command).arg("--help"));
        assert!(code == 0 && help.contains("Examples:"), "{help}");
    }
}

#[test]
fn settings_that_cannot_work_exit_with_2_and_name_the_key() {
    let (code, _, error) = run(sentistream(&["run"]).env("SENTISTREAM__KAFKA__BROKRES", "x:1"));
    assert!(code == 2 && error.contains("brokres"), "{error}");
    let (code, _, error) = run(sentistream(&["run"]).env("SENTISTREAM__LIMITS__IN_FLIGHT_RECORDS", "0"));
    assert!(code == 2 && error.contains("limits.in_flight_records"), "{error}");
    let (code, _, error) = run(&mut sentistream(&["run", "--config", "no-such-file.yaml"]));
    assert!(code == 2 && error.contains("no-such-file.yaml"), "{error}");
    let (code, ..) = run(&mut sentistream(&["no-such-command"]));
    assert_eq!(code, 2);
}

#[test]
fn what_tune_finds_is_a_file_of_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tuned.yaml");
    // Two in flight leave batches of one and two: a few ways.
    let tune = |latency: &str| {
        let mut tune = sentistream(&["tune", "--seconds", "1", "--latency-ms", latency, "--write"]);
        tune.arg(&file).env("SENTISTREAM__MODEL__BUNDLE", repository("tests/fixtures/bundles/tiny"));
        run(tune.env("SENTISTREAM__LIMITS__IN_FLIGHT_RECORDS", "2").env("SENTISTREAM__BATCH__MAX_POSTS", "2"))
    };
    let (code, table, error) = tune("60000");
    assert_eq!(code, 0, "{error}");
    let rows: Vec<_> = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>()).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == 6), "{table}");
    let settings = sentistream::settings::load(Some(&file)).expect("settings that load");
    let way = [settings.model.threads, settings.model.sessions, settings.batch.max_posts].map(|of| of.to_string());
    assert!(rows.iter().any(|row| row[..3] == way), "{way:?} is no row of {table}");

    let (code, _, error) = run(sentistream(&["tune", "no-such-posts.csv"]).env("SENTISTREAM__MODEL__CACHE_BYTES", "0"));
    assert!(code == 1 && error.contains("no-such-posts.csv"), "{error}");
}

#[test]
fn which_dead_letters_are_meant_is_said_and_known() {
    let (code, _, error) = run(&mut sentistream(&["dlq", "replay"]));
    assert!(code == 2 && error.contains("--all") && error.contains("--reason"), "{error}");
    let (code, _, error) = run(&mut sentistream(&["dlq", "replay", "--all", "--since", "2h"]));
    assert!(code == 2 && error.contains("--since"), "{error}");
    let (code, _, error) = run(&mut sentistream(&["dlq", "list", "--reason", "bad_luck"]));
    assert!(code == 2 && error.contains("bad_luck") && error.contains("corrupt_image"), "{error}");
    for (option, wrong, fix) in [("--since", "yesterday", "2h"), ("--origin", "posts/1", "posts/3/81723")] {
        let (code, _, error) = run(&mut sentistream(&["dlq", "list", option, wrong]));
        assert!(code == 2 && error.contains(fix), "{error}");
    }
}

#[test]
fn a_provider_that_is_absent_stops_the_start() {
    let photo = "tests/fixtures/photos/cat.jpg";
    for provider in ["cuda", "tensorrt"] {
        let library = repository(".deps/onnxruntime/libonnxruntime.so");
        let (code, out, error) = run(sentistream(&["score", photo])
            .env("SENTISTREAM__MODEL__PROVIDER", provider)
            .env("ORT_DYLIB_PATH", library));
        assert!(code == 1 && out.is_empty(), "nothing is scored on the CPU in its stead: {out}");
        assert!(error.contains(provider) && error.contains("make onnxruntime-gpu"), "{error}");
    }
}

#[test]
fn a_library_that_is_absent_is_told_with_the_fix() {
    let (code, _, error) =
        run(sentistream(&["score", "tests/fixtures/photos/cat.jpg"]).env("ORT_DYLIB_PATH", "/nowhere.so"));
    assert!(code == 1 && error.contains("/nowhere.so") && error.contains("ORT_DYLIB_PATH"), "{error}");
}

#[test]
fn a_bundle_that_was_changed_is_refused() {
    let copy = tempfile::tempdir().expect("temporary folder");
    for file in fs::read_dir(repository("models/default")).expect("bundle") {
        let file = file.expect("file");
        if file.file_type().expect("type").is_file() {
            fs::copy(file.path(), copy.path().join(file.file_name())).expect("copied");
        }
    }
    fs::write(copy.path().join("tags.txt"), "something else\n").expect("written");
    let (code, _, error) =
        run(sentistream(&["score", "tests/fixtures/photos/cat.jpg"]).env("SENTISTREAM__MODEL__BUNDLE", copy.path()));
    assert!(code == 1 && error.contains("tags.txt"), "{error}");
}

#[test]
fn score_tells_what_it_refuses_and_scores_the_rest() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::copy(repository("tests/fixtures/photos/cat.jpg"), folder.path().join("cat.jpg")).expect("copied");
    fs::write(folder.path().join("cut.png"), b"\x89PNG\r\n\x1a\n").expect("written");
    let (code, out, error) = run(sentistream(&["score"]).arg(folder.path()));
    assert_eq!(code, 3, "{error}");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(error.contains("cut") && error.contains("corrupt_image"), "{error}");
    let (code, _, error) = run(&mut sentistream(&["score", "no-such-photo.jpg"]));
    assert!(code == 1 && error.contains("no-such-photo.jpg"), "{error}");
}

#[test]
fn a_post_without_metadata_is_read_off_the_image_alone_or_what_is_seen_in_it() {
    let (code, out, _) = run(&mut sentistream(&["score", "tests/fixtures/photos/cat.jpg"]));
    let result: serde_json::Value = serde_json::from_str(&out).expect("one result");
    assert_eq!(code, 0);
    let relevance = |name: &str| result["relevance"][name].as_f64().expect("a weight");
    assert!(relevance("caption").abs() < f64::EPSILON && relevance("tags").abs() < f64::EPSILON, "{out}");
    assert!((relevance("image") + relevance("context") - 1.0).abs() < 1e-5, "{out}");
}

#[test]
fn a_reader_that_has_had_enough_ends_it_quietly() {
    use std::io::Read;
    let mut score = sentistream(&["score", "tests/fixtures/photos"]);
    let mut child =
        score.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("starts");
    // Closed before the first result.
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut error).expect("read");
    let status = child.wait().expect("ends");
    assert!(status.success() && error.is_empty(), "{status}: {error}");
}

#[test]
fn with_nothing_known_and_nothing_seen_the_image_has_all_the_weight() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let grey = image::RgbImage::from_pixel(300, 300, image::Rgb([128; 3]));
    grey.save(folder.path().join("grey.png")).expect("written");
    let (code, out, error) = run(sentistream(&["score"]).arg(folder.path()));
    assert_eq!(code, 0, "{error}");
    let result: serde_json::Value = serde_json::from_str(&out).expect("one result");
    let expected = serde_json::json!({"image": 1.0, "caption": 0.0, "tags": 0.0, "context": 0.0});
    assert_eq!((&result["relevance"], &result["effects"]), (&expected, &serde_json::json!({})), "{out}");
}

#[test]
fn effects_that_are_off_are_left_out() {
    let mut score = sentistream(&["score", "tests/fixtures/photos/cat.jpg"]);
    let (code, out, error) = run(score.env("SENTISTREAM__MODEL__EFFECTS", "false"));
    assert_eq!(code, 0, "{error}");
    let result: serde_json::Value = serde_json::from_str(&out).expect("one result");
    assert!(result.get("effects").is_none() && result["relevance"]["context"].is_number(), "{out}");
}

/// The query of this bundle is the caption, and its graphs give NaN where they are shown none.
#[test]
fn a_post_without_its_query_is_scored_and_says_so() {
    let mut score = sentistream(&["score", "tests/fixtures/photos/cat.jpg"]);
    let (code, out, error) = run(score.env("SENTISTREAM__MODEL__BUNDLE", "tests/fixtures/bundles/wide"));
    assert_eq!(code, 0, "{error}");
    let result: serde_json::Value = serde_json::from_str(&out).expect("one result");
    assert_eq!(result["flags"], serde_json::json!(["caption_missing", "prompt_missing"]), "{out}");
    assert_eq!((&result["relevance"]["prompt"], &result["effects"]), (&0.0.into(), &serde_json::json!({})), "{out}");
    assert!(result["relevance"]["caption"].as_f64() > Some(0.0), "{out}");
}

/// The demo needs no broker: it brings one.
#[test]
fn the_demo_ends_with_a_summary() {
    let (code, out, error) = run(&mut sentistream(&["demo"]));
    assert_eq!(code, 0, "{error}");
    let summary = out.lines().last().expect("a last line");
    assert!(summary.starts_with("summary: 24 results") && summary.contains("posts/s"), "{summary}");
    for id in ["cat-fitting", "cat-misleading", "cat-plain"] {
        assert!(out.contains(id), "{out}");
    }
    assert!(out.contains("dashboard: http://127.0.0.1:"), "{out}");
    assert_the_story_shows(&out);
}

/// The polarity is lowest while people post of the broken app, and far lower than it was.
fn assert_the_story_shows(out: &str) {
    let chapters: Vec<(f64, &str)> = out
        .lines()
        .filter_map(|line| {
            let (chapter, tag) = line.split_once(" posts, most often ")?;
            let polarity = chapter.split_whitespace().find(|word| word.starts_with(['+', '-']))?;
            Some((polarity.parse().ok()?, tag))
        })
        .collect();
    assert!(chapters.len() >= 24, "{out}");
    let (lowest, why) = chapters.iter().min_by(|one, other| one.0.total_cmp(&other.0)).expect("chapters");
    let first = chapters.first().expect("chapters").0;
    assert!(why.starts_with("#appdown") && *lowest < first - 0.3, "{out}");
}

#[test]
fn the_demo_takes_the_users_own_pictures() {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::copy(repository("tests/fixtures/photos/coffee.jpg"), folder.path().join("mine.jpg")).expect("copied");
    fs::write(folder.path().join("posts.csv"), "image,caption\nmine.jpg,my very own coffee\n").expect("written");
    let (code, out, error) = run(sentistream(&["demo", "--photos"]).arg(folder.path()));
    assert_eq!(code, 0, "{error}");
    assert!(out.contains("my very own coffee") && out.contains("summary: 1 results"), "{out}");
}

#[test]
fn a_broker_that_is_away_is_told_with_the_fix() {
    // A port that was free a moment ago, so that nothing answers.
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free port");
    let (code, _, error) =
        run(sentistream(&["feed", "tests/fixtures/photos/cat.jpg"])
            .env("SENTISTREAM__KAFKA__BROKERS", port.to_string()));
    assert!(code == 1 && error.contains("kafka.brokers") && error.contains(&port.to_string()), "{error}");
}
