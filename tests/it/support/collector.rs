//! Collectors of spans: OTLP over HTTP with an [`Origin`], over gRPC with hyper.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::origin::{Origin, Then};

/// What came.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Received {
    fn add(&self, message: &[u8]) {
        let message = ExportTraceServiceRequest::decode(message).expect("a message of OTLP");
        self.0.lock().unwrap().push(message);
    }

    pub fn spans(&self) -> Vec<Span> {
        let messages = self.0.lock().unwrap().clone();
        let scopes = messages.into_iter().flat_map(|it| it.resource_spans);
        let scopes = scopes.flat_map(|it| it.scope_spans);
        scopes.flat_map(|it| it.spans).collect()
    }

    pub fn services(&self) -> Vec<String> {
        let messages = self.0.lock().unwrap().clone();
        let resources = messages.into_iter().flat_map(|it| it.resource_spans);
        let attributes = resources.filter_map(|it| Some(it.resource?.attributes));
        attributes
            .filter_map(|it| text(&it, "service.name"))
            .collect()
    }
}

/// The value of an attribute, as text.
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()? {
        AnyValue {
            value: Some(Value::StringValue(text)),
        } => Some(text.clone()),
        AnyValue {
            value: Some(Value::IntValue(number)),
        } => Some(number.to_string()),
        _ => None,
    }
}

pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One that takes everything.
pub fn http() -> (Origin, Received) {
    let received = Received::default();
    let own = received.clone();
    let origin = Origin::start(move |request, peer| {
        let body = peer.body(request);
        assert_eq!(
            request.header("content-type"),
            Some("application/x-protobuf")
        );
        own.add(&body);
        peer.answer("200 OK", "");
        Then::KeepAlive
    });
    (origin, received)
}

/// One that speaks gRPC and answers with `status` in its trailers.
pub struct Grpc {
    pub address: SocketAddr,
    pub received: Received,
    pub paths: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Grpc {
    pub fn start(status: &'static str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let (received, paths) = (Received::default(), Arc::<Mutex<Vec<String>>>::default());
        let this = Self {
            address: listener.local_addr().unwrap(),
            received: received.clone(),
            paths: Arc::clone(&paths),
            _runtime: runtime,
        };
        this._runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (received, paths) = (received.clone(), Arc::clone(&paths));
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (received, paths) = (received.clone(), Arc::clone(&paths));
                    async move {
                        paths.lock().unwrap().push(request.uri().path().to_owned());
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
                        assert_eq!((body[0], length as usize), (0, body.len() - 5));
                        received.add(&body[5..]);
                        let mut frame = BytesMut::new();
                        frame.put_slice(&[0; 5]);
                        let trailers = HeaderMap::from_iter([(
                            http::HeaderName::from_static("grpc-status"),
                            HeaderValue::from_static(status),
                        )]);
                        let body = Full::<Bytes>::new(frame.freeze());
                        let body = body.with_trailers(async move { Some(Ok(trailers)) });
                        Ok::<_, Infallible>(Response::new(body))
                    }
                });
                let served = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        this
    }
}
