//! An HTTP/2 client without TLS, on a thread of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::PATIENCE;

/// A request's body.
pub type Upload = BoxBody<Bytes, Infallible>;

/// One connection. Its runtime is the test's own thread inside [`Self::run`] and one more beside it.
pub struct Http2 {
    runtime: Runtime,
    pub sender: SendRequest<Upload>,
}

/// An answer with its trailers.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

pub fn empty() -> Upload {
    Empty::new().boxed()
}

pub fn full(bytes: impl Into<Bytes>) -> Upload {
    Full::new(bytes.into()).boxed()
}

pub fn request(method: &str, url: &str, body: Upload) -> Request<Upload> {
    Request::builder()
        .method(method)
        .uri(url)
        .body(body)
        .unwrap()
}

/// Reads an answer to its end.
pub async fn collect(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes(),
        trailers,
    })
}

impl Http2 {
    pub fn connect(address: SocketAddr) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address)
                .await
                .expect("the proxy accepts");
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// The same over TLS.
    pub fn over_tls(
        address: SocketAddr,
        config: std::sync::Arc<rustls::ClientConfig>,
        name: &'static str,
    ) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let sender = runtime.block_on(async {
            let stream = TcpStream::connect(address)
                .await
                .expect("the proxy accepts");
            let name = rustls::pki_types::ServerName::try_from(name).unwrap();
            let connector = tokio_rustls::TlsConnector::from(config);
            let stream = connector.connect(name, stream).await.expect("TLS");
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// Runs `future`, but not forever.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, future)
                .await
                .unwrap_or_else(|_| panic!("not within {PATIENCE:?}"))
        })
    }

    /// Runs `future` beside the test.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(future)
    }

    pub fn send(&self, request: Request<Upload>) -> Result<Answer, hyper::Error> {
        let mut sender = self.sender.clone();
        self.run(async move {
            sender.ready().await?;
            collect(sender.send_request(request).await?).await
        })
    }

    pub fn get(&self, url: &str) -> Answer {
        self.send(request("GET", url, empty())).expect("an answer")
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        // Dropping the runtime closes the connection.
        let runtime = std::mem::replace(
            &mut self.runtime,
            Builder::new_current_thread().build().unwrap(),
        );
        runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
