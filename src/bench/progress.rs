//! What a person at the terminal sees meanwhile, on standard error.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a known number.
///
/// # Errors
/// Never: its template is a literal.
pub fn bar(length: u64, what: &str) -> Result<ProgressBar> {
    let bar = ProgressBar::new(length);
    bar.set_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}")?);
    bar.set_message(what.to_owned());
    Ok(bar)
}
