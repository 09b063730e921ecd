//! One path, one spelling: what is compared, and what the app is sent.

use crate::support::client::Client;
use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;

/// Everything goes to the app but `/admin`, which is forbidden.
fn guarded(origin: &Origin, normalize: &str) -> Proxy {
    Proxy::start(&format!(
        "listeners:\n  inbound: {{ address: 127.0.0.1:0, forward: app, normalize: {{ {normalize} }} }}\nroutes:\n  \
         - {{ name: admin, match: {{ path: /admin }}, respond: {{ status: 403 }} }}\n\
         upstreams:\n  app: {{ endpoints: [{}] }}\n",
        origin.address()
    ))
}

fn echo() -> Origin {
    Origin::start(|request, peer| {
        let target = request.target().to_string();
        peer.answer("200 OK", target);
        Then::KeepAlive
    })
}

/// The status, and the target that the app saw.
fn ask(client: &mut Client, target: &str) -> (u16, String) {
    let answer = client.get(target);
    let text = answer.text();
    (
        answer.status(),
        if answer.status() == 200 {
            text
        } else {
            String::new()
        },
    )
}

#[test]
fn no_spelling_of_a_guarded_path_reaches_the_app() {
    let origin = echo();
    let proxy = guarded(&origin, "");
    let mut client = proxy.client();
    for path in [
        "/admin",
        "/admin/",
        "/admin?x",
        "/%61dmin",
        "/%41dmin/../admin",
        "/./admin",
        "//admin",
        "/public/../admin",
        "/public/%2e%2e/admin/x",
        "/public/.%2E/admin",
        "/public//../admin",
        "/public/x/../../admin",
        "/../admin",
        "/public\\..\\admin",
        "/\\admin",
    ] {
        assert_eq!(ask(&mut client, path).0, 403, "{path}");
    }
    for path in [
        "/public/..;/admin",
        "/public/..;a=b/admin",
        "/public%2f..%2fadmin",
        "/public/..%2Fadmin",
        "/public%5c..%5cadmin",
        "/public%2F%2e%2E%2Fadmin",
    ] {
        // Whoever is misunderstood once is not listened to again.
        let answer = proxy.client().get(path);
        assert_eq!(answer.status(), 400, "{path}");
        assert_eq!(answer.json()["code"], "BAD_REQUEST");
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn the_app_is_sent_what_came_unless_it_could_read_another_path_out_of_it() {
    let origin = echo();
    let proxy = guarded(&origin, "");
    let mut client = proxy.client();
    for (came, sent) in [
        ("/a/b?q=../x//y", "/a/b?q=../x//y"),
        ("/%7Euser/a%2Fb;c=d", "/%7Euser/a%2Fb;c=d"),
        ("/%61//b", "/%61//b"),
        ("/proxy/http://x.org/", "/proxy/http://x.org/"),
        ("/100%", "/100%"),
        ("/%zz", "/%zz"),
        ("/a/../b?q=..", "/b?q=.."),
        ("/%61/./b", "/a/b"),
        ("//x.org/a", "/x.org/a"),
        ("/a\\b", "/a/b"),
        ("/.well-known/acme", "/.well-known/acme"),
    ] {
        assert_eq!(ask(&mut client, came), (200, sent.to_string()), "{came}");
    }
    client.send("GET http://h.org/a/../b HTTP/1.1\r\nhost: h.org\r\n\r\n");
    assert_eq!(client.read().text(), "/b");
    client.send("OPTIONS * HTTP/1.1\r\nhost: h.org\r\n\r\n");
    assert_eq!(client.read().text(), "*");
}

#[test]
fn each_listener_has_its_own_rules() {
    let origin = echo();
    let proxy = guarded(
        &origin,
        "encoded_slash: reject, double_slash: reject, dot_segments: reject",
    );
    let mut client = proxy.client();
    for path in ["/a%2fb", "/a%5Cb", "/a//b", "/a/../b", "/a/%2e", "/a\\b"] {
        // Whoever is misunderstood once is not listened to again.
        let answer = proxy.client().get(path);
        assert_eq!(answer.status(), 400, "{path}");
        assert!(
            answer.json()["message"]
                .as_str()
                .unwrap()
                .contains("the path"),
            "{path}"
        );
    }
    assert_eq!(ask(&mut client, "/a/b.c/"), (200, "/a/b.c/".into()));

    let proxy = guarded(&origin, "encoded_slash: decode");
    let mut client = proxy.client();
    assert_eq!(ask(&mut client, "/x%2f..%2Fadmin").0, 403);
    assert_eq!(ask(&mut client, "/x%2Fy"), (200, "/x/y".into()));

    let proxy = guarded(&origin, "double_slash: keep, dot_segments: keep");
    let mut client = proxy.client();
    for path in ["//admin", "/x/../admin", "/x/..;/admin", "/x\\y"] {
        assert_eq!(ask(&mut client, path), (200, path.to_string()));
    }
}

#[test]
fn http2_is_held_to_the_same() {
    let origin = echo();
    let proxy = guarded(&origin, "");
    let client = crate::support::http2::Http2::connect(proxy.address());
    assert_eq!(client.get("http://h/public/../admin").status, 403);
    assert_eq!(client.get("http://h/a/%2e%2e/b").body, "/b");
    assert_eq!(client.get("http://h/a/..;/b").status, 400);
}

#[test]
fn a_path_that_could_never_be_met_is_a_mistake_where_it_is_so() {
    let messages = |listeners: &str| {
        let text = format!(
            "listeners: {{ a: {{ address: 127.0.0.1:1, forward: app, normalize: {{ double_slash: keep }} }}, b: {{ address: 127.0.0.1:2, forward: app }} }}\n\
             routes: [{{ name: x, {listeners} match: {{ path: /a//b }}, forward: app }}]\n\
             upstreams: {{ app: {{ endpoints: [127.0.0.1:3] }} }}\n"
        );
        let (_, diagnostics) = crate::config_mistakes::checked(&text);
        let messages = diagnostics.iter().map(|item| item.message.clone());
        messages.collect::<Vec<_>>()
    };
    assert_eq!(messages("listeners: [a],"), [""; 0]);
    for listeners in ["", "listeners: [a, b],", "listeners: [b],"] {
        assert_eq!(
            messages(listeners),
            ["route `x` can never match the path `/a//b`"]
        );
    }
}
