//! All keys a file may hold, by place. The readers, their suggestions and the test of `config/reference.yaml`
//! use these lists, so none can forget a key that another knows.

/// The file itself.
pub(super) const ROOT: &[&str] = &[
    "listeners",
    "routes",
    "upstreams",
    "dns",
    "admin",
    "access_log",
    "drain",
    "workers",
    "trusted_proxies",
    "forwarded_headers",
    "header_case",
];
/// `listeners.*`
pub(super) const LISTENER: &[&str] = &[
    "address",
    "direction",
    "forward",
    "reuse_port",
    "timeouts",
    "limits",
];
/// `listeners.*.timeouts`
pub(super) const LISTENER_TIMEOUTS: &[&str] = &["request_header", "idle"];
/// `listeners.*.limits`
pub(super) const LISTENER_LIMITS: &[&str] = &["connections", "header_bytes", "headers"];
/// `routes[]`
pub(super) const ROUTE: &[&str] = &["name", "listeners", "match", "forward", "timeout"];
/// `routes[].match[]`
pub(super) const MATCH: &[&str] = &["host", "path", "methods"];
/// `routes[].match[].path`
pub(super) const PATH: &[&str] = &["exact", "prefix"];
/// `upstreams.*`
pub(super) const UPSTREAM: &[&str] = &[
    "endpoints",
    "discovery",
    "balance",
    "timeouts",
    "pool",
    "health_check",
    "outlier",
    "panic_threshold",
];
/// `upstreams.*.discovery`
pub(super) const DISCOVERY: &[&str] = &["file"];
/// `upstreams.*.health_check`
pub(super) const HEALTH_CHECK: &[&str] = &[
    "http",
    "tcp",
    "interval",
    "interval_down",
    "timeout",
    "rise",
    "fall",
    "readiness",
];
/// `upstreams.*.health_check.http`
pub(super) const HEALTH_HTTP: &[&str] = &["path", "host", "expect"];
/// `upstreams.*.outlier`
pub(super) const OUTLIER: &[&str] = &[
    "consecutive_failures",
    "success_rate",
    "eject_for",
    "max_eject_for",
    "max_ejected",
];
/// `upstreams.*.outlier.success_rate`
pub(super) const SUCCESS_RATE: &[&str] = &["below", "min_requests", "window"];
/// `dns`
pub(super) const DNS: &[&str] = &["servers", "family", "timeout"];
/// `upstreams.*.endpoints[]`
pub(super) const ENDPOINT: &[&str] = &["address", "weight"];
/// `upstreams.*.timeouts`
pub(super) const UPSTREAM_TIMEOUTS: &[&str] = &["connect", "idle"];
/// `upstreams.*.pool`
pub(super) const POOL: &[&str] = &["max_idle", "idle_timeout", "max_age"];
/// `admin`
pub(super) const ADMIN: &[&str] = &["probes", "control"];
/// `access_log`
pub(super) const ACCESS_LOG: &[&str] = &["file"];
/// `drain`
pub(super) const DRAIN: &[&str] = &["timeout", "delay"];

/// Each place and its keys; `*` stands for a name, `[]` for an item of a list.
pub(crate) const ALL: &[(&str, &[&str])] = &[
    ("", ROOT),
    ("listeners.*", LISTENER),
    ("listeners.*.timeouts", LISTENER_TIMEOUTS),
    ("listeners.*.limits", LISTENER_LIMITS),
    ("routes[]", ROUTE),
    ("routes[].match[]", MATCH),
    ("routes[].match[].path", PATH),
    ("upstreams.*", UPSTREAM),
    ("upstreams.*.endpoints[]", ENDPOINT),
    ("upstreams.*.timeouts", UPSTREAM_TIMEOUTS),
    ("upstreams.*.pool", POOL),
    ("upstreams.*.discovery", DISCOVERY),
    ("upstreams.*.health_check", HEALTH_CHECK),
    ("upstreams.*.health_check.http", HEALTH_HTTP),
    ("upstreams.*.outlier", OUTLIER),
    ("upstreams.*.outlier.success_rate", SUCCESS_RATE),
    ("dns", DNS),
    ("admin", ADMIN),
    ("access_log", ACCESS_LOG),
    ("drain", DRAIN),
];
