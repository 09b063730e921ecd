//! What the app is told about the client, and whom to believe about it.
//!
//! Path: compiled here, used by `proxy::headers` for every request.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::model::ForwardedHeaders;

/// Trust and the headers to set.
#[derive(Debug, Clone)]
pub struct Forwarding {
    trusted: Vec<IpNet>,
    /// Set `X-Forwarded-For`, `-Proto`, `-Host`.
    pub x_forwarded: bool,
    /// Set `Forwarded`.
    pub forwarded: bool,
}

impl Forwarding {
    /// From the two keys of the configuration.
    pub fn new(trusted: &[IpNet], headers: ForwardedHeaders) -> Self {
        Self {
            trusted: trusted.to_vec(),
            x_forwarded: matches!(
                headers,
                ForwardedHeaders::XForwarded | ForwardedHeaders::Both
            ),
            forwarded: matches!(
                headers,
                ForwardedHeaders::Forwarded | ForwardedHeaders::Both
            ),
        }
    }

    /// Whether what `peer` says about its own client is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}
