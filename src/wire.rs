//! A stream, by TCP with TLS on it or not, or on this machine, that writes small messages at their lowest price.
//!
//! Path: a leaf below `upstream::connect` and `downstream::io`. A head and a short body come as two slices; written as
//! such they take the `writev` system call, which costs more in the kernel (it goes through the file layer) than
//! gathering a kilobyte and taking `send`. TLS gathers by itself: both slices leave in one record.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

/// Up to this many bytes are gathered: about what can be copied in the time that is won.
const GATHERED: usize = 2048;

/// The stream.
#[derive(Debug)]
pub enum Wire {
    /// As it is.
    Tcp(TcpStream),
    /// To a socket of this machine. It has no `send` that would be cheaper.
    Unix(UnixStream),
    /// Encrypted. Boxed, for it is a kilobyte that a plain stream need not carry.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Whether it is encrypted.
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether both sides have agreed on HTTP/2 when it was encrypted (ALPN).
    pub fn has_agreed_on_http2(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
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
