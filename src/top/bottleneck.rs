//! Which stage holds the others up, by what waits in front of each.
//!
//! What is in front of a bottleneck is full, all the way back to the source, and what is behind it runs empty. So it is the last
//! stage on the way with a full queue in front of it.

use serde::Serialize;

use crate::scrape::Samples;

/// A queue this full holds its stage's neighbour up.
const FULL: f64 = 0.5;
/// The source waits for room less than this share of the time: the worker keeps up.
const SELDOM: f64 = 0.1;

/// A stage, or that none holds anything up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bottleneck {
    /// `registry`, `fetch`, `decode`, `model`, `publish`; `None` where the worker keeps up.
    pub stage: Option<&'static str>,
    /// What waits in front of it.
    pub waiting: f64,
}

/// By the means of gauges, the share of time that the source waited for room, and how many records are done a second; `None` where
/// that is not told.
pub fn bottleneck(mean: &Samples, room_wait: Option<f64>) -> Option<Bottleneck> {
    let queue = |name: &str| mean.value(&format!("sentistream_queue_depth{{queue=\"{name}\"}}"));
    let in_flight = mean.value("sentistream_in_flight_limit_records")?;
    let stages = [
        ("registry", mean.value("sentistream_schema_waits").unwrap_or(0.0), in_flight),
        ("fetch", mean.value("sentistream_fetches_in_flight")?, in_flight),
        ("decode", queue("decode")?, in_flight),
        ("model", queue("batch")?, mean.value("sentistream_batch_limit_posts")?),
        ("publish", queue("publish")?, in_flight),
    ];
    let full = stages.iter().rev().find(|(_, waiting, most)| *most > 0.0 && waiting / most >= FULL);
    let most = stages.iter().filter(|(_, waiting, _)| *waiting >= 1.0).max_by(|one, other| one.1.total_cmp(&other.1));
    let found = if room_wait? < SELDOM { full } else { full.or(most) };
    Some(found.map_or(Bottleneck { stage: None, waiting: 0.0 }, |(stage, waiting, _)| Bottleneck {
        stage: Some(stage),
        waiting: *waiting,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::parse;

    fn of(fetch: u32, [decode, batch, publish]: [u32; 3], room_wait: f64) -> Option<&'static str> {
        let told = format!(
            "sentistream_fetches_in_flight {fetch}\nsentistream_in_flight_limit_records 256\n\
             sentistream_batch_limit_posts 32\nsentistream_queue_depth{{queue=\"decode\"}} {decode}\n\
             sentistream_queue_depth{{queue=\"batch\"}} {batch}\nsentistream_queue_depth{{queue=\"publish\"}} {publish}\n"
        );
        bottleneck(&parse(&told), Some(room_wait)).expect("told").stage
    }

    #[test]
    fn it_is_the_last_stage_with_a_full_queue_in_front_of_it() {
        assert_eq!(of(0, [0, 0, 0], 0.0), None, "nothing waits");
        assert_eq!(of(0, [3, 9, 0], 0.05), None, "a few do, as they come");
        assert_eq!(of(0, [200, 4, 0], 0.9), Some("decode"));
        assert_eq!(of(0, [200, 30, 0], 0.9), Some("model"), "decode has no room behind it");
        assert_eq!(of(0, [20, 30, 180], 0.9), Some("publish"));
        assert_eq!(of(250, [0, 0, 0], 0.9), Some("fetch"));
        assert_eq!(of(0, [60, 9, 0], 0.9), Some("decode"), "none is half full: the most");
        let told = "sentistream_schema_waits 250\nsentistream_fetches_in_flight 0\nsentistream_in_flight_limit_records 256\n\
            sentistream_batch_limit_posts 32\nsentistream_queue_depth{queue=\"decode\"} 0\n\
            sentistream_queue_depth{queue=\"batch\"} 0\nsentistream_queue_depth{queue=\"publish\"} 0\n";
        assert_eq!(bottleneck(&parse(told), Some(0.9)).and_then(|found| found.stage), Some("registry"));
        assert_eq!(bottleneck(&parse("a 1"), Some(1.0)), None, "no worker's metrics");
    }
}
