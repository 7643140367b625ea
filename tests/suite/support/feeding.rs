//! `sentistream feed` as it runs on and on.

use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use super::kafka::Topics;
use super::process::{bound_sentistream, signal};
use super::wait_until;

/// A feed process; killed when dropped.
pub struct Feeding {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Feeding {
    /// Starts it in a folder, with more in its environment.
    pub fn start(topics: &Topics, folder: &Path, arguments: &[&str], more: &[(&str, &str)]) -> Self {
        let mut command = bound_sentistream(&["feed"]);
        command.args(arguments).current_dir(folder).envs(topics.environment()).envs(more.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, mut stderr) = (Arc::clone(&said), child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = std::io::Read::read(&mut stderr, &mut buffer) {
                lines.lock().expect("not poisoned").push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { child, said }
    }

    /// What it said.
    pub fn said(&self) -> String {
        self.said.lock().expect("not poisoned").clone()
    }

    /// Waits until it says something.
    pub fn wait_for(&self, text: &str) {
        wait_until(&format!("the feed says {text:?}"), || self.said().contains(text));
    }

    /// Sends a signal and waits for its end.
    pub fn end(&mut self, name: &str) -> ExitStatus {
        signal(self.child.id(), name);
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the feed ends", || {
            status = self.child.try_wait().expect("waits");
            status.is_some()
        });
        status.expect("ended")
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
