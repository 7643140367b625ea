//! Decoding with a deadline. A codec cannot be stopped from outside. So a decode thread leaves all that is not the codec's,
//! the record with its permit and the channels, under watch while the codec runs. Past the deadline it is taken from
//! there: the record is settled, and a fresh thread goes on with the rest. The old thread finds it gone when its codec
//! ends, and ends too. A hostile image costs its record, never a decode thread; a sound one costs two locks.
//!
//! An abandoned thread keeps the image's bytes and what its codec allocated until it ends. So their number is limited, and
//! at the limit a slow codec is waited for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the decode threads have left while their codecs run.
pub struct Watch<T> {
    limit: Duration,
    most_abandoned: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// By number, so in the order in which the codecs started.
    left: BTreeMap<u64, (Instant, T)>,
    next: u64,
    abandoned: usize,
}

impl<T> Watch<T> {
    /// Codecs may take this long, and so many threads may be abandoned at once.
    #[must_use]
    pub fn new(limit: Duration, most_abandoned: usize) -> Self {
        let state = State { left: BTreeMap::new(), next: 0, abandoned: 0 };
        Self { limit, most_abandoned, state: Mutex::new(state) }
    }

    /// How often to look for what is overdue.
    #[must_use]
    pub fn interval(&self) -> Duration {
        (self.limit / 10).max(Duration::from_millis(1))
    }

    /// Does the work with `left` under watch. Gives `left` back, and the work's result unless it took too long; `None` means
    /// that `left` was taken, and this thread is to end.
    pub fn during<R>(&self, left: T, work: impl FnOnce() -> R) -> Option<(T, Option<R>)> {
        let number = {
            let mut state = self.lock();
            state.next += 1;
            let number = state.next;
            state.left.insert(number, (Instant::now(), left));
            number
        };
        let done = work();
        let mut state = self.lock();
        let Some((started, left)) = state.left.remove(&number) else {
            state.abandoned -= 1;
            return None;
        };
        Some((left, (started.elapsed() < self.limit).then_some(done)))
    }

    /// Takes what is overdue, as long as its threads may be abandoned.
    pub fn overdue(&self) -> Vec<T> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        while state.abandoned < self.most_abandoned
            && let Some(oldest) = state.left.first_entry()
            && oldest.get().0.elapsed() >= self.limit
        {
            taken.push(oldest.remove().1);
            state.abandoned += 1;
        }
        taken
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Duration = Duration::from_hours(1);

    #[test]
    fn work_in_time_is_given_back_with_its_result() {
        let watch = Watch::new(NEVER, 1);
        assert_eq!(watch.during("record", || watch.overdue().len()), Some(("record", Some(0))));
        assert!(watch.overdue().is_empty(), "nothing is left behind");
    }

    #[test]
    fn what_is_overdue_is_taken_from_its_thread() {
        let watch = Watch::new(Duration::ZERO, 1);
        assert_eq!(watch.during("record", || assert_eq!(watch.overdue(), ["record"])), None);
        assert!(watch.overdue().is_empty());
    }

    #[test]
    fn no_more_are_abandoned_than_may_be_and_the_next_is_waited_for() {
        let watch = Watch::new(Duration::ZERO, 1);
        let outer = watch.during(1, || {
            assert_eq!(watch.overdue(), [1]);
            // Waited for, and too late all the same.
            assert_eq!(watch.during(2, || assert!(watch.overdue().is_empty())), Some((2, None)));
        });
        assert_eq!(outer, None);
        assert_eq!(watch.during(3, || assert_eq!(watch.overdue(), [3])), None, "the first has ended and made room");
    }

    #[test]
    fn the_oldest_are_taken_first() {
        let watch = Watch::new(Duration::ZERO, 2);
        let outer = watch.during(1, || watch.during(2, || watch.during(3, || assert_eq!(watch.overdue(), [1, 2]))));
        assert_eq!(outer, None);
        assert_eq!(watch.during(4, || watch.during(5, || assert_eq!(watch.overdue(), [4, 5]))), None, "all have ended");
    }
}
