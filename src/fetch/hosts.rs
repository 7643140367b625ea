//! Which URLs may be asked for: `http:` and `https:` to a host and port of the list, without credentials. Names are compared
//! as the `url` crate normalises them, so that no spelling of an address or a name passes by another.

use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

use super::{address, refused, shown};
use crate::error::Refusal;

const USUAL_PORTS: [u16; 2] = [80, 443];
/// What an entry of the list never has: anything of a URL but host and port.
const NO_PART_OF_A_HOST: &[char] = &['/', '\\', '?', '#', '@', '*', ' ', '\t', '\r', '\n'];

/// An entry of the list: `cdn.example.com`, `*.example.com` (names below it, at any depth), `10.0.0.5`, `[fd00::5]`; each on
/// ports 80 and 443, and on its own where it has one (`cdn.example.com:8443`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule {
    name: Name,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Exactly(Host<String>),
    /// With its leading dot.
    Below(String),
}

impl FromStr for HostRule {
    type Err = String;

    fn from_str(entry: &str) -> Result<Self, String> {
        const FORM: &str =
            "an entry of fetch.hosts is a host such as cdn.example.com, *.example.com or cdn.example.com:8443";
        let (wildcard, host) = entry.strip_prefix("*.").map_or((false, entry), |below| (true, below));
        if host.contains(NO_PART_OF_A_HOST) {
            return Err(FORM.into());
        }
        let url = Url::parse(&format!("http://{host}/")).map_err(|error| format!("{error}; {FORM}"))?;
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port = if has_port { url.port_or_known_default() } else { None };
        let name = match (url.host(), wildcard) {
            (Some(Host::Domain(name)), true) if name.contains('.') => Name::Below(format!(".{name}")),
            (Some(_), true) => return Err(format!("*. goes before a name with a dot in it; {FORM}")),
            (Some(host), false) => Name::Exactly(host.to_owned()),
            (None, _) => return Err(FORM.into()),
        };
        Ok(Self { name, port })
    }
}

impl HostRule {
    fn names(&self, host: &Host<&str>) -> bool {
        match (&self.name, host) {
            (Name::Exactly(name), host) => name == host,
            (Name::Below(suffix), Host::Domain(host)) => host.len() > suffix.len() && host.ends_with(suffix),
            (Name::Below(_), _) => false,
        }
    }
}

/// The list, and the networks its hosts may lead to.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    pub(super) hosts: Vec<HostRule>,
    pub(super) networks: Arc<[IpNet]>,
}

impl Allowed {
    /// Whether the URL may be asked for. Where a name leads to is settled when it is resolved; an address is settled here.
    pub(super) fn check(&self, url: &Url) -> Result<(), Refusal> {
        let refuse = |why: &str| Err(refused(format!("{}: {why}", shown(url))));
        if !matches!(url.scheme(), "http" | "https") {
            return refuse("only http: and https: are followed");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("a user name or password in the URL");
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else { return refuse("no host") };
        let mut ports = self.hosts.iter().filter(|rule| rule.names(&host)).map(|rule| rule.port).peekable();
        if ports.peek().is_none() {
            return refuse("the host is not in fetch.hosts");
        }
        if !USUAL_PORTS.contains(&port) && !ports.any(|allowed| allowed == Some(port)) {
            return refuse("the port is neither 80, 443 nor the one of the host's entry in fetch.hosts");
        }
        let address = match host {
            Host::Ipv4(address) => address.into(),
            Host::Ipv6(address) => address.into(),
            Host::Domain(_) => return Ok(()),
        };
        address::check(address, &self.networks).map_err(|forbidden| refused(forbidden.to_string()))
    }
}

#[cfg(test)]
mod tests;
