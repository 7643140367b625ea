//! A folder of images as it grows. It is looked at again and again, so that nothing is missed on any file system; where the
//! system tells who writes (`writers`), that is heeded too. A file counts once it is written: its size and time are the same
//! at two looks, and nobody is known to write it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::task::block_in_place;

use super::writers::Writers;
use super::{Error, MOST_SEEN, Mark, Output, Place, Way, What, forget, identity, seen};
use crate::posts::draft::{Draft, Images};
use crate::posts::{self, Found};

const PAUSE: Duration = Duration::from_secs(1);
/// Behind the first look, which by itself tells of no file that it is written.
const SECOND_LOOK: Duration = PAUSE;

/// A file as it is at a look.
struct File {
    path: PathBuf,
    /// Stands for path, size and time.
    identity: u64,
    modified: SystemTime,
    is_empty: bool,
}

impl File {
    fn at(path: PathBuf, folder: &Path) -> Option<Self> {
        let metadata = fs::metadata(&path).ok()?;
        let name = path.strip_prefix(folder).unwrap_or(&path).as_os_str().as_bytes();
        let (size, time) = (metadata.len().to_le_bytes(), metadata.mtime().to_le_bytes());
        let identity = identity([name, &size, &time, &metadata.mtime_nsec().to_le_bytes()]);
        let modified = metadata.modified().ok()?;
        Some(Self { path, identity, modified, is_empty: metadata.len() == 0 })
    }
}

pub(super) async fn run(path: &Path, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
    let name = || path.display().to_string();
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let mut seen = seen(place, name)?;
    let mut writers = way.follow.then(Writers::new);
    let mut last: Option<HashSet<u64>> = None;
    let mut told = BTreeSet::new();
    loop {
        let look = || {
            // Opened anew: it may be another folder of that name.
            let images = Images::beneath(folder)?;
            files(path, folder, writers.as_mut()).map(|files| (images, files))
        };
        let (images, Files { files, unreadable }) = match block_in_place(look) {
            // A folder that is away for a while is no empty folder, of which everything would be forgotten.
            Err(error) if last.is_some() => {
                out.tell(format!("{error}; it is looked for again")).await?;
                out.rest(way.pause(PAUSE)).await?;
                continue;
            }
            found => found?,
        };
        let is_whole = unreadable.is_empty();
        let unreadable: BTreeSet<String> = unreadable.iter().map(ToString::to_string).collect();
        for why in unreadable.difference(&told) {
            out.send(What::Unreadable(why.clone()), Mark::None).await?;
        }
        told = unreadable;
        if files.len() > MOST_SEEN {
            return Err(Error::TooMany(name()));
        }
        let mut published = vec![];
        for file in files.iter().filter(|file| !seen.contains(&file.identity)) {
            if writers.as_ref().is_some_and(|writers| !is_written(file, last.as_ref(), writers)) {
                continue;
            }
            let image = file.path.strip_prefix(folder).unwrap_or(&file.path);
            let post = block_in_place(|| Draft::of_image(&images, image).record(way.reading));
            if way.follow && !block_in_place(|| is_still(file, folder)) {
                continue;
            }
            out.found(post.map(Found::Post), Mark::Seen(file.identity)).await?;
            published.push(file.identity);
        }
        seen.extend(published);
        let present: HashSet<u64> = files.iter().map(|file| file.identity).collect();
        if !way.follow {
            return Ok(());
        }
        // What is in a folder that cannot be read is not gone.
        if is_whole && let Some(mark) = forget(&mut seen, &present) {
            out.send(What::Nothing, mark).await?;
        }
        // The second look is soon, however rare the others are: with it all counts that was there before.
        let pause = way.pause(PAUSE);
        let pause = if last.is_none() { pause.min(SECOND_LOOK) } else { pause };
        last = Some(present);
        out.rest(pause).await?;
    }
}

/// What a look finds.
struct Files {
    /// In order of path.
    files: Vec<File>,
    /// Folders below.
    unreadable: Vec<posts::Error>,
}

/// The images there are now.
fn files(path: &Path, folder: &Path, writers: Option<&mut Writers>) -> Result<Files, posts::Error> {
    if !path.is_dir() {
        return Ok(Files { files: File::at(path.to_owned(), folder).into_iter().collect(), unreadable: vec![] });
    }
    let mut below = posts::Below::default();
    below.look(path)?;
    if let Some(writers) = writers {
        writers.heed(&below.folders);
    }
    below.images.sort();
    let files = below.images.into_iter().filter_map(|image| File::at(image, folder)).collect();
    Ok(Files { files, unreadable: below.unreadable })
}

/// Whether it is written to its end, as far as can be known.
fn is_written(file: &File, last: Option<&HashSet<u64>>, writers: &Writers) -> bool {
    if file.is_empty || writers.write(&file.path) {
        return false;
    }
    let age = SystemTime::now().duration_since(file.modified);
    // A time in the future says nothing.
    let is_twice_the_same = || last.is_some_and(|last| last.contains(&file.identity));
    writers.closed(&file.path) || (is_twice_the_same() && !age.is_ok_and(|age| age < PAUSE))
}

fn is_still(file: &File, folder: &Path) -> bool {
    File::at(file.path.clone(), folder).is_some_and(|now| now.identity == file.identity)
}
