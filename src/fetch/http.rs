//! Images by `http:` and `https:`. Redirects are followed here, each hop checked as the first; nothing is asked of a proxy, no
//! cookie or referrer is sent, and no content encoding is accepted. A body is read up to the limit and no further.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use prometheus::IntCounter;
use reqwest::dns::Resolve;
use reqwest::header::{ACCEPT, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::address::Forbidden;
use super::hosts::Allowed;
use super::resolve::Checked;
use super::retry::{Failure, Tries};
use super::slots::Slots;
use super::{Settings, failed, refused, shown, too_large};
use crate::error::{Reason, Refusal};
use crate::message::Fetched;

const IDLE_CONNECTIONS_LAST: Duration = Duration::from_secs(30);
const READ_FORMATS: &str = "image/jpeg, image/png, image/webp, image/gif";

pub(super) struct Http {
    client: Client,
    allowed: Allowed,
    slots: Arc<Slots>,
    image_bytes: usize,
    redirects: u32,
    attempts: u32,
    timeout: Duration,
    retries: IntCounter,
}

/// How a server answered.
enum Answer {
    Image(Fetched),
    Redirect(Url),
}

impl Http {
    pub(super) fn new(
        settings: &Settings,
        image_bytes: usize,
        slots: Arc<Slots>,
        resolver: Arc<dyn Resolve>,
        retries: IntCounter,
    ) -> reqwest::Result<Self> {
        // Taken already when another was made before it in this process: it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allowed = Allowed { hosts: settings.hosts.clone(), networks: settings.networks.as_slice().into() };
        let resolver = Checked { resolver, networks: Arc::clone(&allowed.networks) };
        let client = Client::builder()
            .user_agent(concat!("sentistream/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(READ_FORMATS))]))
            .dns_resolver(Arc::new(resolver))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            // Shared out among the addresses of a name, so that a dead one leaves time for the next.
            .connect_timeout(settings.timeout())
            .pool_max_idle_per_host(settings.per_host)
            .pool_idle_timeout(IDLE_CONNECTIONS_LAST)
            .build()?;
        let (redirects, attempts, timeout) = (settings.redirects, settings.attempts, settings.timeout());
        Ok(Self { client, allowed, slots, image_bytes, redirects, attempts, timeout, retries })
    }

    pub(super) async fn fetch(&self, mut url: Url) -> Result<Fetched, Refusal> {
        self.allowed.check(&url)?;
        let mut tries = Tries::new(self.attempts, self.timeout, self.retries.clone());
        for _ in 0..=self.redirects {
            let answer = {
                let _slot = self.slots.of_host(url.host_str().unwrap_or_default()).await;
                self.persist(&url, &mut tries).await?
            };
            match answer {
                Answer::Image(fetched) => return Ok(fetched),
                Answer::Redirect(next) => {
                    self.allowed.check(&next).map_err(|refusal| {
                        let detail = format!("redirected by {} to {}", shown(&url), refusal.detail);
                        tries.refusal(refused(detail))
                    })?;
                    url = next;
                }
            }
        }
        let detail = format!("{}: more than {} redirects (fetch.redirects)", shown(&url), self.redirects);
        Err(tries.refusal(refused(detail)))
    }

    /// Asks until there is an answer, or no attempt left. The host's slot is kept between attempts, so that the first post
    /// that waits for a sick host is given up first; the slot of all is not.
    async fn persist(&self, url: &Url, tries: &mut Tries) -> Result<Answer, Refusal> {
        loop {
            let slot = self.slots.of_all().await;
            match tries.attempt(self.ask(url, slot)).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => tries.pause_after(failure, url).await?,
            }
        }
    }

    async fn ask(&self, url: &Url, slot: Option<OwnedSemaphorePermit>) -> Result<Answer, Failure> {
        let response = self.client.get(url.clone()).send().await.map_err(|error| failure(error, url))?;
        let status = response.status();
        let complain = |what: &str| failed(format!("{}: {what}", shown(url)));
        match status {
            StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT => {
                let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                let next = location.and_then(|location| url.join(location).ok());
                Ok(Answer::Redirect(next.ok_or_else(|| complain(&format!("{status} without a location")))?))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Passing { what: status.to_string(), retry_after: retry_after(response.headers()) })
            }
            status if status.is_server_error() => {
                Err(Failure::Passing { what: status.to_string(), retry_after: retry_after(response.headers()) })
            }
            status if status.is_success() && status != StatusCode::PARTIAL_CONTENT => {
                let image = self.body(response, url).await?;
                Ok(Answer::Image(Fetched { image, slot }))
            }
            status => Err(complain(&status.to_string()).into()),
        }
    }

    async fn body(&self, mut response: Response, url: &Url) -> Result<Bytes, Failure> {
        if let Some(encoding) = response.headers().get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            return Err(failed(format!("{}: content-encoding {encoding}, which was not asked for", shown(url))).into());
        }
        let told = response.content_length().unwrap_or(0);
        let told = usize::try_from(told).unwrap_or(usize::MAX);
        if told > self.image_bytes {
            return Err(too_large(url, self.image_bytes).into());
        }
        let mut body = Vec::with_capacity(told);
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(error, url))? {
            if body.len() + chunk.len() > self.image_bytes {
                return Err(too_large(url, self.image_bytes).into());
            }
            body.extend_from_slice(&chunk);
        }
        if body.is_empty() {
            return Err(Refusal::new(Reason::NoImage, format!("image.url: {}: the body is empty", shown(url))).into());
        }
        Ok(body.into())
    }
}

/// An address that may not be reached is the record's fault; anything else may pass.
fn failure(error: reqwest::Error, url: &Url) -> Failure {
    let error = error.without_url();
    let mut what = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref::<Forbidden>() {
            return refused(format!("{}: {forbidden}", shown(url))).into();
        }
        what = format!("{what}: {error}");
        cause = error.source();
    }
    Failure::Passing { what, retry_after: None }
}

/// Seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}
