//! The binary as users run it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::{repository, wait_until};

/// The binary, run from the root of the repository with no setting from outside.
pub fn sentistream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentistream"));
    command.args(arguments);
    undisturbed(command)
}

/// As [`sentistream`], killed with the thread that starts it, however that ends.
pub fn bound_sentistream(arguments: &[&str]) -> Command {
    let mut command = bound(env!("CARGO_BIN_EXE_sentistream"));
    command.args(arguments);
    undisturbed(command)
}

/// A program that is killed with the thread that starts it, however that ends: even where the test is killed outright.
pub fn bound(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

fn undisturbed(mut command: Command) -> Command {
    command.current_dir(repository(""));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("SENTISTREAM__")) {
        command.env_remove(key);
    }
    command
}

/// Sends a process a signal, by name.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().expect("kill runs");
    assert!(sent.success(), "signal {name}");
}

/// Exit code, standard output and standard error.
pub fn ended(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A worker process; killed when dropped.
pub struct WorkerProcess {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl WorkerProcess {
    /// Starts `sentistream run` and waits until it logs that it joins the group.
    pub fn start(environment: &[(String, String)]) -> Self {
        let config =
            environment.iter().find(|(key, _)| key == "SENTISTREAM_TEST_CONFIG").map(|(_, path)| path.as_str());
        let mut arguments = vec!["run"];
        arguments.extend(config.into_iter().flat_map(|path| ["--config", path]));
        let worker = Self::start_with(&arguments, environment);
        worker.wait_for_log("joining the group");
        worker
    }

    /// Starts the binary.
    pub fn start_with(arguments: &[&str], environment: &[(String, String)]) -> Self {
        let mut command = sentistream(arguments);
        command.envs(environment.iter().map(|(key, value)| (key, value)));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (lines, stderr) = (Arc::clone(&log), child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("not poisoned").push(line);
            }
        });
        Self { child, log }
    }

    /// Waits for a line that contains `text` and returns it.
    pub fn wait_for_log(&self, text: &str) -> String {
        let mut found = None;
        wait_until(&format!("the worker logs {text:?}"), || {
            let log = self.log.lock().expect("not poisoned");
            found = log.iter().find(|line| line.contains(text)).cloned();
            found.is_some()
        });
        found.unwrap_or_default()
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").join("\n")
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `host:port` of its admin port.
    pub fn admin(&self) -> String {
        let line = self.wait_for_log("admin port");
        let address = line.split("address=").nth(1).expect("an address in the log line");
        address.split_whitespace().next().expect("an address").to_owned()
    }

    /// Sends a signal, by name.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the worker ends", || {
            status = self.child.try_wait().expect("waits");
            status.is_some()
        });
        status.expect("ended")
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
