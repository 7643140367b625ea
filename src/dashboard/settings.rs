//! The section `dashboard` of the settings: where the page is served, who may see it, and where its store lies.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::secret::{Secret, first_line};

/// A token that is shorter can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// The longest that a header or a cookie carries without trouble.
const LONGEST_TOKEN: usize = 512;
/// Ten years; sums by day are kept ten times as long.
const MOST_DAYS: u32 = 3650;

/// Where it is served, who may see it, what it keeps.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What every request has to bring.
    pub token: Option<Secret>,
    /// A file whose first line is the token.
    pub token_file: Option<PathBuf>,
    /// Names beside the loopback ones under which it is asked for, where there is no token.
    pub hosts: Vec<String>,
    /// The store's file; made where it is not there.
    pub store: PathBuf,
    /// How long posts are kept, and sums by minute and hour.
    pub retention_days: u32,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=MOST_DAYS).contains(&self.retention_days) {
            return Err(format!(
                "dashboard.retention_days is {}; set it between 1 and {MOST_DAYS}",
                self.retention_days
            ));
        }
        if self.store.as_os_str().is_empty() {
            return Err("dashboard.store is empty; give it the path of a file".into());
        }
        if self.token.is_some() && self.token_file.is_some() {
            return Err("dashboard.token and dashboard.token_file are both set; keep one of them".into());
        }
        if let Some(Secret(token)) = &self.token {
            check(token).map_err(|why| format!("dashboard.token {why}"))?;
        }
        for host in &self.hosts {
            if host.is_empty() || host.contains(['/', ' ', '*', '@']) || host.contains("..") {
                return Err(format!(
                    "dashboard.hosts has {host:?}; give host names as the browser shows them, such as sentiment.example.com"
                ));
            }
        }
        Ok(())
    }

    /// The token in force.
    ///
    /// # Errors
    /// A file that cannot be read or holds none, and an address that others reach without any.
    pub fn token(&self) -> Result<Option<Secret>, String> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(read(path)?),
            (None, None) => None,
        };
        if token.is_none() && !self.listen.ip().is_loopback() {
            return Err(format!(
                "dashboard.listen is {}, which others reach, and no token is set: set dashboard.token_file (or dashboard.token) to a secret of {SHORTEST_TOKEN} characters or more, or listen on 127.0.0.1:{} behind a proxy",
                self.listen,
                self.listen.port()
            ));
        }
        Ok(token)
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let Secret(line) = first_line("dashboard.token_file", path)?;
    let token = line.trim();
    check(token).map_err(|why| format!("the first line of dashboard.token_file {} {why}", path.display()))?;
    Ok(Secret(token.to_owned()))
}

fn check(token: &str) -> Result<(), String> {
    let fits = (SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len());
    if fits && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(format!(
        "is no token: give {SHORTEST_TOKEN} to {LONGEST_TOKEN} visible ASCII characters, for instance from: openssl rand -hex 24"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        crate::settings::load(None).expect("the defaults are valid").dashboard
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        let mut open = settings();
        open.listen = "0.0.0.0:9465".parse().expect("an address");
        let refused = open.token().expect_err("refused");
        assert!(refused.contains("dashboard.token_file") && refused.contains("127.0.0.1:9465"), "{refused}");
        open.token = Some(Secret("0123456789abcdef".into()));
        assert_eq!(open.token(), Ok(open.token.clone()));
        assert_eq!(settings().token(), Ok(None), "loopback needs none");
    }

    #[test]
    fn a_token_is_long_printable_and_in_one_place_only() {
        for (token, file) in [("short", None), ("0123456789abcde\u{e9}", None), ("0123456789abcdef", Some("token"))] {
            let mut wrong = settings();
            wrong.token = Some(Secret(token.into()));
            wrong.token_file = file.map(Into::into);
            assert!(wrong.validate().expect_err("refused").contains("dashboard.token"), "{token}");
            assert!(!format!("{wrong:?}").contains(token), "no log tells it");
        }
    }

    #[test]
    fn a_token_file_gives_its_first_line() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let mut by_file = settings();
        by_file.token_file = Some(file.path().to_owned());
        assert!(by_file.token().expect_err("empty").contains("token_file"));
        std::fs::write(file.path(), "0123456789abcdef\nmore\n").expect("written");
        assert_eq!(by_file.token(), Ok(Some(Secret("0123456789abcdef".into()))));
        by_file.token_file = Some("no-such-file".into());
        assert!(by_file.token().expect_err("absent").contains("no-such-file"));
    }

    #[test]
    fn nonsense_is_refused_by_its_key() {
        let mut wrong = settings();
        wrong.retention_days = 0;
        assert!(wrong.validate().expect_err("refused").contains("dashboard.retention_days"));
        let mut wrong = settings();
        wrong.hosts = vec!["https://sentiment.example.com".into()];
        assert!(wrong.validate().expect_err("refused").contains("dashboard.hosts"));
    }
}
