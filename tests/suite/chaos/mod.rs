//! Chaos: real workers on a real broker, both of which are killed, frozen, starved and cut off while records keep coming,
//! and then everything that was fed is looked for. `make chaos` runs the whole of it, `make test` one fault of each kind.
//!
//! Set by the environment: `CHAOS_FAULTS` makes it the whole, with so many kills of workers for each mode and a share of it
//! of every other kind; `CHAOS_SEED` repeats a plan; `CHAOS_ONLY` and `CHAOS_MODE` pick rows by part of their name.

mod faults;
mod feed;
mod fleet;
mod plan;
mod table;
mod verify;
mod watch;

use std::path::Path;
use std::time::Instant;

use fastrand::Rng;

use crate::support::broker::{Broker, Disk};
use faults::Arena;
use fleet::Mode;
use plan::{Kind, Step};
use table::Row;

/// Kills of workers in the short form.
const FEW: usize = 3;
/// The disk that is filled.
const DISK_MIB: u32 = 512;

/// A row to be.
struct Scenario {
    mode: Mode,
    name: &'static str,
    steps: Vec<Step>,
    needs_disk: bool,
}

fn set(key: &str) -> Option<String> {
    std::env::var(key).ok().filter(|value| !value.is_empty())
}

/// What is to be run. A scenario's plan depends on the seed and on nothing else that is run.
fn scenarios(faults: Option<usize>, seed: u64) -> Vec<Scenario> {
    let of_mode = |mode: Mode| match faults {
        None => {
            let steps = plan::of_all_kinds(FEW, &mut Rng::with_seed(seed));
            vec![Scenario { mode, name: "one of each kind", steps, needs_disk: false }]
        }
        Some(faults) => Kind::ALL
            .into_iter()
            .map(|(kind, share)| {
                let steps = plan::of_kind(kind, (faults / share).max(1), &mut Rng::with_seed(seed ^ kind as u64));
                Scenario { mode, name: kind.name(), steps, needs_disk: kind == Kind::DiskFull }
            })
            .collect(),
    };
    let picked = |key: &str, name: &str| set(key).is_none_or(|part| name.contains(&part));
    let all = Mode::ALL.into_iter().filter(|mode| picked("CHAOS_MODE", mode.name())).flat_map(of_mode);
    all.filter(|scenario| picked("CHAOS_ONLY", scenario.name)).collect()
}

#[test]
#[ignore = "needs Kafka, and minutes: make test, make chaos"]
fn nothing_is_lost_whatever_fails() {
    if !Broker::is_installed() {
        println!("SKIPPED: chaos needs a broker of its own to break: make kafka");
        return;
    }
    let seed = set("CHAOS_SEED").map_or_else(|| Rng::new().u64(..), |seed| seed.parse().expect("CHAOS_SEED: a number"));
    let faults = set("CHAOS_FAULTS").map(|faults| faults.parse().expect("CHAOS_FAULTS: a number"));
    println!("chaos with SEED={seed}");
    let evidence = Evidence::new(seed);
    let started = Instant::now();
    let rows = run_all(&scenarios(faults, seed), seed, evidence.folder());
    table::print(&rows);
    println!("SEED={seed}, {} s", started.elapsed().as_secs());
    let failures: Vec<String> = rows.iter().flat_map(Row::failures).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn run_all(scenarios: &[Scenario], seed: u64, folder: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for needs_disk in [false, true] {
        let mut scenarios = scenarios.iter().filter(|scenario| scenario.needs_disk == needs_disk).peekable();
        if scenarios.peek().is_none() {
            continue;
        }
        let folder = folder.join(if needs_disk { "small-disk" } else { "broker" });
        std::fs::create_dir_all(&folder).expect("folder made");
        let disk = needs_disk.then(|| Disk::mount(&folder.join("data"), DISK_MIB));
        if let Some(None) = disk {
            println!("SKIPPED: the full disk: this system lets us mount none (unshare --map-root-user --mount)");
            continue;
        }
        let mut broker = Broker::start(&folder, disk.flatten());
        rows.extend(scenarios.map(|scenario| run(&mut broker, scenario, seed, &folder)));
    }
    rows
}

fn run(broker: &mut Broker, scenario: &Scenario, seed: u64, folder: &Path) -> Row {
    let Scenario { mode, name, steps, .. } = scenario;
    println!("{}: {name}", mode.name());
    let started = Instant::now();
    let folder = folder.join(format!("{}-{}", mode.name(), name.replace([' ', '>', ','], "-")));
    std::fs::create_dir_all(&folder).expect("folder made");
    let row = faults::run(&mut Arena { broker, folder: &folder, seed }, *mode, name, steps);
    println!("  {} s; {}", started.elapsed().as_secs(), row.failures().join("\n  "));
    row
}

/// Logs of broker and workers: kept where the test fails, with word of where.
struct Evidence {
    folder: Option<tempfile::TempDir>,
    seed: u64,
}

impl Evidence {
    fn new(seed: u64) -> Self {
        Self { folder: Some(tempfile::Builder::new().prefix("sentistream-chaos-").tempdir().expect("folder")), seed }
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().expect("not dropped").path()
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            // The records themselves are large, and the seed makes them again; there are none on a disk that is gone.
            let _ = std::fs::remove_dir_all(folder.path().join("broker/data"));
            eprintln!("SEED={}; the logs of broker and workers are in {}", self.seed, folder.keep().display());
        }
    }
}
