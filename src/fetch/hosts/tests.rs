//! What a list lets in, and every spelling that tries to pass by it.

use proptest::prelude::*;

use super::*;
use crate::error::Reason;

fn allowed(hosts: &[&str], networks: &[&str]) -> Allowed {
    Allowed {
        hosts: hosts.iter().map(|host| host.parse().expect("an entry")).collect(),
        networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
    }
}

/// Nothing where the URL may be asked for, else what is told.
fn told(allowed: &Allowed, url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "not a URL".to_owned() };
    match allowed.check(&url) {
        Ok(()) => String::new(),
        Err(refusal) => {
            assert_eq!(refusal.reason, Reason::FetchRefused);
            refusal.detail
        }
    }
}

#[test]
fn a_name_is_allowed_as_it_is_and_below_a_wildcard() {
    let rules = allowed(&["cdn.example.com", "*.images.example.net", "Bücher.example", "alt.example:8443"], &[]);
    for url in [
        "https://cdn.example.com/a.jpg",
        "http://CDN.Example.COM:80/a.jpg?signature=x",
        "https://cdn.example.com:80/",
        "https://a.images.example.net/",
        "https://a.b.images.example.net/",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/",
        "https://alt.example:8443/",
        "https://alt.example/",
        "https:cdn.example.com",
        "https:\\\\cdn.example.com\\a",
        "https://ｃｄｎ.example.com/",
    ] {
        assert_eq!(told(&rules, url), "", "{url}");
    }
    for (url, why) in [
        ("https://example.com/", "not in fetch.hosts"),
        ("https://images.example.net/", "not in fetch.hosts"),
        ("https://badimages.example.net/", "not in fetch.hosts"),
        ("https://cdn.example.com.evil.test/", "not in fetch.hosts"),
        ("https://cdn.example.com./", "not in fetch.hosts"),
        ("https://evil.test/#@cdn.example.com", "not in fetch.hosts"),
        ("https://evil.test\\@cdn.example.com/", "not in fetch.hosts"),
        ("https://cdn.example.com@evil.test/", "user name"),
        ("https://cdn.example.com:pass@cdn.example.com/", "user name"),
        ("https://u@cdn.example.com/", "user name"),
        ("https://cdn.example.com:8443/", "port"),
        ("https://alt.example:8444/", "port"),
        ("https://cdn.example.com:22/", "port"),
        ("ftp://cdn.example.com/", "only http: and https:"),
        ("gopher://cdn.example.com/", "only http: and https:"),
        ("file:///etc/passwd", "only http: and https:"),
        ("data:image/png;base64,AAAA", "only http: and https:"),
    ] {
        let told = told(&rules, url);
        assert!(told.contains(why), "{url}: {told}");
    }
}

#[test]
fn an_address_is_what_it_is_however_it_is_written() {
    let spellings = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
    ];
    let listed = allowed(&["127.0.0.1"], &[]);
    for host in spellings {
        let told = told(&listed, &format!("http://{host}/"));
        assert!(told.contains("127.0.0.1 may not be reached: loopback"), "{host}: {told}");
        assert_eq!(self::told(&allowed(&["127.0.0.1"], &["127.0.0.0/8"]), &format!("http://{host}/")), "", "{host}");
    }
    let listed = allowed(&["[::1]", "[::ffff:127.0.0.1]", "[fd00:ec2::254]"], &["127.0.0.0/8"]);
    for host in ["[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[fd00:ec2::254]"] {
        let told = told(&listed, &format!("http://{host}/"));
        assert!(told.contains("may not be reached"), "{host}: {told}");
    }
    let wildcard = allowed(&["*.example.com"], &["0.0.0.0/0"]);
    assert!(told(&wildcard, "http://127.0.0.1/").contains("not in fetch.hosts"));
}

#[test]
fn an_entry_that_is_no_host_is_refused() {
    for entry in [
        "",
        "*",
        "*.",
        "*.com",
        "*.10.0.0.1",
        "a.*.example.com",
        "https://cdn.example.com",
        "cdn.example.com/images",
        "user@cdn.example.com",
        "cdn.example.com:port",
        "cdn.example.com:99999",
        "cdn example.com",
        "cdn.example.com?x",
        "[::1",
        "1.2.3.4.5",
    ] {
        assert!(entry.parse::<HostRule>().is_err(), "{entry:?}");
    }
    for (entry, port) in [("a.example", None), ("a.example:80", Some(80)), ("[::1]:81", Some(81)), ("[::1]", None)] {
        assert_eq!(entry.parse::<HostRule>().expect("an entry").port, port, "{entry}");
    }
}

#[test]
fn neither_query_nor_credentials_nor_fragment_are_told() {
    let rules = allowed(&[], &[]);
    for url in ["https://user:secret@a.example/path?secret=1#secret", "https://a.example:81/path?token=secret"] {
        let told = told(&rules, url);
        assert!(told.contains("a.example") && told.contains("/path") && !told.contains("secret"), "{told}");
    }
}

proptest! {
    #[test]
    fn only_the_host_decides(host in "[a-z]{1,8}(\\.[a-z]{1,8}){0,3}", rest in "[a-zA-Z0-9/?#@:.%\\\\-]{0,30}") {
        let rules = allowed(&["cdn.example.com", "*.images.example.net"], &[]);
        let url = format!("https://{host}/{rest}");
        let expected = host == "cdn.example.com" || host.ends_with(".images.example.net");
        prop_assert_eq!(told(&rules, &url).is_empty(), expected, "{}", url);
    }

    #[test]
    fn whatever_the_text_what_is_let_in_has_a_listed_host(text in "(https?:)?[/\\\\]{0,3}(cdn\\.example\\.com|evil\\.test|[@:#?.\\\\/%a-z0-9]){1,6}") {
        let rules = allowed(&["cdn.example.com"], &[]);
        if let Ok(url) = Url::parse(&text)
            && rules.check(&url).is_ok()
        {
            prop_assert_eq!(url.host_str(), Some("cdn.example.com"));
            prop_assert!(url.username().is_empty());
        }
    }

    #[test]
    fn a_name_is_never_an_address(host in "[0-9a-fx.]{1,20}") {
        // An address would pass by the resolver, and so by its check.
        if let Ok(url) = Url::parse(&format!("http://{host}/"))
            && let Some(Host::Domain(name)) = url.host()
        {
            prop_assert!(name.parse::<std::net::IpAddr>().is_err());
        }
    }
}
