//! Asks workers how they are: a thread for each, once a second, for as long as somebody listens.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use serde_json::Value;

use crate::error::one_line;
use crate::scrape::{self, Samples};

const INTERVAL: Duration = Duration::from_secs(1);
/// How long each of a worker's three pages may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Answers that nobody has taken yet; whoever asks waits then.
const WAITING: usize = 64;
/// Longest word of another program that is shown, in characters.
const LONGEST: usize = 120;

/// How a worker is.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `/metrics`.
    pub metrics: Samples,
    /// `/readyz`.
    pub ready: bool,
    /// `/healthz`: what stands still, if anything does.
    pub stalled: Option<String>,
}

/// What came of asking one.
#[derive(Debug)]
pub struct Told {
    /// Its place among the addresses.
    pub worker: usize,
    /// When.
    pub at: Instant,
    /// Or why there is none.
    pub answer: Result<Answer, String>,
}

/// Asks all of them until the receiver is dropped.
///
/// # Errors
/// When the system gives no more threads.
pub fn watch(addresses: &[String]) -> io::Result<Receiver<Told>> {
    let (told, receiver) = crossbeam_channel::bounded(WAITING);
    for (worker, address) in addresses.iter().cloned().enumerate() {
        let told = told.clone();
        thread::Builder::new().name("ask".into()).spawn(move || {
            loop {
                let at = Instant::now();
                let answer = ask(&address).map_err(|error| safe(&error.to_string()));
                if told.send(Told { worker, at, answer }).is_err() {
                    return;
                }
                thread::sleep(INTERVAL.saturating_sub(at.elapsed()));
            }
        })?;
    }
    Ok(receiver)
}

fn ask(address: &str) -> io::Result<Answer> {
    let metrics = scrape::metrics(address, PATIENCE)?;
    let (ready, _) = scrape::get(address, "/readyz", PATIENCE)?;
    let (health, why) = scrape::get(address, "/healthz", PATIENCE)?;
    Ok(Answer { metrics, ready: ready == 200, stalled: (health != 200).then(|| stalled(&why)) })
}

fn stalled(body: &str) -> String {
    let why = serde_json::from_str::<Value>(body).ok();
    safe(why.as_ref().and_then(|body| body.get("why")).and_then(Value::as_str).unwrap_or("it does not say why"))
}

/// A text of another program, fit for a terminal: one line, not too long.
pub(super) fn safe(text: &str) -> String {
    one_line(&text.chars().take(LONGEST).collect::<String>())
}
