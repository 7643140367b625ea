//! Whether the worker is alive (its stages make progress) and ready (its model is warm). Written by the stages, read by
//! the admin port.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use serde::Serialize;

/// What the stages have last shown.
#[derive(Debug)]
pub struct Health {
    stall: Duration,
    ready: AtomicBool,
    polled: Mutex<Instant>,
    progressed: Mutex<Instant>,
    /// Posts that wait for the schema registry: with it away nothing is finished, and a restart would change nothing.
    waits: IntGauge,
    /// What runs, told by `/readyz`.
    pub model: ModelIdentity,
}

/// What runs.
#[derive(Debug, Clone, Serialize)]
pub struct ModelIdentity {
    /// Execution provider in use.
    pub provider: String,
    /// Bundle name.
    pub bundle: String,
    /// Bundle version.
    pub version: String,
    /// Bundle digest.
    pub digest: String,
}

impl Health {
    /// Nothing is ready yet. A worker that shows no progress for `stall` is not alive.
    #[must_use]
    pub fn new(stall: Duration, model: ModelIdentity, waits: IntGauge) -> Self {
        let now = Instant::now();
        let (polled, progressed) = (Mutex::new(now), Mutex::new(now));
        Self { stall, ready: AtomicBool::new(false), polled, progressed, waits, model }
    }

    /// The model is warm and the group is joined (or being joined).
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether [`Self::set_ready`] said so last.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The poll loop came round and found so many records in flight. None is as good as progress, and so is waiting for what is
    /// away.
    pub fn poll_loop_runs(&self, in_flight: usize) {
        *self.polled.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if in_flight == 0 || self.waits.get() > 0 {
            self.progress();
        }
    }

    /// An outcome was acknowledged.
    pub fn progress(&self) {
        *self.progressed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// What stands still, if anything does.
    #[must_use]
    pub fn stalled(&self) -> Option<&'static str> {
        let still =
            |since: &Mutex<Instant>| since.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > self.stall;
        if still(&self.polled) {
            return Some("the poll loop stands still");
        }
        still(&self.progressed).then_some("records are in flight and none was finished")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(stall: Duration) -> Health {
        let model =
            ModelIdentity { provider: "cpu".into(), bundle: "b".into(), version: "1".into(), digest: "d".into() };
        Health::new(stall, model, IntGauge::new("waits", "of nothing").expect("a gauge"))
    }

    #[test]
    fn a_worker_without_work_is_alive_and_one_stuck_on_work_is_not() {
        let health = health(Duration::from_millis(1));
        std::thread::sleep(Duration::from_millis(3));
        health.poll_loop_runs(5);
        assert!(health.stalled().is_some_and(|why| why.contains("in flight")));
        health.waits.inc();
        health.poll_loop_runs(5);
        assert_eq!(health.stalled(), None, "it waits for the registry");
        health.waits.dec();
        std::thread::sleep(Duration::from_millis(3));
        health.poll_loop_runs(0);
        assert_eq!(health.stalled(), None);
    }

    #[test]
    fn a_poll_loop_that_stands_still_is_told() {
        let health = health(Duration::ZERO);
        std::thread::sleep(Duration::from_millis(1));
        assert!(health.stalled().is_some_and(|why| why.contains("poll loop")));
    }
}
