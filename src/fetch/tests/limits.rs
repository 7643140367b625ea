//! Servers that never end, and how many are asked at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::server::Server;
use super::*;

/// What a test waits for at most, and far more than it needs.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_server_that_takes_its_time_is_given_up() {
    let server = Server::start(|mut request| match request.path {
        "/silent" => request.hang(),
        "/headers" => {
            request.write(b"HTTP/1.1 200 OK\r\n");
            while request.write(b"X-More: a\r\n") {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        "/redirect" => request.redirect("/body"),
        _ => {
            request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
            while request.write(b"a") {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let settings = Settings { timeout_ms: 200, attempts: 2, ..settings(&[&server.entry("127.0.0.1")]) };
    let fetcher = fetcher(&settings);
    for path in ["/silent", "/headers", "/body", "/redirect"] {
        let started = Instant::now();
        let told = refused_with(&fetcher, &server.url(path), "fetch_failed after 2").await;
        assert!(told.contains("not there within 200 ms") || path == "/headers", "{told}");
        assert!(started.elapsed() < PATIENCE, "{path}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_image_is_read_up_to_the_limit_and_no_further() {
    let server = Server::start(|mut request| match request.path {
        "/whole" => request.image(&vec![b'a'; IMAGE_BYTES]),
        "/more" => request.image(&vec![b'a'; IMAGE_BYTES + 1]),
        "/promised" => {
            request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n");
            request.hang();
        }
        "/endless" => {
            request.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while request.write(&[b'a'; 4096]) {}
        }
        "/chunks" => {
            request.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while request.write(b"5\r\nimage\r\n") {}
        }
        "/header" => {
            request.write(b"HTTP/1.1 200 OK\r\nX: ");
            while request.write(&[b'a'; 4096]) {}
        }
        "/bomb" => {
            request.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b");
        }
        "/longer" => {
            request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nimage");
        }
        "/shorter" => {
            request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nimage");
        }
        "/two-lengths" => {
            request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nimage!");
        }
        other => panic!("{other}"),
    });
    let fetcher = fetcher(&Settings { attempts: 1, ..settings(&[&server.entry("127.0.0.1")]) });
    assert_eq!(end(&fetcher, &server.url("/whole")).await.map(|image| image.len()), Ok(IMAGE_BYTES));
    for path in ["/more", "/promised", "/endless", "/chunks"] {
        let told = refused_with(&fetcher, &server.url(path), "too_large after 1").await;
        assert!(told.contains("decode.image_bytes"), "{told}");
    }
    let told = refused_with(&fetcher, &server.url("/bomb"), "fetch_failed after 1").await;
    assert!(told.contains("content-encoding gzip"), "{told}");
    for path in ["/header", "/longer", "/two-lengths"] {
        refused_with(&fetcher, &server.url(path), "fetch_failed after 1").await;
    }
    assert_eq!(end(&fetcher, &server.url("/shorter")).await, Ok(b"ima".to_vec()));
}

#[tokio::test]
async fn no_host_is_asked_more_often_at_once_than_it_may() {
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (open, most) = (Arc::clone(&counts), Arc::clone(&counts));
    let server = Server::start(move |mut request| {
        open.1.fetch_max(open.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        // Before the answer, since its slot is free once that is read.
        open.0.fetch_sub(1, Ordering::SeqCst);
        match request.path {
            "/redirect" => request.redirect("/image"),
            _ => request.image(b"image"),
        }
    });
    let settings = Settings { per_host: 3, ..settings(&[&server.entry("127.0.0.1")]) };
    let fetcher = fetcher(&settings);
    let under_way: Vec<_> = (0..30)
        .map(|number| {
            let (fetcher, url) = (Arc::clone(&fetcher), server.url(["/image", "/redirect"][number % 2]));
            tokio::spawn(async move { end(&fetcher, &url).await })
        })
        .collect();
    for fetch in under_way {
        assert_eq!(fetch.await.expect("no panic"), Ok(b"image".to_vec()));
    }
    assert_eq!(most.1.load(Ordering::SeqCst), 3);
}

/// Each of the hosts redirects to the next, in a ring, with one slot each: nobody may wait for whom it keeps waiting.
#[tokio::test]
async fn hosts_that_redirect_to_each_other_do_not_wait_for_each_other() {
    let server = Server::start(|mut request| match request.path.split_once('/').map(|(_, host)| host) {
        Some("end") => request.image(b"image"),
        Some(host) => {
            let port = request.stream.local_addr().expect("connected").port();
            request.redirect(&format!("http://{host}:{port}/end"));
        }
        None => panic!("{}", request.path),
    });
    let hosts = [server.entry("a.test"), server.entry("b.test")];
    let settings = Settings { per_host: 1, concurrency: 2, ..settings(&[&hosts[0], &hosts[1]]) };
    let fetcher = fetcher(&settings);
    let under_way: Vec<_> = (0..40)
        .map(|number| {
            let (from, to) = [("a.test", "/b.test"), ("b.test", "/a.test")][number % 2];
            let (fetcher, url) = (Arc::clone(&fetcher), server.url_of(from, to));
            tokio::spawn(async move { end(&fetcher, &url).await })
        })
        .collect();
    for fetch in under_way {
        let ended = tokio::time::timeout(PATIENCE, fetch).await.expect("nobody waits for ever").expect("no panic");
        assert_eq!(ended, Ok(b"image".to_vec()));
    }
}

#[tokio::test]
async fn a_slow_host_keeps_nobody_elses_posts_waiting() {
    let server = Server::start(|mut request| match request.path {
        "/hang" => request.hang(),
        "/to-slow" => {
            let port = request.stream.local_addr().expect("connected").port();
            request.redirect(&format!("http://slow.test:{port}/hang"));
        }
        _ => request.image(b"image"),
    });
    let hosts = ["slow.test", "fast.test", "turns.test"].map(|host| server.entry(host));
    let settings = Settings { per_host: 1, concurrency: 2, ..settings(&hosts.each_ref().map(String::as_str)) };
    let fetcher = fetcher(&settings);
    let waiting: Vec<_> = (0..10)
        .map(|number| {
            let (host, path) = [("slow.test", "/hang"), ("turns.test", "/to-slow")][number % 2];
            let (fetcher, url) = (Arc::clone(&fetcher), server.url_of(host, path));
            tokio::spawn(async move { end(&fetcher, &url).await })
        })
        .collect();
    while server.heads().len() < 6 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fast = server.url_of("fast.test", "/");
    let ended = tokio::time::timeout(PATIENCE, end(&fetcher, &fast)).await;
    assert_eq!(ended.expect("not kept waiting"), Ok(b"image".to_vec()));
    assert!(waiting.iter().all(|fetch| !fetch.is_finished()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_image_keeps_its_slot_until_it_is_dropped() {
    let server = Server::start(|mut request| request.image(b"image"));
    let settings = Settings { concurrency: 2, per_host: 2, ..settings(&[&server.entry("127.0.0.1")]) };
    let fetcher = fetcher(&settings);
    let first = fetcher.fetch(&server.url("/")).await.expect("fetched");
    let second = fetcher.fetch(&server.url("/")).await.expect("fetched");
    let (waiting, url) = (Arc::clone(&fetcher), server.url("/"));
    let mut third = tokio::spawn(async move { end(&waiting, &url).await });
    assert!(tokio::time::timeout(Duration::from_millis(100), &mut third).await.is_err(), "no slot is free");
    assert_eq!(server.heads().len(), 2);
    drop(first);
    assert_eq!(third.await.expect("no panic"), Ok(b"image".to_vec()));
    drop(second);
}
