//! Asking the registry, by the part of Confluent's API that every registry of its kind has. An answer is read up to a limit
//! and no further, redirects are not followed, and the password goes nowhere but to the registry.

use std::error::Error as _;
use std::fs;

use reqwest::{Certificate, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::Error;
use super::settings::Settings;
use crate::error::one_line;
use crate::secret::{Secret, first_line};

/// Bytes of the longest answer: a schema in JSON.
const MOST_ANSWER: usize = 4 << 20;
const TOLD_CHARS: usize = 200;
const JSON: &str = "application/vnd.schemaregistry.v1+json, application/json";

pub(super) struct Client {
    http: reqwest::Client,
    root: Url,
    user: Option<(String, Secret)>,
}

/// A schema as the registry tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    pub(super) schema: String,
    pub(super) schema_type: Option<String>,
    pub(super) references: Option<Vec<Reference>>,
}

/// Another schema that one is written with.
#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    /// What it is called in the schema: the path of an import, for Protobuf.
    pub(super) name: String,
    pub(super) subject: String,
    pub(super) version: i64,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// None came, or not to its end.
    Unreachable(String),
    /// Another one than was asked for; with the code of Confluent's API where it has one.
    Status { status: StatusCode, code: Option<u32>, message: String },
    /// It is longer than any schema that is read.
    TooLong,
    /// It is not what a registry says.
    Strange(String),
}

impl Failure {
    /// What the registry itself says no to, and will again: it has no such schema (404xx), or this user may not see it
    /// (403xx). So is what is too long. Anything else, such as the 404 of a proxy that lost it, may pass.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Status { code: Some(40_300..=40_499), .. } | Self::TooLong)
    }

    pub(super) fn told(&self) -> String {
        match self {
            Self::Unreachable(why) => why.clone(),
            Self::Status { status, message, .. } if message.is_empty() => format!("it answers {status}"),
            Self::Status { status, message, .. } => format!("it answers {status}: {message}"),
            Self::TooLong => format!("its answer has more than {MOST_ANSWER} bytes"),
            Self::Strange(why) => format!("its answer is not that of a schema registry: {why}"),
        }
    }
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        // Taken already when another was made before it in this process: it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("sentistream/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // A proxy of plain HTTP would be told the password.
            .no_proxy()
            .timeout(settings.timeout());
        if let Some(path) = &settings.ca_file {
            let pem = fs::read(path).map_err(|error| Error::file("ca_file", path, &error))?;
            let certificates =
                Certificate::from_pem_bundle(&pem).map_err(|error| Error::file("ca_file", path, &error))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| Error::Client(chain(&error)))?;
        Ok(Self { http, root: settings.url.clone(), user: user(settings)? })
    }

    /// Where it asks.
    pub(super) fn root(&self) -> &Url {
        &self.root
    }

    /// The kinds of schemas that it takes: what any registry tells any of its users.
    pub(super) async fn kinds(&self) -> Result<Vec<String>, Failure> {
        self.get(&["schemas", "types"]).await
    }

    pub(super) async fn schema(&self, id: u32) -> Result<Told, Failure> {
        self.get(&["schemas", "ids", &id.to_string()]).await
    }

    pub(super) async fn version(&self, subject: &str, version: i64) -> Result<Told, Failure> {
        self.get(&["subjects", subject, "versions", &version.to_string()]).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Failure> {
        let mut url = self.root.clone();
        // Fails only for URLs that have no host.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let mut request = self.http.get(url).header(reqwest::header::ACCEPT, JSON);
        if let Some((name, password)) = &self.user {
            request = request.basic_auth(name, Some(&password.0));
        }
        let unreachable = |error: reqwest::Error| Failure::Unreachable(chain(&error.without_url()));
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, mut body) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MOST_ANSWER {
                return Err(if status == StatusCode::OK { Failure::TooLong } else { refused(status, &[]) });
            }
            body.extend_from_slice(&chunk);
        }
        if status != StatusCode::OK {
            return Err(refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| Failure::Strange(error.to_string()))
    }
}

fn user(settings: &Settings) -> Result<Option<(String, Secret)>, Error> {
    let Some(name) = &settings.username else { return Ok(None) };
    let password = match (&settings.password, &settings.password_file) {
        (Some(password), _) => password.clone(),
        (None, Some(path)) => first_line("decode.registry.password_file", path).map_err(Error::Password)?,
        (None, None) => return Ok(None),
    };
    Ok(Some((name.clone(), password)))
}

fn refused(status: StatusCode, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Refused {
        error_code: u32,
        #[serde(default)]
        message: String,
    }
    match serde_json::from_slice(body) {
        Ok(Refused { error_code, message }) => {
            let message = one_line(&message.chars().take(TOLD_CHARS).collect::<String>());
            Failure::Status { status, code: Some(error_code), message }
        }
        Err(_) => Failure::Status { status, code: None, message: String::new() },
    }
}

/// An error with its causes.
fn chain(error: &reqwest::Error) -> String {
    let mut whole = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        whole = format!("{whole}: {error}");
        cause = error.source();
    }
    whole
}
