//! A panic in a request is that request's misfortune only.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::Response;
use outrigger::config::{read, source::Source};
use outrigger::proxy::body::ProxyBody;
use outrigger::proxy::error::ProxyError;
use outrigger::proxy::exchange::Exchange;
use outrigger::proxy::forward::forward;
use outrigger::proxy::service::ConnService;
use outrigger::proxy::stack::{Opened, Received, around};
use outrigger::proxy::{ConnInfo, ConnObserver, Engine};
use outrigger::snapshot::Store;
use outrigger::snapshot::compile::{Environment, compile};
use outrigger::telemetry::metrics::Metrics;
use outrigger::telemetry::writer::{LineBuffer, LineWriter, Output};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::minimal;

#[derive(Debug)]
struct Quiet;

impl ConnObserver for Quiet {
    fn offence(&self) -> Option<outrigger::telemetry::protocol::Offence> {
        None
    }

    fn exchange_started(&self) {}
    fn exchange_ended(&self) {}
    fn says_good_bye(&self) -> bool {
        false
    }
}

/// A server around a service with a defect, and what it tells.
pub struct Defective {
    pub address: SocketAddr,
    metrics: Arc<Metrics>,
    directory: tempfile::TempDir,
    runtime: Option<tokio::runtime::Runtime>,
}

async fn defective(
    exchange: Arc<Exchange>,
    request: Box<Received>,
) -> Result<Response<ProxyBody>, ProxyError> {
    match request.head.uri.path() {
        "/now" => panic!("at once"),
        "/later" => {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            panic!("after a wait");
        }
        _ => forward(exchange, request).await,
    }
}

fn engine(origin: SocketAddr, metrics: &Arc<Metrics>, log: &Path) -> Arc<Engine> {
    let source = Source {
        name: "test".into(),
        directory: ".".into(),
        text: minimal(origin),
    };
    let (config, mistakes) = read(&source, &|_| None);
    assert!(!mistakes.has_errors());
    let environment = Environment {
        journal: Arc::default(),
        metrics: Arc::clone(metrics),
        workers: 1,
    };
    let snapshot = compile(config, "hash".into(), None, &environment);
    let output = Output::file(log).unwrap();
    let writer = LineWriter::start(output, metrics.access_log_dropped()).unwrap();
    Arc::new(Engine {
        worker: 0,
        snapshots: Arc::new(Store::new(snapshot)),
        log: LineBuffer::new(writer),
        upgrades: TaskTracker::new(),
        replay_room: Arc::new(outrigger::upstream::replay_room::ReplayRoom::new(0)),
        cut: CancellationToken::new(),
    })
}

impl Defective {
    pub fn start(origin: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let engine = engine(origin, &metrics, &directory.path().join("access.log"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let inbound = Arc::clone(&engine.snapshots.load().listeners[0]);
                let info = Arc::new(ConnInfo::new(peer, inbound, Arc::new(Quiet), Box::new(())));
                let stack = around(tower::service_fn(|(exchange, request): Opened| {
                    defective(exchange, request)
                }));
                let service = ConnService::new(stack, Arc::clone(&engine), info);
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(async move {
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(io, service)
                            .await,
                    );
                });
                engine.log.flush();
            }
        });
        Self {
            address,
            metrics,
            directory,
            runtime: Some(runtime),
        }
    }

    pub fn exposition(&self) -> String {
        String::from_utf8(self.metrics.encode().unwrap()).unwrap()
    }

    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default()
    }
}

impl Drop for Defective {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

#[test]
fn a_panic_is_answered_and_the_connection_goes_on() {
    let origin = Origin::fixed("fine");
    let server = Defective::start(origin.address());
    let (mut client, mut other) = (
        Client::connect(server.address),
        Client::connect(server.address),
    );
    assert_eq!(other.get("/").text(), "fine");
    for path in ["/now", "/later", "/now"] {
        let answer = client.get(path);
        assert_eq!(answer.status(), 500);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.json()["code"], "INTERNAL_ERROR");
        assert!(!answer.text().contains("at once"), "{}", answer.text());
        assert_eq!(client.get("/").text(), "fine", "the same connection");
    }
    assert_eq!(other.get("/").text(), "fine", "another connection");
    eventually("nothing is under way", || {
        let text = server.exposition();
        let mut gauges = text
            .lines()
            .filter(|line| line.starts_with("http_requests_active{"));
        gauges.all(|line| line.ends_with(" 0"))
    });
    let text = server.exposition();
    let counted =
        r#"outrigger_errors_total{direction="inbound",reason="internal_error",route="(none)"} 3"#;
    assert!(text.contains(counted), "{text}");
    eventually("each has its line", || {
        // A new connection has the lines written.
        drop(Client::connect(server.address));
        server
            .access_log()
            .matches("\"reason\":\"internal_error\"")
            .count()
            == 3
    });
}

#[test]
fn a_panic_does_not_disturb_requests_under_way() {
    let origin = Origin::start(|_, peer| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        peer.answer("200 OK", "late");
        crate::support::origin::Then::KeepAlive
    });
    let server = Defective::start(origin.address());
    let mut waiting: Vec<Client> = (0..8).map(|_| Client::connect(server.address)).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for _ in 0..20 {
        assert_eq!(Client::connect(server.address).get("/later").status(), 500);
    }
    for client in &mut waiting {
        assert_eq!(client.read().text(), "late");
    }
}
