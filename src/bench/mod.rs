//! `sentistream bench`: our worker, the ceiling of the hardware and other contenders on the same posts, in turn, through the same
//! topic of a real broker. Nothing of it is in the worker's path.
//!
//! A [`corpus`] (of [`mosaic`]s, [`draw`]n texts, or the user's own posts) is fed once into an input topic. On this [`stand`] each
//! [`contender`] takes a [`turn`] in every round, in processes of its own ([`process`]): a consumer group and topics of its own, read
//! between two moments in mid-run ([`window`]). Our worker also tells of itself ([`stages`]). The [`ceiling`] needs no broker.
//! [`latency`] is measured apart, at a rate that leaves room, and [`report`] tells it all.

pub mod ceiling;
pub mod contender;
pub mod corpus;
pub mod draw;
pub mod latency;
pub mod mosaic;
pub mod process;
pub mod progress;
pub mod report;
pub mod stages;
pub mod stand;
pub mod turn;
pub mod window;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use anyhow::Result;

use self::ceiling::Layout;
use self::contender::{Contender, ceiling_turn};
use self::report::{ContenderTold, Round, Saturated};
use self::stages::Stage;
use self::stand::Stand;
use self::window::Measured;
use crate::cores::cores;
use crate::scrape::Samples;

/// What is to be measured on each corpus.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Turns of each contender.
    pub rounds: u32,
    /// Everybody but the ceiling.
    pub contenders: Vec<Contender>,
    /// The ceiling's; `None` tries which is best.
    pub layout: Option<Layout>,
    /// Whether the ceiling is measured.
    pub with_ceiling: bool,
    /// Share of its own rate that a contender's latency is measured at.
    pub load: f64,
    /// For how long; zero measures none.
    pub latency: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Measurements {
    /// What each layout did.
    pub layouts: Vec<(String, f64)>,
    /// In the order of their turns, the ceiling last.
    pub contenders: Vec<ContenderTold>,
    /// Where the worker's time went.
    pub stages: Vec<Stage>,
}

/// A name for topics and groups that nobody else has.
pub fn unique() -> String {
    format!("sentistream-bench-{:012x}", RandomState::new().hash_one(()) >> 16)
}

/// Feeds the corpus and lets everybody take their turns.
///
/// # Errors
/// What keeps one of them from being measured. The topics are deleted in any case.
pub fn measure(stand: &Stand<'_>, plan: &Plan, tell: &dyn Fn(&str)) -> Result<Measurements> {
    let (layout, layouts) = match plan.layout {
        _ if !plan.with_ceiling => (None, vec![]),
        Some(layout) => (Some(layout), vec![]),
        None => {
            tell("trying layouts of the ceiling");
            let (layout, layouts) = contender::calibrate(stand)?;
            (Some(layout), layouts)
        }
    };
    let turns = Turns::take(stand, plan, layout, tell)?;
    let reference = layout.map(|_| turns.ceiling.as_slice());
    let mut contenders = Vec::new();
    for (contender, rounds) in plan.contenders.iter().zip(turns.rounds) {
        let mut told = ContenderTold::of(contender.name(), rounds, reference);
        let counted = turns.counted.as_ref().filter(|_| *contender == Contender::Worker);
        told.saturated = counted.and_then(|(counted, _)| saturated(counted));
        if let Some(rate) = told.posts_per_second.filter(|_| !plan.latency.is_zero()) {
            let name = format!("{}-latency", unique());
            told.latency = Some(latency::measure(stand, contender, rate.median * plan.load, plan.latency, &name)?);
        }
        contenders.push(told);
    }
    if let Some(layout) = layout {
        let mut told = ContenderTold::of("ceiling", turns.ceiling.clone(), reference);
        told.layout = Some(layout.to_string());
        contenders.push(told);
    }
    let stages = turns.counted.map_or_else(Vec::new, |(counted, measured)| of_stages(stand, &counted, &measured));
    Ok(Measurements { layouts, contenders, stages })
}

/// What all turns showed.
#[derive(Default)]
struct Turns {
    /// Of each contender.
    rounds: Vec<Vec<Round>>,
    ceiling: Vec<Round>,
    /// Of the worker's last.
    counted: Option<(Samples, Measured)>,
}

impl Turns {
    /// Everybody in turn, and over again.
    fn take(stand: &Stand<'_>, plan: &Plan, layout: Option<Layout>, tell: &dyn Fn(&str)) -> Result<Self> {
        let name = unique();
        let fed = stand.own(&name, None, &[])?;
        stand.feed(&fed.input.name)?;
        let mut turns = Self { rounds: vec![vec![]; plan.contenders.len()], ..Self::default() };
        for round in 1..=plan.rounds {
            for (number, (contender, rounds)) in plan.contenders.iter().zip(&mut turns.rounds).enumerate() {
                let turn = turn::run(stand, contender, &fed.input, &format!("{name}-{round}-{number}"))?;
                tell(&format!("round {round}: {}: {:.1} posts/s", contender.name(), turn.measured.posts_per_second));
                turns.counted = turn.counted.map(|counted| (counted, turn.measured)).or(turns.counted);
                rounds.push(Round {
                    measured: turn.measured,
                    peak_memory: turn.peak_memory,
                    broker_cpu_seconds_per_post: turn.broker_cpu_seconds_per_post,
                });
            }
            if let Some(layout) = layout {
                let (measured, peak_memory) = ceiling_turn(stand, layout)?;
                tell(&format!("round {round}: ceiling {layout}: {:.1} posts/s", measured.posts_per_second));
                turns.ceiling.push(Round { measured, peak_memory, broker_cpu_seconds_per_post: None });
            }
        }
        Ok(turns)
    }
}

#[expect(clippy::cast_precision_loss, reason = "cores and posts")]
fn of_stages(stand: &Stand<'_>, counted: &Samples, measured: &Measured) -> Vec<Stage> {
    let cores = cores();
    let cores = if stand.pin { stand.workers } else { cores };
    stages::stages(counted, measured.seconds, cores as f64, measured.posts as f64)
}

fn saturated(counted: &Samples) -> Option<Saturated> {
    let quantile = |share| counted.quantile("sentistream_post_seconds", &[], share).map(|seconds| seconds * 1000.0);
    Some(Saturated { p50_ms: quantile(0.5)?, p99_ms: quantile(0.99)? })
}
