//! Every reason of the closed list, provoked over real sockets: the answer's body, `Proxy-Status`, the access line and the
//! metric tell the same code. A reason without a provocation does not compile.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use outrigger::telemetry::reason::{Reason, Side, page};

use crate::panics::Defective;
use crate::support::client::{Answer, Client};
use crate::support::dns::Dns;
use crate::support::frames;
use crate::support::origin::{Origin, Peer, Request, Then};
use crate::support::proxy::{Proxy, without_retries};
use crate::support::tls::Authority;
use crate::support::tls_front::{Manner, TlsFront, deaf};
use crate::support::{eventually, free_address};

/// What is to be seen after a provocation.
struct Seen {
    /// `None`: there is nobody who could read one, or its head had been sent before.
    answer: Option<Answer>,
    log: Box<dyn Fn() -> String>,
    metrics: Box<dyn Fn() -> String>,
}

impl Seen {
    fn at(proxy: Proxy, origin: Option<Origin>, answer: Option<Answer>) -> Self {
        let log = proxy.path().with_file_name("access.log");
        Self {
            answer,
            log: Box::new(move || std::fs::read_to_string(&log).unwrap_or_default()),
            metrics: Box::new(move || {
                let _alive = &origin;
                proxy.probe("/metrics").text()
            }),
        }
    }
}

fn app(act: impl Fn(&Request, &mut Peer) + Send + Sync + 'static) -> Origin {
    Origin::start(move |request, peer| {
        act(request, peer);
        Then::Close
    })
}

/// An app that takes a request and says nothing.
fn silent() -> Origin {
    app(|_, peer| {
        peer.is_closed();
    })
}

/// One GET through a proxy with limits in front of `address`.
fn yaml(address: SocketAddr, [listener, route, upstream]: [&str; 3]) -> String {
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0{listener} }}\n\
         routes:\n  - {{ name: app, forward: app{} }}\n\
         upstreams:\n  app: {{ endpoints: [{address}]{upstream} }}\n",
        if route.contains("retry") {
            route.to_owned()
        } else {
            format!(", retry: off{route}")
        }
    )
}

fn asked(origin: Origin, limits: [&str; 3]) -> Seen {
    let proxy = Proxy::start(&yaml(origin.address(), limits));
    let answer = proxy.client().get("/");
    Seen::at(proxy, Some(origin), Some(answer))
}

/// A second request while the first is under way.
fn crowded(limits: [&str; 3]) -> Seen {
    let origin = silent();
    let proxy = Proxy::start(&yaml(origin.address(), limits));
    let mut first = proxy.client();
    first.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the first is under way", || origin.count() == 1);
    let answer = proxy.client().get("/second");
    Seen::at(proxy, Some(origin), Some(answer))
}

/// What the proxy answers to raw bytes.
fn said(origin: Origin, limits: [&str; 3], bytes: &str) -> Seen {
    let proxy = Proxy::start(&yaml(origin.address(), limits));
    let mut client = proxy.client();
    client.send(bytes);
    let answer = client.read();
    Seen::at(proxy, Some(origin), Some(answer))
}

fn at_address(address: SocketAddr, upstream: &str) -> Seen {
    let proxy = Proxy::start(&yaml(address, ["", "", upstream]));
    let answer = proxy.client().get("/");
    Seen::at(proxy, None, Some(answer))
}

/// An address whose queue of connections is full.
fn full_address() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        queue.push(stream);
    }
    (address, queue, listener)
}

fn out_of_memory() -> Seen {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::with(origin.address(), "memory: { limit: 1MiB }");
    eventually("the budget is exceeded", || {
        proxy.metric("outrigger_memory_level") == 2.0
    });
    let answer = proxy.client().get("/");
    Seen::at(proxy, Some(origin), Some(answer))
}

fn limited() -> Seen {
    let limit = ", rate_limit: { requests: 1, per: 1h }";
    let origin = Origin::fixed("ok");
    let proxy = Proxy::start(&yaml(origin.address(), ["", limit, ""]));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    let answer = client.get("/");
    Seen::at(proxy, Some(origin), Some(answer))
}

/// The second request after one that found nobody.
fn after_a_failure(upstream: &str) -> Seen {
    let proxy = Proxy::start(&yaml(free_address(), ["", "", upstream]));
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 502);
    let answer = client.get("/");
    Seen::at(proxy, None, Some(answer))
}

fn without_endpoints() -> Seen {
    let yaml = "listeners:\n  inbound: { address: 127.0.0.1:0, forward: app }\n\
                upstreams:\n  app: { discovery: { file: endpoints.yaml } }\n";
    let proxy = Proxy::start(yaml);
    std::fs::write(proxy.path().with_file_name("endpoints.yaml"), "[]\n").unwrap();
    let mut answer = proxy.client().get("/");
    eventually("the file was read", || {
        answer = proxy.client().get("/");
        answer.json()["code"] == "NO_ENDPOINT"
    });
    Seen::at(proxy, None, Some(answer))
}

fn unknown_name() -> Seen {
    let dns = Dns::start();
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app: {{ endpoints: [\"app.example:80\"] }}\n{}",
        dns.yaml()
    ));
    let mut answer = proxy.client().get("/");
    eventually("it was asked for", || {
        answer = proxy.client().get("/");
        answer.json()["code"] == "DISCOVERY_FAILED"
    });
    Seen::at(proxy, None, Some(answer))
}

/// A client that leaves when its request has arrived.
fn left(begin: &str) -> Seen {
    let origin = app(|request, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
        let _ = request;
        peer.is_closed();
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send(begin);
    client.read_head().unwrap();
    drop(client);
    Seen::at(proxy, Some(origin), None)
}

fn half_a_body() -> Seen {
    let origin = silent();
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n");
    eventually("the request has arrived", || origin.count() == 1);
    client.send("not hex\r\n");
    let answer = client.read();
    Seen::at(proxy, Some(origin), Some(answer))
}

fn half_an_answer() -> Seen {
    let origin = app(|_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    });
    let proxy = Proxy::start(&without_retries(origin.address()));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.try_read().is_err(), "the answer was cut");
    Seen::at(proxy, Some(origin), None)
}

/// Of HTTP/2: the lines of HTTP/1 are counted by hyper.
fn many_fields() -> Seen {
    let origin = Origin::fixed("ok");
    let limits = [", limits: { headers: 10 }", "", ""];
    let proxy = Proxy::start(&yaml(origin.address(), limits));
    let mut peer = frames::Frames::connect(proxy.address());
    let names: Vec<String> = (0..20).map(|number| format!("x-{number}")).collect();
    let mut fields: Vec<(&[u8], &[u8])> = vec![
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", b"/"),
        (b":authority", b"a"),
    ];
    fields.extend(names.iter().map(|name| (name.as_bytes(), b"y".as_slice())));
    peer.send(&frames::headers(1, &fields));
    assert_eq!(peer.status(1), Some(431));
    Seen::at(proxy, Some(origin), None)
}

/// A connection that was upgraded and then is silent on both sides.
fn silent_after_an_upgrade() -> Seen {
    let origin = app(|_, peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        peer.is_closed();
    });
    let limits = ["", "", ", timeouts: { upgraded_idle: 200ms }"];
    let proxy = Proxy::start(&yaml(origin.address(), limits));
    let mut client = proxy.client();
    client.send(format!(
        "{GET}connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    ));
    assert_eq!(client.read_head().unwrap().status(), 101);
    assert!(client.is_closed(), "after the idle time");
    Seen::at(proxy, Some(origin), None)
}

/// Lasts as long as the grace that clients have.
fn slow_body() -> Seen {
    let origin = silent();
    let limits = [", limits: { min_body_rate: 1KiB }", ", timeout: 60s", ""];
    let proxy = Proxy::start(&yaml(origin.address(), limits));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nx");
    let mut stream = client.stream().try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let answer = client.read();
    let _ = client.stream().shutdown(Shutdown::Both);
    dripping.join().unwrap();
    Seen::at(proxy, Some(origin), Some(answer))
}

fn defect() -> Seen {
    let origin = Origin::fixed("ok");
    let server = std::sync::Arc::new(Defective::start(origin.address()));
    let answer = Client::connect(server.address).get("/now");
    let other = std::sync::Arc::clone(&server);
    Seen {
        answer: Some(answer),
        log: Box::new(move || {
            // A new connection has the lines written.
            drop(Client::connect(server.address));
            server.access_log()
        }),
        metrics: Box::new(move || {
            let _alive = &origin;
            other.exposition()
        }),
    }
}

/// At an endpoint with a certificate of an unknown authority, which speaks HTTP/1.1 only.
fn encrypted(upstream: &str) -> Seen {
    let pair = Authority::new().issue(&["127.0.0.1"]);
    let front = TlsFront::start(free_address(), &Manner::of(&pair));
    at_address(front.address(), upstream)
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n";

fn provoke(reason: Reason) -> Seen {
    let full = |limits| crowded(limits);
    match reason {
        Reason::HeaderTimeout => said(
            silent(),
            [", timeouts: { request_header: 100ms }", "", ""],
            GET,
        ),
        Reason::BadRequest => said(silent(), [""; 3], &format!("{GET}host: b\r\n\r\n")),
        Reason::RequestHeadersTooLarge => many_fields(),
        Reason::MethodNotAllowed => said(
            silent(),
            [""; 3],
            "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
        ),
        Reason::NoRoute => asked(silent(), ["", ", match: [{ path: /other }]", ""]),
        Reason::MemoryOverloaded => out_of_memory(),
        Reason::ListenerOverloaded => full([", limits: { in_flight: 1 }", "", ""]),
        Reason::RouteOverloaded => full(["", ", limits: { in_flight: 1 }", ""]),
        Reason::UpstreamOverloaded => full(["", "", ", limits: { in_flight: 1 }"]),
        Reason::EndpointsOverloaded => full(["", "", ", limits: { endpoint_in_flight: 1 }"]),
        Reason::QueueTimeout => full([
            "",
            "",
            ", limits: { in_flight: 1, pending: 1, pending_wait: 50ms }",
        ]),
        Reason::RateLimited => limited(),
        Reason::CircuitOpen => after_a_failure(", circuit_breaker: { consecutive_failures: 1 }"),
        Reason::NoHealthyEndpoint => after_a_failure(
            ", panic_threshold: off, outlier: { consecutive_failures: 1, max_ejected: 100% }",
        ),
        Reason::NoEndpoint => without_endpoints(),
        Reason::DiscoveryFailed => unknown_name(),
        Reason::ConnectRefused => at_address(free_address(), ""),
        Reason::ConnectTimeout => {
            let (address, _queue, _listener) = full_address();
            at_address(address, ", timeouts: { connect: 100ms }")
        }
        Reason::UpstreamTlsTimeout => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let limits = ", tls: { insecure: true }, timeouts: { tls: 100ms }";
            at_address(listener.local_addr().unwrap(), limits)
        }
        Reason::UpstreamCertificate => {
            let directory = tempfile::tempdir().unwrap();
            let ca = directory.path().join("ca.crt");
            std::fs::write(&ca, Authority::new().pem).unwrap();
            encrypted(&format!(", tls: {{ ca: {} }}", ca.display()))
        }
        Reason::UpstreamTlsRefused => encrypted(", tls: { insecure: true }, protocol: http2"),
        Reason::UpstreamTlsFailed => at_address(deaf(), ", tls: { insecure: true }"),
        // Nobody is allowed to connect to everybody.
        Reason::ConnectFailed => at_address("255.255.255.255:9".parse().unwrap(), ""),
        Reason::UpstreamReset => asked(
            app(|_, peer| {
                peer.send("HTTP/1.1 200 OK\r\ncon");
            }),
            [""; 3],
        ),
        Reason::UpstreamProtocolError => asked(
            app(|_, peer| {
                peer.send("hello\r\n\r\n");
            }),
            [""; 3],
        ),
        Reason::UpstreamNotHttp2 => asked(
            app(|_, peer| {
                peer.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            }),
            ["", "", ", protocol: http2"],
        ),
        Reason::UpstreamHeadersTooLarge => asked(
            app(|_, peer| {
                peer.send("HTTP/1.1 200 OK\r\na: b\r\nc: d\r\ne: f\r\ncontent-length: 0\r\n\r\n");
            }),
            ["", "", ", limits: { headers: 2 }"],
        ),
        Reason::UpgradedIdleTimeout => silent_after_an_upgrade(),
        Reason::BodyTooLarge => said(
            silent(),
            ["", ", limits: { body_bytes: 10B }", ""],
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n",
        ),
        Reason::UpstreamIdleTimeout => asked(silent(), ["", "", ", timeouts: { idle: 100ms }"]),
        Reason::AttemptTimeout => asked(
            silent(),
            [
                "",
                ", retry: { attempts: 2, per_try_timeout: 50ms, on: [attempt_timeout] }",
                "",
            ],
        ),
        Reason::RequestTimeout => asked(silent(), ["", ", timeout: 100ms", ""]),
        Reason::DeadlineExceeded => said(
            silent(),
            [""; 3],
            &format!("{GET}grpc-timeout: 100m\r\n\r\n"),
        ),
        Reason::UpstreamBodyReset => half_an_answer(),
        Reason::ClientIdleTimeout => said(
            silent(),
            ["", "", ", timeouts: { idle: 100ms }"],
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf",
        ),
        Reason::ClientBodyTooSlow => slow_body(),
        Reason::ClientBodyAborted => half_a_body(),
        Reason::ClientGone => left(&format!("{GET}\r\n")),
        Reason::InternalError => defect(),
    }
}

#[test]
fn the_limit_that_fired_is_told_with_its_line() {
    let origin = silent();
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n  - name: written\n    match: [{{ path: /written }}]\n    \
         timeout: 100ms\n    forward: app\n  - name: idle\n    forward: app\n    retry: off\nupstreams:\n  app:\n    \
         endpoints: [{}]\n    timeouts: {{ idle: 150ms }}\n",
        origin.address()
    ));
    for (path, key, at) in [
        ("/written", "routes.written.timeout", "outrigger.yaml:6"),
        ("/idle", "upstreams.app.timeouts.idle", "outrigger.yaml:14"),
    ] {
        let limit = &proxy.client().get(path).json()["details"]["limit"];
        assert_eq!((&limit["key"], &limit["at"]), (&key.into(), &at.into()));
        let line = proxy.access_line(path);
        assert_eq!(line["limit"]["at"], at);
    }
    let strict = format!(
        "{}trusted_proxies: []\n",
        proxy.text(&yaml(origin.address(), ["", ", timeout: 50ms", ""]))
    );
    let proxy = Proxy::start(&strict);
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 504);
    assert!(
        !answer.text().contains("outrigger.yaml"),
        "strangers: {}",
        answer.text()
    );
    assert!(!answer.text().contains("routes.app"), "{}", answer.text());
    assert!(!answer.header("proxy-status").unwrap().contains("next-hop"));
}

/// Checks the four views; what the client read.
fn check(reason: Reason) -> Option<String> {
    let facts = reason.facts();
    let code = facts.code;
    let seen = provoke(reason);
    if let Some(answer) = &seen.answer {
        let json = answer.json();
        assert_eq!(json["code"], code.to_uppercase(), "{json}");
        assert_eq!(answer.status(), facts.status, "{code}");
        assert!(json["message"].as_str().unwrap().len() > 10, "{json}");
        let details = &json["details"];
        assert_eq!(details["side"], facts.side.as_str(), "{json}");
        assert_eq!(details["phase"], facts.phase.as_str(), "{json}");
        assert_eq!(details["remedy"], facts.remedy, "{json}");
        if facts.side == Side::Upstream || reason == Reason::NoRoute {
            let line = [&details["limit"]["at"], &details["config"]["at"]];
            let told = line.iter().any(|at| at.to_string().contains(".yaml:"));
            assert!(told, "which line to look at: {json}");
        }
        let status = answer.header("proxy-status").unwrap_or_default();
        let begin = format!("outrigger; error={}", facts.error_type);
        assert!(status.starts_with(&begin), "{code}: {status}");
        assert!(status.ends_with(&format!("details=\"{code}\"")), "{status}");
    }
    let in_log = format!("\"reason\":\"{code}\"");
    eventually(&format!("an access line with {code}"), || {
        (seen.log)().contains(&in_log)
    });
    let in_metrics = format!("reason=\"{code}\"");
    let text = (seen.metrics)();
    let mut series = text
        .lines()
        .filter(|line| line.starts_with("outrigger_errors_total{"));
    assert!(
        series.any(|line| line.contains(&in_metrics)),
        "{code}: {text}"
    );
    let answer = seen.answer?;
    let head = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"));
    let head: String = head.collect();
    Some(format!(
        "{}\n{head}\n{}\n",
        answer.status_line,
        answer.text()
    ))
}

#[test]
fn every_reason_is_told_alike_by_answer_proxy_status_access_line_and_metric() {
    // Two of them wait for seconds, so they go side by side.
    let all = std::sync::Mutex::new(Reason::ALL.to_vec());
    let samples = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(reason) = { all.lock().unwrap().pop() } {
                    let sample = check(reason);
                    samples.lock().unwrap().push((reason.as_str(), sample));
                }
            });
        }
    });
    assert_eq!(samples.lock().unwrap().len(), Reason::ALL.len());
    if let Some(path) = std::env::var_os("SAMPLES") {
        let mut text = String::new();
        for (code, sample) in samples.into_inner().unwrap() {
            text.push_str(&format!("### {code}\n{}\n", sample.unwrap_or_default()));
        }
        std::fs::write(path, text).unwrap();
    }
}

#[test]
fn the_page_about_reasons_is_the_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reasons.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(path, page()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/reasons.md is old; BLESS=1 rewrites it"
    );
}
