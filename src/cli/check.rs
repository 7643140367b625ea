//! `sentistream check`: looks at everything that a start needs, and prints a line for each thing it looked at.

use std::io::{self, Write as _};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::json;

use super::{Common, Ended, printable};
use crate::check::{self, Area, Finding, PARTITIONS, Plan, Role, Severity};
use crate::settings::{self, Settings};

/// Of the JSON.
const SCHEMA: u32 = 1;

pub(super) const HELP: &str = "\
Examples:
  sentistream check --config worker.yaml
  sentistream check --create --partitions 12
  sentistream check --for dashboard
  sentistream check --json --strict | jq '.findings[] | select(.severity != \"ok\")'

Looks at what the command of --for needs, and says of each thing how it is: ok, warning, error, or
skipped where an earlier error is in the way; of warnings and errors also what to do. It joins no
group, commits nothing, publishes nothing and alters no topic. Brokers have 10 s for each question.
docs/check.md lists what is looked at.

Exit code 0: no error (and with --strict no warning); 1: an error; 2: settings that cannot be used.";

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The command whose start is looked at
    #[arg(long = "for", value_name = "COMMAND", value_enum, default_value_t = Role::Run)]
    role: Role,
    /// Make topics that are missing, with the settings that docs/check.md recommends
    #[arg(long)]
    create: bool,
    /// Partitions of the topics that --create makes
    #[arg(long, value_name = "N", default_value_t = PARTITIONS, value_parser = clap::value_parser!(i32).range(1..=10_000), requires = "create")]
    partitions: i32,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
    /// Print one JSON object in place of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) common: Common,
}

/// # Errors
/// When something is wrong that a start needs, or standard output is closed.
pub async fn run(settings: &Settings, arguments: &Arguments) -> Result<Ended> {
    let plan = Plan { role: arguments.role, create: arguments.create.then_some(arguments.partitions) };
    let (mut findings, mut printed) = (Vec::new(), Ok(()));
    let mut tell = |finding: Finding| {
        if printed.is_ok() {
            printed = print(arguments, &finding);
        }
        findings.push(finding);
    };
    tell(settings_read(arguments));
    check::run(settings, plan, tell).await;
    printed?;
    let of = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let [errors, warnings, skipped] = [Severity::Error, Severity::Warning, Severity::Skipped].map(of);
    let failed = errors > 0 || (arguments.strict && warnings > 0);
    if arguments.json {
        let object = json!({
            "schema": SCHEMA,
            "version": env!("CARGO_PKG_VERSION"),
            "for": arguments.role,
            "passed": !failed,
            "errors": errors,
            "warnings": warnings,
            "skipped": skipped,
            "findings": findings,
        });
        writeln!(io::stdout(), "{object:#}")?;
    } else {
        let looked = findings.len() - skipped;
        writeln!(io::stdout(), "{looked} looked at: {errors} errors, {warnings} warnings; {skipped} skipped")?;
    }
    if failed {
        bail!("the check found {errors} errors and {warnings} warnings; each is told on standard output with its fix");
    }
    Ok(Ended::Done)
}

/// Where the settings came from, by name: values may be secrets.
fn settings_read(arguments: &Arguments) -> Finding {
    let mut sources = vec!["the built-in defaults".to_owned()];
    sources.extend(arguments.common.config.as_ref().map(|file| file.display().to_string()));
    sources.extend(settings::variables());
    let what = format!("read from {}", sources.join(", "));
    Finding { area: Area::Settings, severity: Severity::Ok, what, fix: None }
}

/// A line, and one for its fix; nothing where all of it is one object at the end.
fn print(arguments: &Arguments, finding: &Finding) -> io::Result<()> {
    if arguments.json {
        return Ok(());
    }
    let Finding { area, severity, what, fix } = finding;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", printable(&format!("{severity:<8} {area:<12} {what}")))?;
    if let Some(fix) = fix {
        writeln!(out, "{}", printable(&format!("{:<8} {:<12} fix: {fix}", "", "")))?;
    }
    out.flush()
}
