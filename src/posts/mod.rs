//! Posts read from files, for `score`, `evaluate`, `feed` and the demo: images, folders of images, lists of posts (JSONL, CSV), and
//! archives and feeds of others.
//!
//! - An image is a post without metadata, its file name the id; a folder is all images below it, in order of path. A
//!   `posts.jsonl` or `posts.csv` in the folder lists them with their metadata instead.
//! - A JSONL line is a post as it travels on the topic (`docs/messages.md`); its image may also be `{"path": "…"}`,
//!   relative to the list.
//! - A CSV has a header line. Columns: `image` (path relative to the list; without it `<id>` with a known ending beside the
//!   list or in `images/`), `id`, `source`, `published_at`, `caption` (or `text`), `tags` and `objects` (separated by
//!   spaces or `;`), `scene`, `place`, `taken_at`. Other columns are ignored.
//! - A list may say what its posts should be found to be: `label`, a column or a key beside `id`, which never travels as a header.
//! - `.xml`, `.rss`, `.atom` and `.json` are RSS and Atom, Mastodon's and Bluesky's archives, told apart by their content. What of
//!   them is a post is in `docs/attach.md`.

pub(crate) mod archive;
#[cfg(test)]
mod archive_tests;
mod bluesky;
pub(crate) mod draft;
mod html;
pub(crate) mod json_lines;
mod mastodon;
pub(crate) mod rows;
pub(crate) mod syndication;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use bytes::Bytes;

use self::archive::Archive;
use self::draft::{Draft, Images, ending};
use self::json_lines::JsonLines;
use self::rows::Rows;
use crate::budget::Permit;
use crate::message::{Assignment, Header, Origin, Position, Record};

pub(crate) use self::draft::content_type;

/// What cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A list that broke off: what stands behind is not known, so it is not one post that is missing.
    #[error("cannot read {path} any further: {source}")]
    List {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither an image, a list, an archive nor a folder.
    #[error(
        "{0} is neither an image (.jpg .jpeg .png .webp .gif), a list of posts (.jsonl .csv), a feed or archive (.xml .rss .atom .json) nor a folder"
    )]
    Kind(PathBuf),
    /// A path that leads out of its folder.
    #[error(
        "{path} leads out of {folder}, and only what is below it is published: put list and images into one folder"
    )]
    Outside {
        /// Which.
        path: PathBuf,
        /// What it should be below of.
        folder: PathBuf,
    },
    /// A file that is no archive.
    #[error(
        "{path}: {why}; what is read is RSS or Atom, Mastodon's outbox.json or a list of its statuses, or Bluesky's `feed`, `posts` or `records`; posts of your own are a .jsonl or .csv list"
    )]
    Archive {
        /// Which.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// An entry of an archive.
    #[error("{path}, entry {number}: {why}")]
    Entry {
        /// The archive.
        path: PathBuf,
        /// Its entry, from 1 on.
        number: u64,
        /// What is wrong.
        why: String,
    },
    /// An image larger than any record may be; it was not read.
    #[error("{path} has {bytes} bytes; limits.record_bytes is {most}")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The limit.
        most: usize,
    },
    /// A line of a list.
    #[error("{path}, line {line}: {why}")]
    Line {
        /// The list.
        path: PathBuf,
        /// Its line, from 1 on.
        line: u64,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// Whether the list itself cannot be read any further, rather than one of its posts: it has come to no end.
    #[must_use]
    pub fn is_of_the_list(&self) -> bool {
        matches!(self, Self::List { .. })
    }
}

/// How a post is put into a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Encoding {
    /// The value is the image, the metadata travels in headers: a quarter smaller.
    Binary,
    /// The value is JSON with the image in base64.
    Json,
}

/// How posts are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// How a post with an image file is put into a record.
    pub encoding: Encoding,
    /// Bytes of the largest image that is read.
    pub most_bytes: usize,
}

/// A post's record, without its place on a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct SourcePost {
    /// Key: the post's id, where it has one.
    pub key: Option<String>,
    /// Value.
    pub value: Bytes,
    /// Headers.
    pub headers: Vec<Header>,
    /// What somebody says the post is, where the list tells: for `evaluate`.
    pub label: Option<String>,
}

impl SourcePost {
    /// Its record, pulled now and from no broker.
    #[must_use]
    pub fn into_record(self, origin: Origin, assignment: Arc<Assignment>, sequence: u64, permit: Permit) -> Record {
        let position =
            Position { place: origin.clone(), origin, assignment, sequence, permit, pulled_at: Instant::now() };
        let (key, value) = (self.key.map(Into::into), Some(self.value));
        Record { position, key, value, headers: self.headers, timestamp: None, fetched: None, schema: None, span: None }
    }
}

/// What stands at a place of a source.
#[derive(Debug)]
pub(crate) enum Found {
    Post(SourcePost),
    /// What is no post, and why.
    Skipped(&'static str),
}

/// A place in a source: bytes of a list and the line there, or entries of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Spot {
    pub(crate) offset: u64,
    pub(crate) number: u64,
}

/// What was found, and the place behind it.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) found: Result<Found, Error>,
    pub(crate) behind: Spot,
}

/// What a path is, by its name and by what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Image(PathBuf),
    Folder(PathBuf),
    JsonLines(PathBuf),
    Rows(PathBuf),
    Archive(PathBuf),
}

/// # Errors
/// When it is nothing that holds posts, or not there.
pub(crate) fn kind(path: &Path) -> Result<Kind, Error> {
    // Told now rather than as a failed post: the user named this file.
    let metadata = fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        let listed = ["posts.jsonl", "posts.csv"].into_iter().map(|name| path.join(name)).find(|list| list.is_file());
        return listed.map_or_else(|| Ok(Kind::Folder(path.to_owned())), |list| kind(&list));
    }
    let path = path.to_owned();
    match ending(&path).as_str() {
        "jsonl" | "ndjson" => Ok(Kind::JsonLines(path)),
        "csv" => Ok(Kind::Rows(path)),
        "xml" | "rss" | "atom" | "json" => Ok(Kind::Archive(path)),
        _ if content_type(&path).is_some() => Ok(Kind::Image(path)),
        _ => Err(Error::Kind(path)),
    }
}

/// The posts found at `path`, read one by one. What of an archive is no post is left out.
///
/// # Errors
/// When `path` is nothing that holds posts, or cannot be read; afterwards each post may fail by itself.
pub fn open(
    path: &Path,
    reading: Reading,
) -> Result<Box<dyn Iterator<Item = Result<SourcePost, Error>> + Send>, Error> {
    let start = Spot::default();
    match kind(path)? {
        Kind::Image(image) => Ok(Box::new(std::iter::once(of_image(&image, reading)))),
        Kind::Folder(folder) => {
            Ok(Box::new(images_below(&folder)?.into_iter().map(move |image| of_image(&image, reading))))
        }
        Kind::JsonLines(list) => posts(JsonLines::open(&list, Images::beside(&list, false)?, reading, start, false)?),
        Kind::Rows(list) => posts(Rows::open(&list, Images::beside(&list, false)?, reading, start)?),
        Kind::Archive(path) => posts(Archive::open(&path)?.posts(&path, reading, start)?),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "so that the arms of a match are alike")]
fn posts(
    placed: impl Iterator<Item = Placed> + Send + 'static,
) -> Result<Box<dyn Iterator<Item = Result<SourcePost, Error>> + Send>, Error> {
    Ok(Box::new(placed.filter_map(|placed| match placed.found {
        Ok(Found::Post(post)) => Some(Ok(post)),
        Ok(Found::Skipped(_)) => None,
        Err(error) => Some(Err(error)),
    })))
}

fn of_image(image: &Path, reading: Reading) -> Result<SourcePost, Error> {
    Draft::of_image(&Images::Anywhere(PathBuf::new()), image).record(reading)
}

pub(crate) fn images_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut below = Below::default();
    below.look(folder)?;
    if let Some(unreadable) = below.unreadable.pop() {
        return Err(unreadable);
    }
    below.images.sort();
    Ok(below.images)
}

/// What is found below a folder.
#[derive(Default)]
pub(crate) struct Below {
    pub(crate) images: Vec<PathBuf>,
    /// The folders that they are looked for in.
    pub(crate) folders: Vec<PathBuf>,
    /// Folders below that cannot be read.
    pub(crate) unreadable: Vec<Error>,
}

impl Below {
    /// # Errors
    /// When the folder itself cannot be read.
    pub(crate) fn look(&mut self, folder: &Path) -> Result<(), Error> {
        let unreadable = |source| Error::Read { path: folder.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() && !path.is_symlink() {
                match self.look(&path) {
                    // It went meanwhile.
                    Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                    looked => self.unreadable.extend(looked.err()),
                }
            } else if content_type(&path).is_some() {
                self.images.push(path);
            }
        }
        self.folders.push(folder.to_owned());
        Ok(())
    }
}
