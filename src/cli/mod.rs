//! The command line: one file per subcommand, and what their exit codes mean.

pub mod bench;
pub mod check;
pub mod dashboard;
pub mod demo;
pub mod dlq;
pub mod evaluate;
pub mod feed;
mod files;
mod moment;
pub mod run;
pub mod score;
pub mod top;
pub mod tune;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::bench::ceiling;
use crate::error::one_line;
use crate::kafka::client;
use crate::settings::{self, Settings};
use crate::{model, telemetry};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the error on standard error says what and how to mend it; or `check` found an error
  2  wrong usage or settings
  3  done, but some posts could not be scored (score, evaluate, demo), read (feed) or replayed (dlq); each is told on standard error
  4  stopped, but the grace period ended with posts in flight; they will be read again
  5  stopped before the window of --from was done (run); started again it goes on
  130  stopped at once by a second signal

Settings: built-in defaults, then the YAML file of --config, then the environment: SENTISTREAM__KAFKA__BROKERS=host:9092
sets kafka.brokers. config/default.yaml lists every option.";

/// Reads the sentiment of an image stream: posts (an image with metadata) come from Kafka, sentiment and the weight of
/// every piece of metadata go back.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a worker: a member of a consumer group that scores posts until it is stopped
    #[command(after_help = run::HELP)]
    Run(run::Arguments),
    /// See beforehand whether a start would succeed: settings, brokers, topics, permissions, bundle; `--create` makes missing topics
    #[command(after_help = check::HELP)]
    Check(check::Arguments),
    /// Score images, folders or lists of posts from files; results as JSON lines on standard output
    #[command(after_help = score::HELP)]
    Score(score::Arguments),
    /// Measure how good the model is on labelled posts of your own; a report for people and one for programs
    #[command(after_help = evaluate::HELP)]
    Evaluate(evaluate::Arguments),
    /// Publish posts to a topic: from files, folders as they grow, feeds, archives and buckets
    #[command(after_help = feed::HELP)]
    Feed(feed::Arguments),
    /// Serve a live page over the results, and an API behind it
    #[command(after_help = dashboard::HELP)]
    Dashboard(dashboard::Arguments),
    /// Look at the dead letters, and put them back on the input topic
    Dlq(dlq::Arguments),
    /// See how workers are doing: throughput, lag, stages, dead letters, live on a terminal
    #[command(after_help = top::HELP)]
    Top(top::Arguments),
    /// Measure a worker against the ceiling of this hardware, and against other programs, on a broker
    #[command(after_help = bench::HELP)]
    Bench(bench::Arguments),
    /// The ceiling, which `bench` starts as a process of its own
    #[command(hide = true)]
    BenchCeiling {
        #[command(flatten)]
        ceiling: ceiling::Arguments,
        #[command(flatten)]
        common: Common,
    },
    /// Find the threads, sessions and batches that suit this machine, for a latency
    #[command(after_help = tune::HELP)]
    Tune(tune::Arguments),
    /// See it work with nothing set up: a broker inside this process, sample posts, one worker
    #[command(after_help = demo::HELP)]
    Demo(demo::Arguments),
}

/// What every subcommand takes.
#[derive(Debug, Args)]
pub struct Common {
    /// YAML file with settings that override the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// How a command ended when nothing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything was done.
    Done,
    /// Some posts were refused.
    SomeRefused,
    /// The grace period ended with posts in flight.
    GraceExpired,
    /// A backfill was stopped before its window was done.
    CutShort,
}

impl Ended {
    fn of_refused(refused: u64) -> Self {
        if refused == 0 { Self::Done } else { Self::SomeRefused }
    }
}

/// Runs the command and turns how it ended into an exit code; the one place that prints an error.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = cli.dispatch();
    model::rest();
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::SomeRefused) => ExitCode::from(3),
        Ok(Ended::GraceExpired) => ExitCode::from(4),
        Ok(Ended::CutShort) => ExitCode::from(5),
        // Whoever read our output has had enough, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::from(if is_settings(&error) { 2 } else { 1 })
        }
    }
}

fn is_settings(error: &anyhow::Error) -> bool {
    error.is::<settings::Error>()
        || error.is::<Usage>()
        || matches!(error.downcast_ref(), Some(client::Error::Security(_)))
}

/// Arguments that contradict each other or the settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl Cli {
    fn dispatch(self) -> anyhow::Result<Ended> {
        let common = match &self.command {
            Command::Run(arguments) => &arguments.common,
            Command::Check(arguments) => &arguments.common,
            Command::Score(arguments) => &arguments.common,
            Command::Evaluate(arguments) => &arguments.common,
            Command::Feed(arguments) => &arguments.common,
            Command::Dashboard(arguments) => &arguments.common,
            Command::Dlq(arguments) => arguments.common(),
            Command::Top(arguments) => &arguments.common,
            Command::Bench(arguments) => &arguments.common,
            Command::BenchCeiling { common, .. } => common,
            Command::Tune(arguments) => &arguments.common,
            Command::Demo(arguments) => &arguments.common,
        };
        let mut settings = settings::load(common.config.as_deref())?;
        if !matches!(self.command, Command::Run(_) | Command::Dashboard(_))
            && std::env::var_os("SENTISTREAM__LOG__LEVEL").is_none()
        {
            // These print what they do; a library's log lines would only stand between.
            "warn".clone_into(&mut settings.log.level);
        }
        telemetry::start(&settings.log);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(self.command.run(settings));
        runtime.shutdown_background();
        ended
    }
}

impl Command {
    async fn run(self, settings: Settings) -> anyhow::Result<Ended> {
        match self {
            Self::Run(arguments) => run::run(settings, &arguments).await,
            Self::Check(arguments) => check::run(&settings, &arguments).await,
            Self::Score(arguments) => score::run(&settings, &arguments).await,
            Self::Evaluate(arguments) => evaluate::run(&settings, &arguments).await,
            Self::Feed(arguments) => feed::run(&settings, &arguments).await,
            Self::Dashboard(_) => dashboard::run(&settings).await,
            Self::Dlq(arguments) => dlq::run(&settings, &arguments).await,
            Self::Top(arguments) => top::run(&settings, &arguments),
            Self::Bench(arguments) => bench::run(&settings, arguments).await,
            Self::BenchCeiling { ceiling, .. } => bench::run_ceiling(&settings, &ceiling),
            Self::Tune(arguments) => tune::run(&settings, &arguments).await,
            Self::Demo(arguments) => demo::run(settings, &arguments).await,
        }
    }
}

/// A line for the person at the terminal, beside the results.
#[expect(clippy::print_stderr, reason = "this is the command line")]
fn complain(line: &str) {
    eprintln!("{}", printable(line));
}

/// Texts of posts are not to steer a terminal, nor to look like lines of ours. Errors of ours may have several.
fn printable(line: &str) -> String {
    line.split('\n').map(one_line).collect::<Vec<_>>().join("\n")
}
