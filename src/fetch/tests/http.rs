//! What is asked for, where redirects and names may lead, and what is asked for again.

use super::server::Server;
use super::*;

#[tokio::test]
async fn an_image_comes_whatever_its_type_is_called_and_nothing_of_ours_is_told() {
    let server = Server::start(|mut request| {
        request
            .write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\nimage");
    });
    let fetcher = fetcher(&settings(&[&server.entry("127.0.0.1")]));
    for _ in 0..2 {
        assert_eq!(end(&fetcher, &server.url("/a.jpg?signature=s%2F#part")).await, Ok(b"image".to_vec()));
    }
    let address = server.address;
    let version = env!("CARGO_PKG_VERSION");
    for head in server.heads() {
        let expected = format!(
            "GET /a.jpg?signature=s%2F HTTP/1.1\r\naccept: image/jpeg, image/png, image/webp, image/gif\r\n\
             user-agent: sentistream/{version}\r\nhost: {address}\r\n\r\n"
        );
        assert_eq!(head, expected);
    }
}

#[tokio::test]
async fn redirects_are_followed_up_to_the_limit() {
    let server = Server::start(|mut request| match request.path {
        "/image" => request.image(b"image"),
        "/loop" => request.redirect("/loop"),
        "/nowhere" => request.status("301 Moved", ""),
        "/not-a-url" => request.redirect("http://"),
        path => {
            let left: u32 = path.trim_start_matches('/').parse().expect("a number");
            request.redirect(&if left == 1 { "/image".to_owned() } else { format!("/{}", left - 1) });
        }
    });
    let fetcher = fetcher(&settings(&[&server.entry("127.0.0.1")]));
    assert_eq!(end(&fetcher, &server.url("/3")).await, Ok(b"image".to_vec()));
    refused_with(&fetcher, &server.url("/4"), "fetch_refused after 1").await;
    let told = refused_with(&fetcher, &server.url("/loop"), "fetch_refused after 1").await;
    assert!(told.contains("more than 3 redirects"), "{told}");
    assert_eq!(server.heads().iter().filter(|head| head.contains("/loop")).count(), 4);
    refused_with(&fetcher, &server.url("/nowhere"), "fetch_failed after 1").await;
    refused_with(&fetcher, &server.url("/not-a-url"), "fetch_failed after 1").await;
}

#[tokio::test]
async fn a_redirect_leads_only_where_a_post_may() {
    let other = Server::start(|mut request| request.image(b"image"));
    let port = other.address.port();
    let server = Server::start(move |mut request| {
        let to = match request.path {
            "/allowed" => format!("http://other.test:{port}/image?token=secret"),
            "/unlisted" => format!("http://unlisted.test:{port}/path?token=secret"),
            "/private" => "http://10.0.0.1/".to_owned(),
            "/private-name" => format!("http://inside.test:{port}/"),
            "/metadata" => "http://169.254.169.254/latest/meta-data/iam/".to_owned(),
            "/decimal" => "http://2852039166/".to_owned(),
            "/mapped" => "http://[::ffff:169.254.169.254]/".to_owned(),
            "/port" => format!("http://127.0.0.1:{port}/"),
            "/credentials" => format!("http://a:secret@other.test:{port}/"),
            "/file" => "file:///etc/passwd".to_owned(),
            "/data" => "data:image/png;base64,AAAA".to_owned(),
            "/scheme" => "gopher://other.test/".to_owned(),
            other => panic!("{other}"),
        };
        request.redirect(&to);
    });
    let listed = ["127.0.0.1", "other.test", "inside.test"]
        .map(|host| if host == "127.0.0.1" { server.entry(host) } else { other.entry(host) });
    let mut hosts: Vec<&str> = listed.iter().map(String::as_str).collect();
    hosts.extend(["10.0.0.1", "169.254.169.254", "[::ffff:169.254.169.254]"]);
    let settings = Settings { root: Some("/etc".into()), ..settings(&hosts) };
    let fetcher = resolving(&settings, Names::new(&[("inside.test", &[&["10.1.2.3"]])]));
    assert_eq!(end(&fetcher, &server.url("/allowed")).await, Ok(b"image".to_vec()));
    for (path, why) in [
        ("/unlisted", "fetch.hosts"),
        ("/private", "10.0.0.1 may not be reached: private"),
        ("/private-name", "10.1.2.3 may not be reached: private"),
        ("/metadata", "169.254.169.254 may not be reached: link-local"),
        ("/decimal", "169.254.169.254 may not be reached: link-local"),
        ("/mapped", "may not be reached: IPv4-mapped"),
        ("/port", "port"),
        ("/credentials", "user name"),
        ("/file", "only http: and https:"),
        ("/data", "only http: and https:"),
        ("/scheme", "only http: and https:"),
    ] {
        let told = refused_with(&fetcher, &server.url(path), "fetch_refused after 1: image.url: ").await;
        assert!(told.contains(why) && !told.contains("secret"), "{path}: {told}");
    }
    assert_eq!(other.heads().len(), 1, "only the allowed one was asked for");
}

#[tokio::test]
async fn a_name_leads_only_to_addresses_that_were_checked() {
    let outside = Server::start(|mut request| request.image(b"outside"));
    let inside = Server::start_on(("127.0.0.2", outside.address.port()), |mut request| request.image(b"inside"));
    let settings = Settings {
        networks: vec!["127.0.0.1/32".parse().expect("a network")],
        attempts: 1,
        ..settings(&[&inside.entry("a.test"), &inside.entry("mixed.test"), &inside.entry("rebound.test")])
    };
    let names = Names::new(&[
        ("a.test", &[&["127.0.0.2"]]),
        ("mixed.test", &[&["10.0.0.1", "127.0.0.2", "::1", "127.0.0.1", "169.254.169.254"]]),
        ("rebound.test", &[&["127.0.0.1"], &["127.0.0.2"]]),
    ]);
    let fetcher = resolving(&settings, names);
    let told = refused_with(&fetcher, &inside.url_of("a.test", "/"), "fetch_refused after 1").await;
    assert!(told.contains("127.0.0.2 may not be reached: loopback"), "{told}");
    assert_eq!(end(&fetcher, &inside.url_of("mixed.test", "/")).await, Ok(b"outside".to_vec()));
    assert_eq!(end(&fetcher, &inside.url_of("rebound.test", "/")).await, Ok(b"outside".to_vec()));
    refused_with(&fetcher, &inside.url_of("rebound.test", "/"), "fetch_refused after 1").await;
    assert!(inside.heads().is_empty(), "{:?}", inside.heads());
}

/// The answer changes after the first image: the connection that is kept leads where it was checked to lead.
#[tokio::test]
async fn a_name_that_is_bound_anew_is_checked_anew() {
    let server = Server::start(|mut request| request.image(b"image"));
    let names = Names::new(&[("a.test", &[&["127.0.0.1"], &["10.0.0.1"]])]);
    let fetcher = resolving(&settings(&[&server.entry("a.test")]), names);
    assert_eq!(end(&fetcher, &server.url_of("a.test", "/")).await, Ok(b"image".to_vec()));
    refused_with(&fetcher, &server.url_of("a.test", "/"), "fetch_refused after 1").await;
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_told_with_its_attempts() {
    let server = Server::start(|mut request| match (request.path, request.before) {
        ("/", 0) => request.status("429 Too Many Requests", "Retry-After: 0\r\n"),
        ("/", 1) => request.status("503 Service Unavailable", "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
        ("/", _) => request.image(b"image"),
        ("/404", _) => request.status("404 Not Found", ""),
        ("/partial", _) => request.status("206 Partial Content", ""),
        ("/304", _) => request.status("304 Not Modified", ""),
        ("/empty", _) => request.image(b""),
        ("/204", _) => request.status("204 No Content", ""),
        _ => request.status("502 Bad Gateway", ""),
    });
    let metrics = Metrics::new();
    let settings = settings(&[&server.entry("127.0.0.1")]);
    let made = Fetcher::with_resolver(&settings, IMAGE_BYTES, &metrics, Arc::new(Names::default()));
    let fetcher = made.expect("set up").expect("on");
    assert_eq!(end(&fetcher, &server.url("/")).await, Ok(b"image".to_vec()));
    assert_eq!(metrics.fetch_retries.get(), 2);
    let told = refused_with(&fetcher, &server.url("/502"), "fetch_failed after 3").await;
    assert!(told.ends_with("502 Bad Gateway"), "{told}");
    for path in ["/404", "/partial", "/304"] {
        refused_with(&fetcher, &server.url(path), "fetch_failed after 1").await;
    }
    for path in ["/empty", "/204"] {
        refused_with(&fetcher, &server.url(path), "no_image after 1").await;
    }
}

#[tokio::test]
async fn a_pause_is_as_long_as_the_server_asks_for() {
    let server = Server::start(|mut request| match request.before {
        0 => request.status("503 Service Unavailable", "Retry-After: 2\r\n"),
        _ => request.image(b"image"),
    });
    let started = std::time::Instant::now();
    let fetcher = fetcher(&settings(&[&server.entry("127.0.0.1")]));
    assert_eq!(end(&fetcher, &server.url("/")).await, Ok(b"image".to_vec()));
    assert!(started.elapsed().as_secs_f64() >= 2.0, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_connection_that_breaks_is_tried_again() {
    let server = Server::start(|mut request| match request.before {
        // Closed before any answer, then in the middle of one.
        0 => {}
        1 => drop(request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nim")),
        _ => request.image(b"image"),
    });
    let fetcher = fetcher(&settings(&[&server.entry("127.0.0.1")]));
    assert_eq!(end(&fetcher, &server.url("/")).await, Ok(b"image".to_vec()));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let away = self::fetcher(&settings(&[&nobody.to_string()]));
    let told = refused_with(&away, &format!("http://{nobody}/"), "fetch_failed after 3").await;
    assert!(told.to_lowercase().contains("connection refused"), "{told}");
}

#[tokio::test]
async fn a_name_that_is_not_there_is_failed() {
    let settings = Settings { attempts: 2, ..settings(&["nowhere.invalid"]) };
    let fetcher = Fetcher::new(&settings, IMAGE_BYTES, &Metrics::new()).expect("set up").expect("on");
    refused_with(&fetcher, "http://nowhere.invalid/", "fetch_failed after 2").await;
}
