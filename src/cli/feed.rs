//! `sentistream feed`: publishes posts from files, folders, feeds and buckets to a topic, at a rate, and remembers what the
//! broker has.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{Common, Ended, complain};
use crate::feed::state::State;
use crate::feed::{self, Item, Mark, Output, Source, Way, What};
use crate::kafka::client;
use crate::kafka::feed::Feeder;
use crate::posts::{Encoding, Reading, SourcePost};
use crate::settings::Settings;

/// Posts on their way to the broker at once.
const WINDOW: usize = 64;
/// Items that sources may be ahead.
const AHEAD: usize = 4;
/// How often the state is written at most.
const SAVED_EVERY: Duration = Duration::from_secs(1);

pub(super) const HELP: &str = "\
Examples:
  sentistream feed photos/ --topic posts
  sentistream feed posts.csv --topic posts --rate 50 --encoding json
  sentistream feed incoming/ --topic posts --follow --state incoming.state
  sentistream feed https://example.com/feed.xml --topic posts --follow --state feed.state
  AWS_REGION=eu-central-1 sentistream feed s3://bucket/2026/ --topic posts --state bucket.state
  SENTISTREAM__KAFKA__BROKERS=kafka:9092 sentistream feed archive.jsonl --topic posts

Sources: an image, a folder, a list of posts (.jsonl .csv), a file with RSS or Atom (.xml .rss .atom), an archive of
Mastodon or Bluesky (.json), a feed by http:// or https://, the images of a bucket (s3://BUCKET/PREFIX; credentials as
the AWS tools have them, in the environment). docs/attach.md walks through each. A post is keyed by its id. The topic must
exist. With --state what the broker has is remembered: started again, it goes on behind that. SIGTERM or SIGINT ends it
once the broker has what is on its way.";

/// Arguments of `feed`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where posts come from: paths, http(s):// feeds, s3:// buckets
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Topic to publish to [default: `kafka.input_topic`]
    #[arg(long)]
    topic: Option<String>,
    /// Posts per second; as fast as the broker takes them without
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Go on with what comes later: in folders, .jsonl lists, feeds by HTTP and buckets
    #[arg(long)]
    follow: bool,
    /// Seconds between two looks with --follow [default: 1 for files, 30 for buckets, 300 for feeds by HTTP]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "follow")]
    poll_seconds: Option<Duration>,
    /// File that remembers what was published; made where it is not there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// How posts with an image file travel; JSON lines with an image of their own, and images by URL, travel as JSON
    #[arg(long, value_enum, default_value_t = Encoding::Binary)]
    encoding: Encoding,
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "give posts per second, 0.001 to 1000000".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give seconds, 0.1 to 86400".into())
}

/// # Errors
/// A source that holds no posts, a state of something else, a broker or topic that cannot be used, a post the broker refuses.
pub async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let sources = arguments.sources.iter().map(|text| Source::of(text, arguments.follow));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let topic = arguments.topic.as_ref().unwrap_or(&settings.kafka.input_topic);
    let names = || arguments.sources.iter().map(|text| feed::name(text)).collect();
    let state = arguments.state.as_ref().map(|path| State::open(path, topic, names())).transpose()?;
    // A broker refuses a batch as a whole: one by one, only what is too large itself is.
    let feeder = Arc::new(block_in_place(|| Feeder::one_by_one(&settings.kafka, topic))?);
    let reading = Reading { encoding: arguments.encoding, most_bytes: settings.limits.record_bytes };
    let way = Way { reading, follow: arguments.follow, poll: arguments.poll_seconds };
    let progress = ProgressBar::new_spinner();
    progress.set_style(ProgressStyle::with_template("{spinner} {pos} posts published, {per_sec}")?);
    let pace = arguments.rate.map(|rate| Pace::new(rate, Instant::now()));
    let items = start(sources, state.as_ref(), way);
    let mut feeding = Feeding { feeder, state, pace, progress, counts: Counts::default(), sent: FuturesOrdered::new() };
    let stop = pin!(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            std::process::exit(130);
        });
    });
    let ended = feeding.publish(items, stop).await;
    // What was published before a failure is remembered too. Where a source failed, the broker still takes what is on its way.
    let is_the_brokers = ended.as_ref().is_err_and(anyhow::Error::is::<client::Error>);
    let finished = feeding.finish(!is_the_brokers).await;
    feeding.progress.finish_and_clear();
    let ended = ended.and_then(|how| finished.map(|()| how));
    let how = ended.as_ref().map_or("; stopped by a failure", |how| how);
    complain(&format!("published {} posts to {topic}{}{how}", feeding.progress.position(), feeding.counts));
    ended?;
    Ok(Ended::of_refused(feeding.counts.refused()))
}

/// Starts the sources: side by side where each goes on for ever, else one behind the other.
fn start(sources: Vec<Source>, state: Option<&State>, way: Way) -> mpsc::Receiver<Item> {
    let (items, incoming) = mpsc::channel(AHEAD);
    let places = sources.into_iter().enumerate().map(|(number, source)| {
        (source, state.and_then(|state| state.place(number)), Output { source: number, items: items.clone() })
    });
    let runs = places.map(|(source, place, out)| source.run_to_end(place, way, out)).collect::<Vec<_>>();
    if way.follow {
        for run in runs {
            drop(tokio::spawn(run));
        }
    } else {
        tokio::spawn(async move {
            for run in runs {
                run.await;
            }
        });
    }
    incoming
}

/// What became of an item, once the broker has answered where it was a post.
struct Settled {
    source: usize,
    mark: Mark,
    is_post: bool,
    /// The line that says why it is not published.
    too_large: Option<String>,
}

/// Posts that wait for their turn.
struct Waiting {
    turn: Instant,
    post: SourcePost,
    source: usize,
    mark: Mark,
}

struct Feeding {
    feeder: Arc<Feeder>,
    state: Option<State>,
    pace: Option<Pace>,
    progress: ProgressBar,
    counts: Counts,
    /// Settled in the order of the items, and so remembered in that order.
    sent: FuturesOrdered<BoxFuture<'static, Result<Settled, client::Error>>>,
}

impl Feeding {
    /// Until the sources or the caller say that it is enough; how that was.
    async fn publish(
        &mut self,
        mut items: mpsc::Receiver<Item>,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<&'static str> {
        let mut saving = interval(SAVED_EVERY);
        saving.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut waiting: Option<Waiting> = None;
        loop {
            let has_room = self.sent.len() < WINDOW && waiting.is_none();
            let turn = waiting.as_ref().map_or_else(Instant::now, |waiting| waiting.turn);
            tokio::select! {
                biased;
                () = &mut stop => return Ok("; stopped by a signal"),
                _ = saving.tick() => self.save()?,
                Some(settled) = self.sent.next(), if !self.sent.is_empty() => self.settle(settled?),
                () = sleep_until(turn), if waiting.is_some() => {
                    if let Some(Waiting { post, source, mark, .. }) = waiting.take() {
                        self.send(post, source, mark).await?;
                    }
                }
                item = items.recv(), if has_room => match item {
                    Some(item) => waiting = self.take(item).await?,
                    None => return Ok(""),
                },
            }
        }
    }

    async fn take(&mut self, item: Item) -> Result<Option<Waiting>> {
        let Item { source, what, mark } = item;
        match what {
            What::Post(post) => {
                let Some(pace) = &mut self.pace else {
                    self.send(post, source, mark).await?;
                    return Ok(None);
                };
                return Ok(Some(Waiting { turn: pace.turn(Instant::now()), post, source, mark }));
            }
            What::Skipped(why) => *self.counts.skipped.entry(why).or_default() += 1,
            What::Unreadable(why) => {
                self.tell(&format!("unreadable: {why}"));
                self.counts.unreadable += 1;
            }
            What::Told(line) => self.tell(&line),
            What::Nothing => {}
            What::Failed(error) => return Err(error.into()),
        }
        self.push(ready(Ok(Settled { source, mark, is_post: false, too_large: None })));
        Ok(None)
    }

    async fn send(&mut self, post: SourcePost, source: usize, mark: Mark) -> Result<()> {
        let key = post.key.as_deref();
        let too_large = format!(
            "refused: {} is larger than the broker takes: raise max.message.bytes of the topic",
            key.unwrap_or("a post without an id")
        );
        let settled = move |too_large| Settled { source, mark, is_post: true, too_large };
        match self.feeder.send(key.map(str::as_bytes), &post.value, &post.headers).await {
            Ok(delivery) => {
                let feeder = Arc::clone(&self.feeder);
                self.push(async move {
                    match feeder.delivered(delivery).await {
                        Err(error) if error.is_too_large() => Ok(settled(Some(too_large))),
                        delivered => delivered.map(|()| settled(None)),
                    }
                });
            }
            Err(error) if error.is_too_large() => self.push(ready(Ok(settled(Some(too_large))))),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn push(&mut self, settled: impl Future<Output = Result<Settled, client::Error>> + Send + 'static) {
        self.sent.push_back(Box::pin(settled));
    }

    fn settle(&mut self, settled: Settled) {
        if let Some(why) = &settled.too_large {
            self.tell(why);
            self.counts.too_large += 1;
        } else if settled.is_post {
            self.progress.inc(1);
        }
        if let Some(state) = &mut self.state {
            state.remember(settled.source, settled.mark);
        }
    }

    /// Waits for what is on its way, unless the broker failed at something before it, and remembers what it has.
    async fn finish(&mut self, waits: bool) -> Result<()> {
        while waits && !self.sent.is_empty() {
            match self.sent.next().await {
                Some(Ok(settled)) => self.settle(settled),
                Some(Err(error)) => {
                    self.save()?;
                    return Err(error.into());
                }
                None => break,
            }
        }
        self.save()
    }

    fn save(&mut self) -> Result<()> {
        if let Some(state) = &mut self.state {
            block_in_place(|| state.save())?;
        }
        Ok(())
    }

    fn tell(&self, line: &str) {
        self.progress.suspend(|| complain(line));
    }
}

/// What was not published.
#[derive(Default)]
struct Counts {
    skipped: BTreeMap<&'static str, u64>,
    unreadable: u64,
    too_large: u64,
}

impl Counts {
    fn refused(&self) -> u64 {
        self.unreadable + self.too_large
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.skipped.is_empty() {
            let why: Vec<String> = self.skipped.iter().map(|(why, count)| format!("{why}: {count}")).collect();
            write!(f, ", skipped {} ({})", self.skipped.values().sum::<u64>(), why.join(", "))?;
        }
        if self.too_large > 0 {
            write!(f, ", {} were too large for the broker", self.too_large)?;
        }
        write!(f, ", {} could not be read", self.unreadable)
    }
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
    fn a_rate_is_one_that_can_be_kept() {
        for text in ["1e-20", "0", "-1", "NaN", "inf", "1e7", "x"] {
            assert!(rate(text).expect_err("refused").contains("0.001"), "{text}");
        }
        let slowest = Pace::new(rate("0.001").expect("taken"), Instant::now());
        assert_eq!(slowest.interval, Duration::from_secs(1000));
    }

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

    #[test]
    fn what_was_not_published_is_told_by_reason() {
        let mut counts = Counts { unreadable: 1, ..Counts::default() };
        assert_eq!(counts.to_string(), ", 1 could not be read");
        counts.skipped.extend([("no image", 2), ("a boost", 1)]);
        assert_eq!(counts.to_string(), ", skipped 3 (a boost: 1, no image: 2), 1 could not be read");
    }
}
