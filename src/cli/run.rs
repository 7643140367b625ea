//! `sentistream run`: a worker until SIGTERM or SIGINT, then a drain within the grace period; a second signal ends it.

use anyhow::Result;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Ended};
use crate::model;
use crate::settings::Settings;
use crate::worker::Worker;

pub(super) const HELP: &str = "\
Examples:
  sentistream run --config worker.yaml
  SENTISTREAM__KAFKA__BROKERS=kafka:9092 SENTISTREAM__KAFKA__INPUT_TOPIC=instagram sentistream run

Start as many workers as there are partitions; they share the topic as one consumer group (kafka.group). The three topics
must exist. SIGTERM or SIGINT drains: nothing more is pulled, what is in flight is finished and committed.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// What made the worker unable to start or go on.
pub async fn run(settings: &Settings) -> Result<Ended> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let worker = tokio::select! {
        worker = Worker::start(settings) => worker?,
        _ = terminate.recv() => return Ok(Ended::Done),
        _ = interrupt.recv() => return Ok(Ended::Done),
    };
    let stopper = worker.stopper();
    let grace_seconds = settings.shutdown.grace_seconds;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!(grace_seconds, "draining; a second signal stops at once");
        stopper.stop();
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::warn!("stopped at once: posts in flight will be read again");
        model::rest();
        std::process::exit(130);
    });
    let drained = worker.drained().await?;
    Ok(if drained.unsettled == 0 { Ended::Done } else { Ended::GraceExpired })
}
