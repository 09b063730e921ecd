//! Certificates, keys and authorities that change while they are in use.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use time::{Duration, OffsetDateTime};

use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::tls::{Authority, Dialer, Pair};
use crate::support::tls_front::{Manner, TlsFront};

/// A directory as Kubernetes mounts a secret: files are links through `..data`, which is swapped.
struct Secret {
    directory: tempfile::TempDir,
}

impl Secret {
    fn new(pair: &Pair, authority: &Authority) -> Self {
        let secret = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        secret.swap("..1", pair, authority);
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(format!("..data/{name}"), secret.path().join(name)).unwrap();
        }
        secret
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn swap(&self, version: &str, pair: &Pair, authority: &Authority) {
        let directory = self.path().join(version);
        std::fs::create_dir(&directory).unwrap();
        pair.write(&directory, "tls");
        std::fs::write(directory.join("ca.crt"), &authority.pem).unwrap();
        let next = self.path().join("..data_tmp");
        symlink(version, &next).unwrap();
        std::fs::rename(next, self.path().join("..data")).unwrap();
    }

    /// A listener with its pair; `{dir}` is not replaced in `client`.
    fn yaml(&self, origin: SocketAddr, client: &str) -> String {
        let path = self.path().display();
        let client = client.replace("{tls}", &path.to_string());
        format!(
            "listeners:\n  inbound:\n    address: 127.0.0.1:0\n    forward: app\n    \
             tls: {{ certificates: [{{ cert: {path}/tls.crt, key: {path}/tls.key }}]{client} }}\n\
             upstreams:\n  app: {{ endpoints: [{origin}] }}\n"
        )
    }
}

fn expiry(proxy: &Proxy, labels: &str) -> f64 {
    proxy.metric(&format!("outrigger_tls_cert_expiry_seconds{{{labels}}}"))
}

fn loads(proxy: &Proxy, labels: &str, result: &str) -> f64 {
    proxy.metric(&format!(
        "outrigger_tls_loads_total{{{labels},result=\"{result}\"}}"
    ))
}

const LISTENER: &str = "direction=\"inbound\",name=\"inbound\"";
const UPSTREAM: &str = "direction=\"upstream\",name=\"app\"";

#[test]
fn a_swapped_secret_is_used_by_new_connections_and_old_ones_stay() {
    let origin = Origin::fixed("hello");
    let authority = Authority::new();
    let first = authority.issue(&["test"]);
    let secret = Secret::new(&first, &authority);
    let proxy = Proxy::start(&secret.yaml(origin.address(), ""));
    let dialer = Dialer::believing(&authority);
    let connect = || dialer.connect(proxy.address(), "test").unwrap();
    let mut before = connect();
    assert_eq!(before.shown(), first.der());
    let ends = OffsetDateTime::now_utc() + Duration::days(50);
    let second = authority.issue_until(&["test"], ends);
    secret.swap("..2", &second, &authority);
    eventually("the new certificate is shown", || {
        connect().shown() == second.der()
    });
    assert_eq!(before.get("test", "/").unwrap().0, 200, "served on");
    let told = || proxy.control("/events").text();
    eventually("it is told", || told().contains("tls_renewed"));
    let events = told();
    let event = events.lines().find(|line| line.contains("tls_renewed"));
    let event: serde_json::Value = serde_json::from_str(event.unwrap()).unwrap();
    assert_eq!(event["subject"], "listeners.inbound.tls");
    assert!(!events.contains("version 2"), "no other configuration");
    assert_eq!(expiry(&proxy, LISTENER), ends.unix_timestamp() as f64);
    assert_eq!(loads(&proxy, LISTENER, "loaded"), 2.0);
}

#[test]
fn a_key_that_kubernetes_mounts_for_all_is_not_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let authority = Authority::new();
    let secret = Secret::new(&authority.issue(&["test"]), &authority);
    let key = secret.path().join("tls.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let warnings = || {
        let yaml = secret.yaml("127.0.0.1:1".parse().unwrap(), "");
        crate::config_mistakes::checked(&yaml).1.iter().count()
    };
    assert_eq!(warnings(), 0);
    // The same file, but not a link of a mount anymore.
    std::fs::remove_file(&key).unwrap();
    std::fs::copy(secret.path().join("..data/tls.key"), &key).unwrap();
    assert_eq!(warnings(), 1);
}

#[test]
fn what_cannot_be_used_leaves_the_old_pair_in_use_and_is_told_once() {
    let origin = Origin::fixed("hello");
    let authority = Authority::new();
    let (first, second) = (authority.issue(&["test"]), authority.issue(&["test"]));
    let secret = Secret::new(&first, &authority);
    let proxy = Proxy::start(&secret.yaml(origin.address(), ""));
    let dialer = Dialer::believing(&authority);
    let shown = || dialer.connect(proxy.address(), "test").unwrap().shown();
    let broken = Pair {
        cert: second.cert.clone(),
        key: "-----BEGIN PRIVATE KEY-----\nsecret".into(),
    };
    let expired = authority.issue_until(&["test"], OffsetDateTime::now_utc() - Duration::days(1));
    let foreign = Pair {
        cert: second.cert.clone(),
        key: first.key.clone(),
    };
    for (number, (pair, words)) in [
        (&broken, "is not valid PEM"),
        (&foreign, "is not the key of"),
        (&expired, "has expired"),
    ]
    .into_iter()
    .enumerate()
    {
        secret.swap(&format!("..bad{number}"), pair, &authority);
        let told = || proxy.control("/events").text();
        eventually(words, || told().contains(words));
        assert!(!told().contains("secret\""), "no content of a key");
        assert_eq!(shown(), first.der());
        assert_eq!(loads(&proxy, LISTENER, "refused"), (number + 1) as f64);
    }
    std::fs::remove_file(secret.path().join("tls.key")).unwrap();
    eventually("a missing key is told", || {
        proxy.control("/events").text().contains("does not exist")
    });
    assert_eq!(shown(), first.der());
    symlink("..data/tls.key", secret.path().join("tls.key")).unwrap();
    secret.swap("..good", &second, &authority);
    eventually("the good one is shown", || shown() == second.der());
}

#[test]
fn another_authority_decides_about_the_next_clients() {
    let origin = Origin::fixed("hello");
    let authority = Authority::new();
    let other = Authority::new();
    let pair = authority.issue(&["test"]);
    let secret = Secret::new(&pair, &authority);
    let yaml = secret.yaml(origin.address(), ", client: { ca: {tls}/ca.crt }");
    let proxy = Proxy::start(&yaml);
    let (ours, theirs) = (authority.issue(&["client"]), other.issue(&["client"]));
    let connect = |pair: &Pair| {
        let dialer = Dialer::believing(&authority).showing(pair);
        let mut client = dialer.connect(proxy.address(), "test")?;
        client.get("test", "/").map(|_| client)
    };
    assert!(connect(&theirs).is_err());
    let mut before = connect(&ours).unwrap();
    secret.swap("..2", &pair, &other);
    eventually("the other authority is believed", || {
        connect(&theirs).is_ok()
    });
    assert!(connect(&ours).is_err(), "and the first one no longer");
    assert_eq!(before.get("test", "/").unwrap().0, 200, "served on");
}

#[test]
fn an_upstream_follows_its_files_too() {
    let origin = Origin::start(|_, peer| {
        peer.answer("200 OK", "hello");
        Then::Close
    });
    let (authority, other) = (Authority::new(), Authority::new());
    let (first, second) = (authority.issue(&["own"]), authority.issue(&["own"]));
    let secret = Secret::new(&first, &authority);
    let pair = authority.issue(&["127.0.0.1"]);
    let manner = |pair| Manner::of(pair).asking(&authority);
    let front = TlsFront::start(origin.address(), &manner(&pair));
    let path = secret.path().display();
    let proxy = Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app }}\n\
         upstreams:\n  app:\n    endpoints: [{}]\n    tls:\n      ca: {path}/ca.crt\n      \
         certificate: {{ cert: {path}/tls.crt, key: {path}/tls.key }}\n",
        front.address()
    ));
    let get = || proxy.client().get("/").status();
    assert_eq!(get(), 200);
    secret.swap("..2", &second, &authority);
    let shown = || front.shaken().last().unwrap().certificate.clone();
    eventually("the renewed certificate is shown", || {
        get() == 200 && shown() == Some(second.der())
    });
    eventually("its end is told", || expiry(&proxy, UPSTREAM) > 0.0);
    let foreign = other.issue(&["127.0.0.1"]);
    front.change(&manner(&foreign));
    assert_eq!(get(), 502);
    secret.swap("..3", &second, &other);
    eventually("the renewed authority is believed", || get() == 200);
    eventually("all counted", || loads(&proxy, UPSTREAM, "loaded") == 3.0);
}

#[test]
fn files_of_a_new_configuration_are_followed_and_those_of_the_old_one_are_not() {
    let origin = Origin::fixed("hello");
    let authority = Authority::new();
    let pairs = [0; 4].map(|_| authority.issue(&["test"]));
    let old = Secret::new(&pairs[0], &authority);
    let new = Secret::new(&pairs[1], &authority);
    let proxy = Proxy::start(&old.yaml(origin.address(), ""));
    proxy.reload(&new.yaml(origin.address(), ""));
    let dialer = Dialer::believing(&authority);
    let shown = || dialer.connect(proxy.address(), "test").unwrap().shown();
    assert_eq!(shown(), pairs[1].der());
    old.swap("..2", &pairs[2], &authority);
    new.swap("..2", &pairs[3], &authority);
    eventually("the new secret is followed", || shown() == pairs[3].der());
}
