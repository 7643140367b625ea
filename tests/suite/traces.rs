//! Traces: from the `traceparent` of a record, through spans of every stage, to that of its result. The collector is a few
//! lines that receive OTLP over HTTP and decode it with OpenTelemetry's own protocol definitions.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message;
use serde_json::json;

use crate::support::kafka::{Read, Topics};
use crate::support::photos::{TestPost, posts, samples};
use crate::support::process::WorkerProcess;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

type Received = Arc<Mutex<Vec<ResourceSpans>>>;

struct Collector {
    address: SocketAddr,
    received: Received,
}

impl Collector {
    async fn start() -> Self {
        let received = Received::default();
        let routes = Router::new().route("/v1/traces", post(receive)).with_state(Arc::clone(&received));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, received }
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().expect("not poisoned");
        received.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    fn service(&self) -> Option<Value> {
        let received = self.received.lock().expect("not poisoned");
        let attributes = &received.first()?.resource.as_ref()?.attributes;
        attributes.iter().find(|attribute| attribute.key == "service.name")?.value.clone()?.value
    }
}

async fn receive(State(received): State<Received>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    received.lock().expect("not poisoned").extend(request.resource_spans);
}

fn traced(mut post: TestPost, traceparent: &str) -> TestPost {
    post.headers.push(("traceparent".into(), traceparent.as_bytes().to_vec()));
    post.headers.push(("tracestate".into(), b"vendor=1".to_vec()));
    post
}

fn environment(topics: &Topics, endpoint: SocketAddr, ratio: &str) -> Vec<(String, String)> {
    let mut environment = topics.environment();
    environment.push(("SENTISTREAM__TRACES__ENDPOINT".into(), format!("http://{endpoint}")));
    environment.push(("SENTISTREAM__TRACES__RATIO".into(), ratio.into()));
    environment
}

fn of_key<'r>(reads: &'r [Read], key: &str) -> &'r Read {
    reads.iter().find(|read| read.key.as_deref() == Some(key)).unwrap_or_else(|| panic!("{key} is there"))
}

fn named<'s>(spans: &'s [Span], name: &str) -> Vec<&'s Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_record_is_traced_from_its_header_to_its_result() {
    let topics = Topics::create("traces", 1).await;
    let collector = Collector::start().await;
    let (_, image, _) = samples().remove(0);
    let post = |id: &str| TestPost::binary(id, "image/jpeg", &image, &json!({"caption": format!("the post {id}")}));
    topics.feed(&[
        traced(post("traced"), &format!("00-{TRACE}-{PARENT}-01")),
        post("of-no-trace"),
        traced(post("decided-against"), &format!("00-{}-{PARENT}-00", "5".repeat(32))),
        traced(post("no-context"), "00-xyz"),
        traced(TestPost::raw("bad", b"{ no JSON"), &format!("00-{}-{PARENT}-01", "6".repeat(32))),
    ]);
    let mut worker = WorkerProcess::start(&environment(&topics, collector.address, "0"));
    topics.wait_for_outcomes(5).await;
    worker.signal("TERM");
    assert!(worker.wait().success(), "{}", worker.log());

    let (spans, results) = (collector.spans(), topics.read_all(&topics.output()));
    assert_eq!(collector.service(), Some(Value::StringValue("sentistream".into())));
    let roots = named(&spans, &format!("process {}", topics.name));
    assert_eq!(roots.len(), 2, "the one that is traced, and the one refused: {spans:#?}");

    let root = *roots.iter().find(|span| hex::encode(&span.trace_id) == TRACE).expect("in the record's own trace");
    assert_eq!((hex::encode(&root.parent_span_id).as_str(), root.kind()), (PARENT, SpanKind::Consumer));
    assert_eq!(attribute(root, "messaging.kafka.offset"), Some(Value::IntValue(0)));
    assert_eq!(attribute(root, "sentistream.outcome"), Some(Value::StringValue("result".into())));
    assert_stages(&spans, root, &["decode", "score", "publish"]);
    assert_batch(&spans, root);

    let context = of_key(&results, "traced").header("traceparent");
    assert_eq!(context, format!("00-{TRACE}-{}-01", hex::encode(&root.span_id)), "the result goes on with the trace");
    assert_eq!(of_key(&results, "traced").header("tracestate"), "vendor=1");
    assert!(of_key(&results, "decided-against").header("traceparent").ends_with("-00"));

    let refused = *roots.iter().find(|span| hex::encode(&span.trace_id) == "6".repeat(32)).expect("the refused one");
    assert_eq!(attribute(refused, "error.type"), Some(Value::StringValue("not_json".into())));
    assert_eq!(refused.status.as_ref().expect("a status").code(), StatusCode::Error);
    assert_stages(&spans, refused, &["decode", "publish"]);
    let letter = topics.read_all(&topics.dead_letters()).remove(0);
    assert_eq!(letter.header("traceparent"), format!("00-{}-{PARENT}-01", "6".repeat(32)), "as it came");
}

/// The children of a record's span are these, within its time.
fn assert_stages(spans: &[Span], root: &Span, expected: &[&str]) {
    let mut children: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == root.span_id).collect();
    children.sort_by_key(|span| span.start_time_unix_nano);
    assert_eq!(children.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), expected);
    // Starts are told by one clock and ages by another: a millisecond between them is no fault.
    let tolerance = 1_000_000;
    for child in children {
        assert_eq!(child.trace_id, root.trace_id);
        assert!(child.start_time_unix_nano + tolerance >= root.start_time_unix_nano, "{child:?}");
        assert!(child.start_time_unix_nano <= child.end_time_unix_nano, "{child:?}");
        assert!(child.end_time_unix_nano <= root.end_time_unix_nano + tolerance, "{child:?}");
    }
}

/// The record's `score` and its batch are linked both ways, and the batch shows the graphs that ran.
fn assert_batch(spans: &[Span], root: &Span) {
    let score = *named(spans, "score").iter().find(|span| span.trace_id == root.trace_id).expect("a score span");
    let link = score.links.first().expect("linked to its batch");
    let batch = *named(spans, "batch").iter().find(|span| span.span_id == link.span_id).expect("the batch is traced");
    assert_eq!(link.trace_id, batch.trace_id);
    assert_eq!(batch.links.iter().map(|link| &link.span_id).collect::<Vec<_>>(), [&root.span_id]);
    assert!(matches!(attribute(batch, "messaging.batch.message_count"), Some(Value::IntValue(1..=4))));
    let graphs: Vec<&str> =
        spans.iter().filter(|span| span.parent_span_id == batch.span_id).map(|span| span.name.as_str()).collect();
    for graph in ["image_encoder", "text_encoder", "relevance", "fusion"] {
        assert!(graphs.contains(&graph), "{graphs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn every_record_is_traced_where_the_ratio_says_so_with_exactly_once_too() {
    let topics = Topics::create("traces-all", 1).await;
    let collector = Collector::start().await;
    topics.feed(&posts("post", 12));
    let mut environment = environment(&topics, collector.address, "1");
    environment.push(("SENTISTREAM__KAFKA__DELIVERY".into(), "exactly_once".into()));
    let mut worker = WorkerProcess::start(&environment);
    topics.wait_for_committed_outcomes(12).await;
    worker.signal("TERM");
    assert!(worker.wait().success(), "{}", worker.log());

    let spans = collector.spans();
    let roots = named(&spans, &format!("process {}", topics.name));
    assert_eq!(roots.len(), 12);
    let results = topics.read_all(&topics.output());
    for root in roots {
        assert_stages(&spans, root, &["decode", "score", "publish"]);
        let context = format!("00-{}-{}-01", hex::encode(&root.trace_id), hex::encode(&root.span_id));
        assert!(results.iter().any(|result| result.header("traceparent") == context), "{context}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_collector_that_is_away_costs_spans_and_no_record() {
    let topics = Topics::create("traces-away", 1).await;
    // Bound and closed again: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    topics.feed(&posts("post", 12));
    let mut worker = WorkerProcess::start(&environment(&topics, nobody, "1"));
    topics.wait_for_outcomes(12).await;
    worker.signal("TERM");
    assert!(worker.wait().success(), "{}", worker.log());
    assert_eq!(topics.committed(), 12);
    assert!(worker.log().contains("BatchSpanProcessor"), "it is told: {}", worker.log());
}
