//! Behaviour end to end: real photographs, the default bundle, and a real Kafka broker. Tests that need the broker are
//! ignored by a plain `cargo test`; `make test` starts one and runs them all.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects and fails where it is not so"
)]

mod admin;
mod attach;
mod backfill;
mod bench;
mod chaos;
mod check;
mod command_line;
mod dashboard;
mod dead_letters;
mod deploy;
mod end_to_end;
mod evaluate;
mod exactly_once;
mod feed;
mod fetch;
mod hostile_corpus;
mod hostile_input;
mod metrics;
mod operate;
mod overload;
mod page;
mod prometheus;
mod readme;
mod rebalance;
mod registry;
mod retention;
mod same_numbers;
mod secured;
mod shutdown;
mod support;
mod top;
mod traces;
mod unavailable;
