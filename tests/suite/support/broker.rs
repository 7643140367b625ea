//! A Kafka broker of a test's own, to be broken: killed, stopped, frozen, starved of disk, and started again with the
//! same port and data. It dies with the thread that started it, however that ends.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::process::{bound, signal};
use super::{repository, wait_until};

/// Base64 of 16 bytes, as Kafka wants it.
const CLUSTER_ID: &str = "c2VudGlzdHJlYW1jaGFvcw";

/// The broker that is registered and never there.
const ABSENT: i32 = 2;

/// Where a topic's copies are that may be made unavailable: of two, one is there. With `min.insync.replicas` 2 it takes no
/// record, and says that it may later. (Of a topic with one replica Kafka never demands two.)
pub const REPLICAS: &[i32] = &[1, ABSENT];

/// Killed and started again, a broker is let in only when its earlier registration has expired, and what it does meanwhile is
/// not sound: a transaction that times out then is taken for aborted while its partitions have no leader to be told
/// (seen with Kafka 4.3: their readers under `read_committed` wait for ever). So that is over before any transaction's time is.
const REGISTRATION: &str = "broker.session.timeout.ms=4500\nbroker.heartbeat.interval.ms=500\n";

/// A running (or stopped) broker.
pub struct Broker {
    folder: PathBuf,
    address: String,
    disk: Option<Disk>,
    process: Option<Child>,
}

impl Broker {
    /// Whether `make kafka` was run.
    pub fn is_installed() -> bool {
        repository(".deps/kafka/lib").is_dir()
    }

    /// Starts a broker that keeps log and data in `folder`, the data on `disk` where there is one.
    pub fn start(folder: &Path, disk: Option<Disk>) -> Self {
        fs::create_dir_all(folder).expect("folder made");
        let [port, controller_port, absent_port] = free_ports();
        let address = format!("127.0.0.1:{port}");
        let mut broker = Self { folder: folder.to_owned(), address, disk, process: None };
        let data = broker.disk.as_ref().map_or_else(|| folder.join("data"), |disk| disk.folder.clone());
        let listener = format!("CONTROLLER://127.0.0.1:{controller_port}");
        broker.write_settings(1, &format!(
            "process.roles=broker,controller\nlisteners=PLAINTEXT://127.0.0.1:{port},{listener}\nlog.dirs={}\n{REGISTRATION}",
            data.join("log").display()
        ), port, controller_port);
        broker.write_settings(
            ABSENT,
            &format!(
                "process.roles=broker\nlisteners=PLAINTEXT://127.0.0.1:{absent_port}\nlog.dirs={}\n",
                folder.join("absent").display()
            ),
            absent_port,
            controller_port,
        );
        broker.format(1, "--standalone");
        broker.restart();
        broker.register_the_absent();
        broker
    }

    fn write_settings(&self, id: i32, own: &str, port: u16, controller_port: u16) {
        let common = fs::read_to_string(repository("scripts/kafka/server.properties")).expect("broker settings");
        let settings = format!(
            "node.id={id}\nadvertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}\n{own}{common}"
        );
        fs::write(self.settings(id), settings).expect("settings written");
    }

    fn format(&self, id: i32, quorum: &str) {
        let settings = self.settings(id).to_string_lossy().into_owned();
        let formatted = self
            .java(&["kafka.tools.StorageTool", "format", quorum, "-t", CLUSTER_ID, "-c", &settings])
            .status()
            .expect("java runs");
        assert!(formatted.success(), "the broker's storage cannot be formatted: {}", self.log().display());
    }

    /// A second broker joins and is gone for ever: a topic may have a replica there, which is never in sync.
    fn register_the_absent(&self) {
        self.format(ABSENT, "--no-initial-controllers");
        // In order, so that the cluster knows at once.
        stop(self.launch(ABSENT));
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn settings(&self, id: i32) -> PathBuf {
        self.folder.join(format!("broker-{id}.properties"))
    }

    /// Where it logs.
    pub fn log(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    /// How often it gave up telling partitions how a transaction ended. A lone broker that is started after a kill works for a
    /// moment under its earlier registration; when that expires its partitions have no leader, and Kafka 4.3 takes those it
    /// still has to tell for deleted. What an aborted transaction wrote there is then committed with the producer's next one.
    pub fn markers_given_up(&self) -> usize {
        let log = fs::read(self.log()).expect("broker's log");
        String::from_utf8_lossy(&log).matches("likely deleted already and hence can be skipped").count()
    }

    /// A Java program of Kafka's, where the broker's disk can be seen, logging to the broker's log.
    fn java(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.disk {
            None => bound("java"),
            Some(disk) => disk.inside("java"),
        };
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("log opens");
        command
            .args([
                "-Xmx512m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.showDateTime=true",
                "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
                "-cp",
            ])
            .arg(repository(".deps/kafka/lib/*"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log opens"))
            .stderr(log);
        command
    }

    /// Starts the stopped broker and waits until it answers.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the broker runs");
        self.process = Some(self.launch(1));
    }

    fn launch(&self, id: i32) -> Child {
        let before = fs::metadata(self.log()).map_or(0, |metadata| metadata.len());
        let settings = self.settings(id).to_string_lossy().into_owned();
        let mut process = self.java(&["kafka.Kafka", &settings]).spawn().expect("java runs");
        wait_until("the broker has started", || {
            let ended = process.try_wait().expect("waits");
            assert!(ended.is_none(), "the broker ended while starting: {ended:?}, {}", self.log().display());
            let log = fs::read(self.log()).unwrap_or_default();
            let new = log.get(usize::try_from(before).expect("fits")..).unwrap_or_default();
            String::from_utf8_lossy(new).contains(&format!("nodeId={id}] Kafka Server started"))
        });
        process
    }

    fn id(&self) -> u32 {
        self.process.as_ref().expect("the broker runs").id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only when it has ended already.
            let _ = process.kill();
            process.wait().expect("waits");
        }
    }

    /// SIGTERM, and the end of its orderly shutdown.
    pub fn stop(&mut self) {
        stop(self.process.take().expect("the broker runs"));
    }

    /// SIGSTOP.
    pub fn freeze(&self) {
        signal(self.id(), "STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        signal(self.id(), "CONT");
    }

    /// Lets producers of `client_id` publish only so many bytes a second; `None` is as many as they like.
    pub fn limit_producers(&self, client_id: &str, bytes_per_second: Option<u32>) {
        let change = match bytes_per_second {
            Some(rate) => ["--add-config".to_owned(), format!("producer_byte_rate={rate}")],
            None => ["--delete-config".to_owned(), "producer_byte_rate".to_owned()],
        };
        let [how, what] = &change;
        let arguments = ["kafka.admin.ConfigCommand", "--bootstrap-server", &self.address, "--alter", how, what];
        let set = self.java(&arguments).args(["--entity-type", "clients", "--entity-name", client_id]).status();
        assert!(set.expect("java runs").success(), "quota: {}", self.log().display());
    }

    /// The disk of its data.
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("a broker with a disk of its own")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A small disk in memory, mounted where only the broker sees it: it is gone with the thread that made it.
pub struct Disk {
    holder: Child,
    folder: PathBuf,
}

impl Disk {
    /// Mounts a disk of so many MiB at `folder`; `None` where this system lets us mount nothing.
    pub fn mount(folder: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).expect("folder made");
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m tmpfs '{}' && echo mounted && exec sleep infinity",
            folder.display()
        );
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "setpriv", "--pdeathsig", "KILL", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("readable");
        let disk = Self { holder, folder: folder.to_owned() };
        (line.trim() == "mounted").then_some(disk)
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--user", "--mount", "--preserve-credentials"]);
        command.args(["setpriv", "--pdeathsig", "KILL", program]);
        command
    }

    fn filler(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").expect("absolute").join("filler");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(inside)
    }

    /// Leaves no byte free.
    pub fn fill(&self) {
        let mut filler = OpenOptions::new().create(true).append(true).open(self.filler()).expect("filler opens");
        for size in [1 << 20, 4096] {
            let zeros = vec![0; size];
            let error = loop {
                if let Err(error) = filler.write_all(&zeros) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
    }

    /// Gives the space back.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("filler removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn stop(mut process: Child) {
    signal(process.id(), "TERM");
    wait_until("the broker stops", || process.try_wait().expect("waits").is_some());
}

/// Ports that nobody listens on, out of the range that the system gives to clients: while the broker is down nobody
/// may take them.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut random = fastrand::Rng::new();
    // All are held until the last is found, so that no two are the same.
    let listeners: [TcpListener; N] = std::array::from_fn(|_| {
        let found = std::iter::repeat_with(|| random.u16(15_000..32_000))
            .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
        found.expect("a free port")
    });
    listeners.each_ref().map(|listener| listener.local_addr().expect("an address").port())
}
