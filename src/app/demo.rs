//! `outrigger demo`: the proxy in front of three small apps, in one process.
//!
//! Path: `cli`. It serves `config/demo.yaml` of the working directory, so that its reader can edit it; elsewhere a copy
//! in a directory of its own.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::App;
use super::start::StartError;

const FILE: &str = "config/demo.yaml";
const TEXT: &str = include_str!("../../config/demo.yaml");

/// Delay of the slow app, and pace of its events.
const SLOWNESS: Duration = Duration::from_millis(400);

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// How an app behaves.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Steady,
    Slow,
    Flaky,
}

const APPS: [(u16, Kind); 4] = [
    (9711, Kind::Steady),
    (9712, Kind::Steady),
    (9713, Kind::Slow),
    (9714, Kind::Flaky),
];

/// Starts apps and proxy; what to try, for the terminal.
///
/// # Errors
///
/// When a port is taken or the file, edited before, has mistakes.
pub fn start() -> Result<(App, String), StartError> {
    let path = file()?;
    let app = App::start(&path)?;
    app.control.block_on(start_apps())?;
    let hints = hints(&path.display().to_string());
    Ok((app, hints))
}

fn file() -> io::Result<PathBuf> {
    let path = PathBuf::from(FILE);
    if path.is_file() {
        return Ok(path);
    }
    let directory = std::env::temp_dir().join("outrigger-demo");
    std::fs::create_dir_all(&directory)?;
    let path = directory.join("demo.yaml");
    std::fs::write(&path, TEXT)?;
    Ok(path)
}

fn hints(file: &str) -> String {
    format!(
        "\
outrigger is running in front of three small apps: steady, slow and flaky. Try:

  curl -i localhost:8080/                balanced over two endpoints, 1 to 2 (look at x-endpoint)
  curl -i localhost:8080/slow            answered after {} ms
  curl -N localhost:8080/slow/events     server-sent events, as they happen
  curl -i localhost:8080/flaky           the app fails every second time, you never see it: look at `attempts` in the log
  for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{{http_code}} ' localhost:8080/limited; done      429 after five
  curl -i localhost:8080/broken          nobody listens there; at the second time a breaker opens: read the body
  curl localhost:9901/                   what it is doing now       curl localhost:9900/metrics
  edit {file} while it runs    and see what changes

Ctrl-C drains and stops.
",
        SLOWNESS.as_millis()
    )
}

async fn start_apps() -> io::Result<()> {
    for (port, app) in APPS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the demo's own app cannot bind {address}: {error}"),
            )
        })?;
        tokio::spawn(serve(listener, app, address));
    }
    Ok(())
}

async fn serve(listener: TcpListener, app: Kind, address: SocketAddr) {
    let count = Arc::new(AtomicU64::new(0));
    while let Ok((stream, _)) = listener.accept().await {
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let number = count.fetch_add(1, Ordering::Relaxed);
                async move {
                    Ok::<_, Infallible>(answer(app, address, number, request.uri().path()).await)
                }
            });
            // Its client, the proxy, may leave when it likes.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(app: Kind, address: SocketAddr, number: u64, path: &str) -> Answer {
    let (status, name) = match app {
        Kind::Steady => (StatusCode::OK, "steady"),
        Kind::Slow if path == "/slow/events" => return events(),
        Kind::Slow => {
            tokio::time::sleep(SLOWNESS).await;
            (StatusCode::OK, "slow")
        }
        Kind::Flaky if number.is_multiple_of(2) => (StatusCode::SERVICE_UNAVAILABLE, "flaky"),
        Kind::Flaky => (StatusCode::OK, "flaky"),
    };
    let text = format!("{name} answers {path} (request {number})\n");
    let mut response = Response::new(Full::from(text).boxed_unsync());
    *response.status_mut() = status;
    if let Ok(value) = address.to_string().parse() {
        response.headers_mut().insert("x-endpoint", value);
    }
    response
}

/// Ten events, one each 400 ms.
fn events() -> Answer {
    let events = futures_util::stream::unfold(1, |number| async move {
        (number <= 10).then_some(())?;
        tokio::time::sleep(SLOWNESS).await;
        Some((
            Ok(Frame::data(Bytes::from(format!("data: {number}\n\n")))),
            number + 1,
        ))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/event-stream"),
    );
    response
}
