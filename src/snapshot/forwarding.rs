//! What the app is told about the client, and whom to believe about it.
//!
//! Path: compiled here, used by `proxy::headers` for every request.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::model::{Config, ForwardedHeaders, RequestIds};

/// Trust and the headers to set.
#[derive(Debug, Clone)]
pub struct Forwarding {
    trusted: Vec<IpNet>,
    /// Set `X-Forwarded-For`, `-Proto`, `-Host`.
    pub x_forwarded: bool,
    /// Set `Forwarded`.
    pub forwarded: bool,
    /// Give an id to a request that comes without.
    pub makes_ids: bool,
}

impl Forwarding {
    /// From the keys of the configuration.
    pub fn new(config: &Config) -> Self {
        let headers = config.forwarded_headers;
        Self {
            trusted: config.trusted_proxies.clone(),
            x_forwarded: matches!(
                headers,
                ForwardedHeaders::XForwarded | ForwardedHeaders::Both
            ),
            forwarded: matches!(
                headers,
                ForwardedHeaders::Forwarded | ForwardedHeaders::Both
            ),
            makes_ids: config.request_id == RequestIds::Make,
        }
    }

    /// Whether what `peer` says about its own client is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}
