//! `sentistream score`: posts from files through the same pipeline as the stream's, results on standard output or, by
//! archive, in a folder (`out`).

mod archives;
mod book;
mod out;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::files::{Flow, Source, told_on_standard_error};
use super::{Common, Ended, complain};
use crate::decode::Registry;
use crate::error::one_line;
use crate::message::{Outcome, Verdict};
use crate::metrics::Metrics;
use crate::posts::{self, Encoding, Reading};
use crate::result::Labelling;
use crate::scorer::Scorer;
use crate::settings::Settings;

pub(super) const HELP: &str = "\
Examples:
  sentistream score photo.jpg
  sentistream score photos/ > results.jsonl
  sentistream score archive/ --out results
  sentistream score posts.csv | jq -r '[.id, .sentiment.label, .sentiment.polarity] | @tsv'

A folder is all images below it, or what its posts.jsonl or posts.csv lists. A JSONL line is a post as it travels on the
topic; its image may be {\"path\": \"photo.jpg\"}. A CSV has a header: image or id, caption or text, tags, objects, scene,
place, taken_at, source, published_at. Results come in the order of the posts.

With --out each archive - a PATH, or each list and folder in a PATH that holds several - has its results in DIR/NAME.jsonl and
what could not be scored in DIR/NAME.refused.jsonl. A run that was cut short goes on where it was when it is started again, and
what is complete is left alone (docs/backfill.md).";

/// Arguments of `score`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Images, folders, or lists of posts (.jsonl, .csv)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder for results by archive, made if it is not there; started again, a run goes on where it was
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// A model that cannot be loaded, a path that holds no posts, standard output closed, or a folder that cannot be written or
/// has results of something else.
pub async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    // Before the model is loaded: a misspelt path should be told at once.
    let reading = Reading { encoding: Encoding::Binary, most_bytes: settings.limits.record_bytes };
    if let Some(folder) = &arguments.out {
        return out::run(settings, &arguments.paths, folder, reading).await;
    }
    let sources = arguments.paths.iter().map(|path| Ok(Source::opened(path.clone(), posts::open(path, reading)?)));
    let sources = sources.collect::<Result<Vec<_>, posts::Error>>()?;
    let metrics = Arc::new(Metrics::new());
    Registry::check_set(settings.decode.registry.as_ref(), &metrics).await?;
    let scorer = tokio::task::block_in_place(|| Scorer::load(settings, &metrics))?;
    let labelling = scorer.labelling.clone();
    let mut flow = Flow::start(settings, scorer, sources, 1, told_on_standard_error(), &metrics)?;
    let refused = print(&mut flow.outcomes, &labelling).await?;
    Ok(Ended::of_refused(refused + flow.end().await?))
}

async fn print(outcomes: &mut mpsc::Receiver<Outcome>, labelling: &Labelling) -> Result<u64> {
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {pos} posts, {per_sec}")?);
    let mut stdout = io::stdout().lock();
    let mut refused = 0;
    while let Some(outcome) = outcomes.recv().await {
        progress.inc(1);
        let origin = &outcome.record.position.origin;
        match &outcome.verdict {
            Verdict::Scored(scored) => {
                let mut line = serde_json::to_vec(&labelling.result(scored, origin, Timestamp::now()))?;
                line.push(b'\n');
                stdout.write_all(&line)?;
            }
            Verdict::Refused { refusal, .. } => {
                let key = outcome.record.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned());
                progress.suspend(|| {
                    complain(&format!("refused: {} ({origin}): {refusal}", one_line(&key.unwrap_or_default())));
                });
                refused += 1;
            }
            Verdict::Tombstone => {}
        }
    }
    progress.finish_and_clear();
    Ok(refused)
}
