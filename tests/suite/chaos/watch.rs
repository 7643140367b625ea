//! Reads what workers publish as its readers do: under `read_committed`. [`Progress`] follows it while faults happen;
//! [`read_to_end`] reads a topic whole.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::plan::Target;
use crate::support::PATIENCE;
use crate::support::kafka::{Read, Topics, read};

/// A place on the input topic: partition and offset.
pub type Origin = (i32, i64);

/// The first sight of an outcome.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    partition: i32,
    target: Target,
}

/// The outcomes published so far. Tombstones, which tell no origin, are not among them.
pub struct Progress {
    partitions: i32,
    seen: Mutex<(HashSet<Origin>, Vec<Seen>)>,
}

impl Progress {
    /// Input records that have an outcome.
    pub fn outcomes(&self) -> u64 {
        self.seen.lock().expect("not poisoned").0.len() as u64
    }

    /// How long after `since` every input partition had a new outcome, if they have: one whose owner is gone waits for
    /// the next.
    pub fn partitions_recovered(&self, since: Instant) -> Option<Duration> {
        let seen = &self.seen.lock().expect("not poisoned").1;
        let first = |partition| seen.iter().find(|seen| seen.partition == partition && seen.at > since);
        let firsts: Option<Vec<Instant>> = (0..self.partitions).map(|partition| Some(first(partition)?.at)).collect();
        Some(firsts?.into_iter().max()?.duration_since(since))
    }

    /// How long after `since` the topic had a new outcome, if it has.
    pub fn topic_recovered(&self, target: Target, since: Instant) -> Option<Duration> {
        let seen = &self.seen.lock().expect("not poisoned").1;
        let first = seen.iter().find(|seen| seen.target == target && seen.at > since);
        Some(first?.at.duration_since(since))
    }

    /// New outcomes on the topic after `since`.
    pub fn new_outcomes(&self, target: Target, since: Instant) -> usize {
        let seen = &self.seen.lock().expect("not poisoned").1;
        seen.iter().rev().take_while(|seen| seen.at > since).filter(|seen| seen.target == target).count()
    }

    fn enter(&self, target: Target, origin: Origin) {
        let (origins, seen) = &mut *self.seen.lock().expect("not poisoned");
        if origins.insert(origin) {
            seen.push(Seen { at: Instant::now(), partition: origin.0, target });
        }
    }
}

/// Follows the outcomes on a thread of its own.
pub struct Watcher {
    pub progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub fn start(topics: &Topics) -> Self {
        let progress = Arc::new(Progress { partitions: topics.partitions, seen: Mutex::default() });
        let stop = Arc::new(AtomicBool::new(false));
        let consumer = consumer(topics, &[&topics.output(), &topics.dead_letters()]);
        let (output, entered, stopped) = (topics.output(), Arc::clone(&progress), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // A broker that is away is what this is about: librdkafka tries again.
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
                let target = if message.topic() == output { Target::Output } else { Target::DeadLetters };
                if let Some(origin) = origin_of(&read(&message)) {
                    entered.enter(target, origin);
                }
            }
        });
        Self { progress, stop, thread: Some(thread) }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A panic there shows as no progress here.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Where the record came from that this is the outcome of; a tombstone does not tell.
pub fn origin_of(outcome: &Read) -> Option<Origin> {
    if let Some(origin) = outcome.headers.get("dlq.origin") {
        let origin = std::str::from_utf8(origin).expect("UTF-8");
        let mut parts = origin.rsplit('/');
        let (offset, partition) = (parts.next().expect("an offset"), parts.next().expect("a partition"));
        return Some((partition.parse().expect("a number"), offset.parse().expect("a number")));
    }
    outcome.value.as_ref()?;
    let origin = &outcome.json()["origin"];
    let number = |key: &str| origin[key].as_i64().expect("a number");
    Some((i32::try_from(number("partition")).expect("a partition"), number("offset")))
}

fn consumer(topics: &Topics, names: &[&str]) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &topics.brokers)
        .set("client.id", "reader")
        .set("group.id", format!("{}-reader", topics.name))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "50")
        .set("reconnect.backoff.max.ms", "200");
    let consumer: BaseConsumer = config.create().expect("consumer");
    let mut assignment = TopicPartitionList::new();
    for name in names {
        for partition in 0..topics.partitions {
            assignment.add_partition_offset(name, partition, Offset::Beginning).expect("valid");
        }
    }
    consumer.assign(&assignment).expect("assigned");
    consumer
}

/// Everything on a topic, in the order of its partitions.
pub fn read_to_end(topics: &Topics, topic: &str) -> Vec<Read> {
    let consumer = consumer(topics, &[topic]);
    let mut reads: BTreeMap<i32, Vec<Read>> = BTreeMap::new();
    let mut ended = HashSet::new();
    let deadline = Instant::now() + PATIENCE;
    while i32::try_from(ended.len()).expect("few") < topics.partitions {
        assert!(Instant::now() < deadline, "{topic} could not be read");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => reads.entry(message.partition()).or_default().push(read(&message)),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(_)) | None => {}
        }
    }
    reads.into_values().flatten().collect()
}

/// By partition of the input topic: what the group has committed, and the end.
pub fn offsets(topics: &Topics) -> Option<Vec<(i64, i64)>> {
    let patience = Duration::from_secs(10);
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &topics.brokers)
        .set("group.id", &topics.name)
        .set("reconnect.backoff.max.ms", "200");
    let consumer: BaseConsumer = config.create().expect("consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..topics.partitions {
        list.add_partition(&topics.name, partition);
    }
    let committed = consumer.committed_offsets(list, patience).ok()?;
    let of = |partition| committed.find_partition(&topics.name, partition)?.offset().to_raw();
    (0..topics.partitions)
        .map(|partition| {
            let (_, end) = consumer.fetch_watermarks(&topics.name, partition, patience).ok()?;
            Some((of(partition).unwrap_or(0).max(0), end))
        })
        .collect()
}
