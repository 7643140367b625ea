//! Values by a schema registry, on the real broker and a real registry (Apicurio, by its Confluent API): docs/attach.md's
//! schemas, commands and settings are those that run here.

use std::process::Stdio;

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use crate::admin::{get, sample};
use crate::attach::block;
use crate::support::kafka::{Read, Topics};
use crate::support::photos::{TestPost, samples};
use crate::support::process::{WorkerProcess, ended, sentistream};
use crate::support::registry::{Apicurio, Gate, PASSWORD, USER, password_file};
use crate::support::wait_until_async;

const AVRO: &str = "## A feed in Avro";
const PROTOBUF: &str = "## A feed in Protobuf";
const JSON_SCHEMA: &str = "## A feed in JSON Schema";

/// The wire format: what stands before a payload.
fn by_schema(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0], id.to_be_bytes().as_slice(), payload].concat()
}

fn metadata() -> Value {
    json!({
        "caption": "first day at the beach #summer", "tags": ["summer", "friends"], "scene": "beach",
        "objects": [{"label": "dog", "score": 0.93}]
    })
}

/// The post of the pages in Avro, with these fields before those of the first schema.
fn avro_payload(schema: &str, id: i64, image: &[u8], more: &[(&str, Avro)]) -> Vec<u8> {
    let text = |text: &str| Avro::String(text.to_owned());
    let label = Avro::Record(vec![("label".into(), text("dog")), ("score".into(), Avro::Float(0.93))]);
    let own = [
        ("id", Avro::Long(id)),
        ("handle", Avro::Union(1, Box::new(text("acme")))),
        ("created_at", Avro::TimestampMillis(1_795_770_000_000)),
        ("text", text("first day at the beach #summer")),
        ("photo", Avro::Bytes(image.to_vec())),
        ("hashtags", Avro::Array(vec![text("summer"), text("friends")])),
        ("labels", Avro::Array(vec![label])),
        ("scene", Avro::Enum(1, "beach".into())),
    ];
    let fields = more.iter().cloned().chain(own).map(|(name, value)| (name.to_owned(), value));
    let schema = apache_avro::Schema::parse_str(schema).expect("a schema");
    let writer = GenericDatumWriter::builder(&schema).build().expect("a writer");
    writer.write_value_to_vec(Avro::Record(fields.collect())).expect("written")
}

/// A later version of the schema: a field more, in front.
fn evolved(schema: &str) -> String {
    let mut schema: Value = serde_json::from_str(schema).expect("JSON");
    let added = json!({"name": "language", "type": "string", "default": "en"});
    schema["fields"].as_array_mut().expect("fields").insert(0, added);
    schema.to_string()
}

/// The post of the pages in Protobuf, behind the index of its message.
fn protobuf_payload(schema: &str, id: &str, image: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("temporary folder");
    std::fs::write(folder.path().join("post.proto"), schema).expect("written");
    let files = protox::compile(["post.proto"], [folder.path()]).expect("a schema");
    let pool = prost_reflect::DescriptorPool::from_file_descriptor_set(files).expect("a schema");
    let message = pool.get_message_by_name("com.example.feed.Post").expect("the message");
    // By Protobuf's own JSON.
    let post = json!({
        "id": id, "source": "acme", "publishedAt": "2026-11-27T09:00:00Z", "image": {"data": STANDARD.encode(image)}, "metadata": metadata()
    });
    let post = DynamicMessage::deserialize(message, post).expect("a message");
    [&[0], post.encode_to_vec().as_slice()].concat()
}

fn settings(yaml: &str) -> (tempfile::NamedTempFile, (String, String)) {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("temporary file");
    std::fs::write(file.path(), yaml).expect("written");
    let path = file.path().to_string_lossy().into_owned();
    (file, ("SENTISTREAM_TEST_CONFIG".into(), path))
}

fn by_id(results: &[Read]) -> impl Fn(&str) -> Value + use<> {
    let results: Vec<Value> = results.iter().map(Read::json).collect();
    move |id: &str| results.iter().find(|result| result["id"] == id).unwrap_or_else(|| panic!("no {id}")).clone()
}

fn assert_same(one: &Value, other: &Value) {
    for key in ["sentiment", "relevance", "effects", "tags", "flags"] {
        assert_eq!(one[key], other[key], "{key} of {}", one["id"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn values_by_a_schema_score_as_the_documented_json_does() {
    let registry = tokio::task::block_in_place(Apicurio::start);
    let image = samples().remove(0).1;
    let schema = block(AVRO, "avro");
    let first = registry.register(&block(AVRO, "sh"), "posts-value", &schema);
    let later = registry.register(&block(AVRO, "sh"), "posts-value", &evolved(&schema));
    let plain = registry.register(&block(JSON_SCHEMA, "sh"), "plain-value", &block(JSON_SCHEMA, "json"));
    let own = json!({"id": 3, "text": "first day at the beach #summer", "photo": STANDARD.encode(&image)}).to_string();
    let language = [("language", Avro::String("pt".into()))];
    let value = by_schema(first, &avro_payload(&schema, 1, &image, &[]));
    let topics = Topics::create("registry-avro", 1).await;
    topics.feed(&[
        TestPost::raw("a", &value),
        TestPost::raw("b", &by_schema(later, &avro_payload(&evolved(&schema), 2, &image, &language))),
        TestPost::raw("c", &by_schema(plain, own.as_bytes())),
        TestPost::raw("d", own.replace("\"id\":3", "\"id\":4").as_bytes()),
        TestPost::raw("unknown", &by_schema(999, b"?")),
        TestPost::raw("cut", &value[..value.len() - 1]),
        TestPost::raw("short", &value[..3]),
    ]);
    let (_file, config) = settings(&block(AVRO, "yaml").replace("http://localhost:8081", &registry.url()));
    let worker = WorkerProcess::start(&[topics.environment(), vec![config]].concat());
    topics.wait_for_outcomes(7).await;
    let letters: Vec<_> = topics
        .read_all(&topics.dead_letters())
        .iter()
        .map(|letter| (letter.key.clone().expect("a key"), letter.header("dlq.reason"), letter.header("dlq.detail")))
        .collect();
    let expected = [
        ("unknown", "schema_unknown", "the schema 999: it answers 404 Not Found: "),
        ("cut", "schema_mismatch", "the value does not fit its schema: it ends too early"),
        ("short", "schema_mismatch", "the value does not fit its schema: it ends within the schema's id"),
    ];
    assert_eq!(letters.len(), expected.len(), "{letters:?} {}", worker.log());
    for ((key, reason, detail), expected) in letters.iter().zip(expected) {
        assert_eq!((key.as_str(), reason.as_str()), (expected.0, expected.1));
        assert!(detail.starts_with(expected.2), "{detail}");
    }
    let result = by_id(&topics.read_all(&topics.output()));
    drop(worker);

    let schema = block(PROTOBUF, "proto");
    let id = registry.register(&block(PROTOBUF, "sh"), "proto-value", &schema);
    let documented = Topics::create("registry-protobuf", 1).await;
    let in_json = json!({"id": "json", "image": {"data": STANDARD.encode(&image)}, "metadata": metadata()});
    let bare = json!({
        "id": "bare", "image": {"data": STANDARD.encode(&image)}, "metadata": {"caption": "first day at the beach #summer"}
    });
    documented.feed(&[
        TestPost::raw("a", in_json.to_string().as_bytes()),
        TestPost::raw("b", bare.to_string().as_bytes()),
        TestPost::raw("c", &by_schema(id, &protobuf_payload(&schema, "protobuf", &image))),
        TestPost::binary("image", "image/jpeg", &image, &metadata()),
    ]);
    let (_file, config) = settings(&block(PROTOBUF, "yaml").replace("http://localhost:8081", &registry.url()));
    let _worker = WorkerProcess::start(&[documented.environment(), vec![config]].concat());
    documented.wait_for_outcomes(4).await;
    let expected = by_id(&documented.read_all(&documented.output()));
    for other in [result("1"), result("2"), expected("protobuf"), expected("image")] {
        assert_same(&other, &expected("json"));
    }
    for other in [result("3"), result("4")] {
        assert_same(&other, &expected("bare"));
    }
    for avro_or_protobuf in [result("1"), expected("protobuf")] {
        let told = (&avro_or_protobuf["source"], &avro_or_protobuf["published_at"]);
        assert_eq!(told, (&json!("acme"), &json!("2026-11-27T09:00:00Z")));
    }
}

fn environment(gate: &Gate, password_file: &tempfile::NamedTempFile) -> Vec<(String, String)> {
    let set = |key: &str, value: &str| (format!("SENTISTREAM__DECODE__REGISTRY__{key}"), value.to_owned());
    vec![
        set("URL", &gate.url),
        set("USERNAME", USER),
        set("PASSWORD_FILE", &password_file.path().to_string_lossy()),
        ("SENTISTREAM__ADMIN__STALL_SECONDS".into(), "2".into()),
        ("SENTISTREAM__KAFKA__REVOKE_DEADLINE_SECONDS".into(), "1".into()),
        ("SENTISTREAM__DECODE__TIMEOUT_MS".into(), "1000".into()),
        ("SENTISTREAM__SHUTDOWN__GRACE_SECONDS".into(), "2".into()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn a_registry_that_is_away_holds_the_feed_up_and_costs_no_post() {
    const POSTS: usize = 12;
    let registry = tokio::task::block_in_place(Apicurio::start);
    let gate = Gate::open(&registry).await;
    let schema = block(PROTOBUF, "proto");
    let id = registry.register(&block(PROTOBUF, "sh"), "posts-value", &schema);
    let image = samples().remove(0).1;
    let posts: Vec<TestPost> = (0..POSTS)
        .map(|number| {
            let name = format!("post-{number}");
            TestPost::raw(&name, &by_schema(id, &protobuf_payload(&schema, &name, &image)))
        })
        .collect();
    let topics = Topics::create("registry-away", 2).await;
    let password = password_file(PASSWORD);
    let environment = [topics.environment(), environment(&gate, &password)].concat();
    let mut worker = WorkerProcess::start(&environment);
    gate.shut(true);
    topics.feed(&posts);
    let admin = worker.admin();
    let waits = || sample(&get(&admin, "/metrics").1, "sentistream_schema_waits");
    let path = format!("/schemas/ids/{id}");
    // Longer than a decode may take, and than what is stalled is taken for alive: the pauses grow to seconds.
    wait_until_async("it has been asked for a while", || waits() > 11.5 && gate.asked(&path) >= 7).await;
    assert_eq!(get(&admin, "/healthz").0, 200, "{}", worker.log());
    assert_eq!(topics.count(&topics.output()) + topics.count(&topics.dead_letters()), 0);
    worker.wait_for_log("no answer of the schema registry on the schema");

    worker.signal("TERM");
    assert_eq!(worker.wait().code(), Some(4), "it ends with the grace, and not later: {}", worker.log());
    assert!(!worker.log().contains(PASSWORD));
    assert_eq!(topics.committed(), 0);

    gate.shut(false);
    let asked = gate.asked(&path);
    let mut next = WorkerProcess::start(&environment);
    topics.wait_for_outcomes(POSTS).await;
    next.signal("TERM");
    assert_eq!(next.wait().code(), Some(0), "{}", next.log());
    assert_eq!(topics.count(&topics.output()), i64::try_from(POSTS).expect("few"), "each once: {}", next.log());
    assert_eq!(gate.asked(&path), asked + 1, "one question for all of them");

    let run = |pairs: &[(&str, &str)]| {
        let mut command = sentistream(&["run"]);
        command.envs(environment.iter().map(|(key, value)| (key, value)));
        command.envs(pairs.iter().map(|(key, value)| (format!("SENTISTREAM__DECODE__REGISTRY__{key}"), value)));
        let (code, _, error) = ended(&command.stdin(Stdio::null()).output().expect("runs"));
        assert_ne!(code, 0);
        error
    };
    let wrong = password_file("letmein");
    let elsewhere = format!("http://{admin}");
    for (pairs, expected) in [
        (
            vec![("PASSWORD_FILE", wrong.path().to_str().expect("UTF-8"))],
            "answers 401 Unauthorized: set decode.registry.username",
        ),
        (vec![("URL", elsewhere.as_str())], "does not answer: "),
        (vec![("URL", &format!("{}/apis", gate.url))], "is no schema registry: "),
        (vec![("PASSWORD_FILE", "/not/there")], "decode.registry.password_file /not/there cannot be read: "),
    ] {
        let error = tokio::task::block_in_place(|| run(&pairs));
        assert!(error.contains(expected) && !error.contains("letmein"), "{expected}: {error}");
    }
}
