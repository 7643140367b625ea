//! Corpora are what they say, and the same for a seed.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::posts::Encoding;

fn plan(kind: Kind, posts: u32, seed: u64) -> Plan {
    Plan { kind, posts, seed, photos: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/photos") }
}

fn made(kind: Kind, posts: u32, seed: u64, keep: &Path) -> Corpus {
    Corpus::open(&Corpus::make(&plan(kind, posts, seed), keep).expect("made")).expect("opens")
}

fn header<'a>(post: &'a SourcePost, key: &str) -> &'a [u8] {
    post.headers.iter().find(|header| header.key == key).and_then(|header| header.value.as_deref()).expect("a header")
}

#[test]
fn a_corpus_is_the_same_for_a_seed_and_no_other() {
    let (here, there) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for (kind, posts) in [(Kind::Tiny, 1000), (Kind::Photos512, 3)] {
        let (first, again) = (made(kind, posts, 5, here.path()), made(kind, posts, 5, there.path()));
        let other = made(kind, posts, 6, here.path());
        assert!((0..first.len()).all(|number| first.post(number) == again.post(number)), "{kind:?}");
        assert!((0..first.len()).any(|number| first.post(number).value != other.post(number).value), "{kind:?}");
    }
}

#[test]
fn tiny_records_are_distinct_and_small() {
    let folder = tempfile::tempdir().expect("a folder");
    let corpus = made(Kind::Tiny, 2000, 1, folder.path());
    let posts: Vec<SourcePost> = (0..corpus.len()).map(|number| corpus.post(number)).collect();
    let distinct: BTreeSet<&[u8]> = posts.iter().map(|post| header(post, "metadata")).collect();
    assert_eq!((corpus.len(), distinct.len()), (2000, 2000));
    assert!(
        posts
            .iter()
            .all(|post| post.value.len() < 2000
                && header(post, "ce_id") == post.key.as_deref().expect("a key").as_bytes())
    );
}

#[test]
fn a_feed_repeats_its_posts_under_ids_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let corpus = made(Kind::Feed, 200, 1, folder.path());
    assert_eq!((corpus.len(), corpus.distinct(), corpus.side()), (200, 20, Some(1080)));
    let posts: Vec<SourcePost> = (0..200).map(|number| corpus.post(number)).collect();
    let mut repeats: BTreeMap<&[u8], (&[u8], usize)> = BTreeMap::new();
    for post in &posts {
        let (metadata, times) = repeats.entry(&post.value).or_insert((header(post, "metadata"), 0));
        assert_eq!(*metadata, header(post, "metadata"), "the same picture says the same");
        *times += 1;
    }
    assert!(repeats.len() <= 20 && repeats.values().any(|(_, times)| *times > 20), "{}", repeats.len());
    assert_eq!(posts.iter().map(|post| &post.key).collect::<BTreeSet<_>>().len(), 200);
}

#[test]
fn a_corpus_that_is_kept_is_not_made_again_and_one_that_is_cut_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = Corpus::make(&plan(Kind::Tiny, 10, 1), folder.path()).expect("made");
    let written = fs::metadata(path.join("corpus.json")).expect("there").modified().expect("a time");
    assert_eq!(Corpus::make(&plan(Kind::Tiny, 10, 1), folder.path()).expect("found"), path);
    assert_eq!(fs::metadata(path.join("corpus.json")).expect("there").modified().expect("a time"), written);
    let values = fs::read(path.join("values.bin")).expect("there");
    fs::write(path.join("values.bin"), &values[1..]).expect("cut");
    let refused = format!("{:#}", Corpus::open(&path).err().expect("refused"));
    assert!(refused.contains("remove the folder"), "{refused}");
}

#[test]
fn posts_of_ones_own_travel_as_they_are_fed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/photos");
    let reading = Reading { encoding: Encoding::Binary, most_bytes: 1 << 20 };
    Corpus::copy(&path, Some(3), reading, folder.path()).expect("copied");
    let corpus = Corpus::open(folder.path()).expect("opens");
    let read: Vec<SourcePost> =
        posts::open(&path, reading).expect("posts").take(3).map(|post| post.expect("readable")).collect();
    assert_eq!((corpus.name(), corpus.len()), ("photos", 3));
    assert!(read.iter().enumerate().all(|(number, post)| corpus.post(number) == *post));
    // Behind the last comes the first.
    assert_eq!(corpus.post(3), read[0]);
}
