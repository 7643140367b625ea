//! A worker: the pipeline between a Kafka source and a Kafka publisher, with its admin port, from start to drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::admin::{self, Shown};
use crate::budget::Budget;
use crate::decode::Registry;
use crate::health::Health;
use crate::kafka::backfill::Window;
use crate::kafka::letter::Letters;
use crate::kafka::membership::Membership;
use crate::kafka::publish::Publisher;
use crate::kafka::settle::Settler;
use crate::kafka::source::{Drained, Source, Wiring};
use crate::kafka::transaction::Transactions;
use crate::kafka::{self, Delivery, client};
use crate::message::Outcome;
use crate::metrics::{Metrics, Readings};
use crate::pipeline::{self, Pipeline};
use crate::scorer::Scorer;
use crate::settings::Settings;
use crate::traces::Tracer;

/// What the publisher may take on top of the grace period to see its last deliveries through.
const LAST_DELIVERIES: Duration = Duration::from_secs(5);

/// What leaving the group may take when the worker cannot go on.
const LEAVING: Duration = Duration::from_secs(5);

const MODEL_FAILED: &str = "the model cannot go on";

/// A worker that has joined (or is joining) its group.
pub struct Worker {
    /// Everything it counts.
    pub metrics: Arc<Metrics>,
    /// Where its admin port listens, if it has one.
    pub admin: Option<SocketAddr>,
    stop: Arc<AtomicBool>,
    health: Arc<Health>,
    tracer: Option<Arc<Tracer>>,
    source: oneshot::Receiver<Result<Drained>>,
    publisher: JoinHandle<Result<(), client::Error>>,
    failure: oneshot::Receiver<crate::model::ModelError>,
    grace: Duration,
}

/// Makes a worker stop.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// Pull nothing more; what is in flight may finish.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Worker {
    /// Loads and warms the model, then joins the group: nothing is pulled before everything else stands.
    ///
    /// # Errors
    /// A bundle, a library, a provider, a broker, a topic or a port that cannot be used, each with its fix.
    pub async fn start(settings: &Settings) -> Result<Self> {
        Self::start_within(settings, None).await
    }

    /// As [`Self::start`], for what is in the window only: it drains by itself once its group has done all of that.
    ///
    /// # Errors
    /// As there.
    pub async fn backfill(settings: &Settings, window: Window) -> Result<Self> {
        Self::start_within(settings, Some(window)).await
    }

    async fn start_within(settings: &Settings, window: Option<Window>) -> Result<Self> {
        let metrics = Arc::new(Metrics::new().with_process());
        Registry::check_set(settings.decode.registry.as_ref(), &metrics).await?;
        let scorer = {
            let (settings, metrics) = (settings.clone(), Arc::clone(&metrics));
            spawn_blocking(move || Scorer::load(&settings, &metrics)).await??
        };
        let stall = Duration::from_secs(settings.admin.stall_seconds);
        let health = Arc::new(Health::new(stall, scorer.identity.clone(), metrics.schema_waits.clone()));
        let shown = Shown { health: Arc::clone(&health), metrics: Arc::clone(&metrics) };
        let admin = match settings.admin.listen {
            Some(listen) => Some(bind(listen, shown).await?),
            None => None,
        };
        Self::join(settings, window, scorer, health, metrics, admin).await
    }

    async fn join(
        settings: &Settings,
        window: Option<Window>,
        scorer: Scorer,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        admin: Option<SocketAddr>,
    ) -> Result<Self> {
        let (settled_in, settled) = crossbeam_channel::unbounded();
        let letters = Letters::new(&settings.kafka, scorer.labelling.clone());
        let readings = Readings::new(&metrics.sentiment, scorer.labelling.clone(), settings.admin.sources);
        let settler =
            Settler { settled: settled_in, health: Arc::clone(&health), metrics: Arc::clone(&metrics), readings };
        let Pipeline { records, outcomes, failure } =
            pipeline::spawn(&scorer.sizes, scorer.fetcher, &scorer.decoder, scorer.models, &metrics)
                .context("cannot start the stages")?;
        let stop = Arc::new(AtomicBool::new(false));
        let tracer = Tracer::start(&settings.traces).context("cannot trace to traces.endpoint")?;
        let wiring = Wiring {
            records,
            settled,
            budget: Budget::new(settings.limits, metrics.in_flight_records.clone(), metrics.in_flight_bytes.clone()),
            stop: Arc::clone(&stop),
            grace: Duration::from_secs(settings.shutdown.grace_seconds),
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            tracer: tracer.clone(),
            window: window.map(Arc::new),
        };
        let (kafka, limits) = (settings.kafka.clone(), settings.limits);
        let source = spawn_blocking(move || Source::connect(&kafka, limits, wiring)).await??;
        let publisher = publish(&settings.kafka, letters, settler, source.membership(), outcomes).await?;
        let (drained_in, source_ended) = oneshot::channel();
        std::thread::Builder::new().name("poll".into()).spawn(move || {
            // Nobody listens only when the worker was dropped.
            let _ = drained_in.send(source.run().map_err(Into::into));
        })?;
        health.set_ready(true);
        tracing::info!(group = settings.kafka.group, topic = settings.kafka.input_topic, "joining the group");
        let grace = Duration::from_secs(settings.shutdown.grace_seconds);
        Ok(Self { metrics, admin, stop, health, tracer, source: source_ended, publisher, failure, grace })
    }

    /// The cause, where all that is known is that no more outcomes come: whoever failed says so a little later. A source that
    /// failed leaves its group first, which takes long where the broker does not answer.
    async fn why_it_ended(&mut self) -> anyhow::Error {
        if let Ok(error) = self.failure.try_recv() {
            return anyhow!(error).context(MODEL_FAILED);
        }
        match tokio::time::timeout(self.grace, &mut self.source).await {
            Ok(Ok(Err(error))) => error,
            _ => anyhow!("the pipeline ended by itself"),
        }
    }

    /// A handle that stops this worker.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Waits until the worker was stopped and has drained.
    ///
    /// # Errors
    /// What made it stop by itself: the model, the publisher or the source cannot go on. Nothing beyond the acknowledged
    /// outcomes is committed then.
    pub async fn drained(mut self) -> Result<Drained> {
        let tracer = self.tracer.take();
        let ended = self.ended().await;
        if let Some(tracer) = tracer {
            // Whatever it ended by: the spans of that are in it.
            spawn_blocking(move || tracer.stop()).await?;
        }
        ended
    }

    async fn ended(mut self) -> Result<Drained> {
        let (mut publisher_ended, mut source_over) = (false, false);
        let ended = tokio::select! {
            drained = &mut self.source => {
                source_over = true;
                source_ended(drained)
            }
            Ok(error) = &mut self.failure => Err(anyhow!(error).context(MODEL_FAILED)),
            published = &mut self.publisher => {
                publisher_ended = true;
                match published_or_panicked(published) {
                    Ok(()) if self.stop.load(Ordering::Relaxed) => {
                        source_over = true;
                        source_ended((&mut self.source).await)
                    }
                    Ok(()) => {
                        source_over = true;
                        Err(self.why_it_ended().await)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        self.health.set_ready(false);
        if ended.is_err() {
            self.stopper().stop();
            if !source_over {
                // So that it leaves the group, rather than be missed there until its session times out.
                let _ = tokio::time::timeout(LEAVING, &mut self.source).await;
            }
        } else if !publisher_ended {
            let published = tokio::time::timeout(LAST_DELIVERIES, &mut self.publisher).await;
            if let Ok(published) = published {
                published_or_panicked(published)?;
            }
        }
        if let Ok(drained) = &ended {
            tracing::info!(unsettled = drained.unsettled, grace_seconds = self.grace.as_secs(), "drained");
        }
        ended
    }
}

/// Starts what publishes the outcomes, as `kafka.delivery` says.
async fn publish(
    settings: &kafka::Settings,
    letters: Letters,
    settler: Settler,
    membership: Membership,
    outcomes: mpsc::Receiver<Outcome>,
) -> Result<JoinHandle<Result<(), client::Error>>> {
    Ok(match settings.delivery {
        Delivery::AtLeastOnce => tokio::spawn(Publisher::new(settings, letters, settler)?.run(outcomes)),
        Delivery::ExactlyOnce => {
            let settings = settings.clone();
            let transactions =
                spawn_blocking(move || Transactions::new(&settings, letters, settler, membership)).await??;
            spawn_blocking(move || transactions.run(outcomes))
        }
    })
}

fn source_ended(ended: Result<Result<Drained>, oneshot::error::RecvError>) -> Result<Drained> {
    ended.unwrap_or_else(|_| Err(anyhow!("the poll thread panicked")))
}

fn published_or_panicked(ended: Result<Result<(), client::Error>, tokio::task::JoinError>) -> Result<()> {
    ended.context("the publisher panicked")?.context("the publisher cannot go on")
}

async fn bind(listen: SocketAddr, shown: Shown) -> Result<SocketAddr> {
    let address = admin::serve(listen, shown)
        .await
        .with_context(|| format!("cannot listen on admin.listen {listen}; choose another port, or 0 for a free one"))?;
    tracing::info!(%address, "admin port: /metrics /healthz /readyz");
    Ok(address)
}
