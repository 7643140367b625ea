//! From a fuzzer's bytes to a record, and through the decoder of the default bundle and settings. The suite includes this
//! file too and runs all kept seeds through it, so what a seed means is said once.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sentistream::budget::Budget;
use sentistream::decode::{Decoded, Decoder, Spec};
use sentistream::message::{Assignment, Header, Origin, Position, Record, Verdict};
use sentistream::metrics::Metrics;
use sentistream::model::Bundle;
use sentistream::scorer;
use sentistream::settings::{self, Settings};

/// What is in a record, before it has a place in the flow.
#[derive(Debug, Default)]
pub struct Input {
    /// Header names and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value.
    pub value: Vec<u8>,
}

/// The input is the image.
pub fn image(input: &[u8]) -> Input {
    Input { headers: vec![("content-type".to_owned(), b"image/png".to_vec())], value: input.to_vec() }
}

/// The input is a whole record as HTTP would write it: lines `name: value`, an empty line, the record's value.
pub fn envelope(input: &[u8]) -> Input {
    let mut rest = input;
    let mut headers = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if line.is_empty() {
            return Input { headers, value: rest.to_vec() };
        }
        let colon = line.windows(2).position(|pair| pair == b": ").unwrap_or(line.len());
        let name = String::from_utf8_lossy(&line[..colon]).into_owned();
        headers.push((name, line.get(colon + 2..).unwrap_or_default().to_vec()));
    }
}

/// The input is texts, with a NUL between each and the next: caption, scene, place, time, and then tags and labels in turn.
pub fn text(input: &[u8]) -> Input {
    let whole = String::from_utf8_lossy(input);
    let mut texts = whole.split('\0');
    let mut next = || texts.next().unwrap_or_default();
    let (caption, scene, place, taken_at) = (next(), next(), next(), next());
    let (mut tags, mut objects) = (Vec::new(), Vec::new());
    for (number, text) in texts.enumerate() {
        if number % 2 == 0 {
            tags.push(text);
        } else {
            objects.push(serde_json::json!({"label": text, "score": 0.5}));
        }
    }
    let metadata = serde_json::json!({
        "caption": caption, "scene": scene, "place": place, "taken_at": taken_at, "tags": tags, "objects": objects
    });
    let mut input = image(PIXEL);
    input.headers.push(("metadata".to_owned(), metadata.to_string().into_bytes()));
    input
}

/// A GIF of one pixel.
const PIXEL: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// The decoder as a worker has it.
pub struct Decoding {
    decoder: Decoder,
    spec: Spec,
    metrics: Metrics,
    budget: Arc<Budget>,
}

impl Decoding {
    /// With the default bundle, and the default settings but for the largest image: what is fuzzed is small enough for
    /// thousands a second.
    pub fn small() -> Self {
        let mut settings = settings::load(None).expect("the defaults are valid");
        settings.decode.image_pixels = 1 << 20;
        Self::with(&settings)
    }

    /// With the default bundle.
    pub fn with(settings: &Settings) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bundle = repository.ancestors().map(|folder| folder.join("models/default")).find(|folder| folder.exists());
        let spec = scorer::spec(&Bundle::open(&bundle.expect("the default bundle")).expect("the default bundle"));
        let decoder = Decoder::new(settings.decode.clone(), spec.clone()).expect("the default bundle");
        let metrics = Metrics::new();
        let gauges = (metrics.in_flight_records.clone(), metrics.in_flight_bytes.clone());
        Self { decoder, spec, budget: Budget::new(settings.limits, gauges.0, gauges.1), metrics }
    }

    /// How the input ends: `prepared`, or the reason it is refused for. What is prepared is what a model takes.
    pub fn decode(&self, input: Input) -> String {
        match self.decoder.decode(self.record(input), &self.metrics) {
            Decoded::Prepared(prepared) => {
                let fields = &prepared.input.fields;
                assert_eq!(
                    prepared.input.picture.rgb().map(<[u8]>::len),
                    Some(self.spec.width as usize * self.spec.height as usize * 3)
                );
                assert_eq!(fields.len(), self.spec.fields.len());
                for tokens in fields.iter().flatten() {
                    assert!((1..=self.spec.max_tokens).contains(&tokens.len()), "{} tokens", tokens.len());
                }
                assert!(prepared.facts.tags.len() <= 16);
                "prepared".to_owned()
            }
            Decoded::Settled(outcome) => match outcome.verdict {
                Verdict::Refused { refusal, .. } => refusal.reason.to_string(),
                other => panic!("{other:?}"),
            },
        }
    }

    fn record(&self, input: Input) -> Record {
        let header = |(key, value): (String, Vec<u8>)| Header { key, value: Some(value.into()) };
        let place = Origin { topic: "posts".into(), partition: 0, offset: 0 };
        let position = Position {
            origin: place.clone(),
            place,
            assignment: Assignment::new(1),
            sequence: 0,
            permit: self.budget.admit(input.value.len()),
            pulled_at: Instant::now(),
        };
        let headers = input.headers.into_iter().map(header).collect();
        Record {
            position,
            key: None,
            value: Some(Bytes::from(input.value)),
            headers,
            timestamp: None,
            fetched: None,
            schema: None,
            span: None,
        }
    }
}
