//! Answers that the file gives.

use crate::support::client::Answer;
use crate::support::http2::{Http2, empty, request};
use crate::support::proxy::Proxy;
use outrigger::admin::status::Outcome;

fn proxy(routes: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0 }}\nroutes:\n{routes}"
    ))
}

fn head(proxy: &Proxy, path: &str) -> Answer {
    let mut client = proxy.client();
    client.send(format!("HEAD {path} HTTP/1.1\r\nhost: h\r\n\r\n"));
    let answer = client.read_head().unwrap();
    // Nothing follows: the next answer begins at once.
    client.send("GET /nowhere HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(client.read().status(), 404);
    answer
}

#[test]
fn status_headers_and_body_are_those_of_the_file() {
    let proxy = proxy(
        "  - { name: text, match: { path: /text }, respond: { body: 'hello' } }\n  \
         - { name: json, match: { path: /json }, respond: { status: 503, headers: { retry-after: 120 }, body: '{\"a\": 1}' } }\n  \
         - { name: own, match: { path: /own }, respond: { headers: { Content-Type: text/html, x-who: '%{route} %{method}' }, body: <p> } }\n  \
         - { name: empty, match: { path: /empty }, respond: { status: 404 } }\n  \
         - { name: none, match: { path: /none }, respond: { status: 204 } }\n",
    );
    let mut client = proxy.client();
    let text = client.get("/text");
    assert_eq!((text.status(), &*text.text()), (200, "hello"));
    assert_eq!(
        text.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let json = client.get("/json");
    assert_eq!((json.status(), json.json()["a"].as_u64()), (503, Some(1)));
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(json.header("retry-after"), Some("120"));
    let own = client.get("/own");
    assert_eq!(own.header("content-type"), Some("text/html"));
    assert_eq!(own.header("x-who"), Some("own GET"));
    let empty = client.get("/empty");
    assert_eq!(
        (empty.status(), empty.header("content-length")),
        (404, Some("0"))
    );
    assert_eq!(empty.header("content-type"), None);
    let none = client.get("/none");
    assert_eq!((none.status(), none.header("content-length")), (204, None));
    let line = proxy.access_line("/json");
    assert_eq!(
        (&line["route"], &line["status"]),
        (&"json".into(), &503.into())
    );
    assert!(line.get("reason").is_none(), "{line}");
}

#[test]
fn head_gets_the_headers_only() {
    let proxy = proxy("  - { name: text, match: { path: /text }, respond: { body: 'hello' } }\n");
    let answer = head(&proxy, "/text");
    assert_eq!(answer.header("content-length"), Some("5"));
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=utf-8")
    );
    let client = Http2::connect(proxy.address());
    let answer = client
        .send(request("HEAD", "http://h/text", empty()))
        .unwrap();
    assert_eq!(answer.headers["content-length"], "5");
    assert!(answer.body.is_empty());
}

#[test]
fn a_body_may_be_a_file_and_a_reload_takes_its_change() {
    let text = "listeners:\n  inbound: { address: 127.0.0.1:0 }\nroutes:\n  - { name: page, respond: { body: { file: page.bin } } }\n";
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.bin");
    std::fs::write(&page, b"one").unwrap();
    let text = text.replace("page.bin", page.to_str().unwrap());
    let proxy = Proxy::start(&text);
    assert_eq!(proxy.client().get("/").text(), "one");
    std::fs::write(&page, [0xff, 0, 0xfe]).unwrap();
    assert!(matches!(proxy.reload(&text), Outcome::Applied { .. }));
    let answer = proxy.client().get("/");
    assert_eq!(answer.body, [0xff, 0, 0xfe]);
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    std::fs::remove_file(&page).unwrap();
    assert!(matches!(proxy.reload(&text), Outcome::Refused { .. }));
    assert_eq!(proxy.client().get("/").body, [0xff, 0, 0xfe]);
}

#[test]
fn a_client_that_still_sends_its_body_reads_the_answer_and_may_go_on() {
    let proxy = proxy(
        "  - { name: no, match: { path: /no }, respond: { status: 403, body: no } }\n  \
         - { name: moved, match: { path: /moved }, redirect: { scheme: https, status: 308 } }\n",
    );
    let mut client = proxy.client();
    for (path, status) in [("/no", 403), ("/moved", 308), ("/no", 403)] {
        client.send(format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 6000\r\n\r\n"
        ));
        // The answer does not wait for the body.
        assert_eq!(client.read().status(), status);
        client.send([b'x'; 3000]);
        client.send([b'y'; 3000]);
    }
    client.send("POST /no HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(client.read().status(), 403);
    client.send("3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.get("/no").status(), 403);
}

#[test]
fn a_long_body_that_nobody_reads_ends_the_connection() {
    let proxy = proxy("  - { name: no, respond: { status: 403 } }\n");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 100000000\r\n\r\n");
    assert_eq!(client.read().status(), 403);
    assert!(client.is_closed());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    assert_eq!(client.read().status(), 403);
    let chunk = format!("4000\r\n{}\r\n", "y".repeat(0x4000));
    let sent = (0..200)
        .take_while(|_| client.try_send(&chunk).is_ok())
        .count();
    assert!(sent < 200 || client.is_closed(), "{sent}");
}

#[test]
fn a_client_that_waits_to_be_asked_is_not_asked() {
    let proxy = proxy("  - { name: no, respond: { status: 403 } }\n");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n");
    assert_eq!(client.read().status(), 403);
}
