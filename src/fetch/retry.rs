//! Attempts at one image: each within its time, with a growing, jittered pause between them.

use std::future::Future;
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use url::Url;

use super::settings::LONGEST_PAUSE;
use super::{failed, shown};
use crate::error::Refusal;
use crate::retry::pauses;

/// A server is not asked again as soon as a broker is: the first pause is 0.4 to 0.8 s.
const SKIPPED_PAUSES: usize = 3;

/// Why an attempt gave no image.
pub(super) enum Failure {
    /// It will not do so next time either.
    Lasting(Refusal),
    /// It may pass.
    Passing {
        /// What happened.
        what: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Lasting(refusal)
    }
}

pub(super) struct Tries {
    pauses: Box<dyn Iterator<Item = Duration> + Send>,
    timeout: Duration,
    /// Of the present attempt's time: a redirect goes on with what is left of it.
    left: Duration,
    made: u32,
    retries: IntCounter,
}

impl Tries {
    pub(super) fn new(attempts: u32, timeout: Duration, retries: IntCounter) -> Self {
        let pauses = pauses().skip(SKIPPED_PAUSES).take(attempts.saturating_sub(1) as usize);
        Self { pauses: Box::new(pauses), timeout, left: timeout, made: 1, retries }
    }

    /// Within what is left of the attempt's time.
    pub(super) async fn attempt<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let started = Instant::now();
        let ended = tokio::time::timeout(self.left, work).await;
        self.left = self.left.saturating_sub(started.elapsed());
        ended.unwrap_or_else(|_| {
            let what = format!("not there within {} ms (fetch.timeout_ms)", self.timeout.as_millis());
            Err(Failure::Passing { what, retry_after: None })
        })
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn pause_after(&mut self, failure: Failure, url: &Url) -> Result<(), Refusal> {
        let (what, retry_after) = match failure {
            Failure::Lasting(refusal) => return Err(self.refusal(refusal)),
            Failure::Passing { what, retry_after } => (what, retry_after),
        };
        let Some(pause) = self.pauses.next() else {
            return Err(self.refusal(failed(format!("{}: {what}", shown(url)))));
        };
        tracing::debug!(url = shown(url), what, "to be fetched again");
        tokio::time::sleep(pause.max(retry_after.unwrap_or_default()).min(LONGEST_PAUSE)).await;
        self.retries.inc();
        self.made += 1;
        self.left = self.timeout;
        Ok(())
    }

    /// With the attempts that it took.
    pub(super) fn refusal(&self, refusal: Refusal) -> Refusal {
        Refusal { attempts: self.made, ..refusal }
    }
}
