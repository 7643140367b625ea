//! The state file of `feed --state`: for each source how far the broker has acknowledged it. Written whole beside itself and
//! renamed, so that it is there at any moment, old or new.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::posts::Spot;

/// How far a source has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// Behind a line of a list.
    List {
        /// Which.
        behind: Spot,
        /// How the list begins, by which it is known again.
        head: Head,
    },
    /// Behind an entry of an archive.
    Archive {
        /// Which, from 1 on.
        entry: u64,
        /// Of the archive.
        digest: String,
    },
    /// Behind a key, in the order of keys.
    Key(String),
    /// In no order: what was read, by what stands for it.
    Seen(HashSet<u64>),
}

/// The first bytes of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

/// What may be remembered once an item is done with.
#[derive(Debug)]
pub(crate) enum Mark {
    /// The source was read so far.
    At(Place),
    /// This was read too.
    Seen(u64),
    /// Only these are still there to be remembered.
    Only(HashSet<u64>),
    /// Nothing.
    None,
}

/// A state that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("cannot {what} the state {path}: {source}")]
    File {
        /// Read or write.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another file.
    #[error("{path} is no state of `sentistream feed` ({why}): give another --state, or remove it to start anew")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The state of another feed.
    #[error("{path} is the state of {theirs}, not of {ours}: give another --state, or remove it to start anew")]
    Other {
        /// Which.
        path: PathBuf,
        /// What it is of.
        theirs: String,
        /// What is fed now.
        ours: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    topic: String,
    sources: BTreeMap<String, Place>,
}

const VERSION: u32 = 1;

/// The places of all sources, in memory.
pub(crate) struct State {
    path: PathBuf,
    names: Vec<String>,
    content: Content,
    changed: bool,
}

impl State {
    /// Of the sources of these names, which are published to `topic`. A file that is not there is a beginning.
    pub(crate) fn open(path: &Path, topic: &str, names: Vec<String>) -> Result<Self, Error> {
        let fresh = || Content { version: VERSION, topic: topic.to_owned(), sources: BTreeMap::new() };
        let content = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| Error::Foreign { path: path.to_owned(), why: error.to_string() })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => fresh(),
            Err(source) => return Err(Error::File { what: "read", path: path.to_owned(), source }),
        };
        if content.version != VERSION {
            let why = format!("version {}", content.version);
            return Err(Error::Foreign { path: path.to_owned(), why });
        }
        let other = |theirs: &str, ours: &str| {
            Err(Error::Other { path: path.to_owned(), theirs: theirs.to_owned(), ours: ours.to_owned() })
        };
        if content.topic != topic {
            return other(&format!("topic {}", content.topic), &format!("topic {topic}"));
        }
        if let Some(unknown) = content.sources.keys().find(|source| !names.contains(source)) {
            return other(unknown, &names.join(", "));
        }
        let state = Self { path: path.to_owned(), names, content, changed: false };
        // Told now, rather than once posts are out.
        state.write()?;
        Ok(state)
    }

    pub(crate) fn place(&self, source: usize) -> Option<Place> {
        self.names.get(source).and_then(|name| self.content.sources.get(name)).cloned()
    }

    pub(crate) fn remember(&mut self, source: usize, mark: Mark) {
        let Some(name) = self.names.get(source) else { return };
        self.changed |= !matches!(mark, Mark::None);
        let sources = &mut self.content.sources;
        match mark {
            Mark::None => {}
            Mark::At(place) => {
                sources.insert(name.clone(), place);
            }
            Mark::Only(seen) => {
                sources.insert(name.clone(), Place::Seen(seen));
            }
            Mark::Seen(identity) => match sources.get_mut(name) {
                Some(Place::Seen(seen)) => {
                    seen.insert(identity);
                }
                _ => {
                    sources.insert(name.clone(), Place::Seen(HashSet::from([identity])));
                }
            },
        }
    }

    /// Writes what has changed.
    pub(crate) fn save(&mut self) -> Result<(), Error> {
        if self.changed {
            self.write()?;
            self.changed = false;
        }
        Ok(())
    }

    fn write(&self) -> Result<(), Error> {
        let unwritable = |source| Error::File { what: "write", path: self.path.clone(), source };
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;
        let content = serde_json::to_vec(&self.content).map_err(|error| unwritable(error.into()))?;
        file.write_all(&content).map_err(unwritable)?;
        file.as_file().sync_data().map_err(unwritable)?;
        file.persist(&self.path).map_err(|error| unwritable(error.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, topic: &str, names: &[&str]) -> Result<State, String> {
        State::open(path, topic, names.iter().map(|name| (*name).to_owned()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_was_remembered_is_there_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.state");
        let mut state = open(&path, "posts", &["a/", "b.jsonl"]).expect("a beginning");
        assert_eq!(state.place(0), None);
        state.remember(0, Mark::Seen(1));
        state.remember(0, Mark::Seen(2));
        let at = Place::List { behind: Spot { offset: 7, number: 1 }, head: Head { bytes: 7, digest: "d".into() } };
        state.remember(1, Mark::At(at.clone()));
        state.remember(1, Mark::None);
        state.save().expect("written");
        let mut again = open(&path, "posts", &["b.jsonl", "a/"]).expect("the same sources");
        assert_eq!((again.place(0), again.place(1)), (Some(at), Some(Place::Seen(HashSet::from([1, 2])))));
        again.remember(1, Mark::Only(HashSet::from([2])));
        again.save().expect("written");
        assert_eq!(open(&path, "posts", &["a/", "b.jsonl"]).expect("opens").place(0), Some(Place::Seen([2].into())));
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_state_of_something_else_is_refused_with_the_fix() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("feed.state");
        let mut state = open(&path, "posts", &["a/"]).expect("a beginning");
        state.remember(0, Mark::Seen(1));
        state.save().expect("written");
        for (topic, names) in [("other", ["a/"]), ("posts", ["b/"])] {
            let refused = open(&path, topic, &names).err().expect("refused");
            assert!(refused.contains("feed.state") && refused.contains("--state"), "{refused}");
        }
        assert!(open(&path, "posts", &["a/", "new/"]).is_ok(), "a source may be added");
        std::fs::write(&path, "{\"version\": 9}").expect("written");
        assert!(open(&path, "posts", &["a/"]).err().expect("refused").contains("remove it"));
        assert!(open(&folder.path().join("no/such"), "posts", &["a/"]).err().expect("refused").contains("no/such"));
    }
}
