//! Lists and archives: each is read from the place on where it was left. A JSONL list may be followed as it grows, whole
//! lines only; one that was truncated, overwritten or replaced is read from its beginning, which is told.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use tokio::task::block_in_place;

use super::state::Head;
use super::{Error, Mark, Output, Place, Way};
use crate::posts::archive::Archive;
use crate::posts::draft::Images;
use crate::posts::json_lines::JsonLines;
use crate::posts::rows::Rows;
use crate::posts::{Placed, Spot};

const PAUSE: Duration = Duration::from_secs(1);
/// A list is known again by so many of its first bytes, or fewer where it was not read so far.
const HEAD_BYTES: u64 = 1024;

impl Head {
    /// Of the bytes before `offset`.
    fn of(list: &Path, offset: u64) -> io::Result<Self> {
        let bytes = offset.min(HEAD_BYTES);
        let mut head = vec![0; usize::try_from(bytes).unwrap_or_default()];
        fs::File::open(list)?.read_exact_at(&mut head, 0)?;
        Ok(Self { bytes, digest: blake3::hash(&head).to_hex().to_string() })
    }
}

/// Where a list is gone on with.
async fn resumed(list: &Path, place: Option<Place>, out: &Output) -> Result<(Spot, Head), Error> {
    let (behind, head) = match place {
        None => return Ok((Spot::default(), Head::default())),
        Some(Place::List { behind, head }) => (behind, head),
        Some(_) => return Err(Error::State(list.display().to_string())),
    };
    let is_there = fs::metadata(list).is_ok_and(|metadata| metadata.len() >= behind.offset);
    if is_there && Head::of(list, head.bytes).is_ok_and(|now| now == head) {
        return Ok((behind, head));
    }
    out.tell(format!("{} is not the list that was read before: it is read from its beginning", list.display())).await?;
    Ok((Spot::default(), Head::default()))
}

/// Sends what was found, and the place behind it.
async fn send(list: &Path, placed: Placed, head: &mut Head, out: &Output) -> Result<(), Error> {
    if head.bytes < placed.behind.offset.min(HEAD_BYTES) {
        // A list that was replaced in this very moment is found to be another one later.
        *head = Head::of(list, placed.behind.offset).unwrap_or_default();
    }
    let place = Place::List { behind: placed.behind, head: head.clone() };
    match placed.found {
        Err(error) if error.is_of_the_list() => Err(error.into()),
        found => out.found(found, Mark::At(place)).await,
    }
}

pub(super) async fn json_lines(list: &Path, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
    let images = Images::beneath(list.parent().unwrap_or(Path::new("")))?;
    let (from, mut head) = resumed(list, place, out).await?;
    let mut lines = JsonLines::open(list, images.clone(), way.reading, from, way.follow)?;
    loop {
        // Before what is there is read: so nothing stands behind in a list that was replaced.
        let changed = changed(list, &lines, &head);
        // Behind the place in another text stands nothing that begins there.
        if changed != Some(OVERWRITTEN) {
            match to_end(list, &mut lines, &mut head, out).await {
                Err(Error::Posts(error)) if way.follow => out.tell(format!("{error}; it is tried again")).await?,
                ended => ended?,
            }
        }
        if !way.follow {
            return Ok(());
        }
        let Some(changed) = changed else {
            out.rest(way.pause(PAUSE)).await?;
            continue;
        };
        match JsonLines::open(list, images.clone(), way.reading, Spot::default(), way.follow) {
            Ok(anew) => {
                out.tell(format!("{} was {changed}: it is read from its beginning", list.display())).await?;
                (lines, head) = (anew, Head::default());
            }
            Err(error) => {
                out.tell(format!("{error}; it is tried again")).await?;
                out.rest(way.pause(PAUSE)).await?;
            }
        }
    }
}

async fn to_end(list: &Path, lines: &mut JsonLines, head: &mut Head, out: &Output) -> Result<(), Error> {
    while let Some(placed) = block_in_place(|| lines.next()) {
        send(list, placed, head, out).await?;
    }
    Ok(())
}

const OVERWRITTEN: &str = "overwritten";

/// What became of a list in which one has been.
fn changed(list: &Path, lines: &JsonLines, head: &Head) -> Option<&'static str> {
    // Away is not yet replaced: whoever rotates it makes a new one soon.
    let (now, read) = (fs::metadata(list).ok()?, lines.metadata().ok()?);
    if (now.dev(), now.ino()) != (read.dev(), read.ino()) {
        Some("replaced")
    } else if now.len() < lines.behind().offset {
        Some("truncated")
    } else if head.bytes > 0 && Head::of(list, head.bytes).ok()? != *head {
        Some(OVERWRITTEN)
    } else {
        None
    }
}

pub(super) async fn rows(list: &Path, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
    let images = Images::beneath(list.parent().unwrap_or(Path::new("")))?;
    let (from, mut head) = resumed(list, place, out).await?;
    let mut rows = Rows::open(list, images, way.reading, from)?;
    while let Some(placed) = block_in_place(|| rows.next()) {
        send(list, placed, &mut head, out).await?;
    }
    Ok(())
}

pub(super) async fn archive(path: &Path, place: Option<Place>, way: Way, out: &Output) -> Result<(), Error> {
    let archive = block_in_place(|| Archive::open(path))?;
    let digest = archive.digest.clone();
    let entry = match place {
        None => 0,
        Some(Place::Archive { entry, digest: read }) if read == digest => entry,
        Some(Place::Archive { .. }) => {
            let path = path.display();
            out.tell(format!("{path} is not the archive that was read before: it is read from its beginning")).await?;
            0
        }
        Some(_) => return Err(Error::State(path.display().to_string())),
    };
    let mut posts = archive.posts(path, way.reading, Spot { offset: 0, number: entry })?;
    while let Some(Placed { found, behind }) = block_in_place(|| posts.next()) {
        let place = Place::Archive { entry: behind.number, digest: digest.clone() };
        out.found(found, Mark::At(place)).await?;
    }
    Ok(())
}
