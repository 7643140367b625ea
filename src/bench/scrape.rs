//! What a worker tells of itself on its admin port: time by stage, and how long posts took.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Stages whose time is that of servers, many posts at once.
const WAITING: [&str; 2] = ["fetch", "publish"];

/// The samples of `/metrics`: value by name with labels, as written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(BTreeMap<String, f64>);

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

/// Of the text format of Prometheus.
pub fn parse(text: &str) -> Samples {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    Samples(
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect(),
    )
}

/// Asks the worker at `host:port`.
///
/// # Errors
/// When it does not answer.
pub fn scrape(address: &str) -> Result<Samples> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().with_context(|| format!("the worker's admin port at {address} does not answer"))?;
    Ok(parse(answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)))
}

impl Samples {
    /// A value; 0 where there is none yet.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// What was counted since, of several workers' together.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().map(|(name, value)| (name.clone(), value - before.get(name))).collect())
    }

    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value;
        }
    }

    /// Every stage that took time, in the order of their names.
    pub fn stages(&self, seconds: f64, cores: f64, posts: f64) -> Vec<Stage> {
        let prefix = "sentistream_stage_seconds_sum{stage=\"";
        let sums =
            self.0.iter().filter_map(|(name, busy)| Some((name.strip_prefix(prefix)?.strip_suffix("\"}")?, *busy)));
        sums.map(|(stage, busy_seconds)| Stage {
            stage: stage.to_owned(),
            busy_seconds,
            utilisation: (!WAITING.contains(&stage)).then_some(busy_seconds / (seconds * cores)),
            ms_per_post: busy_seconds * 1000.0 / posts,
        })
        .collect()
    }

    /// A quantile of a histogram in seconds, between the bounds of its bucket in proportion; `None` of an empty one.
    pub fn quantile(&self, histogram: &str, share: f64) -> Option<f64> {
        let prefix = format!("{histogram}_bucket{{le=\"");
        let mut buckets: Vec<(f64, f64)> = self
            .0
            .iter()
            .filter_map(|(name, count)| {
                let bound = name.strip_prefix(&prefix)?.strip_suffix("\"}")?;
                Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, *count))
            })
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let wanted = share * buckets.last()?.1;
        let mut below = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted && count > 0.0 {
                let within = if count > below.1 { (wanted - below.1) / (count - below.1) } else { 0.0 };
                return Some(if bound.is_finite() { below.0 + (bound - below.0) * within } else { below.0 });
            }
            below = (bound, count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pixels: f64, buckets: [u32; 3]) -> Samples {
        let [first, second, all] = buckets;
        parse(&format!(
            "# HELP sentistream_stage_seconds Time.\nsentistream_stage_seconds_sum{{stage=\"pixels\"}} {pixels}\n\
             sentistream_stage_seconds_count{{stage=\"pixels\"}} 3\nsentistream_post_seconds_bucket{{le=\"0.5\"}} {first}\n\
             sentistream_post_seconds_bucket{{le=\"1\"}} {second}\nsentistream_post_seconds_bucket{{le=\"+Inf\"}} {all}\n"
        ))
    }

    #[test]
    fn time_by_stage_is_what_was_added_since() {
        let between = told(5.0, [0, 0, 0]).since(&told(2.0, [0, 0, 0]));
        let pixels = Stage { stage: "pixels".into(), busy_seconds: 3.0, utilisation: Some(0.5), ms_per_post: 30.0 };
        assert_eq!(between.stages(2.0, 3.0, 100.0), [pixels]);
        let waiting = parse("sentistream_stage_seconds_sum{stage=\"publish\"} 9\n").stages(1.0, 1.0, 1.0);
        assert_eq!(waiting[0].utilisation, None, "to wait is not to be busy");
    }

    #[test]
    fn workers_add_up() {
        let mut both = told(1.0, [1, 1, 1]);
        both.add(&told(2.0, [0, 1, 1]));
        assert_eq!(
            (both.stages(1.0, 1.0, 1.0)[0].busy_seconds, both.get("sentistream_post_seconds_bucket{le=\"1\"}")),
            (3.0, 2.0)
        );
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let samples = told(0.0, [50, 100, 100]);
        assert_eq!(samples.quantile("sentistream_post_seconds", 0.5), Some(0.5));
        assert_eq!(samples.quantile("sentistream_post_seconds", 0.75), Some(0.75));
        assert_eq!(told(0.0, [0, 0, 10]).quantile("sentistream_post_seconds", 0.5), Some(1.0), "beyond the last bound");
        assert_eq!(told(0.0, [0, 0, 0]).quantile("sentistream_post_seconds", 0.5), None);
    }
}
