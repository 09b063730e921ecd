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
    "tracing",
    "drain",
    "workers",
    "memory",
    "trusted_proxies",
    "forwarded_headers",
    "request_id",
    "header_case",
    "deadline_header",
    "server_timing",
];
/// `listeners.*.unix`
pub(super) const UNIX: &[&str] = &["mode", "user", "group"];
/// `listeners.*`
pub(super) const LISTENER: &[&str] = &[
    "address",
    "unix",
    "protocol",
    "proxy_protocol",
    "direction",
    "forward",
    "reuse_port",
    "timeouts",
    "limits",
    "normalize",
    "tls",
];
/// `listeners.*.tls`
pub(super) const LISTENER_TLS: &[&str] = &["certificates", "client"];
/// `listeners.*.tls.certificates[]`, `upstreams.*.tls.certificate`
pub(super) const CERTIFICATE: &[&str] = &["cert", "key"];
/// `listeners.*.tls.client`
pub(super) const CLIENT_TLS: &[&str] = &["ca", "mode", "allow", "identity_header"];
/// `upstreams.*.tls`
pub(super) const UPSTREAM_TLS: &[&str] = &["ca", "server_name", "certificate", "insecure"];

/// `listeners.*.normalize`
pub(super) const NORMALIZE: &[&str] = &["encoded_slash", "double_slash", "dot_segments"];
/// `listeners.*.timeouts`
pub(super) const LISTENER_TIMEOUTS: &[&str] = &["request_header", "idle", "tls_handshake"];
/// `listeners.*.limits`
pub(super) const LISTENER_LIMITS: &[&str] = &[
    "connections",
    "header_bytes",
    "headers",
    "min_body_rate",
    "body_bytes",
    "in_flight",
    "pending",
    "pending_wait",
];
/// `routes[]`
pub(super) const ROUTE: &[&str] = &[
    "name",
    "listeners",
    "match",
    "forward",
    "timeout",
    "redirect",
    "respond",
    "rewrite",
    "request_headers",
    "response_headers",
    "mirror",
    "tunnel",
    "retry",
    "rate_limit",
    "limits",
];
/// `routes[].rate_limit[]`
pub(super) const RATE_LIMIT: &[&str] = &[
    "requests",
    "per",
    "burst",
    "key",
    "when_exceeded",
    "max_wait",
    "max_waiting",
    "headers",
    "max_keys",
    "mode",
    "name",
];
/// `routes[].rate_limit[].key`
pub(super) const RATE_KEY: &[&str] = &["header", "cookie", "query"];
/// `routes[].limits`
pub(super) const ROUTE_LIMITS: &[&str] = &["in_flight", "pending", "pending_wait", "body_bytes"];
/// `routes[].match[]`
pub(super) const MATCH: &[&str] = &["host", "path", "grpc", "methods", "headers", "query"];
/// `routes[].match[].grpc`
pub(super) const GRPC: &[&str] = &["service", "method"];
/// `routes[].match[].path`
pub(super) const PATH: &[&str] = &["exact", "prefix", "regex"];
/// `routes[].retry`
pub(super) const RETRY: &[&str] = &[
    "attempts",
    "on",
    "per_try_timeout",
    "backoff",
    "max_retry_after",
    "retry_unsafe",
    "replay_bytes",
];
/// `routes[].retry.backoff`
pub(super) const BACKOFF: &[&str] = &["base", "max", "jitter"];
/// `routes[].match[].headers.*`, `routes[].match[].query.*`
pub(super) const VALUE: &[&str] = &["exact", "regex", "present"];
/// `routes[].forward`, if it is not a name
pub(super) const FORWARD: &[&str] = &["split", "sticky"];
/// `routes[].forward.sticky`
pub(super) const STICKY: &[&str] = &["header", "cookie"];
/// `routes[].redirect`
pub(super) const REDIRECT: &[&str] = &["scheme", "host", "port", "path", "status"];
/// `routes[].redirect.path`
pub(super) const REDIRECT_PATH: &[&str] = &["full", "prefix"];
/// `routes[].respond`
pub(super) const RESPOND: &[&str] = &["status", "headers", "body"];
/// `routes[].respond.body`, if it is not a text
pub(super) const BODY: &[&str] = &["file"];
/// `routes[].rewrite`
pub(super) const REWRITE: &[&str] = &["host", "path"];
/// `routes[].rewrite.path`
pub(super) const REWRITE_PATH: &[&str] = &["full", "prefix", "regex"];
/// `routes[].rewrite.path.regex`
pub(super) const REWRITE_REGEX: &[&str] = &["match", "replace"];
/// `routes[].request_headers`, `routes[].response_headers`
pub(super) const HEADER_RULES: &[&str] = &["set", "add", "remove"];
/// `routes[].mirror[]`, if it is not a name
pub(super) const MIRROR: &[&str] = &["upstream", "percent"];
/// `upstreams.*`
pub(super) const UPSTREAM: &[&str] = &[
    "endpoints",
    "discovery",
    "balance",
    "timeouts",
    "pool",
    "protocol",
    "http2",
    "proxy_protocol",
    "retry_budget",
    "limits",
    "health_check",
    "outlier",
    "panic_threshold",
    "circuit_breaker",
    "failure",
    "tls",
];
/// What a request may have to wait for.
pub(super) const UPSTREAM_ROOM: [&str; 3] = ["in_flight", "endpoint_in_flight", "connections"];
/// `upstreams.*.limits`
pub(super) const UPSTREAM_LIMITS: &[&str] = &[
    "in_flight",
    "pending",
    "pending_wait",
    "endpoint_in_flight",
    "connections",
    "header_bytes",
    "headers",
];
/// `upstreams.*.discovery`
pub(super) const DISCOVERY: &[&str] = &["file"];
/// `upstreams.*.health_check`
pub(super) const HEALTH_CHECK: &[&str] = &[
    "http",
    "grpc",
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
/// `upstreams.*.health_check.grpc`
pub(super) const HEALTH_GRPC: &[&str] = &["service", "host"];
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
pub(super) const UPSTREAM_TIMEOUTS: &[&str] = &["connect", "tls", "idle", "upgraded_idle"];
/// `upstreams.*.pool`
pub(super) const POOL: &[&str] = &["max_idle", "idle_timeout", "max_age"];
/// `upstreams.*.http2`
pub(super) const HTTP2: &[&str] = &[
    "max_streams",
    "window",
    "keepalive_interval",
    "keepalive_timeout",
];
/// `upstreams.*.retry_budget`
pub(super) const RETRY_BUDGET: &[&str] = &["percent", "window", "min_per_second"];
/// `upstreams.*.circuit_breaker`
pub(super) const CIRCUIT_BREAKER: &[&str] = &[
    "consecutive_failures",
    "open_for",
    "half_open_max",
    "half_open_successes",
    "error_rate",
    "slow",
    "slow_rate",
    "window",
    "min_requests",
    "scope",
    "mode",
];
/// `upstreams.*.failure`
pub(super) const FAILURE: &[&str] = &["statuses", "grpc", "slow"];
/// `admin`
pub(super) const ADMIN: &[&str] = &["probes", "control"];
/// `access_log`
pub(super) const ACCESS_LOG: &[&str] = &[
    "file", "format", "fields", "filter", "probes", "query", "redact", "headers",
];
/// `tracing`
pub(super) const TRACING: &[&str] = &["otlp", "protocol", "sample", "propagation", "service"];
/// `access_log.filter`
pub(super) const LOG_FILTER: &[&str] = &["status", "slower_than", "sample"];
/// `drain`
pub(super) const DRAIN: &[&str] = &["timeout", "delay"];
/// `memory`
pub(super) const MEMORY: &[&str] = &["limit", "replay_at", "shed_at"];

/// Each place and its keys; `*` stands for a name, `[]` for an item of a list.
pub(crate) const ALL: &[(&str, &[&str])] = &[
    ("", ROOT),
    ("listeners.*", LISTENER),
    ("listeners.*.timeouts", LISTENER_TIMEOUTS),
    ("listeners.*.limits", LISTENER_LIMITS),
    ("listeners.*.unix", UNIX),
    ("listeners.*.normalize", NORMALIZE),
    ("listeners.*.tls", LISTENER_TLS),
    ("listeners.*.tls.certificates[]", CERTIFICATE),
    ("listeners.*.tls.client", CLIENT_TLS),
    ("routes[]", ROUTE),
    ("routes[].rate_limit[]", RATE_LIMIT),
    ("routes[].rate_limit[].key", RATE_KEY),
    ("routes[].limits", ROUTE_LIMITS),
    ("routes[].match[]", MATCH),
    ("routes[].match[].path", PATH),
    ("routes[].match[].grpc", GRPC),
    ("routes[].retry", RETRY),
    ("routes[].retry.backoff", BACKOFF),
    ("routes[].match[].headers.*", VALUE),
    ("routes[].match[].query.*", VALUE),
    ("routes[].forward", FORWARD),
    ("routes[].forward.sticky", STICKY),
    ("routes[].redirect", REDIRECT),
    ("routes[].redirect.path", REDIRECT_PATH),
    ("routes[].respond", RESPOND),
    ("routes[].respond.body", BODY),
    ("routes[].rewrite", REWRITE),
    ("routes[].rewrite.path", REWRITE_PATH),
    ("routes[].rewrite.path.regex", REWRITE_REGEX),
    ("routes[].request_headers", HEADER_RULES),
    ("routes[].response_headers", HEADER_RULES),
    ("routes[].mirror[]", MIRROR),
    ("upstreams.*", UPSTREAM),
    ("upstreams.*.endpoints[]", ENDPOINT),
    ("upstreams.*.timeouts", UPSTREAM_TIMEOUTS),
    ("upstreams.*.pool", POOL),
    ("upstreams.*.http2", HTTP2),
    ("upstreams.*.retry_budget", RETRY_BUDGET),
    ("upstreams.*.limits", UPSTREAM_LIMITS),
    ("upstreams.*.discovery", DISCOVERY),
    ("upstreams.*.health_check", HEALTH_CHECK),
    ("upstreams.*.health_check.http", HEALTH_HTTP),
    ("upstreams.*.health_check.grpc", HEALTH_GRPC),
    ("upstreams.*.outlier", OUTLIER),
    ("upstreams.*.outlier.success_rate", SUCCESS_RATE),
    ("dns", DNS),
    ("upstreams.*.circuit_breaker", CIRCUIT_BREAKER),
    ("upstreams.*.failure", FAILURE),
    ("upstreams.*.tls", UPSTREAM_TLS),
    ("upstreams.*.tls.certificate", CERTIFICATE),
    ("admin", ADMIN),
    ("access_log", ACCESS_LOG),
    ("tracing", TRACING),
    ("access_log.filter", LOG_FILTER),
    ("drain", DRAIN),
    ("memory", MEMORY),
];
