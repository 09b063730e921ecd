//! Nanoseconds of the decisions on a request's path, without I/O: `cargo bench --bench decisions`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench has no users, and a panic is how it fails"
)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use outrigger::policy::budget::{BudgetLimits, RetryBudget};
use outrigger::policy::circuit_breaker::{self as breaker, CircuitBreaker};
use outrigger::policy::concurrency::Gate;
use outrigger::policy::deadline::{Deadline, format_grpc_timeout, parse_grpc_timeout};
use outrigger::policy::failure::{Failure, Verdict};
use outrigger::policy::rate_limit::{Limiter, Rate};
use outrigger::route::conditions::{Conditions, Test};
use outrigger::route::normalize::{Normalize, normalize};
use outrigger::route::rate_key::{Part, RateKey};
use outrigger::route::split::Shares;
use outrigger::route::table::{Asked, Host, Matcher, Path, Table};
use outrigger::telemetry::access_log::write_line;
use outrigger::telemetry::metrics::Metrics;
use outrigger::telemetry::record::{AttemptRecord, Attempts, Outcome, RequestRecord};
use outrigger::telemetry::route::RouteTelemetry;
use outrigger::telemetry::trace::Tracing;
use outrigger::telemetry::trace::context::Flags;
use outrigger::telemetry::trace::ids::{SpanId, TraceId};
use outrigger::telemetry::trace::propagation::Format;
use outrigger::telemetry::trace::sample::Sampler;
use outrigger::telemetry::trace::w3c;
use outrigger::upstream::balance::{Balance, LeastConnections, RoundRobin};
use outrigger::upstream::members::{Listed, Members, Settings};
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
        bencher.iter(|| round_robin.next(|_| true))
    });
    for count in [8, 100] {
        let least = LeastConnections::new(&weights(count));
        criterion.bench_function(&format!("pick/least_connections/{count}"), |bencher| {
            bencher.iter(|| least.next(|index| Some(black_box(index * 7 % 5))));
        });
    }
    for (name, balance) in [
        ("round_robin", Balance::RoundRobin),
        ("least_connections", Balance::LeastConnections),
    ] {
        for unhealthy in [0, 2] {
            let members = members(balance, unhealthy);
            let now = tokio::time::Instant::now().into_std();
            criterion.bench_function(&format!("pick/{name}/8/{unhealthy}_out"), |bencher| {
                bencher.iter(|| members.pick(black_box(&[]), now, |_| true).unwrap());
            });
        }
    }
}

/// Eight endpoints as a request meets them, some of them out of service.
fn members(balance: Balance, unhealthy: usize) -> Members {
    let settings = Settings {
        upstream: "app".into(),
        balance,
        panic_threshold: NonZeroU8::new(50),
        workers: 2,
        metrics: Arc::new(Metrics::new().unwrap()),
        journal: Arc::default(),
        breakers: None,
    };
    let now = tokio::time::Instant::now().into_std();
    let list: Vec<Listed> = (1..=8)
        .map(|port| {
            (
                SocketAddr::from(([127, 0, 0, 1], port)).into(),
                NonZeroU32::MIN,
            )
        })
        .collect();
    let members = Members::new(settings, &list, None, None, now);
    let set = members.load();
    set.iter()
        .take(unhealthy)
        .for_each(|endpoint| endpoint.set_healthy(false));
    members.refresh(now);
    members
}

fn retry(criterion: &mut Criterion) {
    let limits = BudgetLimits {
        percent: 20,
        window: Duration::from_secs(10),
        min_per_second: 3,
    };
    let now = tokio::time::Instant::now().into_std();
    let budget = RetryBudget::new(limits, now);
    criterion.bench_function("retry/budget_deposit", |bencher| {
        bencher.iter(|| budget.deposit(black_box(now)));
    });
    criterion.bench_function("retry/budget_withdraw", |bencher| {
        bencher.iter(|| budget.withdraw(black_box(now)));
    });
    let deadline = Deadline {
        total: Some(now + Duration::from_secs(30)),
        client: parse_grpc_timeout(black_box(b"2500m")).map(|left| now + left),
    };
    criterion.bench_function("deadline/left_and_told", |bencher| {
        bencher.iter(|| {
            deadline
                .left(black_box(now))
                .map(format_grpc_timeout)
                .map_or(0, |text| text.len())
        });
    });
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
        tls: None,
        started: Duration::ZERO,
        span: None,
    });
    RequestRecord {
        client: [10, 1, 2, 3].into(),
        method: Method::POST,
        uri: Uri::from_static("/v1/charge?id=7"),
        request_id: Some(HeaderValue::from_static("01JDF6W3V9T4N8Q2ZC5X7KB1MH")),
        trace: None,
        route,
        upstream: Some("pay".into()),
        attempts,
        status: Some(StatusCode::OK),
        reason: None,
        cause: None,
        limit: None,
        limit_at: None,
        not_retried: None,
        queued: Duration::ZERO,
        observed: None,
        bytes_in: 512,
        bytes_out: 128,
        first_byte: Some(Duration::from_micros(40_100)),
        duration: Duration::from_micros(41_700),
        probe: false,
        headers: None,
        config: "81bd07".into(),
    }
}

fn limiter(criterion: &mut Criterion) {
    let rate = Rate {
        requests: NonZeroU32::new(1_000_000).unwrap(),
        per: Duration::from_millis(1),
        burst: NonZeroU32::new(1_000_000).unwrap(),
    };
    let now = tokio::time::Instant::now().into_std();
    let direct = Limiter::single(rate, Duration::ZERO, now);
    criterion.bench_function("limiter/direct", |bencher| {
        bencher.iter(|| direct.check(0, black_box(now)));
    });
    let mut random = fastrand::Rng::with_seed(1);
    let keys: Vec<u64> = (0..10_000).map(|_| random.u64(..)).collect();
    let keyed = Limiter::keyed(rate, Duration::ZERO, 65_536, now);
    let mut turn = keys.iter().cycle();
    criterion.bench_function("limiter/keyed", |bencher| {
        bencher.iter(|| keyed.check(*turn.next().unwrap(), black_box(now)));
    });
    let full = Limiter::keyed(rate, Duration::ZERO, 65_536, now);
    criterion.bench_function("limiter/keyed/evicting", |bencher| {
        bencher.iter(|| full.check(random.u64(..), black_box(now)));
    });
    let key = RateKey {
        parts: [Part::ClientIp].into(),
    };
    let (head, ()) = http::Request::new(()).into_parts();
    criterion.bench_function("limiter/key/client_ip", |bencher| {
        bencher.iter(|| key.hash(black_box(&head), None, || [10, 1, 2, 3].into()));
    });
}

fn permit(criterion: &mut Criterion) {
    let gate = Arc::new(Gate::new(1000, 100));
    criterion.bench_function("permit", |bencher| bencher.iter(|| gate.enter().is_ok()));
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

fn trace(criterion: &mut Criterion) {
    let value = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    criterion.bench_function("trace/parse", |bencher| {
        bencher.iter(|| w3c::parse(black_box(value)).is_some());
    });
    let (id, span) = (TraceId::random(), SpanId::random());
    criterion.bench_function("trace/format", |bencher| {
        bencher.iter(|| w3c::format(black_box(id), black_box(span), Flags::default()));
    });
    // All that a request which is not recorded costs: read, decide, clear, write.
    let tracing = Tracing::new(vec![Format::W3c], Sampler::new(100));
    for (name, parent) in [("unsampled/new", None), ("unsampled/parent", Some("00"))] {
        let mut headers = HeaderMap::new();
        for name in ["host", "accept", "user-agent", "x-request-id"] {
            headers.insert(name, HeaderValue::from_static("value"));
        }
        if let Some(flags) = parent {
            let value = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
            headers.insert("traceparent", value.parse().unwrap());
        }
        criterion.bench_function(&format!("trace/{name}"), |bencher| {
            bencher.iter(|| {
                if parent.is_none() {
                    // What the turn before has written.
                    headers.remove("traceparent");
                }
                let trace = tracing.begin(Some(&headers));
                tracing.clear(&mut headers, &trace);
                tracing.tell(&mut headers, &trace, SpanId::random());
            });
        });
    }
}

criterion_group!(
    benches, route, normal, split, pick, retry, record, limiter, permit, breaker, trace
);
criterion_main!(benches);
