//! The fetch stage: posts that give their image by URL get it fetched before they are decoded. Only there when
//! `fetch.hosts` or `fetch.root` is set.
//!
//! ```text
//! record ──┬── no image.url ──────────────────────────────────────────► decode
//!          └── image.url ── host's slot ── slot of all ── bytes ──────► decode, which gives the slot of all back
//!                                              └── refused, failed ───► Settled: dead letter
//! ```
//!
//! A post asks for what its author wrote, so nothing of it is trusted: the host must be listed, every address is checked
//! after it was resolved and on every redirect (`address.rs`), size, time and redirects are limited, and the content type is
//! not read. What is told of a URL, in logs and in `dlq.detail`, is scheme, host and path: its query may be a secret.

mod address;
mod files;
mod hosts;
mod http;
mod resolve;
mod retry;
mod settings;
mod slots;
mod stage;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use reqwest::dns::Resolve;
use url::Url;

pub use self::hosts::HostRule;
pub(crate) use self::http::retry_after;
pub use self::settings::Settings;
pub(crate) use self::stage::{Onward, Stage};
use crate::error::{Reason, Refusal};
use crate::message::Fetched;
use crate::metrics::Metrics;

/// Longer than any server takes.
const URL_BYTES: usize = 8192;
const TOLD_CHARS: usize = 150;

/// Fetching cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of `file:` URLs.
    #[error("cannot open fetch.root {}: {source}", root.display())]
    Root {
        /// Which.
        root: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The client, as a rule for want of certificates.
    #[error("cannot fetch by https (fetch.hosts): is there a bundle of root certificates (ca-certificates)?")]
    Client(#[from] reqwest::Error),
}

/// Fetches images by URL. Share it by `Arc`.
pub struct Fetcher {
    http: Option<http::Http>,
    files: Option<files::Files>,
}

impl Fetcher {
    /// What the settings allow; `None` where that is nothing. An image has at most `image_bytes`.
    ///
    /// # Errors
    /// When the root cannot be opened, or the system has no root certificates.
    pub fn new(settings: &Settings, image_bytes: usize, metrics: &Metrics) -> Result<Option<Self>, Error> {
        Self::with_resolver(settings, image_bytes, metrics, Arc::new(resolve::System))
    }

    fn with_resolver(
        settings: &Settings,
        image_bytes: usize,
        metrics: &Metrics,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Option<Self>, Error> {
        if !settings.is_on() {
            return Ok(None);
        }
        let slots = slots::Slots::new(settings);
        let http = if settings.hosts.is_empty() {
            None
        } else {
            let retries = metrics.fetch_retries.clone();
            Some(http::Http::new(settings, image_bytes, Arc::clone(&slots), resolver, retries)?)
        };
        let open = |root: &PathBuf| {
            files::Files::open(root, settings, image_bytes, slots)
                .map_err(|source| Error::Root { root: root.clone(), source })
        };
        Ok(Some(Self { http, files: settings.root.as_ref().map(open).transpose()? }))
    }

    /// The image at the URL.
    ///
    /// # Errors
    /// A URL that is not allowed, or one that gave no image; with the attempts made.
    pub async fn fetch(&self, url: &str) -> Result<Fetched, Refusal> {
        if url.len() > URL_BYTES {
            return Err(refused(format!("a URL of {} bytes; at most {URL_BYTES} are read", url.len())));
        }
        let url = Url::parse(url).map_err(|error| refused(format!("not a URL: {error}")))?;
        match (url.scheme(), &self.http, &self.files) {
            ("http" | "https", Some(http), _) => http.fetch(url).await,
            ("http" | "https", None, _) => Err(refused("http: and https: are off while fetch.hosts is empty")),
            ("file", _, Some(files)) => files.fetch(&url).await,
            ("file", _, None) => Err(refused("file: is off while fetch.root is not set")),
            ("data", ..) => Err(refused("data: is not read; send the bytes as image.data (base64)")),
            _ => Err(refused("neither http:, https: nor file:")),
        }
    }
}

fn refused(detail: impl AsRef<str>) -> Refusal {
    Refusal::new(Reason::FetchRefused, format!("image.url: {}", detail.as_ref()))
}

fn failed(detail: impl AsRef<str>) -> Refusal {
    Refusal::new(Reason::FetchFailed, format!("image.url: {}", detail.as_ref()))
}

fn too_large(url: &Url, image_bytes: usize) -> Refusal {
    let detail = format!("image.url: {} has more than {image_bytes} bytes (decode.image_bytes)", shown(url));
    Refusal::new(Reason::TooLarge, detail)
}

/// What may be told of a URL: scheme, host, port and path.
pub(crate) fn shown(url: &Url) -> String {
    let authority = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = if url.cannot_be_a_base() { "…" } else { url.path() };
    let whole = format!("{}://{}{authority}{path}", url.scheme(), url.host_str().unwrap_or_default());
    let mut told: String = whole.chars().take(TOLD_CHARS).collect();
    if told.len() < whole.len() {
        told.push('…');
    }
    told
}
