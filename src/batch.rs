//! Groups prepared posts into batches. [`Batcher`] is pure: it holds posts, knows the limits and says when a batch is due;
//! [`run`] is the stage around it, which starts a batch whenever the model is free and anything waits.
//!
//! `linger` is off (0) by default: under load batches fill by themselves while the model is busy, and without load a post
//! should not wait. Set it where larger batches are worth a delay.
//!
//! Where decoding and the model share the cores, a small batch is held back for a moment while more posts wait to be decoded:
//! no core is idle meanwhile, and what a run costs beside its posts is shared by more of them.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::mpsc::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::message::{Prepared, Record};
use crate::metrics::Metrics;

/// Limits of a batch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Most posts in a batch.
    pub max_posts: usize,
    /// Most tokens in a batch, over all fields of its posts. The first post always fits.
    pub max_tokens: usize,
    /// How long a batch that is not full waits for more posts, in milliseconds; 0 starts it as soon as the model is free.
    pub linger_ms: u64,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        if self.max_posts == 0 || self.max_posts > 1024 {
            return Err(format!("batch.max_posts is {}; set it between 1 and 1024", self.max_posts));
        }
        if self.max_tokens == 0 {
            return Err("batch.max_tokens is 0; set it to at least 1".into());
        }
        if self.linger_ms > 60_000 {
            return Err(format!("batch.linger_ms is {}; set it to at most 60000", self.linger_ms));
        }
        Ok(())
    }
}

/// How long a batch that is smaller than [`Flow::enough`] waits for posts that are still to be decoded.
const HOLD: Duration = Duration::from_millis(50);
/// How soon it is noticed that none are left.
const STEP: Duration = Duration::from_millis(5);

/// Why a batch was started; a label of `batches_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushReason {
    /// It held `max_posts`.
    Posts,
    /// The next post would have gone over `max_tokens`.
    Tokens,
    /// The model was free (and `linger`, if any, was over).
    ModelFree,
    /// No more posts will come.
    Drain,
}

impl FlushReason {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Posts => "posts",
            Self::Tokens => "tokens",
            Self::ModelFree => "model_free",
            Self::Drain => "drain",
        }
    }
}

/// What a batcher needs to know of a post.
pub trait Weighed {
    /// Tokens over all fields.
    fn tokens(&self) -> usize;
}

impl Weighed for Prepared {
    fn tokens(&self) -> usize {
        self.input.fields.iter().flatten().map(Vec::len).sum()
    }
}

/// The posts of the next batch.
#[derive(Debug)]
pub struct Batcher<T> {
    settings: Settings,
    waiting: Vec<T>,
    tokens: usize,
    oldest: Option<Instant>,
    /// The post that did not fit: the first of the batch after this one.
    overflow: Option<T>,
}

impl<T: Weighed> Batcher<T> {
    /// An empty batcher.
    pub fn new(settings: Settings) -> Self {
        Self { settings, waiting: Vec::new(), tokens: 0, oldest: None, overflow: None }
    }

    /// Whether another post may be pushed.
    pub fn has_room(&self) -> bool {
        self.overflow.is_none() && self.waiting.len() < self.settings.max_posts
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a post in; only when [`Self::has_room`].
    pub fn push(&mut self, post: T, now: Instant) {
        let tokens = post.tokens();
        if !self.waiting.is_empty() && self.tokens + tokens > self.settings.max_tokens {
            self.overflow = Some(post);
            return;
        }
        self.tokens += tokens;
        self.waiting.push(post);
        self.oldest.get_or_insert(now);
    }

    /// Why a batch may start at `now`, given that the model is free; `None`: not yet. It is worth holding back for `hold`.
    pub fn due(&self, now: Instant, hold: Duration) -> Option<FlushReason> {
        if self.overflow.is_some() {
            return Some(FlushReason::Tokens);
        }
        if self.waiting.len() >= self.settings.max_posts {
            return Some(FlushReason::Posts);
        }
        self.deadline(hold).filter(|deadline| *deadline <= now).map(|_| FlushReason::ModelFree)
    }

    /// When the batch is due even if it is not full.
    pub fn deadline(&self, hold: Duration) -> Option<Instant> {
        self.oldest.map(|oldest| oldest + hold.max(Duration::from_millis(self.settings.linger_ms)))
    }

    /// How long the first post of the batch has waited.
    pub fn waited(&self, now: Instant) -> Duration {
        self.oldest.map_or(Duration::ZERO, |oldest| now - oldest)
    }

    /// Posts that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the batch out, at least one post if any waits.
    pub fn take(&mut self, now: Instant) -> Vec<T> {
        let batch = std::mem::take(&mut self.waiting);
        self.tokens = 0;
        self.oldest = None;
        if let Some(post) = self.overflow.take() {
            self.push(post, now);
        }
        batch
    }
}

/// Posts that the model scores together.
#[derive(Debug)]
pub struct Batch<T = Prepared> {
    /// At least one.
    pub posts: Vec<T>,
    /// Given back once the model is free for another batch.
    pub ahead: OwnedSemaphorePermit,
}

/// What comes in, what goes out, and what says when.
pub struct Flow<T = Prepared, U = Record> {
    /// Posts ready for the model.
    pub posts: Receiver<T>,
    /// What is still to be decoded.
    pub undecoded: crossbeam_channel::Receiver<U>,
    /// Posts from which on a batch costs the model no less a post; 1 where nothing is to be held back.
    pub enough: usize,
    /// A permit for each batch that the model takes at once; closed when a model is gone.
    pub free: Arc<Semaphore>,
    /// To the model.
    pub batches: crossbeam_channel::Sender<Batch<T>>,
}

/// The stage: from posts into batches, each when the model is free: so a batch is made up at the last moment, of all that
/// waits. Ends when no more posts come and everything was handed on, or when a model is gone.
pub async fn run<T: Weighed, U>(settings: Settings, flow: Flow<T, U>, metrics: Arc<Metrics>) {
    let Flow { mut posts, undecoded, enough, free, batches } = flow;
    let mut waiting = Batcher::new(settings);
    let mut open = true;
    while open || !waiting.is_empty() {
        let now = Instant::now();
        let hold = if waiting.len() < enough && !undecoded.is_empty() { HOLD } else { Duration::ZERO };
        let due = if open { waiting.due(now, hold) } else { Some(FlushReason::Drain) };
        tokio::select! {
            // Posts that are there already join the batch before it starts.
            biased;
            post = posts.recv(), if open && waiting.has_room() => match post {
                Some(post) => waiting.push(post, Instant::now()),
                None => open = false,
            },
            ahead = Arc::clone(&free).acquire_owned(), if due.is_some() => {
                let (Ok(ahead), Some(reason)) = (ahead, due) else { return };
                let waited = waiting.waited(Instant::now());
                metrics.stage_seconds.with_label_values(&["batch"]).observe(waited.as_secs_f64());
                let posts = waiting.take(Instant::now());
                metrics.batches.with_label_values(&[reason.as_str()]).inc();
                #[expect(clippy::cast_precision_loss, reason = "a batch has at most 1024 posts")]
                metrics.batch_size.observe(posts.len() as f64);
                if batches.send(Batch { posts, ahead }).is_err() {
                    return;
                }
            }
            // In short steps, since what is held back for may end without a post: as a dead letter.
            () = sleep_until(waiting.deadline(hold).unwrap_or(now).min(now + STEP)), if due.is_none() && !waiting.is_empty() => {}
        }
        metrics.queue_depth.with_label_values(&["batch"]).set(i64::try_from(posts.len()).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Weighed for usize {
        fn tokens(&self) -> usize {
            *self
        }
    }

    fn settings(max_posts: usize, max_tokens: usize, linger_ms: u64) -> Settings {
        Settings { max_posts, max_tokens, linger_ms }
    }

    #[test]
    fn without_linger_one_post_is_due_at_once() {
        let mut batcher = Batcher::new(settings(4, 100, 0));
        assert_eq!(batcher.due(Instant::now(), Duration::ZERO), None, "nothing waits");
        batcher.push(1usize, Instant::now());
        assert_eq!(batcher.due(Instant::now(), Duration::ZERO), Some(FlushReason::ModelFree));
    }

    #[test]
    fn linger_holds_a_small_batch_back_from_its_oldest_post_on() {
        let mut batcher = Batcher::new(settings(4, 100, 50));
        let start = Instant::now();
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        batcher.push(1usize, start);
        batcher.push(1, after(30));
        assert_eq!(batcher.due(after(49), Duration::ZERO), None);
        assert_eq!(batcher.deadline(Duration::ZERO), Some(after(50)));
        assert_eq!(batcher.due(after(50), Duration::ZERO), Some(FlushReason::ModelFree));
    }

    #[test]
    fn a_batch_held_back_is_due_in_the_end_and_at_once_when_nothing_more_is_to_come() {
        let mut batcher = Batcher::new(settings(4, 100, 0));
        let start = Instant::now();
        batcher.push(1usize, start);
        assert_eq!(batcher.due(start, HOLD), None);
        assert_eq!(batcher.due(start + HOLD, HOLD), Some(FlushReason::ModelFree));
        assert_eq!(batcher.due(start, Duration::ZERO), Some(FlushReason::ModelFree));
    }

    #[test]
    fn a_full_batch_does_not_linger() {
        let mut batcher = Batcher::new(settings(2, 100, 1000));
        batcher.push(1usize, Instant::now());
        batcher.push(1, Instant::now());
        assert!(!batcher.has_room());
        assert_eq!(batcher.due(Instant::now(), Duration::ZERO), Some(FlushReason::Posts));
    }

    #[test]
    fn a_post_over_the_token_area_opens_the_next_batch() {
        let mut batcher = Batcher::new(settings(8, 10, 1000));
        batcher.push(6usize, Instant::now());
        batcher.push(6, Instant::now());
        assert_eq!(batcher.due(Instant::now(), Duration::ZERO), Some(FlushReason::Tokens));
        assert_eq!(batcher.take(Instant::now()), vec![6]);
        assert_eq!(batcher.take(Instant::now()), vec![6]);
        assert!(batcher.is_empty());
    }

    /// A running stage: posts in, what is undecoded, permits, batches out.
    struct Stage {
        posts: tokio::sync::mpsc::Sender<usize>,
        undecoded: crossbeam_channel::Sender<()>,
        free: Arc<Semaphore>,
        batches: crossbeam_channel::Receiver<Batch<usize>>,
    }

    impl Stage {
        fn start(enough: usize, permits: usize) -> Self {
            let (posts, posts_out) = tokio::sync::mpsc::channel(16);
            let (undecoded, undecoded_out) = crossbeam_channel::unbounded();
            let (batches_in, batches) = crossbeam_channel::unbounded();
            let free = Arc::new(Semaphore::new(permits));
            let flow = Flow {
                posts: posts_out,
                undecoded: undecoded_out,
                enough,
                free: Arc::clone(&free),
                batches: batches_in,
            };
            tokio::spawn(run(settings(4, 100, 0), flow, Arc::new(Metrics::new())));
            Self { posts, undecoded, free, batches }
        }

        async fn next(&self) -> Option<Batch<usize>> {
            let batches = self.batches.clone();
            tokio::task::spawn_blocking(move || batches.recv().ok()).await.expect("no panic")
        }
    }

    #[tokio::test]
    async fn a_small_batch_waits_while_more_is_to_be_decoded_but_not_for_ever() {
        let stage = Stage::start(2, 9);
        stage.undecoded.send(()).expect("open");
        let started = Instant::now();
        stage.posts.send(1).await.expect("open");
        assert_eq!(stage.next().await.expect("a batch").posts, [1]);
        assert!(started.elapsed() >= HOLD);
        for post in [2, 3] {
            stage.posts.send(post).await.expect("open");
        }
        assert_eq!(stage.next().await.expect("a batch").posts, [2, 3]);
    }

    #[tokio::test]
    async fn a_batch_is_made_up_when_a_model_is_free_of_all_that_waits_by_then() {
        let stage = Stage::start(1, 1);
        stage.posts.send(1).await.expect("open");
        let first = stage.next().await.expect("a batch");
        for post in [2, 3] {
            stage.posts.send(post).await.expect("open");
        }
        while stage.posts.capacity() < stage.posts.max_capacity() {
            tokio::task::yield_now().await;
        }
        assert!(stage.batches.is_empty(), "the model is busy");
        drop(first);
        assert_eq!(stage.next().await.expect("a batch").posts, [2, 3]);
    }

    #[tokio::test]
    async fn no_batch_starts_once_a_model_is_gone() {
        let stage = Stage::start(1, 1);
        stage.free.close();
        stage.posts.send(1).await.expect("open");
        assert!(stage.next().await.is_none());
        stage.posts.closed().await;
    }

    proptest! {
        #[test]
        fn posts_leave_once_in_order_within_the_limits(posts in prop::collection::vec(0usize..30, 1..200), max_posts in 1usize..9, max_tokens in 1usize..40) {
            let mut batcher = Batcher::new(settings(max_posts, max_tokens, 0));
            let mut left = Vec::new();
            let mut take = |batcher: &mut Batcher<usize>| {
                let batch = batcher.take(Instant::now());
                assert!(!batch.is_empty() && batch.len() <= max_posts);
                assert!(batch.len() == 1 || batch.iter().sum::<usize>() <= max_tokens);
                left.extend(batch);
            };
            for post in &posts {
                while !batcher.has_room() {
                    take(&mut batcher);
                }
                batcher.push(*post, Instant::now());
            }
            while !batcher.is_empty() {
                take(&mut batcher);
            }
            prop_assert_eq!(left, posts);
        }
    }
}
