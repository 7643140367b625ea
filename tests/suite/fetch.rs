//! Images by URL, by the real worker: what may be fetched scores as the same image inline does, every trick is one dead
//! letter, and nothing that was not to be reached was asked.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::IntoResponse;
use axum::routing::get;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::same_numbers::difference;
use crate::support::kafka::{Read, Topics};
use crate::support::photos::{TestPost, samples};
use crate::support::process::{WorkerProcess, ended, sentistream};
use crate::support::repository;

/// Serves the sample photographs under a lying content type, and redirects wherever the path says.
async fn image_store(inside: SocketAddr) -> SocketAddr {
    let photo = |Path(name): Path<String>| async move {
        let photo = std::fs::read(repository("tests/fixtures/photos").join(name));
        photo.map_or(StatusCode::NOT_FOUND.into_response(), |photo| {
            ([(CONTENT_TYPE, "text/html")], photo).into_response()
        })
    };
    let redirect = move |Path(to): Path<String>| async move {
        let to = match to.as_str() {
            "inside" => format!("http://{inside}/inside"),
            "metadata" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            "private" => "http://10.0.0.1/".to_owned(),
            "file" => "file:///etc/passwd".to_owned(),
            "loop" => "/to/loop".to_owned(),
            photo => format!("/photos/{photo}"),
        };
        (StatusCode::FOUND, [(LOCATION, to)]).into_response()
    };
    let router = Router::new()
        .route("/photos/{name}", get(photo))
        .route("/to/{to}", get(redirect))
        .route("/large", get(|| async { Bytes::from(vec![0; 5 << 20]) }))
        .route("/text", get(|| async { ([(CONTENT_TYPE, "image/jpeg")], "no image").into_response() }))
        .route("/away", get(|| async { StatusCode::SERVICE_UNAVAILABLE.into_response() }));
    serve(router).await
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A service that nobody may reach through a worker.
async fn service_inside() -> (SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        "inside"
    };
    (serve(Router::new().fallback(answer)).await, asked)
}

fn environment(store: SocketAddr) -> Vec<(String, String)> {
    let set = |key: &str, value: String| (format!("SENTISTREAM__FETCH__{key}"), value);
    vec![
        set(
            "HOSTS",
            format!("{store},localhost:{},10.0.0.1,169.254.169.254,[::1],[::ffff:169.254.169.254]", store.port()),
        ),
        set("NETWORKS", "127.0.0.0/8".to_owned()),
        set("ROOT", repository("tests/fixtures/photos").display().to_string()),
        set("ATTEMPTS", "2".to_owned()),
    ]
}

fn by_url(id: &str, url: &str, metadata: &Value) -> TestPost {
    TestPost::raw(id, json!({"id": id, "image": {"url": url}, "metadata": metadata}).to_string().as_bytes())
}

/// Every sample inline and by URL: `inline-0`, `http-0`, `redirect-0`, `file-0`, …
fn good_posts(store: SocketAddr) -> Vec<TestPost> {
    let folder = repository("tests/fixtures/photos");
    let posts = samples().into_iter().enumerate().flat_map(|(number, (name, image, metadata))| {
        [
            TestPost::json(&format!("inline-{number}"), &image, &metadata),
            by_url(&format!("http-{number}"), &format!("http://{store}/photos/{name}?signature=secret"), &metadata),
            by_url(&format!("redirect-{number}"), &format!("http://{store}/to/{name}"), &metadata),
            by_url(&format!("file-{number}"), &format!("file://{}", folder.join(&name).display()), &metadata),
        ]
    });
    posts.collect()
}

/// What a hostile author writes, and the reason each is refused with.
fn bad_posts(store: SocketAddr, inside: SocketAddr) -> Vec<(&'static str, TestPost)> {
    let (port, folder) = (store.port(), repository("tests/fixtures/photos").display().to_string());
    let refused = [
        format!("http://{inside}/inside"),
        format!("http://127.1:{}/inside", inside.port()),
        format!("http://2130706433:{}/inside", inside.port()),
        format!("http://[::1]:{port}/photos/cat.jpg"),
        "http://[::1]/inside".to_owned(),
        format!("http://store@{inside}/inside"),
        format!("http://user:secret@{store}/photos/cat.jpg"),
        format!("http://localhost:{}/inside", inside.port()),
        "http://169.254.169.254/latest/meta-data/?token=secret".to_owned(),
        "http://2852039166/latest/meta-data/".to_owned(),
        "http://0xa9fea9fe/latest/meta-data/".to_owned(),
        "http://0251.0376.0251.0376/latest/meta-data/".to_owned(),
        "http://[::ffff:169.254.169.254]/latest/meta-data/".to_owned(),
        "http://[::ffff:a9fe:a9fe]/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://metadata.google.internal/computeMetadata/v1/".to_owned(),
        format!("http://{store}/to/inside"),
        format!("http://{store}/to/metadata"),
        format!("http://{store}/to/private"),
        format!("http://{store}/to/file"),
        format!("http://{store}/to/loop"),
        "file:///etc/passwd".to_owned(),
        "file:///proc/self/environ".to_owned(),
        format!("file://{folder}/../../../Cargo.toml"),
        format!("file://{folder}/%2e%2e/%2e%2e/%2e%2e/Cargo.toml"),
        format!("file://{folder}/..%2F..%2F..%2FCargo.toml"),
        format!("file://{folder}"),
        format!("file://{inside}{folder}/cat.jpg"),
        "data:image/png;base64,iVBORw0KGgo=".to_owned(),
        format!("gopher://{inside}/_GET"),
        format!("ftp://{inside}/"),
        "unix:/run/service.sock".to_owned(),
        "cat.jpg".to_owned(),
        String::new(),
    ];
    let others = [
        ("fetch_failed", format!("http://{store}/photos/none.jpg")),
        // As browsers read it: the store's, and no other host's.
        ("fetch_failed", format!("http://{store}\\@{inside}/inside")),
        ("fetch_failed", format!("http://{store}/away")),
        ("fetch_failed", format!("file://{folder}/none.jpg")),
        ("too_large", format!("http://{store}/large")),
        ("unsupported_format", format!("http://{store}/text")),
        ("unsupported_format", format!("file://{folder}/posts.jsonl")),
    ];
    let all = refused.into_iter().map(|url| ("fetch_refused", url)).chain(others);
    let numbered = |(number, (reason, url)): (usize, (&'static str, String))| {
        (reason, by_url(&format!("bad-{number}"), &url, &json!({})))
    };
    let mut posts: Vec<_> = all.enumerate().map(numbered).collect();
    let with_wrong_field = by_url("wrong-field", &format!("http://{inside}/inside"), &json!({"caption": 7}));
    posts.push(("bad_field", with_wrong_field));
    posts
}

fn id(read: &Read) -> String {
    read.key.clone().expect("a key")
}

/// Every post by URL scored as the same one inline.
fn assert_same_numbers(results: &BTreeMap<String, Value>) -> f64 {
    let mut worst: f64 = 0.0;
    for number in 0..samples().len() {
        for way in ["http", "redirect", "file"] {
            let inline = &results[&format!("inline-{number}")];
            worst = worst.max(difference(&results[&format!("{way}-{number}")], inline));
        }
    }
    assert!(worst <= 1e-5, "{worst:e}");
    worst
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn images_by_url_score_as_inline_and_every_trick_is_one_dead_letter() {
    let topics = Topics::create("fetch", 1).await;
    let (inside, asked) = service_inside().await;
    let store = image_store(inside).await;
    let (good, bad) = (good_posts(store), bad_posts(store, inside));
    let mut fed = good.clone();
    for (number, (_, post)) in bad.iter().enumerate() {
        fed.insert(number * fed.len() / bad.len(), post.clone());
    }
    fed.insert(7, TestPost::tombstone("gone"));
    // Nothing of a query is logged, by us or by what we use.
    let log = "info,sentistream=trace,reqwest=trace,hyper=trace,hyper_util=trace";
    let log = vec![("SENTISTREAM__LOG__LEVEL".to_owned(), log.to_owned())];
    let mut worker = WorkerProcess::start(&[topics.environment(), environment(store), log].concat());
    topics.feed(&fed);
    topics.wait_for_outcomes(fed.len()).await;
    let log = worker.log();
    worker.signal("TERM");
    assert!(worker.wait().success(), "{}", worker.log());

    assert_eq!(asked.load(Ordering::SeqCst), 0, "the service inside was not asked");
    assert!(!log.contains("secret"), "{log}");
    assert_dead_letters(&topics, &bad);
    let published = topics.read_all(&topics.output());
    let ids: Vec<String> = published.iter().map(id).collect();
    let is_bad = |post: &&TestPost| bad.iter().any(|(_, bad)| bad.id == post.id);
    let expected: Vec<String> = fed.iter().filter(|post| !is_bad(post)).map(|post| post.id.clone()).collect();
    assert_eq!(ids, expected, "in order");
    let results = published.iter().filter(|read| read.value.is_some()).map(|read| (id(read), read.json()));
    let worst = assert_same_numbers(&results.collect());
    println!("largest difference between an image by URL and the same inline: {worst:e}");
    assert_eq!(topics.committed(), i64::try_from(fed.len()).expect("few"));
}

fn assert_dead_letters(topics: &Topics, bad: &[(&str, TestPost)]) {
    let dead = topics.read_all(&topics.dead_letters());
    assert_eq!(dead.len(), bad.len(), "one each");
    let dead: BTreeMap<String, Read> = dead.into_iter().map(|read| (id(&read), read)).collect();
    for (reason, post) in bad {
        let letter = &dead[&post.id];
        let detail = letter.header("dlq.detail");
        assert_eq!(letter.header("dlq.reason"), *reason, "{}: {detail}", post.id);
        assert_eq!(letter.value, post.value, "{}: the record and no image", post.id);
        assert!(!detail.contains("secret"), "{detail}");
        let is_away = detail.contains("503");
        assert_eq!(letter.header("dlq.attempts"), if is_away { "2" } else { "1" }, "{detail}");
        let stage = if matches!(*reason, "unsupported_format" | "bad_field") { "decode" } else { "fetch" };
        assert_eq!(letter.header("dlq.stage"), stage, "{detail}");
    }
}

/// Without a setting nothing is fetched, as the dead letter tells.
#[test]
fn fetching_is_off_unless_it_is_turned_on() {
    let list = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("temporary file");
    std::fs::write(list.path(), r#"{"id": "a", "image": {"url": "https://example.com/a.jpg"}}"#).expect("written");
    let (code, out, error) = ended(&sentistream(&["score"]).arg(list.path()).output().expect("runs"));
    assert_eq!((code, out.as_str()), (3, ""), "{error}");
    assert!(error.contains("fetch_refused") && error.contains("fetch.hosts"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn score_fetches_as_the_stream_does() {
    let (inside, asked) = service_inside().await;
    let store = image_store(inside).await;
    let list = tempfile::Builder::new().suffix(".jsonl").tempfile().expect("temporary file");
    let mut posts = good_posts(store);
    posts.push(by_url("refused", &format!("http://{inside}/inside"), &json!({})));
    let lines: Vec<_> =
        posts.iter().map(|post| String::from_utf8_lossy(post.value.as_deref().unwrap_or_default())).collect();
    std::fs::write(list.path(), lines.join("\n")).expect("written");
    let mut command = sentistream(&["score"]);
    command.arg(list.path()).envs(environment(store));
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("runs");
    let (code, out, error) = ended(&output);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("fetch_refused") && error.lines().count() == 1, "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let results = out.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let results: Vec<(String, Value)> =
        results.map(|result| (result["id"].as_str().expect("an id").to_owned(), result)).collect();
    let expected: Vec<&str> = posts.iter().map(|post| post.id.as_str()).filter(|id| *id != "refused").collect();
    assert_eq!(results.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), expected, "in order");
    assert_same_numbers(&results.into_iter().collect());
}

/// A server for one name, and its certificate: each connection gets the same photograph.
fn https_store(name: &str) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).expect("fits"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        let photo = std::fs::read(repository("tests/fixtures/photos/cat.jpg")).expect("sample photograph");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", photo.len());
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = rustls::StreamOwned::new(connection, stream);
            // Fails where the client does not trust the certificate.
            let asked = stream.read(&mut [0; 1024]);
            let _ =
                asked.and_then(|_| stream.write_all(&[head.as_bytes(), &photo].concat())).and_then(|()| stream.flush());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    (port, made.cert.pem())
}

#[test]
fn a_server_is_trusted_as_the_system_trusts_it() {
    let ((port, certificate), (other_port, _)) = (https_store("localhost"), https_store("localhost"));
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    };
    let roots = write("roots.pem", &certificate);
    let by_url = |id: &str, url: String| json!({"id": id, "image": {"url": url}}).to_string();
    let list = write(
        "posts.jsonl",
        &[
            by_url("trusted", format!("https://localhost:{port}/cat.jpg")),
            by_url("another-name", format!("https://127.0.0.1:{port}/cat.jpg")),
            by_url("not-trusted", format!("https://localhost:{other_port}/cat.jpg")),
        ]
        .join("\n"),
    );
    let hosts = format!("localhost:{port},127.0.0.1:{port},localhost:{other_port}");
    let mut command = sentistream(&["score"]);
    command.arg(list).env("SSL_CERT_FILE", roots).env_remove("SSL_CERT_DIR").env("SENTISTREAM__FETCH__HOSTS", hosts);
    command.env("SENTISTREAM__FETCH__NETWORKS", "127.0.0.0/8,::1/128").env("SENTISTREAM__FETCH__ATTEMPTS", "1");
    let (code, out, error) = ended(&command.output().expect("runs"));
    assert_eq!(code, 3, "{error}");
    assert!(out.lines().count() == 1 && out.contains("\"trusted\""), "{out}");
    for id in ["another-name", "not-trusted"] {
        let line = error.lines().find(|line| line.contains(&format!("refused: {id} "))).unwrap_or_default();
        assert!(line.contains("fetch_failed") && line.contains("certificate"), "{error}");
    }
}

#[test]
fn a_host_that_is_none_stops_the_start() {
    let (code, _, error) = ended(
        &sentistream(&["score", "tests/fixtures/photos/cat.jpg"])
            .env("SENTISTREAM__FETCH__HOSTS", "cdn.example.com,https://example.com/")
            .output()
            .expect("runs"),
    );
    assert!(code == 2 && error.contains("https://example.com/") && error.contains("fetch.hosts"), "{error}");
}
