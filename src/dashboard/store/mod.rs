//! The dashboard's store: one SQLite file. One [`Writer`] (`write`), many readers (`query`); rows and the offsets behind them are
//! written in the same transaction, and every response is read in one.

pub mod names;
pub mod query;
pub mod range;
pub mod retention;
pub mod row;
pub mod schema;
pub mod sums;
pub mod write;

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use self::write::Writer;

/// How long a reader may wait for another connection: only while a store is opened.
const BUSY: Duration = Duration::from_secs(5);

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error(
        "the store {0} is in use by another dashboard; stop that one, or give this one a store of its own (dashboard.store)"
    )]
    InUse(PathBuf),
    /// Some other file.
    #[error("{0} is a database, but no store of a dashboard; give dashboard.store another path")]
    Foreign(PathBuf),
    /// A store of another version.
    #[error(
        "the store {path} has version {found}, and this sentistream knows version {known}; run the newer sentistream, or move the file away: the dashboard then reads the topics from their beginning"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: i64,
        /// What is known here.
        known: i64,
    },
    /// Damaged, or no database at all.
    #[error(
        "the store {path} is damaged or no database ({source}); move it away, with its -wal and -shm files: the dashboard then reads the topics from their beginning"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The folder or the lock file.
    #[error(
        "the store {path} cannot be opened: {source}; dashboard.store says where it is, and its folder must exist and be writable"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Anything else that SQLite says.
    #[error("the store cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that only another program can have written.
    #[error("the store holds what it should not: {0}")]
    Content(#[from] serde_json::Error),
}

impl Error {
    /// Whether no later try will do: the file itself is wrong.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(error) => is_damage(error),
            Self::Damaged { .. } | Self::Content(_) => true,
            _ => false,
        }
    }
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Opens the store, or makes it, for the one process that may write to it.
///
/// # Errors
/// A file that is in use, damaged, of another version or none of ours.
pub fn open(path: &Path) -> Result<Writer, Error> {
    let lock = lock(path)?;
    let damaged = |error: Error| match error {
        Error::Sqlite(source) if is_damage(&source) => Error::Damaged { path: path.to_owned(), source },
        error => error,
    };
    open_locked(path, lock).map_err(damaged)
}

fn open_locked(path: &Path, lock: File) -> Result<Writer, Error> {
    // Ids, sources and tags of posts are nobody else's to read; what SQLite makes beside it is as open as the file.
    private(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // A crash of the machine may cost the last transactions, with their offsets: they are read again.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 8000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -131072; PRAGMA temp_store = MEMORY;",
    )?;
    schema::prepare(&mut connection, path)?;
    Ok(Writer::new(connection, lock))
}

/// The file, made readable for its owner alone where it is not there.
fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Held as long as the writer lives, and let go by the system however that ends.
fn lock(path: &Path) -> Result<File, Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |source| Error::Open { path: path.to_owned(), source };
    let file = private(Path::new(&name)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// A connection that only reads.
fn reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA cache_size = -32768; PRAGMA temp_store = MEMORY;")?;
    Ok(connection)
}
