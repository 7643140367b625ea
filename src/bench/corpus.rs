//! What is measured on: posts made of real photographs (or tiny ones, or somebody's own), the same for a seed, kept on disk so that
//! they are made once. A kept corpus is a folder: `values.bin`, all distinct values one after the other, and `corpus.json`, what
//! belongs to each and in which order they come.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use fastrand::Rng;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::draw::{self, Zipf};
use super::mosaic::{self, Photos};
use super::progress;
use crate::cores::cores;
use crate::message::Header;
use crate::posts::{self, Reading, SourcePost, images_below};

/// Goes up with whatever is made differently.
const VERSION: u32 = 1;
/// Posts made between two writes.
const BLOCK: u32 = 512;
const ZIPF_S: f64 = 1.1;
/// A feed's posts for each distinct one.
const REPEATS: u32 = 10;
const TINY_SIDE: u32 = 16;
const TINY_QUALITY: i32 = 75;

/// What a corpus is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Distinct photographs of 512 x 512 pixels
    #[value(name = "photos-512")]
    #[serde(rename = "photos-512")]
    Photos512,
    /// Distinct photographs of 1080 x 1080 pixels
    #[value(name = "photos-1080")]
    #[serde(rename = "photos-1080")]
    Photos1080,
    /// Distinct photographs of 2048 x 2048 pixels
    #[value(name = "photos-2048")]
    #[serde(rename = "photos-2048")]
    Photos2048,
    /// A social feed in which posts of 1080 x 1080 pixels repeat: a tenth is distinct, drawn by Zipf's law with s = 1.1
    Feed,
    /// Distinct tiny records for a trivial bundle: the plumbing alone
    Tiny,
}

impl Kind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Photos512 => "photos-512",
            Self::Photos1080 => "photos-1080",
            Self::Photos2048 => "photos-2048",
            Self::Feed => "feed",
            Self::Tiny => "tiny",
        }
    }

    /// Pixels of a side of its images.
    pub const fn side(self) -> u32 {
        match self {
            Self::Photos512 => 512,
            Self::Photos1080 | Self::Feed => 1080,
            Self::Photos2048 => 2048,
            Self::Tiny => TINY_SIDE,
        }
    }

    /// Posts where nobody says how many.
    pub const fn default_posts(self) -> u32 {
        match self {
            Self::Photos512 => 3000,
            Self::Photos1080 => 2000,
            Self::Photos2048 => 1000,
            Self::Feed => 20_000,
            Self::Tiny => 200_000,
        }
    }
}

/// What a corpus is made from: the same plan makes the same corpus.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it is like.
    pub kind: Kind,
    /// Posts.
    pub posts: u32,
    /// Of all that is drawn.
    pub seed: u64,
    /// Folder of photographs.
    pub photos: PathBuf,
}

/// A corpus in memory.
pub struct Corpus {
    values: Bytes,
    index: Index,
    ranges: Vec<Range<usize>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    name: String,
    /// Pixels of a side, where all images have the same.
    side: Option<u32>,
    contents: Vec<Content>,
    posts: Vec<Place>,
    /// Whether a post's key travels in the header `ce_id` too.
    ids: bool,
}

/// A value, and the headers that every post of it has.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    bytes: usize,
    headers: Vec<(String, String)>,
}

/// A post: which content, under which key.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    content: usize,
    key: Option<String>,
}

impl Corpus {
    /// Reads a kept corpus.
    ///
    /// # Errors
    /// When it is not there, or is not whole.
    pub fn open(folder: &Path) -> Result<Self> {
        let damaged =
            || format!("cannot read the corpus in {}; remove the folder and it is made anew", folder.display());
        let index: Index = serde_json::from_slice(&fs::read(folder.join("corpus.json")).with_context(damaged)?)
            .with_context(damaged)?;
        let values = Bytes::from(fs::read(folder.join("values.bin")).with_context(damaged)?);
        let mut end = 0;
        let ranges: Vec<Range<usize>> = index
            .contents
            .iter()
            .map(|content| {
                let start = end;
                end += content.bytes;
                start..end
            })
            .collect();
        let is_whole = end == values.len() && index.posts.iter().all(|post| post.content < ranges.len());
        ensure!(is_whole && !index.posts.is_empty(), "{}", damaged());
        Ok(Self { values, index, ranges })
    }

    /// The folder of the corpus of this plan below `keep`; made where it is not there yet.
    ///
    /// # Errors
    /// Photographs that cannot be read, a folder that cannot be written.
    pub fn make(plan: &Plan, keep: &Path) -> Result<PathBuf> {
        let folder = keep.join(format!("{}-{}-{}", plan.kind.name(), plan.posts, plan.digest()?));
        if !folder.join("corpus.json").is_file() {
            into_place(&folder, |unfinished| plan.write(unfinished))?;
        }
        Ok(folder)
    }

    /// Keeps posts of the user's own in `folder`, at most so many.
    ///
    /// # Errors
    /// Posts that cannot be read, a folder that cannot be written.
    pub fn copy(path: &Path, most: Option<u32>, reading: Reading, folder: &Path) -> Result<()> {
        let mut writer = Writer::create(folder)?;
        writer.index.name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        for post in posts::open(path, reading)?.take(most.map_or(usize::MAX, |most| most as usize)) {
            let SourcePost { key, value, headers, .. } = post?;
            let text =
                |header: Header| (header.key, String::from_utf8_lossy(&header.value.unwrap_or_default()).into_owned());
            let content = writer.content(&value, headers.into_iter().map(text).collect())?;
            writer.index.posts.push(Place { content, key });
        }
        ensure!(!writer.index.posts.is_empty(), "no posts in {}", path.display());
        writer.finish()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.index.name
    }

    /// Posts.
    pub fn len(&self) -> usize {
        self.index.posts.len()
    }

    /// Never: an empty one does not open.
    pub fn is_empty(&self) -> bool {
        self.index.posts.is_empty()
    }

    /// Distinct contents.
    pub fn distinct(&self) -> usize {
        self.index.contents.len()
    }

    /// Bytes of the values of all distinct posts.
    pub fn bytes(&self) -> usize {
        self.values.len()
    }

    /// Pixels of a side of its images, where all have the same.
    pub fn side(&self) -> Option<u32> {
        self.index.side
    }

    /// The largest value.
    pub fn largest(&self) -> usize {
        self.index.contents.iter().map(|content| content.bytes).max().unwrap_or(0)
    }

    /// The post of this number, counted on from the first again behind the last.
    pub fn post(&self, number: usize) -> SourcePost {
        let place = self.index.posts.get(number % self.len().max(1));
        let (content, key) = place.map_or((0, None), |place| (place.content, place.key.clone()));
        let value = self.ranges.get(content).map(|range| self.values.slice(range.clone())).unwrap_or_default();
        let header = |key: &str, value: &str| Header {
            key: key.to_owned(),
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
        };
        let of_content = self.index.contents.get(content).map(|content| content.headers.as_slice()).unwrap_or_default();
        let mut headers: Vec<Header> = of_content.iter().map(|(key, value)| header(key, value)).collect();
        headers.extend(key.as_deref().filter(|_| self.index.ids).map(|id| header("ce_id", id)));
        SourcePost { key, value, headers, label: None }
    }
}

impl Plan {
    /// Of all that the corpus depends on, the photographs by their names and sizes.
    fn digest(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{VERSION} {} {} {}", self.kind.name(), self.posts, self.seed).as_bytes());
        for photo in images_below(&self.photos)? {
            let bytes = fs::metadata(&photo).map_or(0, |metadata| metadata.len());
            hasher.update(format!("{} {bytes}", photo.display()).as_bytes());
        }
        Ok(hasher.finalize().to_hex().chars().take(8).collect())
    }

    fn distinct(&self) -> u32 {
        if self.kind == Kind::Feed { self.posts.div_ceil(REPEATS) } else { self.posts }
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let photos = Photos::open(&self.photos)?;
        let quality = match self.kind {
            Kind::Tiny => TINY_QUALITY,
            _ => photos.quality(self.kind.side(), self.seed)?,
        };
        let mut writer = Writer::create(folder)?;
        let bar = progress::bar(u64::from(self.distinct()), &format!("making {}", self.kind.name()))?;
        let mut first = 0;
        while first < self.distinct() {
            let block = first..self.distinct().min(first + BLOCK);
            for (image, metadata) in self.block(&photos, quality, block.clone(), &bar)? {
                writer.content(&image, headers(metadata))?;
            }
            first = block.end;
        }
        bar.finish_and_clear();
        let zipf = Zipf::new(self.distinct(), ZIPF_S);
        let mut rng = Rng::with_seed(self.seed);
        for number in 0..self.posts as usize {
            let content = if self.kind == Kind::Feed { zipf.draw(&mut rng) } else { number };
            writer.index.posts.push(Place { content, key: Some(format!("{}-{number}", self.kind.name())) });
        }
        (writer.index.name, writer.index.side) = (self.kind.name().to_owned(), Some(self.kind.side()));
        writer.index.ids = true;
        writer.finish()
    }

    /// Images and metadata of some posts, made by as many threads as there are cores.
    fn block(
        &self,
        photos: &Photos,
        quality: i32,
        block: Range<u32>,
        bar: &ProgressBar,
    ) -> Result<Vec<(Vec<u8>, String)>> {
        let threads = u32::try_from(cores()).unwrap_or(1);
        let share = (block.end - block.start).div_ceil(threads).max(1);
        let made: Vec<Result<Vec<_>>> = thread::scope(|scope| {
            let starts = block.clone().step_by(share as usize);
            let shares: Vec<_> = starts
                .map(|start| {
                    let posts = start..block.end.min(start + share);
                    scope.spawn(move || posts.map(|number| self.content(photos, quality, number, bar)).collect())
                })
                .collect();
            shares
                .into_iter()
                .map(|share| share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        made.into_iter().collect::<Result<Vec<_>>>().map(|made| made.into_iter().flatten().collect())
    }

    fn content(&self, photos: &Photos, quality: i32, number: u32, bar: &ProgressBar) -> Result<(Vec<u8>, String)> {
        let mut rng = Rng::with_seed(self.seed.rotate_left(32) ^ u64::from(number));
        let image = mosaic::jpeg(&photos.mosaic(self.kind.side(), &mut rng), quality)?;
        let metadata = match self.kind {
            // The number makes it distinct.
            Kind::Tiny => json!({"caption": format!("{} {number}", draw::caption(&mut rng, 2..=4))}),
            _ => draw::metadata(&mut rng),
        };
        bar.inc(1);
        Ok((image, metadata.to_string()))
    }
}

fn headers(metadata: String) -> Vec<(String, String)> {
    let header = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    vec![
        header("content-type", "image/jpeg"),
        header("ce_specversion", "1.0"),
        header("ce_type", "social.post.image"),
        header("ce_source", "bench"),
        ("metadata".to_owned(), metadata),
    ]
}

/// Writes a folder beside its place and moves it there once it is whole.
fn into_place(folder: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)
        .with_context(|| format!("cannot make {}; name another folder (--keep)", parent.display()))?;
    let unfinished = tempfile::Builder::new().prefix("unfinished-").tempdir_in(parent)?;
    write(unfinished.path())?;
    // What is there is not whole.
    let _ = fs::remove_dir_all(folder);
    fs::rename(unfinished.path(), folder).with_context(|| format!("cannot write {}", folder.display()))
}

struct Writer {
    folder: PathBuf,
    values: BufWriter<fs::File>,
    index: Index,
}

impl Writer {
    fn create(folder: &Path) -> Result<Self> {
        let path = folder.join("values.bin");
        let file = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { folder: folder.to_owned(), values: BufWriter::new(file), index: Index::default() })
    }

    /// Adds a value; returns its number.
    fn content(&mut self, value: &[u8], headers: Vec<(String, String)>) -> Result<usize> {
        self.values
            .write_all(value)
            .context("cannot write the corpus; is the disk full? --keep names another folder")?;
        self.index.contents.push(Content { bytes: value.len(), headers });
        Ok(self.index.contents.len() - 1)
    }

    fn finish(mut self) -> Result<()> {
        self.values.flush()?;
        fs::write(self.folder.join("corpus.json"), serde_json::to_vec(&self.index)?)?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "corpus_tests.rs"]
mod tests;
