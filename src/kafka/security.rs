//! The section `kafka.security`: how a broker is reached that does not let everybody in. It becomes librdkafka's options,
//! and what is missing, contradicts itself or cannot be read is refused first, by its key and with the fix.
//!
//! Secrets come from files or the environment and are told by nothing here. [`faults`] says why a client is not let in,
//! [`acls`] what it is not permitted.

pub mod acls;
pub mod faults;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::settings::Options;
use crate::secret::{Secret, first_line};

/// What librdkafka calls that which this section sets. Once it is used, they are set here and nowhere else.
const COVERED: &[(&str, &str)] = &[
    ("security.protocol", "protocol"),
    ("ssl.ca.location", "ca_file"),
    ("ssl.ca.pem", "ca_file"),
    ("ssl.certificate.location", "certificate_file"),
    ("ssl.certificate.pem", "certificate_file"),
    ("ssl.keystore.location", "certificate_file and kafka.security.key_file"),
    ("ssl.keystore.password", "key_password_file"),
    ("ssl.key.location", "key_file"),
    ("ssl.key.pem", "key_file"),
    ("ssl.key.password", "key_password_file"),
    ("sasl.mechanism", "mechanism"),
    ("sasl.mechanisms", "mechanism"),
    ("sasl.username", "username"),
    ("sasl.password", "password_file"),
    ("sasl.oauthbearer.method", "mechanism"),
    ("sasl.oauthbearer.token.endpoint.url", "oauth.token_endpoint"),
    ("sasl.oauthbearer.client.id", "oauth.client_id"),
    ("sasl.oauthbearer.client.credentials.client.id", "oauth.client_id"),
    ("sasl.oauthbearer.client.secret", "oauth.client_secret_file"),
    ("sasl.oauthbearer.client.credentials.client.secret", "oauth.client_secret_file"),
    ("sasl.oauthbearer.scope", "oauth.scope"),
    ("https.ca.location", "oauth.ca_file"),
    ("https.ca.pem", "oauth.ca_file"),
];

/// What is spoken on a broker's listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither TLS nor a user.
    #[default]
    Plaintext,
    /// TLS; the client may be known by its certificate.
    Ssl,
    /// A user, without TLS.
    SaslPlaintext,
    /// A user, within TLS.
    SaslSsl,
}

impl Protocol {
    const fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    const fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

/// How a user shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// Name and password, as they are.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Name, and a proof that the password is known.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with a longer hash.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// A token of an `OpenID` Connect provider.
    #[serde(rename = "OAUTHBEARER")]
    Oauthbearer,
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Oauthbearer => "OAUTHBEARER",
        })
    }
}

/// How the brokers are reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// What the listener speaks.
    pub protocol: Protocol,
    /// PEM file of the authorities that may sign a broker's certificate; the system's roots without.
    pub ca_file: Option<PathBuf>,
    /// PEM file of this client's certificate and those between it and its authority.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// A file whose first line opens the key.
    pub key_password_file: Option<PathBuf>,
    /// How the user shows who it is.
    pub mechanism: Option<Mechanism>,
    /// The user.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// Where tokens come from.
    pub oauth: Oauth,
}

/// Where tokens come from: client credentials at an `OpenID` Connect provider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oauth {
    /// URL that gives tokens.
    pub token_endpoint: Option<String>,
    /// Who asks for them.
    pub client_id: Option<String>,
    /// Its secret.
    pub client_secret: Option<Secret>,
    /// A file whose first line is the secret.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for.
    pub scope: Option<String>,
    /// PEM file of the authorities that may sign the endpoint's certificate; the system's roots without.
    pub ca_file: Option<PathBuf>,
}

impl Security {
    /// Refuses what contradicts itself. No file is read yet.
    ///
    /// # Errors
    /// What is wrong, with the key and the fix.
    pub fn validate(&self, options: &[(&str, &Options)]) -> Result<(), String> {
        if self.protocol != Protocol::Plaintext {
            for (section, options) in options {
                if let Some((key, setting)) = COVERED.iter().find(|(key, _)| options.contains_key(*key)) {
                    return Err(format!(
                        "kafka.{section}: {key} is set beside kafka.security, which covers it; set kafka.security.{setting} instead"
                    ));
                }
            }
        }
        self.validate_tls()?;
        self.validate_sasl()
    }

    fn validate_tls(&self) -> Result<(), String> {
        let files = [
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
            ("key_password_file", &self.key_password_file),
        ];
        if let Some((key, _)) = files.iter().find(|(_, file)| file.is_some() && !self.protocol.has_tls()) {
            return Err(format!(
                "kafka.security.{key} is set, and kafka.security.protocol is {}: set that to ssl, or to sasl_ssl where there is a user",
                self.protocol.as_str()
            ));
        }
        let pairs = [
            ("certificate_file", &self.certificate_file, "key_file", &self.key_file),
            ("key_file", &self.key_file, "certificate_file", &self.certificate_file),
            ("key_password_file", &self.key_password_file, "key_file", &self.key_file),
        ];
        match pairs.iter().find(|(_, set, _, needed)| set.is_some() && needed.is_none()) {
            None => Ok(()),
            Some((key, _, needed, _)) => {
                Err(format!("kafka.security.{key} is set without kafka.security.{needed}; set both"))
            }
        }
    }

    fn validate_sasl(&self) -> Result<(), String> {
        if !self.protocol.has_sasl() {
            return match self.users().chain(self.clients()).find(|(_, is_set)| *is_set) {
                _ if self.mechanism.is_some() => Err(self.without_sasl("mechanism")),
                Some((key, _)) => Err(self.without_sasl(key)),
                None => Ok(()),
            };
        }
        let Some(mechanism) = self.mechanism else {
            return Err(format!(
                "kafka.security.protocol is {}, and kafka.security.mechanism is not set; set it to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER",
                self.protocol.as_str()
            ));
        };
        let unused =
            |mut keys: Box<dyn Iterator<Item = (&'static str, bool)> + '_>| match keys.find(|(_, is_set)| *is_set) {
                None => Ok(()),
                Some((key, _)) => {
                    Err(format!("kafka.security.{key} is set, and {mechanism} has no use for it; leave it out"))
                }
            };
        if mechanism == Mechanism::Oauthbearer {
            unused(Box::new(self.users()))?;
            self.oauth.validate()
        } else {
            unused(Box::new(self.clients()))?;
            filled("username", self.username.as_deref(), mechanism)?;
            one_of("password", self.password.as_ref(), self.password_file.as_deref(), mechanism)
        }
    }

    fn without_sasl(&self, key: &str) -> String {
        format!(
            "kafka.security.{key} is set, and kafka.security.protocol is {}: set that to sasl_ssl (or sasl_plaintext, without TLS)",
            self.protocol.as_str()
        )
    }

    fn users(&self) -> impl Iterator<Item = (&'static str, bool)> {
        [
            ("username", self.username.is_some()),
            ("password", self.password.is_some()),
            ("password_file", self.password_file.is_some()),
        ]
        .into_iter()
    }

    fn clients(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let oauth = &self.oauth;
        [
            ("oauth.token_endpoint", oauth.token_endpoint.is_some()),
            ("oauth.client_id", oauth.client_id.is_some()),
            ("oauth.client_secret", oauth.client_secret.is_some()),
            ("oauth.client_secret_file", oauth.client_secret_file.is_some()),
            ("oauth.scope", oauth.scope.is_some()),
            ("oauth.ca_file", oauth.ca_file.is_some()),
        ]
        .into_iter()
    }

    /// librdkafka's options. The files are read now, so that a client made later has what is in them then.
    ///
    /// # Errors
    /// A file that cannot be read or holds nothing of use, by its key.
    pub fn options(&self) -> Result<Vec<(&'static str, String)>, String> {
        let mut options = vec![];
        if self.protocol == Protocol::Plaintext {
            return Ok(options);
        }
        options.push(("security.protocol", self.protocol.as_str().to_owned()));
        for (option, key, file) in [
            ("ssl.ca.location", "ca_file", &self.ca_file),
            ("ssl.certificate.location", "certificate_file", &self.certificate_file),
            ("ssl.key.location", "key_file", &self.key_file),
            ("https.ca.location", "oauth.ca_file", &self.oauth.ca_file),
        ] {
            if let Some(file) = file {
                options.push((option, pem(key, file)?));
            }
        }
        for (option, key, text, file) in [
            ("ssl.key.password", "key_password_file", None, &self.key_password_file),
            ("sasl.password", "password_file", self.password.as_ref(), &self.password_file),
            (
                "sasl.oauthbearer.client.secret",
                "oauth.client_secret_file",
                self.oauth.client_secret.as_ref(),
                &self.oauth.client_secret_file,
            ),
        ] {
            let read = file.as_deref().map(|file| first_line(&format!("kafka.security.{key}"), file)).transpose()?;
            options.extend(read.as_ref().or(text).map(|Secret(secret)| (option, secret.clone())));
        }
        let mechanism = self.mechanism.map(|mechanism| mechanism.to_string());
        let is_oauth = self.mechanism == Some(Mechanism::Oauthbearer);
        let texts = [
            ("sasl.mechanism", mechanism),
            ("sasl.username", self.username.clone()),
            ("sasl.oauthbearer.method", is_oauth.then(|| "oidc".to_owned())),
            ("sasl.oauthbearer.token.endpoint.url", self.oauth.token_endpoint.clone()),
            ("sasl.oauthbearer.client.id", self.oauth.client_id.clone()),
            ("sasl.oauthbearer.scope", self.oauth.scope.clone()),
        ];
        options.extend(texts.into_iter().filter_map(|(option, text)| Some((option, text?))));
        Ok(options)
    }

    /// Who the broker takes this client for, as far as the settings tell.
    #[must_use]
    pub fn principal(&self) -> String {
        let name = match self.mechanism {
            Some(Mechanism::Oauthbearer) => self.oauth.client_id.as_deref(),
            Some(_) => self.username.as_deref(),
            None if self.certificate_file.is_some() => Some("NAME_OF_THE_CERTIFICATE"),
            None => None,
        };
        format!("User:{}", name.unwrap_or("ANONYMOUS"))
    }
}

impl Oauth {
    fn validate(&self) -> Result<(), String> {
        let mechanism = Mechanism::Oauthbearer;
        filled("oauth.token_endpoint", self.token_endpoint.as_deref(), mechanism)?;
        filled("oauth.client_id", self.client_id.as_deref(), mechanism)?;
        one_of("oauth.client_secret", self.client_secret.as_ref(), self.client_secret_file.as_deref(), mechanism)?;
        // What it says is not told: it may hold a password.
        let url = Url::parse(self.token_endpoint.as_deref().unwrap_or_default()).ok();
        match url.filter(|url| matches!(url.scheme(), "http" | "https")) {
            None => Err("kafka.security.oauth.token_endpoint is no http or https URL; set it to one such as https://identity.example.com/oauth2/token".into()),
            Some(url) if !url.username().is_empty() || url.password().is_some() => Err(
                "kafka.security.oauth.token_endpoint has credentials in it; give them as kafka.security.oauth.client_id and client_secret_file".into(),
            ),
            Some(_) => Ok(()),
        }
    }
}

fn filled(key: &str, text: Option<&str>, mechanism: Mechanism) -> Result<(), String> {
    match text {
        Some(text) if !text.trim().is_empty() => Ok(()),
        _ => Err(format!("kafka.security.{key} is not set, and {mechanism} needs it; set it")),
    }
}

fn one_of(key: &str, text: Option<&Secret>, file: Option<&Path>, mechanism: Mechanism) -> Result<(), String> {
    match (text, file) {
        (Some(_), Some(_)) => {
            Err(format!("kafka.security.{key} and kafka.security.{key}_file are both set; keep one of them"))
        }
        (Some(Secret(text)), None) if text.is_empty() => {
            Err(format!("kafka.security.{key} is empty; give it a value, or set kafka.security.{key}_file"))
        }
        (None, None) => Err(format!(
            "neither kafka.security.{key}_file nor kafka.security.{key} is set, and {mechanism} needs one; set kafka.security.{key}_file to a file whose first line is the secret"
        )),
        _ => Ok(()),
    }
}

/// The path of a PEM file, once it is known to be one: librdkafka's own words for a file that is absent are not for people.
fn pem(key: &str, path: &Path) -> Result<String, String> {
    let told = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        format!("kafka.security.{key} {told} cannot be read: {error}; give a PEM file that this user may read")
    })?;
    if !bytes.windows(10).any(|bytes| bytes == b"-----BEGIN") {
        return Err(format!(
            "kafka.security.{key} {told} is no PEM file; give one that has -----BEGIN in it (openssl turns others into one)"
        ));
    }
    match path.to_str() {
        Some(path) => Ok(path.to_owned()),
        None => Err(format!("kafka.security.{key} {told} is no UTF-8; give the file another name")),
    }
}

#[cfg(test)]
mod tests;
