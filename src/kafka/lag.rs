//! How far behind a partition is, in records and in seconds. Pure.
//!
//! - Where a record was pulled and is not settled, its age is the answer, by its timestamp.
//! - Where all is read and settled, it is 0 - although the end of the partition may be a few offsets further: transaction
//!   markers and compacted records have offsets, and nobody is given them.
//! - Where more is there and nothing of it was pulled yet, the next record came after the last one settled, and after the
//!   partition was last seen at its end: the later of these two moments is taken for it, so the answer may be too high but
//!   not too low. Where neither is known, it is the time since the assignment.

/// What is known of a partition when the statistics come. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Offset behind the last record of the partition.
    pub high: i64,
    /// Offset behind the last record settled, or the group's committed one.
    pub position: i64,
    /// Offset that is fetched next.
    pub fetched: i64,
    /// Records that were fetched and not pulled, of all partitions.
    pub queued: u64,
    /// Records pulled so far, of all partitions.
    pub pulled: u64,
    /// Timestamp of the oldest record pulled and not settled.
    pub oldest_unsettled: Option<i64>,
    /// Timestamp of the newest record settled.
    pub newest_settled: Option<i64>,
}

/// What is remembered of a partition from one time to the next.
#[derive(Debug, Clone, Copy)]
pub struct Lag {
    assigned: i64,
    /// When the partition was last seen at its end.
    at_end: Option<i64>,
    /// Set where everything was fetched: the end then, and how many records are pulled once all that were queued are. The
    /// queue is first in, first out.
    fetched_all: Option<(i64, u64)>,
}

impl Lag {
    /// Of a partition that was just assigned.
    pub const fn new(now: i64) -> Self {
        Self { assigned: now, at_end: None, fetched_all: None }
    }

    /// Records and seconds.
    pub fn of(&mut self, seen: &Seen, now: i64) -> (i64, f64) {
        let records = (seen.high - seen.position).max(0);
        if let Some(oldest) = seen.oldest_unsettled {
            self.fetched_all = None;
            return (records, seconds(now - oldest));
        }
        if records == 0 || self.is_read(seen) {
            self.at_end = Some(now);
            return (0, 0.0);
        }
        let since = self.at_end.max(seen.newest_settled).unwrap_or(self.assigned);
        (records, seconds(now - since))
    }

    /// Whether nothing of the partition is left to pull, whatever the offsets say.
    fn is_read(&mut self, seen: &Seen) -> bool {
        if seen.fetched < seen.high {
            self.fetched_all = None;
            return false;
        }
        let pulled_then = match self.fetched_all {
            Some((high, pulled)) if high == seen.high => pulled,
            _ => seen.pulled + seen.queued,
        };
        self.fetched_all = Some((seen.high, pulled_then));
        seen.queued == 0 || seen.pulled >= pulled_then
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of millennia fit")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            high: 10,
            position: 10,
            fetched: 10,
            queued: 0,
            pulled: 10,
            oldest_unsettled: None,
            newest_settled: None,
        }
    }

    fn is(found: (i64, f64), records: i64, seconds: f64) {
        assert_eq!(found.0, records);
        assert!((found.1 - seconds).abs() < 1e-9, "{} s, not {seconds}", found.1);
    }

    #[test]
    fn the_oldest_record_in_flight_tells_the_age() {
        let mut lag = Lag::new(0);
        is(lag.of(&Seen { position: 7, oldest_unsettled: Some(5_000), ..seen() }, 65_000), 3, 60.0);
        is(lag.of(&Seen { position: 7, oldest_unsettled: Some(70_000), ..seen() }, 65_000), 3, 0.0);
        is(lag.of(&seen(), 66_000), 0, 0.0);
    }

    #[test]
    fn what_was_not_pulled_yet_is_younger_than_what_was_settled_and_than_the_end_last_seen() {
        let mut lag = Lag::new(1_000);
        let behind = Seen { high: 20, ..seen() };
        is(lag.of(&behind, 4_000), 10, 3.0);
        is(lag.of(&Seen { newest_settled: Some(500), ..behind }, 4_000), 10, 3.5);
        is(lag.of(&seen(), 100_000), 0, 0.0);
        is(lag.of(&Seen { newest_settled: Some(500), ..behind }, 102_000), 10, 2.0);
        is(lag.of(&Seen { newest_settled: Some(101_000), ..behind }, 102_000), 10, 1.0);
    }

    #[test]
    fn offsets_that_are_no_records_leave_nobody_behind() {
        let mut lag = Lag::new(0);
        let marker = Seen { position: 9, ..seen() };
        is(lag.of(&marker, 1_000), 0, 0.0);
        // While other partitions keep the queue full: behind until all that was queued is pulled.
        let mut lag = Lag::new(0);
        is(lag.of(&Seen { queued: 50, ..marker }, 1_000), 1, 1.0);
        is(lag.of(&Seen { queued: 80, pulled: 59, ..marker }, 2_000), 1, 2.0);
        is(lag.of(&Seen { queued: 80, pulled: 60, ..marker }, 3_000), 0, 0.0);
        // One more is behind again, fetched or not.
        is(lag.of(&Seen { high: 11, queued: 80, pulled: 70, ..marker }, 4_000), 2, 1.0);
        is(lag.of(&Seen { high: 11, fetched: 11, queued: 80, pulled: 70, ..marker }, 5_000), 2, 2.0);
    }
}
