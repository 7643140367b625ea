//! The stage's thread, which looks for values that are written by a schema, and the task that each of them gets whose schema is
//! not known yet.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::{Registry, Schema, id, unknown};
use crate::decode::envelope::media_type;
use crate::error::{Refusal, Stage as Name};
use crate::message::{Outcome, Record};
use crate::metrics::Metrics;

/// The ends of the stage.
pub(crate) struct Stage {
    pub(crate) registry: Arc<Registry>,
    pub(crate) records: Receiver<Record>,
    pub(crate) onward: Onward,
    pub(crate) runtime: Handle,
    pub(crate) metrics: Arc<Metrics>,
}

/// Where records go from here.
#[derive(Clone)]
pub(crate) struct Onward {
    /// To be fetched for, or decoded. Its capacity is the record limit, so that sending never waits.
    pub(crate) decode: Sender<Record>,
    /// Refused.
    pub(crate) finished: mpsc::Sender<Outcome>,
}

impl Stage {
    /// Runs until `records` closes; the tasks under way go on by themselves and hold `onward` open until they are done.
    pub(crate) fn run(self) {
        for record in &self.records {
            let Some(value) = written_by_schema(&record) else {
                if self.onward.decode.send(record).is_err() {
                    return;
                }
                continue;
            };
            let known = id(value).map(|id| self.registry.known(id).ok_or(id));
            let handed_on = match known {
                Ok(Err(id)) => {
                    self.wait(id, record);
                    true
                }
                Ok(Ok(schema)) => self.onward.hand_on_now(record, schema),
                Err(refusal) => self.onward.hand_on_now(record, Err(refusal)),
            };
            if !handed_on {
                return;
            }
        }
    }

    fn wait(&self, id: u32, record: Record) {
        let (registry, onward, metrics) = (Arc::clone(&self.registry), self.onward.clone(), Arc::clone(&self.metrics));
        self.runtime.spawn(async move {
            metrics.schema_waits.inc();
            let schema = tokio::select! {
                schema = registry.schema(id) => schema,
                // Whatever comes of it is dropped by the order stage.
                () = record.position.assignment.revoked() => Err(unknown("given up, as the partition was taken away")),
            };
            metrics.schema_waits.dec();
            onward.hand_on(record, schema).await;
        });
    }
}

/// The value of a record that is written by a schema: no JSON, nor any image by its content type, begins with a byte 0.
fn written_by_schema(record: &Record) -> Option<&[u8]> {
    let value = record.value.as_deref().filter(|value| value.first() == Some(&0))?;
    (!media_type(record).starts_with("image/")).then_some(value)
}

impl Onward {
    fn hand_on_now(&self, mut record: Record, schema: Result<Arc<Schema>, Refusal>) -> bool {
        match schema {
            Ok(schema) => {
                record.schema = Some(schema);
                self.decode.send(record).is_ok()
            }
            Err(refusal) => self.finished.blocking_send(Outcome::refused(record, Name::Decode, refusal)).is_ok(),
        }
    }

    /// Fails only when the pipeline is gone, and the record with it.
    async fn hand_on(&self, mut record: Record, schema: Result<Arc<Schema>, Refusal>) {
        match schema {
            Ok(schema) => {
                record.schema = Some(schema);
                let _ = self.decode.send(record);
            }
            Err(refusal) => {
                let _ = self.finished.send(Outcome::refused(record, Name::Decode, refusal)).await;
            }
        }
    }
}
