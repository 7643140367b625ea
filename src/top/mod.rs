//! `sentistream top`: what workers tell of themselves, at a glance and live.
//!
//! Each worker's admin port is [`ask`]ed once a second by a thread of its own. A `track` keeps the answers of one worker for
//! as long as rates are taken over; the [`Board`] holds all tracks. A [`Reading`] is every figure of a moment, for programs (JSON)
//! as for the [`view`], which draws it, on a [`screen`] or as plain text. All but [`ask`] and [`screen`] is pure.
//!
//! What comes from the other end is a stranger's: no text of it reaches the terminal but as one line without control characters.

pub mod ask;
mod bottleneck;
pub mod figures;
mod reading;
pub mod screen;
mod sections;
mod track;
pub mod view;
mod words;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::ask::Told;
use self::figures::Reading;
use self::track::Track;

/// What all workers told.
#[derive(Debug)]
pub struct Board {
    window: Duration,
    tracks: Vec<Track>,
}

impl Board {
    /// Nobody has answered yet. Rates are taken over the `window`.
    pub fn new(addresses: &[String], window: Duration, now: Instant) -> Self {
        let track = |address: &String| Track::new(address.clone(), window, now);
        Self { window, tracks: addresses.iter().map(track).collect() }
    }

    /// Takes what a worker told.
    pub fn take(&mut self, told: Told) {
        if let Some(track) = self.tracks.get_mut(told.worker) {
            track.take(told.at, told.answer);
        }
    }

    /// Whether every worker has been asked for as long as rates are taken over.
    pub fn is_complete(&self) -> bool {
        self.tracks.iter().all(|track| track.asked_for() >= self.window)
    }

    /// How many workers there are to choose from.
    pub fn workers(&self) -> usize {
        self.tracks.len()
    }

    /// The figures of a moment, of one worker or of all.
    pub fn reading(&self, worker: Option<usize>, now: Instant) -> Reading {
        Reading::of(&self.tracks, worker, now)
    }
}
