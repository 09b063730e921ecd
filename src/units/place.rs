//! Where something listens.
//!
//! A leaf, as all of [`super`]: the file says it, `app` binds it, the log and the views show it.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

/// Who may connect to a unix socket, of those who may enter its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRules {
    /// The permissions of its file. Default `0666`.
    pub mode: u32,
    /// Whose it is, by number. Default: of the user that this process runs as.
    pub user: Option<u32>,
    /// Likewise of the group.
    pub group: Option<u32>,
}

impl Default for FileRules {
    fn default() -> Self {
        Self {
            mode: 0o666,
            user: None,
            group: None,
        }
    }
}

/// An address, or a socket of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// `127.0.0.1:8080`
    Tcp(SocketAddr),
    /// `unix:/run/outrigger.sock`
    Unix(Arc<Path>),
}

impl Place {
    /// Its IP address and port, if it has one.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether the system is to choose a port.
    pub fn is_any_port(&self) -> bool {
        self.socket().is_some_and(|address| address.port() == 0)
    }
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// As it is written in the file.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
