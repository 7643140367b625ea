//! Logs, by `tracing`, on standard error: standard output belongs to results.

use std::io;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// How to log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// For people or for machines.
    pub format: Format,
    /// `error`, `warn`, `info`, `debug`, `trace`, or `tracing` directives such as `info,sentistream::kafka=debug`.
    pub level: String,
}

/// Format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One readable line.
    Human,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        let filter = EnvFilter::try_new(&self.level);
        filter.map(|_| ()).map_err(|error| format!("log.level is {:?} ({error}); try \"info\"", self.level))
    }
}

/// Starts logging; a second call in one process changes nothing.
pub fn start(settings: &Settings) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Fails only when logging is on already.
    let _ = match settings.format {
        Format::Human => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        Format::Json => builder.json().try_init(),
    };
}
