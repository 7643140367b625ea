//! `sentistream check`: whether a start would succeed, looked at without one. Every look is a [`Finding`], those that find
//! nothing wrong too, and what cannot be looked at because of an earlier finding is told as skipped.
//!
//! ```text
//! settings ─> host, registry, fetch, bundle, model, dashboard (this machine) ─> broker ─> topics ─> permissions
//! ```
//!
//! Nothing is changed: no group is joined, nothing is committed or published, no topic is altered. Missing topics are made
//! where that is asked for. What brokers are asked has a deadline, and all of it together has one.

mod broker;
mod dashboard;
mod host;
mod model;
mod permissions;
mod recommended;
mod topics;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

pub use self::recommended::PARTITIONS;
use crate::decode::Registry;
use crate::metrics::Metrics;
use crate::settings::Settings;

/// How long brokers may be asked in all. Each question has a deadline of its own; this one is for what does not keep to it.
const ALL_OF_BROKER: Duration = Duration::from_mins(2);

/// What somebody should do about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing: it was looked at and is well.
    Ok,
    /// Nothing before an earlier finding is mended, which kept this from being looked at.
    Skipped,
    /// Look at it: it works, and not as well as it could, or not for ever.
    Warning,
    /// Mend it: a start would fail, or nothing would be scored.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Where settings were read from.
    Settings,
    /// Ports and memory of this machine, and the collector of traces.
    Host,
    /// Images by URL.
    Fetch,
    /// The schema registry.
    Registry,
    /// The bundle's files.
    Bundle,
    /// ONNX Runtime, provider and graphs.
    Model,
    /// The dashboard's token, port and store.
    Dashboard,
    /// The brokers.
    Broker,
    /// The topics and their settings.
    Topics,
    /// What the user may do.
    Permissions,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Settings => "settings",
            Self::Host => "host",
            Self::Fetch => "fetch",
            Self::Registry => "registry",
            Self::Bundle => "bundle",
            Self::Model => "model",
            Self::Dashboard => "dashboard",
            Self::Broker => "broker",
            Self::Topics => "topics",
            Self::Permissions => "permissions",
        })
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub area: Area,
    /// How it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do; of warnings and errors.
    pub fix: Option<String>,
}

/// Whose start is looked at, by the command that starts it: each needs something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A worker
    Run,
    /// The dashboard
    Dashboard,
    /// Publishing posts
    Feed,
    /// Listing and replaying dead letters
    Dlq,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// For whom.
    pub role: Role,
    /// Make missing topics, with so many partitions.
    pub create: Option<i32>,
}

/// Looks at everything in turn and tells each finding when it is there.
pub async fn run(settings: &Settings, plan: Plan, mut tell: impl FnMut(Finding)) {
    let (sender, mut findings) = unbounded_channel();
    let report = Report(sender);
    let looking = look(settings, plan, &report);
    tokio::pin!(looking);
    loop {
        tokio::select! {
            biased;
            Some(finding) = findings.recv() => tell(finding),
            () = &mut looking => break,
        }
    }
    while let Ok(finding) = findings.try_recv() {
        tell(finding);
    }
}

async fn look(settings: &Settings, plan: Plan, report: &Report) {
    match plan.role {
        Role::Run => {
            host::ports(settings, report).await;
            host::traces(settings, report).await;
            registry(settings, report).await;
            let (settings, report) = (settings.clone(), report.clone());
            in_background(move || {
                model::check(&settings, &report);
                host::memory(&settings, &report);
            })
            .await;
        }
        Role::Dashboard => {
            dashboard::served(settings, report).await;
            dashboard::store(settings, report);
        }
        Role::Feed | Role::Dlq => {}
    }
    let (settings, told) = (settings.clone(), report.clone());
    let asked = timeout(ALL_OF_BROKER, in_background(move || broker::check(&settings, plan, &told))).await;
    if asked.is_err() {
        let what = format!("brokers left questions without an answer for {} s", ALL_OF_BROKER.as_secs());
        report.error(Area::Broker, what, "look at the brokers, and run the check again");
    }
}

/// The registry is asked as at a start, which takes `decode.registry.timeout_ms` at most.
async fn registry(settings: &Settings, report: &Report) {
    let Some(set) = &settings.decode.registry else { return };
    match Registry::check_set(Some(set), &Metrics::new()).await {
        Ok(()) => report.ok(Area::Registry, format!("{} answers as a schema registry", set.url)),
        Err(error) => report.error(Area::Registry, error.to_string(), "correct decode.registry (docs/attach.md)"),
    }
}

/// A panic there is a bug, and told as one.
async fn in_background(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = spawn_blocking(work).await
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

/// Where findings go.
#[derive(Clone)]
struct Report(UnboundedSender<Finding>);

impl Report {
    fn ok(&self, area: Area, what: impl Into<String>) {
        self.tell(Finding { area, severity: Severity::Ok, what: what.into(), fix: None });
    }

    fn skipped(&self, area: Area, what: impl Into<String>) {
        self.tell(Finding { area, severity: Severity::Skipped, what: what.into(), fix: None });
    }

    fn warning(&self, area: Area, what: impl Into<String>, fix: impl Into<String>) {
        self.tell(Finding { area, severity: Severity::Warning, what: what.into(), fix: Some(fix.into()) });
    }

    fn error(&self, area: Area, what: impl Into<String>, fix: impl Into<String>) {
        self.tell(Finding { area, severity: Severity::Error, what: what.into(), fix: Some(fix.into()) });
    }

    fn tell(&self, finding: Finding) {
        // Nobody listens any more only when time was over.
        let _ = self.0.send(finding);
    }
}

#[cfg(test)]
impl Report {
    /// What is told by `work`.
    fn told(work: impl FnOnce(&Self)) -> Vec<Finding> {
        let (sender, mut findings) = unbounded_channel();
        work(&Self(sender));
        std::iter::from_fn(|| findings.try_recv().ok()).collect()
    }
}
