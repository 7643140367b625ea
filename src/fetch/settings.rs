//! The settings of fetching. Off unless a host or a root is given.

use std::path::{Component, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::hosts::HostRule;

/// The longest pause between two attempts, whatever a server asks for.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Which images may be fetched, and at what cost.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Hosts of `http:` and `https:` URLs; none refuses them all.
    #[serde(deserialize_with = "parsed_list")]
    pub hosts: Vec<HostRule>,
    /// Networks beyond the public ones that those hosts may lead to.
    #[serde(deserialize_with = "parsed_list")]
    pub networks: Vec<IpNet>,
    /// The folder below which `file:` URLs are read; `None` refuses them all.
    pub root: Option<PathBuf>,
    /// How long one attempt may take, redirects included.
    pub timeout_ms: u64,
    /// Redirects followed for one image.
    pub redirects: u32,
    /// Images being fetched, or fetched and not yet decoded.
    pub concurrency: usize,
    /// Of those, how many are being fetched from one host.
    pub per_host: usize,
    /// Attempts before an image is given up.
    pub attempts: u32,
}

impl Settings {
    /// Whether any URL is fetched at all.
    pub fn is_on(&self) -> bool {
        !self.hosts.is_empty() || self.root.is_some()
    }

    /// How long an image may take to be fetched or given up, once its turn has come.
    pub fn longest(&self) -> Duration {
        self.timeout().saturating_mul(self.attempts) + LONGEST_PAUSE.saturating_mul(self.attempts.saturating_sub(1))
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        let within = |key: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(format!("fetch.{key} is {value}; set it between {least} and {most}"))
        };
        within("timeout_ms", self.timeout_ms, 1, 300_000)?;
        within("redirects", self.redirects.into(), 0, 10)?;
        within("concurrency", self.concurrency as u64, 1, 1024)?;
        within("attempts", self.attempts.into(), 1, 10)?;
        if self.per_host == 0 || self.per_host > self.concurrency {
            return Err(format!(
                "fetch.per_host is {}; set it between 1 and fetch.concurrency ({})",
                self.per_host, self.concurrency
            ));
        }
        let is_plain =
            |root: &PathBuf| root.is_absolute() && !root.components().any(|part| part == Component::ParentDir);
        match &self.root {
            Some(root) if !is_plain(root) => Err(format!(
                "fetch.root is {}; set it to an absolute path without `..`, as file: URLs name their files",
                root.display()
            )),
            _ => Ok(()),
        }
    }
}

/// A list, or one text with commas: the environment knows no lists.
fn parsed_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(String),
        List(Vec<String>),
    }
    let items = match Given::deserialize(deserializer)? {
        Given::Text(text) => text.split(',').map(str::to_owned).collect(),
        Given::List(items) => items,
    };
    let items = items.iter().map(|item| item.trim()).filter(|item| !item.is_empty());
    let parse = |item: &str| item.parse().map_err(|error| D::Error::custom(format!("{item:?}: {error}")));
    items.map(parse).collect()
}
