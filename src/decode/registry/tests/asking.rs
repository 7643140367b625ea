//! How the registry is asked: by whom, by what certificates, and what is made of its answers.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Mutex;

use rustls::pki_types::PrivateKeyDer;

use super::*;

/// Answers every question with this, over TLS; its URL, its certificate and what it was asked.
fn server(answer: &'static str) -> (String, String, Arc<Mutex<Vec<String>>>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).expect("fits"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://localhost:{}/root/", listener.local_addr().expect("bound").port());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            // Fails where the client does not trust the certificate.
            let Ok(read) = stream.read(&mut request) else { continue };
            noted.lock().expect("not poisoned").push(String::from_utf8_lossy(&request[..read]).into_owned());
            let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (url, made.cert.pem(), asked)
}

fn registry(settings: &Value) -> Result<Registry, Error> {
    let settings: Settings = serde_json::from_value(settings.clone()).expect("settings");
    settings.validate().expect("sound");
    Registry::new(&settings, &Metrics::new())
}

#[tokio::test]
async fn a_certificate_of_ones_own_and_a_password_lead_in() {
    let (url, certificate, asked) =
        server("HTTP/1.1 200 OK\r\nContent-Length: 19\r\nConnection: close\r\n\r\n[\"AVRO\",\"PROTOBUF\"]");
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let (roots, password) = (write("roots.pem", &certificate), write("password", "hunter2\r\n"));
    let known = registry(&json!({"url": url, "ca_file": roots, "username": "me", "password_file": password}));
    known.expect("a registry").check().await.expect("an answer");
    let asked = asked.lock().expect("not poisoned").join("");
    assert!(asked.starts_with("GET /root/schemas/types HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("authorization: basic bwu6ahvudgvymg==\r\n"), "{asked}");

    let stranger = registry(&json!({"url": url})).expect("a registry").check().await.expect_err("not trusted");
    let told = stranger.to_string();
    assert!(told.contains("does not answer: ") && told.contains("certificate") && told.contains("ca_file"), "{told}");
    let none = write("none.pem", "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n");
    for (key, path) in [("ca_file", folder.path().join("nowhere")), ("ca_file", none)] {
        let error = registry(&json!({"url": url, "ca_file": path})).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.starts_with(&format!("cannot use decode.registry.{key} "))));
    }
}

#[tokio::test]
async fn only_what_the_registry_itself_says_no_to_is_final() {
    for (answer, is_final) in [
        ("404 Not Found\r\nContent-Length: 45\r\n\r\n{\"error_code\":40403,\"message\":\"not a\\nthing\"}", true),
        ("403 Forbidden\r\nContent-Length: 20\r\n\r\n{\"error_code\":40301}", true),
        ("404 Not Found\r\nContent-Length: 12\r\n\r\n<html></html>", false),
        ("404 Not Found\r\nContent-Length: 18\r\n\r\n{\"error_code\":404}", false),
        ("401 Unauthorized\r\nContent-Length: 20\r\n\r\n{\"error_code\":40101}", false),
        ("500 Oops\r\nContent-Length: 20\r\n\r\n{\"error_code\":50001}", false),
        ("301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", false),
        ("200 OK\r\nContent-Length: 2\r\n\r\n[]", false),
        ("200 OK\r\nContent-Length: 99999999\r\n\r\n", false),
        ("200 OK\r\nContent-Length: 20\r\n\r\ncut", false),
    ] {
        let (registry, _) = answering(answer);
        let failure = registry.client.schema(7).await.expect_err(answer);
        assert_eq!(failure.is_final(), is_final, "{answer}: {failure:?}");
    }
}

/// Of a server that always answers this.
fn answering(answer: &str) -> (Registry, Arc<Mutex<Vec<String>>>) {
    let whole = format!("HTTP/1.1 {}", answer.replacen("\r\n", "\r\nConnection: close\r\n", 1));
    let (url, certificate, asked) = server(whole.leak());
    let folder = tempfile::tempdir().expect("temporary folder");
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, certificate).expect("written");
    (registry(&json!({"url": url, "ca_file": roots})).expect("a registry"), asked)
}

#[tokio::test]
async fn an_answer_that_never_becomes_a_schema_holds_nothing_up_for_ever() {
    let long = format!("200 OK\r\n\r\n{}", "x".repeat(5 << 20));
    for (answer, questions, why) in [
        (long.as_str(), 1, "its answer has more than 4194304 bytes"),
        ("200 OK\r\nContent-Length: 2\r\n\r\n{}", MOST_STRANGE, "its answer is not that of a schema registry: "),
    ] {
        let (registry, asked) = answering(answer);
        let refused = registry.schema(7).await.expect_err("no schema");
        assert_eq!(refused.reason, Reason::SchemaUnknown);
        assert!(refused.to_string().contains(why), "{refused}");
        assert_eq!(asked.lock().expect("not poisoned").len(), questions);
    }
}
