//! `listeners.*.tls`, `upstreams.*.tls`

use std::fmt;
use std::path::PathBuf;

use super::Located;

/// A PEM file. Its content is not part of the configuration: it is read again whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemFile {
    /// As it was written.
    pub written: Located<String>,
    /// The same, seen from the configuration's directory.
    pub path: PathBuf,
}

/// `{ cert: tls.crt, key: tls.key }`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// `cert`: the certificate, and behind it those that lead to a root. Required.
    pub cert: PemFile,
    /// `key`: its private key, not encrypted. Required.
    pub key: PemFile,
}

/// `listeners.*.tls`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// `certificates`: at least one; a client gets the one for the name it asks for, else the first.
    pub certificates: Vec<Certificate>,
    /// `client`: certificates of clients. Default: they are not asked for any.
    pub client: Option<ClientTls>,
}

/// `listeners.*.tls.client`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// `ca`: the authorities that are believed. Required.
    pub ca: PemFile,
    /// `mode`. Default `required`.
    pub mode: ClientMode,
    /// `allow`: who of them may come in, at least one. Default: all for whom `ca` vouches.
    pub allow: Option<Vec<Located<ClientName>>>,
    /// `identity_header`: the request header, in lower case, in which the app reads who the client is. Default: none.
    pub identity_header: Option<String>,
}

/// `listeners.*.tls.client.allow[]`: a name of the subjectAltName.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientName {
    /// `spiffe://trust.domain/path`
    Spiffe(String),
    /// `spiffe://trust.domain/path/*`, kept without `*`: all below.
    SpiffeBelow(String),
    /// `dns:client.test`, kept without `dns:`, in lower case.
    Dns(String),
    /// `dns:*.client.test`, kept without `dns:*.`: one label in its place.
    DnsBelow(String),
}

impl fmt::Display for ClientName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => write!(out, "{id}"),
            Self::SpiffeBelow(prefix) => write!(out, "{prefix}*"),
            Self::Dns(name) => write!(out, "dns:{name}"),
            Self::DnsBelow(parent) => write!(out, "dns:*.{parent}"),
        }
    }
}

/// `listeners.*.tls.client.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientMode {
    /// `required`: a client without a good certificate is not served.
    #[default]
    Required,
    /// `optional`: a client may show none; one that is shown must be good.
    Optional,
}

/// `upstreams.*.tls`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `ca`: the authorities that are believed. Default: those of the system.
    pub ca: Option<PemFile>,
    /// `server_name`: the name that is asked for and that the certificate has to be for. Default: the endpoint's host
    /// name, or its IP address.
    pub server_name: Option<Located<String>>,
    /// `certificate`: what is shown to an endpoint that asks. Default: nothing.
    pub certificate: Option<Certificate>,
    /// `insecure`: `true` believes any certificate. Default `false`, at the section's own place.
    pub insecure: Located<bool>,
}

impl Certificate {
    fn files(&mut self) -> [&mut PemFile; 2] {
        [&mut self.cert, &mut self.key]
    }
}

impl ListenerTls {
    /// Every file it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PemFile> {
        let pairs = self.certificates.iter_mut().flat_map(Certificate::files);
        pairs.chain(self.client.as_mut().map(|client| &mut client.ca))
    }
}

impl UpstreamTls {
    /// Every file it names.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut PemFile> {
        let pair = self.certificate.iter_mut().flat_map(Certificate::files);
        pair.chain(self.ca.as_mut())
    }
}
