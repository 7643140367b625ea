//! Why no broker lets this client in. librdkafka tells it by its error callback and its log, while the call that waits for
//! an answer only runs out of time: here what it tells is sorted, and becomes a sentence with the key that mends it.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::{Mechanism, Security};
use crate::error::one_line;
use crate::kafka::Settings;

/// How long that may go on which a broker that is starting or stopping does too.
const DOUBT: Duration = Duration::from_secs(3);
/// Most of what is told of a reason: a token endpoint answers with whole pages.
const MOST_CHARS: usize = 300;

/// What was told, sorted by what mends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The token endpoint was not reached.
    Endpoint,
    /// It gave no token.
    Token,
    /// The listener has other mechanisms.
    Mechanism,
    /// The listener knows no users.
    NoUsers,
    /// User or token are not taken.
    Refused,
    /// The broker's certificate is not trusted.
    Untrusted,
    /// A client certificate is missing, or not taken.
    Certificate,
    /// TLS is spoken to a listener without.
    NoTls,
    /// The listener closes the connection at once: something else is spoken there.
    Closed,
    /// Nobody is there.
    Away,
}

/// What librdkafka told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    kind: Kind,
    reason: String,
}

impl Fault {
    /// What an error or a line of the log says about the connection; `None` where it is about something else.
    #[must_use]
    pub fn of(code: Option<RDKafkaErrorCode>, told: &str) -> Option<Self> {
        let kind = kind(code, told)?;
        // How long and how often is of no use here, and what comes from outside is told in one short line.
        let told = told.split(" (after ").next().unwrap_or_default();
        let reason = one_line(&told.chars().take(MOST_CHARS).collect::<String>());
        Some(Self { kind, reason })
    }

    /// Whether it says more than one that was told before.
    #[must_use]
    pub fn replaces(&self, before: Option<&Self>) -> bool {
        // The end of one attempt is told as an absence too, but a real absence explains what was only a guess.
        before.is_none_or(|before| self.kind != Kind::Away || !before.is_certain())
    }

    fn is_certain(&self) -> bool {
        !matches!(self.kind, Kind::NoTls | Kind::Closed | Kind::Away)
    }

    /// Whether waiting is of no use, so long after the first attempt.
    #[must_use]
    pub fn is_final(&self, waited: Duration) -> bool {
        self.is_certain() || (self.kind != Kind::Away && waited >= DOUBT)
    }

    /// What to do about it; `None` where nobody is there.
    #[must_use]
    pub fn sentence(&self, settings: &Settings) -> Option<String> {
        let (brokers, security, reason) = (&settings.brokers, &settings.security, &self.reason);
        Some(match self.kind {
            Kind::Endpoint => format!(
                "the token endpoint {} cannot be asked: {reason}; look at kafka.security.oauth.token_endpoint, and set kafka.security.oauth.ca_file where an authority of your own signed its certificate",
                endpoint(security)
            ),
            Kind::Token => format!(
                "the token endpoint {} gives {} no token: {reason}; look at kafka.security.oauth.client_id, the client's secret and kafka.security.oauth.scope",
                endpoint(security),
                user(security)
            ),
            Kind::Mechanism => format!(
                "Kafka at {brokers} does not take {}: {reason}; set kafka.security.mechanism to one that its listener has",
                security.mechanism.map(|mechanism| mechanism.to_string()).unwrap_or_default()
            ),
            Kind::NoUsers => format!(
                "Kafka at {brokers} asks for no user on this listener: {reason}; set kafka.security.protocol to ssl (or plaintext), or name a SASL listener in kafka.brokers"
            ),
            Kind::Refused if security.mechanism == Some(Mechanism::Oauthbearer) => format!(
                "Kafka at {brokers} refused the token of {}: {reason}; does it trust {}, and are the token's audience and scope (kafka.security.oauth.scope) those that it expects?",
                user(security),
                endpoint(security)
            ),
            Kind::Refused => format!(
                "Kafka at {brokers} refused {}: {reason}; look at kafka.security.username and the password (kafka.security.password_file)",
                user(security)
            ),
            Kind::Untrusted => format!(
                "the certificate of Kafka at {brokers} is not trusted: {reason}; set kafka.security.ca_file to a PEM file of the authority that signed it, and name the brokers in kafka.brokers as it does"
            ),
            Kind::Certificate if security.certificate_file.is_none() => format!(
                "Kafka at {brokers} asks for a client certificate: {reason}; set kafka.security.certificate_file and kafka.security.key_file"
            ),
            Kind::Certificate => format!(
                "Kafka at {brokers} does not take the certificate of kafka.security.certificate_file: {reason}; is it signed by an authority that the broker trusts, and not expired?"
            ),
            Kind::NoTls => format!(
                "Kafka at {brokers} seems to speak no TLS on this listener: {reason}; set kafka.security.protocol to plaintext or sasl_plaintext, or name a TLS listener in kafka.brokers"
            ),
            Kind::Closed => {
                let (listener, fix) = if !security.protocol.has_tls() {
                    ("as a TLS listener does", "set kafka.security.protocol to ssl or sasl_ssl")
                } else if security.protocol.has_sasl() {
                    ("as one without users does", "set kafka.security.protocol to ssl")
                } else {
                    (
                        "as a SASL listener does",
                        "set kafka.security.protocol to sasl_ssl and kafka.security.mechanism; or it asks for a client certificate (kafka.security.certificate_file)",
                    )
                };
                format!("Kafka at {brokers} closes the connection at once, {listener}: {reason}; {fix}")
            }
            Kind::Away => return None,
        })
    }

    /// What was told.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn kind(code: Option<RDKafkaErrorCode>, told: &str) -> Option<Kind> {
    let says = |texts: &[&str]| texts.iter().any(|text| told.contains(text));
    if code == Some(RDKafkaErrorCode::AllBrokersDown) {
        // Why was told before.
        return None;
    }
    if says(&["OAUTHBEARER token"]) {
        let curl = ["onnect", "resolve", "timed out", "ertificate", "SSL"];
        return Some(if says(&curl) { Kind::Endpoint } else { Kind::Token });
    }
    if says(&["mechanism handshake failed"]) {
        return Some(if says(&["current SASL state"]) { Kind::NoUsers } else { Kind::Mechanism });
    }
    if says(&["certificate verify failed", "verify broker certificate"]) {
        return Some(Kind::Untrusted);
    }
    if says(&["alert ", "client SSL authentication might be required"]) {
        return Some(Kind::Certificate);
    }
    if says(&["PLAINTEXT broker listener", "wrong version number", "packet length too long"]) {
        return Some(Kind::NoTls);
    }
    // To who speaks no TLS the answer of a TLS listener is a size.
    if says(&["Disconnected: ", "Invalid response size"]) {
        return Some(Kind::Closed);
    }
    match code? {
        RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed => Some(Kind::Refused),
        RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve => Some(Kind::Away),
        _ => None,
    }
}

fn endpoint(security: &Security) -> &str {
    security.oauth.token_endpoint.as_deref().unwrap_or_default()
}

fn user(security: &Security) -> String {
    match (security.mechanism, &security.username, &security.oauth.client_id) {
        (Some(Mechanism::Oauthbearer), _, Some(client)) => format!("the client `{client}`"),
        (Some(mechanism), Some(user), _) => format!("the user `{user}` ({mechanism})"),
        _ => "this client".to_owned(),
    }
}
