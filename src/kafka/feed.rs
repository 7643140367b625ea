//! Publishing posts to an input topic (`sentistream feed`, `bench`, `dlq replay`, the demo), and reading a topic back (the demo, `bench`).

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header as KafkaHeader, Headers, Message, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use super::Settings;
use super::client::{self, Error, Logged};
use super::security::acls::Operation;
use crate::message::Header;

/// A post on its way to the broker; see [`Feeder::delivered`].
pub type Sent = DeliveryFuture;

/// A producer of posts.
pub struct Feeder {
    producer: FutureProducer<Logged>,
    topic: String,
    logged: Logged,
}

impl Feeder {
    /// Publishes to `topic` on the brokers of `settings`.
    pub fn new(settings: &Settings, topic: &str) -> Result<Self, Error> {
        Self::with(&client::producer(settings)?, settings, topic)
    }

    /// The same, every post by itself: a broker refuses a batch as a whole, and the fault would not be each post's own.
    pub fn one_by_one(settings: &Settings, topic: &str) -> Result<Self, Error> {
        Self::with(client::producer(settings)?.set("batch.num.messages", "1"), settings, topic)
    }

    fn with(config: &ClientConfig, settings: &Settings, topic: &str) -> Result<Self, Error> {
        let logged = Logged::new(settings);
        let producer: FutureProducer<Logged> = config.create_with_context(logged.clone()).map_err(Error::client)?;
        client::ask(producer.client(), &logged, settings, Operation::Write, topic, || ())?;
        Ok(Self { producer, topic: topic.to_owned(), logged })
    }

    /// Enqueues a post; await what is returned with [`Feeder::delivered`] to know that the broker has it.
    pub async fn send(&self, key: Option<&[u8]>, value: &[u8], headers: &[Header]) -> Result<Sent, Error> {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, header| {
            headers.insert(KafkaHeader { key: &header.key, value: header.value.as_deref() })
        });
        loop {
            let mut record = FutureRecord::to(&self.topic).payload(value).headers(headers.clone());
            record.key = key;
            match self.producer.send_result(record) {
                Ok(delivery) => return Ok(delivery),
                Err((error, _)) if error.rdkafka_error_code() == Some(rdkafka::types::RDKafkaErrorCode::QueueFull) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err((source, _)) => return Err(self.logged.unpublished(&self.topic, source)),
            }
        }
    }

    /// Waits until the broker has a post.
    pub async fn delivered(&self, delivery: Sent) -> Result<(), Error> {
        let failed = |source| self.logged.unpublished(&self.topic, source);
        match delivery.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err((source, _))) => Err(failed(source)),
            Err(_) => Err(failed(rdkafka::error::KafkaError::Canceled)),
        }
    }
}

impl Error {
    /// Whether the broker, or librdkafka for it, refused a record for its size.
    pub(crate) fn is_too_large(&self) -> bool {
        let code = Some(rdkafka::types::RDKafkaErrorCode::MessageSizeTooLarge);
        matches!(self, Self::Publish { source, .. } if source.rdkafka_error_code() == code)
    }
}

/// A record read back.
#[derive(Debug)]
pub struct Read {
    /// Topic name.
    pub topic: String,
    /// Key, where it is UTF-8.
    pub key: Option<String>,
    /// Milliseconds since 1970, by the clock that the topic says.
    pub timestamp_ms: Option<i64>,
    /// Value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers that are UTF-8.
    pub headers: Vec<(String, String)>,
}

/// Reads all partitions of some topics from their beginning on, without a group.
pub struct Reader {
    consumer: BaseConsumer<Logged>,
}

impl Reader {
    /// Reads `topics`, each of `partitions` partitions.
    pub fn new(settings: &Settings, topics: &[&str], partitions: i32) -> Result<Self, Error> {
        let mut config = client::reading(settings, client::READER_BYTES)?;
        // What comes later is waited for.
        config.set("enable.partition.eof", "false");
        let consumer: BaseConsumer<Logged> =
            config.create_with_context(Logged::new(settings)).map_err(Error::client)?;
        let mut assignment = TopicPartitionList::new();
        for topic in topics {
            for partition in 0..partitions {
                assignment.add_partition_offset(topic, partition, Offset::Beginning).map_err(Error::client)?;
            }
        }
        consumer.assign(&assignment).map_err(Error::client)?;
        Ok(Self { consumer })
    }

    /// The next record, if one comes within `timeout`.
    pub fn next(&self, timeout: Duration) -> Result<Option<Read>, Error> {
        match self.consumer.poll(Timeout::After(timeout)) {
            None => Ok(None),
            Some(Err(error)) => Err(Error::Fatal(error.to_string())),
            Some(Ok(message)) => Ok(Some(Read {
                topic: message.topic().to_owned(),
                key: message.key().and_then(|key| String::from_utf8(key.to_vec()).ok()),
                timestamp_ms: message.timestamp().to_millis(),
                value: message.payload().map(<[u8]>::to_vec),
                headers: text_headers(&message),
            })),
        }
    }
}

fn text_headers<M: Message>(message: &M) -> Vec<(String, String)> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    headers
        .filter_map(|header| Some((header.key.to_owned(), String::from_utf8(header.value?.to_vec()).ok()?)))
        .collect()
}
