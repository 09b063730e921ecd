//! Listeners and admin addresses that are unix sockets of this machine: what goes through them, whose file it is.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::origin::{Origin, Then};
use crate::support::proxy::Proxy;
use crate::support::{PATIENCE, eventually};

const LISTENER: &str =
    "listeners: { inbound: { address: \"unix:{dir}/in.sock\", forward: app } }\n";

fn echo() -> Origin {
    Origin::start(|request, peer| {
        let forwarded = request
            .header("x-forwarded-for")
            .unwrap_or("none")
            .to_owned();
        let body = peer.body(request);
        let text = format!(
            "{} {} {forwarded} {}",
            request.method(),
            request.target(),
            body.len()
        );
        peer.answer("200 OK", text);
        Then::KeepAlive
    })
}

fn file(origin: &Origin, listeners: &str) -> String {
    format!(
        "{listeners}upstreams: {{ app: {{ endpoints: [{}] }} }}\n",
        origin.address()
    )
}

/// In a folder that stays when the proxy has ended.
fn in_folder(text: &str, folder: &Path) -> String {
    text.replace("{dir}", &folder.display().to_string())
}

fn path(proxy: &Proxy, name: &str) -> std::path::PathBuf {
    proxy.path().with_file_name(name)
}

fn connect(path: &Path) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Sends a request and reads the answer; status line and body.
fn ask(client: &mut BufReader<UnixStream>, request: &str) -> (String, String) {
    client.get_mut().write_all(request.as_bytes()).unwrap();
    let (mut status, mut length) = (String::new(), 0);
    client.read_line(&mut status).unwrap();
    loop {
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body).unwrap();
    (
        status.trim_end().to_owned(),
        String::from_utf8(body).unwrap(),
    )
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn requests_come_in_on_a_kept_connection_and_the_file_goes_with_the_process() {
    let origin = echo();
    let own = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&in_folder(&file(&origin, LISTENER), own.path()));
    let socket = own.path().join("in.sock");
    assert_eq!(mode(&socket), 0o666);
    let mut client = connect(&socket);
    for _ in 0..3 {
        let (status, body) = ask(&mut client, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(
            (&*status, &*body),
            ("HTTP/1.1 200 OK", "GET /a 127.0.0.1 0")
        );
    }
    let upload = format!(
        "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n{}",
        "x".repeat(100_000)
    );
    assert_eq!(ask(&mut client, &upload).1, "POST /b 127.0.0.1 100000");
    assert_eq!(origin.connections(), 1);
    let line = proxy.access_line("/b");
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["bytes_in"], 100_000);
    proxy.drain();
    assert!(!socket.exists());
}

/// A client of this machine is believed as one that comes from loopback is.
#[test]
fn what_a_proxy_on_this_machine_says_about_its_client_is_believed_unless_loopback_is_not() {
    let origin = echo();
    let text = file(&origin, LISTENER);
    let proxy = Proxy::start(&text);
    let request = "GET /a HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.7\r\n\r\n";
    let (_, body) = ask(&mut connect(&path(&proxy, "in.sock")), request);
    assert_eq!(body, "GET /a 203.0.113.7, 127.0.0.1 0");
    assert_eq!(proxy.access_line("/a")["client"], "203.0.113.7");
    proxy.reload(&format!("{text}trusted_proxies: []\n"));
    let (_, body) = ask(&mut connect(&path(&proxy, "in.sock")), request);
    assert_eq!(body, "GET /a 127.0.0.1 0");
}

#[test]
fn http_2_is_spoken_to_who_begins_so() {
    let origin = echo();
    let proxy = Proxy::start(&file(&origin, LISTENER));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(five_streams(&path(&proxy, "in.sock")));
}

async fn five_streams(socket: &Path) {
    let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(driver);
    for number in 0..5 {
        let request = http::Request::post(format!("http://a/{number}"))
            .body(Full::new(Bytes::from_static(b"hello")))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, format!("POST /{number} 127.0.0.1 5"));
    }
}

#[test]
fn bytes_go_through_a_tcp_listener() {
    let app = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = app.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = app.accept().unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        stream.write_all(said.to_uppercase().as_bytes()).unwrap();
    });
    let proxy = Proxy::start(&format!(
        "listeners: {{ inbound: {{ address: \"unix:{{dir}}/in.sock\", protocol: tcp, forward: app }} }}\n\
         upstreams: {{ app: {{ endpoints: [{address}] }} }}\n"
    ));
    let mut client = connect(&path(&proxy, "in.sock"));
    client.get_mut().write_all(b"all of it").unwrap();
    client
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "ALL OF IT");
}

#[test]
fn probes_are_for_everybody_and_control_is_for_the_owner() {
    let origin = echo();
    let admin =
        "admin: { probes: \"unix:{dir}/probes.sock\", control: \"unix:{dir}/control.sock\" }\n";
    let own = tempfile::tempdir().unwrap();
    let text = file(&origin, &format!("{LISTENER}{admin}"));
    let proxy = Proxy::start(&in_folder(&text, own.path()));
    let [probes, control] = ["probes.sock", "control.sock"].map(|name| own.path().join(name));
    assert_eq!((mode(&probes), mode(&control)), (0o666, 0o600));
    let get = |path: &Path, target: &str| {
        ask(
            &mut connect(path),
            &format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"),
        )
    };
    assert_eq!(get(&probes, "/ready").0, "HTTP/1.1 200 OK");
    assert!(
        get(&control, "/config/status").1.contains("unix:")
            || get(&control, "/").1.contains("unix:")
    );
    proxy.drain();
    eventually("both files are gone", || {
        !probes.exists() && !control.exists()
    });
}

#[test]
fn what_a_dead_process_left_is_replaced_and_nothing_else() {
    let origin = echo();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    drop(UnixListener::bind(at("stale.sock")).unwrap());
    let _living = UnixListener::bind(at("living.sock")).unwrap();
    fs::write(at("notes.txt"), "mine").unwrap();
    let start = |name: &str| {
        let listener = format!(
            "listeners: {{ inbound: {{ address: \"unix:{}\", forward: app }} }}\n",
            at(name).display()
        );
        Proxy::try_start(&file(&origin, &listener))
    };
    let proxy = start("stale.sock").unwrap();
    assert!(
        ask(
            &mut connect(&at("stale.sock")),
            "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        )
        .0
        .contains("200")
    );
    drop(proxy);
    for (name, told) in [
        ("living.sock", "another process, or this one, listens there"),
        ("notes.txt", "what is there is no socket and stays"),
        ("missing/in.sock", "the socket's folder has to be there"),
    ] {
        let error = start(name).err().unwrap();
        assert!(error.contains(told) && error.contains(name), "{error}");
    }
    assert_eq!(fs::read_to_string(at("notes.txt")).unwrap(), "mine");
    assert!(
        fs::metadata(at("living.sock"))
            .unwrap()
            .file_type()
            .is_socket()
    );
}

#[test]
fn sockets_come_and_go_with_reloads() {
    let origin = echo();
    let both = "listeners:\n  inbound: { address: \"unix:{dir}/in.sock\", forward: app }\n  more: { address: \"unix:{dir}/more.sock\", forward: app }\n";
    let own = tempfile::tempdir().unwrap();
    let text = |listeners: &str| in_folder(&file(&origin, listeners), own.path());
    let proxy = Proxy::start(&text(LISTENER));
    let [first, second, moved] =
        ["in.sock", "more.sock", "other.sock"].map(|name| own.path().join(name));
    let mut kept = connect(&first);
    let get = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
    assert!(ask(&mut kept, get).0.contains("200"));
    proxy.reload(&text(both));
    assert!(ask(&mut connect(&second), get).0.contains("200"));
    assert!(ask(&mut kept, get).0.contains("200"));
    proxy.reload(&text(LISTENER));
    eventually("the file of the listener that is gone is gone", || {
        !second.exists()
    });
    assert!(ask(&mut kept, get).0.contains("200"));
    // Another one takes the place over by moving its own file there: that one stays.
    let _other = UnixListener::bind(&moved).unwrap();
    fs::rename(&moved, &first).unwrap();
    proxy.drain();
    assert!(first.exists());
}

#[test]
fn its_file_has_the_mode_and_the_owner_of_the_file() {
    let origin = echo();
    let own = tempfile::tempdir().unwrap();
    let socket = own.path().join("in.sock");
    let user = fs::metadata(own.path()).unwrap().uid();
    let with = |mode: &str| {
        let rules = format!("unix: {{ mode: \"{mode}\", user: {user} }}");
        let listener = LISTENER.replace("forward: app", &format!("forward: app, {rules}"));
        in_folder(&file(&origin, &listener), own.path())
    };
    let proxy = Proxy::start(&with("0660"));
    assert_eq!(
        (mode(&socket), fs::metadata(&socket).unwrap().uid()),
        (0o660, user)
    );
    let mut kept = connect(&socket);
    let get = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n";
    assert!(ask(&mut kept, get).0.contains("200"));
    let inode = fs::metadata(&socket).unwrap().ino();
    proxy.reload(&with("600"));
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(
        fs::metadata(&socket).unwrap().ino(),
        inode,
        "the socket itself stays"
    );
    assert!(ask(&mut kept, get).0.contains("200"));
    assert!(ask(&mut connect(&socket), get).0.contains("200"));
}
