//! How long to wait between attempts at what fails for the moment.

use std::thread;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(50);

/// Pauses that double from 50 ms up to 5 s, each with a random share on top so that workers that failed together do
/// not try again together. Endless.
pub fn pauses() -> impl Iterator<Item = Duration> {
    let builder = ExponentialBuilder::default().with_min_delay(SHORTEST).with_max_delay(LONGEST);
    let doubling = builder.with_jitter().without_max_times().build();
    doubling.map(|pause| pause.min(LONGEST))
}

/// Sleeps for the next pause.
pub fn rest(pauses: &mut impl Iterator<Item = Duration>) {
    thread::sleep(pauses.next().unwrap_or(LONGEST));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_end() {
        let pauses: Vec<Duration> = pauses().take(100).collect();
        assert_eq!(pauses.len(), 100);
        assert!(pauses.iter().all(|pause| (SHORTEST..=LONGEST).contains(pause)), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&LONGEST));
        assert!(pauses[0] < 2 * SHORTEST, "{pauses:?}");
    }
}
