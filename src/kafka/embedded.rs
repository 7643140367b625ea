//! A broker inside this process: librdkafka's mock cluster, which speaks the real protocol. For `sentistream demo`, where
//! nothing else is set up; a partition keeps only its newest 5 MiB, so whoever feeds it is paced by what was consumed.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::client::Error;

/// The broker; it stops when dropped.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// Starts a broker on a free port of the loopback interface with these topics, each of `partitions` partitions.
    pub fn start(topics: &[&str], partitions: i32) -> Result<Self, Error> {
        let cluster = MockCluster::new(1).map_err(Error::client)?;
        for topic in topics {
            cluster.create_topic(topic, partitions, 1).map_err(Error::client)?;
        }
        Ok(Self { cluster })
    }

    /// `host:port`.
    #[must_use]
    pub fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
