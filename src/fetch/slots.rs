//! How many images are fetched at once, in all and from each host.
//!
//! A host's slot is always taken before one of all, and nobody who holds a slot of all waits for a host's: so a slow host
//! keeps its own posts waiting and nobody else's, and no two fetches wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Settings;

#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    per_host: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Slots {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(settings.concurrency));
        Arc::new(Self { all, per_host: settings.per_host, hosts: Mutex::default() })
    }

    /// One of all; it goes with the image until that is decoded.
    pub(super) async fn of_all(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// One of a host's.
    pub(super) async fn of_host(&self, host: &str) -> Option<OwnedSemaphorePermit> {
        self.host(host).acquire_owned().await.ok()
    }

    /// Whoever waits for a host's slots or holds one has its semaphore; the others are forgotten.
    fn host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, slots| Arc::strong_count(slots) > 1);
        let new = || Arc::new(Semaphore::new(self.per_host));
        Arc::clone(hosts.entry(host.to_owned()).or_insert_with(new))
    }
}
