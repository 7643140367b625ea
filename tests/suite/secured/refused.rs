//! What is wrong ends a command within seconds, by a sentence that says what to do.

use std::time::{Duration, Instant};

use super::Scene;
use crate::support::kafka::Topics;
use crate::support::secured::{Way, authority};

/// Far below the half minute that a broker may take to answer.
const SECONDS: Duration = Duration::from_secs(20);

/// One thing that is wrong: the command, the environment, and what the sentence has in it.
struct Wrong {
    what: &'static str,
    command: &'static [&'static str],
    environment: Vec<(String, String)>,
    told: Vec<String>,
}

/// ACLs of principals that lack one thing each.
pub(super) fn grants(topics: &Topics) -> Vec<Vec<String>> {
    let (input, output, dead) = (topics.name.clone(), topics.output(), topics.dead_letters());
    let grant = |principals: &[&str], operation: &str, rest: &[&str]| {
        let mut command = vec!["--add".to_owned(), "--operation".to_owned(), operation.to_owned()];
        command.extend(principals.iter().flat_map(|who| ["--allow-principal".to_owned(), format!("User:{who}")]));
        command.extend(rest.iter().map(|word| (*word).to_owned()));
        command
    };
    vec![
        grant(&["no-output", "no-letters", "no-group"], "Read", &["--topic", &input]),
        grant(&["no-letters", "no-group"], "Write", &["--topic", &output]),
        grant(&["no-group"], "Write", &["--topic", &dead]),
    ]
}

impl Scene {
    pub(super) fn what_is_wrong_is_told(&self) {
        let cases: Vec<Wrong> = self.connections().into_iter().chain(self.permissions()).collect();
        // A few at a time: what they do is mostly to wait.
        for some in cases.chunks(4) {
            std::thread::scope(|scope| {
                let running = some.iter().map(|wrong| scope.spawn(|| self.is_told(wrong))).collect::<Vec<_>>();
                for case in running {
                    case.join().expect("told");
                }
            });
        }
    }

    fn is_told(&self, wrong: &Wrong) {
        let since = Instant::now();
        let (code, _, said) = self.run_with(wrong.command, wrong.environment.clone());
        let (took, what) = (since.elapsed(), wrong.what);
        let line = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert_eq!(code, 1, "{what}: {said}");
        for told in &wrong.told {
            assert!(line.contains(told), "{what}: {told:?} is not in {line:?} of {said}");
        }
        assert!(took < SECONDS, "{what} took {took:?}: {said}");
    }

    /// A way's own environment with these keys changed.
    fn changed(&self, way: Way, changes: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut environment = self.broker.environment(way);
        for (key, value) in changes {
            let key = format!("SENTISTREAM__KAFKA__{key}");
            // Either a secret or its file.
            environment.retain(|(name, _)| *name != key && *name != format!("{key}_FILE"));
            if !value.is_empty() {
                environment.push((key, (*value).to_owned()));
            }
        }
        environment
    }

    fn connections(&self) -> Vec<Wrong> {
        let case = |what, environment, told: &[&str]| Wrong {
            what,
            command: &["dlq", "list"],
            environment,
            told: told.iter().map(|told| (*told).to_owned()).collect(),
        };
        let at = |way| self.broker.address(way);
        let other = self.broker.written("other-ca.pem", &authority("somebody else").pem());
        let plain = std::env::var("SENTISTREAM_TEST_BROKERS").expect("a broker without TLS");
        let stranger = self.broker.stranger();
        let oauth = "SECURITY__OAUTH__";
        vec![
            case(
                "a wrong password (SCRAM)",
                self.changed(Way::Scram, &[("SECURITY__PASSWORD", "wrong-0123456789")]),
                &["refused the user `worker-scram` (SCRAM-SHA-512)", "kafka.security.username", "password"],
            ),
            case(
                "a wrong password (PLAIN)",
                self.changed(Way::Plain, &[("SECURITY__PASSWORD", "wrong-0123456789")]),
                &["refused the user `worker-plain` (PLAIN)", "kafka.security.username", "password"],
            ),
            case(
                "a wrong client secret",
                self.changed(Way::Oauth, &[(&format!("{oauth}CLIENT_SECRET"), "wrong-0123456789")]),
                &[
                    &self.broker.tokens.endpoint,
                    "gives the client `worker-oauth` no token",
                    "kafka.security.oauth.client_id",
                ],
            ),
            case(
                "no token endpoint",
                self.changed(Way::Oauth, &[(&format!("{oauth}TOKEN_ENDPOINT"), "https://127.0.0.1:1/token")]),
                &["https://127.0.0.1:1/token cannot be asked", "kafka.security.oauth.token_endpoint"],
            ),
            case(
                "a token endpoint that is not trusted",
                self.changed(Way::Oauth, &[(&format!("{oauth}CA_FILE"), &other)]),
                &["cannot be asked", "kafka.security.oauth.ca_file"],
            ),
            case(
                "an unknown authority",
                self.changed(Way::Scram, &[("SECURITY__CA_FILE", &other)]),
                &["is not trusted", "kafka.security.ca_file"],
            ),
            case(
                "no client certificate",
                self.changed(Way::Tls, &[("BROKERS", &at(Way::MutualTls))]),
                &["asks for a client certificate", "kafka.security.certificate_file"],
            ),
            case(
                "a client certificate of another authority",
                [self.changed(Way::MutualTls, &[("SECURITY__KEY_PASSWORD_FILE", "")]), stranger].concat(),
                &["does not take the certificate", "kafka.security.certificate_file"],
            ),
            case(
                "no TLS to a TLS listener",
                vec![("SENTISTREAM__KAFKA__BROKERS".into(), at(Way::Tls))],
                &["as a TLS listener does", "kafka.security.protocol"],
            ),
            case(
                "TLS to a listener without",
                self.changed(Way::Tls, &[("BROKERS", &plain)]),
                &["seems to speak no TLS", "kafka.security.protocol"],
            ),
            case(
                "no user to a SASL listener",
                self.changed(Way::Tls, &[("BROKERS", &at(Way::Scram))]),
                &["as a SASL listener does", "kafka.security.mechanism"],
            ),
            case(
                "a user to a listener without",
                self.changed(Way::Plain, &[("BROKERS", &at(Way::Tls))]),
                &["asks for no user", "kafka.security.protocol"],
            ),
            case(
                "another mechanism",
                self.changed(Way::Scram, &[("BROKERS", &at(Way::Plain))]),
                &["does not take SCRAM-SHA-512", "PLAIN", "kafka.security.mechanism"],
            ),
            case(
                "a wrong password of the key",
                self.changed(
                    Way::MutualTls,
                    &[("SECURITY__KEY_PASSWORD_FILE", &self.broker.secret_file("wrong-0123456789"))],
                ),
                &["cannot make a Kafka client", "kafka.security.key_password_file"],
            ),
        ]
    }

    fn permissions(&self) -> Vec<Wrong> {
        let (input, output, dead) = (&self.topics.name, self.topics.output(), self.topics.dead_letters());
        let case = |what, command, environment, denied: &str, grants: &str| Wrong {
            what,
            command,
            environment,
            told: vec![denied.to_owned(), "kafka-acls.sh".to_owned(), grants.to_owned()],
        };
        let of = |who: &str| self.broker.environment_of(Way::MutualTls, who);
        let on = |operation: &str, topic: &str| {
            [
                format!("does not permit {operation} on the topic {topic}"),
                format!("--operation {operation} --topic {topic}"),
            ]
        };
        let topic = |what, command, who: &str, operation: &str, name: &str| {
            let [denied, grants] = on(operation, name);
            case(what, command, of(who), &denied, &grants)
        };
        let transactions = [
            self.broker.environment(Way::Scram),
            vec![("SENTISTREAM__KAFKA__DELIVERY".to_owned(), "exactly_once".to_owned())],
        ];
        vec![
            topic("no ACL at all", &["run"], "nobody", "Read", input),
            topic("none on the results", &["run"], "no-output", "Write", &output),
            topic("none on the dead letters", &["run"], "no-letters", "Write", &dead),
            case(
                "none on the group",
                &["run"],
                of("no-group"),
                &format!("does not permit Read on the group {input}"),
                &format!("--operation Read --group {input}"),
            ),
            case(
                "none on the transactional id",
                &["run"],
                transactions.concat(),
                &format!("does not permit Write on the transactional id {input}-"),
                &format!(
                    "--allow-principal User:worker-scram --operation Write --transactional-id {input}- --resource-pattern-type prefixed"
                ),
            ),
            topic("none to feed", &["feed", "tests/fixtures/photos/cat.jpg"], "nobody", "Write", input),
            topic("none to list", &["dlq", "list"], "nobody", "Read", &dead),
        ]
    }
}
