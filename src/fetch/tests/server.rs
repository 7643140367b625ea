//! An HTTP server that answers as a test wants it to, byte by byte, each connection on a thread of its own.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

pub(super) struct Server {
    pub(super) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

/// A request: its path, how many came before it on this server, and where to answer.
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    pub(super) before: usize,
    pub(super) stream: &'a mut TcpStream,
}

impl Request<'_> {
    /// False once the client has gone.
    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    pub(super) fn status(&mut self, status: &str, headers: &str) {
        self.write(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
    }

    pub(super) fn redirect(&mut self, location: &str) {
        self.status("302 Found", &format!("Location: {location}\r\n"));
    }

    pub(super) fn image(&mut self, body: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        self.write(&[head.as_bytes(), body].concat());
    }

    /// Says nothing more until the client goes.
    pub(super) fn hang(&mut self) {
        loop {
            match self.stream.read(&mut [0; 64]) {
                Ok(0) => return,
                Err(error) if error.kind() != ErrorKind::Interrupted => return,
                _ => {}
            }
        }
    }
}

impl Server {
    pub(super) fn start(answer: impl Fn(Request<'_>) + Send + Sync + 'static) -> Self {
        Self::start_on(("127.0.0.1", 0), answer)
    }

    pub(super) fn start_on(address: (&str, u16), answer: impl Fn(Request<'_>) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let server = Self { address: listener.local_addr().expect("bound"), heads: Arc::default() };
        let heads = Arc::clone(&server.heads);
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (heads, answer) = (Arc::clone(&heads), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let Some(head) = head(&mut stream) else { return };
                    let before = {
                        let mut heads = heads.lock().expect("not poisoned");
                        heads.push(head.clone());
                        heads.len() - 1
                    };
                    let path = head.split(' ').nth(1).expect("a path");
                    answer(Request { path, before, stream: &mut stream });
                });
            }
        });
        server
    }

    pub(super) fn url(&self, path: &str) -> String {
        self.url_of("127.0.0.1", path)
    }

    pub(super) fn url_of(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }

    /// Its entry in the list, by a name of it.
    pub(super) fn entry(&self, host: &str) -> String {
        format!("{host}:{}", self.address.port())
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("not poisoned").clone()
    }
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}
