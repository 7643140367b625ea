//! Images by `file:`, below one folder that is opened at start. Every path is resolved beneath it by `cap-std` (openat2 on
//! Linux): neither `..` nor a symbolic link leads out, whoever changes the folder meanwhile. Only regular files are read.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use url::Url;

use super::slots::Slots;
use super::{Settings, failed, refused, shown, too_large};
use crate::error::{Reason, Refusal};
use crate::message::Fetched;

/// Opening a FIFO does not wait for its other end, and a terminal does not become ours.
const FLAGS: i32 = (rustix::fs::OFlags::NONBLOCK.bits() | rustix::fs::OFlags::NOCTTY.bits()).cast_signed();

pub(super) struct Files {
    root: PathBuf,
    folder: Arc<Dir>,
    slots: Arc<Slots>,
    image_bytes: usize,
    timeout: Duration,
}

impl Files {
    pub(super) fn open(root: &Path, settings: &Settings, image_bytes: usize, slots: Arc<Slots>) -> io::Result<Self> {
        let folder = Arc::new(Dir::open_ambient_dir(root, ambient_authority())?);
        Ok(Self { root: root.to_owned(), folder, slots, image_bytes, timeout: settings.timeout() })
    }

    pub(super) async fn fetch(&self, url: &Url) -> Result<Fetched, Refusal> {
        let path = url.to_file_path().map_err(|()| refused(format!("{}: not a path of this machine", shown(url))))?;
        let beneath = path.strip_prefix(&self.root);
        let beneath = beneath.map_err(|_| refused(format!("{}: not below fetch.root", shown(url))))?.to_owned();
        if beneath.as_os_str().is_empty() {
            return Err(not_a_file(url));
        }
        let slot = self.slots.of_all().await;
        let (folder, image_bytes, given) = (Arc::clone(&self.folder), self.image_bytes, url.clone());
        // The slot stays with a read that hangs: no more hang than there are slots.
        let reading = tokio::task::spawn_blocking(move || {
            read(&folder, &beneath, &given, image_bytes).map(|image| (image, slot))
        });
        let (image, slot) = match tokio::time::timeout(self.timeout, reading).await {
            Ok(Ok(read)) => read?,
            Ok(Err(panicked)) => return Err(failed(format!("{}: {panicked}", shown(url)))),
            Err(_) => {
                let limit = self.timeout.as_millis();
                return Err(failed(format!("{}: not read within {limit} ms (fetch.timeout_ms)", shown(url))));
            }
        };
        Ok(Fetched { image, slot })
    }
}

fn not_a_file(url: &Url) -> Refusal {
    refused(format!("{}: not a regular file", shown(url)))
}

fn read(folder: &Dir, path: &Path, url: &Url, image_bytes: usize) -> Result<Bytes, Refusal> {
    let unreadable = |error: io::Error| {
        let detail = format!("{}: {error}", shown(url));
        // An escape is no error of the system's, so it has no number.
        if error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
            refused(detail)
        } else {
            failed(detail)
        }
    };
    let file = folder.open_with(path, OpenOptions::new().read(true).custom_flags(FLAGS)).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(not_a_file(url));
    }
    let mut image = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(image_bytes));
    file.take(image_bytes as u64 + 1).read_to_end(&mut image).map_err(unreadable)?;
    match image.len() {
        0 => Err(Refusal::new(Reason::NoImage, format!("image.url: {}: the file is empty", shown(url)))),
        bytes if bytes > image_bytes => Err(too_large(url, image_bytes)),
        _ => Ok(image.into()),
    }
}
