//! The same cases over all four pairs of HTTP/1.1 and HTTP/2, on both sides of the proxy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::unbounded_channel;

use crate::support::PATIENCE;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

type Body = BoxBody<Bytes, std::io::Error>;

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

fn frames(
    frames: impl futures_util::Stream<Item = Result<Frame<Bytes>, std::io::Error>>
    + Send
    + Sync
    + 'static,
) -> Body {
    BodyExt::boxed(StreamBody::new(frames))
}

/// An app behind the proxy, and a client before it.
struct Pair {
    runtime: Runtime,
    proxy: Proxy,
    client: Version,
    origin: Version,
}

/// An answer with its trailers.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

fn proxy(app: SocketAddr, protocol: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\nupstreams:\n  app: {{ endpoints: [{app}], protocol: {protocol} }}\n"
    ))
}

/// Runs `case` with each pair.
#[allow(
    clippy::print_stdout,
    reason = "a failure has to say which pair it was"
)]
fn each(case: impl Fn(&Pair)) {
    for client in [Version::One, Version::Two] {
        for origin in [Version::One, Version::Two] {
            println!("{client:?} to {origin:?}");
            let runtime = Runtime::new().unwrap();
            let address = runtime.block_on(app(origin));
            let protocol = if origin == Version::One {
                "http1"
            } else {
                "http2"
            };
            let proxy = proxy(address, protocol);
            case(&Pair {
                runtime,
                proxy,
                client,
                origin,
            });
        }
    }
}

async fn app(version: Version) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                let service =
                    service_fn(|request| async { Ok::<_, Infallible>(serve(request).await) });
                match version {
                    Version::One => drop(
                        hyper::server::conn::http1::Builder::new()
                            .max_buf_size(256 * 1024)
                            .serve_connection(io, service)
                            .await,
                    ),
                    Version::Two => drop(
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .max_header_list_size(256 * 1024)
                            .serve_connection(io, service)
                            .await,
                    ),
                }
            });
        }
    });
    address
}

async fn serve(request: Request<Incoming>) -> Response<Body> {
    let text = |value: String| Response::new(full(value));
    let status = |status: u16| Response::builder().status(status).body(full("")).unwrap();
    match request.uri().path() {
        "/echo" => Response::new(request.into_body().map_err(std::io::Error::other).boxed()),
        "/count" => {
            let body = request.into_body().collect().await;
            text(body.map_or("broken".into(), |body| body.to_bytes().len().to_string()))
        }
        "/length" => Response::builder()
            .header("content-length", "5")
            .body(full(if request.method() == Method::HEAD {
                ""
            } else {
                "hello"
            }))
            .unwrap(),
        "/204" => status(204),
        "/304" => status(304),
        "/early" => Response::builder()
            .status(413)
            .body(full("too large"))
            .unwrap(),
        "/cookies" => {
            let values = request.headers().get_all("cookie").iter();
            text(
                values
                    .map(|value| value.to_str().unwrap())
                    .collect::<Vec<_>>()
                    .join(" | "),
            )
        }
        "/large" => {
            let size = request.headers()["x-large"].len();
            let mut answer = text(size.to_string());
            answer
                .headers_mut()
                .insert("x-back", request.headers()["x-large"].clone());
            answer
        }
        "/fields" => {
            let mut names: Vec<_> = request.headers().keys().map(|name| name.as_str()).collect();
            names.sort_unstable();
            text(names.join(" "))
        }
        "/break" => {
            let parts = stream::iter([
                Ok(Frame::data(Bytes::from("half"))),
                Err(std::io::Error::other("broken")),
            ]);
            // The first part leaves before the end of the stream.
            Response::new(frames(parts.then(|part| async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                part
            })))
        }
        "/trailers" => {
            let trailers =
                HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static("7"))]);
            let parts = stream::iter([
                Ok(Frame::data(Bytes::from("ok"))),
                Ok(Frame::trailers(trailers)),
            ]);
            Response::builder()
                .header("trailer", "x-sum")
                .body(frames(parts))
                .unwrap()
        }
        "/host" => {
            let target = request.uri().authority().map(|it| it.to_string());
            let host = request
                .headers()
                .get("host")
                .map(|it| it.to_str().unwrap().to_owned());
            text(target.or(host).unwrap_or_default())
        }
        other => panic!("{other}"),
    }
}

impl Pair {
    async fn open(&self, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
        let stream = TcpStream::connect(self.proxy.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        match self.client {
            Version::One => {
                let (mut sender, driver) = hyper::client::conn::http1::Builder::new()
                    .max_buf_size(256 * 1024)
                    .handshake(io)
                    .await?;
                tokio::spawn(driver);
                sender.send_request(request).await
            }
            Version::Two => {
                let (mut sender, driver) =
                    hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                        .max_header_list_size(256 * 1024)
                        .handshake(io)
                        .await?;
                tokio::spawn(driver);
                sender.send_request(request).await
            }
        }
    }

    fn run<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, future)
                .await
                .expect("in time")
        })
    }

    fn request(&self, method: Method, path: &str, body: Body) -> Request<Body> {
        let builder = Request::builder().method(method);
        let builder = match self.client {
            Version::One => builder.uri(path).header("host", "shop:81"),
            Version::Two => builder.uri(format!("http://shop:81{path}")),
        };
        builder.body(body).unwrap()
    }

    fn send(&self, request: Request<Body>) -> Result<Answer, hyper::Error> {
        self.run(async {
            let (head, body) = self.open(request).await?.into_parts();
            let body = body.collect().await?;
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                trailers: body.trailers().cloned(),
                body: body.to_bytes(),
            })
        })
    }

    fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path, empty()))
            .expect("an answer")
    }
}

fn empty() -> Body {
    Empty::new()
        .map_err(|never: Infallible| match never {})
        .boxed()
}

#[test]
fn large_bodies_go_both_ways() {
    let body: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    each(|pair| {
        let answer = pair
            .send(pair.request(Method::POST, "/echo", full(body.clone())))
            .unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body == body);
    });
}

#[test]
fn a_body_without_a_length_arrives_whole() {
    each(|pair| {
        let parts = stream::iter((0..10).map(|n| Ok(Frame::data(Bytes::from(n.to_string())))));
        let answer = pair
            .send(pair.request(Method::POST, "/echo", frames(parts)))
            .unwrap();
        assert_eq!(answer.body, "0123456789");
    });
}

#[test]
fn both_directions_stream_at_once() {
    each(|pair| {
        let (sender, receiver) = unbounded_channel::<Bytes>();
        let parts = stream::unfold(receiver, |mut receiver| async {
            let part = receiver.recv().await?;
            Some((Ok(Frame::data(part)), receiver))
        });
        pair.run(async {
            sender.send("first".into()).unwrap();
            let mut body = pair
                .open(pair.request(Method::POST, "/echo", frames(parts)))
                .await
                .unwrap()
                .into_body();
            for word in ["first", "second", "third"] {
                let frame = body.frame().await.unwrap().unwrap();
                assert_eq!(frame.data_ref().unwrap(), word);
                let next = if word == "first" { "second" } else { "third" };
                if word != "third" {
                    sender.send(next.into()).unwrap();
                }
            }
            drop(sender);
            let rest = body.collect().await.unwrap().to_bytes();
            assert!(rest.is_empty());
        });
    });
}

#[test]
fn heads_without_bodies_keep_what_they_say() {
    each(|pair| {
        let answer = pair
            .send(pair.request(Method::HEAD, "/length", empty()))
            .unwrap();
        assert_eq!(
            (answer.status, &answer.headers["content-length"]),
            (200, &HeaderValue::from_static("5"))
        );
        assert!(answer.body.is_empty());
        assert_eq!(pair.get("/length").body, "hello");
        for status in [204, 304] {
            let answer = pair.get(&format!("/{status}"));
            assert_eq!((answer.status, answer.body.len()), (status, 0));
        }
        // A reason that is not there, for all of them were complete.
        let lines = pair.proxy.access_log();
        assert!(
            lines.iter().all(|line| line.get("reason").is_none()),
            "{lines:?}"
        );
    });
}

#[test]
fn an_early_answer_arrives_while_the_body_is_still_to_come() {
    each(|pair| {
        let (sender, receiver) = unbounded_channel::<Bytes>();
        let parts = stream::unfold(receiver, |mut receiver| async {
            let part = receiver.recv().await?;
            Some((Ok(Frame::data(part)), receiver))
        });
        sender.send("a part".into()).unwrap();
        let answer = pair
            .send(pair.request(Method::POST, "/early", frames(parts)))
            .unwrap();
        assert_eq!((answer.status, &answer.body[..]), (413, &b"too large"[..]));
    });
}

#[test]
fn crumbs_of_cookies_are_one_field() {
    each(|pair| {
        let mut request = pair.request(Method::GET, "/cookies", empty());
        let crumbs: &[&str] = if pair.client == Version::One {
            &["a=1; b=2"]
        } else {
            &["a=1", "b=2"]
        };
        for crumb in crumbs {
            request
                .headers_mut()
                .append("cookie", crumb.parse().unwrap());
        }
        assert_eq!(pair.send(request).unwrap().body, "a=1; b=2");
    });
}

#[test]
fn large_fields_go_both_ways() {
    each(|pair| {
        let mut request = pair.request(Method::GET, "/large", empty());
        let value = "x".repeat(12_000);
        request
            .headers_mut()
            .insert("x-large", value.parse().unwrap());
        let answer = pair.send(request).unwrap();
        assert_eq!(answer.body, "12000");
        assert_eq!(answer.headers["x-back"].len(), 12_000);
    });
}

#[test]
fn the_authority_is_the_host() {
    each(|pair| assert_eq!(pair.get("/host").body, "shop:81"));
}

#[test]
fn what_concerns_one_connection_stays_there() {
    each(|pair| {
        let mut request = pair.request(Method::GET, "/fields", empty());
        if pair.client == Version::One {
            let headers = request.headers_mut();
            headers.insert("connection", "x-own".parse().unwrap());
            headers.insert("x-own", "1".parse().unwrap());
            headers.insert("keep-alive", "timeout=5".parse().unwrap());
        }
        let answer = pair.send(request).unwrap();
        let names = String::from_utf8_lossy(&answer.body).into_owned();
        for name in ["x-own", "keep-alive", "connection", "transfer-encoding"] {
            assert!(!names.split(' ').any(|it| it == name), "{name} in {names}");
        }
    });
}

#[test]
fn an_answer_that_breaks_off_is_not_complete() {
    each(|pair| {
        let outcome = pair.send(pair.request(Method::GET, "/break", empty()));
        assert!(outcome.is_err(), "{outcome:?}");
    });
}

#[test]
fn an_upload_that_breaks_off_is_not_complete() {
    each(|pair| {
        let parts = stream::iter([
            Ok(Frame::data(Bytes::from("half"))),
            Err(std::io::Error::other("broken")),
        ]);
        let outcome = pair.send(pair.request(Method::POST, "/count", frames(parts)));
        assert!(
            outcome.as_ref().is_err() || outcome.as_ref().is_ok_and(|it| it.status >= 400),
            "{outcome:?}"
        );
        // Others are not disturbed.
        assert_eq!(pair.get("/length").body, "hello");
    });
}

#[test]
fn trailers_of_an_answer_arrive() {
    // hyper's server sends trailers over HTTP/1.1 only to those who ask for them, which a proxy does not for others.
    let raw = Origin::start(|_, peer| {
        peer.send(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
        );
        Then::KeepAlive
    });
    let check = |pair: &Pair| {
        let mut request = pair.request(Method::GET, "/trailers", empty());
        let headers = request.headers_mut();
        headers.insert("te", "trailers".parse().unwrap());
        if pair.client == Version::One {
            headers.insert("connection", "te".parse().unwrap());
        }
        let answer = pair.send(request).unwrap();
        assert_eq!(answer.body, "ok");
        assert_eq!(answer.trailers.expect("trailers")["x-sum"], "7");
    };
    each(|pair| {
        if pair.origin == Version::Two {
            check(pair);
        } else {
            check(&Pair {
                runtime: Runtime::new().unwrap(),
                proxy: proxy(raw.address(), "http1"),
                client: pair.client,
                origin: pair.origin,
            });
        }
    });
}
