//! A token server as OpenID Connect has it (client credentials): HTTPS, a client's id and secret in, a signed token out.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine as _};
use rcgen::{KeyPair, SigningKey};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;

/// What the broker demands of a token.
pub const AUDIENCE: &str = "kafka";
/// What the broker demands of a token.
pub const ISSUER: &str = "https://identity.example.com";
/// Short, so that a worker asks again while a test runs.
const LIFE: Duration = Duration::from_secs(8);

/// The token server; it runs until the process ends.
pub struct Tokens {
    /// Where to ask.
    pub endpoint: String,
    /// The server's own certificate, as PEM.
    pub certificate: String,
    /// The secret of every client.
    pub client_secret: String,
    server: Arc<Server>,
}

struct Server {
    key: KeyPair,
    secret: String,
    given: AtomicUsize,
    /// What must not be told: the clients' secrets as they travelled, and the tokens.
    secrets: Mutex<Vec<String>>,
}

impl Tokens {
    /// Starts it on a free port of loopback.
    pub fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).expect("fits"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("https://{}/token", listener.local_addr().expect("bound"));
        let client_secret = format!("client-{:016x}", fastrand::u64(..));
        let server = Arc::new(Server {
            key: KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key"),
            secret: client_secret.clone(),
            given: AtomicUsize::new(0),
            secrets: Mutex::default(),
        });
        let serving = Arc::clone(&server);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
                // Whoever does not trust the certificate goes away: no fault of the server.
                let _ = serving.answer(&mut rustls::StreamOwned::new(connection, stream));
            }
        });
        Self { endpoint, certificate: made.cert.pem(), client_secret, server }
    }

    /// The public key, as the broker reads it (a JSON Web Key Set).
    pub fn key_set(&self) -> String {
        let public = BASE64_URL_SAFE_NO_PAD.encode(self.server.key.public_key_raw());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": public}]})
            .to_string()
    }

    /// How many tokens it gave.
    pub fn given(&self) -> usize {
        self.server.given.load(Ordering::SeqCst)
    }

    /// What must never be told.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.server.secrets.lock().expect("not poisoned").clone();
        secrets.push(self.client_secret.clone());
        secrets
    }
}

impl Server {
    fn answer(
        &self,
        stream: &mut rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>,
    ) -> std::io::Result<()> {
        let mut request = Vec::new();
        while !is_whole(&request) {
            let mut some = [0; 4096];
            match stream.read(&mut some)? {
                0 => return Ok(()),
                read => request.extend_from_slice(&some[..read]),
            }
        }
        let (status, body) = match self.client(&String::from_utf8_lossy(&request)) {
            Some(client) => ("200 OK", json!({"access_token": self.token(&client), "token_type": "Bearer"})),
            None => ("401 Unauthorized", json!({"error": "invalid_client", "error_description": "no such client"})),
        };
        let body = body.to_string();
        let head = "Content-Type: application/json\r\nConnection: close";
        write!(stream, "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    /// The client's id, where its secret is right.
    fn client(&self, request: &str) -> Option<String> {
        let (head, body) = request.split_once("\r\n\r\n")?;
        let header = head.lines().find_map(|line| line.strip_prefix("Authorization: Basic "))?;
        let decoded = String::from_utf8(BASE64_STANDARD.decode(header).ok()?).ok()?;
        let (id, secret) = decoded.split_once(':')?;
        self.secrets.lock().expect("not poisoned").push(header.to_owned());
        let asked = head.starts_with("POST /token ") && body.contains("grant_type=client_credentials");
        (asked && secret == self.secret).then(|| id.to_owned())
    }

    fn token(&self, client: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({"alg": "EdDSA", "typ": "JWT", "kid": "1"}));
        let claims =
            json!({"sub": client, "iss": ISSUER, "aud": AUDIENCE, "iat": now.as_secs(), "exp": (now + LIFE).as_secs()});
        let signed = format!("{head}.{}", part(claims));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()).expect("signed"));
        self.given.fetch_add(1, Ordering::SeqCst);
        self.secrets.lock().expect("not poisoned").push(signature.clone());
        format!("{signed}.{signature}")
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
}
