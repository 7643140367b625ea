//! How reading the topics goes: written by who reads, told by `GET /api/v1/health`.

use std::sync::{Mutex, PoisonError};

/// What is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Whether the brokers answer.
    pub connected: bool,
    /// What keeps it from reading or writing.
    pub error: Option<String>,
    /// Records of the results topic not read yet; unknown until the brokers told where it ends.
    pub behind: Option<i64>,
    /// Records of the input topic behind the committed offsets of the workers' group.
    pub lag: Option<i64>,
    /// Why the lag is not known.
    pub lag_error: Option<String>,
}

/// Shared by both.
#[derive(Debug, Default)]
pub struct Status(Mutex<Told>);

impl Status {
    /// As it is now.
    #[must_use]
    pub fn told(&self) -> Told {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what is told.
    pub fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
