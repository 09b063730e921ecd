//! A changed file takes the place of the one in force, as a whole or not at all, and nobody notices who need not.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use outrigger::admin::status::Outcome;
use outrigger::app::App;

use crate::support::binary::Binary;
use crate::support::client::Client;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::{Proxy, minimal};
use crate::support::{eventually, free_address};

fn listeners(list: &[(&str, SocketAddr)], origin: SocketAddr) -> String {
    let lines = list
        .iter()
        .map(|(name, address)| format!("  {name}: {{ address: {address}, forward: app }}\n"));
    format!(
        "listeners:\n{}upstreams:\n  app: {{ endpoints: [{origin}] }}\n",
        lines.collect::<String>()
    )
}

/// In force; the watcher may have been faster than the call.
#[track_caller]
fn applied(outcome: &Outcome) {
    let in_force = matches!(outcome, Outcome::Applied { .. } | Outcome::Unchanged);
    assert!(in_force, "{outcome:?}");
}

#[track_caller]
fn refused(outcome: Outcome) -> Vec<String> {
    match outcome {
        Outcome::Refused { mistakes } => mistakes,
        other => panic!("{other:?}"),
    }
}

fn answers(address: SocketAddr, text: &str) -> bool {
    Client::connect(address).get("/").text() == text
}

fn refuses_connections(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn writing_the_file_puts_it_in_force() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    let proxy = Proxy::before(old.address());
    assert!(answers(proxy.address(), "old"));
    proxy.write(&minimal(new.address()));
    eventually("the new route", || answers(proxy.address(), "new"));
}

#[test]
fn renaming_another_file_over_it_puts_it_in_force() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    let proxy = Proxy::before(old.address());
    let beside = proxy.path().with_extension("tmp");
    for (origin, said) in [(&new, "new"), (&old, "old"), (&new, "new")] {
        fs::write(&beside, proxy.text(&minimal(origin.address()))).unwrap();
        fs::rename(&beside, proxy.path()).unwrap();
        eventually(said, || answers(proxy.address(), said));
    }
}

#[test]
fn deleting_the_file_changes_nothing_and_writing_it_again_puts_it_in_force() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    let proxy = Proxy::before(old.address());
    fs::remove_file(proxy.path()).unwrap();
    let refused = r#"outrigger_config_reloads_total{result="refused"}"#;
    eventually("the loss is told", || proxy.metric(refused) > 0.0);
    assert!(answers(proxy.address(), "old"));
    proxy.write(&minimal(new.address()));
    eventually("the new route", || answers(proxy.address(), "new"));
}

#[test]
fn a_config_map_that_is_swapped_by_its_link_is_put_in_force() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    let volume = tempfile::tempdir().unwrap();
    let at = |name: &str| volume.path().join(name);
    let write = |name: &str, origin: SocketAddr| {
        fs::create_dir(at(name)).unwrap();
        let text = crate::support::proxy::complete(&minimal(origin), volume.path());
        fs::write(at(name).join("outrigger.yaml"), text).unwrap();
    };
    write("..2026_01", old.address());
    symlink("..2026_01", at("..data")).unwrap();
    symlink("..data/outrigger.yaml", at("outrigger.yaml")).unwrap();
    let app = App::start(&at("outrigger.yaml")).unwrap();
    let address = app.listener_address("inbound").unwrap();
    assert!(answers(address, "old"));
    write("..2026_02", new.address());
    symlink("..2026_02", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_dir_all(at("..2026_01")).unwrap();
    eventually("the new route", || answers(address, "new"));
    app.stop();
}

#[test]
fn a_change_between_the_start_and_the_watch_is_not_lost() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    for _ in 0..5 {
        let proxy = Proxy::before(old.address());
        proxy.write(&minimal(new.address()));
        eventually("the new route", || answers(proxy.address(), "new"));
    }
}

#[test]
fn a_hangup_signal_puts_the_file_in_force() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    let binary = Binary::start(&minimal(old.address()));
    assert!(answers(binary.address(), "old"));
    // The watcher may be faster; that the signal is heard is told by the second one, which no change of the file causes.
    binary.write(&minimal(new.address()));
    binary.signal("HUP");
    eventually("the new route", || answers(binary.address(), "new"));
    binary.signal("HUP");
    eventually("nothing new", || binary.event("config unchanged").is_some());
}

#[test]
fn a_post_to_reload_puts_the_file_in_force_and_tells_what_became_of_it() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    let proxy = Proxy::before(old.address());
    let mut control = Client::connect(proxy.app().control_address().unwrap());
    // The watcher may be first; then the answer is that there is nothing new.
    let text = proxy.text(&minimal(new.address()));
    fs::write(proxy.path(), text).unwrap();
    let answer = control.post("/reload", b"");
    assert_eq!(answer.status(), 200);
    let result = answer.json()["result"].as_str().unwrap().to_string();
    assert!(["applied", "unchanged"].contains(&&*result), "{result}");
    assert!(answers(proxy.address(), "new"));
    assert_eq!(
        control.post("/reload", b"").json()["result"],
        "unchanged",
        "a second one finds nothing new"
    );
}

#[test]
fn a_refused_file_changes_nothing_and_is_told_everywhere_without_its_text() {
    let origin = Origin::fixed("old");
    let proxy = Proxy::before(origin.address());
    let before = proxy.control("/config/status").json();
    let bad = "listeners:\n  inbound: { address: 127.0.0.1:0, forward: ap, tokn: s3cret-value }\nupstreams:\n  app: { endpoints: [10.9.8.7:1] }\n";
    fs::write(proxy.path(), proxy.text(bad)).unwrap();
    let answer = Client::connect(proxy.app().control_address().unwrap()).post("/reload", b"");
    assert_eq!(answer.status(), 422);
    assert_eq!(answer.json()["result"], "refused");
    let mistakes = answer.json()["mistakes"].as_array().unwrap().len();
    assert_eq!(mistakes, 2, "{}", answer.text());
    let status = proxy.control("/config/status");
    let json = status.json();
    assert_eq!(json["last_reload"]["result"], "refused");
    assert_eq!(
        (&json["version"], &json["hash"]),
        (&before["version"], &before["hash"])
    );
    for text in [answer.text(), status.text()] {
        assert!(text.contains("outrigger.yaml:2:"), "{text}");
        assert!(
            !text.contains("s3cret-value") && !text.contains("10.9.8.7"),
            "{text}"
        );
    }
    assert!(proxy.metric(r#"outrigger_config_reloads_total{result="refused"}"#) >= 1.0);
    assert!(answers(proxy.address(), "old"));
    // And back to the file in force: nothing to do.
    assert_eq!(
        proxy.reload(&minimal(origin.address())),
        Outcome::Unchanged,
        "the good file is what is in force"
    );
}

#[test]
fn listeners_come_and_go() {
    let origin = Origin::fixed("ok");
    let (one, two) = (free_address(), free_address());
    let proxy = Proxy::start(&listeners(&[("one", one)], origin.address()));
    applied(&proxy.reload(&listeners(&[("one", one), ("two", two)], origin.address())));
    assert!(answers(one, "ok") && answers(two, "ok"));
    applied(&proxy.reload(&listeners(&[("two", two)], origin.address())));
    eventually("the removed one is closed", || refuses_connections(one));
    assert!(answers(two, "ok"));
    applied(&proxy.reload(&listeners(&[("one", one), ("two", two)], origin.address())));
    assert!(answers(one, "ok") && answers(two, "ok"));
}

#[test]
fn a_listener_that_moves_to_another_port_keeps_its_connections() {
    let origin = Origin::fixed("ok");
    let (from, to) = (free_address(), free_address());
    let proxy = Proxy::start(&listeners(&[("inbound", from)], origin.address()));
    let mut client = Client::connect(from);
    assert_eq!(client.get("/").status(), 200);
    applied(&proxy.reload(&listeners(&[("inbound", to)], origin.address())));
    assert!(answers(to, "ok"));
    eventually("the old port is closed", || refuses_connections(from));
    let answer = client.get("/");
    assert_eq!(
        (answer.status(), answer.header("connection")),
        (200, None),
        "the listener is the same, and so are its connections"
    );
}

#[test]
fn listeners_that_swap_their_ports_refuse_nobody() {
    let origin = Origin::fixed("ok");
    let (one, two) = (free_address(), free_address());
    let proxy = Proxy::start(&listeners(&[("a", one), ("b", two)], origin.address()));
    for turn in 0..10 {
        let names = if turn % 2 == 0 {
            ["b", "a"]
        } else {
            ["a", "b"]
        };
        let next = [(names[0], one), (names[1], two)];
        applied(&proxy.reload(&listeners(&next, origin.address())));
        assert!(answers(one, "ok") && answers(two, "ok"));
    }
}

#[test]
fn a_renamed_listener_hands_its_address_on_and_nobody_is_refused() {
    let origin = Origin::fixed("ok");
    let address = free_address();
    let proxy = Proxy::start(&listeners(&[("inbound", address)], origin.address()));
    let (stop, stopped) = channel::<()>();
    let knocking = std::thread::spawn(move || {
        let mut count = 0;
        while stopped.try_recv().is_err() {
            assert_eq!(Client::connect(address).get("/").status(), 200);
            count += 1;
        }
        count
    });
    for turn in 0..40 {
        let name = format!("name{turn}");
        applied(&proxy.reload(&listeners(&[(&name, address)], origin.address())));
    }
    stop.send(()).unwrap();
    assert!(knocking.join().unwrap() > 0);
}

#[test]
fn reuse_port_can_be_toggled_while_requests_go_on() {
    let origin = Origin::fixed("ok");
    let address = free_address();
    for workers in [1, 2] {
        let yaml = |reuse| {
            format!(
                "workers: {workers}\nlisteners:\n  inbound: {{ address: {address}, forward: app, reuse_port: {reuse} }}\nupstreams:\n  app: {{ endpoints: [{}] }}\n",
                origin.address()
            )
        };
        let proxy = Proxy::start(&yaml(false));
        let mut kept = Client::connect(address);
        for reuse in [true, false, true, false] {
            applied(&proxy.reload(&yaml(reuse)));
            for _ in 0..20 {
                assert!(answers(address, "ok"));
            }
            assert_eq!(kept.get("/").status(), 200);
        }
    }
}

#[test]
fn a_port_in_use_refuses_the_reload_and_leaves_nothing_bound() {
    let origin = Origin::fixed("ok");
    let (one, new) = (free_address(), free_address());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start(&listeners(&[("one", one)], origin.address()));
    let next = [
        ("one", one),
        ("fresh", new),
        ("taken", taken.local_addr().unwrap()),
    ];
    let mistakes = refused(proxy.reload(&listeners(&next, origin.address())));
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].contains("listener `taken` cannot bind"),
        "{mistakes:?}"
    );
    eventually("the other new one is not bound", || {
        TcpListener::bind(new).is_ok()
    });
    assert!(answers(one, "ok"));
    drop(taken);
    applied(&proxy.reload(&listeners(&next, origin.address())));
    assert!(answers(new, "ok"));
}

#[test]
fn admin_addresses_move() {
    let origin = Origin::fixed("ok");
    let (probes, control) = (free_address(), free_address());
    let proxy = Proxy::before(origin.address());
    let before = proxy.app().probes_address().unwrap();
    let yaml = format!(
        "admin: {{ probes: {probes}, control: {control} }}\n{}",
        minimal(origin.address())
    );
    applied(&proxy.reload(&yaml));
    assert_eq!(Client::connect(probes).get("/ready").status(), 200);
    assert_eq!(Client::connect(control).get("/upstreams").status(), 200);
    eventually("the old address is closed", || refuses_connections(before));
    let off = format!(
        "admin: {{ probes: {probes}, control: off }}\n{}",
        minimal(origin.address())
    );
    applied(&proxy.reload(&off));
    eventually("control is off", || refuses_connections(control));
}

#[test]
fn the_access_log_moves_to_another_file() {
    let origin = Origin::fixed("ok");
    let proxy = Proxy::before(origin.address());
    proxy.client().get("/first");
    proxy.access_line("/first");
    let other = proxy.path().with_file_name("other.log");
    let yaml = format!(
        "access_log: {{ file: {} }}\n{}",
        other.display(),
        minimal(origin.address())
    );
    applied(&proxy.reload(&yaml));
    proxy.client().get("/second");
    eventually("a line in the other file", || {
        fs::read_to_string(&other).is_ok_and(|text| text.contains("\"/second\""))
    });
    assert!(
        proxy
            .access_log()
            .iter()
            .all(|line| line["path"] != "/second")
    );
    let lost = format!(
        "access_log: {{ file: /no/such/directory/a.log }}\n{}",
        minimal(origin.address())
    );
    assert!(refused(proxy.reload(&lost))[0].contains("/no/such/directory"));
    let off = format!("access_log: off\n{}", minimal(origin.address()));
    applied(&proxy.reload(&off));
    proxy.client().get("/third");
    applied(&proxy.reload(&yaml));
    proxy.client().get("/fourth");
    eventually("lines again", || {
        fs::read_to_string(&other).is_ok_and(|text| text.contains("\"/fourth\""))
    });
    assert!(!fs::read_to_string(&other).unwrap().contains("\"/third\""));
}

#[test]
fn a_change_elsewhere_keeps_pools_and_cursors() {
    let origins = [Origin::fixed("a"), Origin::fixed("b")];
    let yaml = |timeout: &str| {
        format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, timeouts: {{ idle: {timeout} }} }}\nupstreams:\n  app: {{ endpoints: [{}, {}] }}\n",
            origins[0].address(),
            origins[1].address()
        )
    };
    let proxy = Proxy::start(&yaml("60s"));
    let mut client = proxy.client();
    let first = client.get("/").text();
    for turn in 0..9 {
        let timeout = format!("{}s", 30 + turn);
        applied(&proxy.reload(&yaml(&timeout)));
        let expected = if (turn % 2 == 0) == (first == "a") {
            "b"
        } else {
            "a"
        };
        assert_eq!(client.get("/").text(), expected, "turn {turn}");
    }
    let connections: usize = origins.iter().map(Origin::connections).sum();
    assert_eq!(connections, 2, "one for each, opened once");
}

#[test]
fn an_endpoint_keeps_its_pool_when_others_are_added() {
    let (old, new) = (Origin::fixed("old"), Origin::fixed("new"));
    let proxy = Proxy::before(old.address());
    let mut client = proxy.client();
    client.get("/");
    let both = format!("{}, {}", old.address(), new.address());
    let yaml = minimal(old.address()).replace(&old.address().to_string(), &both);
    applied(&proxy.reload(&yaml));
    for _ in 0..10 {
        client.get("/");
    }
    assert_eq!((old.count(), new.count()), (6, 5));
    assert_eq!((old.connections(), new.connections()), (1, 1));
}

#[test]
fn a_removed_endpoints_idle_connections_are_closed() {
    let closed = Arc::new(Mutex::new(false));
    let note = Arc::clone(&closed);
    let old = Origin::start(move |request, peer| {
        peer.body(request);
        peer.answer("200 OK", "old");
        *note.lock().unwrap() = peer.is_closed();
        Then::Close
    });
    let new = Origin::fixed("new");
    let proxy = Proxy::before(old.address());
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "old");
    applied(&proxy.reload(&minimal(new.address())));
    // The client's connection stays and says nothing; it must not keep the past alive.
    eventually("the pooled connection is closed", || {
        *closed.lock().unwrap()
    });
    assert_eq!(client.get("/").text(), "new");
}

#[test]
fn a_stream_on_an_unchanged_route_survives_many_reloads() {
    let (go, next) = channel::<()>();
    let next = Mutex::new(next);
    let origin = Origin::start(move |_, peer| {
        peer.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        for _ in 0..20 {
            next.lock().unwrap().recv().unwrap();
            peer.send("6\r\nevent\n\r\n");
        }
        peer.send("0\r\n\r\n");
        Then::KeepAlive
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
    client.read_head().unwrap();
    for turn in 0..20 {
        let more = format!("  other{turn}: {{ endpoints: [127.0.0.1:9] }}\n");
        applied(&proxy.reload(&format!("{}{more}", minimal(origin.address()))));
        go.send(()).unwrap();
        assert_eq!(client.chunk().unwrap().unwrap(), b"event\n");
    }
    assert_eq!(client.chunk().unwrap(), None);
}

#[test]
fn an_upgraded_connection_survives_many_reloads() {
    let origin = Origin::start(|_, peer| {
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
        );
        let mut byte = [0; 1];
        while std::io::Read::read_exact(&mut peer.reader, &mut byte).is_ok() {
            peer.send(byte);
        }
        Then::Close
    });
    let proxy = Proxy::before(origin.address());
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    assert_eq!(client.read_head().unwrap().status(), 101);
    for turn in 0..20u8 {
        let more = format!("  other{turn}: {{ endpoints: [127.0.0.1:9] }}\n");
        applied(&proxy.reload(&format!("{}{more}", minimal(origin.address()))));
        client.send([turn]);
        assert_eq!(client.bytes(1), [turn]);
    }
}

#[test]
fn a_request_ends_with_the_snapshot_it_began_with() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let old = Origin::start(move |_, peer| {
        wait.lock().unwrap().recv().unwrap();
        peer.answer("200 OK", "old");
        Then::KeepAlive
    });
    let new = Origin::fixed("new");
    let proxy = Proxy::before(old.address());
    let mut client = proxy.client();
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("the request is under way", || old.count() == 1);
    let before = proxy.control("/config/status").json()["hash"].clone();
    applied(&proxy.reload(&minimal(new.address())));
    assert!(answers(proxy.address(), "new"));
    go.send(()).unwrap();
    assert_eq!(client.read().text(), "old");
    assert_eq!(proxy.access_line("/slow")["config"], before);
    assert_eq!(
        client.get("/").text(),
        "new",
        "the next one on the same connection sees the new routes"
    );
}

#[test]
fn a_removed_listener_finishes_what_is_under_way_and_says_good_bye() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::start(move |request, peer| {
        if request.target() == "/slow" {
            wait.lock().unwrap().recv().unwrap();
        }
        peer.answer("200 OK", "done");
        Then::KeepAlive
    });
    let (stays, goes) = (free_address(), free_address());
    let proxy = Proxy::start(&listeners(
        &[("stays", stays), ("goes", goes)],
        origin.address(),
    ));
    let (mut busy, mut idle) = (Client::connect(goes), Client::connect(goes));
    idle.get("/");
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    eventually("it is under way", || origin.count() == 2);
    applied(&proxy.reload(&listeners(&[("stays", stays)], origin.address())));
    eventually("nobody new is let in", || refuses_connections(goes));
    go.send(()).unwrap();
    let answer = busy.read();
    assert_eq!(
        (answer.text().as_str(), answer.header("connection")),
        ("done", Some("close"))
    );
    assert!(busy.is_closed() && idle.is_closed());
    assert!(answers(stays, "done"));
}

#[test]
fn a_new_listener_does_not_inherit_the_connections_of_a_removed_one() {
    let (private, public) = (Origin::fixed("private"), Origin::fixed("public"));
    let (goes, comes) = (free_address(), free_address());
    let yaml = |name: &str, address: SocketAddr, upstream: &str| {
        format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: public }}\n  {name}: {{ address: {address}, forward: {upstream} }}\nupstreams:\n  public: {{ endpoints: [{}] }}\n  private: {{ endpoints: [{}] }}\n",
            public.address(),
            private.address()
        )
    };
    let proxy = Proxy::start(&yaml("goes", goes, "public"));
    let mut client = Client::connect(goes);
    assert_eq!(client.get("/").text(), "public");
    let none = yaml("goes", goes, "public").replace(
        &format!("  goes: {{ address: {goes}, forward: public }}\n"),
        "",
    );
    applied(&proxy.reload(&none));
    applied(&proxy.reload(&yaml("comes", comes, "private")));
    // Draining still grants one answer; it must be the old listener's.
    if client.try_send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").is_ok()
        && let Ok(answer) = client.try_read()
    {
        assert_eq!(answer.text(), "public");
    }
}

#[test]
fn a_raised_limit_lets_those_in_who_wait() {
    let origin = Origin::fixed("ok");
    let yaml = |limit| {
        format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, limits: {{ connections: {limit} }} }}\nupstreams:\n  app: {{ endpoints: [{}] }}\n",
            origin.address()
        )
    };
    let proxy = Proxy::start(&yaml(1));
    let mut first = proxy.client();
    assert_eq!(first.get("/").status(), 200);
    let mut second = proxy.client();
    second.send("GET /second HTTP/1.1\r\nhost: a\r\n\r\n");
    applied(&proxy.reload(&yaml(2)));
    assert_eq!(second.read().status(), 200);
    assert_eq!(first.get("/").status(), 200);
}

#[test]
fn a_reload_says_what_it_kept() {
    let origin = Origin::fixed("ok");
    let yaml = |timeout: &str| {
        format!(
            "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: a }}\nroutes:\n  - {{ name: b, match: {{ path: /b }}, forward: b }}\nupstreams:\n  a: {{ endpoints: [{0}] }}\n  b: {{ endpoints: [{0}], timeouts: {{ connect: {timeout} }} }}\n",
            origin.address()
        )
    };
    let proxy = Proxy::start(&yaml("1s"));
    proxy.write(&yaml("2s"));
    match proxy.app().reload() {
        Some(Outcome::Applied { changes, kept, .. }) => {
            assert_eq!(changes, ["upstreams.b.timeouts.connect 1s → 2s"]);
            assert_eq!(kept, ["a"]);
        }
        // The watch on the file was first.
        other => assert_eq!(other, Some(Outcome::Unchanged)),
    }
}
