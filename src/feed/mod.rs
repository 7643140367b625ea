//! Where the posts of `sentistream feed` come from, and how far each source has been read.
//!
//! ```text
//!  source ──items──> cli::feed ──> broker
//!    ^                   │ acknowledged, in the order of the items
//!    └── place <── state file
//! ```
//!
//! A source sends items, each with a mark: what may be remembered once the broker has it. It starts where the marks ended that
//! were remembered last time, so what was sent and not acknowledged is sent again. Sources know neither broker nor state file.

mod folder;
mod list;
mod objects;
pub(crate) mod state;
mod web;
mod writers;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use url::Url;

use self::objects::Objects;
pub(crate) use self::state::{Mark, Place};
use crate::fetch;
use crate::posts::{self, Found, Kind, Reading, SourcePost};

/// What a folder or a bucket may hold, since each image is remembered.
const MOST_SEEN: usize = 1_000_000;

/// A source that cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error(transparent)]
    Posts(#[from] posts::Error),
    /// Not a source.
    #[error("{0}: a source is a path, http:// or https:// (RSS, Atom) or s3://BUCKET/PREFIX")]
    Scheme(String),
    /// What does not grow.
    #[error("{0} is read once: leave --follow out; followed are folders, .jsonl lists, feeds by http and buckets")]
    NotFollowed(String),
    /// A feed by HTTP.
    #[error("{url}: {why}")]
    Web {
        /// Without its query, which may be a secret.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A bucket.
    #[error("{url}: {why}")]
    Objects {
        /// Bucket and prefix.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// More than can be remembered.
    #[error("{0} holds more than {MOST_SEEN} images, and each is remembered: feed its folders or prefixes one by one")]
    TooMany(String),
    /// The state is of another kind of source.
    #[error("the state does not fit {0}: remove it to start anew, or give another --state")]
    State(String),
    /// A panic.
    #[error("a source ended by a fault of the program, which is told above")]
    Broken,
    /// Nobody takes posts any more.
    #[error("stopped")]
    Stopped,
}

/// How sources are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) reading: Reading,
    /// On and on, rather than to the present end.
    pub(crate) follow: bool,
    /// Between two looks; without it what suits the source.
    pub(crate) poll: Option<Duration>,
}

impl Way {
    fn pause(&self, usual: Duration) -> Duration {
        self.poll.unwrap_or(usual)
    }
}

/// What a source says.
#[derive(Debug)]
pub(crate) struct Item {
    /// Which source, by its number.
    pub(crate) source: usize,
    pub(crate) what: What,
    pub(crate) mark: Mark,
}

#[derive(Debug)]
pub(crate) enum What {
    Post(SourcePost),
    /// No post, and why.
    Skipped(&'static str),
    /// A post that cannot be read.
    Unreadable(String),
    /// A line for whoever looks on.
    Told(String),
    /// Only the mark.
    Nothing,
    /// The source cannot be read any further.
    Failed(Error),
}

/// Where a source puts what it finds.
pub(crate) struct Output {
    pub(crate) source: usize,
    pub(crate) items: mpsc::Sender<Item>,
}

impl Output {
    async fn send(&self, what: What, mark: Mark) -> Result<(), Error> {
        self.items.send(Item { source: self.source, what, mark }).await.map_err(|_| Error::Stopped)
    }

    async fn found(&self, found: Result<Found, posts::Error>, mark: Mark) -> Result<(), Error> {
        let what = match found {
            Ok(Found::Post(post)) => What::Post(post),
            Ok(Found::Skipped(why)) => What::Skipped(why),
            Err(error) => What::Unreadable(error.to_string()),
        };
        self.send(what, mark).await
    }

    async fn tell(&self, line: String) -> Result<(), Error> {
        self.send(What::Told(line), Mark::None).await
    }

    /// Until the next look; shorter where nobody takes items any more.
    async fn rest(&self, pause: Duration) -> Result<(), Error> {
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = self.items.closed() => Err(Error::Stopped),
        }
    }
}

/// A source of posts.
pub(crate) enum Source {
    /// A file or folder.
    Path(Kind),
    /// RSS or Atom by HTTP.
    Web(Url),
    /// A bucket.
    Objects(Objects),
}

impl Source {
    /// What the command line names.
    pub(crate) fn of(text: &str, follow: bool) -> Result<Self, Error> {
        let Some((scheme, _)) = text.split_once("://") else { return Self::path(Path::new(text), follow) };
        match (scheme, Url::parse(text)) {
            ("http" | "https", Ok(url)) => Ok(Self::Web(url)),
            ("s3", Ok(url)) => Ok(Self::Objects(Objects::of(&url)?)),
            ("file", Ok(url)) => match url.to_file_path() {
                Ok(path) => Self::path(&path, follow),
                Err(()) => Err(Error::Scheme(name(text))),
            },
            _ => Err(Error::Scheme(name(text))),
        }
    }

    fn path(path: &Path, follow: bool) -> Result<Self, Error> {
        let kind = posts::kind(path)?;
        let grows = matches!(kind, Kind::Folder(_) | Kind::JsonLines(_));
        if follow && !grows { Err(Error::NotFollowed(path.display().to_string())) } else { Ok(Self::Path(kind)) }
    }

    /// Reads it from its place on; a failure becomes its last item.
    pub(crate) async fn run_to_end(self, place: Option<Place>, way: Way, out: Output) {
        let (source, items) = (out.source, out.items.clone());
        let run = tokio::spawn(async move { self.run(place, way, &out).await });
        let error = match run.await {
            Ok(Ok(()) | Err(Error::Stopped)) => return,
            Ok(Err(error)) => error,
            Err(_) => Error::Broken,
        };
        // Fails only where nobody takes items any more.
        let _ = items.send(Item { source, what: What::Failed(error), mark: Mark::None }).await;
    }

    async fn run(self, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
        match self {
            Self::Path(Kind::JsonLines(list)) => list::json_lines(&list, place, way, out).await,
            Self::Path(Kind::Rows(list)) => list::rows(&list, place, way, out).await,
            Self::Path(Kind::Archive(path)) => list::archive(&path, place, way, out).await,
            Self::Path(Kind::Folder(path) | Kind::Image(path)) => folder::run(&path, place, way, out).await,
            Self::Web(url) => web::run(&url, place, way, out).await,
            Self::Objects(objects) => objects.run(place, way, out).await,
        }
    }
}

/// What a source is called in lines and in the state file. A URL's query and credentials may be secrets: a digest stands for
/// them. Where they are in one that does not parse is not known: of it only the scheme is told.
pub(crate) fn name(text: &str) -> String {
    let Some((scheme, _)) = text.split_once("://") else { return text.to_owned() };
    match Url::parse(text) {
        Ok(url) => {
            let shown = fetch::shown(&url);
            let has_more = url.query().is_some() || !url.username().is_empty() || url.password().is_some();
            let digest = blake3::hash(text.as_bytes()).to_hex();
            if has_more { format!("{shown}#{}", digest.get(..16).unwrap_or_default()) } else { shown }
        }
        Err(_) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => format!("{scheme}://…"),
        Err(_) => "…".to_owned(),
    }
}

/// What stands for an image or an entry among those that were seen. Two that share it are one in 2^64: with a million of them
/// that is likely once in ten million feeds.
fn identity<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    let mut identity = [0; 8];
    hasher.finalize_xof().fill(&mut identity);
    u64::from_le_bytes(identity)
}

/// What was seen according to a state.
fn seen(place: Option<Place>, name: impl FnOnce() -> String) -> Result<HashSet<u64>, Error> {
    match place {
        None => Ok(HashSet::new()),
        Some(Place::Seen(seen)) => Ok(seen),
        Some(_) => Err(Error::State(name())),
    }
}

/// What is no longer there need not be remembered; the mark that says so.
fn forget(seen: &mut HashSet<u64>, present: &HashSet<u64>) -> Option<Mark> {
    let before = seen.len();
    seen.retain(|identity| present.contains(identity));
    (seen.len() < before).then(|| Mark::Only(seen.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_source_is_refused_with_what_is() {
        let refused = |text: &str, follow| Source::of(text, follow).err().expect("refused").to_string();
        assert!(refused("ftp://host/feed.xml", false).contains("https://"));
        assert!(refused("tests/fixtures/photos/labelled.csv", true).contains("leave --follow out"));
        assert!(refused("no/such/folder", false).contains("no/such/folder"));
        assert!(Source::of("tests/fixtures/photos/posts.jsonl", true).is_ok());
    }

    #[test]
    fn secrets_of_an_address_are_not_told() {
        let told = name("https://user:secret@example.com/feed.xml?token=secret");
        assert!(told.starts_with("https://example.com/feed.xml#") && !told.contains("secret"), "{told}");
        assert_ne!(told, name("https://user:secret@example.com/feed.xml?token=another"));
        assert_eq!(name("photos/"), "photos/");
        for text in ["https://user:secret/of@example.com/feed.xml", "user:secret@https://example.com/feed.xml"] {
            let refused = Source::of(text, false).err().expect("refused").to_string();
            assert!(refused.contains('…') && !refused.contains("secret"), "{refused}");
        }
        assert_eq!(name("https://example.com/feed.xml"), "https://example.com/feed.xml");
    }

    #[test]
    fn identities_tell_where_a_part_ends() {
        assert_ne!(identity([b"ab", b"c"]), identity([b"a", b"bc"]));
    }
}
