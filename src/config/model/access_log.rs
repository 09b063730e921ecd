//! `access_log`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::Located;

/// `access_log`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccessLog {
    /// `stdout` or `file`. Default `stdout`.
    pub output: LogOutput,
    /// `format`. Default `json`.
    pub format: LogFormat,
    /// `fields`: those of a JSON line, in this order. Default: all.
    pub fields: Vec<Located<String>>,
    /// `filter`: which requests have a line. Default: all.
    pub filter: Option<LogFilter>,
    /// `probes`: whether successful requests of probes (`kube-probe/…` and the like) have a line. Default `false`.
    pub probes: bool,
    /// `query`: whether the query is shown; values of `*token*`, `*key*`, `*password*` and the like are not. Default `false`.
    pub query: bool,
    /// `redact`: further keys of the query whose values are not shown.
    pub redact: Vec<String>,
    /// `headers`: fields of the request's head to show; of `authorization`, `cookie`, `*token*` and the like only that they
    /// are there.
    pub headers: Vec<String>,
}

/// Where access lines go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogOutput {
    /// `stdout`.
    #[default]
    Stdout,
    /// `file: PATH`, appended to.
    File(Located<String>),
    /// `off`.
    Off,
}

/// How a line looks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `json`: one object.
    #[default]
    Json,
    /// Anything with `{field}` in it.
    Template(Located<String>),
}

/// `access_log.filter`: a request that meets any of these has a line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogFilter {
    /// `status`: `404`, `500-599` or `5xx`.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// `slower_than`: those that took at least so long.
    pub slower_than: Option<Duration>,
    /// `sample`: a share of all others, in hundredths of a percent. 0 to 100%; default 0.
    pub sample: u32,
}
