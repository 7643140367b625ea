//! Whatever comes in whatever order, sums are those of the posts that are there, and those are the newest of each.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::names::name_of;
use super::row::{COLUMNS, Row};
use super::sums::{DAY, Gathered, HOUR};
use super::write::Clock;
use super::{Error, Writer, open};
use crate::dashboard::record::{Entry, Letter, Scored};
use crate::kafka::follow::{Anchor, Position};
use crate::message::Origin;

/// 2025-11-21T00:00:00Z.
const NOW: i64 = 1_763_683_200_000;
const DAYS: u32 = 10;

fn clock() -> Clock {
    Clock::at(NOW, DAYS)
}

fn post(number: i64) -> Scored {
    Scored {
        origin: Origin { topic: "posts".into(), partition: 0, offset: number },
        id: format!("p{number}"),
        key: Some(number % 4),
        source: ["a", "b"][usize::try_from(number % 2).expect("0 or 1")].into(),
        at: NOW - HOUR,
        scored_at: NOW - 1000,
        label: "positive".into(),
        polarity: 500_000,
        confidence: 700_000,
        probabilities: vec![("positive".into(), 700_000)],
        relevance: vec![("image".into(), 600_000), ("caption".into(), 400_000), ("tags".into(), 0)],
        effects: vec![("caption".into(), -1)],
        tags: vec!["cat".into()],
        flags: vec!["tags_missing".into()],
        bundle: ["default".into(), "1".into(), "d".into()],
    }
}

fn scored(post: Scored) -> Entry {
    Entry::Scored(Box::new(post))
}

/// Every row of every sum.
fn sums(writer: &Writer) -> BTreeMap<&'static str, Vec<Vec<i64>>> {
    let tables = ["sums", "field_sums", "tag_sums", "throughput", "post_tags"];
    tables
        .map(|table| {
            let mut select = writer.store.prepare(&format!("SELECT * FROM {table}")).expect("selects");
            let columns = select.column_count();
            let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
            let mut rows: Vec<Vec<i64>> =
                select.query_map([], row).expect("selects").map(|row| row.expect("a row")).collect();
            rows.sort_unstable();
            (table, rows)
        })
        .into()
}

/// The same, counted anew from the posts that are there.
fn counted(writer: &mut Writer) -> BTreeMap<&'static str, Vec<Vec<i64>>> {
    let mut gathered = Gathered::default();
    let transaction = writer.store.transaction().expect("begins");
    {
        let mut select = transaction.prepare(&format!("SELECT id, {COLUMNS} FROM posts")).expect("selects");
        let mut rows = select.query([]).expect("selects");
        while let Some(row) = rows.next().expect("a row") {
            gathered.add(row.get(0).expect("an id"), &Row::read(row, 1).expect("a post"), NOW - 2 * HOUR);
        }
    }
    for table in ["sums", "field_sums", "tag_sums", "throughput", "post_tags"] {
        transaction.execute(&format!("DELETE FROM {table}"), []).expect("deleted");
    }
    gathered.write(&transaction).expect("written");
    transaction.commit().expect("committed");
    sums(writer)
}

/// Id, source, label, polarity, tags of every post.
fn posts(writer: &Writer) -> Vec<(String, String, String, i64, usize)> {
    let mut select =
        writer.store.prepare(&format!("SELECT name, {COLUMNS} FROM posts ORDER BY offset")).expect("selects");
    let mut rows = select.query([]).expect("selects");
    let mut posts = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let (id, row) = (row.get(0).expect("an id"), Row::read(row, 1).expect("a post"));
        let name = |number| name_of(&writer.store, number).expect("a name");
        posts.push((id, name(row.source), name(row.label), row.polarity, row.details.tags().len()));
    }
    posts
}

#[derive(Debug, Clone)]
enum Step {
    Scored { number: i64, rescored: i64, days_ago: i64, polarity: i64, tags: usize },
    Erased(i64),
    Restarted,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12i64, 0..4i64, 0..14i64, -1_000_000..=1_000_000i64, 0..3usize)
            .prop_map(|(number, rescored, days_ago, polarity, tags)| Step::Scored { number, rescored, days_ago, polarity, tags }),
        2 => (0..4i64).prop_map(Step::Erased),
        1 => Just(Step::Restarted),
    ]
}

fn entry(step: &Step) -> Option<Entry> {
    match *step {
        Step::Scored { number, rescored, days_ago, polarity, tags } => {
            let mut post = post(number);
            post.scored_at = NOW - 3 * HOUR + rescored * HOUR;
            post.at = NOW - days_ago * DAY + number * 1_000_000;
            post.polarity = polarity;
            post.label = if polarity > 0 { "positive".into() } else { "negative".into() };
            post.tags = (0..tags).map(|tag| format!("t{}", (number + i64::try_from(tag).expect("few")) % 3)).collect();
            Some(scored(post))
        }
        Step::Erased(key) => Some(Entry::Erased(key)),
        Step::Restarted => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn sums_are_those_of_the_newest_of_every_post(batches in prop::collection::vec(prop::collection::vec(step(), 0..12), 1..8)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("store");
        let mut writer = open(&path).expect("a store");
        let mut model: BTreeMap<i64, Scored> = BTreeMap::new();
        for batch in &batches {
            let entries: Vec<_> = batch.iter().filter_map(entry).collect();
            writer.apply(&entries, &[], clock()).expect("applied");
            for entry in entries {
                match entry {
                    Entry::Scored(post) => {
                        let number = post.origin.offset;
                        if model.get(&number).is_none_or(|kept| kept.scored_at <= post.scored_at) {
                            model.remove(&number);
                            if post.at >= clock().horizon {
                                model.insert(number, *post);
                            }
                        }
                    }
                    Entry::Erased(key) => model.retain(|_, post| post.key != Some(key)),
                    _ => {}
                }
            }
            if batch.iter().any(|step| matches!(step, Step::Restarted)) {
                drop(writer);
                writer = open(&path).expect("the store");
            }
        }
        let expected: Vec<_> = model
            .values()
            .map(|post| (post.id.clone(), post.source.clone(), post.label.clone(), post.polarity, post.tags.len()))
            .collect();
        prop_assert_eq!(posts(&writer), expected);
        let kept = sums(&writer);
        prop_assert_eq!(&kept, &counted(&mut writer));
        let count: i64 = writer.store.query_row("SELECT value FROM counters WHERE name = 'posts'", [], |row| row.get(0)).unwrap_or(0);
        prop_assert_eq!(usize::try_from(count).expect("few"), model.len());
    }
}

#[test]
fn positions_are_kept_with_the_rows_and_a_batch_that_fails_leaves_neither() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let mut writer = open(&path).expect("a store");
    let at = |next| Position {
        topic: "out".into(),
        partition: 0,
        next,
        anchors: vec![Anchor { offset: next - 1, fingerprint: 7 }],
    };
    writer.apply(&[scored(post(1))], &[at(1)], clock()).expect("applied");
    // As where the disk is full: the last thing that is written fails.
    writer
        .store
        .execute_batch("CREATE TEMP TRIGGER full BEFORE INSERT ON positions BEGIN SELECT raise(ABORT, 'full'); END")
        .expect("made");
    assert!(matches!(writer.apply(&[scored(post(2))], &[at(2)], clock()), Err(Error::Sqlite(_))));
    assert_eq!((posts(&writer).len(), writer.positions().expect("read")), (1, vec![at(1)]));
    writer.store.execute_batch("DROP TRIGGER full").expect("dropped");
    writer.apply(&[scored(post(2))], &[at(2)], clock()).expect("applied");
    drop(writer);
    let mut writer = open(&path).expect("the store");
    assert_eq!((posts(&writer).len(), writer.positions().expect("read")), (2, vec![at(2)]));
    let kept = sums(&writer);
    assert_eq!(kept, counted(&mut writer));
}

#[test]
fn what_is_redelivered_changes_nothing_not_even_the_revision() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = open(&folder.path().join("store")).expect("a store");
    let first = writer.apply(&[scored(post(1)), scored(post(1))], &[], clock()).expect("applied");
    assert_eq!((first, posts(&writer).len()), (1, 1));
    assert_eq!(writer.apply(&[scored(post(1))], &[], clock()).expect("applied"), 1);
    // The same origin, another post: the input topic was made anew.
    let mut other = post(1);
    other.id = "another".into();
    writer.apply(&[scored(other)], &[], clock()).expect("applied");
    assert_eq!(posts(&writer).len(), 2);
}

#[test]
fn what_is_too_old_goes_in_steps_and_leaves_sums_by_day() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = open(&folder.path().join("store")).expect("a store");
    let mut old = post(1);
    old.at = NOW - 9 * DAY;
    let letter = |at| {
        Entry::Letter(Letter {
            origin: Origin { topic: "posts".into(), partition: 0, offset: at },
            key: 0,
            reason: "empty".into(),
            at,
        })
    };
    writer.apply(&[scored(old), scored(post(2)), letter(NOW - 9 * DAY), letter(NOW)], &[], clock()).expect("applied");
    assert!(!writer.expire(clock()).expect("expired").0);
    assert_eq!(posts(&writer).len(), 2, "nothing is too old yet");
    let later = Clock::at(NOW + 3 * DAY, DAYS);
    while writer.expire(later).expect("expired").0 {}
    assert_eq!(posts(&writer).iter().map(|post| post.0.as_str()).collect::<Vec<_>>(), ["p2"]);
    let kept = sums(&writer);
    let of_grain = |grain| kept["sums"].iter().filter(|row| row[0] == grain).count();
    assert_eq!((of_grain(0), of_grain(1), of_grain(2)), (1, 1, 2), "days stay");
    assert_eq!(kept["post_tags"].len(), 1);
    let letters: i64 = writer.store.query_row("SELECT count(*) FROM letters", [], |row| row.get(0)).expect("counted");
    assert_eq!(letters, 1);
    let much_later = Clock::at(NOW + 200 * DAY, DAYS);
    while writer.expire(much_later).expect("expired").0 {}
    assert!(sums(&writer).values().all(Vec::is_empty));
    let tags: i64 =
        writer.store.query_row("SELECT count(*) FROM names WHERE kind = 4", [], |row| row.get(0)).expect("counted");
    assert_eq!(tags, 0);
}

#[test]
fn names_that_are_too_many_fold_into_one_and_no_result_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = open(&folder.path().join("store")).expect("a store");
    let entries: Vec<_> = (0..1200i64)
        .map(|number| {
            let mut post = post(number);
            post.source = format!("source {number}");
            post.label = format!("label {number}");
            post.relevance = vec![(format!("field {number}"), 1_000_000)];
            post.flags = vec![format!("invented {number}_missing")];
            scored(post)
        })
        .collect();
    writer.apply(&entries, &[], clock()).expect("applied");
    writer.apply(&[scored(post(1200))], &[], clock()).expect("applied");
    let count = |sql: &str| writer.store.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counted");
    assert_eq!(count("SELECT count(*) FROM posts"), 1201);
    assert_eq!(count("SELECT count(*) FROM counters WHERE name = 'not_a_result'"), 0);
    for (kind, most) in [(1, 1000), (2, 64), (3, 64), (5, 256)] {
        assert_eq!(count(&format!("SELECT count(*) FROM names WHERE kind = {kind}")), most + 1, "{kind}");
    }
    let others = "SELECT count(*) FROM posts JOIN names ON source = names.id WHERE names.name = '(other)'";
    assert_eq!(count(others), 201 - 1 + 1, "and one beyond");
}

#[test]
fn a_tag_that_went_comes_back_under_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = open(&folder.path().join("store")).expect("a store");
    let tagged = |number, at| {
        let mut post = post(number);
        (post.at, post.scored_at, post.tags) = (at, at, vec!["xmas".into()]);
        scored(post)
    };
    writer.apply(&[tagged(1, NOW - 9 * DAY)], &[], clock()).expect("applied");
    let later = Clock::at(NOW + 30 * DAY, DAYS);
    while writer.expire(later).expect("expired").0 {}
    writer.apply(&[tagged(2, NOW + 30 * DAY - HOUR)], &[], later).expect("applied");
    let nameless = "SELECT count(*) FROM tag_sums LEFT JOIN names ON tag = names.id WHERE names.name IS NOT 'xmas'";
    let nameless: i64 = writer.store.query_row(nameless, [], |row| row.get(0)).expect("counted");
    assert_eq!(nameless, 0);
}

#[test]
fn what_went_is_not_counted_again_where_more_days_are_kept_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = open(&folder.path().join("store")).expect("a store");
    let mut old = post(1);
    old.at = NOW - 9 * DAY;
    writer.apply(&[scored(old.clone())], &[], clock()).expect("applied");
    let later = NOW + 3 * DAY;
    while writer.expire(Clock::at(later, DAYS)).expect("expired").0 {}
    let kept = sums(&writer);
    assert_eq!(kept["sums"].len(), 1, "its day");
    old.scored_at = later;
    writer.apply(&[scored(old)], &[], Clock::at(later, 10 * DAYS)).expect("applied");
    assert_eq!(sums(&writer), kept);
}

#[test]
fn letters_of_other_records_at_the_same_offset_are_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = open(&folder.path().join("store")).expect("a store");
    let letter = |key, at| {
        let origin = Origin { topic: "posts".into(), partition: 0, offset: 7 };
        Entry::Letter(Letter { origin, key, reason: "empty".into(), at })
    };
    writer.apply(&[letter(1, NOW - 2), letter(2, NOW - 1), letter(1, NOW)], &[], clock()).expect("applied");
    let letters: i64 = writer.store.query_row("SELECT count(*) FROM letters", [], |row| row.get(0)).expect("counted");
    assert_eq!(letters, 2);
}

#[test]
fn files_that_cannot_be_used_are_refused_with_the_fix() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("store");
    let refused = |path: &std::path::Path| open(path).err().expect("refused").to_string();
    let writer = open(&path).expect("a store");
    assert!(refused(&path).contains("in use by another dashboard"));
    writer.store.pragma_update(None, "user_version", 2).expect("set");
    drop(writer);
    assert!(refused(&path).contains("has version 2"));
    let text = folder.path().join("text");
    std::fs::write(&text, "no database, whatever its name says, and long enough to be looked into".repeat(20))
        .expect("written");
    assert!(refused(&text).contains("move it away"));
    let foreign = folder.path().join("foreign");
    rusqlite::Connection::open(&foreign).expect("opens").execute_batch("CREATE TABLE t (a)").expect("made");
    assert!(refused(&foreign).contains("no store of a dashboard"));
    assert!(refused(&folder.path().join("absent/store")).contains("dashboard.store"));
}
