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
    /// The delivered records from `base` on.
    records: VecDeque<Delivered>,
    settled: Option<NextOffset>,
    /// The newest timestamp among the records of that run.
    settled_at: Option<i64>,
    committed: Option<NextOffset>,
    /// Where reading ended, which is committed once nothing before it is unsettled.
    end: Option<NextOffset>,
}

impl Span {
    /// What may be committed.
    fn next(&self) -> Option<NextOffset> {
        self.end.filter(|_| self.is_finished()).or(self.settled)
    }

    fn is_finished(&self) -> bool {
        self.end.is_some() && self.records.is_empty()
    }
}

#[derive(Debug)]
struct Delivered {
    offset: i64,
    /// When it was published, in milliseconds since 1970.
    at: i64,
    is_settled: bool,
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
        let records = VecDeque::new();
        let span = Span { assignment, base: 0, records, settled: None, settled_at: None, committed: None, end: None };
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

    /// A record was pulled, published `at` (milliseconds since 1970): its assignment and sequence number, or `None` for a
    /// partition that is not ours.
    pub fn deliver(&mut self, partition: &Partition, offset: i64, at: i64) -> Option<(Arc<Assignment>, u64)> {
        let span = self.spans.get_mut(partition)?;
        let sequence = span.base + span.records.len() as u64;
        span.records.push_back(Delivered { offset, at, is_settled: false });
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
            record.is_settled = true;
        }
        while let Some(&Delivered { offset, at, is_settled: true }) = span.records.front() {
            span.settled = Some(NextOffset(offset + 1));
            span.settled_at = span.settled_at.max(Some(at));
            span.records.pop_front();
            span.base += 1;
        }
    }

    /// Positions that moved since they were last committed.
    pub fn committable(&self) -> Vec<(Partition, NextOffset)> {
        let moved = |span: &Span| span.next().filter(|_| span.next() != span.committed);
        self.spans.iter().filter_map(|(partition, span)| Some((partition.clone(), moved(span)?))).collect()
    }

    /// Nothing more of the partition is read: its position will be `end`. False where that was said before.
    pub fn finish(&mut self, partition: &Partition, end: NextOffset) -> bool {
        let Some(span) = self.spans.get_mut(partition).filter(|span| span.end.is_none()) else { return false };
        span.end = Some(end);
        true
    }

    /// Of what is committable, the ends of partitions that are read to their end.
    pub fn finished(&self) -> Vec<(Partition, NextOffset)> {
        let finished = |partition: &Partition| self.spans.get(partition).is_some_and(Span::is_finished);
        self.committable().into_iter().filter(|(partition, _)| finished(partition)).collect()
    }

    /// Whether every partition is read to its end, and nothing of it is unsettled.
    pub fn is_finished(&self) -> bool {
        self.spans.values().all(Span::is_finished)
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
        self.spans.values().map(|span| span.records.iter().filter(|record| !record.is_settled).count()).sum()
    }

    /// Records of the partition with the most between its last settled run and its newest record delivered.
    pub fn widest_span(&self) -> usize {
        self.spans.values().map(|span| span.records.len()).max().unwrap_or(0)
    }

    /// The position behind the last settled run of a partition, where any record was settled.
    pub fn position(&self, partition: &Partition) -> Option<NextOffset> {
        self.spans.get(partition)?.settled
    }

    /// When the first record that is not settled was published, and the newest one settled.
    pub fn published(&self, partition: &Partition) -> (Option<i64>, Option<i64>) {
        let span = self.spans.get(partition);
        (span.and_then(|span| Some(span.records.front()?.at)), span.and_then(|span| span.settled_at))
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
mod tests;
