//! Fetching from real servers, folders and resolvers of this process, most of them hostile.

mod files;
mod http;
mod limits;
mod server;
mod stage;

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use reqwest::dns::{Addrs, Name, Resolving};

use super::*;

const IMAGE_BYTES: usize = 100_000;

/// Everything of this machine may be reached; an attempt takes as long as a busy machine needs.
fn settings(hosts: &[&str]) -> Settings {
    Settings {
        hosts: hosts.iter().map(|host| host.parse().expect("an entry")).collect(),
        networks: vec!["127.0.0.0/8".parse().expect("a network")],
        root: None,
        timeout_ms: 30_000,
        redirects: 3,
        concurrency: 8,
        per_host: 4,
        attempts: 3,
    }
}

fn fetcher(settings: &Settings) -> Arc<Fetcher> {
    resolving(settings, Names::default())
}

fn resolving(settings: &Settings, names: impl Resolve + 'static) -> Arc<Fetcher> {
    let made = Fetcher::with_resolver(settings, IMAGE_BYTES, &Metrics::new(), Arc::new(names));
    Arc::new(made.expect("set up").expect("on"))
}

/// The image's bytes, or `reason after attempts: detail`.
async fn end(fetcher: &Fetcher, url: &str) -> Result<Vec<u8>, String> {
    let ended = fetcher.fetch(url).await;
    ended
        .map(|fetched| fetched.image.to_vec())
        .map_err(|refusal| format!("{} after {}: {}", refusal.reason, refusal.attempts, refusal.detail))
}

async fn refused_with(fetcher: &Fetcher, url: &str, start: &str) -> String {
    let told = end(fetcher, url).await.expect_err("refused");
    assert!(told.starts_with(start), "{url}: {told}");
    told
}

/// One after the other.
type Answers = Vec<Vec<IpAddr>>;

/// A resolver by a list: every call of a name takes its next answer, the last one over and over. Any other name is this
/// machine.
#[derive(Default)]
struct Names(Mutex<Vec<(&'static str, Answers)>>);

impl Names {
    fn new(names: &[(&'static str, &[&[&str]])]) -> Self {
        let addresses = |answer: &&[&str]| answer.iter().map(|address| address.parse().expect("an address")).collect();
        let names = names.iter().map(|(name, answers)| (*name, answers.iter().map(addresses).collect()));
        Self(Mutex::new(names.collect()))
    }

    fn answer(&self, name: &str) -> Vec<IpAddr> {
        let mut names = self.0.lock().expect("not poisoned");
        let Some((_, answers)) = names.iter_mut().find(|(known, _)| *known == name) else {
            return vec!["127.0.0.1".parse().expect("an address")];
        };
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        // A port that a resolver tells is not to stand in for the URL's.
        let found: Vec<SocketAddr> =
            self.answer(name.as_str()).into_iter().map(|address| (address, 22_u16).into()).collect();
        Box::pin(std::future::ready(Ok(Box::new(found.into_iter()) as Addrs)))
    }
}

#[tokio::test]
async fn what_is_off_is_refused_with_the_setting_that_turns_it_on() {
    let none = Settings { hosts: vec![], ..settings(&[]) };
    assert!(Fetcher::new(&none, 1, &Metrics::new()).expect("nothing to set up").is_none());
    let folder = tempfile::tempdir().expect("temporary folder");
    let files = fetcher(&Settings { root: Some(folder.path().to_owned()), ..none });
    refused_with(
        &files,
        "https://a.example/",
        "fetch_refused after 1: image.url: http: and https: are off while fetch.hosts",
    )
    .await;
    let http = fetcher(&settings(&["a.example"]));
    refused_with(&http, "file:///etc/passwd", "fetch_refused after 1: image.url: file: is off while fetch.root").await;
    for url in
        ["data:image/png;base64,AAAA", "ftp://a.example/", "javascript:1", "//a.example/", "", "a.jpg", "http://"]
    {
        refused_with(&http, url, "fetch_refused after 1: image.url: ").await;
    }
    refused_with(
        &http,
        &format!("https://a.example/{}", "a".repeat(9_000)),
        "fetch_refused after 1: image.url: a URL of",
    )
    .await;
}

#[test]
fn settings_name_the_key_and_the_fix() {
    let sound = settings(&["a.example"]);
    assert_eq!(sound.validate(), Ok(()));
    for (broken, key) in [
        (Settings { timeout_ms: 0, ..sound.clone() }, "fetch.timeout_ms is 0; set it between"),
        (Settings { redirects: 11, ..sound.clone() }, "fetch.redirects is 11"),
        (Settings { concurrency: 0, ..sound.clone() }, "fetch.concurrency is 0"),
        (Settings { attempts: 0, ..sound.clone() }, "fetch.attempts is 0"),
        (Settings { per_host: 9, ..sound.clone() }, "fetch.per_host is 9; set it between 1 and fetch.concurrency (8)"),
        (Settings { root: Some("images".into()), ..sound.clone() }, "fetch.root is images; set it to an absolute"),
        (Settings { root: Some("/a/../b".into()), ..sound.clone() }, "fetch.root is /a/../b"),
    ] {
        let problem = broken.validate().expect_err(key);
        assert!(problem.contains(key), "{problem}");
    }
    assert_eq!(sound.longest().as_secs(), 3 * 30 + 2 * 10);
}
