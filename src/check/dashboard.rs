//! The dashboard's own: where it is served, and the store's folder and disk.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use super::{Area, Report, host};
use crate::settings::Settings;

/// Bytes of the store for a result (`docs/dashboard.md`: 492 MB per million).
const BYTES_A_RESULT: u64 = 492;
/// Less than this is not enough for any store, its log and its temporary files.
const LEAST_FREE: u64 = 256 * MEBIBYTE;
const MEBIBYTE: u64 = 1 << 20;

/// Token and port.
pub(super) async fn served(settings: &Settings, report: &Report) {
    let own = &settings.dashboard;
    match own.token() {
        Ok(Some(_)) => report.ok(Area::Dashboard, "a token is asked for"),
        Ok(None) => report.ok(Area::Dashboard, "no token, and nobody beyond this machine reaches it"),
        Err(problem) => report.error(Area::Dashboard, problem, "set dashboard.token_file to a file that holds one"),
    }
    match host::listenable(own.listen).await {
        Ok(()) => report.ok(Area::Dashboard, format!("dashboard.listen {} is free", own.listen)),
        Err(error) => report.error(
            Area::Dashboard,
            format!("cannot listen on dashboard.listen {}: {error}", own.listen),
            "end what listens there, or choose another port, or 0 for a free one",
        ),
    }
}

/// Whether the store can be written. What is there is not opened, since a dashboard may have it.
pub(super) fn store(settings: &Settings, report: &Report) {
    let store = &settings.dashboard.store;
    let folder = folder(store);
    let written =
        if store.exists() { OpenOptions::new().read(true).append(true).open(store).map(drop) } else { Ok(()) };
    // SQLite makes files beside the store's, so the folder has to be writable too.
    if let Err(error) = written.and_then(|()| tempfile::tempfile_in(&folder).map(drop)) {
        let what = format!("the store {} cannot be written: {error}", store.display());
        let fix = format!(
            "make {} and let user {} write there, or name another place by dashboard.store",
            folder.display(),
            rustix::process::geteuid().as_raw()
        );
        return report.error(Area::Dashboard, what, fix);
    }
    let what = format!("the store {} can be written", store.display());
    match free(&folder) {
        Some(free) if free < LEAST_FREE => report.warning(
            Area::Dashboard,
            format!("{what}, and its disk has {} MiB left", free / MEBIBYTE),
            "make room, or name another place by dashboard.store",
        ),
        Some(free) => report.ok(Area::Dashboard, format!("{what}, its disk has {} MiB left", free / MEBIBYTE)),
        None => report.ok(Area::Dashboard, what),
    }
}

/// Whether the disk suffices for as long as posts are kept, where as many come each day as in the last.
pub(super) fn disk(settings: &Settings, results_a_day: u64, report: &Report) {
    let (store, days) = (&settings.dashboard.store, settings.dashboard.retention_days);
    let Some(free) = free(&folder(store)) else { return };
    let need = results_a_day.saturating_mul(u64::from(days)).saturating_mul(BYTES_A_RESULT);
    let taken = std::fs::metadata(store).map_or(0, |metadata| metadata.len());
    let figures = format!(
        "{results_a_day} results came in the last 24 h: {days} days (dashboard.retention_days) of that take {} MiB; the store has {} MiB, its disk {} MiB more",
        need.div_ceil(MEBIBYTE),
        taken / MEBIBYTE,
        free / MEBIBYTE
    );
    if need > taken.saturating_add(free) {
        report.warning(Area::Dashboard, figures, "give the store a larger disk, or lower dashboard.retention_days");
    } else {
        report.ok(Area::Dashboard, figures);
    }
}

/// Where the store lies.
fn folder(store: &Path) -> PathBuf {
    match store.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => ".".into(),
    }
}

/// Bytes that are left to us there.
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
