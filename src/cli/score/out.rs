//! `sentistream score --out`: archives into a folder, several at a time through the one pipeline; what is done already is
//! left out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::block_in_place;

use super::archives::{self, Archive};
use super::book::{Book, Subject};
use crate::cli::files::{Flow, Source, Tell, Told};
use crate::cli::{Ended, complain};
use crate::decode::Registry;
use crate::metrics::Metrics;
use crate::posts::{self, Reading};
use crate::result::Labelling;
use crate::scorer::Scorer;
use crate::settings::Settings;

/// Archives read at a time: reading waits for disks, and scoring for none of them.
const AT_A_TIME: usize = 4;
/// Unreadable posts of an archive that are held, while posts before them are on their way.
const MOST_HELD: usize = 10_000;
const HELD_PAUSE: Duration = Duration::from_millis(10);

type Books = Arc<Vec<Mutex<Book>>>;

pub(super) async fn run(settings: &Settings, paths: &[PathBuf], folder: &Path, reading: Reading) -> Result<Ended> {
    let archives = archives::find(paths, reading)?;
    let _lock = block_in_place(|| claim(folder, paths))?;
    let metrics = Arc::new(Metrics::new());
    Registry::check_set(settings.decode.registry.as_ref(), &metrics).await?;
    let scorer = block_in_place(|| Scorer::load(settings, &metrics))?;
    let labelling = scorer.labelling.clone();
    let books = block_in_place(|| open(settings, &archives, folder, &labelling))?;
    let before: i64 = books.iter().map(|book| lock(book).posts()).sum();
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {pos} posts, {per_sec}")?);

    let sources = archives.iter().zip(books.iter()).map(|(archive, book)| source(archive, &lock(book), reading));
    let mut flow = Flow::start(settings, scorer, sources.collect(), AT_A_TIME, tell(&books), &metrics)?;
    while let Some(outcome) = flow.outcomes.recv().await {
        let number = usize::try_from(outcome.record.position.assignment.generation)?;
        let book = books.get(number).context("outcomes are of the archives")?;
        block_in_place(|| lock(book).enter(&outcome, &labelling))?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    let ended = flow.end().await;
    block_in_place(|| books.iter().try_for_each(|book| lock(book).keep()))?;
    complain(&summary(&books, before, folder));
    ended?;
    Ok(Ended::of_refused(books.iter().map(|book| lock(book).counts().1).sum()))
}

/// Makes the folder ours for as long as the file is open.
fn claim(folder: &Path, paths: &[PathBuf]) -> Result<File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let out = fs::canonicalize(folder)?;
    if let Some(path) = paths.iter().find(|path| fs::canonicalize(path).is_ok_and(|path| out.starts_with(path))) {
        bail!(
            "--out {} lies in {}, whose posts are scored; choose a folder elsewhere",
            folder.display(),
            path.display()
        );
    }
    let path = folder.join(".lock");
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if lock.try_lock().is_err() {
        bail!("another run writes to {}; wait until it ends, or choose another --out", folder.display());
    }
    Ok(lock)
}

fn open(settings: &Settings, archives: &[Archive], folder: &Path, labelling: &Labelling) -> Result<Books> {
    let book = |archive: &Archive| {
        let of = Subject {
            path: archive.path.to_string_lossy().into_owned(),
            input: archives::fingerprint(&archive.path)?,
            bundle: labelling.digest.clone(),
            effects: settings.model.effects,
        };
        Ok(Mutex::new(Book::open(folder, &archive.name, &of)?))
    };
    Ok(Arc::new(archives.iter().map(book).collect::<Result<_>>()?))
}

fn source(archive: &Archive, book: &Book, reading: Reading) -> Source {
    let (path, is_complete) = (archive.path.clone(), book.is_complete());
    Source {
        path: archive.path.clone(),
        open: Box::new(
            move || if is_complete { Ok(Box::new(std::iter::empty())) } else { posts::open(&path, reading) },
        ),
        skip: usize::try_from(book.posts()).unwrap_or(usize::MAX),
    }
}

fn tell(books: &Books) -> Tell {
    let books = Arc::clone(books);
    Box::new(move |number, told| {
        let book = books.get(number).context("sources are the archives")?;
        if lock(book).is_complete() {
            return Ok(());
        }
        match told {
            Told::Unreadable(post, why) => {
                while lock(book).held() >= MOST_HELD {
                    std::thread::sleep(HELD_PAUSE);
                }
                lock(book).enter_unreadable(post, why.to_string())
            }
            Told::End(posts) => lock(book).end(posts),
        }
    })
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn summary(books: &Books, before: i64, folder: &Path) -> String {
    let (mut posts, mut results, mut refused) = (0, 0, 0);
    for book in books.iter() {
        let (book_results, book_refused) = lock(book).counts();
        (posts, results, refused) = (posts + lock(book).posts(), results + book_results, refused + book_refused);
    }
    format!(
        "{posts} posts of {} archives in {}: {results} results, {refused} refused; {before} of the posts were done before",
        books.len(),
        folder.display()
    )
}
