//! A stream, by TCP with TLS on it or not, or on this machine, that writes small messages at their lowest price.
//!
//! Path: a leaf below `upstream::connect` and `downstream::io`. A head and a short body come as two slices; written as
//! such they take the `writev` system call, which costs more in the kernel (it goes through the file layer) than
//! gathering a kilobyte and taking `send`. TLS gathers by itself: both slices leave in one record.

pub mod door;
pub mod outbox;

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use self::outbox::Batched;

/// Up to this many bytes are gathered: about what can be copied in the time that is won.
const GATHERED: usize = 2048;

/// The stream.
#[derive(Debug)]
pub enum Wire {
    /// As it is.
    Tcp(TcpStream),
    /// As it is, but small messages leave together.
    Batched(Batched),
    /// To a socket of this machine. It has no `send` that would be cheaper.
    Unix(UnixStream),
    /// Encrypted. Boxed, for it is a kilobyte that a plain stream need not carry.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream on its way from one reactor to another.
#[derive(Debug)]
pub enum StillWire {
    /// As it is.
    Tcp(StdTcpStream),
    /// To a socket of this machine.
    Unix(StdUnixStream),
}

impl StillWire {
    /// Makes it known to the reactor in whose context this is called.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub fn wake(self) -> io::Result<Wire> {
        Ok(match self {
            Self::Tcp(stream) => Wire::Tcp(TcpStream::from_std(stream)?),
            Self::Unix(stream) => Wire::Unix(UnixStream::from_std(stream)?),
        })
    }
}

impl Wire {
    /// Lets small messages leave together with those of others, from now on and on this thread.
    #[must_use]
    pub fn batched(self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Batched(Batched::new(stream)),
            Self::Batched(_) | Self::Unix(_) | Self::Tls(_) => self,
        }
    }

    /// Looks at what comes next, without taking it, as soon as there is something; 0: nothing more will come.
    ///
    /// # Errors
    ///
    /// As the system reports them; what is encrypted cannot be looked at.
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(buffer).await,
            Self::Batched(stream) => stream.stream().peek(buffer).await,
            Self::Unix(stream) => {
                let look = || Ok(recv(stream, &mut *buffer, RecvFlags::PEEK)?.0);
                stream.async_io(Interest::READABLE, look).await
            }
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Lets small writes leave at once.
    ///
    /// # Errors
    ///
    /// As the system reports them.
    pub fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Batched(stream) => stream.stream().set_nodelay(true),
            Self::Unix(_) | Self::Tls(_) => Ok(()),
        }
    }

    /// This side's IP address and port, if it has one.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Batched(stream) => stream.stream().local_addr().ok(),
            Self::Unix(_) => None,
            Self::Tls(stream) => stream.get_ref().0.local_addr().ok(),
        }
    }

    /// Takes it away from its reactor.
    ///
    /// # Errors
    ///
    /// As the system reports them; what is encrypted or batched cannot be moved.
    pub fn still(self) -> io::Result<StillWire> {
        match self {
            Self::Tcp(stream) => Ok(StillWire::Tcp(stream.into_std()?)),
            Self::Unix(stream) => Ok(StillWire::Unix(stream.into_std()?)),
            Self::Batched(_) | Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether [`Self::poll_left`] can tell.
    pub fn tells_leaving(&self) -> bool {
        matches!(self, Self::Batched(_))
    }

    /// Waits for what makes a reader wake: `true` when the peer has closed its side or broken off, `false` when there is
    /// something to read. Nothing is taken. Never ready where it cannot be told.
    pub fn poll_left(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let Self::Batched(stream) = self else {
            return Poll::Pending;
        };
        let stream = stream.stream();
        loop {
            if ready!(stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(true);
            }
            let look = || Ok(recv(stream, &mut [0; 1], RecvFlags::PEEK)?.0);
            match stream.try_io(Interest::READABLE, look) {
                Ok(bytes) => return Poll::Ready(bytes == 0),
                // That was old news; now it is forgotten.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(true),
            }
        }
    }

    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether both sides have agreed on HTTP/2 when it was encrypted (ALPN).
    pub fn has_agreed_on_http2(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Batched(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Batched(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Batched(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => {
                let written = Pin::new(&mut *stream).poll_write(cx, bytes);
                written.map_err(|error| told(stream, error))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream),
            Self::Batched(stream) => return Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Unix(stream) => return Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => {
                let written = Pin::new(&mut *stream).poll_write_vectored(cx, slices);
                return written.map_err(|error| told(stream, error));
            }
        };
        if let [slice] = slices {
            return stream.poll_write(cx, slice);
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if total > GATHERED {
            return stream.poll_write_vectored(cx, slices);
        }
        let mut gathered = SmallVec::<[u8; GATHERED]>::new();
        for slice in slices {
            gathered.extend_from_slice(slice);
        }
        stream.poll_write(cx, &gathered)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Batched(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => {
                let flushed = Pin::new(&mut *stream).poll_flush(cx);
                flushed.map_err(|error| told(stream, error))
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Batched(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A peer that breaks off may have said why, and that says more than the broken pipe which is noticed first. What it said
/// for others is kept for whoever reads.
fn told(stream: &mut TlsStream<TcpStream>, error: io::Error) -> io::Error {
    let (socket, tls) = match stream {
        TlsStream::Client(stream) => stream.get_mut(),
        TlsStream::Server(_) => return error,
    };
    // Not by tokio, who may not have heard yet that there is something to read.
    let socket = SockRef::from(&*socket);
    // As much as a record and what follows it: an alert is short.
    for _ in 0..2 {
        if !matches!(tls.read_tls(&mut &*socket), Ok(1..)) {
            break;
        }
        if let Err(alert) = tls.process_new_packets() {
            return io::Error::new(io::ErrorKind::InvalidData, alert);
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn slices_arrive_in_order_gathered_or_not() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut wire = Wire::Tcp(client);
        for (head, body) in [
            (10, 20),
            (0, 5),
            (GATHERED, 1),
            (1000, GATHERED - 1000),
            (3000, 4000),
        ] {
            let (head, body) = (vec![1; head], vec![2; body]);
            let expected = [head.clone(), body.clone()].concat();
            let written = wire
                .write_vectored(&[IoSlice::new(&head), IoSlice::new(&body)])
                .await
                .unwrap();
            let mut arrived = vec![0; written];
            peer.read_exact(&mut arrived).await.unwrap();
            assert!(arrived == expected[..written]);
        }
    }
}
