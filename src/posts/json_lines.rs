//! A JSONL list: a line is a post as it travels on the topic, or names its image by a path. Lines are counted in bytes, so that
//! a reader can go on behind any of them, and may be asked again at the end of a list that grows.

use std::fs;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::draft::{Draft, Image, Images, content_type};
use super::{Error, Found, Placed, Reading, SourcePost, Spot};

/// A line may always be so long, however small images have to be.
const LEAST_LINE_BYTES: usize = 64 * 1024;

pub(crate) struct JsonLines {
    list: PathBuf,
    images: Images,
    reading: Reading,
    reader: BufReader<fs::File>,
    /// A line counts once its end is there: what is still being written is left for later.
    whole: bool,
    line: Vec<u8>,
    /// Of `line`, with what was left out of one that is too long.
    line_bytes: u64,
    behind: Spot,
    /// What cannot be read once is not asked for ever.
    failed: bool,
}

impl JsonLines {
    pub(crate) fn open(list: &Path, images: Images, reading: Reading, from: Spot, whole: bool) -> Result<Self, Error> {
        let unreadable = |source| Error::Read { path: list.to_owned(), source };
        let mut file = fs::File::open(list).map_err(unreadable)?;
        file.seek(SeekFrom::Start(from.offset)).map_err(unreadable)?;
        let reader = BufReader::new(file);
        let list = list.to_owned();
        Ok(Self { list, images, reading, reader, whole, line: vec![], line_bytes: 0, behind: from, failed: false })
    }

    /// Behind the last line that was read.
    pub(crate) fn behind(&self) -> Spot {
        self.behind
    }

    /// The file that is read, whatever its path leads to now.
    pub(crate) fn metadata(&self) -> io::Result<fs::Metadata> {
        self.reader.get_ref().metadata()
    }

    fn most_bytes(&self) -> usize {
        self.reading.most_bytes.max(LEAST_LINE_BYTES)
    }

    /// The next line, of one that is too long no more than tells so.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let most_bytes = self.most_bytes();
        loop {
            let read = self.reader.fill_buf()?;
            if read.is_empty() {
                let is_over = self.whole || self.line_bytes == 0;
                return Ok(if is_over { None } else { Some(self.take_line()) });
            }
            let part = match memchr::memchr(b'\n', read) {
                Some(at) => read.split_at(at + 1).0,
                None => read,
            };
            let (bytes, is_ended) = (part.len(), part.ends_with(b"\n"));
            if self.line.len() <= most_bytes {
                self.line.extend_from_slice(part);
            }
            self.line_bytes += bytes as u64;
            self.reader.consume(bytes);
            if is_ended {
                return Ok(Some(self.take_line()));
            }
        }
    }

    fn take_line(&mut self) -> Vec<u8> {
        self.behind = Spot { offset: self.behind.offset + self.line_bytes, number: self.behind.number + 1 };
        self.line_bytes = 0;
        std::mem::take(&mut self.line)
    }

    /// A line with an image of its own travels as it is, so that `score` and `feed` treat it like any producer's.
    fn post(&self, line: &[u8]) -> Result<SourcePost, Error> {
        let bad = |why: String| Error::Line { path: self.list.clone(), line: self.behind.number, why };
        if line.len() > self.most_bytes() {
            return Err(bad(format!("longer than {} bytes (limits.record_bytes)", self.most_bytes())));
        }
        let post: Value = serde_json::from_slice(line).map_err(|error| bad(format!("not JSON: {error}")))?;
        let Value::Object(mut post) = post else { return Err(bad("a post must be a JSON object".into())) };
        let label = post.get("label").and_then(label_told);
        let path = post.get("image").and_then(|image| image.get("path")).and_then(Value::as_str).map(PathBuf::from);
        let Some(path) = path else {
            let key = post.get("id").and_then(Value::as_str).map(ToOwned::to_owned);
            return Ok(SourcePost { key, value: line.to_owned().into(), headers: vec![], label });
        };
        post.remove("image");
        if content_type(&path).is_none() {
            return Err(bad(format!("image.path {} must end in .jpg, .jpeg, .png, .webp or .gif", path.display())));
        }
        Draft { image: Image::File(self.images.clone(), path), post, label }.record(self.reading)
    }
}

impl Iterator for JsonLines {
    type Item = Placed;

    fn next(&mut self) -> Option<Placed> {
        while !self.failed {
            let line = match self.next_line() {
                Ok(line) => line?,
                Err(source) => {
                    // One that is followed is asked again, later.
                    self.failed = !self.whole;
                    let found = Err(Error::List { path: self.list.clone(), source });
                    return Some(Placed { found, behind: self.behind });
                }
            };
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Some(Placed { found: self.post(line).map(Found::Post), behind: self.behind });
            }
        }
        None
    }
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
