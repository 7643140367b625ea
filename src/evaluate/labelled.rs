//! Which posts take part: those whose label the bundle knows. The others are counted, with why.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::posts::{Error, SourcePost};

/// Different labels that no bundle knows which are told by name; a list of captions in the wrong column has thousands.
const MOST_UNKNOWN: usize = 20;

/// What a list was found to hold, filled in while it is read.
#[derive(Debug, Default)]
pub struct Labelled {
    /// Lines or rows.
    pub read: u64,
    /// Without a label.
    pub unlabelled: u64,
    /// With a label that the bundle does not know, by that label; all beyond the first few are `…`.
    pub unknown: BTreeMap<String, u64>,
    /// Those that could not be read.
    pub unreadable: u64,
    /// The label of each post handed on, by its number among them: the offset of its origin.
    labels: HashMap<i64, usize>,
}

/// Shared with the thread that reads.
pub type Shared = Arc<Mutex<Labelled>>;

impl Labelled {
    /// For [`labelled`] and whoever asks for labels meanwhile.
    pub fn shared() -> Shared {
        Shared::default()
    }

    /// Locked, whatever became of the other thread.
    pub fn lock(shared: &Shared) -> MutexGuard<'_, Self> {
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The label of the post with this offset, taken out.
    pub fn take(&mut self, offset: i64) -> Option<usize> {
        self.labels.remove(&offset)
    }

    /// Posts with a label that no bundle knows.
    pub fn unknown_posts(&self) -> u64 {
        self.unknown.values().sum()
    }

    /// Whether the post takes part; `number` is its number among what is handed on.
    fn admit(&mut self, post: &Result<SourcePost, Error>, names: &[String], number: i64) -> bool {
        self.read += 1;
        let Ok(post) = post else {
            // Handed on all the same: whoever pulls tells it.
            self.unreadable += 1;
            return true;
        };
        let Some(label) = &post.label else {
            self.unlabelled += 1;
            return false;
        };
        if let Some(place) = names.iter().position(|name| name.to_lowercase() == label.to_lowercase()) {
            self.labels.insert(number, place);
            return true;
        }
        let short: String = label.chars().take(64).collect();
        let is_told = self.unknown.len() < MOST_UNKNOWN || self.unknown.contains_key(&short);
        *self.unknown.entry(if is_told { short } else { "…".into() }).or_default() += 1;
        false
    }
}

/// Of `posts` those that have one of the labels `names`, in either case of letters, and those that cannot be read.
pub fn labelled(
    posts: impl Iterator<Item = Result<SourcePost, Error>> + Send,
    names: Vec<String>,
    shared: Shared,
) -> impl Iterator<Item = Result<SourcePost, Error>> + Send {
    let mut handed_on = 0;
    posts.filter(move |post| {
        let takes_part = Labelled::lock(&shared).admit(post, &names, handed_on);
        handed_on += i64::from(takes_part);
        takes_part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(label: Option<&str>) -> SourcePost {
        SourcePost { key: None, value: "image".into(), headers: vec![], label: label.map(ToOwned::to_owned) }
    }

    #[test]
    fn every_post_takes_part_or_is_counted() {
        let posts = vec![
            Ok(post(Some("Positive"))),
            Ok(post(None)),
            Err(Error::Kind("notes.txt".into())),
            Ok(post(Some("angry"))),
            Ok(post(Some("negative"))),
        ];
        let shared = Labelled::shared();
        let names = vec!["negative".to_owned(), "positive".to_owned()];
        let handed_on: Vec<bool> =
            labelled(posts.into_iter(), names, shared.clone()).map(|post| post.is_ok()).collect();
        assert_eq!(handed_on, [true, false, true]);
        let mut told = Labelled::lock(&shared);
        assert_eq!((told.read, told.unlabelled, told.unreadable), (5, 1, 1));
        assert_eq!(told.unknown, BTreeMap::from([("angry".to_owned(), 1)]));
        assert_eq!([0, 1, 2].map(|offset| told.take(offset)), [Some(1), None, Some(0)]);
    }

    #[test]
    fn labels_that_are_not_known_are_told_within_bounds() {
        let posts = (0..1000).map(|number| Ok(post(Some(&format!("{number} {}", "x".repeat(1000))))));
        let shared = Labelled::shared();
        assert_eq!(labelled(posts, vec!["positive".to_owned()], shared.clone()).count(), 0);
        let told = Labelled::lock(&shared);
        assert_eq!((told.unknown.len(), told.unknown_posts()), (MOST_UNKNOWN + 1, 1000));
        assert!(told.unknown.keys().all(|label| label.chars().count() <= 64));
    }
}
