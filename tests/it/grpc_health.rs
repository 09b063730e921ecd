//! Active health checks by gRPC: `grpc.health.v1.Health/Check`, asked over HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

/// What the service answers: head, message, trailers.
#[derive(Clone, Copy)]
struct Says {
    head: &'static [(&'static str, &'static str)],
    message: &'static [u8],
    trailers: &'static [(&'static str, &'static str)],
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");

const fn says(message: &'static [u8]) -> Says {
    Says {
        head: &[GRPC],
        message,
        trailers: &[("grpc-status", "0")],
    }
}

const SERVING: Says = says(b"\0\0\0\0\x02\x08\x01");
const NOT_SERVING: Says = says(b"\0\0\0\0\x02\x08\x02");

/// A request as the service saw it.
#[derive(Clone)]
struct Asked {
    head: http::request::Parts,
    body: Bytes,
}

/// A health service over HTTP/2, which answers as it is told.
struct Service {
    address: SocketAddr,
    says: Arc<Mutex<Says>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    _runtime: Runtime,
}

impl Service {
    fn start(first: Says) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (says, asked) = (
            Arc::new(Mutex::new(first)),
            Arc::<Mutex<Vec<Asked>>>::default(),
        );
        let (words, notes) = (Arc::clone(&says), Arc::clone(&asked));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (words, notes) = (Arc::clone(&words), Arc::clone(&notes));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (words, notes) = (Arc::clone(&words), Arc::clone(&notes));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        notes.lock().unwrap().push(Asked { head, body });
                        let says = *words.lock().unwrap();
                        Ok::<_, Infallible>(says.answer())
                    }
                });
                let serving = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self {
            address,
            says,
            asked,
            _runtime: runtime,
        }
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

fn fields(of: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = of.iter().map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    pairs.collect()
}

type AnswerBody = http_body_util::combinators::BoxBody<Bytes, Infallible>;

impl Says {
    fn answer(self) -> Response<AnswerBody> {
        let mut frames = Vec::new();
        if !self.message.is_empty() {
            frames.push(Ok(Frame::data(Bytes::from_static(self.message))));
        }
        if !self.trailers.is_empty() {
            frames.push(Ok(Frame::trailers(fields(self.trailers))));
        }
        let body = if frames.is_empty() {
            http_body_util::Empty::new().boxed()
        } else {
            StreamBody::new(futures_util::stream::iter(frames)).boxed()
        };
        let mut response = Response::new(body);
        *response.headers_mut() = fields(self.head);
        response
    }
}

fn proxy(endpoint: SocketAddr, check: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app:\n    endpoints: [{endpoint}]\n    \
         panic_threshold: off\n    health_check: {{ {check}, interval: 20ms, interval_down: 20ms, timeout: 2s, rise: 1, fall: 1 }}\n"
    ))
}

fn is_healthy(proxy: &Proxy, endpoint: SocketAddr) -> bool {
    proxy.metric(&format!(
        "outrigger_endpoint_healthy{{endpoint=\"{endpoint}\",upstream=\"app\"}}"
    )) == 1.0
}

#[test]
fn only_serving_is_healthy() {
    let service = Service::start(SERVING);
    let proxy = proxy(service.address, "grpc: {}");
    for _ in 0..2 {
        service.say(SERVING);
        eventually("it is healthy", || is_healthy(&proxy, service.address));
        service.say(NOT_SERVING);
        eventually("it is not", || !is_healthy(&proxy, service.address));
    }
    let view = proxy.control("/upstreams").text();
    assert!(view.contains("unhealthy (it says NOT_SERVING)"), "{view}");
}

#[test]
fn the_question_is_the_one_of_the_protocol() {
    let service = Service::start(SERVING);
    let check = "grpc: { service: shop.v1.Cart, host: cart.internal }";
    let proxy = proxy(service.address, check);
    eventually("it is asked", || !service.asked.lock().unwrap().is_empty());
    let asked = service.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.head.method, "POST");
    let uri = asked.head.uri.to_string();
    assert_eq!(uri, "http://cart.internal/grpc.health.v1.Health/Check");
    assert_eq!(asked.head.headers["content-type"], "application/grpc");
    assert_eq!(asked.head.headers["te"], "trailers");
    assert_eq!(&asked.body[..], b"\0\0\0\0\x0e\x0a\x0cshop.v1.Cart");
    eventually("it is healthy", || is_healthy(&proxy, service.address));
}

#[test]
fn the_server_as_a_whole_is_asked_about_by_default() {
    let service = Service::start(SERVING);
    for check in ["grpc: {}", "grpc:", "grpc: ''"] {
        let proxy = proxy(service.address, check);
        service.asked.lock().unwrap().clear();
        eventually("it is asked", || !service.asked.lock().unwrap().is_empty());
        let asked = service.asked.lock().unwrap()[0].clone();
        assert_eq!(&asked.body[..], [0; 5]);
        assert_eq!(
            asked.head.uri.authority().unwrap().as_str(),
            service.address.to_string()
        );
        drop(proxy);
    }
}

#[test]
fn what_is_wrong_is_told_in_words() {
    let service = Service::start(NOT_SERVING);
    let proxy = proxy(service.address, "grpc: shop.v1.Cart");
    let trailers_only = |head| Says {
        head,
        message: b"",
        trailers: &[],
    };
    for (says, words) in [
        (
            trailers_only(&[
                GRPC,
                ("grpc-status", "12"),
                ("grpc-message", "unknown service"),
            ]),
            "it has no health service (grpc-status 12, UNIMPLEMENTED)",
        ),
        (
            trailers_only(&[GRPC, ("grpc-status", "5")]),
            "its health service does not know `shop.v1.Cart`",
        ),
        (
            Says {
                head: &[GRPC],
                message: b"",
                trailers: &[("grpc-status", "14"), ("grpc-message", "going down")],
            },
            "answered grpc-status 14: going down",
        ),
        (says(b"\0\0\0\0\0"), "it says UNKNOWN"),
        (says(b"\0\0\0\0\x02\x08\x03"), "it says SERVICE_UNKNOWN"),
        (says(b"\0\0\0\0\x02\x08\x63"), "it says 99"),
        (
            says(b"\0\0\0\0\x02\x12\x63"),
            "its answer is no message of the health service",
        ),
        (
            says(b"\x01\0\0\0\x02\x08\x01"),
            "its answer is no message of gRPC",
        ),
        (says(&[0; 5000]), "its answer is longer than 4096 bytes"),
        (
            Says {
                trailers: &[("x", "y")],
                ..SERVING
            },
            "its answer has no grpc-status",
        ),
        (
            Says {
                head: &[("content-type", "text/html")],
                ..SERVING
            },
            "its answer is not gRPC",
        ),
    ] {
        service.say(says);
        eventually(words, || proxy.control("/upstreams").text().contains(words));
        assert!(!is_healthy(&proxy, service.address), "{words}");
    }
}

#[test]
fn an_app_that_does_not_speak_http2_is_not_healthy() {
    let origin = Origin::fixed("HTTP/1 only");
    let proxy = proxy(origin.address(), "grpc: {}");
    eventually("it is told", || {
        proxy
            .control("/upstreams")
            .text()
            .contains("unhealthy (http/2: ")
            || proxy
                .control("/upstreams")
                .text()
                .contains("unhealthy (HTTP/2: ")
    });
}

#[test]
fn an_app_that_never_answers_is_not_waited_for() {
    let origin = Origin::start(|_, peer| {
        peer.is_closed();
        Then::Close
    });
    let address = origin.address();
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app:\n    endpoints: [{address}]\n    \
         health_check: {{ grpc: {{}}, timeout: 50ms }}\n"
    ));
    eventually("it is told", || {
        proxy
            .control("/upstreams")
            .text()
            .contains("no answer within 50 ms")
    });
    eventually("its connection is closed", || origin.open() == 0);
}
