//! Traces, by OpenTelemetry: a span for every record from its pull to its acknowledged outcome, below it one for each stage, and
//! one for every batch, to which the `score` spans of its records are linked, and it to the records. Sent to a collector over
//! OTLP/HTTP by a thread of their own; where it does not keep up or is away spans are lost, and never a record.
//!
//! The context of a record comes from its headers `traceparent` and `tracestate` (W3C Trace Context), and a result carries its
//! record's span on under the same names. Spans say where a record stands, never what a post says.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    Link, Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, TraceId, TraceState, Tracer as _,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider,
    ShouldSample,
};
use serde::Deserialize;
use url::Url;

/// Spans that wait to be sent, at most: some 10 MB, and as much again where each has a context of 512 bytes.
const QUEUE: usize = 16_384;
/// A batch's links: as many as a batch may have posts.
const MOST_LINKS: u32 = 1024;
/// How long what is left may take to be sent at the end.
const LAST_SPANS: Duration = Duration::from_secs(5);

/// Where traces go.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// OTLP/HTTP endpoint of a collector, such as `http://localhost:4318`; null traces nothing.
    pub endpoint: Option<String>,
    /// Share of records traced that bring no decision of their own in `traceparent`, in [0, 1].
    pub ratio: f64,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(format!("traces.ratio is {}; set it between 0 and 1", self.ratio));
        }
        self.address().map(drop)
    }

    /// Host and port of the collector.
    pub(crate) fn collector(&self) -> Option<(String, u16)> {
        let address = self.address().ok().flatten()?;
        Some((address.host_str()?.to_owned(), address.port_or_known_default()?))
    }

    /// Where spans are sent: a bare address stands for its `/v1/traces`, as OTLP has it.
    fn address(&self) -> Result<Option<Url>, String> {
        let Some(endpoint) = &self.endpoint else { return Ok(None) };
        // What it says is not told: it may hold a password.
        let url = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let mut url =
            url.ok_or("traces.endpoint is no http or https URL; set it to one such as http://localhost:4318")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("traces.endpoint has credentials in it; give them in OTEL_EXPORTER_OTLP_HEADERS".into());
        }
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        Ok(Some(url))
    }
}

/// Why nothing can be traced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No URL that spans can be sent to.
    #[error("{0}")]
    Address(String),
    /// No exporter.
    #[error(transparent)]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Makes spans and sends them.
#[derive(Debug)]
pub struct Tracer {
    provider: SdkTracerProvider,
    spans: SdkTracer,
    propagator: TraceContextPropagator,
}

impl Tracer {
    /// Starts the thread that sends; `None` where nothing is traced.
    ///
    /// # Errors
    /// An endpoint that no exporter can be made for.
    pub fn start(settings: &Settings) -> Result<Option<Arc<Self>>, Error> {
        let Some(address) = settings.address().map_err(Error::Address)? else { return Ok(None) };
        // Fails only where there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().with_endpoint(address.as_str()).build()?;
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Ok(Some(Arc::new(Self::with(processor, settings.ratio))))
    }

    fn with(processor: BatchSpanProcessor, ratio: f64) -> Self {
        let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before.
        let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource,
            None => resource.with_service_name("sentistream"),
        };
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampling { own: Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))) })
            .with_max_links_per_span(MOST_LINKS)
            .with_resource(resource.build())
            .build();
        let spans = provider.tracer("sentistream");
        Self { provider, spans, propagator: TraceContextPropagator::new() }
    }

    /// The span of a record of `topic`, which begins now and ends when what is returned is dropped.
    pub fn record(self: &Arc<Self>, headers: &dyn Extractor, topic: &str, partition: i32, offset: i64) -> RecordSpan {
        let parent = self.propagator.extract_with_context(&Context::new(), headers);
        let span = SpanBuilder::from_name(format!("process {topic}")).with_kind(SpanKind::Consumer).with_attributes([
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", topic.to_owned()),
            KeyValue::new("messaging.destination.partition.id", partition.to_string()),
            KeyValue::new("messaging.kafka.offset", offset),
        ]);
        let span = self.spans.build_with_context(span, &parent);
        RecordSpan { tracer: Arc::clone(self), context: parent.with_span(span) }
    }

    /// Sends what is left; blocks until that is done, for a few seconds at most.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST_SPANS) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// The span of a record in flight, of which the stages' are children.
#[derive(Debug, Clone)]
pub struct RecordSpan {
    tracer: Arc<Tracer>,
    context: Context,
}

impl RecordSpan {
    /// A stage that began at `started` and ends now.
    pub fn stage(&self, name: &'static str, started: Instant) {
        self.child(SpanBuilder::from_name(name).with_kind(SpanKind::Internal), started);
    }

    fn child(&self, span: SpanBuilder, started: Instant) {
        if self.context.span().span_context().is_sampled() {
            self.tracer.spans.build_with_context(span.with_start_time(at(started)), &self.context).end();
        }
    }

    /// How the record ended: `kind` and `reason` as in `sentistream_outcomes_total`.
    pub fn ended(&self, kind: &'static str, reason: &'static str) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new("sentistream.outcome", kind));
        if !reason.is_empty() {
            span.set_attribute(KeyValue::new("error.type", reason));
            span.set_status(Status::error(reason));
        }
    }

    /// Writes the context where whoever reads the result looks for it.
    pub fn inject(&self, headers: &mut dyn Injector) {
        self.tracer.propagator.inject_context(&self.context, headers);
    }
}

/// The span of a batch, which is the current one of its thread until it ends.
#[derive(Debug)]
pub struct BatchSpan {
    records: Vec<RecordSpan>,
    context: Context,
    started: Instant,
}

impl BatchSpan {
    /// Begins now, of `posts` of which these records are traced; `None` where none is.
    pub fn start<'r>(records: impl Iterator<Item = &'r RecordSpan>, posts: usize) -> Option<Self> {
        let records: Vec<RecordSpan> =
            records.filter(|record| record.context.span().span_context().is_sampled()).cloned().collect();
        let tracer = Arc::clone(&records.first()?.tracer);
        let links = records.iter().map(|record| link(record.context.span().span_context())).collect();
        let size = KeyValue::new("messaging.batch.message_count", i64::try_from(posts).unwrap_or(i64::MAX));
        let span = SpanBuilder::from_name("batch").with_kind(SpanKind::Internal).with_links(links);
        let span = tracer.spans.build_with_context(span.with_attributes([size]), &Context::new());
        let context = Context::new().with_span(span).with_value(tracer);
        Some(Self { records, context, started: Instant::now() })
    }

    /// Runs `work`, whose [`graph`] spans are this batch's, and ends the batch.
    pub fn during<T>(batch: Option<Self>, work: impl FnOnce() -> T) -> T {
        let Some(batch) = batch else { return work() };
        let current = batch.context.clone().attach();
        let done = work();
        drop(current);
        let link = link(batch.context.span().span_context());
        for record in &batch.records {
            let span = SpanBuilder::from_name("score").with_kind(SpanKind::Internal).with_links(vec![link.clone()]);
            record.child(span, batch.started);
        }
        done
    }
}

/// A graph that the model ran for the current batch of this thread, from `started` until now.
pub fn graph(name: &'static str, started: Instant) {
    Context::map_current(|batch| {
        if let Some(tracer) = batch.get::<Arc<Tracer>>() {
            let span = SpanBuilder::from_name(name).with_kind(SpanKind::Internal).with_start_time(at(started));
            tracer.spans.build_with_context(span, batch).end();
        }
    });
}

fn link(context: &SpanContext) -> Link {
    Link::new(context.clone(), Vec::new(), 0)
}

/// The wall clock's time of an instant.
fn at(instant: Instant) -> SystemTime {
    SystemTime::now() - instant.elapsed()
}

/// As the record's `traceparent` says, else the share of the settings. A batch, which has no parent, is traced where one of
/// its records is.
#[derive(Debug, Clone)]
struct Sampling {
    own: Sampler,
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if !parent.is_some_and(Context::has_active_span) && links.iter().any(|link| link.span_context.is_sampled()) {
            let decision = SamplingDecision::RecordAndSample;
            return SamplingResult { decision, attributes: Vec::new(), trace_state: TraceState::default() };
        }
        self.own.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(endpoint: &str) -> Result<Option<String>, String> {
        let settings = Settings { endpoint: Some(endpoint.into()), ratio: 1.0 };
        settings.address().map(|url| url.map(String::from))
    }

    #[test]
    fn a_bare_address_stands_for_the_path_of_otlp() {
        assert_eq!(address("http://collector:4318"), Ok(Some("http://collector:4318/v1/traces".into())));
        assert_eq!(address("https://collector/"), Ok(Some("https://collector/v1/traces".into())));
        assert_eq!(address("https://vendor/otlp/v1/traces"), Ok(Some("https://vendor/otlp/v1/traces".into())));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_fix_and_tells_no_password() {
        for endpoint in ["collector:4318", "grpc://collector:4317", "", "http://me:secret@collector:4318"] {
            let error = address(endpoint).expect_err(endpoint);
            assert!(error.starts_with("traces.endpoint ") && !error.contains("secret"), "{error}");
        }
        for ratio in [-0.1, 1.1, f64::NAN] {
            let error = Settings { endpoint: None, ratio }.validate().expect_err("no share");
            assert!(error.contains("traces.ratio"), "{error}");
        }
    }

    #[test]
    fn nothing_is_traced_without_an_endpoint() {
        assert!(Tracer::start(&Settings { endpoint: None, ratio: 1.0 }).expect("starts").is_none());
    }
}
