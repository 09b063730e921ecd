//! Where an endpoint is: an IP address with a port, or a unix socket.
//!
//! Path: from the file or a lookup → [`super::endpoint`] → [`super::connect`] and health checks open a stream to it.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};

use crate::wire::Wire;

/// A place to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// By TCP.
    Socket(SocketAddr),
    /// On this machine, by a path.
    Unix(Arc<Path>),
}

impl Address {
    /// A fresh stream to it. The caller bounds the wait.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub async fn connect(&self) -> io::Result<Wire> {
        match self {
            Self::Socket(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Wire::Tcp(stream))
            }
            Self::Unix(path) => UnixStream::connect(path).await.map(Wire::Unix),
        }
    }

    /// Its IP address, if it has one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Socket(address) => Some(address.ip()),
            Self::Unix(_) => None,
        }
    }

    /// What stands in `Host` where nobody has named one: a path is no host (RFC 9110 §7.2).
    pub fn host(&self) -> String {
        match self {
            Self::Socket(address) => address.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

/// As it is written in the file.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
