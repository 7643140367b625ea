//! Payloads that another implementation wrote, and payloads that nobody should have written. The registry itself is asked in
//! tests/suite/registry.rs.

mod asking;

use apache_avro::types::Value as AvroValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A file of tests/fixtures/registry; make.py there says how it was made.
fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/registry");
    std::fs::read(folder.join(name)).expect(name)
}

fn text(name: &str) -> String {
    String::from_utf8(fixture(name)).expect("UTF-8")
}

fn compiled(kind: &str, schema: &str, references: &[(&str, &str)]) -> Result<Schema, String> {
    let references = references.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Source { kind: Some(kind.to_owned()), text: schema.to_owned(), references }.compile()
}

fn avro(schema: &Value) -> Schema {
    compiled("AVRO", &schema.to_string(), &[]).expect("a schema")
}

fn post(kind: &str) -> Schema {
    let name = ["post.avsc", "post.proto", "post.schema.json"]
        [["AVRO", "PROTOBUF", "JSON"].iter().position(|known| *known == kind).expect("known")];
    compiled(kind, &text(name), &[]).expect("a schema")
}

fn read(schema: &Schema, value: &[u8]) -> Result<Value, Refusal> {
    schema.json(value).map(|json| serde_json::from_slice(&json).expect("JSON"))
}

/// With a prefix in front.
fn read_payload(schema: &Schema, payload: &[u8]) -> Result<Value, Refusal> {
    read(schema, &[&[0, 0, 0, 0, 1], payload].concat())
}

fn refused(schema: &Schema, payload: &[u8]) -> String {
    read_payload(schema, payload).expect_err("refused").to_string()
}

#[test]
fn what_confluents_own_client_wrote_in_avro_is_read() {
    let value = fixture("avro.bin");
    assert_eq!(id(&value), Ok(1));
    let expected = json!({
        "id": "3f2b8c1e-9d4a-4c57-8a6b-0e1f2d3c4b5a", "account": "acme", "created_at": "2026-11-27T09:00:00.25Z",
        "kind": "DRAWING", "photo": "AAEC/w==", "text": null, "hashtags": ["summer", "größe"],
        "labels": [{"label": "dog", "score": 0.93}, {"label": "hat", "score": null}], "taken_on": "2026-11-27",
        "price": -12.50, "counts": {"likes": -7}
    });
    assert_eq!(read(&post("AVRO"), &value), Ok(expected));
}

#[test]
fn what_confluents_own_client_wrote_in_protobuf_is_read() {
    let value = fixture("protobuf.bin");
    assert_eq!(id(&value), Ok(1));
    let expected = json!({
        "id": "3f2b8c1e-9d4a-4c57-8a6b-0e1f2d3c4b5a", "account": "acme", "created_at": "2026-11-27T09:00:00.250Z",
        "kind": "DRAWING", "photo": "AAEC/w==", "hashtags": ["summer", "größe"],
        "labels": [{"label": "dog", "score": 0.93}, {"label": "hat", "score": 0.0}], "likes": 9_007_199_254_740_993_i64,
        "counts": {"likes": -7}
    });
    assert_eq!(read(&post("PROTOBUF"), &value), Ok(expected));
}

#[test]
fn what_confluents_own_client_wrote_in_json_is_read() {
    let expected = json!({"id": "3f2b8c1e-9d4a-4c57-8a6b-0e1f2d3c4b5a", "text": "größe", "photo": "AAEC/w=="});
    assert_eq!(read(&post("JSON"), &fixture("json.bin")), Ok(expected));
}

#[test]
fn a_value_that_is_cut_anywhere_or_goes_on_is_refused() {
    let (schema, value) = (post("AVRO"), fixture("avro.bin"));
    for end in PREFIX..value.len() {
        let refused = schema.json(&value[..end]).expect_err("cut").to_string();
        assert!(refused.starts_with("schema_mismatch: the value does not fit its schema: "), "{end}: {refused}");
    }
    let longer = [value.as_slice(), &[0]].concat();
    assert!(schema.json(&longer).expect_err("longer").to_string().contains("1 bytes are left"));
    for end in 1..PREFIX {
        assert_eq!(id(&value[..end]).expect_err("cut").reason, Reason::SchemaMismatch);
    }
    let protobuf = post("PROTOBUF");
    for (payload, expected) in [
        (&b""[..], "it ends within, or has no, message indexes"),
        (&[4, 0], "it ends within, or has no, message indexes"),
        (&[2, 8], "its schema has no message [4]"),
        (&[1], "it ends within, or has no, message indexes"),
        (&[0, 0x0a], "the value is no message com.example.feed.Envelope"),
    ] {
        assert!(refused(&protobuf, payload).contains(expected), "{}", refused(&protobuf, payload));
    }
}

#[test]
fn no_registry_has_ids_beyond_javas() {
    for bad in [[0, 0, 0, 0, 0], [0, 0x80, 0, 0, 0], [0, 0xFF, 0xFF, 0xFF, 0xFF]] {
        assert_eq!(id(&bad).expect_err("refused").reason, Reason::SchemaUnknown);
    }
    assert_eq!(id(&[0, 0x7F, 0xFF, 0xFF, 0xFF]), Ok(i32::MAX.cast_unsigned()));
}

#[test]
fn every_type_of_avro_becomes_json() {
    let schema = |kind: Value| avro(&kind);
    let logical = |kind: &str, logical: &str| schema(json!({"type": kind, "logicalType": logical}));
    let fixed = |size: usize, more: Value| {
        let mut whole = json!({"type": "fixed", "name": "F", "size": size});
        whole.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        avro(&whole)
    };
    for (schema, payload, expected) in [
        (schema(json!("null")), vec![], json!(null)),
        (schema(json!("boolean")), vec![1], json!(true)),
        (schema(json!("int")), vec![1], json!(-1)),
        (schema(json!("double")), f64::NAN.to_le_bytes().to_vec(), json!(null)),
        (schema(json!("double")), 1e300_f64.to_le_bytes().to_vec(), json!(1e300)),
        (schema(json!("float")), 0.1_f32.to_le_bytes().to_vec(), json!(0.1)),
        (schema(json!({"type": "map", "values": "boolean"})), vec![1, 6, 2, b'a', 0, 0], json!({"a": false})),
        (schema(json!({"type": "array", "items": "int"})), vec![2, 2, 2, 4, 0], json!([1, 2])),
        (fixed(2, json!({})), vec![0, 255], json!("AP8=")),
        (fixed(12, json!({"logicalType": "duration"})), vec![0; 12], json!("AAAAAAAAAAAAAAAA")),
        (fixed(16, json!({"logicalType": "uuid"})), (0..16).collect(), json!("00010203-0405-0607-0809-0a0b0c0d0e0f")),
        (fixed(2, json!({"logicalType": "decimal", "precision": 4, "scale": 3})), vec![0xFF, 0xFE], json!(-0.002)),
        (logical("int", "time-millis"), vec![0xD0, 0x0F], json!("00:00:01")),
        (logical("long", "timestamp-micros"), vec![2], json!("1970-01-01T00:00:00.000001Z")),
        (logical("long", "local-timestamp-millis"), vec![0xD0, 0x0F], json!("1970-01-01T00:00:01")),
        // Beyond any calendar: the number it is.
        (logical("long", "timestamp-millis"), vec![0xFF; 9].into_iter().chain([1]).collect(), json!(i64::MIN)),
    ] {
        assert_eq!(read_payload(&schema, &payload), Ok(expected), "{schema:?}");
    }
}

#[test]
fn schemas_may_refer_to_others() {
    let label =
        r#"{"type": "record", "name": "Label", "namespace": "other", "fields": [{"name": "label", "type": "string"}]}"#;
    let schema = json!({"type": "record", "name": "Post", "namespace": "feed", "fields": [
        {"name": "first", "type": "other.Label"}, {"name": "second", "type": ["null", "other.Label"]}
    ]});
    let schema = compiled("AVRO", &schema.to_string(), &[("other.Label", label)]).expect("a schema");
    let value = read_payload(&schema, &[2, b'a', 2, 2, b'b']);
    assert_eq!(value, Ok(json!({"first": {"label": "a"}, "second": {"label": "b"}})));

    let proto = "syntax = \"proto3\"; import \"a/label.proto\"; message Post { other.Label first = 1; }";
    let label = "syntax = \"proto3\"; package other; message Label { string label = 1; }";
    let schema = compiled("PROTOBUF", proto, &[("a/label.proto", label)]).expect("a schema");
    assert_eq!(read_payload(&schema, &[0, 10, 3, 10, 1, b'a']), Ok(json!({"first": {"label": "a"}})));
    let refused = compiled("PROTOBUF", proto, &[]).expect_err("it refers to what is not there");
    assert!(refused.contains("a/label.proto"), "{refused}");
}

#[test]
fn a_schema_that_is_none_is_refused() {
    let deep = format!("syntax = \"proto3\"; option (x) = {{ {}", "a { ".repeat(100_000));
    for (kind, schema, expected) in [
        ("AVRO", r#"{"type": "record"}"#, "it is no Avro schema: "),
        ("AVRO", r#""com.example.Nowhere""#, "it is no Avro schema: "),
        ("AVRO", &"[".repeat(10_000), "it is no Avro schema: "),
        ("PROTOBUF", "message {", "it is no Protobuf schema: "),
        ("PROTOBUF", &deep, "it is nested deeper than 64"),
        ("XML", "", "read are AVRO, PROTOBUF and JSON"),
    ] {
        let refused = compiled(kind, schema, &[]).expect_err(kind);
        assert!(refused.contains(expected), "{refused}");
    }
}

/// A list that holds itself, as the least that a level can cost.
fn recursive() -> Schema {
    avro(&json!({"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]}))
}

#[test]
fn a_payload_that_nests_or_swells_without_end_is_refused_before_it_does() {
    assert!(refused(&recursive(), &vec![2; 4 << 20]).starts_with("too_deep: "));
    let endless = avro(&json!({"type": "record", "name": "R", "fields": [{"name": "r", "type": "R"}]}));
    assert!(refused(&endless, b"").starts_with("too_deep: "));
    let nulls = avro(&json!({"type": "array", "items": "null"}));
    let most = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
    assert!(refused(&nulls, &most).starts_with("too_large: the value has more than "));
    let bytes = avro(&json!("bytes"));
    assert!(refused(&bytes, &most).starts_with("schema_mismatch: "));
    let protobuf = compiled("PROTOBUF", "syntax = \"proto3\"; message M { M m = 1; }", &[]).expect("a schema");
    let mut nested: Vec<u8> = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![10];
        prost::encoding::encode_varint(nested.len() as u64, &mut outer);
        nested = [outer, nested].concat();
    }
    assert!(refused(&protobuf, &[&[0], nested.as_slice()].concat()).starts_with("schema_mismatch: "));
}

#[test]
fn a_message_of_more_values_than_any_post_has_is_refused_before_they_are_kept() {
    let proto = "syntax = \"proto3\"; message M { repeated M m = 1; repeated bool b = 2; string s = 3; M one = 4; }";
    let schema = compiled("PROTOBUF", proto, &[]).expect("a schema");
    let many = |of: &[u8], times: usize| [&[0], of.repeat(times).as_slice()].concat();
    // Messages of one field, packed numbers, the one field again and again, a field that no one knows, and a group.
    let mut packed = vec![18];
    prost::encoding::encode_varint(200_000, &mut packed);
    packed.extend(vec![1; 200_000]);
    for payload in [
        many(&[10, 2, 26, 0], 200_000),
        many(&packed, 1),
        many(&[34, 0], 200_000),
        many(&[0x78, 1], 200_000),
        many(&[0x0B], 1),
    ] {
        assert!(refused(&schema, &payload).starts_with("too_large: the value has more than 131072 values"));
    }
    assert!(read_payload(&schema, &many(&[10, 2, 26, 0], 1_000)).is_ok());
}

#[test]
fn what_an_any_holds_is_left_as_it_is() {
    let proto = "syntax = \"proto3\"; import \"google/protobuf/any.proto\"; message M { google.protobuf.Any any = 1; }";
    let schema = compiled("PROTOBUF", proto, &[]).expect("a schema");
    let of_bytes = |field: u8, bytes: &[u8]| {
        let mut whole = vec![field << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut whole);
        [whole.as_slice(), bytes].concat()
    };
    // As many as would use up the stack of any thread, were they read.
    let url = "/google.protobuf.Any";
    let mut held: Vec<u8> = Vec::new();
    for _ in 0..5_000 {
        held = [of_bytes(1, url.as_bytes()), of_bytes(2, &held)].concat();
    }
    let outer = [of_bytes(1, url.as_bytes()), of_bytes(2, &held)].concat();
    let value = read_payload(&schema, &[&[0], of_bytes(1, &outer).as_slice()].concat()).expect("JSON");
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &held);
    assert_eq!(value, json!({"any": {"type_url": url, "value": base64}}));
}

#[test]
fn googles_struct_is_as_deep_as_the_reader_goes_and_no_deeper() {
    let proto =
        "syntax = \"proto3\"; import \"google/protobuf/struct.proto\"; message M { google.protobuf.Value v = 1; }";
    let schema = compiled("PROTOBUF", proto, &[]).expect("a schema");
    let nested = |lists: usize| {
        // A value that is true, in as many lists.
        let mut value = vec![0x20, 1];
        for _ in 0..lists {
            for key in [0x0a, 0x32] {
                let mut outer = vec![key];
                prost::encoding::encode_varint(value.len() as u64, &mut outer);
                value = [outer, value].concat();
            }
        }
        let mut message = vec![0, 0x0a];
        prost::encoding::encode_varint(value.len() as u64, &mut message);
        [message, value].concat()
    };
    assert_eq!(read_payload(&schema, &nested(2)), Ok(json!({"v": [[true]]})));
    assert!(refused(&schema, &nested(5_000)).starts_with("schema_mismatch: "));
}

#[test]
fn a_decimal_of_more_digits_than_any_database_has_is_refused() {
    let decimal = |scale: u64| {
        avro(&json!({"type": "bytes", "logicalType": "decimal", "precision": 200_000_000_000_u64, "scale": scale}))
    };
    let smallest = format!("0.{}1", "0".repeat(76));
    let json = decimal(77).json(&[0, 0, 0, 0, 1, 2, 1]).expect("a number");
    assert_eq!(String::from_utf8(json).expect("UTF-8"), smallest);
    for scale in [78, 100_000_000_000] {
        let refused = refused(&decimal(scale), &[2, 1]);
        assert!(
            refused.starts_with("schema_mismatch: ") && refused.contains(&format!("the scale {scale};")),
            "{refused}"
        );
    }
}

#[test]
fn protobufs_nesting_is_counted_outside_of_texts_and_comments() {
    let schema = |body: &str| compiled("PROTOBUF", &format!("syntax = \"proto3\"; {body} message M {{}}"), &[]);
    for body in [format!("/* {} */", "{".repeat(99)), format!("// {}\n", "{".repeat(99))] {
        schema(&body).expect("a comment");
    }
    let hidden = format!("message A {{ /* }} */ string s = 1 [json_name = \"}}\\\"\"]; {}", "message A { ".repeat(64));
    assert!(schema(&hidden).expect_err("deep").contains("nested deeper"), "what closes nothing does not count");
}

proptest! {
    #[test]
    fn no_payload_panics(payload in prop::collection::vec(any::<u8>(), 0..200), index in 0_usize..4) {
        let schema = [post("AVRO"), post("PROTOBUF"), recursive(), post("JSON")].into_iter().nth(index).expect("one");
        let _ = schema.json(&[&[0, 0, 0, 0, 1], payload.as_slice()].concat());
        let _ = id(&payload);
    }

    #[test]
    fn no_flipped_bit_panics(position in PREFIX..130, bit in 0_u8..8, index in 0_usize..2) {
        let (kind, name) = [("AVRO", "avro.bin"), ("PROTOBUF", "protobuf.bin")][index];
        let mut value = fixture(name);
        let position = position.min(value.len() - 1);
        value[position] ^= 1 << bit;
        let _ = post(kind).json(&value);
    }

    #[test]
    fn no_schema_panics(schema in "[{}\\[\\]\"a-z1;= ]{0,80}", kind in 0_usize..2) {
        let _ = compiled(["AVRO", "PROTOBUF"][kind], &format!("syntax = \"proto3\"; message {schema}"), &[]);
        let _ = compiled("AVRO", &schema, &[]);
    }

    #[test]
    fn what_the_crate_writes_in_avro_is_read(
        numbers in prop::collection::vec(any::<i64>(), 0..9), string in any::<String>(), flag in any::<bool>(), eighths in any::<i32>()
    ) {
        // Which any reader of JSON reads to the bit.
        let real = f64::from(eighths) / 8.0;
        let schema = json!({"type": "record", "name": "R", "fields": [
            {"name": "numbers", "type": {"type": "array", "items": "long"}}, {"name": "string", "type": ["null", "string"]},
            {"name": "flag", "type": "boolean"}, {"name": "real", "type": "double"}
        ]});
        let written = apache_avro::Schema::parse(&schema).expect("a schema");
        let value = AvroValue::Record(vec![
            ("numbers".into(), AvroValue::Array(numbers.iter().copied().map(AvroValue::Long).collect())),
            ("string".into(), AvroValue::Union(1, Box::new(AvroValue::String(string.clone())))),
            ("flag".into(), AvroValue::Boolean(flag)),
            ("real".into(), AvroValue::Double(real)),
        ]);
        let payload = apache_avro::writer::datum::GenericDatumWriter::builder(&written)
            .build().expect("a writer").write_value_to_vec(value).expect("written");
        let expected = json!({"numbers": numbers, "string": string, "flag": flag, "real": real});
        prop_assert_eq!(read_payload(&avro(&schema), &payload), Ok(expected));
    }

    #[test]
    fn a_varint_is_read_as_it_is_written(number in any::<i64>()) {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(((number << 1) ^ (number >> 63)).cast_unsigned(), &mut bytes);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(varint(&mut rest), Some(number));
        prop_assert!(rest.is_empty());
    }
}
