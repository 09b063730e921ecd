//! The exporter's HTTP client: one connection for each batch, on the runtime that calls it.
//!
//! Path: [`super::export`] gives it to the exporter, which knows nothing of tokio. gRPC is the same message with another
//! envelope: a frame of five bytes before it, HTTP/2 around it, and the status in trailers (gRPC over HTTP/2).

use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TE};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long one try may take, from connecting to the end of the answer.
const LIMIT: Duration = Duration::from_secs(3);

/// Most of an answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_STATUS: &str = "grpc-status";
/// A frame's head: not compressed, and its length.
const FRAME: usize = 5;

/// The collector, and what it is told about us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A name or an address, the latter in brackets if it is one of IPv6.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Where spans are posted to; gRPC has a path of its own.
    pub path: String,
    /// The envelope.
    pub protocol: OtlpProtocol,
    /// `service.name`
    pub service: String,
}

/// How spans are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.
    Http,
    /// gRPC over HTTP/2 without TLS.
    Grpc,
}

impl Target {
    /// Where spans go.
    pub fn url(&self) -> String {
        let path = match self.protocol {
            OtlpProtocol::Http => &self.path,
            OtlpProtocol::Grpc => GRPC_PATH,
        };
        format!("http://{}:{}{path}", self.host, self.port)
    }
}

/// The client.
#[derive(Debug)]
pub struct Client {
    target: Target,
}

impl Client {
    /// For `target`.
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let host = self.target.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, self.target.port)).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        match self.target.protocol {
            OtlpProtocol::Http => {
                let (mut sender, connection) = http1::handshake(io).await?;
                let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
                let request = self.plain(request)?;
                let (head, body, _) = read(sender.send_request(request).await?).await?;
                Ok(Response::from_parts(head, body))
            }
            OtlpProtocol::Grpc => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
                let answer = sender.send_request(framed(request)?).await?;
                unframed(read(answer).await?)
            }
        }
    }

    /// In origin form, as HTTP/1 wants it.
    fn plain(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
        let host = format!("{}:{}", self.target.host, self.target.port);
        let (mut head, body) = request.into_parts();
        if let Some(path) = head.uri.path_and_query() {
            head.uri = Uri::from(path.clone());
        }
        head.headers.insert(HOST, HeaderValue::from_str(&host)?);
        Ok(Request::from_parts(head, Full::new(body)))
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        timeout(LIMIT, self.exchange(request)).await?
    }
}

type Answer = (http::response::Parts, Bytes, HeaderMap);

async fn read(response: Response<Incoming>) -> Result<Answer, HttpError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok((head, body.to_bytes(), trailers))
}

fn framed(request: Request<Bytes>) -> Result<Request<Full<Bytes>>, HttpError> {
    let (mut head, message) = request.into_parts();
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers
        .insert(TE, HeaderValue::from_static("trailers"));
    let mut body = BytesMut::with_capacity(FRAME + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len())?);
    body.extend_from_slice(&message);
    Ok(Request::from_parts(head, Full::new(body.freeze())))
}

/// The answer as OTLP over HTTP would have it: what may be tried again is "unavailable" (OTLP, "Failures").
fn unframed((mut head, body, trailers): Answer) -> Result<Response<Bytes>, HttpError> {
    let status = trailers.get(GRPC_STATUS).or(head.headers.get(GRPC_STATUS));
    let status = status.map_or(&b""[..], |status| status.as_bytes());
    let code = match (head.status, status) {
        (StatusCode::OK, b"0") => 200,
        (StatusCode::OK, b"1" | b"4" | b"8" | b"10" | b"11" | b"14" | b"15") => 503,
        (StatusCode::OK, _) => 400,
        (other, _) => other.as_u16(),
    };
    head.status = StatusCode::from_u16(code)?;
    let message = body.get(FRAME..).map(Bytes::copy_from_slice);
    Ok(Response::from_parts(head, message.unwrap_or_default()))
}
