//! Lists, folders and archives as they are read from files.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("has a parent")).expect("made");
        fs::write(path, content).expect("written");
    }
    folder
}

fn reading(encoding: Encoding) -> Reading {
    Reading { encoding, most_bytes: 100 }
}

fn read(path: &Path, encoding: Encoding) -> Vec<Result<SourcePost, String>> {
    open(path, reading(encoding)).expect("opens").map(|post| post.map_err(|error| error.to_string())).collect()
}

fn header_of<'a>(post: &'a SourcePost, key: &str) -> Option<&'a str> {
    let value = post.headers.iter().find(|header| header.key == key)?.value.as_ref()?;
    std::str::from_utf8(value).ok()
}

#[test]
fn a_folder_is_its_images_in_order_of_path() {
    let folder = folder(&[("b.jpg", "B"), ("a/c.PNG", "C"), ("notes.txt", "no image")]);
    let posts = read(folder.path(), Encoding::Binary);
    let keys: Vec<_> = posts.iter().map(|post| post.as_ref().expect("read").key.as_deref()).collect();
    assert_eq!(keys, [Some("c"), Some("b")]);
    assert_eq!(header_of(posts[0].as_ref().expect("read"), "content-type"), Some("image/png"));
}

#[test]
fn a_list_in_the_folder_gives_the_metadata() {
    let folder = folder(&[
        ("posts.csv", "id,text,tags\n7,\"so happy, really\",sun sea\n8,none here,\n"),
        ("images/7.jpg", "seven"),
    ]);
    let posts = read(folder.path(), Encoding::Binary);
    let first = posts[0].as_ref().expect("read");
    assert_eq!((first.key.as_deref(), &first.value[..]), (Some("7"), &b"seven"[..]));
    assert_eq!(header_of(first, "metadata"), Some(r#"{"caption":"so happy, really","tags":["sun","sea"]}"#));
    let missing = posts[1].as_ref().expect_err("no image");
    assert!(missing.contains("line 3") && missing.contains('8'), "{missing}");
}

#[test]
fn a_json_line_with_a_path_is_encoded_either_way_and_others_travel_as_they_are() {
    let inline = r#"{"id":"x","image":{"data":"AAAA"},"extra":1}"#;
    let by_path = r#"{"id":"y","source":"s","image":{"path":"y.webp"},"metadata":{"scene":"beach"}}"#;
    let folder = folder(&[("list.jsonl", &format!("{inline}\n\n{by_path}\nnope\n")), ("y.webp", "YY")]);
    let list = folder.path().join("list.jsonl");
    let posts = read(&list, Encoding::Json);
    assert_eq!(posts[0].as_ref().expect("read").value, inline);
    let value: Value = serde_json::from_slice(&posts[1].as_ref().expect("read").value).expect("json");
    assert_eq!(value, json!({"id":"y","source":"s","image":{"data":"WVk="},"metadata":{"scene":"beach"}}));
    assert!(posts[2].as_ref().expect_err("no json").contains("line 4"));
    let binary = read(&list, Encoding::Binary).remove(1).expect("read");
    assert_eq!(header_of(&binary, "ce_source"), Some("s"));
    assert_eq!(header_of(&binary, "content-type"), Some("image/webp"));
}

#[test]
fn a_list_may_tell_labels_which_do_not_travel() {
    let lines = [
        r#"{"id":"a","image":{"path":"a.jpg"},"label":" positive "}"#,
        r#"{"id":"b","image":{"path":"a.jpg"},"label":null}"#,
        r#"{"id":"c","image":{"data":"AAAA"},"label":3}"#,
    ];
    let folder = folder(&[
        ("list.jsonl", &lines.join("\n")),
        ("list.csv", "image,label\na.jpg,negative\na.jpg,  \n"),
        ("a.jpg", "A"),
    ]);
    let labels = |name: &str| -> Vec<Option<String>> {
        let posts = read(&folder.path().join(name), Encoding::Binary);
        posts.into_iter().map(|post| post.expect("read").label).collect()
    };
    assert_eq!(labels("list.jsonl"), [Some("positive".into()), None, Some("3".into())]);
    assert_eq!(labels("list.csv"), [Some("negative".into()), None]);
    let travels = &read(&folder.path().join("list.csv"), Encoding::Json)[0];
    assert!(!String::from_utf8_lossy(&travels.as_ref().expect("read").value).contains("negative"));
}

#[test]
fn an_image_beyond_any_record_is_not_read() {
    let folder = folder(&[("a.jpg", &"a".repeat(101)), ("b.jpg", "B")]);
    let posts = read(folder.path(), Encoding::Binary);
    assert!(posts[0].as_ref().expect_err("too large").contains("limits.record_bytes"));
    assert!(posts[1].is_ok());
}

#[test]
fn what_holds_no_posts_is_refused_with_what_would() {
    let folder = folder(&[("notes.txt", "")]);
    let refused = |path: &Path| open(path, reading(Encoding::Binary)).err().expect("refused").to_string();
    assert!(refused(&folder.path().join("notes.txt")).contains(".jsonl"));
    assert!(refused(&folder.path().join("absent.jpg")).contains("absent.jpg"));
}

fn line(number: usize) -> String {
    format!(r#"{{"id":"{number}","image":{{"data":"AAAA"}}}}"#)
}

fn keys(placed: impl Iterator<Item = Placed>) -> Vec<String> {
    let told = |placed: Placed| match placed.found {
        Ok(Found::Post(post)) => post.key.expect("a key"),
        Ok(Found::Skipped(why)) => why.to_owned(),
        Err(error) => error.to_string(),
    };
    placed.map(told).collect()
}

#[test]
fn a_list_is_gone_on_with_behind_any_line() {
    let lines: Vec<String> = (0..4).map(line).collect();
    let folder =
        folder(&[("list.jsonl", &lines.join("\n")), ("list.csv", "id,text\r\na,\"two\nlines\"\r\nb,x\r\nc,y\r\n")]);
    for name in ["a.jpg", "b.jpg", "c.jpg"] {
        fs::write(folder.path().join(name), name).expect("written");
    }
    let (list, rows) = (folder.path().join("list.jsonl"), folder.path().join("list.csv"));
    let images = Images::beside(&list, true).expect("a folder");
    let reading = reading(Encoding::Binary);
    let open = |from| JsonLines::open(&list, images.clone(), reading, from, false).expect("opens");
    let places: Vec<Spot> = open(Spot::default()).map(|placed| placed.behind).collect();
    for (number, place) in places.iter().enumerate() {
        let rest: Vec<String> = (number + 1..4).map(|number| number.to_string()).collect();
        assert_eq!(keys(open(*place)), rest, "{place:?}");
    }
    let open = |from| Rows::open(&rows, images.clone(), reading, from).expect("opens");
    let places: Vec<Spot> = open(Spot::default()).map(|placed| placed.behind).collect();
    let rests = places.iter().map(|place| keys(open(*place)).join(" "));
    assert_eq!(rests.collect::<Vec<_>>(), ["b c", "c", ""]);
}

#[test]
fn of_a_list_that_grows_only_whole_lines_are_read() {
    use std::io::Write as _;
    let folder = folder(&[("list.jsonl", &format!("{}\n{}", line(1), &line(2)[..9]))]);
    let list = folder.path().join("list.jsonl");
    let images = Images::beside(&list, true).expect("a folder");
    let mut lines = JsonLines::open(&list, images, reading(Encoding::Binary), Spot::default(), true).expect("opens");
    assert_eq!(keys(lines.by_ref()), ["1"]);
    let mut writer = fs::OpenOptions::new().append(true).open(&list).expect("opens");
    writer.write_all(&line(2).as_bytes()[9..]).expect("written");
    assert_eq!(keys(lines.by_ref()), Vec::<String>::new(), "its end may be still to come");
    writer.write_all(format!("\n{}\n", line(3)).as_bytes()).expect("written");
    assert_eq!(keys(lines.by_ref()), ["2", "3"]);
    assert_eq!(lines.behind().offset, fs::metadata(&list).expect("there").len());
}

#[test]
fn a_list_that_cannot_be_read_any_further_is_told_apart_from_a_post() {
    // A folder opens like a file, and fails when it is read.
    let folder = folder(&[("a.jpg", "A")]);
    let images = Images::beside(folder.path(), true).expect("a folder");
    for followed in [false, true] {
        let lines =
            JsonLines::open(folder.path(), images.clone(), reading(Encoding::Binary), Spot::default(), followed);
        let mut lines = lines.expect("opens");
        let error = lines.next().expect("told").found.expect_err("no list");
        assert!(error.is_of_the_list() && error.to_string().contains("any further"), "{error}");
        assert_eq!(lines.next().is_some(), followed, "only one that is followed is asked again");
    }
    assert!(!Error::Kind("a.txt".into()).is_of_the_list());
}

#[test]
fn a_name_below_the_folder_may_begin_like_the_folder() {
    let tests = tempfile::tempdir_in("tests").expect("a folder below the one that tests run in");
    let here = std::env::current_dir().expect("a folder").canonicalize().expect("there");
    let folder = tests.path().canonicalize().expect("there");
    let relative = folder.strip_prefix(&here).expect("below");
    let inner = folder.join(relative);
    fs::create_dir_all(&inner).expect("made");
    fs::write(folder.join("a.jpg"), "outer").expect("written");
    fs::write(inner.join("a.jpg"), "inner").expect("written");
    let images = Images::beneath(relative).expect("a folder");
    let read = |name: &Path| Draft::of_image(&images, name).record(reading(Encoding::Binary)).expect("read").value;
    assert_eq!(read(&relative.join("a.jpg")), "inner");
    assert_eq!(read(Path::new("a.jpg")), "outer");
    let images = Images::beneath(&folder).expect("a folder");
    let post = Draft::of_image(&images, &folder.join("a.jpg")).record(reading(Encoding::Binary));
    assert_eq!(post.expect("read").value, "outer");
}

#[test]
fn a_row_that_never_ends_is_no_post_and_does_not_fill_the_memory() {
    let rows = format!("image\na.jpg\n\"{}", "b.jpg\n".repeat(1_000_000));
    let folder = folder(&[("list.csv", &rows), ("a.jpg", "A")]);
    let list = folder.path().join("list.csv");
    let images = Images::beside(&list, true).expect("a folder");
    let mut rows = Rows::open(&list, images, reading(Encoding::Binary), Spot::default()).expect("opens");
    assert!(rows.next().expect("a row").found.is_ok());
    let error = rows.next().expect("told").found.expect_err("no row");
    assert!(error.is_of_the_list() && error.to_string().contains("line 3: a row is longer"), "{error}");
    assert!(rows.next().is_none());
}

#[test]
fn a_line_beyond_any_record_is_told_and_passed() {
    let folder = folder(&[("list.jsonl", &format!("{}\n{}\n{}\n", line(1), "x".repeat(1_000_000), line(3)))]);
    let posts = read(&folder.path().join("list.jsonl"), Encoding::Binary);
    let told = posts[1].as_ref().expect_err("too long");
    assert!(told.contains("line 2") && told.contains("limits.record_bytes"), "{told}");
    assert!(posts[0].is_ok() && posts[2].is_ok() && posts.len() == 3);
}
