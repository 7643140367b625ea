//! Posts read from files, for `score`, `feed` and the demo: images, folders of images, and JSONL or CSV lists of posts.
//!
//! - An image is a post without metadata, its file name the id; a folder is all images below it, in order of path. A
//!   `posts.jsonl` or `posts.csv` in the folder lists them with their metadata instead.
//! - A JSONL line is a post as it travels on the topic (`docs/messages.md`); its image may also be `{"path": "…"}`,
//!   relative to the list.
//! - A CSV has a header line. Columns: `image` (path relative to the list; without it `<id>` with a known ending beside the
//!   list or in `images/`), `id`, `source`, `published_at`, `caption` (or `text`), `tags` and `objects` (separated by
//!   spaces or `;`), `scene`, `place`, `taken_at`. Other columns are ignored.
//! - A list may say what its posts should be found to be: `label`, a column or a key beside `id`, which never travels as a header.

use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::budget::Permit;
use crate::message::{Assignment, Header, Origin, Position, Record};

const ENDINGS: &[(&str, &str)] = &[
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
];

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
    /// Neither an image, a list nor a folder.
    #[error("{0} is neither an image (.jpg .jpeg .png .webp .gif), a list of posts (.jsonl .csv) nor a folder")]
    Kind(PathBuf),
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

/// The posts found at `path`, read one by one.
///
/// # Errors
/// When `path` is nothing that holds posts, or cannot be read; afterwards each post may fail by itself.
pub fn open(
    path: &Path,
    reading: Reading,
) -> Result<Box<dyn Iterator<Item = Result<SourcePost, Error>> + Send>, Error> {
    if path.is_dir() {
        let listed = ["posts.jsonl", "posts.csv"].into_iter().map(|name| path.join(name)).find(|list| list.is_file());
        if let Some(list) = listed {
            return open(&list, reading);
        }
        let images = images_below(path)?;
        return Ok(Box::new(images.into_iter().map(move |image| Draft::of_image(image).record(reading))));
    }
    match ending(path).as_str() {
        "jsonl" | "ndjson" => Ok(Box::new(json_lines(path, reading)?)),
        "csv" => Ok(Box::new(csv_rows(path, reading)?)),
        _ if content_type(path).is_some() => {
            // Told now rather than as a failed post: the user named this file.
            fs::metadata(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
            Ok(Box::new(std::iter::once(Draft::of_image(path.to_owned()).record(reading))))
        }
        _ if !path.exists() => Err(Error::Read { path: path.to_owned(), source: io::ErrorKind::NotFound.into() }),
        _ => Err(Error::Kind(path.to_owned())),
    }
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The content type that a file's ending stands for.
pub(crate) fn content_type(path: &Path) -> Option<&'static str> {
    let ending = ending(path);
    ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, content_type)| *content_type)
}

pub(crate) fn images_below(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Read { path: folder.to_owned(), source };
    let mut images = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() && !path.is_symlink() {
            images.extend(images_below(&path)?);
        } else if content_type(&path).is_some() {
            images.push(path);
        }
    }
    images.sort();
    Ok(images)
}

/// A post whose image is a file.
struct Draft {
    image: PathBuf,
    /// The post without its image, as on the topic.
    post: Map<String, Value>,
    label: Option<String>,
}

impl Draft {
    fn of_image(image: PathBuf) -> Self {
        let id = image.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { image, post: Map::from_iter([("id".to_owned(), json!(id))]), label: None }
    }

    fn record(self, reading: Reading) -> Result<SourcePost, Error> {
        let unreadable = |source| Error::Read { path: self.image.clone(), source };
        let metadata = fs::metadata(&self.image).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let bytes = metadata.len();
        if bytes > reading.most_bytes as u64 {
            return Err(Error::TooLarge { path: self.image, bytes, most: reading.most_bytes });
        }
        let mut image = Vec::new();
        let file = fs::File::open(&self.image).map_err(unreadable)?;
        // No more, should it grow meanwhile: it is refused later for being cut.
        file.take(reading.most_bytes as u64).read_to_end(&mut image).map_err(unreadable)?;
        Ok(match reading.encoding {
            Encoding::Binary => self.binary(image),
            Encoding::Json => self.json(&image),
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        self.post.get(key).and_then(Value::as_str).map(ToOwned::to_owned)
    }

    fn binary(self, image: Vec<u8>) -> SourcePost {
        let mut headers = vec![
            header("content-type", content_type(&self.image).unwrap_or("image/jpeg")),
            header("ce_specversion", "1.0"),
            header("ce_type", "social.post.image"),
        ];
        for (name, key) in [("ce_id", "id"), ("ce_source", "source"), ("ce_time", "published_at")] {
            headers.extend(self.text(key).map(|value| header(name, &value)));
        }
        headers.extend(self.post.get("metadata").map(|metadata| header("metadata", &metadata.to_string())));
        SourcePost { key: self.text("id"), value: image.into(), headers, label: self.label }
    }

    fn json(mut self, image: &[u8]) -> SourcePost {
        let key = self.text("id");
        self.post.insert("image".into(), json!({"data": STANDARD.encode(image)}));
        SourcePost { key, value: Value::Object(self.post).to_string().into(), headers: vec![], label: self.label }
    }
}

fn header(key: &str, value: &str) -> Header {
    Header { key: key.to_owned(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn json_lines(
    list: &Path,
    reading: Reading,
) -> Result<impl Iterator<Item = Result<SourcePost, Error>> + Send + use<>, Error> {
    let list = list.to_owned();
    let file = fs::File::open(&list).map_err(|source| Error::Read { path: list.clone(), source })?;
    let lines = BufReader::new(file).lines().zip(1u64..);
    Ok(lines.filter_map(move |(line, number)| match line {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some(json_line(&list, &line, number, reading)),
        Err(source) => Some(Err(Error::Read { path: list.clone(), source })),
    }))
}

/// A line with an image of its own travels as it is, so that `score` and `feed` treat it like any producer's.
fn json_line(list: &Path, line: &str, number: u64, reading: Reading) -> Result<SourcePost, Error> {
    let bad = |why: String| Error::Line { path: list.to_owned(), line: number, why };
    let post: Value = serde_json::from_str(line).map_err(|error| bad(format!("not JSON: {error}")))?;
    let Value::Object(mut post) = post else { return Err(bad("a post must be a JSON object".into())) };
    let label = post.get("label").and_then(label_told);
    let path = post.get("image").and_then(|image| image.get("path")).and_then(Value::as_str).map(ToOwned::to_owned);
    let Some(path) = path else {
        let key = post.get("id").and_then(Value::as_str).map(ToOwned::to_owned);
        return Ok(SourcePost { key, value: line.to_owned().into(), headers: vec![], label });
    };
    post.remove("image");
    let image = beside(list, &path);
    if content_type(&image).is_none() {
        return Err(bad(format!("image.path {path:?} must end in .jpg, .jpeg, .png, .webp or .gif")));
    }
    Draft { image, post, label }.record(reading)
}

/// A label as a text; a number or `true` is told as written, so that it can be said not to be one.
fn label_told(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    (!text.is_empty()).then_some(text)
}

fn beside(list: &Path, path: &str) -> PathBuf {
    list.parent().unwrap_or(Path::new("")).join(path)
}

fn csv_rows(
    list: &Path,
    reading: Reading,
) -> Result<impl Iterator<Item = Result<SourcePost, Error>> + Send + use<>, Error> {
    let list = list.to_owned();
    let file = fs::File::open(&list).map_err(|source| Error::Read { path: list.clone(), source })?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
    let bad_header = |error: csv::Error| Error::Line { path: list.clone(), line: 1, why: error.to_string() };
    let columns: Vec<String> = reader.byte_headers().map_err(bad_header)?.iter().map(lossy).collect();
    if !columns.iter().any(|column| column == "image" || column == "id") {
        let why = format!("needs a column `image` or `id`; it has {}", columns.join(", "));
        return Err(Error::Line { path: list, line: 1, why });
    }
    Ok(reader.into_byte_records().map(move |row| {
        let bad = |line, why| Error::Line { path: list.clone(), line, why };
        let row = row.map_err(|error| bad(error.position().map_or(0, csv::Position::line), error.to_string()))?;
        let line = row.position().map_or(0, csv::Position::line);
        let cells: Vec<(String, String)> = columns.iter().cloned().zip(row.iter().map(lossy)).collect();
        csv_post(&list, &cells).map_err(|why| bad(line, why))?.record(reading)
    }))
}

/// Texts collected in the wild are not always UTF-8; a broken character is not worth a post.
fn lossy(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).into_owned()
}

fn csv_post(list: &Path, cells: &[(String, String)]) -> Result<Draft, String> {
    let cell = |name: &str| {
        cells.iter().find(|(column, cell)| column == name && !cell.is_empty()).map(|(_, cell)| cell.as_str())
    };
    let image = match (cell("image"), cell("id")) {
        (Some(image), _) => beside(list, image),
        (None, Some(id)) => {
            image_of(list, id).ok_or_else(|| format!("no image for id {id:?} beside the list or in images/"))?
        }
        (None, None) => return Err("neither `image` nor `id` has a value".into()),
    };
    if content_type(&image).is_none() {
        return Err(format!("image {} must end in .jpg, .jpeg, .png, .webp or .gif", image.display()));
    }
    let mut post = Draft::of_image(image.clone()).post;
    for key in ["id", "source", "published_at"] {
        post.extend(cell(key).map(|value| (key.to_owned(), json!(value))));
    }
    let mut metadata = Map::new();
    metadata.extend(cell("caption").or(cell("text")).map(|caption| ("caption".to_owned(), json!(caption))));
    for key in ["scene", "place", "taken_at"] {
        metadata.extend(cell(key).map(|value| (key.to_owned(), json!(value))));
    }
    metadata.extend(cell("tags").map(|tags| ("tags".to_owned(), json!(words(tags)))));
    let objects = |objects| words(objects).into_iter().map(|label| json!({"label": label})).collect::<Vec<_>>();
    metadata.extend(cell("objects").map(|cell| ("objects".to_owned(), json!(objects(cell)))));
    post.insert("metadata".into(), Value::Object(metadata));
    let label = cell("label").map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
    Ok(Draft { image, post, label })
}

fn words(cell: &str) -> Vec<&str> {
    let by_semicolon = cell.contains(';');
    let separator = move |c: char| if by_semicolon { c == ';' } else { c.is_whitespace() };
    cell.split(separator).map(str::trim).filter(|word| !word.is_empty()).collect()
}

fn image_of(list: &Path, id: &str) -> Option<PathBuf> {
    let candidates = ENDINGS.iter().flat_map(|(ending, _)| [format!("{id}.{ending}"), format!("images/{id}.{ending}")]);
    candidates.map(|name| beside(list, &name)).find(|image| image.is_file())
}

#[cfg(test)]
mod tests {
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
}
