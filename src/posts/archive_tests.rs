//! Feeds and archives of others: what of them is a post, and what they may not do.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::archive::Archive;
use super::*;

const READING: Reading = Reading { encoding: Encoding::Json, most_bytes: 1000 };

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/feeds").join(name)
}

/// Each entry: a post as JSON, why it is skipped, or what is wrong.
fn entries(path: &Path) -> Vec<Result<Value, String>> {
    let posts = Archive::open(path).and_then(|archive| archive.posts(path, READING, Spot::default())).expect("opens");
    let told = |placed: Placed| match placed.found {
        Ok(Found::Post(post)) => {
            let value: Value = serde_json::from_slice(&post.value).expect("JSON");
            assert_eq!(post.key.as_deref(), value["id"].as_str());
            Ok(value)
        }
        Ok(Found::Skipped(why)) => Err(why.to_owned()),
        Err(error) => Err(error.to_string()),
    };
    posts.map(told).collect()
}

fn written(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("written");
    (folder, path)
}

#[test]
fn entries_of_rss_with_a_picture_are_posts() {
    let entries = entries(&fixture("rss.xml"));
    assert_eq!(
        entries,
        [
            Ok(json!({
                "id": "photo-4", "source": "Photos of Example", "published_at": "2026-11-27T12:00:00+00:00",
                "metadata": {"caption": "Coffee & rain", "tags": ["coffee", "rain"]},
                "image": {"url": "https://cdn.photos.example/coffee.jpg"}
            })),
            Err("no image".into()),
            Ok(json!({
                "id": "https://photos.example/2", "source": "Photos of Example", "published_at": "2026-11-26T08:30:00+00:00",
                "metadata": {"caption": "The cat again\nasleep"}, "image": {"url": "https://cdn.photos.example/cat.jpg"}
            })),
            Ok(json!({
                "id": "https://photos.example/1/", "source": "Photos of Example", "metadata": {"caption": "By hand"},
                "image": {"url": "https://photos.example/1/rocket.webp?w=800&h=600"}
            })),
        ]
    );
}

#[test]
fn entries_of_atom_with_a_picture_are_posts() {
    let entries = entries(&fixture("atom.xml"));
    assert_eq!(
        entries,
        [
            Ok(json!({
                "id": "urn:walks:7", "source": "Walks & more", "published_at": "2026-11-27T04:00:00+00:00",
                "metadata": {"caption": "Temple at dawn", "tags": ["Temples"]},
                "image": {"url": "https://walks.example/img/temple.jpg"}
            })),
            Ok(json!({
                "id": "urn:walks:6", "source": "Walks & more", "published_at": "2026-11-26T10:00:00+00:00",
                "metadata": {"caption": "A film"}, "image": {"url": "https://walks.example/img/film.jpg"}
            })),
        ]
    );
}

#[test]
fn an_export_of_mastodon_finds_its_images_beside_it() {
    let (folder, path) = written("outbox.json", &fs::read(fixture("outbox.json")).expect("a fixture"));
    for (name, content) in [("110/original/cat.jpg", "CAT"), ("111/original/coffee.jpg", "CUP")] {
        let image = folder.path().join("media_attachments/files").join(name);
        fs::create_dir_all(image.parent().expect("a folder")).expect("made");
        fs::write(image, content).expect("written");
    }
    assert_eq!(
        entries(&path),
        [
            Ok(json!({
                "id": "https://social.example/users/ada/statuses/101", "source": "https://social.example/users/ada",
                "published_at": "2026-11-20T08:15:00Z",
                "metadata": {"caption": "my cat is so happy & warm #caturday", "tags": ["#caturday"]},
                "image": {"data": "Q0FU"}
            })),
            Err("a boost".into()),
            Err("no image".into()),
            Ok(json!({
                "id": "https://social.example/users/ada/statuses/104", "source": "https://social.example/users/ada",
                "published_at": "2026-11-22T08:15:00Z", "metadata": {"caption": "a cup of coffee"},
                "image": {"data": "Q1VQ"}
            })),
        ]
    );
}

#[test]
fn statuses_of_mastodon_are_posts() {
    let entries = entries(&fixture("statuses.json"));
    assert_eq!(
        entries[..3],
        [
            Ok(json!({
                "id": "https://social.example/users/ada/statuses/113", "source": "https://social.example/@ada",
                "published_at": "2026-11-23T18:00:00.000Z", "metadata": {"caption": "food\nbreakfast", "tags": ["food"]},
                "image": {"url": "https://files.social.example/coffee.jpg"}
            })),
            Err("a boost".into()),
            Err("no image".into()),
        ]
    );
    assert!(entries[3].as_ref().expect_err("broken").contains("statuses.json, entry 4"), "{entries:?}");
}

#[test]
fn feeds_and_records_of_bluesky_are_posts() {
    assert_eq!(
        entries(&fixture("bluesky-feed.json")),
        [
            Ok(json!({
                "id": "at://did:plc:abc123/app.bsky.feed.post/3kaaa", "source": "ada.example.com",
                "published_at": "2026-11-24T07:00:00.000Z", "metadata": {"caption": "what a launch! #space", "tags": ["space"]},
                "image": {"url": "https://cdn.bsky.app/img/feed_fullsize/plain/did:plc:abc123/bafkreia@jpeg"}
            })),
            Err("a repost".into()),
            Ok(json!({
                "id": "at://did:plc:abc123/app.bsky.feed.post/3kccc", "source": "ada.example.com",
                "published_at": "2026-11-24T09:00:00.000Z", "metadata": {"caption": "an old temple"},
                "image": {"url": "https://cdn.bsky.app/quoted@jpeg"}
            })),
            Err("no image".into()),
        ]
    );
    let records = entries(&fixture("bluesky-records.json"));
    assert_eq!(
        records[..2],
        [
            Ok(json!({
                "id": "at://did:plc:abc123/app.bsky.feed.post/3keee", "source": "did:plc:abc123",
                "published_at": "2026-11-25T06:00:00.000Z", "metadata": {"caption": "coffee first", "tags": ["coffee"]},
                "image": {"url": "https://cdn.bsky.app/img/feed_fullsize/plain/did:plc:abc123/bafkreicoffee@jpeg"}
            })),
            Err("no post".into()),
        ]
    );
    assert!(records[2].as_ref().expect_err("no id").contains("entry 3"), "{records:?}");
}

#[test]
fn an_archive_is_gone_on_with_behind_an_entry() {
    let path = fixture("rss.xml");
    let archive = Archive::open(&path).expect("opens");
    let behind =
        archive.posts(&path, READING, Spot { offset: 0, number: 3 }).expect("opens").map(|placed| placed.behind.number);
    assert_eq!(behind.collect::<Vec<_>>(), [4]);
}

#[test]
fn what_is_no_archive_is_refused_with_what_would_be() {
    for content in ["{\"a\": 1}", "[1]", "[{\"id\": 1}]", "{", "<html><body>no feed</body></html>", "words", ""] {
        let (_folder, path) = written("x.json", content.as_bytes());
        let refused = Archive::open(&path).err().expect(content).to_string();
        assert!(refused.contains("x.json") && refused.contains("outbox.json"), "{refused}");
    }
    let (_folder, path) = written("empty.json", b"[]");
    assert!(entries(&path).is_empty());
}

#[test]
fn an_archive_leads_to_no_file_outside_of_its_folder() {
    let (folder, _) = written("secret.jpg", b"SECRET");
    let archive = folder.path().join("archive");
    fs::create_dir(&archive).expect("made");
    std::os::unix::fs::symlink(folder.path().join("secret.jpg"), archive.join("link.jpg")).expect("linked");
    let absolute = folder.path().join("secret.jpg");
    for url in ["/../secret.jpg", "media_attachments/../../secret.jpg", "link.jpg", absolute.to_str().expect("UTF-8")] {
        let note = json!({"id": "x", "attachment": [{"mediaType": "image/jpeg", "url": url}]});
        let outbox = json!({"orderedItems": [{"type": "Create", "object": note}]});
        let path = archive.join("outbox.json");
        fs::write(&path, outbox.to_string()).expect("written");
        entries(&path).remove(0).expect_err("refused");
    }
    let list = archive.join("posts.jsonl");
    let images = Images::beside(&list, true).expect("opens");
    fs::write(&list, "{\"image\": {\"path\": \"../secret.jpg\"}}\n{\"image\": {\"path\": \"link.jpg\"}}\n")
        .expect("written");
    for placed in JsonLines::open(&list, images, READING, Spot::default(), false).expect("opens") {
        let refused = placed.found.expect_err("refused").to_string();
        assert!(refused.contains("leads out of"), "{refused}");
    }
}

#[test]
fn an_archive_has_no_more_entries_than_it_may() {
    let (_folder, path) =
        written("outbox.json", format!("{{\"orderedItems\": [1{}]}}", ",1".repeat(1_000_000)).as_bytes());
    let refused = Archive::open(&path).err().expect("refused").to_string();
    assert!(refused.contains("more than 1000000 entries; split it"), "{refused}");
}

#[test]
fn xml_made_to_harm_costs_little_and_reads_no_file() {
    let (folder, secret) = written("secret.txt", b"SECRET");
    let feed = |before: &str, title: &str| {
        format!(
            "<?xml version=\"1.0\"?>{before}<rss version=\"2.0\"><channel><title>t</title><item><guid>1</guid><title>{title}</title><enclosure url=\"https://a.example/1.jpg\" type=\"image/jpeg\"/></item></channel></rss>"
        )
    };
    let laughs: String =
        (1..30).map(|n| format!("<!ENTITY l{n} \"&l{};&l{};\">", n - 1, n - 1)).collect::<Vec<_>>().concat();
    let external = format!("<!DOCTYPE r [<!ENTITY e SYSTEM \"file://{}\">]>", secret.display());
    for (before, title) in [(format!("<!DOCTYPE r [<!ENTITY l0 \"ha\">{laughs}]>"), "&l29;"), (external, "&e;")] {
        let path = folder.path().join("feed.xml");
        fs::write(&path, feed(&before, title)).expect("written");
        // Read without them, or refused: either will do.
        if let Ok(archive) = Archive::open(&path) {
            for placed in archive.posts(&path, READING, Spot::default()).expect("posts") {
                let told = format!("{:?}", placed.found);
                assert!(!told.contains("SECRET") && told.len() < 10_000, "{told}");
            }
        }
    }
    let group = "<media:group xmlns:media=\"http://search.yahoo.com/mrss/\">";
    for deep in [group.repeat(200_000), "<a>".repeat(1_000_000), format!("<![CDATA[</a>]]>{group}").repeat(100_000)] {
        let deep = format!("<rss version=\"2.0\"><channel><item>{deep}</item></channel></rss>");
        let refused = syndication::entries(deep.as_bytes(), None).expect_err("refused");
        assert!(refused.contains("deeper"), "{refused}");
    }
}

#[test]
fn json_made_to_harm_is_refused() {
    let deep = format!("{{\"feed\": [{{\"post\": {}1{}}}]}}", "[".repeat(100_000), "]".repeat(100_000));
    let (_folder, path) = written("deep.json", deep.as_bytes());
    match Archive::open(&path) {
        Err(refused) => assert!(refused.to_string().contains("not JSON"), "{refused}"),
        Ok(archive) => {
            let mut posts = archive.posts(&path, READING, Spot::default()).expect("posts");
            posts.next().expect("an entry").found.expect_err("refused");
        }
    }
}
