//! `sentistream dashboard` as users run it, on a port of its own that it gets again when it is started again.

use std::process::Child;

use tempfile::TempDir;

use super::broker::free_ports;
use super::kafka::Topics;
use super::process::bound_sentistream;
use super::wait_until;

/// A dashboard over the topics of a test; killed when dropped.
pub struct Served {
    pub address: String,
    environment: Vec<(String, String)>,
    process: Option<Child>,
    _store: TempDir,
}

impl Served {
    /// Starts it and waits until it answers.
    pub fn start(topics: &Topics, more: &[(&str, &str)]) -> Self {
        Self::of(topics.environment(), more)
    }

    /// The same in this environment.
    pub fn of(mut environment: Vec<(String, String)>, more: &[(&str, &str)]) -> Self {
        let [port] = free_ports();
        let address = format!("127.0.0.1:{port}");
        let store = tempfile::tempdir().expect("a folder");
        let mut set =
            |key: &str, value: &str| environment.push((format!("SENTISTREAM__DASHBOARD__{key}"), value.to_owned()));
        set("LISTEN", &address);
        set("STORE", &store.path().join("dashboard.sqlite").to_string_lossy());
        for (key, value) in more {
            set(key, value);
        }
        let mut served = Self { address, environment, process: None, _store: store };
        served.start_again();
        served
    }

    /// Starts it again, on the same port and store.
    pub fn start_again(&mut self) {
        let mut command = bound_sentistream(&["dashboard"]);
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        let mut process = command.spawn().expect("starts");
        wait_until("the dashboard answers", || {
            let ended = process.try_wait().expect("waits");
            assert!(ended.is_none(), "the dashboard ended: {ended:?}");
            std::net::TcpStream::connect(&self.address).is_ok()
        });
        self.process = Some(process);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only when it has ended already.
            let _ = process.kill();
            process.wait().expect("waits");
        }
    }

    /// The page's address with a query.
    pub fn page(&self, query: &str) -> String {
        format!("http://{}/{query}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}
