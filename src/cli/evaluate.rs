//! `sentistream evaluate`: labelled posts from files through the same pipeline as the stream's, and a report on them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use super::files::{Flow, Source, told_on_standard_error};
use super::{Common, Ended, complain};
use crate::decode::Decoder;
use crate::decode::Registry;
use crate::evaluate::{self, Cases, Labelled, Report, Reruns, Sources};
use crate::message::Outcome;
use crate::metrics::Metrics;
use crate::model::{Bundle, Model, Rerun};
use crate::posts::{self, Encoding, Reading};
use crate::result::Labelling;
use crate::scorer::Scorer;
use crate::settings::Settings;

pub(super) const HELP: &str = "\
Examples:
  sentistream evaluate labelled.csv
  sentistream evaluate posts/ --out march
  SENTISTREAM__MODEL__BUNDLE=bundles/ours sentistream evaluate labelled.jsonl --out ours

DATA is a list of posts as `sentistream score` reads it (.jsonl, .csv, or a folder with posts.jsonl or posts.csv), with a
`label` for each post: a column, or a key beside `id`. It is one of the bundle's labels (the default bundle's: negative,
neutral, positive). A CSV of your own posts may be as short as

  image,caption,label
  a.jpg,\"What a day! #beach\",positive

Posts without a label take no part; how many is told. DIR gets report.html, to open in a browser, and report.json, the same
numbers (docs/evaluation.md). The page holds texts and small pictures of the worst mistakes: share it as you share posts.
How many posts to label, and what to read off the page: docs/trial.md.";

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// A list of labelled posts (.jsonl, .csv), or a folder that holds one
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Folder for report.html and report.json; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "evaluation")]
    out: PathBuf,
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// A model that cannot be loaded, a list that cannot be read or has no labels, or a folder that cannot be written.
pub async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let data = &arguments.data;
    let reading = Reading { encoding: Encoding::Binary, most_bytes: settings.limits.record_bytes };
    let posts = posts::open(data, reading)?;
    // Before the work: a folder that cannot be written should be told at once.
    fs::create_dir_all(&arguments.out).with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let metrics = Arc::new(Metrics::new());
    Registry::check_set(settings.decode.registry.as_ref(), &metrics).await?;
    // Every post with its trace, which what was scored before does not have.
    let mut settings = settings.clone();
    settings.model.cache_bytes = 0;
    let settings = &settings;
    let (mut scorer, mut heads) = tokio::task::block_in_place(|| load(settings, &metrics))?;
    scorer.models.iter_mut().for_each(Model::keep_traces);
    let (decoder, labelling) = (Arc::clone(&scorer.decoder), scorer.labelling.clone());

    let labelled = Labelled::shared();
    let names = labelling.labels.iter().map(|(name, _)| name.clone()).collect();
    let posts = Box::new(evaluate::labelled(posts, names, Arc::clone(&labelled)));
    let sources = vec![Source::opened(data.clone(), posts)];
    let mut flow = Flow::start(settings, scorer, sources, 1, told_on_standard_error(), &metrics)?;
    let label_of = |offset| Labelled::lock(&labelled).take(offset);
    let cases = collect(&mut flow.outcomes, label_of, &decoder, &labelling, &metrics).await?;
    flow.end().await?;

    let labelled = Labelled::lock(&labelled);
    check(data, &labelled, &cases, &labelling)?;
    let left_out = labelled.unreadable + labelled.unknown_posts() + cases.refused_posts();
    let sources =
        Sources { data: data.display().to_string(), labelled: &labelled, labelling: &labelling, decoder: &decoder };
    let report = tokio::task::block_in_place(|| -> Result<Report> {
        let partners = evaluate::partners(&cases.scored);
        let reruns = rerun(&mut heads, &cases, &partners, labelling.fields.len(), &metrics)?;
        Ok(Report::new(&sources, cases, &reruns, &partners))
    })?;
    write(&arguments.out, &report)?;
    complain(&summary(&report, &arguments.out));
    Ok(Ended::of_refused(left_out))
}

fn load(settings: &Settings, metrics: &Metrics) -> Result<(Scorer, Rerun)> {
    let scorer = Scorer::load(settings, metrics)?;
    let bundle = Bundle::open(&settings.model.bundle).context("cannot use the bundle (model.bundle)")?;
    let model = scorer.models.first().context("no model was loaded")?;
    let heads = model.rerun(&bundle, &settings.model).context("cannot load the model")?;
    Ok((scorer, heads))
}

async fn collect(
    outcomes: &mut mpsc::Receiver<Outcome>,
    label_of: impl Fn(i64) -> Option<usize>,
    decoder: &Decoder,
    labelling: &Labelling,
    metrics: &Metrics,
) -> Result<Cases> {
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {pos} labelled posts scored, {per_sec}")?);
    let mut cases = Cases::default();
    while let Some(outcome) = outcomes.recv().await {
        progress.inc(1);
        let Some(label) = label_of(outcome.record.position.origin.offset) else { continue };
        if let Some(refused) = cases.add(outcome, label, decoder, labelling, metrics) {
            progress.suspend(|| complain(&format!("refused: {refused}")));
        }
    }
    progress.finish_and_clear();
    Ok(cases)
}

/// Refuses to report on nothing.
fn check(data: &Path, labelled: &Labelled, cases: &Cases, labelling: &Labelling) -> Result<()> {
    if !cases.scored.is_empty() {
        return Ok(());
    }
    let (data, names) =
        (data.display(), labelling.labels.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "));
    let (unknown, refused) = (labelled.unknown_posts(), cases.refused_posts());
    if refused > 0 {
        bail!("none of the labelled posts of {data} could be scored: {refused} were refused, each is told above");
    }
    if unknown > 0 {
        let found: Vec<String> = labelled.unknown.keys().take(5).map(|label| format!("{label:?}")).collect();
        let found = found.join(", ");
        bail!(
            "no label of {data} is one of the bundle's ({names}); found {found}: rename them, or name the bundle that knows them (model.bundle)"
        );
    }
    if labelled.unreadable > 0 && labelled.unlabelled == 0 {
        bail!("none of the {} posts of {data} could be read; each is told above", labelled.read);
    }
    Err(anyhow!(
        "none of the {} posts of {data} has a label: add a column (CSV) or key (JSONL) `label` with one of {names}",
        labelled.read
    ))
}

fn rerun(heads: &mut Rerun, cases: &Cases, partners: &[usize], fields: usize, metrics: &Metrics) -> Result<Reruns> {
    let conditions = evaluate::conditions(fields);
    let progress = ProgressBar::new((conditions.len() * cases.scored.len()) as u64);
    progress.set_style(ProgressStyle::with_template("{bar:20} {pos}/{len} posts as they might have been, {eta} left")?);
    let mut reruns = Reruns::new();
    for condition in conditions {
        let advance = |posts| progress.inc(posts);
        let answers = evaluate::rerun(heads, condition, &cases.scored, partners, metrics, advance);
        reruns.push((condition, answers.context("the model cannot go on")?));
    }
    progress.finish_and_clear();
    Ok(reruns)
}

fn write(out: &Path, report: &Report) -> Result<()> {
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    for (name, content) in [("report.json", json), ("report.html", evaluate::page(report))] {
        let path = out.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn summary(report: &Report, out: &Path) -> String {
    let (posts, accuracy, floor) = (&report.posts, &report.scores.accuracy, &report.floor);
    let refused: u64 = posts.refused.values().map(|refused| refused.posts).sum();
    format!(
        "evaluated {} of {} posts ({} without a label, {} with an unknown label, {} unreadable, {refused} refused)\n\
         accuracy {:.1}% (95% interval {:.1}% to {:.1}%), always {} {:.1}%; weighted F1 {:.3}, macro F1 {:.3}\n\
         {}",
        posts.evaluated,
        posts.read,
        posts.unlabelled,
        posts.unknown_label,
        posts.unreadable,
        100.0 * accuracy.value,
        100.0 * accuracy.low,
        100.0 * accuracy.high,
        floor.label,
        100.0 * floor.accuracy,
        report.scores.weighted_f1.value,
        report.scores.macro_f1.value,
        out.join("report.html").display(),
    )
}
