//! Everything that speaks to Kafka, and the only place that names `rdkafka`.
//!
//! [`source`] pulls records as a member of a consumer group ([`group`] answers its rebalances, [`membership`] is what transactions need of it, [`lag`] says how far behind it is). Outcomes leave as [`letter`]s
//! by [`publish`] (at least once) or by [`transaction`] (exactly once), and [`settle`] tells the source. [`backfill`] is a past window of the topic, and how far its group has come. [`dead_letters`] reads
//! dead letters back. [`follow`] follows results and dead letters for the dashboard, and [`group_lag`] tells it how far the workers are behind. [`topics`] are made, counted and deleted for `bench`. [`probe`] asks brokers for `check`, which changes nothing. [`client`] makes the clients, [`security`] says how they are let in, [`told`] is what librdkafka tells of them, [`requests`] counts what theirs go through, [`settings`] says how, [`embedded`] is a broker inside this process.

pub mod backfill;
pub mod client;
pub mod dead_letters;
pub mod embedded;
pub mod feed;
pub mod follow;
pub mod group;
pub mod group_lag;
pub mod lag;
pub mod letter;
pub mod membership;
pub mod probe;
pub mod publish;
pub mod requests;
pub mod security;
pub mod settings;
pub mod settle;
pub mod source;
pub mod told;
pub mod topics;
pub mod transaction;

pub use self::settings::{Delivery, GroupProtocol, Settings};
