//! `upstreams.*.discovery`, `dns`

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Located;

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    /// `127.0.0.1:3000`.
    Socket(SocketAddr),
    /// `unix:/run/app.sock`.
    Unix(PathBuf),
    /// `app.internal:3000`: all addresses of the name, asked for again when their TTL is over.
    Name {
        /// The name, in lower case.
        host: String,
        /// The port.
        port: u16,
    },
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// `upstreams.*.discovery`: instead of `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// `file`: a YAML list of endpoints, followed apart from the configuration. Relative to the configuration's directory.
    pub file: Located<String>,
}

/// `dns`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// `servers`: `IP` or `IP:PORT`. Default: those of `/etc/resolv.conf`, with its search domains.
    pub servers: Vec<SocketAddr>,
    /// `family`: which addresses of a name are used. Default `any`.
    pub family: DnsFamily,
    /// `timeout`: how long a server may take for one answer. 1 ms to 1 min; default 2 s.
    pub timeout: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            family: DnsFamily::default(),
            timeout: Duration::from_secs(2),
        }
    }
}

/// `dns.family`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsFamily {
    /// `any`: IPv4 and IPv6.
    #[default]
    Any,
    /// `v4`
    V4,
    /// `v6`
    V6,
}
