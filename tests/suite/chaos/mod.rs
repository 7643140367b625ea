//! Chaos: real workers on a real broker, both of which are killed, frozen, starved and cut off while records keep coming,
//! and then everything that was fed is looked for. `make chaos` runs the whole of it, `make test` one fault of each kind.
//!
//! Set by the environment: `CHAOS_FAULTS` makes it the whole, with so many kills of workers for each mode and a share of it
//! of every other kind; `CHAOS_SEED` repeats a plan; `CHAOS_MODE`, and in the whole `CHAOS_ONLY`, pick rows by part of their name.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table, and how far it is, for whoever waits")]

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
const FEW: usize = 2;
/// The disk that is filled.
const DISK_MIB: u32 = 384;

fn set(key: &str) -> Option<String> {
    std::env::var(key).ok().filter(|value| !value.is_empty())
}

fn is_picked(key: &str, name: &str) -> bool {
    set(key).is_none_or(|part| name.contains(&part))
}

#[test]
#[ignore = "needs Kafka, and minutes: make test, make chaos"]
fn nothing_is_lost_whatever_fails() {
    if !Broker::is_installed() {
        println!("SKIPPED: chaos needs a broker of its own to break: make kafka");
        return;
    }
    let seed = set("CHAOS_SEED").map_or_else(|| Rng::new().u64(..), |seed| seed.parse().expect("CHAOS_SEED: a number"));
    println!("chaos with SEED={seed}");
    let evidence = Evidence::new(seed);
    let started = Instant::now();
    let rows = match set("CHAOS_FAULTS") {
        None => short(seed, evidence.folder()),
        Some(faults) => full(faults.parse().expect("CHAOS_FAULTS: a number"), seed, evidence.folder()),
    };
    table::print(&rows);
    println!("SEED={seed}, {} s", started.elapsed().as_secs());
    let failures: Vec<String> = rows.iter().flat_map(Row::failures).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn modes() -> impl Iterator<Item = Mode> {
    Mode::ALL.into_iter().filter(|mode| is_picked("CHAOS_MODE", mode.name()))
}

/// One fault of every kind for each mode, the modes beside each other.
fn short(seed: u64, folder: &Path) -> Vec<Row> {
    std::thread::scope(|scope| {
        let of_mode = |mode: Mode| {
            scope.spawn(move || {
                let folder = folder.join(mode.name());
                let disk = small_disk(&folder);
                let steps = plan::of_all_kinds(FEW, disk.is_some(), &mut Rng::with_seed(seed));
                run(&mut Broker::start(&folder, disk), mode, "one of each kind", &steps, seed, &folder)
            })
        };
        let running: Vec<_> = modes().map(of_mode).collect();
        running.into_iter().map(|mode| mode.join().expect("told above")).collect()
    })
}

/// A scenario for each mode and kind of fault, one after the other. Its plan depends on the seed, not on what else is run.
fn full(faults: usize, seed: u64, folder: &Path) -> Vec<Row> {
    let scenarios = |with_disk: bool| {
        modes()
            .flat_map(|mode| Kind::ALL.map(|(kind, share)| (mode, kind, share)))
            .filter(move |(_, kind, _)| (*kind == Kind::DiskFull) == with_disk && is_picked("CHAOS_ONLY", kind.name()))
    };
    let run_one = |broker: &mut Broker, (mode, kind, share): (Mode, Kind, usize), folder: &Path| {
        let steps = plan::of_kind(kind, (faults / share).max(1), &mut Rng::with_seed(seed ^ kind as u64));
        run(broker, mode, kind.name(), &steps, seed, folder)
    };
    let mut rows = Vec::new();
    if scenarios(false).next().is_some() {
        let mut broker = Broker::start(folder, None);
        rows.extend(scenarios(false).map(|scenario| run_one(&mut broker, scenario, folder)));
    }
    let folder = folder.join("disk");
    if scenarios(true).next().is_some()
        && let Some(disk) = small_disk(&folder)
    {
        let mut broker = Broker::start(&folder, Some(disk));
        rows.extend(scenarios(true).map(|scenario| run_one(&mut broker, scenario, &folder)));
    }
    rows
}

/// How often a scenario is run in which Kafka fails by itself.
const ATTEMPTS: usize = 3;

fn small_disk(folder: &Path) -> Option<Disk> {
    let disk = Disk::mount(&folder.join("data"), DISK_MIB);
    if disk.is_none() {
        println!("SKIPPED: the full disk: this system lets us mount none (unshare --map-root-user --mount)");
    }
    disk
}

fn run(broker: &mut Broker, mode: Mode, name: &str, steps: &[Step], seed: u64, folder: &Path) -> Row {
    println!("{}: {name}", mode.name());
    let started = Instant::now();
    let folder = folder.join(format!("{}-{}", mode.name(), name.replace([' ', '>', ','], "-")));
    std::fs::create_dir_all(&folder).expect("folder made");
    let mut attempts = 0;
    let row = loop {
        attempts += 1;
        let before = broker.markers_given_up();
        let row = faults::run(&mut Arena { broker, folder: &folder, seed }, mode, name, steps);
        let given_up = broker.markers_given_up() - before;
        // Then what the topics show says nothing of the workers.
        if given_up == 0 || row.failures().is_empty() || attempts == ATTEMPTS {
            break row;
        }
        println!(
            "VOID, run again: Kafka itself gave up the markers of {given_up} transactions (\"can be skipped\" in its log), so that \
             records of aborted ones are read as committed: {}",
            row.failures().join("\n  ")
        );
    };
    println!("{}: {name}: {} s {}", mode.name(), started.elapsed().as_secs(), row.failures().join("\n  "));
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
            for data in ["data", "at_least_once/data", "exactly_once/data"] {
                let _ = std::fs::remove_dir_all(folder.path().join(data));
            }
            eprintln!("SEED={}; the logs of broker and workers are in {}", self.seed, folder.keep().display());
        }
    }
}
