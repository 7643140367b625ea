//! One scenario: topics, workers, feeder and watcher; faults done to them; and how long it took to recover from each.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::feed::{Feeder, Pace, Records};
use super::fleet::{Fleet, Mode};
use super::plan::{Fault, Step, Target, WORKERS};
use super::table::Row;
use super::verify;
use super::watch::{Watcher, offsets};
use crate::support::PATIENCE;
use crate::support::broker::{Broker, REPLICAS};
use crate::support::kafka::Topics;

const PARTITIONS: i32 = 6;
const PACE: Pace = Pace { per_second: 160, backlog: 200 };
/// A group that publishes nothing for so long, with nothing done to it, has stalled.
const STALLED: Duration = Duration::from_mins(1);
/// How long is waited where Kafka itself has forgotten how a transaction ended: its group may stand still for ever.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// How often it is asked whether every partition has an owner.
const ASKED: Duration = Duration::from_secs(1);
/// How long a partition without an owner may be one: far longer than any rebalance takes here.
const OWNERLESS: Duration = Duration::from_secs(20);
/// librdkafka's name for the workers' clients.
const CLIENT_ID: &str = "sentistream";

/// What a fault takes away, and so what tells that it is back.
#[derive(Debug, Clone, Copy)]
enum Affected {
    /// Every input partition: one without an owner does not move.
    Partitions,
    Topic(Target),
}

/// What scenarios share.
pub struct Arena<'a> {
    pub broker: &'a mut Broker,
    pub folder: &'a Path,
    pub seed: u64,
}

struct Scenario<'a> {
    broker: &'a mut Broker,
    topics: Topics,
    fleet: Fleet,
    feeder: Option<Feeder>,
    watcher: Watcher,
    runtime: Runtime,
    /// Transactions that the broker had given up telling partitions of before.
    given_up: usize,
    asked: Instant,
    ownerless_since: Option<Instant>,
    complaints: Vec<String>,
}

/// Runs the steps under load and says what came of it.
pub fn run(arena: &mut Arena<'_>, mode: Mode, name: &str, steps: &[Step]) -> Row {
    let runtime = Runtime::new().expect("runtime");
    let address = arena.broker.address().to_owned();
    let topics = runtime.block_on(Topics::create_on(address, "chaos", PARTITIONS, &[], REPLICAS));
    let records = Arc::new(Records::new(arena.seed, PARTITIONS));
    let watcher = Watcher::start(&topics);
    let feeder = Feeder::start(&topics, Arc::clone(&records), Arc::clone(&watcher.progress), PACE);
    let fleet = Fleet::new(&topics, arena.folder, mode);
    let mut scenario = Scenario {
        given_up: arena.broker.markers_given_up(),
        broker: arena.broker,
        topics,
        fleet,
        feeder: Some(feeder),
        watcher,
        runtime,
        asked: Instant::now(),
        ownerless_since: None,
        complaints: vec![],
    };
    let recoveries = scenario.suffer(mode, steps);
    scenario.settle(&records, Row::new(mode, name, steps.len(), recoveries), mode)
}

impl Scenario<'_> {
    fn suffer(&mut self, mode: Mode, steps: &[Step]) -> Vec<Duration> {
        for _ in 0..WORKERS {
            self.fleet.join();
        }
        let started = Instant::now();
        self.expect("the group forms", |scenario| scenario.recovery(Affected::Partitions, started).is_some());
        let mut over: Vec<(Affected, Instant)> = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            if let Some(&(affected, since)) = over.last().filter(|_| step.is_mended) {
                let mended = self.expect("a fault is mended", |scenario| scenario.recovery(affected, since).is_some());
                if !mended && self.is_void() {
                    break;
                }
            }
            self.pause(step.pause);
            println!("{}: {}/{} {:?}", mode.name(), number + 1, steps.len(), step.fault);
            let (affected, since) = self.inflict(&step.fault);
            over.push((affected, since));
        }
        for &(affected, since) in &over {
            self.expect("every fault is mended", |scenario| scenario.recovery(affected, since).is_some());
        }
        over.into_iter().filter_map(|(affected, since)| self.recovery(affected, since)).collect()
    }

    /// Measured when all is over, so a fault that hits before the last one is mended counts for both.
    fn recovery(&self, affected: Affected, since: Instant) -> Option<Duration> {
        match affected {
            Affected::Partitions => self.watcher.progress.partitions_recovered(since),
            Affected::Topic(target) => self.watcher.progress.topic_recovered(target, since),
        }
    }

    /// Does it, and tells from when on what should be back: the kill of a worker, or the end of the fault.
    fn inflict(&mut self, fault: &Fault) -> (Affected, Instant) {
        let start = Instant::now();
        match fault {
            Fault::KillWorker { worker } => {
                self.fleet.kill(*worker);
                return (Affected::Partitions, start);
            }
            Fault::RestartBroker { cleanly, down } => {
                if *cleanly {
                    self.broker.stop();
                } else {
                    self.broker.kill();
                }
                self.pause(*down);
                self.broker.restart();
            }
            Fault::FreezeBroker { lasts } => {
                self.broker.freeze();
                self.pause(*lasts);
                self.broker.thaw();
            }
            Fault::Storm { pauses } => {
                for (number, pause) in pauses.iter().enumerate() {
                    self.pause(*pause);
                    if number < pauses.len() / 2 { self.fleet.leave() } else { self.fleet.join() }
                }
            }
            Fault::FreezeWorker { worker, lasts } => {
                self.fleet.signal(*worker, "STOP");
                self.pause(*lasts);
                self.fleet.signal(*worker, "CONT");
                // The others take over while it sleeps.
                return (Affected::Partitions, start);
            }
            Fault::Unavailable { target, lasts, killed } => {
                self.make_unavailable(*target, *lasts, killed);
                return (Affected::Topic(*target), Instant::now());
            }
            Fault::SlowOutput { bytes_per_second, lasts, killed } => {
                self.broker.limit_producers(CLIENT_ID, Some(*bytes_per_second));
                self.pause(*lasts);
                self.fleet.kill(*killed);
                self.pause(*lasts);
                self.broker.limit_producers(CLIENT_ID, None);
            }
            Fault::FillDisk { lasts } => self.fill_disk(*lasts),
        }
        (Affected::Partitions, Instant::now())
    }

    /// No producer may publish with fewer copies in sync than the topic asks for, and but one of two is there.
    fn make_unavailable(&mut self, target: Target, lasts: Duration, killed: &[usize]) {
        let topic = match target {
            Target::Output => self.topics.output(),
            Target::DeadLetters => self.topics.dead_letters(),
        };
        self.runtime.block_on(self.topics.alter(&topic, "min.insync.replicas", "2"));
        for worker in killed {
            if target == Target::DeadLetters {
                self.let_results_pass_poison(lasts);
            } else {
                self.pause(lasts);
            }
            self.fleet.kill(*worker);
        }
        self.pause(lasts);
        self.runtime.block_on(self.topics.alter(&topic, "min.insync.replicas", "1"));
    }

    /// Waits until poison is stuck and results behind it are out: only then would a wrong commit lose anything.
    fn let_results_pass_poison(&mut self, at_most: Duration) {
        let fed = |scenario: &Self| scenario.feeder.as_ref().map_or(0, Feeder::poisons);
        let (start, poisons) = (Instant::now(), fed(self));
        let passed = |scenario: &Self| {
            fed(scenario) > poisons + 2 && scenario.watcher.progress.new_outcomes(Target::Output, start) > 100
        };
        while !passed(self) && start.elapsed() < at_most * 4 {
            self.pause(Duration::from_millis(50));
        }
    }

    /// The broker gives up by itself, or is killed after a while.
    fn fill_disk(&mut self, lasts: Duration) {
        self.broker.disk().fill();
        self.pause(lasts);
        self.broker.kill();
        self.broker.disk().free();
        self.broker.restart();
    }

    fn pause(&mut self, lasts: Duration) {
        let end = Instant::now() + lasts;
        loop {
            self.fleet.supervise();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// Where named workers have left a partition without an owner (docs/guarantees.md: they may), one more joins, as whoever
    /// is alerted would have it: nothing may be lost by that either.
    fn call_for_an_owner(&mut self) {
        if !self.fleet.is_named() || self.asked.elapsed() < ASKED {
            return;
        }
        self.asked = Instant::now();
        let is_ownerless = self.fleet.assigned_partitions().is_some_and(|assigned| assigned < i64::from(PARTITIONS));
        if !is_ownerless {
            self.ownerless_since = None;
        } else if self.ownerless_since.get_or_insert_with(Instant::now).elapsed() > OWNERLESS {
            println!("a partition had no owner for {} s, and all workers ran: another joins", OWNERLESS.as_secs());
            self.fleet.join();
            self.fleet.called += 1;
            self.ownerless_since = None;
        }
    }

    /// Waits for a condition; what does not come is a complaint, so that the rest is still looked at.
    fn expect(&mut self, what: &str, holds: impl Fn(&Self) -> bool) -> bool {
        let started = Instant::now();
        while !holds(self) {
            let waited = started.elapsed();
            if waited > PATIENCE || waited > FORGOTTEN && self.is_void() {
                self.complaints.push(format!("waited {} s until {what}", waited.as_secs()));
                return false;
            }
            self.call_for_an_owner();
            self.pause(Duration::from_millis(20));
        }
        true
    }

    /// Whether the scenario is run again anyway, should anything be amiss.
    fn is_void(&self) -> bool {
        self.broker.markers_given_up() > self.given_up
    }

    /// Ends the feed, waits until the group believes that it has finished, sends the workers away, and looks.
    fn settle(mut self, records: &Records, row: Row, mode: Mode) -> Row {
        let fed = self.feeder.take().map_or(0, Feeder::stop);
        self.wait_for_commits();
        self.fleet.stop();
        let offsets = offsets(&self.topics);
        if offsets.as_ref().is_none_or(|offsets| offsets.iter().any(|(committed, end)| committed != end)) {
            self.complaints.push(format!("committed offsets are not the input's end: {offsets:?}"));
        }
        let mut verdict = verify::judge(&self.topics, records, fed, mode);
        verdict.complaints.append(&mut self.complaints);
        verdict.complaints.append(&mut self.fleet.complaints);
        verdict.fenced = self.fleet.fenced;
        verdict.called = self.fleet.called;
        row.with(verdict)
    }

    fn wait_for_commits(&mut self) {
        let (mut outcomes, mut moved) = (0, Instant::now());
        loop {
            let finished = |offsets: &Vec<(i64, i64)>| offsets.iter().all(|(committed, end)| committed == end);
            if offsets(&self.topics).as_ref().is_some_and(finished) {
                return;
            }
            let now = self.watcher.progress.outcomes();
            if now != outcomes {
                (outcomes, moved) = (now, Instant::now());
            } else if moved.elapsed() > STALLED {
                self.complaints.push(format!("nothing new is published for {} s: stalled", STALLED.as_secs()));
                return;
            }
            self.call_for_an_owner();
            self.pause(Duration::from_millis(100));
        }
    }
}
