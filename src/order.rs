//! Puts outcomes back into the order their records were delivered in, per assignment: stages finish records in any order,
//! but what leaves for one partition leaves in offset order, so that keys keep theirs.
//!
//! Bounded by what is in flight: a held outcome still has its permit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::message::{Assignment, Outcome};

#[derive(Debug)]
struct Queue<T> {
    assignment: Arc<Assignment>,
    next: u64,
    held: BTreeMap<u64, T>,
}

/// The outcomes held back, by generation of their assignment.
#[derive(Debug)]
pub struct Order<T> {
    queues: HashMap<u64, Queue<T>>,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { queues: HashMap::new() }
    }
}

/// What became of an item that arrived, and of those it held up.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// To be published now, in this order (possibly nothing yet).
    Due(Vec<T>),
    /// Of an assignment that has ended: not to be published, since their records belong to another worker now.
    Dropped(Vec<T>),
}

impl<T> Order<T> {
    /// Takes an item in; `sequence` counts the records of the assignment.
    pub fn arrive(&mut self, assignment: &Arc<Assignment>, sequence: u64, item: T) -> Turn<T> {
        if assignment.is_revoked() {
            let held = self.queues.remove(&assignment.generation).map(|queue| queue.held.into_values());
            return Turn::Dropped(held.into_iter().flatten().chain([item]).collect());
        }
        if !self.queues.contains_key(&assignment.generation) {
            self.queues.retain(|_, queue| !queue.assignment.is_revoked() || !queue.held.is_empty());
        }
        let queue = self.queues.entry(assignment.generation).or_insert_with(|| Queue {
            assignment: Arc::clone(assignment),
            next: 0,
            held: BTreeMap::new(),
        });
        queue.held.insert(sequence, item);
        let mut due = Vec::new();
        while let Some(item) = queue.held.remove(&queue.next) {
            queue.next += 1;
            due.push(item);
        }
        Turn::Due(due)
    }
}

impl Order<Outcome> {
    /// Takes an outcome in.
    pub fn arrive_outcome(&mut self, outcome: Outcome) -> Turn<Outcome> {
        let assignment = Arc::clone(&outcome.record.position.assignment);
        self.arrive(&assignment, outcome.record.position.sequence, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_order_in_is_in_order_out(sequence in Just((0u64..50).collect::<Vec<_>>()).prop_shuffle()) {
            let mut order = Order::default();
            let assignment = Assignment::new(1);
            let mut out = Vec::new();
            for number in sequence {
                let Turn::Due(due) = order.arrive(&assignment, number, number) else { panic!("not revoked") };
                out.extend(due);
            }
            prop_assert_eq!(out, (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn assignments_do_not_wait_for_each_other() {
        let mut order = Order::default();
        assert_eq!(order.arrive(&Assignment::new(1), 1, "later"), Turn::Due(vec![]));
        assert_eq!(order.arrive(&Assignment::new(2), 0, "other"), Turn::Due(vec!["other"]));
    }

    #[test]
    fn what_a_revoked_assignment_held_is_dropped_and_forgotten() {
        let mut order = Order::default();
        let assignment = Assignment::new(1);
        order.arrive(&assignment, 1, "second");
        assignment.revoke();
        assert_eq!(order.arrive(&assignment, 0, "first"), Turn::Dropped(vec!["second", "first"]));
        order.arrive(&Assignment::new(2), 0, "other");
        assert_eq!(order.queues.len(), 1);
    }
}
