//! `sentistream feed`: publishes posts from files to a topic, at a rate.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Common, Ended, complain};
use crate::kafka::client;
use crate::kafka::feed::Feeder;
use crate::posts::{self, Encoding, Reading};
use crate::settings::Settings;

/// Posts on their way to the broker at once.
const WINDOW: usize = 64;

pub(super) const HELP: &str = "\
Examples:
  sentistream feed photos/ --topic posts
  sentistream feed posts.csv --topic posts --rate 50 --encoding json
  SENTISTREAM__KAFKA__BROKERS=kafka:9092 sentistream feed archive.jsonl --topic posts

PATH is read as `sentistream score` reads it. A post is keyed by its id. The topic must exist.";

/// Arguments of `feed`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// An image, a folder, or a list of posts (.jsonl, .csv)
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Topic to publish to [default: `kafka.input_topic`]
    #[arg(long)]
    topic: Option<String>,
    /// Posts per second; as fast as the broker takes them without
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How posts with an image file travel; JSON lines with an image of their own travel as they are
    #[arg(long, value_enum, default_value_t = Encoding::Binary)]
    encoding: Encoding,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= 1e6);
    rate.ok_or_else(|| "give posts per second, above 0 and at most 1000000".into())
}

/// # Errors
/// A path that holds no posts, a broker or topic that cannot be used, a post the broker refuses.
pub async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let reading = Reading { encoding: arguments.encoding, most_bytes: settings.limits.record_bytes };
    let posts = posts::open(&arguments.path, reading)?;
    let topic = arguments.topic.as_ref().unwrap_or(&settings.kafka.input_topic);
    let feeder = tokio::task::block_in_place(|| Feeder::new(&settings.kafka, topic))?;
    let feeder = std::sync::Arc::new(feeder);
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {pos} posts published, {per_sec}")?);
    let mut pace = arguments.rate.map(|rate| Pace::new(rate, Instant::now()));
    let mut deliveries = JoinSet::new();
    let mut unreadable = 0;
    for post in posts {
        let post = match post {
            Ok(post) => post,
            Err(error) => {
                progress.suspend(|| complain(&format!("unreadable: {error}")));
                unreadable += 1;
                continue;
            }
        };
        if let Some(pace) = &mut pace {
            sleep_until(pace.turn(Instant::now())).await;
        }
        while deliveries.len() >= WINDOW {
            delivered(deliveries.join_next().await, &progress)?;
        }
        let delivery = feeder.send(post.key.as_deref().map(str::as_bytes), &post.value, &post.headers).await?;
        let feeder = std::sync::Arc::clone(&feeder);
        deliveries.spawn(async move { feeder.delivered(delivery).await });
    }
    while !deliveries.is_empty() {
        delivered(deliveries.join_next().await, &progress)?;
    }
    progress.finish_and_clear();
    complain(&format!("published {} posts to {topic}, {unreadable} could not be read", progress.position()));
    Ok(Ended::of_refused(unreadable))
}

type Delivered = Option<Result<Result<(), client::Error>, tokio::task::JoinError>>;

fn delivered(delivered: Delivered, progress: &ProgressBar) -> Result<()> {
    if let Some(delivered) = delivered {
        delivered??;
        progress.inc(1);
    }
    Ok(())
}

/// Spreads posts evenly over time; after a pause it does not catch up in a burst of more than a second's worth.
pub(super) struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(rate: f64, start: Instant) -> Self {
        Self { interval: Duration::from_secs_f64(1.0 / rate), next: start }
    }

    /// When the post that is ready at `now` may go.
    pub(super) fn turn(&mut self, now: Instant) -> Instant {
        let turn = self.next.max(now.checked_sub(Duration::from_secs(1)).unwrap_or(self.next));
        self.next = turn + self.interval;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posts_are_spread_evenly() {
        let start = Instant::now();
        let mut pace = Pace::new(4.0, start);
        for number in 0..9 {
            assert_eq!(pace.turn(start), start + number * Duration::from_millis(250));
        }
    }

    #[test]
    fn after_a_pause_only_a_second_is_caught_up() {
        let start = Instant::now();
        let mut pace = Pace::new(4.0, start);
        pace.turn(start);
        let late = start + Duration::from_mins(1);
        let at_once = (0..20).take_while(|_| pace.turn(late) <= late).count();
        assert_eq!(at_once, 5, "a second's worth, and the one that is due");
    }
}
