//! What is printed at the end: one row for every mode and kind of fault.

use std::time::Duration;

use super::fleet::Mode;
use super::verify::Verdict;

/// One scenario's figures.
pub struct Row {
    mode: Mode,
    name: String,
    faults: usize,
    recoveries: Vec<Duration>,
    pub verdict: Verdict,
}

impl Row {
    pub fn new(mode: Mode, name: &str, faults: usize, mut recoveries: Vec<Duration>) -> Self {
        recoveries.sort_unstable();
        Self { mode, name: name.to_owned(), faults, recoveries, verdict: Verdict::default() }
    }

    pub fn with(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }

    /// What breaks a promise, if anything does.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.verdict.complaints.clone();
        if self.mode.is_exact() && self.verdict.doubled > 0 {
            failures.push(format!("{} outcomes came twice", self.verdict.doubled));
        }
        let place = format!("{}, {}", self.mode.name(), self.name);
        failures.into_iter().map(|failure| format!("{place}: {failure}")).collect()
    }
}

/// Prints the table.
pub fn print(rows: &[Row]) {
    println!(
        "\n{:<14} {:<42} {:>6} {:>7} {:>5} {:>7} {:>12} {:>6} {:>6}  recovery, s: median / max",
        "mode", "faults of kind", "faults", "fed", "lost", "doubled", "out of order", "fenced", "called"
    );
    for row in rows {
        let Verdict { fed, lost, doubled, out_of_order, fenced, called, .. } = row.verdict;
        let seconds = |recovery: Option<&Duration>| recovery.map_or("-".into(), |r| format!("{:.1}", r.as_secs_f64()));
        println!(
            "{:<14} {:<42} {:>6} {fed:>7} {lost:>5} {doubled:>7} {out_of_order:>12} {fenced:>6} {called:>6}  {} / {}",
            row.mode.name(),
            row.name,
            row.faults,
            seconds(row.recoveries.get(row.recoveries.len() / 2)),
            seconds(row.recoveries.last()),
        );
    }
}
