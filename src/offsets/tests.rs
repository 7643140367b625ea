//! The ledger by example, and against a model of a topic, its consumer group and everything that may happen to a member.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn partition(number: i32) -> Partition {
    Partition { topic: "posts".into(), number }
}

fn deliver(ledger: &mut Ledger, offset: i64) -> Settled {
    let (assignment, sequence) = ledger.deliver(&partition(0), offset, 0).expect("assigned");
    Settled { partition: partition(0), generation: assignment.generation, sequence }
}

#[test]
fn only_the_contiguous_prefix_may_be_committed_and_gaps_are_no_records() {
    let mut ledger = Ledger::default();
    ledger.assign(partition(0));
    let [first, second, third] = [10, 14, 15].map(|offset| deliver(&mut ledger, offset));
    ledger.settle(&second);
    assert!(ledger.committable().is_empty(), "10 is unsettled");
    ledger.settle(&first);
    assert_eq!(ledger.committable(), vec![(partition(0), NextOffset(15))]);
    ledger.committed(&ledger.committable());
    assert!(ledger.committable().is_empty(), "nothing moved since");
    ledger.settle(&third);
    assert_eq!(ledger.committable(), vec![(partition(0), NextOffset(16))]);
}

#[test]
fn what_an_ended_assignment_settles_is_ignored() {
    let mut ledger = Ledger::default();
    ledger.assign(partition(0));
    let late = deliver(&mut ledger, 10);
    ledger.revoke(&partition(0));
    ledger.assign(partition(0));
    deliver(&mut ledger, 10);
    ledger.settle(&late);
    assert!(ledger.committable().is_empty());
    assert!(ledger.is_unsettled([&partition(0)]));
}

#[test]
fn revoking_tells_the_records_on_their_way() {
    let mut ledger = Ledger::default();
    ledger.assign(partition(0));
    let (assignment, _) = ledger.deliver(&partition(0), 0, 0).expect("assigned");
    ledger.revoke(&partition(0));
    assert!(assignment.is_revoked());
    assert_eq!(ledger.deliver(&partition(0), 1, 0).map(|(_, sequence)| sequence), None);
}

#[test]
fn the_oldest_unsettled_and_the_newest_settled_tell_when_they_were_published() {
    let mut ledger = Ledger::default();
    ledger.assign(partition(0));
    assert_eq!(ledger.published(&partition(0)), (None, None));
    let settled = [(10, 700), (11, 500), (12, 900)].map(|(offset, at)| {
        let (assignment, sequence) = ledger.deliver(&partition(0), offset, at).expect("assigned");
        Settled { partition: partition(0), generation: assignment.generation, sequence }
    });
    assert_eq!(ledger.published(&partition(0)), (Some(700), None));
    ledger.settle(&settled[1]);
    assert_eq!(ledger.published(&partition(0)), (Some(700), None));
    ledger.settle(&settled[0]);
    assert_eq!(ledger.published(&partition(0)), (Some(900), Some(700)));
}

#[test]
fn the_span_counts_what_is_settled_behind_what_is_not() {
    let mut ledger = Ledger::default();
    ledger.assign(partition(0));
    ledger.assign(partition(1));
    let [first, second, third] = [10, 11, 12].map(|offset| deliver(&mut ledger, offset));
    ledger.settle(&second);
    ledger.settle(&third);
    assert_eq!((ledger.widest_span(), ledger.unsettled()), (3, 1));
    ledger.settle(&first);
    assert_eq!((ledger.widest_span(), ledger.unsettled()), (0, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Pull {
        partition: i32,
    },
    /// Any outcome on its way is acknowledged, of whatever generation.
    Finish(prop::sample::Index),
    /// Any outcome on its way is dropped, if its assignment has ended.
    Drop(prop::sample::Index),
    Commit {
        answered: bool,
    },
    Revoke {
        partition: i32,
        committing: bool,
    },
    Assign {
        partition: i32,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..World::PARTITIONS;
    prop_oneof![
        8 => number.clone().prop_map(|partition| Step::Pull { partition }),
        8 => any::<prop::sample::Index>().prop_map(Step::Finish),
        1 => any::<prop::sample::Index>().prop_map(Step::Drop),
        2 => any::<bool>().prop_map(|answered| Step::Commit { answered }),
        1 => (number.clone(), any::<bool>()).prop_map(|(partition, committing)| Step::Revoke { partition, committing }),
        2 => number.prop_map(|partition| Step::Assign { partition }),
        1 => Just(Step::Crash),
    ]
}

/// A topic whose offsets have gaps, what its group has committed, and one member after another.
struct World {
    /// Offsets of the records of each partition.
    topic: Vec<Vec<i64>>,
    committed: HashMap<i32, i64>,
    /// Records whose outcome was acknowledged, by whichever generation.
    published: HashSet<(i32, i64)>,
    ledger: Ledger,
    /// What each assigned partition delivers next.
    next: HashMap<i32, i64>,
    on_their_way: Vec<(i64, Arc<Assignment>, Settled)>,
}

impl World {
    const PARTITIONS: i32 = 2;

    fn new(gaps: &[Vec<i64>]) -> Self {
        let offsets = |gaps: &Vec<i64>| {
            gaps.iter()
                .scan(0, |next, gap| {
                    let offset = *next + gap;
                    *next = offset + 1;
                    Some(offset)
                })
                .collect()
        };
        Self {
            topic: gaps.iter().map(offsets).collect(),
            committed: HashMap::new(),
            published: HashSet::new(),
            ledger: Ledger::default(),
            next: HashMap::new(),
            on_their_way: Vec::new(),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Pull { partition } => {
                self.pull(*partition);
            }
            Step::Finish(index) => self.finish(*index),
            Step::Drop(index) => {
                let dropped = (!self.on_their_way.is_empty()).then(|| index.index(self.on_their_way.len()));
                if let Some(place) = dropped.filter(|place| self.on_their_way[*place].1.is_revoked()) {
                    self.on_their_way.swap_remove(place);
                }
            }
            Step::Commit { answered } => self.commit(*answered),
            Step::Revoke { partition: number, committing } => {
                if *committing {
                    self.commit(true);
                }
                self.ledger.revoke(&partition(*number));
                self.next.remove(number);
            }
            Step::Assign { partition } => self.assign(*partition),
            Step::Crash => {
                self.ledger = Ledger::default();
                self.on_their_way.clear();
                self.next.clear();
            }
        }
    }

    fn assign(&mut self, number: i32) {
        self.ledger.assign(partition(number));
        self.next.insert(number, self.committed.get(&number).copied().unwrap_or(0));
    }

    fn pull(&mut self, number: i32) -> bool {
        let Some(next) = self.next.get(&number) else { return false };
        let records = &self.topic[usize::try_from(number).expect("small")];
        let Some(offset) = records.iter().copied().find(|offset| offset >= next) else { return false };
        let (assignment, sequence) = self.ledger.deliver(&partition(number), offset, 0).expect("assigned");
        let settled = Settled { partition: partition(number), generation: assignment.generation, sequence };
        self.on_their_way.push((offset, assignment, settled));
        self.next.insert(number, offset + 1);
        true
    }

    fn finish(&mut self, index: prop::sample::Index) {
        if !self.on_their_way.is_empty() {
            let (offset, _, settled) = self.on_their_way.swap_remove(index.index(self.on_their_way.len()));
            self.published.insert((settled.partition.number, offset));
            self.ledger.settle(&settled);
        }
    }

    /// Whatever becomes of the answer, the broker has the positions.
    fn commit(&mut self, answered: bool) {
        let positions = self.ledger.committable();
        for (partition, NextOffset(offset)) in &positions {
            let earlier = self.committed.insert(partition.number, *offset).unwrap_or(0);
            assert!(*offset >= earlier, "{partition:?} went back from {earlier} to {offset}");
        }
        if answered {
            self.ledger.committed(&positions);
        }
    }

    /// The one promise: what is behind a committed position has its outcome.
    fn assert_nothing_is_lost(&self) {
        for (number, committed) in &self.committed {
            let behind =
                self.topic[usize::try_from(*number).expect("small")].iter().filter(|offset| *offset < committed);
            for offset in behind {
                assert!(
                    self.published.contains(&(*number, *offset)),
                    "{number}/{offset} is behind {committed} without an outcome"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever comes between, nothing committed lacks its outcome; and a member that is left alone finishes everything.
    #[test]
    fn nothing_is_committed_without_its_outcome(
        gaps in prop::collection::vec(prop::collection::vec(0i64..3, 0..30), 2..=2),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut world = World::new(&gaps);
        (0..World::PARTITIONS).for_each(|number| world.assign(number));
        for step in &steps {
            world.take(step);
            world.assert_nothing_is_lost();
        }
        (0..World::PARTITIONS).for_each(|number| world.assign(number));
        while (0..World::PARTITIONS).any(|number| world.pull(number)) {}
        while let Some((offset, _, settled)) = world.on_their_way.pop() {
            world.published.insert((settled.partition.number, offset));
            world.ledger.settle(&settled);
        }
        world.commit(true);
        world.assert_nothing_is_lost();
        for (number, records) in (0..).zip(&world.topic) {
            let end = records.last().map_or(0, |offset| offset + 1);
            prop_assert_eq!(world.committed.get(&number).copied().unwrap_or(0), end, "partition {}", number);
        }
        prop_assert_eq!(world.ledger.unsettled(), 0);
    }
}

#[test]
fn a_partition_read_to_its_end_is_committed_there_once_everything_before_is_settled() {
    let mut ledger = Ledger::default();
    ledger.assign(partition(0));
    ledger.assign(partition(1));
    let [first, second] = [10, 11].map(|offset| deliver(&mut ledger, offset));
    ledger.settle(&first);
    assert!(ledger.finish(&partition(0), NextOffset(20)), "12 to 19 are no records");
    assert!(!ledger.finish(&partition(0), NextOffset(21)), "only once");
    assert_eq!((ledger.committable(), ledger.finished()), (vec![(partition(0), NextOffset(11))], vec![]));
    ledger.settle(&second);
    assert_eq!(ledger.finished(), vec![(partition(0), NextOffset(20))]);
    assert_eq!(ledger.finished(), ledger.committable());
    assert!(!ledger.is_finished(), "the other one goes on");
    ledger.finish(&partition(1), NextOffset(5));
    assert!(ledger.is_finished());
    ledger.committed(&ledger.finished());
    assert!(ledger.finished().is_empty());
    ledger.assign(partition(0));
    assert!(!ledger.is_finished(), "assigned anew, it is read anew");
}
