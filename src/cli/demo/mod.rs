//! `sentistream demo`: the main job with nothing set up - a broker in this process, sample posts, one worker, the dashboard -
//! and its results as they come.

mod story;
mod stream;
mod tally;

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use self::stream::{Posts, Stream};
use super::{Common, Ended, printable};
use crate::dashboard::Dashboard;
use crate::kafka::embedded::EmbeddedBroker;
use crate::kafka::security::Security;
use crate::posts::{self, Encoding, Reading};
use crate::settings::Settings;
use crate::worker::Worker;

/// Sample photographs and the posts made of them; licences in `tests/fixtures/photos/README.md`.
macro_rules! samples {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../tests/fixtures/photos/", $name)))),*]
    };
}
const SAMPLES: &[(&str, &[u8])] = samples![
    "posts.jsonl",
    "astronaut.jpg",
    "cameraman.jpg",
    "cat.jpg",
    "coffee.jpg",
    "coins.png",
    "flower.webp",
    "hubble.jpg",
    "retina.png",
    "rocket.webp",
    "temple.jpg",
];

/// The largest picture that the embedded broker takes.
const PICTURE_BYTES: usize = 4 << 20;
/// The last hours of the story are told at its own pace.
const LIVE: Duration = Duration::from_hours(12);

pub(super) const HELP: &str = "\
Examples:
  sentistream demo
  sentistream demo --photos ~/Pictures

Each line of results: label and polarity (-1 to 1), what the reading was read off - the image and each piece of metadata,
in percent - and the post. Then a story is told: three days of a café's posts, the last twelve hours at ten minutes a second.
Watch it on the dashboard, whose address is printed: what did the sentiment do, and why? On a terminal it goes on until Ctrl-C.

With --photos your own pictures are scored instead of samples and story; a posts.jsonl or posts.csv in the folder gives
captions (columns image, caption, tags, objects, scene).";

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Your own pictures instead of the samples
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// A model that cannot be loaded, a folder without pictures, or a stream that stands still.
pub async fn run(mut settings: Settings, arguments: &Arguments) -> Result<Ended> {
    let (folder, _samples) = folder(arguments.photos.as_deref())?;
    let reading = Reading { encoding: Encoding::Binary, most_bytes: PICTURE_BYTES };
    let posts = posts::open(&folder, reading)?;
    let kafka = &mut settings.kafka;
    let topics = [kafka.input_topic.clone(), kafka.output_topic.clone(), kafka.dead_letter_topic.clone()];
    let topics = topics.each_ref().map(String::as_str);
    say("starting a broker inside this process ...");
    let broker = EmbeddedBroker::start(&topics, 1)?;
    kafka.brokers = broker.brokers();
    // That of another broker.
    kafka.security = Security::default();
    settings.admin.listen = None;
    let (dashboard, _store) = dashboard(&mut settings).await?;
    let address = format!("dashboard: http://{}/?range=3d", dashboard.address);
    say(&address);
    say("warming the model up and joining the consumer group ...");
    let worker = Worker::start(&settings).await?;
    let mut stream = Stream::new(&settings.kafka, &topics)?;
    say("feeding posts; the first results come once the group has formed, about 3 seconds from now\n");
    let shown = tokio::select! {
        shown = show(&mut stream, posts, arguments.photos.is_none(), &address) => shown,
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot listen for Ctrl-C"),
    };
    shown?;
    stream.tally.end_chapter();
    worker.stopper().stop();
    worker.drained().await?;
    dashboard.stop().await?;
    say(&stream.tally.summary());
    Ok(Ended::of_refused(stream.tally.refused))
}

/// The posts one by one, then the story; on a terminal for as long as somebody looks.
async fn show(stream: &mut Stream, posts: Posts, tells_a_story: bool, address: &str) -> Result<()> {
    stream.show(posts).await?;
    let somebody_looks = io::stdout().is_terminal();
    if tells_a_story {
        let end = Timestamp::now();
        let live = if somebody_looks { end - SignedDuration::try_from(LIVE)? } else { end };
        // Again, since the results have scrolled it away.
        say(&format!("\nthree days of a café's posts: what did the sentiment do, and why?\n{address}\n"));
        let story = story::until(end);
        stream.tell(&story, live).await?;
        if somebody_looks {
            say("a post now and then from here on; Ctrl-C ends it");
            stream.go_on(&story).await?;
        }
    } else if somebody_looks {
        say(&format!("\n{address}\nCtrl-C ends it"));
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// On any free port of this machine, its store in a temporary folder.
async fn dashboard(settings: &mut Settings) -> Result<(Dashboard, TempDir)> {
    let store = TempDir::with_prefix("sentistream-demo-").context("cannot make a temporary folder")?;
    let own = &mut settings.dashboard;
    (own.listen, own.token, own.token_file) = (SocketAddr::from(([127, 0, 0, 1], 0)), None, None);
    own.store = store.path().join("dashboard.sqlite");
    Ok((Dashboard::start(settings).await?, store))
}

/// The user's folder, or the samples in a temporary one.
fn folder(photos: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    if let Some(photos) = photos {
        return Ok((photos.to_owned(), None));
    }
    let samples = TempDir::with_prefix("sentistream-demo-").context("cannot make a temporary folder")?;
    for (name, bytes) in SAMPLES {
        fs::write(samples.path().join(name), bytes).context("cannot write the samples")?;
    }
    Ok((samples.path().to_owned(), Some(samples)))
}

/// A line to watch. Nobody watching is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{}", printable(line));
}
