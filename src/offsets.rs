//! What may be committed: per partition, the offset behind the longest run of settled records from the first delivered one
//! on. Pure; owned by the thread that polls.
//!
//! Offsets have gaps that are no records (compaction, transaction markers), so records are counted by a sequence number of
//! their assignment, and only *delivered* records count. What is settled under an assignment that has ended is ignored.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::message::{Assignment, Origin};

/// A topic's partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub number: i32,
}

impl Partition {
    /// The partition that a record stands in.
    #[must_use]
    pub fn of(place: &Origin) -> Self {
        Self { topic: Arc::clone(&place.topic), number: place.partition }
    }
}

/// The offset of the record to read next: what Kafka commits. Not the offset of a record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextOffset(pub i64);

#[derive(Debug)]
struct Span {
    assignment: Arc<Assignment>,
    /// Sequence number of the first unsettled record.
    base: u64,
    /// Offsets of the delivered records from `base` on, and whether each is settled.
    records: VecDeque<(i64, bool)>,
    settled: Option<NextOffset>,
    committed: Option<NextOffset>,
}

/// All partitions assigned to this worker.
#[derive(Debug, Default)]
pub struct Ledger {
    spans: HashMap<Partition, Span>,
    generations: u64,
}

impl Ledger {
    /// The partition is ours from now on, under a new generation.
    pub fn assign(&mut self, partition: Partition) {
        self.generations += 1;
        let assignment = Assignment::new(self.generations);
        let span = Span { assignment, base: 0, records: VecDeque::new(), settled: None, committed: None };
        if let Some(earlier) = self.spans.insert(partition, span) {
            earlier.assignment.revoke();
        }
    }

    /// The partition is no longer ours: what is on its way for it is dropped.
    pub fn revoke(&mut self, partition: &Partition) {
        if let Some(span) = self.spans.remove(partition) {
            span.assignment.revoke();
        }
    }

    /// A record was pulled: its assignment and sequence number, or `None` for a partition that is not ours.
    pub fn deliver(&mut self, partition: &Partition, offset: i64) -> Option<(Arc<Assignment>, u64)> {
        let span = self.spans.get_mut(partition)?;
        let sequence = span.base + span.records.len() as u64;
        span.records.push_back((offset, false));
        Some((Arc::clone(&span.assignment), sequence))
    }

    /// The record's outcome is acknowledged.
    pub fn settle(&mut self, settled: &Settled) {
        let Some(span) = self.spans.get_mut(&settled.partition) else { return };
        if span.assignment.generation != settled.generation {
            return;
        }
        let index = settled.sequence.checked_sub(span.base).and_then(|index| usize::try_from(index).ok());
        if let Some(record) = index.and_then(|index| span.records.get_mut(index)) {
            record.1 = true;
        }
        while let Some((offset, true)) = span.records.front() {
            span.settled = Some(NextOffset(offset + 1));
            span.records.pop_front();
            span.base += 1;
        }
    }

    /// Positions that moved since they were last committed.
    pub fn committable(&self) -> Vec<(Partition, NextOffset)> {
        let moved = |span: &Span| span.settled.filter(|_| span.settled != span.committed);
        self.spans.iter().filter_map(|(partition, span)| Some((partition.clone(), moved(span)?))).collect()
    }

    /// The broker took these positions.
    pub fn committed(&mut self, positions: &[(Partition, NextOffset)]) {
        for (partition, next) in positions {
            if let Some(span) = self.spans.get_mut(partition) {
                span.committed = Some(*next);
            }
        }
    }

    /// Whether any delivered record of these partitions is unsettled.
    pub fn is_unsettled<'p>(&self, partitions: impl IntoIterator<Item = &'p Partition>) -> bool {
        partitions.into_iter().any(|partition| self.spans.get(partition).is_some_and(|span| !span.records.is_empty()))
    }

    /// Records delivered and not settled, over all partitions.
    pub fn unsettled(&self) -> usize {
        self.spans.values().map(|span| span.records.iter().filter(|(_, settled)| !settled).count()).sum()
    }

    /// Records of the partition with the most between its last settled run and its newest record delivered.
    pub fn widest_span(&self) -> usize {
        self.spans.values().map(|span| span.records.len()).max().unwrap_or(0)
    }

    /// The position behind the last settled run of a partition, where any record was settled.
    pub fn position(&self, partition: &Partition) -> Option<NextOffset> {
        self.spans.get(partition)?.settled
    }

    /// Partitions assigned now.
    pub fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.spans.keys()
    }
}

/// Word that a record's outcome is acknowledged: what travels back to the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The record's partition.
    pub partition: Partition,
    /// The generation it was delivered under.
    pub generation: u64,
    /// Its number within that.
    pub sequence: u64,
}

impl Settled {
    /// Of a record's place.
    pub fn of(place: &Origin, assignment: &Assignment, sequence: u64) -> Self {
        Self { partition: Partition::of(place), generation: assignment.generation, sequence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn partition(number: i32) -> Partition {
        Partition { topic: "posts".into(), number }
    }

    fn deliver(ledger: &mut Ledger, offset: i64) -> Settled {
        let (assignment, sequence) = ledger.deliver(&partition(0), offset).expect("assigned");
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
        let (assignment, _) = ledger.deliver(&partition(0), 0).expect("assigned");
        ledger.revoke(&partition(0));
        assert!(assignment.is_revoked());
        assert_eq!(ledger.deliver(&partition(0), 1).map(|(_, sequence)| sequence), None);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Deliver { gap: i64 },
        Settle(prop::sample::Index),
        Commit,
        Reassign,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0i64..3).prop_map(|gap| Step::Deliver { gap }),
            4 => any::<prop::sample::Index>().prop_map(Step::Settle),
            1 => Just(Step::Commit),
            1 => Just(Step::Reassign),
        ]
    }

    proptest! {
        /// Against a model that keeps every offset: whatever the order, what may be committed is behind exactly the
        /// settled prefix of the records delivered under the current assignment.
        #[test]
        fn committed_is_the_settled_prefix(steps in prop::collection::vec(step(), 1..120)) {
            let mut ledger = Ledger::default();
            ledger.assign(partition(0));
            let mut on_their_way: Vec<(i64, Settled)> = Vec::new();
            let mut delivered: Vec<(i64, bool)> = Vec::new();
            let mut next = 0;
            for step in steps {
                match step {
                    Step::Deliver { gap } => {
                        next += gap;
                        on_their_way.push((next, deliver(&mut ledger, next)));
                        delivered.push((next, false));
                        next += 1;
                    }
                    Step::Settle(_) if on_their_way.is_empty() => {}
                    Step::Settle(index) => {
                        let (offset, settled) = on_their_way.swap_remove(index.index(on_their_way.len()));
                        ledger.settle(&settled);
                        delivered.iter_mut().filter(|(o, _)| *o == offset).for_each(|record| record.1 = true);
                    }
                    Step::Commit => ledger.committed(&ledger.committable()),
                    Step::Reassign => {
                        let prefix = delivered.iter().take_while(|(_, settled)| *settled).last();
                        next = prefix.map_or(delivered.first().map_or(next, |(offset, _)| *offset), |(offset, _)| offset + 1);
                        ledger.assign(partition(0));
                        on_their_way.clear();
                        delivered.clear();
                    }
                }
                let prefix = delivered.iter().take_while(|(_, settled)| *settled).last().map(|(offset, _)| NextOffset(offset + 1));
                prop_assert_eq!(ledger.position(&partition(0)), prefix);
                prop_assert_eq!(ledger.unsettled(), delivered.iter().filter(|(_, settled)| !settled).count());
            }
        }
    }
}
