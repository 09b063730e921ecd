//! A socket that listens, by TCP or on this machine.
//!
//! Path: a leaf below `downstream::listener` and `admin::server`. The file of a unix socket is made here and goes with its
//! last user. What a process left behind that is no more is replaced; where somebody listens, or where a file is that is
//! no socket, nothing is touched.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::Wire;
use crate::units::place::FileRules;

/// Whoever comes by a unix socket is on this machine, as whoever comes from here.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// One that no reactor knows.
#[derive(Debug)]
pub enum Door {
    /// An IP address and a port.
    Tcp(StdTcpListener),
    /// A path.
    Unix(StdUnixListener, Arc<SocketFile>),
}

/// One that a reactor knows.
#[derive(Debug)]
pub enum OpenDoor {
    /// An IP address and a port.
    Tcp(TcpListener),
    /// A path.
    Unix(UnixListener, Arc<SocketFile>),
}

/// The file of a unix socket. Dropped, it is removed, unless somebody has put another one in its place.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    identity: Option<(u64, u64)>,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // Best effort: what stays is recognised as left behind.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl SocketFile {
    /// Lets those connect whom `rules` allow.
    ///
    /// # Errors
    ///
    /// As the system reports them: only a privileged process gives files away.
    pub fn follow(&self, rules: FileRules) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(rules.mode))?;
        if rules.user.is_some() || rules.group.is_some() {
            chown(&self.path, rules.user, rules.group)?;
        }
        Ok(())
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl Door {
    /// Listens at `path`; so many connections may wait in the kernel.
    ///
    /// # Errors
    ///
    /// Somebody listens there; something else is there; as the system reports them.
    pub fn unix(path: &Arc<Path>, rules: FileRules, backlog: i32) -> io::Result<Self> {
        make_room(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile {
            path: Arc::clone(path),
            identity: identity(path),
        };
        // Before it listens, so that nobody comes in meanwhile.
        file.follow(rules)?;
        socket.listen(backlog)?;
        Ok(Self::Unix(socket.into(), Arc::new(file)))
    }

    /// The same one under another descriptor.
    ///
    /// # Errors
    ///
    /// When there is no descriptor to be had.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener, file) => Self::Unix(listener.try_clone()?, Arc::clone(file)),
        })
    }

    /// Makes it known to the reactor in whose context this is called.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub fn open(self) -> io::Result<OpenDoor> {
        Ok(match self {
            Self::Tcp(listener) => OpenDoor::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener, file) => OpenDoor::Unix(UnixListener::from_std(listener)?, file),
        })
    }

    /// A connection that waits in the kernel, and its peer's address.
    ///
    /// # Errors
    ///
    /// There is none; as the system reports them.
    pub fn accept(&self) -> io::Result<(Wire, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Wire::Tcp(TcpStream::from_std(stream)?), peer))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Wire::Unix(UnixStream::from_std(stream)?), LOCAL))
            }
        }
    }
}

impl OpenDoor {
    /// Waits for a connection; its peer's address comes with it.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub async fn accept(&self) -> io::Result<(Wire, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Wire::Tcp(stream), peer))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Wire::Unix(stream), LOCAL))
            }
        }
    }

    /// Takes it away from its reactor.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub fn close(self) -> io::Result<Door> {
        Ok(match self {
            Self::Tcp(listener) => Door::Tcp(listener.into_std()?),
            Self::Unix(listener, file) => Door::Unix(listener.into_std()?, file),
        })
    }
}

/// Removes the socket of a process that is no more.
fn make_room(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Where many wait to be accepted, this one would wait, too.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}
