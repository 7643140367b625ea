//! `sentistream dashboard`: a live page over the results, until SIGTERM or SIGINT.

use std::io::{self, Write as _};

use anyhow::Result;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Common, Ended};
use crate::dashboard::Dashboard;
use crate::settings::Settings;

pub(super) const HELP: &str = "\
Examples:
  sentistream dashboard
  SENTISTREAM__KAFKA__BROKERS=kafka:9092 sentistream dashboard
  SENTISTREAM__DASHBOARD__LISTEN=0.0.0.0:9465 SENTISTREAM__DASHBOARD__TOKEN_FILE=token sentistream dashboard
  curl 'http://127.0.0.1:9465/api/v1/series?from=now-7d&format=csv'

Reads the results (kafka.output_topic) and the dead letters (kafka.dead_letter_topic) from their
beginning into a store of its own (dashboard.store), and goes on where it was when it is started
again: no post is counted twice, none is left out. It is no member of the workers' group
(kafka.group), whose lag it shows. Brokers may be away, and topics may come later.

The page is served on dashboard.listen, on this machine alone unless it says otherwise. Beyond that it
asks for a token (dashboard.token_file): a browser opens http://HOST:9465/?token=TOKEN once.
docs/dashboard.md describes the API. SIGTERM or SIGINT stops it.";

/// Arguments of `dashboard`.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// A store, an address or a token that cannot be used, or a store that broke.
pub async fn run(settings: &Settings) -> Result<Ended> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut dashboard = Dashboard::start(settings).await?;
    // Nobody watching is no reason to stop.
    let _ = writeln!(io::stdout(), "dashboard: http://{}/", dashboard.address);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        error = dashboard.failed() => return Err(error),
    }
    dashboard.stop().await?;
    Ok(Ended::Done)
}
