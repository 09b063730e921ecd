//! Listeners with TLS: who is shown which certificate, what is spoken, who is turned away and why.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use outrigger::admin::status::Outcome;
use rustls::pki_types::ServerName;
use time::{Duration, OffsetDateTime};

use crate::support::eventually;
use crate::support::http2;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, Dialer, Pair};

/// Files beside each other, and a proxy that uses them.
struct Setup {
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Setup {
    fn new(pairs: &[(&str, &Pair)], authority: Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, pair) in pairs {
            pair.write(directory.path(), name);
        }
        std::fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
        Self {
            authority,
            directory,
        }
    }

    /// With a certificate for `test`, in `tls.crt`.
    fn one() -> Self {
        let authority = Authority::new();
        let pair = authority.issue(&["test"]);
        Self::new(&[("tls", &pair)], authority)
    }

    fn yaml(&self, names: &[&str], origin: SocketAddr, more: &str) -> String {
        let dir = self.directory.path().display();
        let pair = |name: &&str| format!("{{ cert: {dir}/{name}.crt, key: {dir}/{name}.key }}");
        let pairs: Vec<String> = names.iter().map(pair).collect();
        let more = more.replace("{tls}", &dir.to_string());
        format!(
            "listeners:\n  inbound:\n    address: 127.0.0.1:0\n    forward: app\n    {more}\n\
             upstreams:\n  app: {{ endpoints: [{origin}] }}\n",
            more = more.replace("{pairs}", &pairs.join(", "))
        )
    }

    fn start(&self, names: &[&str], origin: SocketAddr) -> Proxy {
        Proxy::start(&self.yaml(names, origin, "tls: { certificates: [{pairs}] }"))
    }
}

fn handshakes(proxy: &Proxy, result: &str) -> f64 {
    let labels = format!("direction=\"inbound\",listener=\"inbound\",result=\"{result}\"");
    proxy.metric(&format!("outrigger_tls_handshakes_total{{{labels}}}"))
}

#[track_caller]
fn counted(proxy: &Proxy, result: &str) {
    eventually(&format!("a handshake that ended as {result}"), || {
        handshakes(proxy, result) >= 1.0
    });
}

#[test]
fn requests_over_tls_reach_the_app_which_learns_the_scheme() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    let mut client = Dialer::believing(&setup.authority)
        .connect(proxy.address(), "test")
        .unwrap();
    for _ in 0..3 {
        let (status, _, body) = client.get("test", "/").unwrap();
        assert_eq!((status, body.as_str()), (200, "hello"));
    }
    let request = &origin.requests()[0];
    assert_eq!(request.header("x-forwarded-proto"), Some("https"));
    assert_eq!(
        handshakes(&proxy, "ok"),
        1.0,
        "one connection, one handshake"
    );
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let origin = Origin::start(|request, peer| {
        let body = peer.body(request);
        peer.answer("200 OK", body);
        crate::support::origin::Then::KeepAlive
    });
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    let mut client = Dialer::believing(&setup.authority)
        .connect(proxy.address(), "test")
        .unwrap();
    let body: String = ('a'..='z').cycle().take(1_000_000).collect();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).unwrap();
    client.send(body.as_bytes()).unwrap();
    let (status, _, echoed) = client.read().unwrap();
    assert!(status == 200 && echoed == body);
}

#[test]
fn the_name_asked_for_chooses_the_certificate() {
    let origin = Origin::fixed("hello");
    let authority = Authority::new();
    let (first, second) = (
        authority.issue(&["first.test", "127.0.0.1"]),
        authority.issue(&["second.test", "*.wild.test"]),
    );
    let setup = Setup::new(&[("first", &first), ("second", &second)], authority);
    let proxy = setup.start(&["first", "second"], origin.address());
    let dialer = Dialer::believing(&setup.authority);
    let shown = |name: &str| dialer.connect(proxy.address(), name).unwrap().shown();
    assert_eq!(shown("second.test"), second.der());
    assert_eq!(shown("a.wild.test"), second.der());
    assert_eq!(shown("first.test"), first.der());
    assert_eq!(shown("127.0.0.1"), first.der(), "an address is not a name");
    let other = dialer.connect(proxy.address(), "a.b.wild.test");
    assert!(other.is_err(), "a wildcard stands for one label");
}

#[test]
fn alpn_decides_what_is_spoken() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let dialer = Dialer::believing(&setup.authority).alpn(offered);
        let client = dialer.connect(proxy.address(), "test").unwrap();
        assert_eq!(client.protocol().as_deref(), agreed);
    }
    let dialer = Dialer::believing(&setup.authority).alpn(&["smtp"]);
    assert!(dialer.connect(proxy.address(), "test").is_err());
    counted(&proxy, "nothing_in_common");
}

#[test]
fn http2_is_served_over_tls() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    let config = Dialer::believing(&setup.authority).alpn(&["h2"]).config();
    let client = http2::Http2::over_tls(proxy.address(), config, "test");
    let answer = client.get("https://test/");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
    assert_eq!(
        origin.requests()[0].header("x-forwarded-proto"),
        Some("https")
    );
}

#[test]
fn redirects_keep_the_scheme_and_forwarded_tells_it() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let mut yaml = setup.yaml(
        &["tls"],
        origin.address(),
        "tls: { certificates: [{pairs}] }",
    );
    yaml.push_str(
        "forwarded_headers: both\n\
         routes: [{ name: old, match: { path: /old }, redirect: { path: { full: /new } } }]\n",
    );
    let proxy = Proxy::start(&yaml);
    let mut client = Dialer::believing(&setup.authority)
        .connect(proxy.address(), "test")
        .unwrap();
    let (_, head, _) = client.get("test:8443", "/old").unwrap();
    assert!(head.contains("https://test:8443/new"), "{head}");
    client.get("test", "/").unwrap();
    let forwarded = origin.requests()[0].header("forwarded").unwrap().to_owned();
    assert!(forwarded.ends_with("proto=https"), "{forwarded}");
}

#[test]
fn a_handshake_that_stalls_is_cut_and_counted() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let more = "tls: { certificates: [{pairs}] }\n    timeouts: { tls_handshake: 100ms }";
    let proxy = Proxy::start(&setup.yaml(&["tls"], origin.address(), more));
    let mut silent = TcpStream::connect(proxy.address()).unwrap();
    let mut half = TcpStream::connect(proxy.address()).unwrap();
    half.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    for stream in [&mut silent, &mut half] {
        assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0);
    }
    eventually("both counted", || handshakes(&proxy, "timeout") == 2.0);
    let mut client = Dialer::believing(&setup.authority)
        .connect(proxy.address(), "test")
        .unwrap();
    assert_eq!(client.get("test", "/").unwrap().0, 200, "others are served");
}

#[test]
fn a_slow_handshake_is_not_a_slow_head() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let more = "tls: { certificates: [{pairs}] }\n    timeouts: { request_header: 50ms, tls_handshake: 1s }";
    let proxy = Proxy::start(&setup.yaml(&["tls"], origin.address(), more));
    let mut silent = TcpStream::connect(proxy.address()).unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(silent.read(&mut [0; 64]).unwrap_or(0), 0);
    assert!(begun.elapsed() >= std::time::Duration::from_millis(900));
    counted(&proxy, "timeout");
    // Once hands are shaken, a head that does not come is one.
    let mut client = Dialer::believing(&setup.authority)
        .connect(proxy.address(), "test")
        .unwrap();
    client.send(b"GET / HTTP/1.1\r\nhost:").unwrap();
    let (status, head, _) = client.read().unwrap();
    assert_eq!(status, 408, "{head}");
}

#[test]
fn what_is_not_tls_is_turned_away_by_reason() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    for garbage in [
        &[0u8; 600][..],
        &[0xff; 20],
        b"\r\n\r\n",
        // A record whose content is none.
        &[22, 3, 1, 0, 5, 9, 9, 9, 9, 9],
        &[22, 0xff, 0xff, 0xff, 0xff, 1, 2, 3],
    ] {
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        stream.write_all(garbage).unwrap();
        // An alert may come; then the end.
        drop(stream.read_to_end(&mut Vec::new()));
    }
    eventually("all counted", || {
        handshakes(&proxy, "not_tls") + handshakes(&proxy, "failed") == 5.0
    });
    drop(TcpStream::connect(proxy.address()).unwrap());
    counted(&proxy, "closed");
    assert_eq!(origin.count(), 0);
    assert_eq!(handshakes(&proxy, "ok"), 0.0);
}

#[test]
fn plain_http_on_a_tls_port_is_told_so() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    let answer = proxy.client().get("/");
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.json()["code"], "PLAIN_HTTP");
    counted(&proxy, "plain_http");
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_client_that_does_not_believe_us_is_counted() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    let dialer = Dialer::believing(&Authority::new());
    assert!(dialer.connect(proxy.address(), "test").is_err());
    counted(&proxy, "refused");
}

#[test]
fn required_client_certificates_are_asked_for_and_looked_at() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let more = "tls: { certificates: [{pairs}], client: { ca: {tls}/ca.crt } }";
    let proxy = Proxy::start(&setup.yaml(&["tls"], origin.address(), more));
    let ours = setup.authority.issue(&["client"]);
    let ended = OffsetDateTime::now_utc() - Duration::days(1);
    let expired = setup.authority.issue_until(&["client"], ended);
    let foreign = Authority::new().issue(&["client"]);
    let ask = |dialer: Dialer| {
        let mut client = dialer.connect(proxy.address(), "test")?;
        client.get("test", "/").map(|(status, ..)| status)
    };
    let dialer = || Dialer::believing(&setup.authority);
    assert!(ask(dialer()).is_err());
    counted(&proxy, "no_certificate");
    assert!(ask(dialer().showing(&foreign)).is_err());
    assert!(ask(dialer().showing(&expired)).is_err());
    eventually("both counted", || {
        handshakes(&proxy, "bad_certificate") == 2.0
    });
    assert_eq!(origin.count(), 0, "nobody came through");
    assert_eq!(ask(dialer().showing(&ours)).unwrap(), 200);
}

#[test]
fn optional_client_certificates_may_be_missing_but_not_bad() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let more = "tls: { certificates: [{pairs}], client: { ca: {tls}/ca.crt, mode: optional } }";
    let proxy = Proxy::start(&setup.yaml(&["tls"], origin.address(), more));
    let ask = |dialer: Dialer| {
        let mut client = dialer.connect(proxy.address(), "test")?;
        client.get("test", "/").map(|(status, ..)| status)
    };
    let dialer = || Dialer::believing(&setup.authority);
    assert_eq!(ask(dialer()).unwrap(), 200);
    let ours = setup.authority.issue(&["client"]);
    assert_eq!(ask(dialer().showing(&ours)).unwrap(), 200);
    let foreign = Authority::new().issue(&["client"]);
    assert!(ask(dialer().showing(&foreign)).is_err());
    counted(&proxy, "bad_certificate");
}

#[test]
fn sessions_are_resumed_but_not_where_clients_show_certificates() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let resumed = |more: &str| {
        let proxy = Proxy::start(&setup.yaml(&["tls"], origin.address(), more));
        let ours = setup.authority.issue(&["client"]);
        let dialer = Dialer::believing(&setup.authority)
            .showing(&ours)
            .remembering();
        let again = || {
            let mut client = dialer.connect(proxy.address(), "test").unwrap();
            client.get("test", "/").unwrap();
            client.is_resumed()
        };
        [again(), again()]
    };
    let open = resumed("tls: { certificates: [{pairs}] }");
    assert_eq!(open, [false, true]);
    for mode in ["required", "optional"] {
        let client = format!("client: {{ ca: {{tls}}/ca.crt, mode: {mode} }}");
        let mutual = resumed(&format!("tls: {{ certificates: [{{pairs}}], {client} }}"));
        assert_eq!(mutual, [false, false], "{mode}");
    }
}

#[test]
fn a_reload_takes_renewed_files_and_keeps_the_old_ones_if_they_do_not_fit() {
    let origin = Origin::fixed("hello");
    let setup = Setup::one();
    let proxy = setup.start(&["tls"], origin.address());
    let dialer = Dialer::believing(&setup.authority);
    let mut before = dialer.connect(proxy.address(), "test").unwrap();
    let first = before.shown();
    let renewed = setup.authority.issue(&["test"]);
    // Half of it: the certificate is there, its key is not yet.
    std::fs::write(setup.directory.path().join("tls.crt"), &renewed.cert).unwrap();
    let Some(Outcome::Refused { mistakes }) = proxy.app().reload() else {
        panic!("a certificate without its key was taken");
    };
    assert!(mistakes[0].contains("is not the key of"), "{mistakes:?}");
    let during = dialer.connect(proxy.address(), "test").unwrap();
    assert_eq!(during.shown(), first);
    renewed.write(setup.directory.path(), "tls");
    assert_eq!(proxy.app().reload(), Some(Outcome::Unchanged));
    let after = dialer.connect(proxy.address(), "test").unwrap();
    assert_eq!(after.shown(), renewed.der());
    assert_eq!(before.get("test", "/").unwrap().0, 200, "served on");
    let labels = "direction=\"inbound\",name=\"inbound\"";
    let ends = proxy.metric(&format!("outrigger_tls_cert_expiry_seconds{{{labels}}}"));
    let left = ends - OffsetDateTime::now_utc().unix_timestamp() as f64;
    assert!((29.9..=30.0).contains(&(left / 86_400.0)), "{left}");
}

#[test]
fn bad_files_are_mistakes_with_a_place_and_a_remedy() {
    let authority = Authority::new();
    let good = authority.issue(&["test"]);
    let ended = OffsetDateTime::now_utc() - Duration::days(3);
    let expired = authority.issue_until(&["test"], ended);
    let with = |cert: &str, key: &str| Pair {
        cert: cert.into(),
        key: key.into(),
    };
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let cut = &good.cert[..good.cert.len() - 40];
    for (pair, part) in [
        (expired, "has expired 3 days ago"),
        (
            with(&good.cert, &authority.issue(&["test"]).key),
            "is not the key of",
        ),
        (
            with(&good.cert, encrypted),
            "is encrypted with a passphrase",
        ),
        (with(&good.cert, "nothing"), "has no private key in PEM"),
        (
            with("nothing", &good.key),
            "has no valid certificate in PEM",
        ),
        (with(cut, &good.key), "is not valid PEM"),
    ] {
        let setup = Setup::new(&[("tls", &pair)], Authority::new());
        let origin: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let yaml = setup.yaml(&["tls"], origin, "tls: { certificates: [{pairs}] }");
        let Err(message) = Proxy::try_start(&yaml) else {
            panic!("started although a file {part}");
        };
        assert!(
            message.contains(part) && message.contains("outrigger.yaml:"),
            "{message}"
        );
        assert!(!message.contains("AAAA"), "no content of a key: {message}");
    }
}

#[test]
fn a_key_that_everybody_may_read_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let setup = Setup::one();
    let key = setup.directory.path().join("tls.key");
    std::fs::set_permissions(key, PermissionsExt::from_mode(0o644)).unwrap();
    let origin: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let yaml = setup.yaml(&["tls"], origin, "tls: { certificates: [{pairs}] }");
    let (_, diagnostics) = crate::config_mistakes::checked(&yaml);
    assert!(!diagnostics.has_errors());
    let messages: Vec<&str> = diagnostics.iter().map(|it| it.message.as_str()).collect();
    assert!(messages[0].contains("may read the key"), "{messages:?}");
}

#[test]
fn names_are_compared_in_any_case() {
    let origin = Origin::fixed("hello");
    let authority = Authority::new();
    let (first, second) = (
        authority.issue(&["first.test"]),
        authority.issue(&["Second.Test"]),
    );
    let setup = Setup::new(&[("first", &first), ("second", &second)], authority);
    let proxy = setup.start(&["first", "second"], origin.address());
    let dialer = Dialer::believing(&setup.authority);
    let name = ServerName::try_from("SECOND.test").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::clone(&dialer.config()), name).unwrap();
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    assert_eq!(tls.peer_certificates().unwrap()[0], second.der());
}
