//! What is measured runs as a process of its own, with whatever it starts, and is killed with us. Its processor time and memory are
//! those of its whole process group, by Linux's `/proc`: whoever leaves the group is not counted.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Lines of its log that are kept.
const LOG_LINES: usize = 200;
/// Lines of its log that an error tells.
const TOLD_LINES: usize = 12;
/// How long its last words are waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long it may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// A process group that is measured; killed when dropped.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    listening: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a command in a process group of its own; pinned to one core where that is given, with all that it starts.
    ///
    /// # Errors
    /// A command that cannot be started, a core that is not there.
    pub fn start(name: &str, mut command: Command, core: Option<usize>) -> Result<Self> {
        command.process_group(0).stderr(Stdio::piped());
        let mut spawn = || command.spawn().with_context(|| format!("cannot start {name}"));
        let mut child = match core {
            None => spawn()?,
            Some(core) => on_core(core, spawn)?,
        };
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let listening = child.stderr.take().map(|stderr| {
            let kept = Arc::clone(&log);
            thread::spawn(move || keep(&kept, BufReader::new(stderr)))
        });
        Ok(Self { name: name.to_owned(), child, log, listening })
    }

    /// What it reads from.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What it writes to.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The newest line of its log that contains `text`.
    pub fn logged(&self, text: &str) -> Option<String> {
        lock(&self.log).iter().rev().find(|line| line.contains(text)).cloned()
    }

    /// # Errors
    /// When it has ended, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed, with the end of its log.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(self.ended(status)) }
    }

    fn ended(&self, status: ExitStatus) -> anyhow::Error {
        // What it said last may still be on its way; whatever it started may keep the pipe open for longer.
        let deadline = Instant::now() + LAST_WORDS;
        while self.listening.as_ref().is_some_and(|listening| !listening.is_finished()) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        anyhow!("{} ended by itself ({status}); it said last:\n{}", self.name, self.last_words())
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = lock(&self.log);
        log.iter().skip(log.len().saturating_sub(TOLD_LINES)).cloned().collect::<Vec<_>>().join("\n")
    }

    /// Processor seconds of the group so far, of children that ended included.
    pub fn cpu_seconds(&self) -> f64 {
        group(self.child.id()).into_iter().map(|process| process.cpu_seconds).sum()
    }

    /// Peak resident memory, summed over the group.
    pub fn peak_memory(&self) -> u64 {
        group(self.child.id()).into_iter().filter_map(|process| peak_memory(&process.id)).sum()
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Fails only when all have ended.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

fn keep(log: &Mutex<VecDeque<String>>, lines: impl BufRead) {
    for line in lines.lines().map_while(Result::ok) {
        let mut log = lock(log);
        if log.len() == LOG_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `spawn` on one core alone: what it starts inherits that.
fn on_core<T>(core: usize, spawn: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| before.is_set(*core)).collect();
    let chosen = cores.get(core).with_context(|| {
        format!("there is no core for one more: {} cores; use fewer --workers, or leave --pin out", cores.len())
    })?;
    let mut alone = CpuSet::new();
    alone.set(*chosen);
    sched_setaffinity(None, &alone)?;
    let spawned = spawn();
    sched_setaffinity(None, &before)?;
    spawned
}

struct Member {
    id: String,
    cpu_seconds: f64,
}

/// The processes of a group.
fn group(id: u32) -> Vec<Member> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let name =
                entry.file_name().into_string().ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))?;
            let (group, cpu_seconds) = stat(&fs::read_to_string(entry.path().join("stat")).ok()?)?;
            (group == id).then_some(Member { id: name, cpu_seconds })
        })
        .collect()
}

/// Group and processor seconds, of children that ended included, from `/proc/PID/stat`.
fn stat(stat: &str) -> Option<(u32, f64)> {
    // The name before may hold anything.
    let (_, numbers) = stat.rsplit_once(')')?;
    let numbers: Vec<&str> = numbers.split_ascii_whitespace().collect();
    let ticks: f64 = numbers.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some((numbers.get(2)?.parse().ok()?, ticks / per_second))
}

/// Processor seconds of one process, by its id.
pub fn cpu_seconds_of(id: &str) -> Option<f64> {
    stat(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?).map(|(_, seconds)| seconds)
}

/// The most memory a process has had resident, in bytes.
pub fn peak_memory(id: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn wait_until(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while !holds() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn processor_time_of_children_counts_while_they_run_and_after() {
        let process = Process::start("busy", shell("sh -c 'while :; do :; done' & sleep 60"), None).expect("starts");
        wait_until(|| process.cpu_seconds() > 0.2);
        assert!(process.peak_memory() > 100_000, "{}", process.peak_memory());
        let ended =
            Process::start("busy", shell("timeout 0.5 sh -c 'while :; do :; done'; echo over >&2; sleep 60"), None);
        let ended = ended.expect("starts");
        wait_until(|| ended.logged("over").is_some());
        assert!(ended.cpu_seconds() > 0.1, "{}", ended.cpu_seconds());
    }

    #[test]
    fn whatever_it_started_is_gone_with_it() {
        let process = Process::start("sleeper", shell("sleep 1000 & echo started >&2; wait"), None).expect("starts");
        wait_until(|| process.logged("started").is_some());
        let id = process.child.id();
        assert!(group(id).len() >= 2);
        drop(process);
        wait_until(|| group(id).is_empty());
    }

    #[test]
    fn an_end_of_its_own_is_told_with_its_last_words() {
        let mut process = Process::start("failing", shell("echo 'no broker' >&2; exit 3"), None).expect("starts");
        let mut said = String::new();
        wait_until(|| process.check().map_err(|error| said = error.to_string()).is_err());
        assert!(said.contains("failing ended by itself") && said.contains("no broker"), "{said}");
    }

    #[test]
    fn a_core_that_is_not_there_is_refused() {
        let refused = Process::start("pinned", shell("true"), Some(100_000)).err().expect("refused").to_string();
        assert!(refused.contains("--pin"), "{refused}");
    }
}
