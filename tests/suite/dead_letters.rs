//! `sentistream dlq`: what was refused is listed, and replayed once what refused it is mended.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::kafka::{Read, Topics};
use crate::support::photos::{TestPost, samples};
use crate::support::process::{WorkerProcess, ended, sentistream};

/// Exit code, standard output and standard error of `sentistream dlq`.
fn dlq(topics: &Topics, arguments: &[&str]) -> (i32, String, String) {
    let mut command = sentistream(&["dlq"]);
    command.args(arguments).envs(topics.environment());
    ended(&command.output().expect("runs"))
}

fn by_key<'r>(reads: &'r [Read], key: &str) -> &'r Read {
    reads.iter().find(|read| read.key.as_deref() == Some(key)).unwrap_or_else(|| panic!("{key} is there"))
}

/// As `docs/messages.md` defines it.
fn result_id(result: &Value, origin: &str) -> String {
    let digest = result["model"]["digest"].as_str().expect("a digest");
    hex::encode(Sha256::digest(format!("{digest}\n{origin}")))[..32].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn what_was_refused_is_listed_and_replayed_once_it_is_mended() {
    let topics = Topics::create("dead-letters", 1).await;
    let (_, image, _) = samples().remove(0);
    let long = json!({"caption": "a long day at the beach ".repeat(20)});
    let fed = [
        TestPost::binary("good", "image/jpeg", &image, &json!({})),
        TestPost::binary("long-binary", "image/jpeg", &image, &long),
        TestPost::raw("no-json", b"{ not json"),
        TestPost::json("long-json", &image, &long),
    ];
    topics.feed(&fed);
    let mut environment = topics.environment();
    environment.push(("SENTISTREAM__DECODE__TEXT_CHARS".into(), "100".into()));
    let mut worker = WorkerProcess::start(&environment);
    topics.wait_for_outcomes(fed.len()).await;
    worker.signal("TERM");
    assert!(worker.wait().success(), "{}", worker.log());

    assert_listed(&topics);
    let (code, out, said) = dlq(&topics, &["replay", "--reason", "text_too_long", "--dry-run"]);
    assert!(code == 0 && said.contains("would replay 2"), "{said}");
    assert!(out.contains("long-binary") && out.contains("long-json") && !out.contains("no-json"), "{out}");
    assert_eq!(topics.count(&topics.name), 4, "a dry run publishes nothing");

    // Twice: no result may differ by it.
    for count in [6, 8] {
        let (code, _, said) = dlq(&topics, &["replay", "--reason", "text_too_long", "--rate", "100"]);
        assert!(code == 0 && said.contains("replayed 2"), "{said}");
        assert_eq!(topics.count(&topics.name), count);
    }
    assert_put_back(&fed, &topics.read_all(&topics.name)[4..]);

    let _mended = WorkerProcess::start(&topics.environment());
    topics.wait_for_outcomes(8).await;
    let results = topics.read_all(&topics.output());
    assert_eq!(results.len(), 5, "one of the good post, two of each that was replayed twice");
    for (key, offset) in [("good", 0), ("long-binary", 1), ("long-json", 3)] {
        for read in results.iter().filter(|read| read.key.as_deref() == Some(key)) {
            let (result, origin) = (read.json(), format!("{}/0/{offset}", topics.name));
            assert_eq!((&result["id"], &result["origin"]["offset"]), (&json!(key), &json!(offset)));
            assert_eq!(result["result_id"], json!(result_id(&result, &origin)), "{key}");
        }
    }
}

fn assert_listed(topics: &Topics) {
    let (code, out, said) = dlq(topics, &["list"]);
    assert_eq!(code, 0, "{said}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3, "{out}");
    for (line, key, reason, offset) in
        [(0, "long-binary", "text_too_long", 1), (1, "no-json", "not_json", 2), (2, "long-json", "text_too_long", 3)]
    {
        let origin = format!("{}/0/{offset}", topics.name);
        assert!([key, reason, "decode", &origin].iter().all(|word| lines[line].contains(word)), "{}", lines[line]);
    }
    assert!(said.contains("3 dead letters") && said.contains("not_json 1, text_too_long 2"), "{said}");

    let origin = format!("{}/0/2", topics.name);
    for filters in [&["--reason", "not_json"][..], &["--origin", &origin, "--since", "1h"]] {
        let (code, out, _) = dlq(topics, &[&["list", "--json"], filters].concat());
        let letter: Value = serde_json::from_str(&out).expect("one JSON object");
        assert_eq!((code, &letter["reason"], &letter["origin"]), (0, &json!("not_json"), &json!(origin)));
        assert_eq!((&letter["key"], &letter["bytes"], &letter["attempts"]), (&json!("no-json"), &json!(10), &json!(1)));
    }
    let (_, out, _) = dlq(topics, &["list", "--until", "1h"]);
    assert_eq!(out, "", "nothing is an hour old");
    let (_, out, _) = dlq(topics, &["list", "--limit", "2"]);
    assert_eq!(out.lines().count(), 2);
}

/// Key, value and headers as they were fed; of ours only what says which record it is.
fn assert_put_back(fed: &[TestPost], replayed: &[Read]) {
    assert_eq!(replayed.len(), 4);
    for post in [&fed[1], &fed[3]] {
        let read = by_key(replayed, &post.id);
        assert_eq!(read.value, post.value, "{}", post.id);
        let mut headers = read.headers.clone();
        let ours = ["dlq.origin", "dlq.attempts"].map(|key| headers.remove(key));
        assert!(ours.iter().all(Option::is_some), "{:?}", read.headers.keys());
        assert_eq!(headers, post.headers.iter().cloned().collect(), "{}", post.id);
    }
}

/// A dead letter such as a worker writes, with some headers of its own.
fn letter(key: &str, value: Option<&[u8]>, headers: &[(&str, &str)]) -> TestPost {
    let header = |(key, value): &(&str, &str)| (format!("dlq.{key}"), value.as_bytes().to_vec());
    let headers = [("reason", "not_json"), ("attempts", "1")].iter().chain(headers).map(header).collect();
    TestPost { id: key.into(), key: Some(key.into()), value: value.map(<[u8]>::to_vec), headers }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn what_cannot_be_replayed_is_told_and_the_rest_is_replayed() {
    let topics = Topics::create_with("left-out", 1, &[("max.message.bytes", "2000")]).await;
    let origin = |offset: i64| format!("{}/0/{offset}", topics.name);
    let [once, cut, fat] = [1, 2, 3].map(origin);
    let (_, image, _) = samples().remove(0);
    // Every letter in a transaction: markers stand between them and behind the last.
    let letters = [
        letter("once", Some(b"early"), &[("origin", &once), ("at", "2026-11-24T09:00:00Z")]),
        letter("once", Some(b"latest"), &[("origin", &once), ("at", "2026-11-24T09:00:02Z")]),
        letter("once", Some(b"between"), &[("origin", &once), ("at", "2026-11-24T09:00:01Z")]),
        letter("cut", None, &[("origin", &cut), ("truncated", "true")]),
        // Of random bytes: compression makes it no smaller.
        letter("fat", image.get(..3000), &[("origin", &fat)]),
        letter("stranger", Some(b"hello"), &[]),
        letter("other", Some(b"hello"), &[("origin", "another-topic/0/1")]),
    ];
    topics.transact(&topics.dead_letters(), &letters, true);
    topics.transact(&topics.dead_letters(), &[letter("aborted", Some(b"no"), &[("origin", &origin(9))])], false);

    let (code, out, said) = dlq(&topics, &["list"]);
    assert_eq!((code, out.lines().count()), (0, 7), "{said}");
    let (code, _, said) = dlq(&topics, &["replay", "--all"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("cannot be replayed: {cut}")), "{said}");
    assert!(said.contains(&format!("not delivered: {fat}")), "{said}");
    for told in
        ["replayed 1 dead letters", "1 without their value", "1 not delivered", "1 without an origin", "1 of other"]
    {
        assert!(said.contains(told), "{told}: {said}");
    }
    let replayed = topics.read_all(&topics.name);
    assert_eq!(replayed.len(), 1);
    assert_eq!((replayed[0].value.as_deref(), replayed[0].header("dlq.origin")), (Some(&b"latest"[..]), once));

    let (code, _, said) = dlq(&topics, &["replay", "--reason", "empty"]);
    assert!(code == 0 && said.contains("replayed 0"), "{said}");
}
