//! A Kafka broker as a platform team sets one up: every listener speaks TLS, every client is somebody, and nobody may do
//! anything that an ACL does not grant. One broker, a listener for each [`Way`] to be let in; it dies with the thread that
//! started it.
//!
//! A test asks for [`SecuredBroker::environment`] (or [`SecuredBroker::environment_of`], for a principal of its own) and grants
//! with [`SecuredBroker::acls`], which is Kafka's own `kafka-acls.sh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::broker::free_ports;
use super::kafka::Topics;
use super::process::bound;
use super::tokens::{AUDIENCE, ISSUER, Tokens};
use super::{repository, wait_until};

/// Base64 of 16 bytes, as Kafka wants it.
const CLUSTER_ID: &str = "c2VudGlzdHJlYW1zZWNyZQ";
/// May do everything.
const ADMIN: &str = "admin";
const BROKER: &str = "broker";
/// How long a user is let in for before the broker asks again.
const REAUTHENTICATION_MS: u32 = 4000;

/// How a client is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// TLS alone: the client is nobody (`User:ANONYMOUS`).
    Tls,
    /// A client certificate, whose name is the principal.
    MutualTls,
    /// A name and a password, as they are.
    Plain,
    /// A name and a password that does not travel.
    Scram,
    /// A token, from the token server.
    Oauth,
}

impl Way {
    pub const ALL: [Self; 5] = [Self::Tls, Self::MutualTls, Self::Plain, Self::Scram, Self::Oauth];

    /// Who [`SecuredBroker::environment`] connects as.
    pub const fn principal(self) -> &'static str {
        match self {
            Self::Tls => "ANONYMOUS",
            Self::MutualTls => "worker-mtls",
            Self::Plain => "worker-plain",
            Self::Scram => "worker-scram",
            Self::Oauth => "worker-oauth",
        }
    }

    const fn listener(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::MutualTls => "MTLS",
            Self::Plain => "PLAIN",
            Self::Scram => "SCRAM",
            Self::Oauth => "OAUTH",
        }
    }
}

/// The broker, its certificate authority and its token server.
pub struct SecuredBroker {
    folder: PathBuf,
    ports: [u16; 5],
    authority: CertifiedIssuer<'static, KeyPair>,
    /// Who gives tokens.
    pub tokens: Tokens,
    /// No two runs have the same.
    secrets: [String; 3],
    process: Child,
}

impl SecuredBroker {
    /// Starts it with everything it keeps in `folder`, and waits until it answers.
    pub fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("folder made");
        let authority = authority("Kafka");
        let [ports @ .., controller] = free_ports::<6>();
        let secrets = ["plain", "scram", "key"].map(|of| format!("{of}-{:016x}", fastrand::u64(..)));
        let tokens = Tokens::start();
        fs::write(folder.join("ca.pem"), authority.pem()).expect("written");
        fs::write(folder.join("jwks.json"), tokens.key_set()).expect("written");
        for name in [BROKER, ADMIN] {
            let (certificate, key) = certificate(&authority, name);
            fs::write(folder.join(format!("{name}.pem")), format!("{key}{certificate}")).expect("written");
        }
        fs::write(folder.join("admin.properties"), admin_properties(folder)).expect("written");
        fs::write(folder.join("broker.properties"), broker_properties(folder, ports, controller, &secrets[0]))
            .expect("written");
        let scram = format!("SCRAM-SHA-512=[name={},password={}]", Way::Scram.principal(), secrets[1]);
        let settings = folder.join("broker.properties").to_string_lossy().into_owned();
        let format = ["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c", &settings];
        let formatted = java(folder, &format).args(["--add-scram", &scram]).status().expect("java runs");
        assert!(formatted.success(), "the broker's storage cannot be formatted: {}", log(folder));
        let mut process = java(folder, &["kafka.Kafka", &settings]).spawn().expect("java runs");
        wait_until("the secured broker has started", || {
            let ended = process.try_wait().expect("waits");
            assert!(ended.is_none(), "the broker ended while starting: {ended:?}: {}", log(folder));
            log(folder).contains("Kafka Server started")
        });
        Self { folder: folder.to_owned(), ports, authority, tokens, secrets, process }
    }

    /// `host:port` of a way's listener.
    pub fn address(&self, way: Way) -> String {
        format!("127.0.0.1:{}", self.ports[way as usize])
    }

    /// A file with the certificate of the authority that signed the broker's.
    pub fn authority_file(&self) -> String {
        self.path("ca.pem")
    }

    /// What must never be told: passwords, the client's secret in each form that travels, the signatures of the tokens.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = self.secrets.to_vec();
        secrets.extend(self.tokens.secrets());
        secrets
    }

    /// How `way`'s own principal connects, as environment variables of the binary.
    pub fn environment(&self, way: Way) -> Vec<(String, String)> {
        self.environment_of(way, way.principal())
    }

    /// The same for any principal, where the way has one for each: a certificate is made, the token server knows everybody.
    pub fn environment_of(&self, way: Way, principal: &str) -> Vec<(String, String)> {
        let set = |key: &str, value: &str| (format!("SENTISTREAM__KAFKA__{key}"), value.to_owned());
        let secret = |key: &str, text: &str| set(&format!("SECURITY__{key}"), &self.secret_file(text));
        let sasl = matches!(way, Way::Plain | Way::Scram | Way::Oauth);
        let mut environment = vec![
            set("BROKERS", &self.address(way)),
            set("SECURITY__PROTOCOL", if sasl { "sasl_ssl" } else { "ssl" }),
            set("SECURITY__CA_FILE", &self.authority_file()),
        ];
        environment.extend(match way {
            Way::Tls => vec![],
            Way::MutualTls => {
                let (certificate, key) = self.certificate_files(principal);
                vec![
                    set("SECURITY__CERTIFICATE_FILE", &certificate),
                    set("SECURITY__KEY_FILE", &key),
                    secret("KEY_PASSWORD_FILE", &self.secrets[2]),
                ]
            }
            // In the environment, as few would; the others read files.
            Way::Plain => vec![
                set("SECURITY__MECHANISM", "PLAIN"),
                set("SECURITY__USERNAME", principal),
                set("SECURITY__PASSWORD", &self.secrets[0]),
            ],
            Way::Scram => vec![
                set("SECURITY__MECHANISM", "SCRAM-SHA-512"),
                set("SECURITY__USERNAME", principal),
                secret("PASSWORD_FILE", &self.secrets[1]),
            ],
            Way::Oauth => vec![
                set("SECURITY__MECHANISM", "OAUTHBEARER"),
                set("SECURITY__OAUTH__TOKEN_ENDPOINT", &self.tokens.endpoint),
                set("SECURITY__OAUTH__CLIENT_ID", principal),
                secret("OAUTH__CLIENT_SECRET_FILE", &self.tokens.client_secret),
                set("SECURITY__OAUTH__CA_FILE", &self.tokens_authority_file()),
            ],
        });
        environment
    }

    /// A file with a secret, ended by a newline as editors do.
    pub fn secret_file(&self, secret: &str) -> String {
        self.written(&format!("file-{:016x}", fastrand::u64(..)), &format!("{secret}\n"))
    }

    fn tokens_authority_file(&self) -> String {
        self.written("tokens-ca.pem", &self.tokens.certificate)
    }

    /// A client certificate for a principal, and its key behind a password.
    fn certificate_files(&self, principal: &str) -> (String, String) {
        let (certificate, key) = certificate(&self.authority, principal);
        let [chain, plain, sealed] = ["pem", "key", "sealed.key"].map(|end| format!("{principal}-client.{end}"));
        self.written(&chain, &certificate);
        self.written(&plain, &key);
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", &format!("pass:{}", self.secrets[2])]);
        openssl.args(["-in", &self.path(&plain), "-out", &self.path(&sealed)]);
        assert!(openssl.status().expect("openssl runs").success(), "the key is sealed");
        (self.path(&chain), self.path(&sealed))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    /// `kafka-acls.sh` with each of these arguments, as somebody who may do everything.
    pub fn acls<Word: AsRef<str>>(&self, commands: &[Vec<Word>]) {
        let line = |words: &Vec<Word>| words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = commands.iter().map(line).collect();
        let file = self.written(&format!("acls-{:016x}", fastrand::u64(..)), &lines.join("\n"));
        let program = repository("tests/suite/support/Acls.java").to_string_lossy().into_owned();
        self.administer(&[&program, &file], &[]);
    }

    /// Another password for the user of [`Way::Scram`].
    pub fn set_password(&self, password: &str) {
        let config = format!("SCRAM-SHA-512=[password={password}]");
        let user =
            ["--alter", "--entity-type", "users", "--entity-name", Way::Scram.principal(), "--add-config", &config];
        self.administer(&["kafka.admin.ConfigCommand"], &user);
    }

    /// The password that [`Self::environment`] has.
    pub fn restore_password(&self) {
        self.set_password(&self.secrets[1]);
    }

    fn administer(&self, program: &[&str], arguments: &[&str]) {
        let (address, properties) = (self.address(Way::MutualTls), self.path("admin.properties"));
        let mut command = java(&self.folder, program);
        command.args(["--bootstrap-server", &address, "--command-config", &properties]).args(arguments);
        assert!(command.status().expect("java runs").success(), "{program:?} {arguments:?}: {}", log(&self.folder));
    }

    /// Writes a file that a test needs, and tells its path.
    pub fn written(&self, name: &str, text: &str) -> String {
        fs::write(self.folder.join(name), text).expect("written");
        self.path(name)
    }

    /// A client certificate that an authority signed which nobody trusts.
    pub fn stranger(&self) -> Vec<(String, String)> {
        let (certificate, key) = certificate(&authority("nobody trusts"), "stranger");
        let set = |key: &str, path: String| (format!("SENTISTREAM__KAFKA__SECURITY__{key}"), path);
        vec![
            set("CERTIFICATE_FILE", self.written("stranger.pem", &certificate)),
            set("KEY_FILE", self.written("stranger.key", &key)),
        ]
    }

    /// Three topics and a group, looked at by somebody who may do everything.
    pub async fn topics(&self, test: &str, partitions: i32) -> Topics {
        let store = self.path("admin.pem");
        let options = [
            ("security.protocol", "ssl"),
            ("ssl.ca.location", &self.authority_file()),
            ("ssl.certificate.location", &store),
            ("ssl.key.location", &store),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        Topics::create_as(options.into(), self.address(Way::MutualTls), test, partitions).await
    }
}

impl Drop for SecuredBroker {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A certificate authority of this name.
pub fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

/// A certificate of this name on loopback, and its key, as PEM.
fn certificate(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, authority).expect("signed");
    (certificate.pem(), key.serialize_pem())
}

fn admin_properties(folder: &Path) -> String {
    format!(
        "security.protocol=SSL\nssl.keystore.type=PEM\nssl.keystore.location={0}/admin.pem\nssl.truststore.type=PEM\n\
         ssl.truststore.location={0}/ca.pem\n",
        folder.display()
    )
}

fn broker_properties(folder: &Path, ports: [u16; 5], controller: u16, password: &str) -> String {
    let of = |end: fn(Way, u16) -> String| {
        Way::ALL.iter().zip(ports).map(|(way, port)| end(*way, port)).collect::<Vec<_>>().join(",")
    };
    let listeners = of(|way, port| format!("{}://127.0.0.1:{port}", way.listener()));
    let protocols = of(|way, _| {
        format!("{}:{}", way.listener(), if matches!(way, Way::Tls | Way::MutualTls) { "SSL" } else { "SASL_SSL" })
    });
    let common = fs::read_to_string(repository("scripts/kafka/server.properties")).expect("broker settings");
    let folder = folder.display();
    let (plain, oauth) = (Way::Plain.principal(), "org.apache.kafka.common.security.oauthbearer");
    format!(
        "process.roles=broker,controller\nnode.id=1\nlog.dirs={folder}/data\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\nadvertised.listeners={listeners}\n\
         listener.security.protocol.map={protocols},CONTROLLER:SSL\n\
         inter.broker.listener.name=MTLS\ncontroller.listener.names=CONTROLLER\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         ssl.keystore.type=PEM\nssl.keystore.location={folder}/broker.pem\n\
         ssl.truststore.type=PEM\nssl.truststore.location={folder}/ca.pem\n\
         ssl.principal.mapping.rules=RULE:^CN=([^,]+).*$/$1/\n\
         listener.name.mtls.ssl.client.auth=required\nlistener.name.controller.ssl.client.auth=required\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:{BROKER};User:{ADMIN}\n\
         listener.name.plain.sasl.enabled.mechanisms=PLAIN\n\
         listener.name.plain.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required user_{plain}=\"{password}\";\n\
         listener.name.scram.connections.max.reauth.ms={REAUTHENTICATION_MS}\n\
         listener.name.oauth.connections.max.reauth.ms={REAUTHENTICATION_MS}\n\
         listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-512\n\
         listener.name.scram.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER\n\
         listener.name.oauth.oauthbearer.sasl.jaas.config={oauth}.OAuthBearerLoginModule required;\n\
         listener.name.oauth.oauthbearer.sasl.server.callback.handler.class={oauth}.OAuthBearerValidatorCallbackHandler\n\
         listener.name.oauth.sasl.oauthbearer.jwks.endpoint.url=file://{folder}/jwks.json\n\
         listener.name.oauth.sasl.oauthbearer.expected.audience={AUDIENCE}\n\
         listener.name.oauth.sasl.oauthbearer.expected.issuer={ISSUER}\n{common}"
    )
}

fn log(folder: &Path) -> String {
    let log = fs::read(folder.join("broker.log")).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

/// A Java program of Kafka's, logging to the broker's log.
fn java(folder: &Path, arguments: &[&str]) -> Command {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("broker.log")).expect("log opens");
    let keys = folder.join("jwks.json").to_string_lossy().into_owned();
    let mut command = bound("java");
    command
        .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        // Kafka reads the keys of no other place.
        .arg(format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{keys}"))
        .arg(format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={keys}"))
        .arg("-cp")
        .arg(repository(".deps/kafka/lib/*"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("log opens"))
        .stderr(log);
    command
}
