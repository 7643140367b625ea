//! What is refused and what comes through.

use super::*;
use crate::settings::{self, Settings};

/// Settings whose section `kafka` holds these lines.
fn with_kafka(lines: &str) -> Result<Settings, String> {
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().expect("a file");
    std::fs::write(file.path(), format!("kafka:\n{lines}\n")).expect("written");
    settings::load(Some(file.path())).map_err(|error| error.to_string())
}

fn security(lines: &str) -> Result<Security, String> {
    with_kafka(&format!("  security: {lines}")).map(|settings| settings.kafka.security)
}

#[test]
fn what_is_missing_or_contradicts_itself_is_refused_by_its_key_and_with_the_fix() {
    for (lines, told) in [
        ("{ca_file: ca.pem}", &["kafka.security.ca_file", "kafka.security.protocol is plaintext", "ssl"][..]),
        ("{protocol: sasl_plaintext, ca_file: ca.pem, mechanism: PLAIN}", &["kafka.security.ca_file"]),
        ("{protocol: ssl, certificate_file: a.pem}", &["certificate_file", "without kafka.security.key_file"]),
        ("{protocol: ssl, key_file: a.pem}", &["key_file", "without kafka.security.certificate_file"]),
        ("{protocol: ssl, key_password_file: a}", &["key_password_file", "without kafka.security.key_file"]),
        ("{protocol: ssl, mechanism: PLAIN}", &["kafka.security.mechanism", "sasl_ssl"]),
        ("{username: alice}", &["kafka.security.username", "sasl_ssl"]),
        ("{oauth: {client_id: alice}}", &["kafka.security.oauth.client_id", "sasl_ssl"]),
        ("{protocol: sasl_ssl}", &["kafka.security.mechanism is not set", "SCRAM-SHA-512"]),
        ("{protocol: sasl_ssl, mechanism: SCRAM}", &["kafka.security.mechanism", "SCRAM"]),
        ("{protocol: sasl_ssl, mechanism: PLAIN, password: hunter2}", &["kafka.security.username is not set"]),
        ("{protocol: sasl_ssl, mechanism: PLAIN, username: alice}", &["neither kafka.security.password_file"]),
        ("{protocol: sasl_ssl, mechanism: PLAIN, username: a, password: ''}", &["kafka.security.password is empty"]),
        (
            "{protocol: sasl_ssl, mechanism: PLAIN, username: a, password: hunter2, password_file: b}",
            &["kafka.security.password", "keep one"],
        ),
        (
            "{protocol: sasl_ssl, mechanism: PLAIN, username: a, password: hunter2, oauth: {scope: s}}",
            &["kafka.security.oauth.scope", "PLAIN has no use for it"],
        ),
        (
            "{protocol: sasl_ssl, mechanism: OAUTHBEARER, username: alice}",
            &["kafka.security.username", "OAUTHBEARER has no use for it"],
        ),
        ("{protocol: sasl_ssl, mechanism: OAUTHBEARER}", &["kafka.security.oauth.token_endpoint is not set"]),
        (
            "{protocol: sasl_ssl, mechanism: OAUTHBEARER, oauth: {token_endpoint: https://a.example/t, client_id: a}}",
            &["neither kafka.security.oauth.client_secret_file"],
        ),
        (
            "{protocol: sasl_ssl, mechanism: OAUTHBEARER, oauth: {token_endpoint: hunter2, client_id: a, client_secret: b}}",
            &["kafka.security.oauth.token_endpoint", "no http or https URL"],
        ),
        (
            "{protocol: sasl_ssl, mechanism: OAUTHBEARER, oauth: {token_endpoint: 'https://a:hunter2@b.example/', client_id: a, client_secret: b}}",
            &["kafka.security.oauth.token_endpoint", "credentials"],
        ),
        ("{protocol: ssl, pasword: hunter2}", &["pasword"]),
        ("hunter2", &["kafka.security", "wrong type"]),
        ("{password: [hunter2]}", &["kafka.security.password", "wrong type"]),
        ("{oauth: {client_secret: {a: hunter2}}}", &["kafka.security.oauth.client_secret", "wrong type"]),
    ] {
        let refused = security(lines).expect_err(lines);
        for told in told {
            assert!(refused.contains(told), "{lines}: {refused}");
        }
        assert!(!refused.contains("hunter2"), "{lines}: {refused}");
    }
}

#[test]
fn what_the_section_covers_is_not_set_in_the_options_too() {
    let section = "  security: {protocol: ssl}\n";
    for (options, told) in [
        ("options: {ssl.ca.pem: a}", "kafka.security.ca_file"),
        ("consumer: {security.protocol: ssl}", "kafka.security.protocol"),
        ("producer: {sasl.password: hunter2}", "kafka.security.password_file"),
    ] {
        let refused = with_kafka(&format!("{section}  {options}")).expect_err(options);
        assert!(refused.contains(told) && !refused.contains("hunter2"), "{refused}");
        with_kafka(&format!("  {options}")).expect("without the section the options are free");
    }
    with_kafka(&format!("{section}  options: {{ssl.cipher.suites: TLS_AES_256_GCM_SHA384}}")).expect("not covered");
}

#[test]
fn files_are_read_when_a_client_is_made_and_refused_by_their_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let (ca, empty) = (write("ca.pem", "# a comment\n-----BEGIN CERTIFICATE-----\n"), write("empty", ""));
    let password = write("password", "hunter2\n");
    let user = Security {
        protocol: Protocol::SaslSsl,
        ca_file: Some(ca.clone()),
        mechanism: Some(Mechanism::ScramSha512),
        username: Some("alice".into()),
        password_file: Some(password),
        ..Security::default()
    };
    let expected = [
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", ca.to_str().expect("UTF-8")),
        ("sasl.password", "hunter2"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "alice"),
    ];
    assert_eq!(user.options().expect("readable"), expected.map(|(key, value)| (key, value.to_owned())));
    for (wrong, told) in [
        (
            Security { ca_file: Some("no-such-file".into()), ..user.clone() },
            "kafka.security.ca_file no-such-file cannot",
        ),
        (Security { ca_file: Some(empty.clone()), ..user.clone() }, "is no PEM file"),
        (Security { password_file: Some(empty), ..user.clone() }, "kafka.security.password_file"),
        (Security { password_file: Some("no-such-file".into()), ..user }, "kafka.security.password_file no-such-file"),
    ] {
        let refused = wrong.options().expect_err("refused");
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn no_debug_tells_a_secret() {
    let lines = "  security: {protocol: sasl_ssl, mechanism: PLAIN, username: alice, password: hunter2}\n  options: {ssl.keystore.foo: hunter2}";
    let told = format!("{:?}", with_kafka(lines).expect("valid"));
    assert!(told.contains("alice") && told.contains("ssl.keystore.foo") && !told.contains("hunter2"), "{told}");
}

#[test]
fn the_settings_become_options_that_librdkafka_takes() {
    let oauth = "{protocol: sasl_ssl, mechanism: OAUTHBEARER, oauth: {token_endpoint: 'https://a.example/t', client_id: a, client_secret: b, scope: c}}";
    let mut config = rdkafka::ClientConfig::new();
    for (key, value) in security(oauth).expect("valid").options().expect("no file") {
        config.set(key, value);
    }
    let config = config.create_native_config().expect("known options");
    let get = |key: &str| config.get(key).expect("set").trim_end_matches('\0').to_owned();
    assert_eq!(get("sasl.oauthbearer.method"), "oidc");
    assert_eq!(get("sasl.oauthbearer.token.endpoint.url"), "https://a.example/t");
    assert_eq!(get("sasl.oauthbearer.scope"), "c");
}
