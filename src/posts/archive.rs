//! Archives and feeds in a file: RSS and Atom, Mastodon, Bluesky. Which it is, is told by what stands in it and not by its name.
//! A file is read whole, so it has a largest size; each of its entries may be broken by itself.

use std::io::{self, Read as _};
use std::path::Path;
use std::{fmt, fs};

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::draft::{Draft, Images};
use super::{Error, Found, Placed, Reading, Spot, bluesky, mastodon, syndication};

/// The largest archive.
const MOST_BYTES: u64 = 256 << 20;
/// The most entries of one in JSON.
const MOST_ENTRIES: usize = 1_000_000;

/// What a post without a picture is skipped for.
pub(crate) const NO_IMAGE: &str = "no image";

/// An entry.
#[derive(Debug)]
pub(crate) enum Drafted {
    /// One with a picture.
    Post(Box<Draft>),
    /// One that is no post, and why.
    Skipped(&'static str),
}

impl Drafted {
    pub(crate) fn record(self, reading: Reading) -> Result<Found, Error> {
        match self {
            Self::Post(draft) => draft.record(reading).map(Found::Post),
            Self::Skipped(why) => Ok(Found::Skipped(why)),
        }
    }
}

/// How the entries of a JSON archive are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Outbox,
    Statuses,
    BlueskyFeed,
    BlueskyPosts,
    BlueskyRecords,
}

enum Entries {
    Json(Kind, Items),
    /// Parsed as a whole; taken out one by one.
    Feed(Vec<Option<Drafted>>),
}

/// An archive that was read.
pub(crate) struct Archive {
    /// Of its bytes: another file of the same name is another archive.
    pub(crate) digest: String,
    entries: Entries,
}

impl Archive {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let bytes = read(path)?;
        let entries = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => json(&bytes),
            _ => syndication::entries(&bytes, None)
                .map(|entries| Entries::Feed(entries.into_iter().map(|(_, drafted)| Some(drafted)).collect())),
        };
        let entries = entries.map_err(|why| Error::Archive { path: path.to_owned(), why })?;
        Ok(Self { digest: blake3::hash(&bytes).to_hex().to_string(), entries })
    }

    /// Its posts from the entry of that number on.
    pub(crate) fn posts(
        self,
        path: &Path,
        reading: Reading,
        from: Spot,
    ) -> Result<impl Iterator<Item = Placed> + Send + use<>, Error> {
        let images = Images::beside(path, true)?;
        let path = path.to_owned();
        let mut entries = self.entries;
        let first = usize::try_from(from.number).unwrap_or(usize::MAX);
        Ok((first..entries.count()).map(move |index| {
            let number = index as u64 + 1;
            let drafted = entries.take(index, &images).map_err(|why| Error::Entry { path: path.clone(), number, why });
            Placed { found: drafted.and_then(|drafted| drafted.record(reading)), behind: Spot { offset: 0, number } }
        }))
    }
}

impl Entries {
    fn count(&self) -> usize {
        match self {
            Self::Json(_, items) => items.0.len(),
            Self::Feed(entries) => entries.len(),
        }
    }

    fn take(&mut self, index: usize, images: &Images) -> Result<Drafted, String> {
        let gone = || "no such entry".to_owned();
        match self {
            Self::Feed(entries) => entries.get_mut(index).and_then(Option::take).ok_or_else(gone),
            Self::Json(kind, items) => {
                let text = items.0.get(index).ok_or_else(gone)?.get();
                match kind {
                    Kind::Outbox => mastodon::activity(text, images),
                    Kind::Statuses => mastodon::status(text),
                    Kind::BlueskyFeed => bluesky::feed_item(text),
                    Kind::BlueskyPosts => bluesky::post_view(text),
                    Kind::BlueskyRecords => bluesky::record(text),
                }
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source: io::Error| Error::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        let why = format!("larger than {} MiB; split it", MOST_BYTES >> 20);
        return Err(Error::Archive { path: path.to_owned(), why });
    }
    Ok(bytes)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members {
    ordered_items: Option<Items>,
    feed: Option<Items>,
    posts: Option<Items>,
    records: Option<Items>,
}

/// No more than may be; each costs more here than it does in the file.
struct Items(Vec<Box<RawValue>>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Collecting)
    }
}

struct Collecting;

impl<'de> Visitor<'de> for Collecting {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<Items, S::Error> {
        let mut items = vec![];
        while let Some(item) = sequence.next_element()? {
            if items.len() == MOST_ENTRIES {
                return Err(S::Error::custom(format_args!("more than {MOST_ENTRIES} entries; split it")));
            }
            items.push(item);
        }
        Ok(Items(items))
    }
}

/// What every status has.
#[derive(Deserialize)]
struct Status {
    #[serde(rename = "media_attachments")]
    _media_attachments: serde::de::IgnoredAny,
}

/// Told apart by their members. `serde_json` goes no deeper than 128.
fn json(bytes: &[u8]) -> Result<Entries, String> {
    let invalid = |error: serde_json::Error| format!("not JSON: {error}");
    if bytes.trim_ascii_start().starts_with(b"[") {
        let items: Items = serde_json::from_slice(bytes).map_err(invalid)?;
        let is_status = |item: &RawValue| serde_json::from_str::<Status>(item.get()).is_ok();
        return match items.0.first() {
            Some(first) if !is_status(first) => Err("a JSON list of neither kind".into()),
            _ => Ok(Entries::Json(Kind::Statuses, items)),
        };
    }
    let members: Members = serde_json::from_slice(bytes).map_err(invalid)?;
    let kinds = [
        (Kind::Outbox, members.ordered_items),
        (Kind::BlueskyFeed, members.feed),
        (Kind::BlueskyPosts, members.posts),
        (Kind::BlueskyRecords, members.records),
    ];
    let found = kinds.into_iter().find_map(|(kind, items)| Some(Entries::Json(kind, items?)));
    found.ok_or_else(|| "a JSON object of neither kind".into())
}
