//! A post before it is a record: its image is a file or a URL, the rest is JSON as on the topic.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use serde_json::{Map, Value, json};

use super::{Encoding, Error, Reading, SourcePost};
use crate::message::Header;

pub(super) const ENDINGS: &[(&str, &str)] = &[
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
];

/// Opening a FIFO does not wait for its other end, and a terminal does not become ours.
const FLAGS: i32 = (rustix::fs::OFlags::NONBLOCK.bits() | rustix::fs::OFlags::NOCTTY.bits()).cast_signed();

/// The longest id that a worker takes.
const ID_BYTES: usize = 256;

pub(super) fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The content type that a file's ending stands for.
pub(crate) fn content_type(path: &Path) -> Option<&'static str> {
    let ending = ending(path);
    ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, content_type)| *content_type)
}

/// Whether a worker reads images of this content type.
pub(super) fn is_read(content_type: &str) -> bool {
    ENDINGS.iter().any(|(_, known)| *known == content_type)
}

/// An id as a worker takes it: one that is too long becomes its digest.
pub(crate) fn id(text: &str) -> String {
    if text.len() <= ID_BYTES { text.to_owned() } else { blake3::hash(text.as_bytes()).to_hex().to_string() }
}

/// Where the images of a list, an archive or a folder lie.
#[derive(Clone)]
pub(crate) enum Images {
    /// Beside it, or wherever a path leads: a list of one's own.
    Anywhere(PathBuf),
    /// Below its folder; neither `..` nor a symbolic link leads out. What is published has been looked at by nobody.
    Beneath(PathBuf, Arc<Dir>),
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Images({})", self.folder().display())
    }
}

impl Images {
    /// Those below `folder` and nowhere else.
    pub(crate) fn beneath(folder: &Path) -> Result<Self, Error> {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let opened = Dir::open_ambient_dir(folder, ambient_authority())
            .map_err(|source| Error::Read { path: folder.to_owned(), source })?;
        Ok(Self::Beneath(folder.to_owned(), Arc::new(opened)))
    }

    /// Those of a list or an archive, by where it lies.
    pub(super) fn beside(list: &Path, confined: bool) -> Result<Self, Error> {
        let folder = list.parent().unwrap_or(Path::new(""));
        if confined { Self::beneath(folder) } else { Ok(Self::Anywhere(folder.to_owned())) }
    }

    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Anywhere(folder) | Self::Beneath(folder, _) => folder,
        }
    }

    pub(super) fn path(&self, name: &Path) -> PathBuf {
        self.folder().join(name)
    }

    fn open(&self, name: &Path) -> io::Result<fs::File> {
        match self {
            Self::Anywhere(folder) => {
                let mut options = fs::OpenOptions::new();
                std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), FLAGS);
                options.open(folder.join(name))
            }
            Self::Beneath(folder, opened) => {
                // A name is one of the folder's; only an absolute one tells the folder too.
                let name = if name.is_absolute() { name.strip_prefix(folder).unwrap_or(name) } else { name };
                let file = opened.open_with(name, OpenOptions::new().read(true).custom_flags(FLAGS))?;
                Ok(file.into_std())
            }
        }
    }

    pub(super) fn holds(&self, name: &Path) -> bool {
        self.open(name).and_then(|file| file.metadata()).is_ok_and(|file| file.is_file())
    }

    /// The image's bytes, within the limit.
    fn read(&self, name: &Path, most: usize) -> Result<Vec<u8>, Error> {
        let unreadable = |source: io::Error| {
            let path = self.path(name);
            // An escape is no error of the system's, so it has no number.
            if source.kind() == io::ErrorKind::PermissionDenied && source.raw_os_error().is_none() {
                return Error::Outside { path, folder: self.folder().to_owned() };
            }
            Error::Read { path, source }
        };
        let file = self.open(name).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let bytes = metadata.len();
        if bytes > most as u64 {
            return Err(Error::TooLarge { path: self.path(name), bytes, most });
        }
        let mut image = Vec::new();
        // No more, should it grow meanwhile: it is refused later for being cut.
        file.take(most as u64).read_to_end(&mut image).map_err(unreadable)?;
        Ok(image)
    }
}

/// Where a post's image is.
#[derive(Debug)]
pub(crate) enum Image {
    /// In a file.
    File(Images, PathBuf),
    /// Read already, of this content type.
    Bytes(Bytes, &'static str),
    /// At a URL, where a worker fetches it.
    Url(String),
}

/// A post without its image.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) image: Image,
    /// As on the topic.
    pub(crate) post: Map<String, Value>,
    pub(crate) label: Option<String>,
}

impl Draft {
    /// An image without metadata, its file name the id.
    pub(crate) fn of_image(images: &Images, name: &Path) -> Self {
        let id = name.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::new(Image::File(images.clone(), name.to_owned()), &id)
    }

    pub(crate) fn new(image: Image, id: &str) -> Self {
        Self { image, post: Map::from_iter([("id".to_owned(), json!(id))]), label: None }
    }

    /// With fields beside the id, those that there are.
    pub(super) fn with(mut self, fields: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let told = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value?))));
        self.post.extend(told);
        self
    }

    /// With a caption and tags, where there are any.
    pub(super) fn with_text(mut self, caption: &str, tags: &[String]) -> Self {
        let mut metadata = Map::new();
        if !caption.is_empty() {
            metadata.insert("caption".into(), json!(caption));
        }
        if !tags.is_empty() {
            metadata.insert("tags".into(), json!(tags));
        }
        self.post.insert("metadata".into(), Value::Object(metadata));
        self
    }

    pub(crate) fn record(self, reading: Reading) -> Result<SourcePost, Error> {
        let (image, content_type) = match &self.image {
            Image::Url(url) => {
                let url = json!({"url": url});
                return Ok(self.json(url));
            }
            Image::Bytes(bytes, content_type) => (bytes.clone(), *content_type),
            Image::File(images, name) => {
                let image = images.read(name, reading.most_bytes)?;
                (image.into(), content_type(name).unwrap_or("image/jpeg"))
            }
        };
        Ok(match reading.encoding {
            Encoding::Binary => self.binary(image, content_type),
            Encoding::Json => self.json(json!({"data": STANDARD.encode(image)})),
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        self.post.get(key).and_then(Value::as_str).map(ToOwned::to_owned)
    }

    fn binary(self, image: Bytes, content_type: &str) -> SourcePost {
        let mut headers = vec![
            header("content-type", content_type),
            header("ce_specversion", "1.0"),
            header("ce_type", "social.post.image"),
        ];
        for (name, key) in [("ce_id", "id"), ("ce_source", "source"), ("ce_time", "published_at")] {
            headers.extend(self.text(key).map(|value| header(name, &value)));
        }
        headers.extend(self.post.get("metadata").map(|metadata| header("metadata", &metadata.to_string())));
        SourcePost { key: self.text("id"), value: image, headers, label: self.label }
    }

    fn json(mut self, image: Value) -> SourcePost {
        let key = self.text("id");
        self.post.insert("image".into(), image);
        SourcePost { key, value: Value::Object(self.post).to_string().into(), headers: vec![], label: self.label }
    }
}

fn header(key: &str, value: &str) -> Header {
    Header { key: key.to_owned(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}
