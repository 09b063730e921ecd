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
use http::{HeaderValue, Method, StatusCode, Uri};
use outrigger::policy::circuit_breaker::{self as breaker, CircuitBreaker};
use outrigger::policy::failure::{Failure, Verdict};
use outrigger::route::table::{Host, Matcher, Path, Table};
use outrigger::telemetry::access_log::write_line;
use outrigger::telemetry::metrics::Metrics;
use outrigger::telemetry::record::{AttemptRecord, Attempts, Outcome, RequestRecord};
use outrigger::telemetry::route::RouteTelemetry;
use outrigger::upstream::balance::{LeastConnections, RoundRobin};

fn table(routes: usize) -> Table<usize> {
    let mut table = Table::default();
    for index in 0..routes {
        let host = match index % 3 {
            0 => Host::Exact(format!("service-{index}.example.com").into()),
            1 => Host::Suffix(format!("tenant-{index}.example.com").into()),
            _ => Host::Any,
        };
        let path = Path::Prefix(format!("/api/v1/resource-{index}").into());
        table.insert(
            Matcher {
                host,
                path,
                methods: Box::default(),
            },
            index,
        );
    }
    table
}

fn route(criterion: &mut Criterion) {
    for routes in [100, 10_000] {
        let table = table(routes);
        let last = routes - routes % 3 - 1;
        let path = format!("/api/v1/resource-{last}/items/42");
        criterion.bench_function(&format!("route/{routes}/hit"), |bencher| {
            bencher.iter(|| {
                *table
                    .find(
                        black_box("other.example.com"),
                        black_box(&path),
                        &Method::GET,
                    )
                    .unwrap()
            });
        });
        criterion.bench_function(&format!("route/{routes}/miss"), |bencher| {
            bencher.iter(|| {
                table
                    .find(
                        black_box("other.example.com"),
                        black_box("/nothing/like/it"),
                        &Method::GET,
                    )
                    .is_none()
            });
        });
    }
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

fn breaker(criterion: &mut Criterion) {
    let consecutive = breaker::Settings {
        consecutive_failures: Some(5),
        open_for: Duration::from_secs(10),
        ..breaker::Settings::IDLE
    };
    let rates = breaker::Settings {
        error_rate: Some(breaker::Rate(50)),
        min_requests: 20,
        ..consecutive
    };
    let now = tokio::time::Instant::now().into_std();
    let took = Duration::from_millis(1);
    let closed = CircuitBreaker::new(&consecutive, now);
    criterion.bench_function("breaker/closed", |bencher| {
        bencher.iter(|| closed.acquire(black_box(now)).is_ok());
    });
    for (name, settings) in [("consecutive", consecutive), ("error_rate", rates)] {
        let breaker = CircuitBreaker::new(&settings, now);
        criterion.bench_function(&format!("breaker/closed_and_success/{name}"), |bencher| {
            bencher.iter(|| {
                let permit = breaker.acquire(black_box(now)).unwrap().permit;
                breaker.record(permit, Verdict::Success, took, now)
            });
        });
    }
    let open = CircuitBreaker::new(&consecutive, now);
    for _ in 0..5 {
        let permit = open.acquire(now).unwrap().permit;
        open.record(permit, Verdict::Failure(Failure::Reset), took, now);
    }
    criterion.bench_function("breaker/open", |bencher| {
        bencher.iter(|| open.acquire(black_box(now)).is_err());
    });
}

criterion_group!(benches, route, pick, record, breaker);
criterion_main!(benches);
