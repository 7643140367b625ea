//! What was measured, for programs (JSON; `docs/performance.md` has the schema) and for people (a table).

use std::fmt::{self, Write as _};
use std::fs;

use serde::Serialize;

use super::latency::Latency;
use super::stages::Stage;
use super::window::{Measured, Spread};
use crate::cores::cores;

/// Goes up with whatever changes its meaning.
pub const SCHEMA: u32 = 1;

/// Everything that one command measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of this program.
    pub version: &'static str,
    /// What it ran on.
    pub machine: Machine,
    /// One for each corpus.
    pub corpora: Vec<Run>,
}

/// What it ran on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// As Linux tells it.
    pub cpu: String,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = told.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let cpu = name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned());
        Self { cores: cores(), cpu }
    }
}

/// What was measured on one corpus.
#[derive(Debug, Serialize)]
pub struct Run {
    /// What was run through.
    pub corpus: CorpusTold,
    /// What scored it.
    pub bundle: BundleTold,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Processes of each contender.
    pub workers: usize,
    /// Whether each had a core to itself.
    pub pinned: bool,
    /// Settings that matter here.
    pub settings: serde_json::Value,
    /// What each layout of the ceiling did when it was tried, in posts a second; empty where one was given.
    pub ceiling_layouts: Vec<(String, f64)>,
    /// Everybody, in the order of their turns.
    pub contenders: Vec<ContenderTold>,
    /// Where the worker's time went, in the window of its last round.
    pub stages: Vec<Stage>,
}

/// A corpus.
#[derive(Debug, Serialize)]
pub struct CorpusTold {
    /// `photos-1080`, or the name of the path.
    pub name: String,
    /// Posts.
    pub posts: usize,
    /// Distinct contents.
    pub distinct: usize,
    /// Bytes of a distinct value on average.
    pub mean_bytes: f64,
    /// The same by pixel, where all images have one size.
    pub bytes_per_pixel: Option<f64>,
    /// What it was drawn from; `None` of posts of the user's own.
    pub seed: Option<u64>,
}

/// A bundle.
#[derive(Debug, Serialize)]
pub struct BundleTold {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Digest.
    pub digest: String,
}

/// A contender.
#[derive(Debug, Serialize)]
pub struct ContenderTold {
    /// `worker`, `ceiling`, or a peer's.
    pub name: String,
    /// Of the ceiling.
    pub layout: Option<String>,
    /// One for each round.
    pub rounds: Vec<Round>,
    /// Over the rounds.
    pub posts_per_second: Option<Spread>,
    /// Over the rounds.
    pub cpu_seconds_per_post: Option<Spread>,
    /// Posts a second in terms of the ceiling's of the same round: 1 is all there is to have. `None` without a ceiling.
    pub rate_to_ceiling: Option<Spread>,
    /// The ceiling's processor seconds a post in terms of the contender's, so that 1 is the best here too.
    pub cpu_to_ceiling: Option<Spread>,
    /// Most of any round, in bytes.
    pub peak_memory: u64,
    /// At a rate that leaves room; `None` where it was not measured.
    pub latency: Option<Latency>,
    /// At full load, from pull to acknowledged outcome, by the worker's own histogram (interpolated in its buckets), in the last round.
    pub saturated: Option<Saturated>,
}

/// A turn.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Within its window.
    #[serde(flatten)]
    pub measured: Measured,
    /// Bytes.
    pub peak_memory: u64,
    /// Where the broker could be found.
    pub broker_cpu_seconds_per_post: Option<f64>,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Saturated {
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
}

impl ContenderTold {
    /// Puts the rounds of a contender together; `ceiling` has as many.
    pub fn of(name: &str, rounds: Vec<Round>, ceiling: Option<&[Round]>) -> Self {
        let spread = |of: fn(&Measured) -> f64| Spread::of(rounds.iter().map(|round| of(&round.measured)));
        let ratio = |of: fn(&Measured, &Measured) -> f64| {
            let pairs = rounds.iter().zip(ceiling?);
            Spread::of(
                pairs.map(|(round, ceiling)| of(&round.measured, &ceiling.measured)).filter(|ratio| ratio.is_finite()),
            )
        };
        Self {
            name: name.to_owned(),
            layout: None,
            posts_per_second: spread(|measured| measured.posts_per_second),
            cpu_seconds_per_post: spread(|measured| measured.cpu_seconds_per_post),
            rate_to_ceiling: ratio(|own, ceiling| own.posts_per_second / ceiling.posts_per_second),
            cpu_to_ceiling: ratio(|own, ceiling| ceiling.cpu_seconds_per_post / own.cpu_seconds_per_post),
            peak_memory: rounds.iter().map(|round| round.peak_memory).max().unwrap_or(0),
            rounds,
            latency: None,
            saturated: None,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cores of {}; sentistream {}", self.machine.cores, self.machine.cpu, self.version)?;
        self.corpora.iter().try_for_each(|run| write!(f, "{run}"))?;
        self.corpora.iter().try_for_each(|run| writeln!(f, "{}", run.summary()))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CorpusTold { name, posts, distinct, mean_bytes, bytes_per_pixel, .. } = &self.corpus;
        let per_pixel = bytes_per_pixel.map(|bytes| format!(" ({bytes:.3} a pixel)")).unwrap_or_default();
        writeln!(f, "\n{name}: {posts} posts, {distinct} distinct, {mean_bytes:.0} bytes each{per_pixel}")?;
        let pinned = if self.pinned { ", one core each" } else { "" };
        let BundleTold { name, version, .. } = &self.bundle;
        writeln!(
            f,
            "bundle {name} {version}; {} partitions; {} process(es) of each contender{pinned}\n",
            self.partitions, self.workers
        )?;
        writeln!(
            f,
            "{:<20} {:>9} {:>15} {:>10} {:>9} {:>10} {:>6} {:>8} {:>8} {:>8}",
            "", "posts/s", "min-max", "to ceiling", "CPU ms", "to ceiling", "drift", "peak MiB", "p50 ms", "p99 ms"
        )?;
        self.contenders.iter().try_for_each(|contender| writeln!(f, "{}", row(contender)))?;
        if !self.stages.is_empty() {
            writeln!(f, "\n{:<16} {:>11} {:>12}", "worker's stages", "ms a post", "utilisation")?;
            for Stage { stage, utilisation, ms_per_post, .. } in &self.stages {
                let share = utilisation.map_or_else(|| "waits".into(), |share| format!("{:.1}%", share * 100.0));
                writeln!(f, "{stage:<16} {ms_per_post:>11.3} {share:>12}")?;
            }
        }
        Ok(())
    }
}

fn row(contender: &ContenderTold) -> String {
    let told =
        |number: Option<f64>, digits: usize| number.map_or_else(|| "-".into(), |number| format!("{number:.digits$}"));
    let (rate, cpu) = (contender.posts_per_second, contender.cpu_seconds_per_post);
    let latency = contender.latency.as_ref();
    let drift = Spread::of(contender.rounds.iter().map(|round| round.measured.drift));
    #[expect(clippy::cast_precision_loss, reason = "MiB")]
    let memory = contender.peak_memory as f64 / f64::from(1 << 20);
    let name =
        contender.layout.as_ref().map_or(contender.name.clone(), |layout| format!("{} {layout}", contender.name));
    format!(
        "{name:<20} {:>9} {:>15} {:>10} {:>9} {:>10} {:>6} {:>8} {:>8} {:>8}",
        told(rate.map(|rate| rate.median), 1),
        rate.map_or_else(String::new, |rate| format!("{:.1}-{:.1}", rate.min, rate.max)),
        told(contender.rate_to_ceiling.map(|ratio| ratio.median), 3),
        told(cpu.map(|cpu| cpu.median * 1000.0), 3),
        told(contender.cpu_to_ceiling.map(|ratio| ratio.median), 3),
        told(drift.map(|drift| drift.median), 2),
        told(Some(memory), 0),
        told(latency.map(|latency| latency.p50_ms), 0),
        told(latency.map(|latency| latency.p99_ms), 0),
    )
}

impl Run {
    /// One line.
    fn summary(&self) -> String {
        let mut line = String::new();
        let find = |name: &str| self.contenders.iter().find(|contender| contender.name == name);
        let Some((worker, rate)) = find("worker").and_then(|worker| Some((worker, worker.posts_per_second?))) else {
            return line;
        };
        let per_cpu = worker.cpu_seconds_per_post.map_or(f64::NAN, |cpu| 1.0 / cpu.median);
        // Writing to a text cannot fail.
        let _ = write!(
            line,
            "\n{}: worker {:.1} posts/s, {per_cpu:.1} posts per CPU-second",
            self.corpus.name, rate.median
        );
        if let Some((rate, cpu)) = worker.rate_to_ceiling.zip(worker.cpu_to_ceiling) {
            let _ = write!(line, "; {:.3} of the ceiling in posts/s, {:.3} in CPU", rate.median, cpu.median);
        }
        for peer in self.contenders.iter().filter(|contender| !["worker", "ceiling"].contains(&contender.name.as_str()))
        {
            let ratios = worker.rounds.iter().zip(&peer.rounds);
            let ratio =
                Spread::of(ratios.map(|(own, peer)| own.measured.posts_per_second / peer.measured.posts_per_second));
            if let Some(ratio) = ratio {
                let _ = write!(line, "; {:.2} times {}", ratio.median, peer.name);
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(rates: &[f64]) -> Vec<Round> {
        let measured = |rate: f64| Measured {
            posts: 800,
            seconds: 800.0 / rate,
            posts_per_second: rate,
            cpu_seconds_per_post: 2.0 / rate,
            drift: 1.0,
        };
        rates
            .iter()
            .map(|rate| Round { measured: measured(*rate), peak_memory: 5 << 20, broker_cpu_seconds_per_post: None })
            .collect()
    }

    fn report() -> Report {
        let ceiling = rounds(&[100.0, 200.0, 400.0]);
        let told = |name: &str, rates: &[f64]| ContenderTold::of(name, rounds(rates), Some(&ceiling));
        let contenders = vec![
            told("worker", &[90.0, 190.0, 200.0]),
            told("ceiling", &[100.0, 200.0, 400.0]),
            told("tuned", &[45.0, 19.0, 100.0]),
        ];
        let run = Run {
            corpus: CorpusTold {
                name: "photos-1080".into(),
                posts: 1000,
                distinct: 1000,
                mean_bytes: 190_000.0,
                bytes_per_pixel: Some(0.163),
                seed: Some(1),
            },
            bundle: BundleTold { name: "tiny".into(), version: "1.0.0".into(), digest: "ab".into() },
            partitions: 4,
            workers: 1,
            pinned: false,
            settings: serde_json::json!({}),
            ceiling_layouts: vec![("per-core:8".into(), 100.0)],
            contenders,
            stages: vec![Stage { stage: "pixels".into(), busy_seconds: 1.0, utilisation: Some(0.5), ms_per_post: 2.0 }],
        };
        Report { schema: SCHEMA, version: "0", machine: Machine { cores: 2, cpu: "a chip".into() }, corpora: vec![run] }
    }

    #[test]
    fn ratios_are_medians_of_the_rounds_ratios() {
        let report = report();
        let [worker, ceiling, _] = report.corpora[0].contenders.as_slice() else { panic!("three") };
        // 0.9, 0.95 and 0.5, though the medians of the rates would give 190 to 200.
        assert_eq!(worker.rate_to_ceiling.map(|ratio| ratio.median), Some(0.9));
        assert_eq!(worker.cpu_to_ceiling.map(|ratio| ratio.median), Some(0.9));
        assert_eq!(ceiling.rate_to_ceiling, Some(Spread { median: 1.0, min: 1.0, max: 1.0 }));
    }

    #[test]
    fn the_table_tells_everybody_and_the_last_line_the_ratios() {
        let text = report().to_string();
        for told in ["photos-1080: 1000 posts", "0.163 a pixel", "worker", "ceiling", "tuned", "pixels", "50.0%"] {
            assert!(text.contains(told), "{told} in {text}");
        }
        let last = text.trim_end().lines().last().expect("a line");
        assert!(
            last.contains("worker 190.0 posts/s")
                && last.contains("0.900 of the ceiling")
                && last.contains("2.00 times tuned"),
            "{last}"
        );
    }

    #[test]
    fn json_has_what_the_schema_says() {
        let json = serde_json::to_value(report()).expect("JSON");
        assert_eq!(json["schema"], 1);
        for path in [
            "/machine/cores",
            "/corpora/0/corpus/bytes_per_pixel",
            "/corpora/0/bundle/digest",
            "/corpora/0/contenders/0/rounds/0/posts_per_second",
            "/corpora/0/contenders/0/rounds/0/cpu_seconds_per_post",
            "/corpora/0/contenders/0/rate_to_ceiling/median",
            "/corpora/0/stages/0/utilisation",
        ] {
            assert!(json.pointer(path).is_some_and(|value| !value.is_null()), "{path} in {json}");
        }
    }
}
