//! Reading the store: a few connections, each for one response at a time and each response from one transaction, with a limit on
//! how long it may take.

pub mod health;
pub mod posts;
pub mod series;
pub mod tags;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, InterruptHandle, Transaction};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::names::{self, Kind};
use super::{Error, reader};

/// Responses made at once.
const CONNECTIONS: usize = 4;
/// How long a request may wait for its turn.
const WAIT: Duration = Duration::from_secs(5);
/// How long a response may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Too many others, or too much to read.
    #[error("{0}")]
    Busy(&'static str),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// The connections.
#[derive(Clone)]
pub struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    /// On a store that is there.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let idle = (0..CONNECTIONS).map(|_| reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), turns: Arc::new(Semaphore::new(CONNECTIONS)) })
    }

    /// Runs `answer` in a transaction of its own, on a thread that may block.
    ///
    /// # Errors
    /// When its turn does not come, when it takes too long, and whatever the store says.
    pub async fn read<T: Send + 'static>(
        &self,
        answer: impl FnOnce(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let turn = timeout(WAIT, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Unanswered::Busy("too many requests at once; try again")) };
        // Every turn has its connection.
        let Some(connection) = lock(&self.idle).pop() else {
            return Err(Unanswered::Busy("no connection is left"));
        };
        let interrupt = Interrupt(Arc::new(Mutex::new(Some(connection.get_interrupt_handle()))));
        let mut lent = Lent {
            connection: Some(connection),
            idle: Arc::clone(&self.idle),
            running: Arc::clone(&interrupt.0),
            _turn: turn,
        };
        let answered = spawn_blocking(move || {
            let Some(connection) = &mut lent.connection else {
                return Err(Error::Sqlite(rusqlite::Error::InvalidQuery));
            };
            connection.transaction().map_err(Error::from).and_then(|transaction| answer(&transaction))
        });
        match timeout(LIMIT, answered).await {
            Ok(Ok(answered)) => Ok(answered?),
            Ok(Err(_)) => Err(Unanswered::Busy("the answer failed")),
            Err(_) => Err(Unanswered::Busy("the answer takes too long; ask for a shorter range")),
        }
    }
}

/// A connection that comes back however its answer ends.
struct Lent {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    running: Arc<Mutex<Option<InterruptHandle>>>,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // From here on nobody may interrupt the connection: its next answer is another's.
        lock(&self.running).take();
        lock(&self.idle).extend(self.connection.take());
    }
}

/// Ends what a connection does when nobody waits for it any more.
struct Interrupt(Arc<Mutex<Option<InterruptHandle>>>);

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(handle) = lock(&self.0).take() {
            handle.interrupt();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which posts are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of these sources; of any where there are none.
    pub sources: Vec<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// With this label.
    pub label: Option<String>,
}

/// A filter by numbers. A name that the store does not know has a number that no post has.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    pub sources: Vec<i64>,
    pub tag: Option<i64>,
    pub label: Option<i64>,
}

const NOBODY: i64 = -1;

impl Numbers {
    pub fn of(store: &Connection, filter: &Filter) -> Result<Self, Error> {
        let number = |kind, name: &str| Ok::<_, Error>(names::number_of(store, kind, name)?.unwrap_or(NOBODY));
        let one = |kind, name: &Option<String>| name.as_deref().map(|name| number(kind, name)).transpose();
        Ok(Self {
            sources: filter.sources.iter().map(|source| number(Kind::Source, source)).collect::<Result<_, _>>()?,
            tag: one(Kind::Tag, &filter.tag)?,
            label: one(Kind::Label, &filter.label)?,
        })
    }

    pub fn has_source(&self, source: i64) -> bool {
        self.sources.is_empty() || self.sources.contains(&source)
    }
}

/// A number as it is told: six digits.
pub(super) fn told(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// A sum of millionths over so many posts; `None` over none.
#[expect(clippy::cast_precision_loss, reason = "told with six digits")]
pub(super) fn share(sum: i64, posts: i64) -> Option<f64> {
    (posts > 0).then(|| told(sum as f64 / 1e6 / posts as f64))
}
