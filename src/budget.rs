//! What may be in flight at once, in records and bytes. One thread pulls: it waits for room, pulls one record and admits
//! it; the [`Permit`] travels with the record and gives its share back when the outcome is acknowledged.
//!
//! Since a record's size is unknown before it is pulled, room means room for the largest record allowed. A record larger
//! than that (it becomes a dead letter) may exceed the byte limit, alone: the next pull waits until it is gone.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;
use serde::Deserialize;

/// Beyond these a limit is a slip of the keyboard: the channels are allocated by the first.
const MOST_RECORDS: usize = 1_000_000;
const MOST_BYTES: usize = 1 << 40;

/// Limits of what is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Records.
    #[serde(rename = "in_flight_records")]
    pub records: usize,
    /// Bytes of keys, values and headers.
    #[serde(rename = "in_flight_bytes")]
    pub bytes: usize,
    /// Bytes of the largest record that is decoded.
    pub record_bytes: usize,
}

impl Limits {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        if self.records == 0 {
            return Err("limits.in_flight_records is 0; set it to at least 1".into());
        }
        if self.records > MOST_RECORDS || self.bytes > MOST_BYTES {
            return Err(format!(
                "limits.in_flight_records ({}) may be at most {MOST_RECORDS} and limits.in_flight_bytes ({}) at most {MOST_BYTES}",
                self.records, self.bytes
            ));
        }
        if self.record_bytes < 1024 {
            return Err(format!("limits.record_bytes is {}; set it to at least 1024", self.record_bytes));
        }
        if self.bytes < self.record_bytes {
            return Err(format!(
                "limits.in_flight_bytes ({}) is below limits.record_bytes ({}); one record must fit",
                self.bytes, self.record_bytes
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct InUse {
    records: usize,
    bytes: usize,
}

/// The budget; share it by `Arc`.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    in_use: Mutex<InUse>,
    freed: Condvar,
    records_gauge: IntGauge,
    bytes_gauge: IntGauge,
}

impl Budget {
    /// An unused budget that shows its use in two gauges.
    #[must_use]
    pub fn new(limits: Limits, records_gauge: IntGauge, bytes_gauge: IntGauge) -> Arc<Self> {
        Arc::new(Self { limits, in_use: Mutex::default(), freed: Condvar::new(), records_gauge, bytes_gauge })
    }

    /// Waits until one more record of the largest size has room; false if `timeout` passed without.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        let (in_use, _) = self
            .freed
            .wait_timeout_while(self.lock(), timeout, |in_use| !self.has_room(in_use))
            .unwrap_or_else(PoisonError::into_inner);
        self.has_room(&in_use)
    }

    /// Takes the share of a record that was pulled after [`Self::wait_for_room`] said yes.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Permit {
        let mut in_use = self.lock();
        in_use.records += 1;
        in_use.bytes += bytes;
        self.show(&in_use);
        Permit { budget: Arc::clone(self), bytes }
    }

    /// Records in flight now.
    pub fn records(&self) -> usize {
        self.lock().records
    }

    fn has_room(&self, in_use: &InUse) -> bool {
        in_use.records < self.limits.records
            && (in_use.records == 0 || in_use.bytes + self.limits.record_bytes <= self.limits.bytes)
    }

    fn give_back(&self, bytes: usize) {
        let mut in_use = self.lock();
        in_use.records -= 1;
        in_use.bytes -= bytes;
        self.show(&in_use);
        self.freed.notify_all();
    }

    fn show(&self, in_use: &InUse) {
        self.records_gauge.set(i64::try_from(in_use.records).unwrap_or(i64::MAX));
        self.bytes_gauge.set(i64::try_from(in_use.bytes).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One record's share of the budget, given back on drop.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Permit {
    /// Records in flight now, this one among them.
    #[must_use]
    pub fn records_in_flight(&self) -> usize {
        self.budget.records()
    }

    /// Bytes of the record.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(records: usize, bytes: usize, record_bytes: usize) -> Arc<Budget> {
        let gauge = |name: &str| IntGauge::new(name, "test").expect("valid name");
        Budget::new(Limits { records, bytes, record_bytes }, gauge("records"), gauge("bytes"))
    }

    #[test]
    fn room_is_for_the_largest_record() {
        let budget = budget(10, 100, 40);
        let first = budget.admit(30);
        assert!(budget.wait_for_room(Duration::ZERO), "30 + 40 fit in 100");
        let _second = budget.admit(40);
        assert!(!budget.wait_for_room(Duration::ZERO), "70 + 40 do not");
        drop(first);
        assert!(budget.wait_for_room(Duration::ZERO));
    }

    #[test]
    fn records_are_counted_too_and_the_first_always_fits() {
        let budget = budget(1, 10, 40);
        assert!(budget.wait_for_room(Duration::ZERO), "an empty budget admits any record");
        let only = budget.admit(40);
        assert!(!budget.wait_for_room(Duration::ZERO));
        drop(only);
        assert_eq!(budget.records(), 0);
    }

    #[test]
    fn a_waiting_puller_is_woken_by_the_record_that_leaves() {
        let budget = budget(1, 10, 10);
        let permit = budget.admit(10);
        let leaving = std::thread::spawn(move || drop(permit));
        assert!(budget.wait_for_room(Duration::from_secs(30)));
        leaving.join().expect("no panic");
    }
}
