//! Makes metrics and registers them: every name gets the prefix of the program, and none is registered twice.

use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

use super::process::Process;

/// Makes the metrics of one registry.
pub(super) struct Maker {
    /// Where they are registered.
    pub registry: Registry,
}

#[expect(clippy::expect_used, reason = "names are literals of this module, and a test makes them all")]
impl Maker {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("sentistream_{name}"), help)
    }

    fn register<C: Collector + Clone + 'static>(&self, made: Result<C>) -> C {
        let collector = made.expect("valid metric");
        self.registry.register(Box::new(collector.clone())).expect("registered once");
        collector
    }

    /// Those of the process have names of their own.
    pub fn process(&self) -> Process {
        Process::register(&self.registry).expect("valid metrics, registered once")
    }

    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(Self::opts(name, help)))
    }

    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Self::opts(name, help), labels))
    }

    /// A counter of what comes in fractions.
    pub fn sum(&self, name: &str, help: &str) -> Counter {
        self.register(Counter::with_opts(Self::opts(name, help)))
    }

    pub fn sums(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.register(CounterVec::new(Self::opts(name, help), labels))
    }

    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::with_opts(Self::opts(name, help)))
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Self::opts(name, help), labels))
    }

    /// Gauges of what comes in fractions.
    pub fn measures(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(Self::opts(name, help), labels))
    }

    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec())))
    }

    pub fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels))
    }
}
