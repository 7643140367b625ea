//! What is fed, and the feeding: records made from a seed and a running number, published without a gap while faults
//! happen. Few keys, so that their order can be told; some records are poison, some tombstones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::util::Timeout;

use super::watch::Progress;
use crate::support::kafka::{Topics, owned_headers};
use crate::support::photos::{TestPost, posts};
use crate::support::{PATIENCE, repository};

const KEYS: u32 = 24;
/// The running number of an input record, in a header: dead letters keep it.
pub const NUMBER: &str = "chaos.number";
/// Larger samples are left out: a long run should fit on any disk.
const LARGEST: usize = 24 * 1024;

/// What should become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Post,
    Poison,
    Tombstone,
}

/// An input record.
pub struct Fed {
    pub kind: Kind,
    pub partition: i32,
    pub post: TestPost,
}

/// Makes the records: the same seed and number make the same one.
pub struct Records {
    seed: u64,
    partitions: u32,
    photographs: Vec<TestPost>,
    bomb: Vec<u8>,
}

impl Records {
    pub fn new(seed: u64, partitions: i32) -> Self {
        let fits = |post: &TestPost| post.value.as_ref().is_some_and(|value| value.len() < LARGEST);
        let photographs: Vec<TestPost> = posts("chaos", 120).into_iter().filter(fits).collect();
        assert!(photographs.len() > 20, "{} small photographs", photographs.len());
        let bomb = std::fs::read(repository("tests/fixtures/hostile/30000x30000.png")).expect("fixture");
        Self { seed, partitions: partitions.unsigned_abs(), photographs, bomb }
    }

    pub fn record(&self, number: u64) -> Fed {
        let mut random = Rng::with_seed(self.seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let key = random.u32(0..KEYS);
        let kind = match random.u8(0..100) {
            0 => Kind::Poison,
            1 => Kind::Tombstone,
            _ => Kind::Post,
        };
        let photograph = &self.photographs[random.usize(0..self.photographs.len())];
        let mut post = match kind {
            Kind::Post => photograph.clone(),
            Kind::Poison => self.poison(&mut random),
            Kind::Tombstone => TestPost::tombstone(""),
        };
        post.key = Some(format!("key-{key}").into_bytes());
        post.headers.push((NUMBER.into(), number.to_string().into_bytes()));
        Fed { kind, partition: i32::try_from(key % self.partitions).expect("few"), post }
    }

    fn poison(&self, random: &mut Rng) -> TestPost {
        let jpeg = || self.photographs.iter().find(|post| has_type(post, b"image/jpeg")).expect("a JPEG").clone();
        match random.u8(0..5) {
            0 => TestPost::raw("", b"{ not json"),
            1 => TestPost::raw("", b""),
            2 => TestPost::raw("", "[".repeat(1_000).as_bytes()),
            3 => {
                let mut cut = jpeg();
                cut.value.iter_mut().for_each(|value| value.truncate(value.len() / 2));
                cut
            }
            _ => TestPost { value: Some(self.bomb.clone()), ..jpeg() },
        }
    }
}

fn has_type(post: &TestPost, content_type: &[u8]) -> bool {
    post.headers.iter().any(|(key, value)| key == "content-type" && value == content_type)
}

/// How it is fed.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub per_second: u32,
    /// No more than so many wait for their outcome.
    pub backlog: u64,
}

/// Feeds on a thread of its own.
pub struct Feeder {
    stop: Arc<AtomicBool>,
    poisons: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Feeder {
    pub fn start(topics: &Topics, records: Arc<Records>, progress: Arc<Progress>, pace: Pace) -> Self {
        let (stop, poisons) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &topics.brokers)
            .set("client.id", "feeder")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .set("reconnect.backoff.max.ms", "200");
        let producer = config.create_with_context(Delivered::default()).expect("producer");
        let feeding = Feeding { topic: topics.name.clone(), producer, records, progress, pace };
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&poisons));
        let thread = std::thread::spawn(move || feeding.run(&stopped, &counted));
        Self { stop, poisons, thread }
    }

    /// Poison records fed so far.
    pub fn poisons(&self) -> u64 {
        self.poisons.load(Ordering::Relaxed)
    }

    /// Stops, and tells how many records were fed: those numbered below, each of which the broker has.
    pub fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the feeder fed")
    }
}

#[derive(Default)]
struct Delivered(AtomicU64);

impl rdkafka::ClientContext for Delivered {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            panic!("the feeder could not deliver: {error}");
        }
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Feeding {
    topic: String,
    producer: BaseProducer<Delivered>,
    records: Arc<Records>,
    progress: Arc<Progress>,
    pace: Pace,
}

impl Feeding {
    fn run(self, stop: &AtomicBool, poisons: &AtomicU64) -> u64 {
        const TICKS: u32 = 20;
        let (mut fed, mut tombstones) = (0_u64, 0_u64);
        while !stop.load(Ordering::Relaxed) {
            // The pace of a feed that never pauses, not a wait for something.
            self.producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_secs(1) / TICKS);
            for _ in 0..self.pace.per_second / TICKS {
                if (fed - tombstones).saturating_sub(self.progress.outcomes()) >= self.pace.backlog {
                    break;
                }
                let record = self.records.record(fed);
                self.send(&record);
                fed += 1;
                tombstones += u64::from(record.kind == Kind::Tombstone);
                poisons.fetch_add(u64::from(record.kind == Kind::Poison), Ordering::Relaxed);
            }
        }
        self.producer.flush(PATIENCE).expect("what was fed is delivered");
        assert_eq!(self.producer.context().0.load(Ordering::Relaxed), fed, "every record was delivered");
        fed
    }

    fn send(&self, fed: &Fed) {
        let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).partition(fed.partition);
        record = record.headers(owned_headers(&fed.post));
        record.key = fed.post.key.as_deref();
        record.payload = fed.post.value.as_deref();
        while let Err((error, again)) = self.producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            self.producer.poll(Timeout::After(Duration::from_millis(20)));
            record = again;
        }
    }
}
