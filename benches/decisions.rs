//! Nanoseconds of the decisions on a request's path, without I/O: `cargo bench --bench decisions`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench has no users, and a panic is how it fails"
)]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use outrigger::route::conditions::{Conditions, Test};
use outrigger::route::normalize::{Normalize, normalize};
use outrigger::route::split::Shares;
use outrigger::route::table::{Asked, Host, Matcher, Path, Table};
use outrigger::telemetry::access_log::write_line;
use outrigger::telemetry::metrics::Metrics;
use outrigger::telemetry::record::{AttemptRecord, Attempts, Outcome, RequestRecord};
use outrigger::telemetry::route::RouteTelemetry;
use outrigger::upstream::balance::{LeastConnections, RoundRobin};
use regex::Regex;

fn matcher(host: Host, path: Path, conditions: Conditions) -> Matcher {
    Matcher {
        host,
        path,
        methods: Box::default(),
        conditions,
    }
}

fn table(routes: usize) -> Table<usize> {
    let rules = (0..routes).map(|index| {
        let host = match index % 3 {
            0 => Host::Exact(format!("service-{index}.example.com").into()),
            1 => Host::Suffix(format!("tenant-{index}.example.com").into()),
            _ => Host::Any,
        };
        let path = Path::Prefix(format!("/api/v1/resource-{index}").into());
        (matcher(host, path, Conditions::default()), index)
    });
    rules.collect()
}

/// Every rule of one host and path asks for another header, parameter or path.
fn conditions(routes: usize, kind: &str) -> Table<usize> {
    let rules = (0..routes).map(|index| {
        let is = Test::Is(format!("tenant-{index}").into());
        let prefix = Path::Prefix("/api".into());
        let (path, conditions) = match kind {
            "headers" => {
                let headers = [(HeaderName::from_static("x-tenant"), is)].into();
                let query = Box::default();
                (prefix, Conditions { headers, query })
            }
            "query" => {
                let (headers, query) = (Box::default(), [("tenant".into(), is)].into());
                (prefix, Conditions { headers, query })
            }
            _ => {
                let pattern = format!(r"\A(?:/api/[a-z]+-{index}/[0-9]+)\z");
                let path = Path::Regex(Regex::new(&pattern).unwrap());
                (path, Conditions::default())
            }
        };
        (matcher(Host::Any, path, conditions), index)
    });
    rules.collect()
}

fn asked<'r>(path: &'r str, query: Option<&'r str>, headers: &'r HeaderMap) -> Asked<'r> {
    Asked {
        host: "other.example.com",
        path,
        query,
        method: &Method::GET,
        headers,
    }
}

fn route(criterion: &mut Criterion) {
    let headers = HeaderMap::new();
    for routes in [100, 10_000] {
        let table = table(routes);
        let last = routes - routes % 3 - 1;
        let path = format!("/api/v1/resource-{last}/items/42");
        let hit = asked(&path, None, &headers);
        criterion.bench_function(&format!("route/{routes}/hit"), |bencher| {
            bencher.iter(|| *table.find(black_box(&hit)).unwrap());
        });
        let miss = asked("/nothing/like/it", None, &headers);
        criterion.bench_function(&format!("route/{routes}/miss"), |bencher| {
            bencher.iter(|| table.find(black_box(&miss)).is_none());
        });
    }
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("tenant-9"));
    for (kind, path) in [
        ("headers", "/api/x"),
        ("query", "/api/x"),
        ("regex", "/api/item-9/42"),
    ] {
        let table = conditions(10, kind);
        let asked = asked(path, Some("a=b&tenant=tenant-9"), &headers);
        criterion.bench_function(&format!("route/10/{kind}"), |bencher| {
            bencher.iter(|| *table.find(black_box(&asked)).unwrap());
        });
    }
}

fn normal(criterion: &mut Criterion) {
    for (name, path) in [
        ("plain", "/api/v1/resource-7/items/42.json"),
        ("dots", "/api/v1/../v2/./items/%34%32.json"),
    ] {
        criterion.bench_function(&format!("normalize/{name}"), |bencher| {
            bencher.iter(|| normalize(black_box(path), Normalize::default()).is_ok());
        });
    }
}

fn split(criterion: &mut Criterion) {
    let shares = Shares::new(&[90, 10]).unwrap();
    criterion.bench_function("split/turn", |bencher| bencher.iter(|| shares.next()));
    criterion.bench_function("split/sticky", |bencher| {
        bencher.iter(|| shares.of(black_box(b"user-4711")))
    });
}

fn pick(criterion: &mut Criterion) {
    let weights = |count: u32| {
        (0..count)
            .map(|n| NonZeroU32::new(n % 3 + 1).unwrap())
            .collect::<Vec<_>>()
    };
    let round_robin = RoundRobin::new(&weights(8));
    criterion.bench_function("pick/round_robin/8", |bencher| {
        bencher.iter(|| round_robin.next())
    });
    for count in [8, 100] {
        let least = LeastConnections::new(&weights(count));
        criterion.bench_function(&format!("pick/least_connections/{count}"), |bencher| {
            bencher.iter(|| least.next(|index| black_box(index * 7 % 5)));
        });
    }
}

fn record(criterion: &mut Criterion) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let route = Arc::new(RouteTelemetry::new(
        &metrics,
        "inbound",
        "inbound".into(),
        "pay".into(),
    ));
    criterion.bench_function("record/metrics", |bencher| {
        bencher.iter(|| route.finished(&Method::GET, StatusCode::OK, black_box(0.0017)));
    });
    let record = sample(route);
    let mut line = Vec::with_capacity(1024);
    criterion.bench_function("record/access_line", |bencher| {
        bencher.iter(|| {
            line.clear();
            write_line(&mut line, &record, SystemTime::now());
            line.len()
        });
    });
}

fn sample(route: Arc<RouteTelemetry>) -> RequestRecord {
    let mut attempts = Attempts::default();
    attempts.push(AttemptRecord {
        endpoint: "10.0.0.6:8443".into(),
        outcome: Outcome::Status(StatusCode::OK),
        elapsed: Duration::from_micros(40_100),
        connect: None,
    });
    RequestRecord {
        client: [10, 1, 2, 3].into(),
        method: Method::POST,
        uri: Uri::from_static("/v1/charge?id=7"),
        request_id: Some(HeaderValue::from_static("01JDF6W3V9T4N8Q2ZC5X7KB1MH")),
        route,
        upstream: Some("pay".into()),
        attempts,
        status: Some(StatusCode::OK),
        reason: None,
        cause: None,
        bytes_in: 512,
        bytes_out: 128,
        first_byte: Some(Duration::from_micros(40_100)),
        duration: Duration::from_micros(41_700),
        config: "81bd07".into(),
    }
}

criterion_group!(benches, route, normal, split, pick, record);
criterion_main!(benches);
