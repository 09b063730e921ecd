//! Who a client is by its certificate: who may come in, what the app reads, what is counted by it.

use std::io;
use std::net::SocketAddr;

use crate::support::eventually;
use crate::support::http2::{Http2, empty, request};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, Dialer, Pair};

const HEADER: &str = "x-client-identity";

struct Setup {
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        authority.issue(&["test"]).write(directory.path(), "tls");
        std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
        Self {
            authority,
            directory,
        }
    }

    /// The listeners `inbound`, which asks clients for certificates, and `plain`; `client` and `route` are more keys.
    fn start(&self, origin: SocketAddr, client: &str, route: &str) -> Proxy {
        let dir = self.directory.path().display();
        Proxy::start(&format!(
            "listeners:\n  plain: {{ address: 127.0.0.1:0 }}\n  inbound:\n    address: 127.0.0.1:0\n    tls:\n      \
             certificates: [{{ cert: {dir}/tls.crt, key: {dir}/tls.key }}]\n      \
             client: {{ ca: {dir}/ca.crt{client} }}\n\
             routes:\n  - {{ name: app, forward: app{route} }}\n\
             upstreams:\n  app: {{ endpoints: [{origin}] }}\n"
        ))
    }

    fn dialer(&self, pair: Option<&Pair>) -> Dialer {
        let dialer = Dialer::believing(&self.authority);
        match pair {
            Some(pair) => dialer.showing(pair),
            None => dialer,
        }
    }

    /// The status that a client with this certificate gets, who writes `headers`.
    fn ask(&self, proxy: &Proxy, pair: Option<&Pair>, headers: &str) -> io::Result<u16> {
        let dialer = self.dialer(pair);
        let mut client = dialer.connect(proxy.address(), "test")?;
        client.send(format!("GET / HTTP/1.1\r\nhost: test\r\n{headers}\r\n").as_bytes())?;
        client.read().map(|(status, ..)| status)
    }
}

#[test]
fn only_names_on_the_list_may_come_in() {
    let origin = Origin::fixed("hello");
    let setup = Setup::new();
    let allow = ", allow: [spiffe://a.test/one, \"spiffe://a.test/ns/*\", dns:client.test, \"dns:*.b.test\"]";
    let proxy = setup.start(origin.address(), allow, "");
    let with = |uris: &[&str], names: &[&str]| setup.authority.identify(uris, names);
    for pair in [
        with(&["spiffe://a.test/one"], &[]),
        with(&["spiffe://a.test/ns/shop/sa/web"], &["other"]),
        with(&[], &["Client.test"]),
        with(&[], &["other.test", "x.b.test"]),
    ] {
        assert_eq!(setup.ask(&proxy, Some(&pair), "").unwrap(), 200);
    }
    let served = origin.count();
    let refused = [
        with(&["spiffe://a.test/two"], &[]),
        with(&["spiffe://other.test/one"], &[]),
        with(&["spiffe://a.test/nsx"], &[]),
        // Two identities are none (SPIFFE).
        with(&["spiffe://a.test/one", "spiffe://a.test/two"], &[]),
        with(&[], &["b.test"]),
        with(&[], &[]),
    ];
    for pair in &refused {
        let error = setup.ask(&proxy, Some(pair), "").unwrap_err();
        assert!(error.to_string().contains("AccessDenied"), "{error}");
    }
    let labels = "direction=\"inbound\",listener=\"inbound\",result=\"not_allowed\"";
    eventually("all counted", || {
        let count = proxy.metric(&format!("outrigger_tls_handshakes_total{{{labels}}}"));
        count == refused.len() as f64
    });
    assert_eq!(origin.count(), served);
}

#[test]
fn the_app_reads_who_the_client_is_and_nothing_that_a_client_writes() {
    let origin = Origin::fixed("hello");
    let setup = Setup::new();
    let keys = ", identity_header: X-Client-Identity";
    let proxy = setup.start(origin.address(), keys, "");
    let forged = "X-Client-Identity: admin\r\nx-client-identity: root\r\nx_client_identity: me\r\n\
                  connection: x-client-identity\r\n";
    for (pair, identity) in [
        (
            setup
                .authority
                .identify(&["spiffe://a.test/one"], &["b.test"]),
            "spiffe://a.test/one",
        ),
        (setup.authority.issue(&["B.test", "c.test"]), "dns:b.test"),
    ] {
        assert_eq!(setup.ask(&proxy, Some(&pair), forged).unwrap(), 200);
        let seen = origin.requests().pop().unwrap();
        assert_eq!(seen.all(HEADER), [identity]);
        assert!(seen.all("x_client_identity").is_empty());
    }
    // A certificate without a name is nobody's.
    let pair = setup.authority.issue(&[]);
    assert_eq!(setup.ask(&proxy, Some(&pair), forged).unwrap(), 200);
    assert!(origin.requests().pop().unwrap().all(HEADER).is_empty());
    // Another listener asks nobody, and nobody can say who he is there.
    let mut client = crate::support::client::Client::connect(proxy.listener("plain"));
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{forged}\r\n"));
    assert_eq!(client.read().status(), 200);
    let seen = origin.requests().pop().unwrap();
    assert!(seen.all(HEADER).is_empty() && seen.all("x_client_identity").is_empty());
}

#[test]
fn each_request_of_an_http2_connection_has_the_identity() {
    let origin = Origin::fixed("hello");
    let setup = Setup::new();
    let proxy = setup.start(origin.address(), ", identity_header: x-client-identity", "");
    let pair = setup.authority.issue(&["client.test"]);
    let config = setup.dialer(Some(&pair)).alpn(&["h2"]).config();
    let client = Http2::over_tls(proxy.address(), config, "test");
    for _ in 0..3 {
        let mut request = request("GET", "https://test/", empty());
        let forged = "admin".parse().unwrap();
        request.headers_mut().insert(HEADER, forged);
        let mut sender = client.sender.clone();
        let answer = client.run(sender.send_request(request)).unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            origin.requests().pop().unwrap().all(HEADER),
            ["dns:client.test"]
        );
    }
}

#[test]
fn who_need_not_show_a_certificate_has_no_identity() {
    let origin = Origin::fixed("hello");
    let setup = Setup::new();
    let keys = ", mode: optional, identity_header: x-client-identity, allow: [dns:client.test]";
    let proxy = setup.start(origin.address(), keys, "");
    let forged = "x-client-identity: dns:client.test\r\n";
    assert_eq!(setup.ask(&proxy, None, forged).unwrap(), 200);
    assert!(origin.requests().pop().unwrap().all(HEADER).is_empty());
    let pair = setup.authority.issue(&["client.test"]);
    assert_eq!(setup.ask(&proxy, Some(&pair), forged).unwrap(), 200);
    let other = setup.authority.issue(&["other.test"]);
    assert!(setup.ask(&proxy, Some(&other), forged).is_err());
}

#[test]
fn each_identity_has_a_rate_of_its_own() {
    let origin = Origin::fixed("hello");
    let setup = Setup::new();
    let rule = ", rate_limit: { requests: 2, per: 1h, key: client_identity }";
    let proxy = setup.start(origin.address(), ", mode: optional", rule);
    let (one, two) = (
        setup.authority.issue(&["one.test"]),
        // Another certificate of the same client is the same client.
        setup.authority.issue(&["two.test"]),
    );
    let again = setup.authority.issue(&["one.test"]);
    let ask = |pair: Option<&Pair>| setup.ask(&proxy, pair, "").unwrap();
    assert_eq!([ask(Some(&one)), ask(Some(&again))], [200, 200]);
    assert_eq!(ask(Some(&one)), 429);
    assert_eq!(ask(Some(&two)), 200);
    assert_eq!([ask(None), ask(None), ask(None)], [200, 200, 429]);
}
