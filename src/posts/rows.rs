//! A CSV list: a header line, and a post a row.

use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ErrorKind, Position, Reader, ReaderBuilder};
use serde_json::{Map, Value, json};

use super::draft::{Draft, ENDINGS, Image, Images, content_type};
use super::{Error, Found, Placed, Reading, Spot};

/// A row may always be so long, however small images have to be.
const LEAST_ROW_BYTES: usize = 64 * 1024;

/// A file of which no more than that may be read before it is said again how much. A quote that is never closed would make
/// one row of all that stands behind it.
struct Limited {
    file: fs::File,
    left: usize,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.left.min(buffer.len());
        let buffer = buffer.split_at_mut(most).0;
        if buffer.is_empty() {
            let why = "a row is longer than limits.record_bytes; is a quote in it never closed?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let read = self.file.read(buffer)?;
        self.left -= read;
        Ok(read)
    }
}

impl Seek for Limited {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file.seek(place)
    }
}

fn most_bytes(reading: Reading) -> usize {
    reading.most_bytes.max(LEAST_ROW_BYTES)
}

pub(crate) struct Rows {
    list: PathBuf,
    images: Images,
    reading: Reading,
    reader: Reader<Limited>,
    columns: Vec<String>,
    /// What cannot be read once is not asked for ever.
    failed: bool,
}

impl Rows {
    pub(crate) fn open(list: &Path, images: Images, reading: Reading, from: Spot) -> Result<Self, Error> {
        let file = fs::File::open(list).map_err(|source| Error::Read { path: list.to_owned(), source })?;
        let limited = Limited { file, left: most_bytes(reading) };
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(limited);
        let bad_header = |error: csv::Error| Error::Line { path: list.to_owned(), line: 1, why: error.to_string() };
        let columns: Vec<String> = reader.byte_headers().map_err(bad_header)?.iter().map(lossy).collect();
        if !columns.iter().any(|column| column == "image" || column == "id") {
            let why = format!("needs a column `image` or `id`; it has {}", columns.join(", "));
            return Err(Error::Line { path: list.to_owned(), line: 1, why });
        }
        if from.offset > 0 {
            let mut place = Position::new();
            place.set_byte(from.offset).set_line(from.number);
            reader.seek(place).map_err(bad_header)?;
        }
        Ok(Self { list: list.to_owned(), images, reading, reader, columns, failed: false })
    }

    fn draft(&self, row: &ByteRecord) -> Result<Draft, String> {
        let cells: Vec<(&str, String)> = self.columns.iter().map(String::as_str).zip(row.iter().map(lossy)).collect();
        let cell = |name: &str| {
            cells.iter().find(|(column, cell)| *column == name && !cell.is_empty()).map(|(_, cell)| cell.as_str())
        };
        let image = match (cell("image"), cell("id")) {
            (Some(image), _) => PathBuf::from(image),
            (None, Some(id)) => {
                self.image_of(id).ok_or_else(|| format!("no image for id {id:?} beside the list or in images/"))?
            }
            (None, None) => return Err("neither `image` nor `id` has a value".into()),
        };
        if content_type(&image).is_none() {
            return Err(format!("image {} must end in .jpg, .jpeg, .png, .webp or .gif", image.display()));
        }
        let mut post = Draft::of_image(&self.images, &image).post;
        for key in ["id", "source", "published_at"] {
            post.extend(cell(key).map(|value| (key.to_owned(), json!(value))));
        }
        post.insert("metadata".into(), Value::Object(metadata(cell)));
        let label = cell("label").map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
        Ok(Draft { image: Image::File(self.images.clone(), image), post, label })
    }

    fn image_of(&self, id: &str) -> Option<PathBuf> {
        let candidates =
            ENDINGS.iter().flat_map(|(ending, _)| [format!("{id}.{ending}"), format!("images/{id}.{ending}")]);
        candidates.map(PathBuf::from).find(|name| self.images.holds(name))
    }
}

impl Iterator for Rows {
    type Item = Placed;

    fn next(&mut self) -> Option<Placed> {
        if self.failed {
            return None;
        }
        let mut row = ByteRecord::new();
        let line = self.reader.position().line();
        let bad = |line, why| Error::Line { path: self.list.clone(), line, why };
        self.reader.get_mut().left = most_bytes(self.reading);
        let found = match self.reader.read_byte_record(&mut row) {
            Ok(false) => return None,
            Ok(true) => {
                let line = row.position().map_or(line, Position::line);
                self.draft(&row).map_err(|why| bad(line, why)).and_then(|draft| draft.record(self.reading))
            }
            Err(error) => {
                let why = error.to_string();
                match error.into_kind() {
                    ErrorKind::Io(source) => {
                        self.failed = true;
                        let source = io::Error::new(source.kind(), format!("line {line}: {source}"));
                        Err(Error::List { path: self.list.clone(), source })
                    }
                    _ => Err(bad(line, why)),
                }
            }
        };
        let behind = self.reader.position();
        let behind = Spot { offset: behind.byte(), number: behind.line() };
        Some(Placed { found: found.map(Found::Post), behind })
    }
}

/// Texts collected in the wild are not always UTF-8; a broken character is not worth a post.
fn lossy(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).into_owned()
}

fn metadata<'c>(cell: impl Fn(&str) -> Option<&'c str>) -> Map<String, Value> {
    let mut metadata = Map::new();
    metadata.extend(cell("caption").or(cell("text")).map(|caption| ("caption".to_owned(), json!(caption))));
    for key in ["scene", "place", "taken_at"] {
        metadata.extend(cell(key).map(|value| (key.to_owned(), json!(value))));
    }
    metadata.extend(cell("tags").map(|tags| ("tags".to_owned(), json!(words(tags)))));
    let objects = |objects| words(objects).into_iter().map(|label| json!({"label": label})).collect::<Vec<_>>();
    metadata.extend(cell("objects").map(|cell| ("objects".to_owned(), json!(objects(cell)))));
    metadata
}

fn words(cell: &str) -> Vec<&str> {
    let by_semicolon = cell.contains(';');
    let separator = move |c: char| if by_semicolon { c == ';' } else { c.is_whitespace() };
    cell.split(separator).map(str::trim).filter(|word| !word.is_empty()).collect()
}
