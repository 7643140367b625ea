//! `sentistream top` over real workers: as text, as JSON, and on a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

use crate::support::broker::free_ports;
use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::process::{WorkerProcess, bound, ended, sentistream, signal};
use crate::support::{repository, wait_until, wait_until_async};

const ROWS: u16 = 60;
const COLUMNS: u16 = 120;

fn cells(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).expect("not 0")
}

/// A terminal of our own with `sentistream top` on it.
struct OnTerminal {
    terminal: File,
    other_end: File,
    screen: Arc<Mutex<vt100::Parser>>,
    process: Child,
}

impl OnTerminal {
    fn start(arguments: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("unlocked");
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).expect("a size");
        let name = ptsname(&terminal, vec![]).expect("a name").into_string().expect("UTF-8");
        let other_end = File::options().read(true).write(true).open(name).expect("its other end");
        let end = || Stdio::from(OwnedFd::from(other_end.try_clone().expect("cloned")));
        // In a session of its own, whose terminal this is: resizing it tells the program.
        let mut command = bound("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_sentistream"), "top"]).args(arguments).current_dir(repository(""));
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").stdin(end()).stdout(end()).stderr(end());
        let process = command.spawn().expect("starts");
        let terminal = File::from(terminal);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(ROWS), cells(COLUMNS), 0)));
        let (mut output, shown) = (terminal.try_clone().expect("cloned"), Arc::clone(&screen));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("not poisoned").process(&bytes[..read]);
            }
        });
        Self { terminal, other_end, screen, process }
    }

    fn text(&self) -> String {
        self.screen.lock().expect("not poisoned").screen().contents()
    }

    fn is_alternate(&self) -> bool {
        self.screen.lock().expect("not poisoned").screen().alternate_screen()
    }

    /// Whether keys are echoed and lines gathered, as a shell has it.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.other_end).expect("a terminal").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    fn wait_for(&self, text: &str) {
        wait_until(&format!("the terminal shows {text:?}"), || self.text().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("written");
    }

    /// Its exit code, once it has given the terminal back.
    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("top ends", || {
            status = self.process.try_wait().expect("waits");
            status.is_some()
        });
        wait_until("the terminal is as it was", || !self.is_alternate() && self.is_cooked());
        let screen = self.screen.lock().expect("not poisoned");
        assert!(!screen.screen().hide_cursor(), "the cursor is back");
        status.and_then(|status| status.code())
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn once(arguments: &[&str]) -> (i32, String, String) {
    ended(&sentistream(&[&["top"], arguments].concat()).output().expect("runs"))
}

/// A page's line that begins so, without its frame.
fn line<'p>(page: &'p str, begins: &str) -> &'p str {
    let mut lines = page.lines().flat_map(|line| line.split('│')).map(str::trim);
    lines.find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("no {begins:?} in\n{page}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn it_tells_what_workers_do_and_which_does_not_answer() {
    let topics = Topics::create("top", 2).await;
    let mut worker = WorkerProcess::start(&topics.environment());
    let address = worker.admin();
    let [nobody] = free_ports();
    let nobody = format!("127.0.0.1:{nobody}");
    let mut terminal = OnTerminal::start(&[&address, &nobody]);
    terminal.wait_for("1 ready, 1 silent");
    terminal.wait_for("Connection refused");
    assert!(terminal.is_alternate() && !terminal.is_cooked(), "{}", terminal.text());

    let mut fed = posts("post", 20);
    fed.push(TestPost::raw("bad", b"no json"));
    topics.feed(&fed);
    topics.wait_for_outcomes(fed.len()).await;
    // Seen to come by the page that is watching, and not by one that comes later.
    terminal.wait_for("not_json");
    wait_until("the terminal says when", || {
        terminal.text().lines().any(|line| line.contains("not_json") && line.contains(" ago"))
    });
    let told = || {
        let (code, page, error) = once(&["--once", "--over", "1", &address]);
        assert_eq!((code, error.as_str()), (0, ""), "{page}");
        page
    };
    wait_until_async("the lag is gone", || line(&told(), "all").split_whitespace().eq(["all", "0", "0", "s"])).await;
    let page = told();
    assert!(
        page.contains("workers: 1 ready") && page.contains("bundle default ") && page.contains("provider cpu"),
        "{page}"
    );
    assert_eq!(line(&page, "results").split_whitespace().last(), Some("20"), "{page}");
    let letters: Vec<&str> = line(&page, "decode ").split_whitespace().collect();
    assert_eq!(letters, ["decode", "not_json", "0.0/s", "1", "before"], "{page}");
    assert!(line(&page, "records in flight").contains("0 of 256"), "{page}");
    assert!(
        line(&page, "mean polarity").split_whitespace().last().is_some_and(|mean| mean.parse::<f64>().is_ok()),
        "{page}"
    );

    let (code, json, _) = once(&["--json", "--over", "1", &address, &nobody]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (code, &json["workers"][0]["state"], &json["workers"][1]["state"]),
        (0, &"ready".into(), &"silent".into())
    );
    assert_eq!(
        (&json["dead_letters"][0]["total"], &json["dead_letters"][0]["reason"]),
        (&1.0.into(), &"not_json".into())
    );
    let (code, page, error) = once(&["--once", "--over", "1", &nobody]);
    assert!(code == 1 && page.contains("Connection refused") && error.contains("no worker answers"), "{page}{error}");

    worker.signal("KILL");
    worker.wait();
    terminal.wait_for("2 silent");
    terminal.press("\t");
    terminal.wait_for(&format!("worker {address} alone"));
    terminal.press(" ");
    terminal.wait_for("PAUSED");
    terminal.press("q");
    assert_eq!(terminal.ended(), Some(0), "{}", terminal.text());
}

/// What `top` is drawn on is resized, and goes on by Control-C, by a signal, and without colour.
#[test]
fn a_terminal_is_given_back_however_it_ends() {
    let [nobody] = free_ports();
    let nobody = format!("127.0.0.1:{nobody}");
    let mut terminal = OnTerminal::start(&[&nobody]);
    terminal.wait_for("1 silent");
    terminal.wait_for("q quit");
    terminal.screen.lock().expect("not poisoned").screen_mut().set_size(cells(20), cells(70));
    tcsetwinsize(&terminal.terminal, Winsize { ws_row: 20, ws_col: 70, ws_xpixel: 0, ws_ypixel: 0 }).expect("resized");
    wait_until("it is drawn on the smaller terminal", || {
        terminal.text().lines().nth(19).is_some_and(|line| line.contains("more below"))
    });
    terminal.press("\x03");
    assert_eq!(terminal.ended(), Some(0), "{}", terminal.text());

    let mut terminal = OnTerminal::start(&[&nobody]);
    terminal.wait_for("1 silent");
    signal(terminal.process.id(), "TERM");
    assert_eq!(terminal.ended(), Some(0), "{}", terminal.text());
}

#[test]
fn what_cannot_be_watched_is_told_with_the_fix() {
    let (code, _, error) = once(&["--once", "nowhere"]);
    assert!(code == 2 && error.contains("host:port"), "{error}");
    let mut command = sentistream(&["top", "--once"]);
    let (code, _, error) = ended(&command.env("SENTISTREAM__ADMIN__LISTEN", "127.0.0.1:0").output().expect("runs"));
    assert!(code == 1 && error.contains("sentistream top host:port"), "{error}");
}
