//! Names to addresses, without those that may not be reached. What comes out of here is what is connected to: nothing
//! resolves the name a second time, so an answer that changes (DNS rebinding) changes nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address;

/// The system's resolver.
pub(super) struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Any resolver, its answers checked.
pub(super) struct Checked {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) networks: Arc<[IpNet]>,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolving, networks) = (self.resolver.resolve(name), Arc::clone(&self.networks));
        Box::pin(async move {
            let (mut allowed, mut forbidden) = (Vec::new(), None);
            for found in resolving.await? {
                match address::check(found.ip(), &networks) {
                    // Port 0 is replaced by the URL's; any other would stand in for it.
                    Ok(()) => allowed.push(SocketAddr::new(found.ip(), 0)),
                    Err(refused) => forbidden = Some(refused),
                }
            }
            match forbidden {
                Some(forbidden) if allowed.is_empty() => Err(forbidden.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}
