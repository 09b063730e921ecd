//! What the file may say about access lines: which requests have one, what stands in it, and what never does.

use std::net::SocketAddr;

use crate::support::binary::Binary;
use crate::support::eventually;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::{Proxy, minimal};

/// An app that answers with the status that the path names.
fn app() -> Origin {
    Origin::start(|request, peer| {
        peer.body(request);
        let status = request.target().trim_start_matches('/');
        let status = status.split('?').next().unwrap_or_default();
        let status = if status.parse::<u16>().is_ok() {
            status
        } else {
            "200"
        };
        peer.answer(&format!("{status} Said"), "x");
        Then::KeepAlive
    })
}

fn logged(origin: SocketAddr, settings: &str) -> Proxy {
    Proxy::with(
        origin,
        &format!("access_log: {{ file: {{dir}}/access.log, {settings} }}"),
    )
}

fn text(proxy: &Proxy) -> String {
    std::fs::read_to_string(proxy.path().with_file_name("access.log")).unwrap_or_default()
}

fn paths(proxy: &Proxy) -> Vec<String> {
    let lines = proxy.access_log();
    let paths = lines.iter().filter_map(|line| line["path"].as_str());
    paths.map(String::from).collect()
}

#[test]
fn a_filter_takes_what_meets_any_of_its_criteria() {
    let origin = Origin::start(|request, peer| {
        let status = match request.target() {
            "/404" => "404 No",
            "/500" => "500 No",
            "/slow" => {
                std::thread::sleep(std::time::Duration::from_millis(120));
                "200 OK"
            }
            _ => "200 OK",
        };
        peer.answer(status, "x");
        Then::KeepAlive
    });
    let proxy = logged(
        origin.address(),
        "filter: { status: [404, 5xx], slower_than: 100ms }",
    );
    let mut client = proxy.client();
    for path in ["/200", "/404", "/201", "/500", "/slow", "/200", "/404"] {
        client.get(path);
    }
    eventually("those that count", || {
        paths(&proxy) == ["/404", "/500", "/slow", "/404"]
    });
}

#[test]
fn a_sample_takes_about_its_share() {
    let origin = app();
    let proxy = logged(origin.address(), "filter: { sample: 20% }");
    let mut client = proxy.client();
    for _ in 0..1000 {
        client.get("/");
    }
    proxy.app();
    eventually("some lines", || paths(&proxy).len() > 120);
    drop(client);
    assert!(paths(&proxy).len() < 300, "{}", paths(&proxy).len());
}

#[test]
fn probes_that_went_well_have_no_line_unless_the_file_wants_it() {
    let origin = app();
    for (settings, expected) in [
        ("probes: false", vec!["/500", "/"]),
        ("probes: true", vec!["/healthz", "/500", "/"]),
    ] {
        let proxy = logged(origin.address(), settings);
        let mut client = proxy.client();
        for path in ["/healthz", "/500"] {
            client.send(format!(
                "GET {path} HTTP/1.1\r\nhost: a\r\nuser-agent: kube-probe/1.31\r\n\r\n"
            ));
            client.read();
        }
        client.get("/");
        eventually(settings, || paths(&proxy) == expected);
    }
}

#[test]
fn chosen_fields_stand_in_their_order_and_nothing_else() {
    let origin = app();
    let proxy = logged(
        origin.address(),
        "fields: [status, path, route, reason, duration_ms, attempts, client]",
    );
    proxy.client().get("/200");
    eventually("a line", || text(&proxy).ends_with('\n'));
    let line = text(&proxy);
    let begin = "{\"status\":200,\"path\":\"/200\",\"route\":\"inbound\",\"duration_ms\":";
    assert!(line.starts_with(begin), "{line}");
    assert!(line.contains("\"attempts\":[{\"endpoint\":\""), "{line}");
    assert!(line.ends_with("\"client\":\"127.0.0.1\"}\n"), "{line}");
    assert_eq!(proxy.access_log().len(), 1, "it is JSON");
}

#[test]
fn a_template_is_one_line_whatever_a_client_sends() {
    let origin = app();
    let proxy = logged(
        origin.address(),
        "format: '{client} \"{method} {path}\" {status} {reason} {request_id} {{x}'",
    );
    let mut client = proxy.client();
    client.send("GET /a\"b HTTP/1.1\r\nhost: a\r\nx-request-id: i\"d\r\n\r\n");
    client.read();
    eventually("a line", || text(&proxy).ends_with('\n'));
    let line = text(&proxy);
    assert!(
        line.starts_with("127.0.0.1 \"GET /a\\\"b\" 200 - "),
        "{line}"
    );
    assert!(
        line.ends_with(" {x}\n") && line.lines().count() == 1,
        "{line}"
    );
}

#[test]
fn secrets_in_queries_and_headers_never_reach_a_line() {
    let origin = app();
    let proxy = logged(
        origin.address(),
        "query: true, redact: [Card], headers: [user-agent, authorization, cookie, x-api-key, x-none]",
    );
    let mut client = proxy.client();
    client.send(
        "GET /200?id=7&access_token=HIDDEN1&%74oken=HIDDEN2&card=HIDDEN3&API_KEY=HIDDEN4 HTTP/1.1\r\nhost: a\r\n\
         user-agent: curl/8\r\nauthorization: Bearer HIDDEN5\r\ncookie: session=HIDDEN6\r\nx-api-key: HIDDEN7\r\n\r\n",
    );
    client.read();
    let line = proxy.access_line("/200");
    assert_eq!(
        line["query"],
        "id=7&access_token=***&%74oken=***&card=***&API_KEY=***"
    );
    let headers = &line["headers"];
    assert_eq!(headers["user-agent"], "curl/8");
    for name in ["authorization", "cookie", "x-api-key"] {
        assert_eq!(headers[name], "***", "{line}");
    }
    assert!(headers.get("x-none").is_none(), "{line}");
    assert!(!text(&proxy).contains("HIDDEN"), "{line}");
}

#[test]
fn an_answer_says_where_its_time_went_if_the_file_wants_it() {
    let origin = app();
    let plain = Proxy::before(origin.address());
    assert_eq!(plain.client().get("/").header("server-timing"), None);
    let proxy = Proxy::with(origin.address(), "server_timing: on");
    let mut client = proxy.client();
    let first = client.get("/");
    let timing = first.header("server-timing").unwrap();
    assert!(timing.contains("connect;dur="), "{timing}");
    assert!(timing.contains("first-byte;dur="), "{timing}");
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew_on_a_signal() {
    let origin = app();
    let directory = tempfile::tempdir().unwrap();
    let (log, old) = (
        directory.path().join("a.log"),
        directory.path().join("a.log.1"),
    );
    let binary = Binary::start(&format!(
        "{}access_log: {{ file: {} }}\n",
        minimal(origin.address()),
        log.display()
    ));
    let holds = |path: &std::path::Path, part: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .contains(part)
    };
    let mut client = binary.client();
    client.get("/before");
    eventually("the first line", || holds(&log, "/before"));
    std::fs::rename(&log, &old).unwrap();
    client.get("/moved");
    eventually("it follows its file", || holds(&old, "/moved"));
    binary.signal("USR1");
    eventually("a new file", || log.exists());
    client.get("/after");
    eventually("the new file is written", || holds(&log, "/after"));
    assert!(!holds(&old, "/after"));
    // A directory that is gone stops nothing.
    std::fs::remove_dir_all(directory.path()).unwrap();
    binary.signal("USR1");
    eventually("it is told", || {
        binary.event("access log not reopened").is_some()
    });
    assert_eq!(client.get("/200").status(), 200);
}

#[test]
fn a_log_that_cannot_be_written_at_the_start_is_a_clear_error() {
    let origin = app();
    let text = format!(
        "{}access_log: {{ file: /proc/none/a.log }}\n",
        minimal(origin.address())
    );
    let error = Proxy::try_start(&text).err().unwrap();
    assert!(
        error.contains("the access log `/proc/none/a.log` cannot be written"),
        "{error}"
    );
}
