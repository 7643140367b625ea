//! The workers: real processes of one group, started, killed, frozen and sent away. Whatever ends without having been told
//! to is noted, and started again as a supervisor would.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use crate::admin;
use crate::support::kafka::Topics;
use crate::support::process::{bound_sentistream, signal};
use crate::support::wait_until;

/// `kafka.delivery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    AtLeastOnce,
    ExactlyOnce,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::AtLeastOnce, Self::ExactlyOnce];

    /// As the setting calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at_least_once",
            Self::ExactlyOnce => "exactly_once",
        }
    }

    /// Whether readers see every outcome once.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::ExactlyOnce)
    }
}

/// Small and quick, so that something is always in flight and a dead member is missed within seconds. A transaction outlasts
/// the broker's absences: see [`Broker::markers_given_up`](crate::support::broker::Broker::markers_given_up).
const SETTINGS: &str = "
kafka:
  commit_interval_ms: 200
  revoke_deadline_seconds: 5
  consumer: {session.timeout.ms: 3000, heartbeat.interval.ms: 500}
  producer: {linger.ms: 20, transaction.timeout.ms: 30000}
limits: {in_flight_records: 64}
decode: {threads: 1}
batch: {max_posts: 16, linger_ms: 20}
model: {bundle: tests/fixtures/bundles/tiny, threads: 1}
admin: {listen: '127.0.0.1:0'}
";

/// The workers of one group.
pub struct Fleet {
    folder: PathBuf,
    environment: Vec<(String, String)>,
    mode: Mode,
    /// By the number in their name.
    members: BTreeMap<usize, Child>,
    leaving: Vec<(usize, Child)>,
    /// Static members that their own rejoin has fenced: where a frozen broker answers their first one too, librdkafka gives
    /// up, and so does the worker, for its supervisor to start it again.
    pub fenced: usize,
    /// Workers that joined because a partition had no owner.
    pub called: usize,
    /// What no worker should do.
    pub complaints: Vec<String>,
}

impl Fleet {
    /// No worker yet; they log to `folder`.
    pub fn new(topics: &Topics, folder: &Path, mode: Mode) -> Self {
        fs::write(folder.join("settings.yaml"), SETTINGS).expect("settings written");
        Self {
            folder: folder.to_owned(),
            environment: topics.environment(),
            mode,
            members: BTreeMap::new(),
            leaving: vec![],
            fenced: 0,
            called: 0,
            complaints: vec![],
        }
    }

    /// Starts a worker under the first free name and does not wait for it.
    pub fn join(&mut self) {
        let taken = |number: &usize| self.members.contains_key(number) || self.leaving.iter().any(|(n, _)| n == number);
        let number =
            (1..=self.members.len() + self.leaving.len() + 1).find(|number| !taken(number)).expect("a free number");
        self.start(number);
    }

    fn start(&mut self, number: usize) {
        let settings = self.folder.join("settings.yaml");
        let log = OpenOptions::new().create(true).append(true).open(self.log(number)).expect("log opens");
        let mut command = bound_sentistream(&["run", "--config", &settings.to_string_lossy()]);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.env("SENTISTREAM__KAFKA__DELIVERY", self.mode.name());
        if self.mode.is_exact() {
            // Static members; the others are dynamic ones, so that both are tried.
            command.env("SENTISTREAM__KAFKA__INSTANCE", format!("worker-{number}"));
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("starts");
        self.members.insert(number, child);
    }

    fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("worker-{number}.log"))
    }

    /// The name of the `index`th worker.
    fn nth(&self, index: usize) -> usize {
        *self.members.keys().cycle().nth(index).expect("a worker")
    }

    /// SIGKILL, and a new start at once.
    pub fn kill(&mut self, index: usize) {
        let number = self.nth(index);
        let mut child = self.members.remove(&number).expect("a worker");
        // Fails only when it has ended already.
        let _ = child.kill();
        child.wait().expect("waits");
        self.start(number);
    }

    /// Whether its workers have names that outlive them (static members).
    pub const fn is_named(&self) -> bool {
        self.mode.is_exact()
    }

    /// Partitions assigned to all workers together; `None` while one of them does not tell.
    pub fn assigned_partitions(&self) -> Option<i64> {
        self.members.keys().map(|number| self.assigned_to(*number)).sum()
    }

    fn assigned_to(&self, number: usize) -> Option<i64> {
        let log = fs::read_to_string(self.log(number)).ok()?;
        let address = log.lines().rfind(|line| line.contains("admin port"))?.split("address=").nth(1)?;
        let (_, ready) = admin::try_get(address.split_whitespace().next()?, "/readyz")?;
        admin::json(&ready)["assigned_partitions"].as_i64()
    }

    /// SIGSTOP or SIGCONT.
    pub fn signal(&self, index: usize, name: &str) {
        signal(self.members[&self.nth(index)].id(), name);
    }

    /// SIGTERM to the last worker, which may drain while other things happen.
    pub fn leave(&mut self) {
        if let Some((number, child)) = self.members.pop_last() {
            signal(child.id(), "TERM");
            self.leaving.push((number, child));
        }
    }

    /// Notes what ended by itself, and starts it again.
    pub fn supervise(&mut self) {
        let ended = |child: &mut Child| child.try_wait().expect("waits");
        let fallen: Vec<(usize, ExitStatus)> =
            self.members.iter_mut().filter_map(|(number, child)| Some((*number, ended(child)?))).collect();
        for (number, status) in fallen {
            let word = self.last_word(number, status);
            if word.contains("has taken its place") {
                self.fenced += 1;
            } else {
                self.complaints.push(format!("worker-{number} ended by itself ({status}): {word}"));
            }
            self.start(number);
        }
        let mut gone = Vec::new();
        self.leaving.retain_mut(|(number, child)| match ended(child) {
            None => true,
            Some(status) => {
                gone.push((*number, status));
                false
            }
        });
        for (number, status) in gone.into_iter().filter(|(_, status)| !status.success()) {
            self.complaints
                .push(format!("worker-{number} did not drain ({status}): {}", self.last_word(number, status)));
        }
    }

    /// The error it ended with, or the last it said. A thread that ends with the process may log after the error is told.
    fn last_word(&self, number: usize, status: ExitStatus) -> String {
        let log = fs::read_to_string(self.log(number)).unwrap_or_default();
        let told = log.lines().rfind(|line| line.starts_with("error: ") && status.code() == Some(1));
        told.or(log.lines().last()).unwrap_or_default().to_owned()
    }

    /// All leave; waits until they have drained.
    pub fn stop(&mut self) {
        while !self.members.is_empty() {
            self.leave();
        }
        wait_until("the workers drain", || {
            self.supervise();
            self.leaving.is_empty()
        });
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for child in self.members.values_mut().chain(self.leaving.iter_mut().map(|(_, child)| child)) {
            // Fails only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
