//! What was encoded and scored before: social feeds repeat themselves. Embeddings of images and of texts, and predictions of
//! whole posts, by the content that they were made of, within a limit of bytes; what is asked for seldom goes first.
//!
//! A key is a BLAKE3 hash, so that nobody who can publish posts can make one picture pass for another, keyed with the digest
//! of the bundle, so that nothing outlives it. Shared among threads by `Arc`.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;

use crate::message::{Digest, ModelInput, Prediction};
use crate::metrics::Metrics;

/// What an entry takes beside the numbers in it: its key twice and its place.
const ENTRY_BYTES: usize = 160;
/// What an entry of the usual kind takes, an embedding: only for sizing the index.
const USUAL_ENTRY_BYTES: usize = 2048;

#[derive(Debug, Clone)]
enum Entry {
    Embedding(Arc<[f32]>),
    Prediction(Arc<Prediction>),
}

/// Bytes of an entry.
#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Digest, Entry> for Bytes {
    fn weight(&self, _: &Digest, entry: &Entry) -> u64 {
        let content = match entry {
            Entry::Embedding(numbers) => size_of_val::<[f32]>(numbers),
            Entry::Prediction(prediction) => bytes_of(prediction),
        };
        (ENTRY_BYTES + content) as u64
    }
}

fn bytes_of(prediction: &Prediction) -> usize {
    let numbers = prediction.probabilities.len() + prediction.relevance.len() + 2 * prediction.effects.len();
    let tags: usize = prediction.inferred_tags.iter().map(|tag| size_of::<String>() + tag.len()).sum();
    size_of::<Prediction>() + size_of::<f32>() * numbers + prediction.inferred.len() + tags
}

/// What a key is the key of; also the label of the metrics.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Image,
    Text,
    Post,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
            Self::Post => "post",
        }
    }
}

/// The cache of one bundle.
#[derive(Debug)]
pub struct Cache {
    key: [u8; blake3::KEY_LEN],
    entries: Entries<Digest, Entry, Bytes>,
}

impl Cache {
    /// An empty cache of at most so many bytes for the bundle of this digest; `None` for 0 bytes: no cache.
    #[must_use]
    pub fn new(bytes: usize, bundle_digest: &str) -> Option<Arc<Self>> {
        let entries = Entries::with_weighter(bytes / USUAL_ENTRY_BYTES, bytes as u64, Bytes);
        let key = *blake3::hash(bundle_digest.as_bytes()).as_bytes();
        (bytes > 0).then(|| Arc::new(Self { key, entries }))
    }

    fn hasher(&self, kind: Kind) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(kind.as_str().as_bytes());
        hasher
    }

    /// The key of an image, of its encoded bytes.
    pub fn image_key(&self, encoded: &[u8]) -> Digest {
        self.hasher(Kind::Image).update(encoded).finalize().into()
    }

    /// The key of a text.
    pub fn text_key(&self, tokens: &[u32]) -> Digest {
        let mut hasher = self.hasher(Kind::Text);
        update(&mut hasher, tokens);
        hasher.finalize().into()
    }

    /// The key of all that the model reads of a post; `None` where its image has no key.
    pub fn post_key(&self, input: &ModelInput) -> Option<Digest> {
        let mut hasher = self.hasher(Kind::Post);
        hasher.update(input.picture.key()?);
        for text in &input.fields {
            // No text has this many tokens, so an absent field is not the field of any text.
            let tokens = text.as_ref().map_or(u64::MAX, |tokens| tokens.len() as u64);
            hasher.update(&tokens.to_le_bytes());
            update(&mut hasher, text.as_deref().unwrap_or_default());
        }
        Some(hasher.finalize().into())
    }

    /// The embedding of an image that was encoded before.
    pub fn image(&self, key: &Digest, metrics: &Metrics) -> Option<Arc<[f32]>> {
        self.embedding(Kind::Image, key, metrics)
    }

    /// The embedding of a text that was encoded before.
    pub fn text(&self, key: &Digest, metrics: &Metrics) -> Option<Arc<[f32]>> {
        self.embedding(Kind::Text, key, metrics)
    }

    /// The prediction of a post that was scored before.
    pub fn prediction(&self, key: &Digest, metrics: &Metrics) -> Option<Arc<Prediction>> {
        self.get(Kind::Post, key, metrics, |entry| match entry {
            Entry::Prediction(prediction) => Some(prediction),
            Entry::Embedding(_) => None,
        })
    }

    /// Keeps the embedding of an image or a text.
    pub fn keep_embedding(&self, key: Digest, numbers: Arc<[f32]>, metrics: &Metrics) {
        self.keep(key, Entry::Embedding(numbers), metrics);
    }

    /// Keeps what the model says of a post.
    pub fn keep_prediction(&self, key: Digest, prediction: Arc<Prediction>, metrics: &Metrics) {
        self.keep(key, Entry::Prediction(prediction), metrics);
    }

    fn embedding(&self, kind: Kind, key: &Digest, metrics: &Metrics) -> Option<Arc<[f32]>> {
        self.get(kind, key, metrics, |entry| match entry {
            Entry::Embedding(numbers) => Some(numbers),
            Entry::Prediction(_) => None,
        })
    }

    fn get<T>(&self, kind: Kind, key: &Digest, metrics: &Metrics, of: impl Fn(Entry) -> Option<T>) -> Option<T> {
        let found = self.entries.get(key).and_then(of);
        let outcome = if found.is_some() { "hit" } else { "miss" };
        metrics.cache_requests.with_label_values(&[kind.as_str(), outcome]).inc();
        found
    }

    fn keep(&self, key: Digest, entry: Entry, metrics: &Metrics) {
        self.entries.insert(key, entry);
        metrics.cache_bytes.set(i64::try_from(self.entries.weight()).unwrap_or(i64::MAX));
    }
}

fn update(hasher: &mut blake3::Hasher, tokens: &[u32]) {
    for token in tokens {
        hasher.update(&token.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Picture;

    const MEBIBYTE: usize = 1 << 20;

    fn cache(bytes: usize) -> Arc<Cache> {
        Cache::new(bytes, "bundle").expect("not off")
    }

    fn input(key: u8, fields: &[Option<&[u32]>]) -> ModelInput {
        let fields = fields.iter().map(|text| text.map(<[u32]>::to_vec)).collect();
        ModelInput { picture: Picture::Pixels { rgb: vec![], key: Some([key; 32]) }, fields }
    }

    #[test]
    fn no_bytes_are_no_cache() {
        assert!(Cache::new(0, "bundle").is_none());
    }

    #[test]
    fn keys_tell_apart_whatever_differs() {
        let (cache, other_bundle) = (cache(MEBIBYTE), Cache::new(MEBIBYTE, "other").expect("not off"));
        let posts = [
            input(1, &[Some(&[1, 2]), None]),
            input(2, &[Some(&[1, 2]), None]),
            input(1, &[None, Some(&[1, 2])]),
            input(1, &[Some(&[1]), Some(&[2])]),
            input(1, &[Some(&[]), Some(&[1, 2])]),
            input(1, &[Some(&[1, 2]), Some(&[])]),
            input(1, &[None, None]),
        ];
        let mut keys: Vec<Digest> = posts.iter().filter_map(|post| cache.post_key(post)).collect();
        keys.extend([cache.image_key(b"\x01\0\0\0"), cache.text_key(&[1]), other_bundle.text_key(&[1])]);
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), all), (10, 10));
        assert_eq!(cache.post_key(&posts[0]), cache.post_key(&input(1, &[Some(&[1, 2]), None])));
    }

    #[test]
    fn what_was_kept_is_found_and_counted() {
        let (cache, metrics) = (cache(MEBIBYTE), Metrics::new());
        let key = cache.image_key(b"picture");
        assert_eq!(cache.image(&key, &metrics), None);
        cache.keep_embedding(key, Arc::from([1.0, 2.0]), &metrics);
        assert_eq!(cache.image(&key, &metrics).as_deref(), Some([1.0, 2.0].as_slice()));
        let counted = |outcome| metrics.cache_requests.with_label_values(&["image", outcome]).get();
        assert_eq!((counted("hit"), counted("miss")), (1, 1));
        assert!(metrics.cache_bytes.get() > 0);
    }

    #[test]
    fn its_bytes_are_bounded() {
        let (cache, metrics) = (cache(MEBIBYTE), Metrics::new());
        for number in 0..10_000u32 {
            cache.keep_embedding(cache.text_key(&[number]), Arc::from(vec![0.0; 384]), &metrics);
            assert!(metrics.cache_bytes.get() <= 1 << 20, "{}", metrics.cache_bytes.get());
        }
        assert!(metrics.cache_bytes.get() > 1 << 19, "it is made use of: {}", metrics.cache_bytes.get());
    }
}
