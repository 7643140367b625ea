//! This machine: the admin port, the collector of traces, memory.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Area, Report};
use crate::cores::cores;
use crate::metrics::process;
use crate::settings::Settings;

const CONNECT: Duration = Duration::from_secs(5);
/// Of one image while it is decoded, a pixel: a JPEG's (`config/default.yaml`, `decode.image_pixels`).
const BYTES_A_PIXEL: u64 = 3;
const MEBIBYTE: u64 = 1 << 20;

/// Whether the admin port can be had.
pub(super) async fn ports(settings: &Settings, report: &Report) {
    match settings.admin.listen {
        None => report.ok(Area::Host, "admin.listen is null: no metrics, no health"),
        Some(listen) => match listenable(listen).await {
            Ok(()) => report.ok(Area::Host, format!("admin.listen {listen} is free")),
            Err(error) => report.error(
                Area::Host,
                format!("cannot listen on admin.listen {listen}: {error}"),
                "end what listens there, or choose another port, or 0 for a free one",
            ),
        },
    }
}

/// Whether an address can be listened on; it is let go again.
pub(super) async fn listenable(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).await.map(drop)
}

/// Whether anything listens where spans are sent.
pub(super) async fn traces(settings: &Settings, report: &Report) {
    let Some((host, port)) = settings.traces.collector() else { return };
    let name = format!("traces.endpoint ({host}:{port})");
    let why = match timeout(CONNECT, TcpStream::connect((host.as_str(), port))).await {
        Ok(Ok(_)) => return report.ok(Area::Host, format!("{name} takes connections")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT.as_secs()),
    };
    let fix = "start the collector, or correct traces.endpoint; without it spans are lost, and no record";
    report.warning(Area::Host, format!("{name} cannot be reached: {why}"), fix);
}

/// Whether memory suffices: what this process has taken with the model loaded, and what its limits let it take on top.
pub(super) fn memory(settings: &Settings, report: &Report) {
    let (Some(limit), Some(resident)) = (process::memory_limit(), process::resident_bytes()) else {
        return report.skipped(Area::Host, "memory: this system does not tell what there is");
    };
    let need = resident + on_top(settings);
    let figures = format!(
        "memory: up to {} MiB with these settings (of which {} taken by now), {} MiB may be taken",
        need / MEBIBYTE,
        resident / MEBIBYTE,
        limit / MEBIBYTE
    );
    if need <= limit {
        return report.ok(Area::Host, figures);
    }
    let fix = format!(
        "let it have {} MiB, or lower limits.in_flight_bytes, decode.image_pixels or model.cache_bytes (docs/memory.md)",
        need.div_ceil(MEBIBYTE)
    );
    report.warning(Area::Host, figures, fix);
}

/// `docs/memory.md` says what each is.
fn on_top(settings: &Settings) -> u64 {
    let bytes = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    let threads = if settings.decode.threads == 0 { cores() } else { settings.decode.threads };
    let in_flight = bytes(settings.limits.bytes).saturating_mul(2);
    let decoding = bytes(threads).saturating_mul(settings.decode.image_pixels).saturating_mul(BYTES_A_PIXEL);
    let fetched = if settings.fetch.is_on() {
        bytes(settings.fetch.concurrency).saturating_mul(bytes(settings.decode.image_bytes))
    } else {
        0
    };
    [decoding, fetched, bytes(settings.model.cache_bytes)].iter().fold(in_flight, |sum, part| sum.saturating_add(*part))
}
