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
        Some(Self { kind, reason: short(told) })
    }

    /// Whether it says more than one that was told before.
    #[must_use]
    pub fn replaces(&self, before: Option<&Self>) -> bool {
        // The end of an attempt is told too, and is no news; an absence explains what was only a guess. A listener without TLS
        // is now and then told as one that merely hangs up.
        let is_less = |before: &Self| before.kind == Kind::NoTls && self.kind == Kind::Closed;
        self.is_certain() || before.is_none_or(|before| !before.is_certain() && !is_less(before))
    }

    fn is_certain(&self) -> bool {
        !matches!(self.kind, Kind::NoTls | Kind::Closed | Kind::Away)
    }

    /// Whether waiting is of no use, so long after the first attempt.
    #[must_use]
    pub fn is_final(&self, waited: Duration) -> bool {
        self.is_certain() || (self.kind != Kind::Away && waited >= DOUBT)
    }

    /// What to do about it, behind the last semicolon; `None` where nobody is there.
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
                        "set kafka.security.protocol to sasl_ssl and kafka.security.mechanism, or kafka.security.certificate_file where it asks for a client certificate",
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

/// What comes from outside, as one short line.
pub fn short(told: &str) -> String {
    one_line(&told.chars().take(MOST_CHARS).collect::<String>())
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
    if says(&["Disconnected: ", "Invalid response size", "Send failed: "]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::security::Protocol;

    fn settings() -> Settings {
        let mut settings = crate::settings::load(None).expect("the defaults are valid").kafka;
        settings.security.protocol = Protocol::SaslSsl;
        settings.security.mechanism = Some(Mechanism::ScramSha512);
        settings.security.username = Some("alice".into());
        settings
    }

    /// As librdkafka 2.12 tells it against Kafka 4.3.
    #[test]
    fn what_is_told_becomes_a_sentence_with_the_key_that_mends_it() {
        use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, SSL};
        let at = "sasl_ssl://127.0.0.1:9093/bootstrap:";
        for (code, told, words, is_certain) in [
            (
                Some(Authentication),
                "SASL authentication error: Authentication failed: Invalid username or password (after 3ms in state AUTH_REQ)",
                &[
                    "refused the user `alice` (SCRAM-SHA-512)",
                    "Invalid username or password; look at kafka.security.username",
                ][..],
                true,
            ),
            (
                Some(Authentication),
                "SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: PLAIN",
                &["does not take SCRAM-SHA-512", "mechanisms: PLAIN", "kafka.security.mechanism"],
                true,
            ),
            (
                Some(Authentication),
                "SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms: ",
                &["asks for no user", "kafka.security.protocol"],
                true,
            ),
            (
                Some(SSL),
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified",
                &["is not trusted", "kafka.security.ca_file"],
                true,
            ),
            (
                Some(SSL),
                "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116",
                &["asks for a client certificate", "kafka.security.key_file"],
                true,
            ),
            (
                Some(BrokerTransportFailure),
                "SSL handshake failed: Disconnected: connection closed by peer: connecting to a PLAINTEXT broker listener?",
                &["seems to speak no TLS", "kafka.security.protocol"],
                false,
            ),
            (
                None,
                "Disconnected: connection closed by peer: receive 0 after POLLIN (after 29ms in state APIVERSION_QUERY)",
                &["closes the connection at once", "kafka.security.protocol"],
                false,
            ),
        ] {
            let fault = Fault::of(code, &format!("{at} {told}")).expect(told);
            let sentence = fault.sentence(&settings()).expect(told);
            for word in words {
                assert!(sentence.contains(word), "{word:?} is not in {sentence:?}");
            }
            assert!(!sentence.contains("(after"), "{sentence}");
            assert_eq!((fault.is_final(Duration::ZERO), fault.is_final(DOUBT)), (is_certain, true), "{told}");
        }
    }

    /// `sentistream check` tells it apart by that.
    #[test]
    fn the_fix_is_behind_the_last_semicolon() {
        let told = "Disconnected: connection closed by peer: receive 0 after POLLIN; again";
        for protocol in [Protocol::Plaintext, Protocol::Ssl, Protocol::SaslSsl] {
            let mut settings = settings();
            settings.security.protocol = protocol;
            let sentence = Fault::of(None, told).and_then(|fault| fault.sentence(&settings)).expect("a sentence");
            let (_, fix) = sentence.rsplit_once("; ").expect("a fix");
            assert!(fix.starts_with("set kafka.security.protocol to "), "{sentence}");
        }
    }

    #[test]
    fn an_absence_is_waited_for_and_explains_a_guess_but_nothing_that_is_certain() {
        let away = Fault::of(Some(RDKafkaErrorCode::BrokerTransportFailure), "Connect to x failed: Connection refused");
        let away = away.expect("a fault");
        assert!(!away.is_final(Duration::from_mins(1)) && away.sentence(&settings()).is_none());
        let certain = Fault::of(Some(RDKafkaErrorCode::Authentication), "no").expect("a fault");
        let guess = Fault::of(None, "Disconnected: closed").expect("a fault");
        assert!(away.replaces(Some(&guess)) && !away.replaces(Some(&certain)) && certain.replaces(Some(&away)));
        assert_eq!(Fault::of(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down"), None);
        assert_eq!(Fault::of(None, "something else"), None);
    }

    #[test]
    fn a_token_endpoint_is_told_apart_from_its_answer_and_never_at_length() {
        let mut settings = settings();
        settings.security.mechanism = Some(Mechanism::Oauthbearer);
        settings.security.oauth.client_id = Some("bob".into());
        settings.security.oauth.token_endpoint = Some("https://identity.example.com/t".into());
        let sentence = |told: &str| {
            let told = format!("Failed to acquire SASL OAUTHBEARER token: {told}");
            let fault = Fault::of(Some(RDKafkaErrorCode::Authentication), &told).expect("a fault");
            fault.sentence(&settings).expect("a sentence")
        };
        let unreached = sentence("Failed to connect to 127.0.0.1:1 after 0 ms: Could not connect to server");
        assert!(unreached.contains("https://identity.example.com/t cannot be asked"), "{unreached}");
        let refused = sentence(&format!("{{\"error\":\"invalid_client\"}}\n\u{1b}[2J{}", "x".repeat(5000)));
        assert!(refused.contains("gives the client `bob` no token") && refused.contains("invalid_client"), "{refused}");
        assert!(refused.len() < 800 && !refused.contains(['\n', '\u{1b}']), "{refused}");
    }
}
