//! Brokers that do not let everybody in, as `docs/security.md` has them: its settings connect in each way, its ACLs are all
//! that each command needs, what is wrong is told by a sentence that mends it, and no secret is told by anything.
//!
//! One broker serves one test: what starts it takes longer than what is tested.

mod refused;

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use crate::support::kafka::Topics;
use crate::support::photos::{TestPost, posts};
use crate::support::process::{WorkerProcess, ended, sentistream};
use crate::support::secured::{SecuredBroker, Way};
use crate::support::served::Served;
use crate::support::{repository, wait_until, wait_until_async};

/// Posts that a worker is fed, and one that it cannot read.
const FED: usize = 4;
/// Every command that has a help.
const COMMANDS: &[&[&str]] = &[
    &["run"],
    &["score"],
    &["evaluate"],
    &["feed"],
    &["dashboard"],
    &["dlq", "list"],
    &["dlq", "replay"],
    &["bench"],
    &["tune"],
    &["demo"],
    &[],
];

/// The broker, its topics, and all that was printed.
struct Scene {
    broker: SecuredBroker,
    topics: Topics,
    printed: Mutex<String>,
    /// Outcomes so far.
    outcomes: usize,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: make test"]
async fn the_docs_let_in_and_permit_all_that_is_needed_and_no_secret_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    let broker = SecuredBroker::start(folder.path());
    let topics = broker.topics("secured", 1).await;
    let mut scene = Scene { broker, topics, printed: Mutex::default(), outcomes: 0 };
    scene.grant_what_the_docs_say();
    for (way, heading) in [
        (Way::Tls, "### TLS\n"),
        (Way::MutualTls, "### TLS with a client certificate"),
        (Way::Scram, "### A user and a password, SCRAM"),
        (Way::Plain, "### A user and a password, PLAIN"),
        (Way::Oauth, "### Tokens of an OpenID Connect provider"),
    ] {
        scene.worker_scores(way, heading, &[]).await;
    }
    scene.worker_scores(Way::MutualTls, "### TLS with a client certificate", &[("DELIVERY", "exactly_once")]).await;
    scene.password_changes_while_it_runs().await;
    tokio::task::block_in_place(|| {
        scene.other_commands();
        scene.what_is_wrong_is_told();
        scene.help();
    });
    scene.no_secret_was_told();
}

impl Scene {
    /// The blocks of `docs/security.md`, for this broker's topics and principals.
    fn grant_what_the_docs_say(&self) {
        let workers: Vec<&str> = Way::ALL.iter().map(|way| way.principal()).collect();
        let mut commands = vec![];
        for (heading, principals) in [
            ("### `run`, and", workers.as_slice()),
            ("### `run` with", &[Way::MutualTls.principal()]),
            ("### `feed`", &["feeder"]),
            ("### `dlq list`", &["operator"]),
            ("### `dlq replay`", &["operator"]),
            ("### `dashboard`", &["viewer"]),
        ] {
            let documented = kafka_acls(heading);
            assert!(!documented.is_empty(), "{heading}");
            commands.extend(documented.iter().map(|command| self.here(command, principals)));
        }
        commands.extend(refused::grants(&self.topics));
        self.broker.acls(&commands);
    }

    /// A documented command with the names of this test.
    fn here(&self, command: &[String], principals: &[&str]) -> Vec<String> {
        let mut here = vec![];
        for word in command {
            match word.as_str() {
                "--allow-principal" => {}
                "User:sentistream" => {
                    here.extend(principals.iter().flat_map(|who| ["--allow-principal".into(), format!("User:{who}")]));
                }
                "sentiments" => here.push(self.topics.output()),
                "posts-dead-letters" => here.push(self.topics.dead_letters()),
                "posts" | "sentistream" => here.push(self.topics.name.clone()),
                "sentistream-" => here.push(format!("{}-", self.topics.name)),
                other => here.push(other.to_owned()),
            }
        }
        here
    }

    /// The documented settings of a way, with this broker's files and names.
    fn settings(&self, way: Way, heading: &str) -> String {
        let mut yaml = block(heading, "yaml").replace("kafka.example.com:9093", &self.broker.address(way));
        let environment = self.broker.environment(way);
        let set = |key: &str| {
            let found = environment.iter().find(|(name, _)| name.ends_with(&format!("SECURITY__{key}")));
            found.map(|(_, value)| value.clone())
        };
        let password = set("PASSWORD_FILE").or_else(|| set("PASSWORD").map(|text| self.broker.secret_file(&text)));
        for (documented, here) in [
            ("/etc/sentistream/ca.pem", set("CA_FILE")),
            ("/etc/sentistream/client.pem", set("CERTIFICATE_FILE")),
            ("/etc/sentistream/client.key", set("KEY_FILE")),
            ("/etc/sentistream/key-password", set("KEY_PASSWORD_FILE")),
            ("/etc/sentistream/password", password),
            ("/etc/sentistream/client-secret", set("OAUTH__CLIENT_SECRET_FILE")),
            ("/etc/sentistream/identity-ca.pem", set("OAUTH__CA_FILE")),
            ("https://identity.example.com/oauth2/token", set("OAUTH__TOKEN_ENDPOINT")),
            ("username: sentistream", Some(format!("username: {}", way.principal()))),
            ("client_id: sentistream", Some(format!("client_id: {}", way.principal()))),
        ] {
            if yaml.contains(documented) {
                yaml = yaml.replace(documented, &here.expect(documented));
            }
        }
        // All that librdkafka has to say about it.
        yaml + "  options: {debug: security}\n"
    }

    fn worker(&self, way: Way, heading: &str, more: &[(&str, &str)]) -> (WorkerProcess, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
        fs::write(file.path(), self.settings(way, heading)).expect("written");
        let mut environment = self.topics.environment();
        // The file says where the broker is.
        environment.retain(|(key, _)| key != "SENTISTREAM__KAFKA__BROKERS");
        environment.extend(more.iter().map(|(key, value)| (format!("SENTISTREAM__KAFKA__{key}"), (*value).to_owned())));
        environment.extend(tiny());
        environment.push(("SENTISTREAM_TEST_CONFIG".into(), file.path().to_string_lossy().into_owned()));
        (WorkerProcess::start(&environment), file)
    }

    async fn worker_scores(&mut self, way: Way, heading: &str, more: &[(&str, &str)]) {
        let given = self.broker.tokens.given();
        let (mut worker, _file) = self.worker(way, heading, more);
        self.scored(&format!("{way:?}-{}", self.outcomes)).await;
        if way == Way::Oauth {
            // A consumer and two producers, and each of them once more.
            wait_until_async("the tokens are renewed", || self.broker.tokens.given() >= given + 6).await;
            self.scored("renewed").await;
        }
        worker.signal("TERM");
        assert!(worker.wait().success(), "{way:?}: {}", worker.log());
        self.print(&worker.log());
        assert_eq!(self.topics.committed(), i64::try_from(self.outcomes).expect("few"), "{way:?}");
    }

    /// Feeds posts and a bad one, and waits until all have their outcomes.
    async fn scored(&mut self, name: &str) {
        let mut fed = posts(name, FED - 1);
        fed.push(TestPost::raw(&format!("{name}-bad"), b"{ not json"));
        self.topics.feed(&fed);
        self.outcomes += FED;
        self.topics.wait_for_committed_outcomes(self.outcomes).await;
    }

    /// The broker asks for the password again every few seconds: the worker is let in no more, says so and goes on.
    async fn password_changes_while_it_runs(&mut self) {
        let (mut worker, _file) = self.worker(Way::Scram, "### A user and a password, SCRAM", &[]);
        self.scored("before").await;
        tokio::task::block_in_place(|| self.broker.set_password("changed"));
        tokio::task::block_in_place(|| worker.wait_for_log("refused the user `worker-scram`"));
        let fed = posts("meanwhile", 2);
        self.topics.feed(&fed);
        tokio::task::block_in_place(|| self.broker.restore_password());
        self.outcomes += fed.len();
        self.topics.wait_for_committed_outcomes(self.outcomes).await;
        worker.signal("TERM");
        assert!(worker.wait().success(), "{}", worker.log());
        self.print(&worker.log());
        assert_eq!(self.topics.committed(), i64::try_from(self.outcomes).expect("few"));
    }

    fn other_commands(&self) {
        let before = self.topics.count(&self.topics.name);
        let photo = repository("tests/fixtures/photos/cat.jpg").to_string_lossy().into_owned();
        let (code, _, said) = self.run(&["feed", &photo], Way::MutualTls, "feeder");
        assert!(code == 0 && self.topics.count(&self.topics.name) == before + 1, "{said}");
        let letters = self.topics.read_all(&self.topics.dead_letters()).len();
        let (code, listed, said) = self.run(&["dlq", "list"], Way::MutualTls, "operator");
        assert!(code == 0 && listed.lines().filter(|line| line.contains("not_json")).count() == letters, "{said}");
        let (code, _, said) = self.run(&["dlq", "replay", "--reason", "not_json"], Way::MutualTls, "operator");
        assert!(code == 0 && said.contains(&format!("replayed {letters}")), "{said}");
        assert!(!said.to_lowercase().contains("authorization"), "{said}");

        let mut environment = self.topics.environment();
        environment.extend(self.broker.environment_of(Way::MutualTls, "viewer"));
        let dashboard = Served::of(environment, &[]);
        let mut health = Value::Null;
        wait_until("the dashboard has read everything", || {
            let answer = std::process::Command::new("curl").args(["-sf", &dashboard.page("api/v1/health")]).output();
            health = serde_json::from_slice(&answer.expect("curl runs").stdout).unwrap_or_default();
            health["ingest"]["behind"] == 0 && health["worker"]["lag"] == 1 + letters
        });
        assert!(health["ingest"]["error"].is_null() && health["worker"]["error"].is_null(), "{health}");
    }

    /// Exit code, standard output and standard error of a command by a principal of its own.
    fn run(&self, arguments: &[&str], way: Way, principal: &str) -> (i32, String, String) {
        self.run_with(arguments, self.broker.environment_of(way, principal))
    }

    fn run_with(&self, arguments: &[&str], environment: Vec<(String, String)>) -> (i32, String, String) {
        let mut command = sentistream(arguments);
        command.envs(self.topics.environment()).envs(environment).envs(tiny());
        let (code, out, said) = ended(&command.output().expect("runs"));
        self.print(&out);
        self.print(&said);
        (code, out, said)
    }

    fn print(&self, text: &str) {
        let mut printed = self.printed.lock().expect("not poisoned");
        printed.push_str(text);
        printed.push('\n');
    }

    fn help(&self) {
        for command in COMMANDS {
            let (code, help, _) =
                self.run_with(&[command, &["--help"][..]].concat(), self.broker.environment(Way::Plain));
            assert!(code == 0 && help.contains("Usage"), "{command:?}");
        }
    }

    fn no_secret_was_told(&self) {
        let printed = self.printed.lock().expect("not poisoned");
        for seen in ["librdkafka", "DEBUG", "worker-scram", "SASL"] {
            assert!(printed.contains(seen), "{seen} is not in what was printed: is it the log?");
        }
        let secrets = self.broker.secrets();
        assert!(secrets.len() > 6, "passwords, and tokens as they travelled");
        for secret in secrets {
            if let Some(line) = printed.lines().find(|line| line.contains(&secret)) {
                panic!("a secret was told: {line}");
            }
        }
    }
}

/// A bundle that loads at once, and everything that is logged.
fn tiny() -> [(String, String); 2] {
    [("MODEL__BUNDLE", "tests/fixtures/bundles/tiny"), ("LOG__LEVEL", "debug")]
        .map(|(key, value)| (format!("SENTISTREAM__{key}"), value.to_owned()))
}

/// The text of `docs/security.md` from a heading to the next.
fn section(heading: &str) -> String {
    let text = fs::read_to_string(repository("docs/security.md")).expect("docs/security.md");
    let section = text.split(heading).nth(1).unwrap_or_else(|| panic!("{heading} in docs/security.md"));
    section.split("\n#").next().unwrap_or_default().to_owned()
}

/// The first block of this language after a heading.
fn block(heading: &str, language: &str) -> String {
    let section = section(heading);
    let block = section.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_else(|| panic!("{language} under {heading}")).to_owned()
}

/// The arguments of the `kafka-acls.sh` commands under a heading, but for how they connect.
fn kafka_acls(heading: &str) -> Vec<Vec<String>> {
    let block = block(heading, "sh").replace("\\\n", " ");
    let commands = block.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let connect =
            ["kafka-acls.sh", "--bootstrap-server", "kafka.example.com:9093", "--command-config", "admin.properties"];
        assert!(words.starts_with(&connect.map(str::to_owned)), "{line}");
        words[connect.len()..].to_vec()
    });
    commands.collect()
}

/// What is documented for others than workers loads too.
#[test]
fn every_documented_block_of_settings_loads() {
    for heading in [
        "### TLS\n",
        "### TLS with",
        "### A user and a password, SCRAM",
        "### A user and a password, PLAIN",
        "### Tokens",
    ] {
        let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
        fs::write(file.path(), block(heading, "yaml")).expect("written");
        let settings = sentistream::settings::load(Some(Path::new(file.path()))).expect(heading);
        let refused = settings.kafka.security.options().expect_err("no such file here");
        assert!(refused.contains("kafka.security.ca_file /etc/sentistream/ca.pem"), "{refused}");
    }
}
