//! `access_log`.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{AccessLog, Located, LogFilter, LogFormat, LogOutput};
use super::super::yaml::Value;
use super::fields::{Fields, Item, brief};
use super::{keys, scalars};

/// `off`, `stdout`, or a mapping.
pub(super) fn access_log(item: Item<'_>, out: &mut Diagnostics) -> Option<AccessLog> {
    if matches!(item.node.value, Value::Mapping(_)) {
        return section(item, out);
    }
    if scalars::is_off(&item, out)? {
        return Some(AccessLog {
            output: LogOutput::Off,
            ..AccessLog::default()
        });
    }
    let allowed = "`stdout`, `off` or `{ file: PATH }`";
    let found = scalars::scalar(&item, allowed, &format!("write {allowed}"), out)?;
    if found.value() == "stdout" {
        return Some(AccessLog::default());
    }
    let label = format!("write {allowed}");
    out.push(
        Diagnostic::error(format!("`access_log` cannot be {}", found.words()))
            .at(item.at())
            .label(label),
    );
    None
}

fn section(item: Item<'_>, out: &mut Diagnostics) -> Option<AccessLog> {
    let fields = Fields::of(item, keys::ACCESS_LOG, out)?;
    let mut log = AccessLog::default();
    if let Some(item) = fields.get("file")
        && let Some(path) = scalars::text(&item, "a path", "write `file: PATH`", out)
    {
        log.output = LogOutput::File(path);
    }
    if let Some(item) = fields.get("format") {
        log.format = format(&item, out).unwrap_or_default();
    }
    if let Some(item) = fields.get("fields") {
        log.fields = names(&item, "fields", "write a list: `[time, path, status]`", out);
    }
    log.filter = fields.get("filter").and_then(|item| filter(item, out));
    let flag = |key, out: &mut Diagnostics| {
        let item = fields.get(key);
        item.and_then(|item| scalars::boolean(&item, out))
            .unwrap_or_default()
    };
    log.probes = flag("probes", out);
    log.query = flag("query", out);
    if let Some(item) = fields.get("redact") {
        let names = names(&item, "keys", "write a list: `[card, pin]`", out);
        log.redact = names.into_iter().map(|name| name.value).collect();
    }
    if let Some(item) = fields.get("headers") {
        log.headers = headers(&item, out);
    }
    Some(log)
}

/// `json`, or a template; a word that is neither has no field in it.
fn format(item: &Item<'_>, out: &mut Diagnostics) -> Option<LogFormat> {
    let hint = "write `json`, or a text with fields in it: `\"{client} {method} {path} {status}\"`";
    let text = scalars::text(item, "`json` or a template", hint, out)?;
    if text.value == "json" {
        return Some(LogFormat::Json);
    }
    if text.value.contains('{') {
        return Some(LogFormat::Template(text));
    }
    let message = format!("{} cannot be `{}`", item.title(), brief(&text.value));
    out.push(Diagnostic::error(message).at(item.at()).label(hint));
    None
}

fn names(item: &Item<'_>, what: &str, hint: &str, out: &mut Diagnostics) -> Vec<Located<String>> {
    let items = item.items(what, hint, out).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| scalars::name(item, "a name", hint, out))
        .collect()
}

fn headers(item: &Item<'_>, out: &mut Diagnostics) -> Vec<String> {
    let hint = "write header names: `[user-agent, referer]`";
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let mut read = Vec::new();
    for name in names(item, "header names", hint, out) {
        if name.value.bytes().all(legal) {
            read.push(name.value.to_ascii_lowercase());
            continue;
        }
        let message = format!("`{}` is not a header's name", brief(&name.value));
        out.push(Diagnostic::error(message).at(name.at).label(hint));
    }
    read
}

fn filter(item: Item<'_>, out: &mut Diagnostics) -> Option<LogFilter> {
    if scalars::is_off(&item, out)? {
        return None;
    }
    let fields = Fields::of(item, keys::LOG_FILTER, out)?;
    let mut filter = LogFilter::default();
    if let Some(item) = fields.get("status") {
        let items = if matches!(item.node.value, Value::Scalar(_)) {
            vec![item]
        } else {
            item.items("statuses", "write a list: `[4xx, 5xx]`", out)?
        };
        let ranges = items.iter().filter_map(|item| statuses(item, out));
        filter.statuses = ranges.collect();
    }
    let day = Duration::from_millis(1)..=Duration::from_hours(24);
    filter.slower_than =
        (fields.get("slower_than")).and_then(|item| scalars::duration(&item, day, out));
    filter.sample = (fields.get("sample"))
        .and_then(|item| share(&item, out))
        .unwrap_or_default();
    Some(filter)
}

/// `404`, `500-599` or `5xx`.
fn statuses(item: &Item<'_>, out: &mut Diagnostics) -> Option<RangeInclusive<u16>> {
    let hint = "write `404`, `5xx` or `500-599`";
    let found = scalars::scalar(item, "a status", hint, out)?;
    let text = found.value();
    let class = text
        .strip_suffix("xx")
        .and_then(|it| it.parse::<u16>().ok());
    let number = |text: &str| text.trim().parse::<u16>().ok();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = match class {
        Some(class) => Some((
            class.saturating_mul(100),
            class.saturating_mul(100).saturating_add(99),
        )),
        None => number(first).zip(number(last)),
    };
    let range = range.filter(|&(first, last)| first >= 100 && first <= last && last <= 599);
    if range.is_none() {
        let message = format!("{} of {} is not a status", found.words(), item.title());
        out.push(Diagnostic::error(message).at(item.at()).label(hint));
    }
    range.map(|(first, last)| first..=last)
}

/// A share with up to two decimals, in hundredths of a percent.
fn share(item: &Item<'_>, out: &mut Diagnostics) -> Option<u32> {
    let hint = "write a number and `%`: `1%` or `0.05%`";
    let found = scalars::scalar(item, "a share from 0% to 100%", hint, out)?;
    let number = found.value().strip_suffix('%').unwrap_or_default().trim();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let read = (digits(whole) && digits(fraction) && (1..=2).contains(&fraction.len()))
        .then(|| {
            let hundredths = format!("{fraction:0<2}").parse::<u32>().ok()?;
            whole
                .parse::<u32>()
                .ok()?
                .checked_mul(100)?
                .checked_add(hundredths)
        })
        .flatten()
        .filter(|share| *share <= 10_000);
    if read.is_none() {
        let message = format!("{} of {} is not a share", found.words(), item.title());
        out.push(Diagnostic::error(message).at(item.at()).label(hint));
    }
    read
}
