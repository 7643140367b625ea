//! Who writes into folders, as far as the system tells (inotify): a file that was written to and is still open is not
//! complete, however long nothing comes, and one that was closed or moved there is. What the system does not tell, as on a
//! network's file system, is left to looking twice.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Events read at once; longer names than this takes do not exist.
const BUFFER_BYTES: usize = 16 * 1024;

pub(super) struct Writers {
    /// None where the system gives none: then nothing is known of anybody.
    events: Option<OwnedFd>,
    folders: HashMap<i32, PathBuf>,
    writing: HashSet<PathBuf>,
    closed: HashSet<PathBuf>,
}

impl Writers {
    pub(super) fn new() -> Self {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Self { events, folders: HashMap::new(), writing: HashSet::new(), closed: HashSet::new() }
    }

    /// Takes in what happened since the last look, and watches these folders from now on.
    pub(super) fn heed(&mut self, folders: &[PathBuf]) {
        self.closed.clear();
        self.writing.retain(|path| path.exists());
        let Some(events) = &self.events else { return };
        for folder in folders {
            // A watch that is there already is given again. One more than the system allows is not needed to be right.
            let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO;
            if let Ok(watch) = inotify::add_watch(events, folder, flags) {
                self.folders.insert(watch, folder.clone());
            }
        }
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(events, &mut buffer);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                self.writing.clear();
                self.closed.clear();
            }
            if event.events().contains(ReadFlags::IGNORED) {
                self.folders.remove(&event.wd());
            }
            let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name()) else { continue };
            let path = folder.join(OsStr::from_bytes(name.to_bytes()));
            if event.events().contains(ReadFlags::MODIFY) {
                self.closed.remove(&path);
                self.writing.insert(path);
            } else {
                self.writing.remove(&path);
                self.closed.insert(path);
            }
        }
    }

    /// Whether somebody has written to it and not closed it yet.
    pub(super) fn write(&self, path: &Path) -> bool {
        self.writing.contains(path)
    }

    /// Whether it was closed, or moved here, since the look before.
    pub(super) fn closed(&self, path: &Path) -> bool {
        self.closed.contains(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_being_written_until_it_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jpg");
        let folders = [folder.path().to_owned()];
        let mut writers = Writers::new();
        writers.heed(&folders);
        let mut file = File::create(&path).expect("made");
        file.write_all(b"half").expect("written");
        writers.heed(&folders);
        assert!(writers.write(&path) && !writers.closed(&path));
        writers.heed(&folders);
        assert!(writers.write(&path), "however long nothing comes");
        drop(file);
        writers.heed(&folders);
        assert!(!writers.write(&path) && writers.closed(&path));

        let moved = folder.path().join("b.jpg");
        fs::rename(&path, &moved).expect("moved");
        writers.heed(&folders);
        assert!(writers.closed(&moved) && !writers.closed(&path));
    }
}
