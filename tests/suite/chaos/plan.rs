//! What happens to the system, and when: drawn from a seed, so that the same seed makes the same plan.

use std::time::Duration;

use fastrand::Rng;

/// Workers that a scenario starts with.
pub const WORKERS: usize = 3;

/// A kind of fault: one row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    WorkerKilled,
    BrokerRestarted,
    BrokerFrozen,
    RebalanceStorm,
    Zombie,
    OutputUnavailable,
    DeadLettersUnavailable,
    OutputSlow,
    DiskFull,
}

impl Kind {
    /// Every kind, and how many of the faults asked for are a scenario's share: killing a worker is over soonest.
    pub const ALL: [(Self, usize); 9] = [
        (Self::WorkerKilled, 1),
        (Self::BrokerRestarted, 5),
        (Self::BrokerFrozen, 5),
        (Self::RebalanceStorm, 5),
        (Self::Zombie, 5),
        (Self::OutputUnavailable, 8),
        (Self::DeadLettersUnavailable, 8),
        (Self::OutputSlow, 12),
        (Self::DiskFull, 12),
    ];

    /// As the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker killed",
            Self::BrokerRestarted => "broker killed or stopped, restarted",
            Self::BrokerFrozen => "broker frozen",
            Self::RebalanceStorm => "rebalance storm, 3 -> 1 -> 3 workers",
            Self::Zombie => "worker frozen past its session",
            Self::OutputUnavailable => "output unavailable, worker killed",
            Self::DeadLettersUnavailable => "dead letters unavailable, workers killed",
            Self::OutputSlow => "slow output, worker killed",
            Self::DiskFull => "broker's disk full",
        }
    }
}

/// A topic that can be made unavailable while the other is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    Output,
    DeadLetters,
}

/// One fault, with all that was drawn for it.
#[derive(Debug, Clone)]
pub enum Fault {
    KillWorker {
        worker: usize,
    },
    RestartBroker {
        cleanly: bool,
        down: Duration,
    },
    FreezeBroker {
        lasts: Duration,
    },
    /// Two workers leave and two join, after a pause each.
    Storm {
        pauses: [Duration; 4],
    },
    FreezeWorker {
        worker: usize,
        lasts: Duration,
    },
    /// A topic takes nothing; workers are killed meanwhile.
    Unavailable {
        target: Target,
        lasts: Duration,
        killed: Vec<usize>,
    },
    SlowOutput {
        bytes_per_second: u32,
        lasts: Duration,
        killed: usize,
    },
    FillDisk {
        lasts: Duration,
    },
}

/// A fault and the time before it.
#[derive(Debug, Clone)]
pub struct Step {
    /// First the fault before has to be mended; otherwise this one may hit whatever that left.
    pub is_mended: bool,
    pub pause: Duration,
    pub fault: Fault,
}

/// `count` faults of one kind.
pub fn of_kind(kind: Kind, count: usize, random: &mut Rng) -> Vec<Step> {
    (0..count).map(|_| Step { is_mended: random.bool(), ..step(kind, random) }).collect()
}

/// `kills` killed workers and one fault of every other kind, in any order; the disk can be filled only where there is one.
pub fn of_all_kinds(kills: usize, has_disk: bool, random: &mut Rng) -> Vec<Step> {
    let others = Kind::ALL.iter().map(|(kind, _)| *kind).filter(|kind| has_disk || *kind != Kind::DiskFull);
    let mut kinds: Vec<Kind> = others.chain(std::iter::repeat_n(Kind::WorkerKilled, kills - 1)).collect();
    random.shuffle(&mut kinds);
    kinds.into_iter().map(|kind| step(kind, random)).collect()
}

fn step(kind: Kind, random: &mut Rng) -> Step {
    // From within the rebalance that the last fault made to well after it.
    Step { is_mended: false, pause: milliseconds(random, 100, 2_500), fault: fault(kind, random) }
}

fn fault(kind: Kind, random: &mut Rng) -> Fault {
    let worker = random.usize(0..WORKERS);
    match kind {
        Kind::WorkerKilled => Fault::KillWorker { worker },
        Kind::BrokerRestarted => {
            Fault::RestartBroker { cleanly: random.u8(0..3) == 0, down: milliseconds(random, 0, 3_000) }
        }
        Kind::BrokerFrozen => Fault::FreezeBroker { lasts: milliseconds(random, 500, 4_000) },
        Kind::RebalanceStorm => Fault::Storm { pauses: std::array::from_fn(|_| milliseconds(random, 50, 1_500)) },
        Kind::Zombie => Fault::FreezeWorker { worker, lasts: milliseconds(random, 3_500, 6_000) },
        Kind::OutputUnavailable => Fault::Unavailable {
            target: Target::Output,
            lasts: milliseconds(random, 1_000, 4_000),
            killed: vec![worker],
        },
        Kind::DeadLettersUnavailable => Fault::Unavailable {
            target: Target::DeadLetters,
            lasts: milliseconds(random, 1_000, 4_000),
            killed: (0..2).map(|_| random.usize(0..WORKERS)).collect(),
        },
        Kind::OutputSlow => Fault::SlowOutput {
            bytes_per_second: random.u32(2_000..20_000),
            lasts: milliseconds(random, 1_000, 4_000),
            killed: worker,
        },
        Kind::DiskFull => Fault::FillDisk { lasts: milliseconds(random, 1_000, 4_000) },
    }
}

fn milliseconds(random: &mut Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(random.u64(from..to))
}
