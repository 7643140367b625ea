//! The main job: two workers of one group, real posts, exactly one outcome each, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sentistream::settings::Settings;
use sentistream::worker::Worker;

use crate::support::kafka::{Read, Topics};
use crate::support::photos::{TestPost, posts};
use crate::support::wait_until_async;

/// Starts workers and waits until the group has formed and every worker has a partition.
pub async fn joined(topics: &Topics, count: usize) -> Vec<Worker> {
    joined_with(topics, vec![topics.settings(); count]).await
}

/// As [`joined`], each worker with settings of its own.
pub async fn joined_with(topics: &Topics, settings: Vec<Settings>) -> Vec<Worker> {
    let count = settings.len();
    let mut workers = Vec::new();
    for settings in settings {
        workers.push(Worker::start(&settings).await.expect("starts"));
    }
    let share = i64::from(topics.partitions) / i64::try_from(count).expect("few");
    wait_until_async("every worker has its share of the partitions", || {
        workers.iter().all(|worker| worker.metrics.assigned_partitions.get() == share)
    })
    .await;
    workers
}

/// Stops workers and waits until they have drained.
pub async fn stop(workers: Vec<Worker>) {
    for worker in workers {
        worker.stopper().stop();
        assert_eq!(worker.drained().await.expect("drains").unsettled, 0);
    }
}

pub fn origin_of(result: &Read) -> (i64, i64) {
    let json = result.json();
    (json["origin"]["partition"].as_i64().expect("a number"), json["origin"]["offset"].as_i64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn two_workers_give_every_post_exactly_one_outcome_in_order() {
    let topics = Topics::create("end-to-end", 4).await;
    let workers = joined(&topics, 2).await;
    let mut fed = posts("post", 210);
    for number in 0..10 {
        fed.insert(number * 20, TestPost::raw(&format!("bad-{number}"), b"{ not json"));
        fed.insert(number * 20 + 7, TestPost::tombstone(&format!("gone-{number}")));
    }
    topics.feed(&fed);
    topics.wait_for_outcomes(fed.len()).await;
    let worked: Vec<u64> = workers.iter().map(|worker| worker.metrics.records.get()).collect();
    stop(workers).await;

    let (published, dead) = (topics.read_all(&topics.output()), topics.read_all(&topics.dead_letters()));
    let keys = |reads: &[Read]| reads.iter().filter_map(|read| read.key.clone()).collect::<Vec<_>>();
    let all: BTreeSet<String> = keys(&published).into_iter().chain(keys(&dead)).collect();
    assert_eq!(all, fed.iter().map(|post| post.id.clone()).collect(), "every post has an outcome");
    assert_eq!(published.len() + dead.len(), fed.len(), "and none has two");
    assert!(worked.iter().all(|records| *records > 0), "both workers took part: {worked:?}");
    assert_eq!(topics.committed(), i64::try_from(fed.len()).expect("few"), "everything is committed");

    let (results, tombstones): (Vec<Read>, Vec<Read>) = published.into_iter().partition(|read| read.value.is_some());
    assert!(tombstones.iter().all(|read| read.key.as_deref().is_some_and(|key| key.starts_with("gone-"))));
    assert_eq!((results.len(), tombstones.len(), dead.len()), (210, 10, 10));
    results.iter().for_each(assert_a_sound_result);
    assert_in_order(&results);
    for letter in &dead {
        assert_eq!(letter.value.as_deref(), Some(&b"{ not json"[..]), "byte for byte");
        assert_eq!((letter.header("dlq.reason"), letter.header("dlq.stage")), ("not_json".into(), "decode".into()));
    }
}

/// Published in the order of the input partition.
pub fn assert_in_order(results: &[Read]) {
    let mut by_output: BTreeMap<(i32, i64), Vec<(i64, i64)>> = BTreeMap::new();
    for result in results {
        let (partition, offset) = origin_of(result);
        by_output.entry((result.partition, partition)).or_default().push((result.offset, offset));
    }
    for (partitions, mut pairs) in by_output {
        pairs.sort_unstable();
        assert!(pairs.is_sorted_by_key(|(_, origin)| *origin), "{partitions:?}: {pairs:?}");
    }
}

fn assert_a_sound_result(result: &Read) {
    let json = result.json();
    assert_eq!(json["id"].as_str(), result.key.as_deref());
    assert_eq!(json["schema"], 1);
    assert_eq!(json["source"], "test");
    let numbers = |key: &str| -> HashMap<String, f64> {
        let object = json.pointer(key).and_then(|value| value.as_object()).expect("an object");
        object.iter().map(|(name, value)| (name.clone(), value.as_f64().expect("a number"))).collect()
    };
    let probabilities = numbers("/sentiment/probabilities");
    assert!((probabilities.values().sum::<f64>() - 1.0).abs() < 1e-4, "{json}");
    let best = probabilities.values().copied().fold(0.0, f64::max);
    assert!((probabilities[json["sentiment"]["label"].as_str().expect("a label")] - best).abs() < 1e-9, "{json}");
    assert_sound_relevance(&json, &numbers("/relevance"));
}

/// Non-negative, 1 in sum, 0 for what is absent, and no effect without a presence.
pub fn assert_sound_relevance(json: &serde_json::Value, relevance: &HashMap<String, f64>) {
    assert!((relevance.values().sum::<f64>() - 1.0).abs() < 1e-4, "{json}");
    assert!(relevance.values().all(|weight| *weight >= 0.0), "{json}");
    for flag in json["flags"].as_array().expect("flags") {
        if let Some(field) = flag.as_str().expect("text").strip_suffix("_missing") {
            assert_eq!(relevance[field].to_bits(), 0, "an absent {field} weighs nothing: {json}");
            assert!(json["effects"].get(field).is_none(), "{json}");
        }
    }
}
