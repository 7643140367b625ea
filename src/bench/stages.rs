//! Where a worker's time went, by what it told of itself.

use serde::Serialize;

use crate::scrape::Samples;

/// Stages whose time is that of servers, many posts at once.
const WAITING: [&str; 2] = ["fetch", "publish"];

/// What a stage took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stage {
    /// Its name, as in `sentistream_stage_seconds`.
    pub stage: String,
    /// Seconds that threads were in it.
    pub busy_seconds: f64,
    /// The same by wall clock and cores: 1 is all cores all the time. `None` of stages that wait for others.
    pub utilisation: Option<f64>,
    /// The same by post.
    pub ms_per_post: f64,
}

/// Every stage that took time, in the order of their names.
pub fn stages(counted: &Samples, seconds: f64, cores: f64, posts: f64) -> Vec<Stage> {
    let sums = counted.series("sentistream_stage_seconds_sum");
    sums.filter_map(|(labels, busy_seconds)| Some((labels.get("stage")?.to_owned(), busy_seconds)))
        .map(|(stage, busy_seconds)| Stage {
            utilisation: (!WAITING.contains(&stage.as_str())).then_some(busy_seconds / (seconds * cores)),
            stage,
            busy_seconds,
            ms_per_post: busy_seconds * 1000.0 / posts,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::parse;

    #[test]
    fn time_by_stage_is_what_was_added_since() {
        let told = |pixels| parse(&format!("sentistream_stage_seconds_sum{{stage=\"pixels\"}} {pixels}\n"));
        let pixels = Stage { stage: "pixels".into(), busy_seconds: 3.0, utilisation: Some(0.5), ms_per_post: 30.0 };
        assert_eq!(stages(&told(5.0).since(&told(2.0)), 2.0, 3.0, 100.0), [pixels]);
        let waiting = stages(&parse("sentistream_stage_seconds_sum{stage=\"publish\"} 9\n"), 1.0, 1.0, 1.0);
        assert_eq!(waiting[0].utilisation, None, "to wait is not to be busy");
    }
}
