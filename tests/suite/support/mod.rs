//! What the tests share: settings and topics of their own on the broker, real photographs as posts, and the binary.

pub mod broker;
pub mod browser;
#[path = "../../fuzz/src/lib.rs"]
pub mod decoding;
pub mod feeding;
pub mod hostile;
pub mod kafka;
pub mod npm;
pub mod photos;
pub mod process;
pub mod registry;
pub mod secured;
pub mod served;
pub mod story;
pub mod tokens;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a condition may take to come true. Far more than it needs: a test fails by its condition, not by the clock.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// A path inside the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {} s until {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`wait_until`], within an async test.
pub async fn wait_until_async(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {} s until {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
