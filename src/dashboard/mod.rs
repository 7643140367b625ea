//! `sentistream dashboard`: results and dead letters off their topics into a store of its own, and a live page over it.
//!
//! ```text
//!  kafka::follow        ingest (one thread)           store (SQLite)            serve
//! ┌──────────────┐     ┌───────────────────┐     ┌──────────────────────┐     ┌──────────────────────┐
//! │ results      │ ──> │ record: limits    │ ──> │ rows, sums, positions│ ──> │ page, API, events    │
//! │ dead letters │     │ write, retention  │     │ one transaction      │     │ token, names served  │
//! └──────────────┘     └───────────────────┘     └──────────────────────┘     └──────────────────────┘
//! ```
//!
//! Nothing is kept between the topics and the store but one batch; whatever happens, the store is where its positions say.

pub mod api;
pub mod assets;
pub mod auth;
pub mod csv;
pub mod events;
pub mod ingest;
pub mod record;
pub mod serve;
pub mod settings;
pub mod shift;
pub mod status;
pub mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};

pub use self::settings::Settings;

use self::auth::Guard;
use self::ingest::Ingest;
use self::serve::Shown;
use self::status::Status;
use self::store::Writer;
use self::store::query::Readers;
use crate::kafka;
use crate::kafka::follow::Follower;
use crate::kafka::group_lag::GroupLag;
use crate::settings::Error as SettingsError;

/// How long answers under way may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Between two questions for the workers' lag.
const LAG_INTERVAL: Duration = Duration::from_secs(3);

/// A dashboard that reads and serves.
pub struct Dashboard {
    /// Where it is served.
    pub address: SocketAddr,
    stopping: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    ingest: oneshot::Receiver<Result<(), store::Error>>,
    server: JoinHandle<std::io::Result<()>>,
}

impl Dashboard {
    /// Opens the store, and begins to read and to serve. Brokers may be away.
    ///
    /// # Errors
    /// A store, an address or a token that cannot be used, each with its fix.
    pub async fn start(settings: &crate::settings::Settings) -> Result<Self> {
        let own = &settings.dashboard;
        let token = own.token().map_err(SettingsError::Invalid)?;
        let path = own.store.clone();
        let (writer, readers) = spawn_blocking(move || {
            let writer = store::open(&path)?;
            Ok::<_, store::Error>((writer, Readers::open(&path)?))
        })
        .await??;
        let listener = TcpListener::bind(own.listen).await.with_context(|| {
            format!("cannot listen on dashboard.listen {}; choose another port, or 0 for a free one", own.listen)
        })?;
        let address = listener.local_addr()?;
        let (stopping, status) = (Arc::new(AtomicBool::new(false)), Arc::new(Status::default()));
        let (stop, stopped) = watch::channel(false);
        let (revision, told) = watch::channel(writer.revision()?);
        let shown = Shown {
            readers,
            guard: Arc::new(Guard::new(token.as_ref(), &own.hosts)),
            status: Arc::clone(&status),
            revision: told,
            stop: stopped,
            listeners: Shown::listeners(),
            retention_days: own.retention_days,
            group: settings.kafka.group.as_str().into(),
        };
        let ingest = ingest(settings, writer, Arc::clone(&status), revision, Arc::clone(&stopping))?;
        watch_lag(&settings.kafka, status, Arc::clone(&stopping))?;
        let server = tokio::spawn(serve::serve(listener, shown));
        Ok(Self { address, stopping, stop, ingest, server })
    }

    /// Waits for what makes it unable to go on.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ingest = &mut self.ingest => match ingest {
                Ok(Err(error)) => anyhow!(error).context("the dashboard cannot go on"),
                _ => anyhow!("the thread that reads the topics ended by itself"),
            },
            server = &mut self.server => anyhow!("the server ended by itself: {server:?}"),
        }
    }

    /// Reads and serves no more; the transaction under way is finished.
    ///
    /// # Errors
    /// What went wrong with the store at the end.
    pub async fn stop(self) -> Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
        let abort = self.server.abort_handle();
        if tokio::time::timeout(LAST_ANSWERS, self.server).await.is_err() {
            abort.abort();
        }
        // A broker that does not answer may hold it up; the store is where its positions say, however it ends. It is gone
        // without a word only where `failed` told it.
        let ended = tokio::time::timeout(LAST_ANSWERS, self.ingest).await.unwrap_or(Ok(Ok(())));
        Ok(ended.unwrap_or(Ok(()))?)
    }
}

fn ingest(
    settings: &crate::settings::Settings,
    writer: Writer,
    status: Arc<Status>,
    revision: watch::Sender<i64>,
    stop: Arc<AtomicBool>,
) -> Result<oneshot::Receiver<Result<(), store::Error>>> {
    let positions = writer.positions()?;
    let follow = |topic: &str, with_values| Follower::new(&settings.kafka, topic, positions.clone(), with_values);
    let ingest = Ingest {
        results: follow(&settings.kafka.output_topic, true)?,
        letters: follow(&settings.kafka.dead_letter_topic, false)?,
        writer,
        status,
        revision,
        stop,
        retention_days: settings.dashboard.retention_days,
    };
    let (ended, told) = oneshot::channel();
    std::thread::Builder::new().name("ingest".into()).spawn(move || {
        // Nobody listens only when the dashboard was dropped.
        let _ = ended.send(ingest.run());
    })?;
    Ok(told)
}

/// Asks for the lag of the workers, on a thread of its own: brokers may take long to answer.
fn watch_lag(settings: &kafka::Settings, status: Arc<Status>, stop: Arc<AtomicBool>) -> Result<()> {
    let lag = GroupLag::new(settings)?;
    std::thread::Builder::new().name("lag".into()).spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let (lag, error) = match lag.read() {
                Ok(lag) => (Some(lag), None),
                Err(error) => (None, Some(error)),
            };
            status.tell(|told| (told.lag, told.lag_error) = (lag, error));
            std::thread::sleep(LAG_INTERVAL);
        }
    })?;
    Ok(())
}
