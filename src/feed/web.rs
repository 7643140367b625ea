//! RSS or Atom by HTTP, asked for politely: no more often than told, only what has changed (`ETag`, `Last-Modified`), and
//! later where the server says so (`Retry-After`). Size and time are limited, and redirects stay within HTTP.

use std::collections::HashSet;
use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{ACCEPT, ETAG, HeaderMap, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::redirect::{self, Attempt};
use reqwest::{Client, Response, StatusCode};
use tokio::task::block_in_place;
use url::Url;

use super::{Error, Mark, Output, Place, Way, What, identity, seen};
use crate::fetch::{self, retry_after};
use crate::posts::archive::Drafted;
use crate::posts::syndication;
use crate::retry::pauses;

const PAUSE: Duration = Duration::from_mins(5);
/// However long a server asks to be left alone.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);
const TIMEOUT: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 16 << 20;
const MOST_REDIRECTS: usize = 5;
/// Attempts at a feed that is asked for once.
const ATTEMPTS: usize = 5;
/// Entries that are remembered although the feed may no longer list them.
const MOST_REMEMBERED: usize = 10_000;
const FORMATS: &str = "application/rss+xml, application/atom+xml, application/xml;q=0.9, text/xml;q=0.8";

/// Why a look gave nothing.
struct Failure {
    why: String,
    retry_after: Option<Duration>,
    /// It will not do so next time either.
    lasting: bool,
}

impl Failure {
    fn lasting(why: impl Into<String>) -> Self {
        Self { why: why.into(), retry_after: None, lasting: true }
    }
}

struct Feed {
    client: Client,
    url: Url,
    /// What the last answer is known by.
    validators: HeaderMap,
}

pub(super) async fn run(url: &Url, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
    let failed = |why: String| Error::Web { url: fetch::shown(url), why };
    let mut seen = seen(place, || fetch::shown(url))?;
    let client = client().map_err(|error| failed(format!("no client: {error}")))?;
    let mut feed = Feed { client, url: url.clone(), validators: HeaderMap::new() };
    let mut attempts = pauses().skip(3).take(ATTEMPTS - 1);
    loop {
        let pause = match feed.look().await {
            Ok(entries) => {
                if let Some(mark) = publish(entries, &mut seen, way, out).await? {
                    out.send(What::Nothing, mark).await?;
                }
                if !way.follow {
                    return Ok(());
                }
                way.pause(PAUSE)
            }
            Err(failure) if way.follow => {
                let asked = failure.retry_after.unwrap_or_default().min(LONGEST_PAUSE);
                let pause = way.pause(PAUSE).max(asked);
                out.tell(format!("{}; it is asked again in {} s", failed(failure.why), pause.as_secs_f64())).await?;
                pause
            }
            Err(failure) => match attempts.next().filter(|_| !failure.lasting) {
                Some(pause) => pause.max(failure.retry_after.unwrap_or_default()).min(LONGEST_PAUSE),
                None => return Err(failed(failure.why)),
            },
        };
        out.rest(pause).await?;
    }
}

/// Sends what is new; what need not be remembered any more is told by a mark.
async fn publish(
    entries: Vec<(String, Drafted)>,
    seen: &mut HashSet<u64>,
    way: Way,
    out: &Output,
) -> Result<Option<Mark>, Error> {
    let listed: HashSet<u64> = entries.iter().map(|(id, _)| identity([id.as_bytes()])).collect();
    // The oldest first: feeds begin with what is new.
    for (id, drafted) in entries.into_iter().rev() {
        let identity = identity([id.as_bytes()]);
        if seen.insert(identity) {
            out.found(drafted.record(way.reading), Mark::Seen(identity)).await?;
        }
    }
    if listed.is_empty() || seen.len() <= MOST_REMEMBERED.max(listed.len()) {
        return Ok(None);
    }
    seen.clone_from(&listed);
    Ok(Some(Mark::Only(listed)))
}

fn client() -> reqwest::Result<Client> {
    // Taken already when another was made before it in this process: it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("sentistream/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(FORMATS))]))
        .redirect(redirect::Policy::custom(followed))
        .referer(false)
        .timeout(TIMEOUT)
        .build()
}

/// Within HTTP, and never from encrypted to plain.
fn followed(attempt: Attempt<'_>) -> redirect::Action {
    let was_encrypted = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    match attempt.url().scheme() {
        _ if attempt.previous().len() > MOST_REDIRECTS => attempt.error("more redirects than are followed"),
        "https" => attempt.follow(),
        "http" if !was_encrypted => attempt.follow(),
        _ => attempt.error("redirected away from HTTPS, or to another scheme"),
    }
}

impl Feed {
    /// The entries; none where nothing has changed.
    async fn look(&mut self) -> Result<Vec<(String, Drafted)>, Failure> {
        let response = self.client.get(self.url.clone()).headers(self.validators.clone()).send().await;
        let response = response.map_err(passing)?;
        match response.status() {
            StatusCode::NOT_MODIFIED => return Ok(vec![]),
            StatusCode::OK => {}
            status => {
                let retry_after = retry_after(response.headers());
                let passes = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
                return Err(Failure { why: status.to_string(), retry_after, lasting: !passes });
            }
        }
        let (base, validators) = (response.url().clone(), validators(response.headers()));
        let body = body(response).await?;
        let entries = block_in_place(|| syndication::entries(&body, Some(&base))).map_err(Failure::lasting)?;
        self.validators = validators;
        Ok(entries)
    }
}

fn validators(headers: &HeaderMap) -> HeaderMap {
    let told = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
    told.into_iter().filter_map(|(told, asked)| Some((asked, headers.get(told)?.clone()))).collect()
}

async fn body(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(passing)? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(Failure::lasting(format!("more than {} MiB", MOST_BYTES >> 20)));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn passing(error: reqwest::Error) -> Failure {
    let lasting = error.is_redirect() || error.is_builder();
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    Failure { why, retry_after: None, lasting }
}
