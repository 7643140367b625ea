//! Where the schema registry is, and who asks it. A password shows in no log, error or `Debug`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use url::Url;

use crate::secret::Secret;

const DEFAULT_TIMEOUT_MS: u64 = 10_000;

/// A registry that speaks Confluent's API.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The root of its API.
    #[serde(deserialize_with = "root")]
    pub url: Url,
    /// The user, where it asks for one.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// A file whose first line is the password, in place of it.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that its own is signed by, beside those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Milliseconds that one answer may take.
    #[serde(default = "default_timeout")]
    pub timeout_ms: u64,
}

impl Settings {
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self) -> Result<(), String> {
        if self.password.is_some() && self.password_file.is_some() {
            return Err("decode.registry has both password and password_file; set one of them".into());
        }
        let has_password = self.password.is_some() || self.password_file.is_some();
        match (self.username.is_some(), has_password) {
            (true, false) => {
                return Err("decode.registry.username is set without a password; set password_file or password".into());
            }
            (false, true) => {
                return Err("decode.registry has a password without a user; set decode.registry.username".into());
            }
            _ => {}
        }
        if !(1..=300_000).contains(&self.timeout_ms) {
            let timeout = self.timeout_ms;
            return Err(format!("decode.registry.timeout_ms is {timeout}; set it between 1 and 300000"));
        }
        Ok(())
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

fn default_timeout() -> u64 {
    DEFAULT_TIMEOUT_MS
}

/// What is wrong is said without the text, which may hold a password.
fn root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    use serde::de::Error as _;

    let given = String::deserialize(deserializer)?;
    let url = Url::parse(&given).map_err(|error| {
        D::Error::custom(format!("decode.registry.url is no URL ({error}); set it to one such as http://registry:8081"))
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(D::Error::custom("decode.registry.url must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(D::Error::custom(
            "decode.registry.url must not hold a user; set decode.registry.username and password_file",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(D::Error::custom("decode.registry.url must end with a path: it is the root of the registry's API"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: serde_json::Value) -> Result<Settings, String> {
        let settings: Settings = serde_json::from_value(value).map_err(|error| error.to_string())?;
        settings.validate().map(|()| settings)
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_the_fix() {
        let url = "https://registry:8081";
        for (given, expected) in [
            (json!({"url": "registry:8081"}), "must begin with http:// or https://"),
            (json!({"url": "8081"}), "decode.registry.url is no URL"),
            (json!({"url": "https://me:hunter2@registry"}), "set decode.registry.username"),
            (json!({"url": "https://registry/?token=hunter2"}), "must end with a path"),
            (json!({"url": url, "username": "me"}), "without a password; set password_file"),
            (json!({"url": url, "password": "hunter2"}), "set decode.registry.username"),
            (json!({"url": url, "username": "me", "password": "hunter2", "password_file": "/x"}), "set one of them"),
            (json!({"url": url, "timeout_ms": 0}), "set it between 1 and 300000"),
            (json!({"url": url, "user": "me"}), "unknown field `user`"),
        ] {
            let refused = settings(given).expect_err(expected);
            assert!(refused.contains(expected) && !refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let settings = settings(json!({"url": "http://registry:8081", "username": "me", "password": "hunter2"}));
        let shown = format!("{:?}", settings.expect("sound"));
        assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }
}
