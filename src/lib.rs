//! sentistream: the sentiment of an image stream.
//!
//! Posts (an image with metadata) come from Kafka, are decoded, batched, run through SentiFormer's stages in ONNX Runtime,
//! and leave as sentiment with the weight of every piece of metadata.
//!
//! ```text
//!    kafka::source          decode (pool)        batch         model (its threads)         order          kafka::publish
//!  ┌──────────────┐  R   ┌────────────────┐  P  ┌───────┐  S  ┌──────────────────┐  R   ┌───────────┐  R  ┌─────────────┐
//!  │ poll thread  │ ───> │ envelope       │ ──> │ count │ ──> │ encode           │ ───> │ offset    │ ──> │ results     │
//!  │ budget,      │      │ pixels, tokens │     │ tokens│     │ relevance, fuse  │      │ order per │     │ dead letters│
//!  │ offset ledger│      └───────┬────────┘     │ linger│     └──────────────────┘      │ partition │     │ tombstones  │
//!  └──────^───────┘              │ tombstones,  └───────┘                               └─────^─────┘     └──────┬──────┘
//!         │                      └─ refused records ──────────────────── R ───────────────────┘                  │
//!         └───────────────────────────── settled: the only edge back, what may be committed ─────────────────────┘
//! ```
//!
//! The letter on an arrow is the capacity of its channel: `R` is `limits.in_flight_records`, `P` is `batch.max_posts`, `S`
//! is one batch for each free session of the model, made up when it is free (a card's next one while it runs). A record takes a permit of the [`budget`] when it is pulled and
//! gives it back when the broker has its outcome, so what is in flight is bounded in records and bytes, whatever the lag.
//!
//! Where images by URL are fetched, [`fetch`] stands before decoding: a task for each such post, the others pass through. Before
//! that, where a schema registry is set, [`decode::registry`] finds the schema that a value is written by: a task for each post whose
//! schema is not known yet.
//!
//! What was encoded or scored before is not again: [`cache`], asked by decoding for images, by the model for texts and whole
//! posts.
//!
//! Everything between the two ends is [`pipeline`], which `sentistream score` runs too, between files and standard
//! output: the same code, the same numbers. [`message`] says what travels, [`worker`] composes source, pipeline and
//! publisher, [`cli`] is the command line.

pub mod admin;
pub mod batch;
pub mod bench;
pub mod budget;
pub mod cache;
pub mod check;
pub mod cli;
pub mod cores;
pub mod dashboard;
pub mod decode;
pub mod drive;
pub mod error;
pub mod evaluate;
pub mod feed;
pub mod fetch;
pub mod health;
pub mod kafka;
pub mod message;
pub mod metrics;
pub mod model;
pub mod offsets;
pub mod order;
pub mod pipeline;
pub mod posts;
pub mod result;
pub mod retry;
pub mod scorer;
pub mod scrape;
pub mod secret;
pub mod settings;
pub mod telemetry;
pub mod top;
pub mod traces;
pub mod tune;
pub mod worker;
