//! What is told of the process, by the names that Prometheus has for it in every program, and how much memory it may take: what
//! its control groups (version 1 or 2) let it have, and at most what the machine has. Read off `/proc` when it is asked for; where
//! that is no Linux there is nothing to tell.

use std::fs;
use std::path::{Path, PathBuf};

use prometheus::core::Collector;
use prometheus::{Counter, Gauge, IntGauge, Opts, Registry, Result};

const MOUNT: &str = "/sys/fs/cgroup";

/// Metrics of this process.
#[derive(Debug)]
pub(super) struct Process {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
}

impl Process {
    /// Registers them.
    pub fn register(registry: &Registry) -> Result<Self> {
        let start_seconds = Gauge::new("process_start_time_seconds", "When the process started, since 1970.")?;
        start_seconds.set(started().unwrap_or_default());
        let limit_help =
            "What this process may take: the lowest limit of its control groups, at most the machine's memory.";
        let limit = IntGauge::with_opts(Opts::new("sentistream_memory_limit_bytes", limit_help))?;
        if let Some(bytes) = memory_limit() {
            limit.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            registry.register(Box::new(limit))?;
        }
        let process = Self {
            cpu_seconds: Counter::new("process_cpu_seconds_total", "Processor time spent, user and system.")?,
            resident_bytes: IntGauge::new("process_resident_memory_bytes", "Memory in use.")?,
            threads: IntGauge::new("process_threads", "Threads.")?,
            open_fds: IntGauge::new("process_open_fds", "Open file descriptors.")?,
        };
        let all: [Box<dyn Collector>; 5] = [
            Box::new(start_seconds),
            Box::new(process.cpu_seconds.clone()),
            Box::new(process.resident_bytes.clone()),
            Box::new(process.threads.clone()),
            Box::new(process.open_fds.clone()),
        ];
        for metric in all {
            registry.register(metric)?;
        }
        Ok(process)
    }

    /// As of now.
    pub fn update(&self) {
        if let Some(stat) = Stat::read() {
            self.cpu_seconds.inc_by((stat.cpu_seconds - self.cpu_seconds.get()).max(0.0));
            self.resident_bytes.set(stat.resident_bytes);
            self.threads.set(stat.threads);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.open_fds.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
    }
}

/// What of `/proc/self/stat` is told.
struct Stat {
    cpu_seconds: f64,
    threads: i64,
    /// Since the machine's start.
    started_seconds: f64,
    resident_bytes: i64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    #[expect(clippy::cast_precision_loss, reason = "ticks of centuries fit")]
    fn parse(stat: &str) -> Option<Self> {
        // The name of the program, in parentheses, may hold anything; after it the third field comes.
        let fields: Vec<i64> =
            stat.rsplit_once(')')?.1.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let seconds = |ticks: i64| ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            threads: field(20)?,
            started_seconds: seconds(field(22)?),
            resident_bytes: field(24)?.saturating_mul(i64::try_from(rustix::param::page_size()).ok()?),
        })
    }
}

/// Seconds since 1970.
fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted + Stat::read()?.started_seconds)
}

/// What this process has taken, in bytes; `None` where the system tells nothing.
pub(crate) fn resident_bytes() -> Option<u64> {
    u64::try_from(Stat::read()?.resident_bytes).ok()
}

/// Bytes; `None` where the system tells nothing.
pub(crate) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|info| {
        let kibibytes: u64 = info.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok()?;
        Some(kibibytes * 1024)
    });
    [lowest(&groups, Path::new(MOUNT)), machine].into_iter().flatten().min()
}

/// The lowest limit of the groups that `/proc/self/cgroup` lists and of those above them; below `mount` they are files.
fn lowest(groups: &str, mount: &Path) -> Option<u64> {
    let files = groups.lines().flat_map(|line| limits_of(line, mount));
    files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

/// Where the limits of one line, `number:controllers:path`, stand; version 2 names no controllers.
fn limits_of(line: &str, mount: &Path) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, file) = if controllers.is_empty() {
        (mount.to_owned(), "memory.max")
    } else if controllers.split(',').any(|controller| controller == "memory") {
        (mount.join("memory"), "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    let group = Path::new(path.trim_start_matches('/'));
    group.ancestors().map(|group| root.join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_above_counts_and_max_is_none() {
        let mount = tempfile::tempdir().expect("temporary folder");
        let group = mount.path().join("pods/worker");
        fs::create_dir_all(&group).expect("made");
        fs::write(mount.path().join("memory.max"), "max\n").expect("written");
        assert_eq!(lowest("0::/pods/worker\n", mount.path()), None);
        fs::write(mount.path().join("pods/memory.max"), "5000\n").expect("written");
        fs::write(group.join("memory.max"), "9000\n").expect("written");
        assert_eq!(lowest("0::/pods/worker\n", mount.path()), Some(5000));
        assert_eq!(lowest("0::/\n", mount.path()), None);
    }

    #[test]
    fn version_1_has_a_tree_of_its_own() {
        let mount = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(mount.path().join("memory")).expect("made");
        fs::write(mount.path().join("memory/memory.limit_in_bytes"), "7000\n").expect("written");
        assert_eq!(lowest("5:cpu,cpuacct:/a\n4:memory:/not/seen/from/here\n", mount.path()), Some(7000));
        assert_eq!(lowest("nonsense", mount.path()), None);
    }

    #[test]
    fn this_process_is_told() {
        let registry = Registry::new();
        let process = Process::register(&registry).expect("registered");
        process.update();
        let resident = u64::try_from(process.resident_bytes.get()).expect("positive");
        assert!(resident > 1 << 20 && memory_limit().is_some_and(|limit| resident < limit), "{resident}");
        assert!(process.threads.get() >= 1 && process.open_fds.get() >= 3);
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        let age = now - started().expect("told");
        assert!((-2.0..86_400.0).contains(&age), "started {age} s ago");
    }

    #[test]
    fn a_name_may_hold_anything() {
        let zeros = "0 ".repeat(9);
        let stat = Stat::parse(&format!("7 (a) b 3) S 1 {zeros}250 50 0 0 0 0 4 0 1000 0 3 0")).expect("whole");
        let ticks = f64::from(u32::try_from(rustix::param::clock_ticks_per_second()).expect("few"));
        assert!((stat.cpu_seconds - 300.0 / ticks).abs() < 1e-9, "{}", stat.cpu_seconds);
        let page = i64::try_from(rustix::param::page_size()).expect("fits");
        assert_eq!((stat.threads, stat.resident_bytes), (4, 3 * page));
        assert!(Stat::parse("7 (a) S").is_none());
    }
}
