//! What is compared: our worker, the ceiling, and whatever else reads the same topic. All are processes, measured alike.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::ceiling::{LAYOUTS, Layout, Told};
use super::process::Process;
use super::stand::{Own, Stand};
use super::window::Measured;
use crate::scrape::{self, Samples};

/// How long a worker may take to tell of itself.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Whoever takes a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contender {
    /// `sentistream run`.
    Worker,
    /// A shell command that does what a worker does.
    Peer(Peer),
}

/// `NAME=COMMAND`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What the tables call it.
    pub name: String,
    command: String,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(name, command)| !name.is_empty() && !command.trim().is_empty());
        let (name, command) = parts.ok_or_else(|| format!("{text:?} is no NAME=COMMAND"))?;
        if ["worker", "ceiling"].contains(&name) {
            return Err(format!("{name} is the name of one of ours; choose another"));
        }
        Ok(Self { name: name.to_owned(), command: command.to_owned() })
    }
}

impl Contender {
    /// What the tables call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Worker => "worker",
            Self::Peer(peer) => &peer.name,
        }
    }

    fn command(&self, stand: &Stand<'_>) -> Result<Command> {
        match self {
            Self::Worker => {
                let mut command = ourselves(stand)?;
                command.arg("run").stdout(Stdio::null());
                command.envs([
                    ("SENTISTREAM__ADMIN__LISTEN", "127.0.0.1:0"),
                    ("SENTISTREAM__LOG__FORMAT", "json"),
                    ("SENTISTREAM__LOG__LEVEL", "info"),
                ]);
                if let Some(config) = &stand.config {
                    command.arg("--config").arg(config);
                }
                Ok(command)
            }
            Self::Peer(peer) => {
                let mut command = Command::new("sh");
                command.args(["-c", &peer.command]).stdout(Stdio::null()).stdin(Stdio::null());
                Ok(command)
            }
        }
    }

    /// Starts as many processes as the stand says.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&self, stand: &Stand<'_>, own: &Own<'_>) -> Result<Team> {
        let processes = (0..stand.workers).map(|number| {
            let mut command = self.command(stand)?;
            command.envs(own.environment());
            Process::start(self.name(), command, stand.pin.then_some(number))
        });
        Ok(Team { has_metrics: *self == Self::Worker, processes: processes.collect::<Result<_>>()? })
    }
}

fn ourselves(stand: &Stand<'_>) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find this very program")?);
    command.stdin(Stdio::null()).envs(stand.environment.iter().map(|(key, value)| (key, value)));
    Ok(command)
}

/// The processes of a contender.
pub struct Team {
    processes: Vec<Process>,
    has_metrics: bool,
}

impl Team {
    /// # Errors
    /// When one has ended.
    pub fn check(&mut self) -> Result<()> {
        self.processes.iter_mut().try_for_each(Process::check)
    }

    /// Whether every worker has partitions; of peers nobody knows.
    pub fn has_joined(&self) -> Result<bool> {
        let joined = self.metrics()?.map(|all| all.iter().all(|one| one.get("sentistream_assigned_partitions") > 0.0));
        Ok(joined.unwrap_or(!self.has_metrics))
    }

    /// What each worker tells of itself; `None` of peers, and of workers that do not listen yet.
    pub fn metrics(&self) -> Result<Option<Vec<Samples>>> {
        let addresses: Option<Vec<String>> = self.processes.iter().map(address).collect();
        match addresses.filter(|_| self.has_metrics) {
            None => Ok(None),
            Some(addresses) => addresses.iter().map(|address| metrics(address)).collect::<Result<_>>().map(Some),
        }
    }

    /// Of all.
    pub fn cpu_seconds(&self) -> f64 {
        self.processes.iter().map(Process::cpu_seconds).sum()
    }

    /// Of all.
    pub fn peak_memory(&self) -> u64 {
        self.processes.iter().map(Process::peak_memory).sum()
    }

    /// The end of each one's log.
    pub fn last_words(&self) -> String {
        self.processes.iter().map(Process::last_words).collect::<Vec<_>>().join("\n")
    }

    /// Ends them all.
    pub fn stop(self) {
        self.processes.into_iter().for_each(Process::stop);
    }
}

fn metrics(address: &str) -> Result<Samples> {
    scrape::metrics(address, TIMEOUT).with_context(|| format!("the worker's admin port at {address} does not answer"))
}

/// Where a worker's admin port listens, by its log.
fn address(process: &Process) -> Option<String> {
    let line: Value = serde_json::from_str(&process.logged("admin port:")?).ok()?;
    line.pointer("/fields/address").and_then(Value::as_str).map(ToOwned::to_owned)
}

/// A ceiling process and the two ends of its pipe.
struct Ceiling {
    process: Process,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    start: Option<ChildStdin>,
}

impl Ceiling {
    fn start(stand: &Stand<'_>, layout: Option<Layout>, share: usize, of: usize) -> Result<Self> {
        let mut command = ourselves(stand)?;
        command.arg("bench-ceiling").arg("--corpus").arg(&stand.folder);
        command.args(["--share", &share.to_string(), "--of", &of.to_string()]);
        if let Some(layout) = layout {
            command.args(["--layout", &layout.to_string()]);
        }
        if let Some(config) = &stand.config {
            command.arg("--config").arg(config);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start("ceiling", command, stand.pin.then_some(share))?;
        let start = process.stdin();
        let lines = BufReader::new(process.stdout().context("no pipe")?).lines();
        Ok(Self { process, lines, start })
    }

    /// What it tells next; `None` at its end.
    fn told(&mut self) -> Result<Option<Told>> {
        let line = self.lines.next().transpose()?;
        line.map(|line| serde_json::from_str(&line).context("the ceiling tells nonsense")).transpose()
    }

    /// Why it tells nothing more.
    fn failure(&mut self) -> anyhow::Error {
        let ended = self.process.wait();
        ended.err().unwrap_or_else(|| anyhow!("the ceiling ended without telling what it did"))
    }
}

/// The layout that does most, and what each did.
///
/// # Errors
/// When the ceiling cannot run.
pub fn calibrate(stand: &Stand<'_>) -> Result<(Layout, Vec<(String, f64)>)> {
    let mut ceiling = Ceiling::start(stand, None, 0, 1)?;
    let mut tried = Vec::new();
    while let Some(told) = ceiling.told()? {
        stand.go_on()?;
        if let Told::Tried { layout, posts_per_second } = told {
            tried.push((layout, posts_per_second));
        }
    }
    // One that died of a layout has not tried the others.
    let best = tried.iter().filter(|_| tried.len() == LAYOUTS.len()).max_by(|one, other| one.1.total_cmp(&other.1));
    match best.map(|(layout, _)| layout.parse()) {
        Some(Ok(best)) => Ok((best, tried)),
        _ => Err(ceiling.failure()),
    }
}

/// Runs the posts through as many ceilings as there are workers, each its share, all starting together.
///
/// # Errors
/// When one cannot run.
pub fn ceiling_turn(stand: &Stand<'_>, layout: Layout) -> Result<(Measured, u64)> {
    let start = |share| Ceiling::start(stand, Some(layout), share, stand.workers);
    let mut ceilings = (0..stand.workers).map(start).collect::<Result<Vec<_>>>()?;
    for ceiling in &mut ceilings {
        match ceiling.told()? {
            Some(Told::Ready) => {}
            _ => return Err(ceiling.failure()),
        }
    }
    for ceiling in &mut ceilings {
        let mut start = ceiling.start.take().context("no pipe")?;
        writeln!(start).context("the ceiling is gone")?;
    }
    let (mut all, mut memory) = (Vec::new(), 0);
    for ceiling in &mut ceilings {
        stand.go_on()?;
        match ceiling.told()? {
            Some(Told::Ran { measured, peak_memory }) => {
                all.push(measured);
                memory += peak_memory;
            }
            _ => return Err(ceiling.failure()),
        }
    }
    match Measured::side_by_side(&all) {
        Some(measured) => Ok((measured, memory)),
        None => bail!("no ceiling ran"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_a_command() {
        let peer: Peer = "tuned=python peer.py --threads=2".parse().expect("a peer");
        assert_eq!((peer.name.as_str(), peer.command.as_str()), ("tuned", "python peer.py --threads=2"));
        for wrong in ["python peer.py", "=python", "tuned=", "worker=true", "ceiling=true"] {
            assert!(wrong.parse::<Peer>().is_err(), "{wrong}");
        }
    }
}
