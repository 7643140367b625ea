//! A schema registry of a test's own: Apicurio Registry, which keeps its schemas in memory, with a gate before it that asks for
//! a password, counts what is asked, and may be shut.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::broker::free_ports;
use super::process::bound;
use super::{repository, wait_until};
use crate::admin::try_get;

const API: &str = "/apis/ccompat/v7";
pub const USER: &str = "sentistream";
pub const PASSWORD: &str = "hunter2";

/// The registry's process; killed when dropped.
pub struct Apicurio {
    address: String,
    process: Child,
    folder: TempDir,
}

impl Apicurio {
    /// Starts it and waits until it answers.
    pub fn start() -> Self {
        let jar = repository(".deps/registry/registry.jar");
        assert!(jar.is_file(), "no registry: make registry");
        let [port] = free_ports();
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut command = bound("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.args(["-Dquarkus.http.host=127.0.0.1", &format!("-Dquarkus.http.port={port}"), "-jar"]).arg(jar);
        let errors = log.try_clone().expect("a log");
        let mut process = command.stdout(log).stderr(errors).spawn().expect("java runs");
        let address = format!("127.0.0.1:{port}");
        wait_until("the registry answers", || {
            let ended = process.try_wait().expect("waits");
            let log = || fs::read_to_string(folder.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "the registry ended: {ended:?}: {}", log());
            try_get(&address, &format!("{API}/schemas/types")).is_some_and(|(status, _)| status == 200)
        });
        Self { address, process, folder }
    }

    /// The root of its API.
    pub fn url(&self) -> String {
        format!("http://{}{API}", self.address)
    }

    /// Registers a schema by a command of docs/attach.md, whose `<file` is this one and whose registry this; the schema's id.
    pub fn register(&self, command: &str, subject: &str, schema: &str) -> u32 {
        let command = command.replace("http://localhost:8081", &self.url()).replace("posts-value", subject);
        let (before, after) = command.split_once('<').expect("a schema's file");
        let file = after.split_whitespace().next().expect("a schema's file");
        fs::write(self.folder.path().join(file), schema).expect("written");
        let output = Command::new("bash")
            .args(["-c", &format!("set -o pipefail\n{before}<{after}")])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command}: {out} {error}");
        let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        u32::try_from(answer["id"].as_u64().expect("an id")).expect("an id")
    }
}

impl Drop for Apicurio {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// In front of the registry.
#[derive(Clone)]
pub struct Gate {
    pub url: String,
    is_shut: Arc<AtomicBool>,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Gate {
    /// Opens one on a free port; to be called within a runtime.
    pub async fn open(registry: &Apicurio) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let gate = Self { url: format!("http://{address}"), is_shut: Arc::default(), asked: Arc::default() };
        let (answering, behind) = (gate.clone(), registry.address.clone());
        let router = Router::new().fallback(move |request: Request| answering.clone().answer(request, behind.clone()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        gate
    }

    async fn answer(self, request: Request, behind: String) -> Response {
        let path = request.uri().path().to_owned();
        *self.asked.lock().expect("not poisoned").entry(path.clone()).or_default() += 1;
        let expected = format!("Basic {}", STANDARD.encode(format!("{USER}:{PASSWORD}")));
        if request.headers().get(AUTHORIZATION).is_none_or(|given| given.as_bytes() != expected.as_bytes()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        if self.is_shut.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        let answer = tokio::task::spawn_blocking(move || try_get(&behind, &format!("{API}{path}"))).await;
        let (status, body) = answer.expect("no panic").unwrap_or((502, String::new()));
        (StatusCode::from_u16(status).expect("a status"), body).into_response()
    }

    pub fn shut(&self, is_shut: bool) {
        self.is_shut.store(is_shut, Ordering::SeqCst);
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.asked.lock().expect("not poisoned").get(path).copied().unwrap_or(0)
    }
}

/// A file that holds the password, and a line end as editors leave it.
pub fn password_file(password: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("temporary file");
    writeln!(file, "{password}").expect("written");
    file
}
