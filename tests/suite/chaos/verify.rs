//! Holds what was published against what was fed: lost, doubled, out of order, not what it should be.

use std::collections::HashMap;

use super::feed::{Kind, NUMBER, Records};
use super::fleet::Mode;
use super::plan::Target;
use super::watch::{Origin, origin_of, read_to_end};
use crate::support::kafka::{Read, Topics};

/// Complaints of one kind are told so many times.
const TOLD: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub fed: u64,
    pub lost: usize,
    pub doubled: usize,
    pub out_of_order: usize,
    /// Workers that were fenced and started again.
    pub fenced: usize,
    /// Workers that joined because a partition had no owner.
    pub called: usize,
    /// Everything that should not be, in words.
    pub complaints: Vec<String>,
}

/// What is on the input topic.
struct Input {
    numbers: HashMap<Origin, u64>,
    origins: HashMap<u64, Origin>,
    keys: HashMap<u64, String>,
    /// The numbers of a key, in order, without the poison: what its output should be.
    published: HashMap<String, Vec<(u64, Kind)>>,
}

impl Input {
    /// Reads it, and makes sure of the feeding: every number once, and in order.
    fn read(topics: &Topics, records: &Records, fed: u64) -> Self {
        let mut input =
            Self { numbers: HashMap::new(), origins: HashMap::new(), keys: HashMap::new(), published: HashMap::new() };
        for read in read_to_end(topics, &topics.name) {
            let number: u64 = read.header(NUMBER).parse().expect("a number");
            let key = read.key.expect("a key");
            let kind = records.record(number).kind;
            input.numbers.insert((read.partition, read.offset), number);
            let twice = input.origins.insert(number, (read.partition, read.offset));
            assert_eq!(twice, None, "the feeder fed {number} twice");
            input.keys.insert(number, key.clone());
            if kind != Kind::Poison {
                input.published.entry(key).or_default().push((number, kind));
            }
        }
        assert_eq!(input.origins.len() as u64, fed, "everything that was fed is on the input topic");
        let in_order = |numbers: &Vec<(u64, Kind)>| numbers.is_sorted_by_key(|(number, _)| *number);
        assert!(input.published.values().all(in_order), "the feeder fed in order");
        input
    }

    /// A tombstone tells only its key. After an outcome of the record before it, it is the next; anywhere else it can
    /// only be one that was published already, the last before.
    fn tombstone(&self, key: &str, last: Option<u64>) -> Option<u64> {
        let published = self.published.get(key)?;
        let behind = published.partition_point(|(number, _)| last.is_some_and(|last| *number <= last));
        let is_tombstone = |(number, kind): &(u64, Kind)| (*kind == Kind::Tombstone).then_some(*number);
        let next = published.get(behind).and_then(is_tombstone);
        next.or_else(|| published[..behind].iter().rev().find_map(is_tombstone))
    }
}

/// The outcomes of one key on one topic.
#[derive(Debug, Default, Clone, Copy)]
struct Stream {
    last: Option<u64>,
    highest: Option<u64>,
}

struct Judge<'a> {
    records: &'a Records,
    input: Input,
    mode: Mode,
    /// Of every record that has an outcome, the first one's `result_id`.
    first: HashMap<u64, Option<String>>,
    streams: HashMap<(Target, String), Stream>,
    verdict: Verdict,
}

/// Reads the three topics whole and compares.
pub fn judge(topics: &Topics, records: &Records, fed: u64, mode: Mode) -> Verdict {
    let input = Input::read(topics, records, fed);
    let verdict = Verdict { fed, ..Verdict::default() };
    let mut judge = Judge { records, input, mode, first: HashMap::new(), streams: HashMap::new(), verdict };
    for (target, topic) in [(Target::Output, topics.output()), (Target::DeadLetters, topics.dead_letters())] {
        for read in read_to_end(topics, &topic) {
            judge.outcome(target, &read);
        }
    }
    judge.look_for_lost();
    judge.verdict
}

impl Judge<'_> {
    fn outcome(&mut self, target: Target, read: &Read) {
        let key = read.key.clone().unwrap_or_default();
        let stream = self.streams.get(&(target, key.clone())).copied().unwrap_or_default();
        let number = match origin_of(read) {
            Some(origin) => self.input.numbers.get(&origin).copied(),
            None => self.input.tombstone(&key, stream.last),
        };
        let Some(number) = number else {
            self.complain(format!("an outcome of nothing that was fed: {target:?}, key {key}, {:?}", origin_of(read)));
            return;
        };
        self.compare(target, read, number, &key);
        let id = read.value.as_ref().filter(|_| target == Target::Output);
        let id = id.map(|_| read.json()["result_id"].as_str().expect("an id").to_owned());
        let is_new = match self.first.get(&number) {
            None => {
                self.first.insert(number, id);
                true
            }
            Some(first) => {
                self.verdict.doubled += 1;
                if *first != id {
                    self.complain(format!("record {number} came again as {id:?}, and was {first:?}"));
                }
                false
            }
        };
        self.order(target, key, stream, number, is_new);
    }

    /// First outcomes come in order, and a step back is a replay of what was published before; none under `exactly_once`.
    fn order(&mut self, target: Target, key: String, stream: Stream, number: u64, is_new: bool) {
        let goes_back = stream.highest.is_some_and(|highest| number <= highest);
        if goes_back && (is_new || self.mode.is_exact()) {
            self.verdict.out_of_order += 1;
            self.complain(format!("{target:?}, {key}: record {number} came after {:?}", stream.highest));
        }
        let highest = stream.highest.max(Some(number));
        self.streams.insert((target, key), Stream { last: Some(number), highest });
    }

    /// What it is of: the right kind of outcome, under the record's key; poison with its original bytes.
    fn compare(&mut self, target: Target, read: &Read, number: u64, key: &str) {
        let fed = self.records.record(number);
        let right = match fed.kind {
            Kind::Post => target == Target::Output && read.value.is_some(),
            Kind::Tombstone => target == Target::Output && read.value.is_none(),
            Kind::Poison => target == Target::DeadLetters && read.value == fed.post.value,
        };
        let headers_kept = target == Target::Output
            || fed.post.headers.iter().all(|(key, value)| read.headers.get(key) == Some(value));
        if !right || !headers_kept || self.input.keys[&number] != key {
            self.complain(format!("record {number}, {:?}, became on {target:?}: {read:?}", fed.kind));
        }
    }

    fn look_for_lost(&mut self) {
        let mut lost: Vec<u64> =
            self.input.origins.keys().filter(|number| !self.first.contains_key(number)).copied().collect();
        lost.sort_unstable();
        self.verdict.lost = lost.len();
        for number in lost {
            let (partition, offset) = self.input.origins[&number];
            let kind = self.records.record(number).kind;
            self.complain(format!("lost: record {number} ({kind:?}), partition {partition}, offset {offset}"));
        }
    }

    fn complain(&mut self, complaint: String) {
        let start = complaint.split(|c: char| c == ':' || c.is_ascii_digit()).next().unwrap_or_default();
        let told = self.verdict.complaints.iter().filter(|told| told.starts_with(start)).count();
        if told < TOLD {
            self.verdict.complaints.push(complaint);
        }
    }
}
