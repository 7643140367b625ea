//! Who is answered: whoever brings the token; where there is none, only those who ask for a name that leads nowhere but here.
//!
//! Without a token any page in the user's browser could ask a name of its own that its owner lets lead to 127.0.0.1 (DNS rebinding),
//! and read the answer: so only names that cannot do so are answered.

use std::net::{IpAddr, Ipv6Addr};

use axum::http::{HeaderMap, Uri, header};

use crate::secret::Secret;

/// Where the browser keeps what the token became.
const COOKIE: &str = "sentistream_dashboard";

/// What is asked of a request.
#[derive(Debug, Clone)]
pub struct Guard {
    token: Option<blake3::Hash>,
    /// What a browser brings instead of the token, which is told to nobody.
    cookie: String,
    hosts: Vec<String>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No token, or a wrong one.
    Unauthorised,
    /// A name that is not served.
    ForbiddenHost,
}

impl Guard {
    /// By the settings.
    #[must_use]
    pub fn new(token: Option<&Secret>, hosts: &[String]) -> Self {
        let derived = token.map(|Secret(token)| blake3::derive_key("sentistream dashboard cookie", token.as_bytes()));
        Self {
            token: token.map(|Secret(token)| blake3::hash(token.as_bytes())),
            cookie: derived.map(hex::encode).unwrap_or_default(),
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        }
    }

    /// Whether a request is answered.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Refused> {
        if self.token.is_none() {
            let host = headers
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .or(uri.authority().map(axum::http::uri::Authority::as_str));
            return if host.is_some_and(|host| self.is_served(host)) { Ok(()) } else { Err(Refused::ForbiddenHost) };
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer =
            bearer.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let by_header = bearer.is_some_and(|(_, token)| self.is_token(token.trim()));
        let by_cookie = cookies(headers).any(|cookie| same(cookie, &self.cookie));
        if by_header || by_cookie { Ok(()) } else { Err(Refused::Unauthorised) }
    }

    /// Whether this is the token, in a time that does not tell how much of it is right.
    #[must_use]
    pub fn is_token(&self, token: &str) -> bool {
        // Comparing hashes takes the same time whatever they are.
        self.token.is_some_and(|expected| expected == blake3::hash(token.as_bytes()))
    }

    /// Whether a token is asked for.
    #[must_use]
    pub const fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The cookie of a browser that brought the token.
    #[must_use]
    pub fn set_cookie(&self) -> String {
        format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict", self.cookie)
    }

    fn is_served(&self, host: &str) -> bool {
        let host = without_port(host).to_ascii_lowercase();
        let is_loopback = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
            None => host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        };
        // Browsers ask no server where these lead to.
        is_loopback || host == "localhost" || host.ends_with(".localhost") || self.hosts.contains(&host)
    }
}

fn same(one: &str, other: &str) -> bool {
    blake3::hash(one.as_bytes()) == blake3::hash(other.as_bytes())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            // Colons of an IPv6 address stand in brackets, where a port follows.
            if port.bytes().all(|byte| byte.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).filter_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn without_a_token_only_names_that_lead_here_are_answered() {
        let guard = Guard::new(None, &["Sentiment.Example.com".into()]);
        let answered = |host: &str| guard.check(&headers(&[(header::HOST, host)]), &Uri::default()).is_ok();
        for host in [
            "localhost",
            "LOCALHOST:9465",
            "demo.localhost",
            "127.0.0.1:9465",
            "127.1.2.3",
            "[::1]",
            "[::1]:80",
            "sentiment.example.com:443",
        ] {
            assert!(answered(host), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "",
            "evillocalhost",
            "sentiment.example.com.evil",
            "[::1",
            "::1:x",
        ] {
            assert!(!answered(host), "{host}");
        }
        assert_eq!(guard.check(&HeaderMap::new(), &Uri::default()), Err(Refused::ForbiddenHost));
    }

    #[test]
    fn with_a_token_it_is_asked_for_under_any_name() {
        let token = Secret("0123456789abcdef".into());
        let guard = Guard::new(Some(&token), &[]);
        let check = |pairs: &[(header::HeaderName, &str)]| guard.check(&headers(pairs), &Uri::default());
        assert_eq!(check(&[(header::HOST, "localhost")]), Err(Refused::Unauthorised));
        for wrong in ["Bearer", "Bearer ", "Bearer 0123456789abcdeF", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert_eq!(check(&[(header::AUTHORIZATION, wrong)]), Err(Refused::Unauthorised), "{wrong}");
        }
        assert_eq!(check(&[(header::AUTHORIZATION, "bearer 0123456789abcdef")]), Ok(()));
        let set = guard.set_cookie();
        assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict") && !set.contains(&token.0));
        let cookie = format!("other=1; {}", set.split(';').next().expect("a cookie"));
        assert_eq!(check(&[(header::COOKIE, &cookie)]), Ok(()));
        assert_eq!(check(&[(header::COOKIE, "sentistream_dashboard=")]), Err(Refused::Unauthorised));
        assert_eq!(check(&[(header::COOKIE, "sentistream_dashboard=0123456789abcdef")]), Err(Refused::Unauthorised));
    }
}
