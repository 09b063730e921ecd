//! The demand: the file is edited all the time, in every section, while requests go on, and not one of them fails.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outrigger::admin::status::Outcome;

use crate::support::client::{Answer, Client};
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

/// How long requests are sent, and how often the file changes meanwhile.
const WHOLE: Duration = Duration::from_secs(20);
const PACE: Duration = Duration::from_millis(200);

fn pick<'a>(turn: usize, choices: &[&'a str]) -> &'a str {
    choices[turn % choices.len()]
}

/// The file of one turn: every section takes part, in rhythms that do not go together.
fn edition(turn: usize, extra: SocketAddr, origins: &[SocketAddr; 3]) -> String {
    let [one, two, three] = origins;
    let endpoints = pick(
        turn,
        &[
            "[{1}, {2}]",
            "[{1}, {2}, {3}]",
            "[{ address: {1}, weight: 3 }, {2}]",
            "[{3}]",
            "[{2}, {1}]",
        ],
    );
    let endpoints = endpoints
        .replace("{1}", &one.to_string())
        .replace("{2}", &two.to_string())
        .replace("{3}", &three.to_string());
    let listener = if turn.is_multiple_of(3) {
        format!("  extra: {{ address: {extra}, forward: app }}\n")
    } else {
        String::new()
    };
    let mut routes = [
        "  - { name: posts, match: [{ methods: [POST] }], forward: app }\n",
        "  - { name: gets, match: [{ path: /get, methods: [GET] }], forward: other, timeout: 9s }\n",
        "  - { name: host, match: [{ host: example.com }], forward: app, listeners: [inbound] }\n",
    ];
    routes.rotate_left(turn % 3);
    let routes = routes[..1 + turn % 3].concat();
    format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, reuse_port: {}, timeouts: {{ request_header: {}, idle: {} }}, limits: {{ connections: {}, header_bytes: {}, headers: {} }} }}\n{listener}routes:\n{routes}upstreams:\n  app: {{ endpoints: {endpoints}, balance: {}, timeouts: {{ connect: {}, idle: {} }}, pool: {{ max_idle: {}, idle_timeout: {}, max_age: {} }} }}\n  other: {{ endpoints: [{two}] }}\ndrain: {{ timeout: {} }}\ntrusted_proxies: {}\nforwarded_headers: {}\nheader_case: {}\naccess_log: {}\nworkers: 2\n",
        pick(turn / 8, &["false", "true"]),
        pick(turn, &["10s", "5s"]),
        pick(turn, &["60s", "30s", "45s"]),
        pick(turn, &["10000", "5000"]),
        pick(turn, &["64KiB", "32KiB"]),
        pick(turn, &["100", "64", "80"]),
        pick(turn / 2, &["round_robin", "least_connections"]),
        pick(turn, &["1s", "2s"]),
        pick(turn, &["60s", "20s"]),
        pick(turn, &["128", "0", "1", "64"]),
        pick(turn, &["60s", "30s"]),
        pick(turn, &["10m", "off", "1s"]),
        pick(turn, &["30s", "10s"]),
        pick(turn, &["[127.0.0.0/8]", "[]", "[10.0.0.0/8, '::1/128']"]),
        pick(turn, &["x_forwarded", "forwarded", "both", "none"]),
        pick(turn / 4, &["lower", "preserve"]),
        pick(
            turn,
            &["{ file: '{dir}/a.log' }", "off", "{ file: '{dir}/b.log' }"]
        ),
    )
}

/// What the clients share.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    #[track_caller]
    fn check(&self, answer: &Answer, body: &str) {
        assert_eq!(answer.status(), 200, "{}", answer.text());
        assert_eq!(answer.text(), body);
        self.answered.fetch_add(1, Ordering::SeqCst);
    }
}

fn exchange(client: &mut Client, tally: &Tally, number: usize) {
    if number.is_multiple_of(2) {
        let answer = client.get(&format!("/get/{number}"));
        tally.check(&answer, &format!("/get/{number}"));
    } else {
        let body = format!("body {number}").repeat(200);
        let answer = client.post("/post", body.as_bytes());
        tally.check(&answer, &body);
    }
}

fn keeps_its_connection(address: SocketAddr, tally: &Tally) {
    let mut client = Client::connect(address);
    for number in 0.. {
        if !tally.goes_on() {
            return;
        }
        exchange(&mut client, tally, number);
    }
}

fn connects_anew(address: SocketAddr, tally: &Tally) {
    for number in 0.. {
        if !tally.goes_on() {
            return;
        }
        exchange(&mut Client::connect(address), tally, number);
        // Ports of closed connections are not had again at once.
        std::thread::sleep(Duration::from_millis(3));
    }
}

fn speaks_http_2(address: SocketAddr, tally: &Tally) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .unwrap();
        let connection = tokio::spawn(connection);
        while tally.goes_on() {
            let request = http::Request::post(format!("http://{address}/post"))
                .body(http_body_util::Full::new(bytes::Bytes::from("over h2")))
                .unwrap();
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            let body = http_body_util::BodyExt::collect(answer.into_body()).await;
            assert_eq!(body.unwrap().to_bytes(), "over h2");
            tally.answered.fetch_add(1, Ordering::SeqCst);
        }
        drop(sender);
        connection.await.unwrap().unwrap();
    });
}

fn echo() -> Origin {
    Origin::start(|request, peer| {
        let body = peer.body(request);
        if request.method() == "POST" {
            peer.answer("200 OK", body);
        } else {
            peer.answer("200 OK", request.target());
        }
        Then::KeepAlive
    })
}

#[test]
fn no_request_fails_while_the_file_is_edited_all_the_time() {
    let origins = [echo(), echo(), echo()];
    let addresses = [0, 1, 2].map(|index: usize| origins[index].address());
    let extra = crate::support::free_address();
    let proxy = Proxy::start(&edition(0, extra, &addresses));
    let address = proxy.address();
    let tally = Arc::new(Tally::default());
    let clients: [fn(SocketAddr, &Tally); 5] = [
        keeps_its_connection,
        keeps_its_connection,
        connects_anew,
        connects_anew,
        speaks_http_2,
    ];
    let clients = clients.map(|client| {
        let tally = Arc::clone(&tally);
        std::thread::spawn(move || client(address, &tally))
    });
    let begun = Instant::now();
    let mut turn = 0;
    while begun.elapsed() < WHOLE && clients.iter().all(|client| !client.is_finished()) {
        turn += 1;
        let due = begun + PACE * u32::try_from(turn).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if turn % 10 == 5 {
            let before = proxy.control("/config/status").json()["version"].clone();
            let bad = edition(turn, extra, &addresses).replace("forward: app", "forward: nobody");
            let outcome = proxy.reload(&bad);
            assert!(matches!(outcome, Outcome::Refused { .. }), "{outcome:?}");
            assert_eq!(proxy.control("/config/status").json()["version"], before);
        } else {
            let outcome = proxy.reload(&edition(turn, extra, &addresses));
            // The watcher may have been faster.
            let taken = matches!(outcome, Outcome::Applied { .. } | Outcome::Unchanged);
            assert!(taken, "turn {turn}: {outcome:?}");
        }
    }
    tally.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().expect("no request failed");
    }
    assert_eq!(proxy.address(), address, "the listener was kept throughout");
    let answered = tally.answered.load(Ordering::SeqCst);
    assert!(turn >= 80 && answered > 1000, "{answered} in {turn} turns");
}
