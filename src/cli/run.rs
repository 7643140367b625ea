//! `sentistream run`: a worker until SIGTERM or SIGINT, then a drain within the grace period; a second signal ends it. With
//! `--from` a past window of the topic, once.

use std::ops::Range;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::moment::moment;
use super::{Common, Ended, Usage};
use crate::kafka::backfill::Window;
use crate::model;
use crate::settings::Settings;
use crate::worker::{Stopper, Worker};

pub(super) const HELP: &str = "\
Examples:
  sentistream run --config worker.yaml
  SENTISTREAM__KAFKA__BROKERS=kafka:9092 SENTISTREAM__KAFKA__INPUT_TOPIC=instagram sentistream run
  sentistream run --from 2026-11-01 --to 2026-11-08 --group backfill-7

Start as many workers as there are partitions; they share the topic as one consumer group (kafka.group). The three topics
must exist. SIGTERM or SIGINT drains: nothing more is pulled, what is in flight is finished and committed.

--from scores what the topic holds of a past window, and ends: as it is scored by `run`, with the same result ids, as a group
of its own whose workers share the window, take over from each other and go on where they were when they are started again
(docs/backfill.md). A TIME is RFC 3339, a day, or an age such as 2h; several workers need the same times.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Score the records of this time or later, up to --to, and end
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "group")]
    from: Option<Timestamp>,
    /// The window ends before the records of this time [default: now]
    #[arg(long, value_name = "TIME", value_parser = moment, requires = "from")]
    to: Option<Timestamp>,
    /// The consumer group of the window, in place of kafka.group; one for each window
    #[arg(long, value_name = "NAME", requires = "from")]
    group: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// What made the worker unable to start or go on.
pub async fn run(mut settings: Settings, arguments: &Arguments) -> Result<Ended> {
    let (Some(from), Some(group)) = (arguments.from, &arguments.group) else {
        return work(&settings, None).await;
    };
    let times = from..arguments.to.unwrap_or_else(Timestamp::now);
    check(&times, group, &settings)?;
    settings.kafka.group.clone_from(group);
    let window = tokio::task::block_in_place(|| Window::open(&settings.kafka, &times))?;
    if is_left(&window, &times, &settings) { work(&settings, Some(window)).await } else { Ok(Ended::Done) }
}

fn check(times: &Range<Timestamp>, group: &str, settings: &Settings) -> Result<(), Usage> {
    if times.is_empty() {
        return Err(Usage(format!("--to ({}) is not after --from ({}); exchange them", times.end, times.start)));
    }
    if group.trim().is_empty() {
        return Err(Usage("--group is empty; give the window a group of its own".into()));
    }
    if *group == settings.kafka.group {
        return Err(Usage(format!(
            "--group {group} is kafka.group, the group of the workers that run all the time: it would lose its place in the topic; give the window a group of its own"
        )));
    }
    Ok(())
}

/// Says what the window is, and whether anything of it is left to do.
fn is_left(window: &Window, times: &Range<Timestamp>, settings: &Settings) -> bool {
    let (Range { start: from, end: to }, topic, group) = (times, &settings.kafka.input_topic, &settings.kafka.group);
    let (offsets, done) = (window.offsets(), window.done_before);
    if offsets == 0 {
        tracing::info!(topic, "backfill: the topic holds no record from {from} to {to}; there is nothing to do");
    } else if done == offsets {
        tracing::info!(
            topic,
            offsets,
            "backfill: group {group} has done the window before; there is nothing left to do"
        );
    } else {
        tracing::info!(
            topic,
            offsets,
            done,
            "backfill from {from} to {to}; to share it, start more workers: sentistream run --from {from} --to {to} --group {group}"
        );
    }
    done < offsets
}

async fn work(settings: &Settings, window: Option<Window>) -> Result<Ended> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stopped = if window.is_some() { Ended::CutShort } else { Ended::Done };
    let start = async {
        match window {
            Some(window) => Worker::backfill(settings, window).await,
            None => Worker::start(settings).await,
        }
    };
    let worker = tokio::select! {
        worker = start => worker?,
        _ = terminate.recv() => return Ok(stopped),
        _ = interrupt.recv() => return Ok(stopped),
    };
    tokio::spawn(stop(worker.stopper(), settings.shutdown.grace_seconds, terminate, interrupt));
    let drained = worker.drained().await?;
    Ok(match drained.unsettled {
        0 if drained.cut_short => Ended::CutShort,
        0 => Ended::Done,
        _ => Ended::GraceExpired,
    })
}

async fn stop(stopper: Stopper, grace_seconds: u64, mut terminate: Signal, mut interrupt: Signal) {
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::info!(grace_seconds, "draining; a second signal stops at once");
    stopper.stop();
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::warn!("stopped at once: posts in flight will be read again");
    model::rest();
    std::process::exit(130);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_after_it_begins_and_has_a_group_of_its_own() {
        let settings = crate::settings::load(None).expect("the defaults are valid");
        let at = |second| Timestamp::from_second(second).expect("a time");
        let refused = |times: Range<Timestamp>, group: &str| check(&times, group, &settings).err().map(|said| said.0);
        assert_eq!(refused(at(1)..at(2), "backfill-7"), None);
        assert!(refused(at(2)..at(2), "backfill-7").is_some_and(|said| said.contains("--to")));
        assert!(refused(at(1)..at(2), " ").is_some_and(|said| said.contains("--group is empty")));
        assert!(refused(at(1)..at(2), &settings.kafka.group).is_some_and(|said| said.contains("kafka.group")));
    }
}
