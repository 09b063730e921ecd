//! Which access lines are written, and what stands in them.
//!
//! Path: `snapshot` compiles it from `access_log` → `proxy::exchange` asks [`AccessLog::wants`] at the end of an exchange and
//! lets [`AccessLog::write`] fill its worker's buffer. Without any wishes that is the fixed line of [`super::access_log`],
//! and nothing here is asked. What may be a secret never gets into a line: see [`super::redact`].

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::access_log as line;
use super::json::{millis_field, number_field, write_ip, write_string};
use super::record::RequestRecord;
use super::redact::{self, REDACTED};
use super::time::write_rfc3339;

/// Longest value of a header or a query shown.
const VALUE_LIMIT: usize = 1024;

macro_rules! fields {
    ($($field:ident $name:literal),* $(,)?) => {
        /// One field of a line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field { $(#[doc = $name] $field,)* }

        impl Field {
            /// Every name, in the order of the default line.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// The field of this name.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$field),)* _ => None }
            }

            /// Its name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$field => $name,)* }
            }
        }
    };
}

fields! {
    Time "time", Level "level", Msg "msg", Direction "direction", Listener "listener", Route "route", Upstream "upstream",
    Endpoint "endpoint", Method "method", Path "path", Query "query", Status "status", BytesIn "bytes_in",
    BytesOut "bytes_out", Duration "duration_ms", Phases "phases_ms", Attempts "attempts", Reason "reason", Cause "cause",
    Limit "limit", NotRetried "not_retried", Observed "observed", Client "client", RequestId "request_id",
    Headers "headers", Config "config",
}

/// How a line looks.
#[derive(Debug, Default)]
pub enum Format {
    /// JSON with all that there is to say.
    #[default]
    All,
    /// JSON with these fields, as far as they have a value.
    Fields(Box<[Field]>),
    /// A text with fields in it; one without a value is `-`.
    Template(Box<[Part]>),
}

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    /// Written as it stands.
    Text(Box<str>),
    /// The value of a field.
    Field(Field),
}

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq)]
pub enum TemplateError<'t> {
    /// A `{` without its `}`.
    Open,
    /// A name that no field has.
    Unknown(&'t str),
}

impl Part {
    /// The pieces of `template`: `{field}` is a field, `{{` a brace.
    ///
    /// # Errors
    ///
    /// See [`TemplateError`].
    pub fn parse(template: &str) -> Result<Box<[Self]>, TemplateError<'_>> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(at) = rest.find('{') {
            text.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('{') {
                text.push('{');
                rest = after;
                continue;
            }
            let (name, after) = rest.split_once('}').ok_or(TemplateError::Open)?;
            let field = Field::named(name).ok_or(TemplateError::Unknown(name))?;
            if !text.is_empty() {
                parts.push(Self::Text(std::mem::take(&mut text).into()));
            }
            parts.push(Self::Field(field));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Self::Text(text.into()));
        }
        Ok(parts.into())
    }
}

/// Which requests have a line: those that meet any of the criteria.
#[derive(Debug)]
pub struct Filter {
    /// Statuses, first and last.
    pub statuses: Box<[(u16, u16)]>,
    /// Those that took at least so long.
    pub slower_than: Option<Duration>,
    /// So many of 10,000 of the others.
    pub sample: u32,
}

impl Filter {
    fn takes(&self, record: &RequestRecord) -> bool {
        let status = record.status.map_or(0, |status| status.as_u16());
        (self.statuses.iter()).any(|(first, last)| (*first..=*last).contains(&status))
            || self.slower_than.is_some_and(|limit| record.duration >= limit)
            // Nobody was answered: there is no status to choose it by.
            || (status == 0 && !self.statuses.is_empty())
            || (self.sample > 0 && fastrand::u32(..10_000) < self.sample)
    }
}

/// The settings of `access_log`.
#[derive(Debug, Default)]
pub struct AccessLog {
    /// What a line looks like.
    pub format: Format,
    /// Which requests have one; `None`: all.
    pub filter: Option<Filter>,
    /// Whether those of probes that went well have one.
    pub probes: bool,
    /// Whether the query is shown, without its secrets.
    pub query: bool,
    /// Further keys of a query whose values are secret; lower case.
    pub redact: Box<[Box<str>]>,
    /// Fields of the request's head to show.
    pub headers: Box<[HeaderName]>,
}

impl AccessLog {
    /// Whether `record` has a line.
    pub fn wants(&self, record: &RequestRecord) -> bool {
        let well = record.reason.is_none() && record.status.is_some_and(|it| it.as_u16() < 400);
        if record.probe && well && !self.probes {
            return false;
        }
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.takes(record))
    }

    /// What is to be shown of the request's head.
    pub fn copy_headers(&self, head: &HeaderMap) -> Option<Box<[Option<HeaderValue>]>> {
        let of = |name: &HeaderName| {
            let value = head.get(name)?;
            Some(if redact::is_secret_header(name.as_str()) {
                HeaderValue::from_static(REDACTED)
            } else {
                value.clone()
            })
        };
        (!self.headers.is_empty()).then(|| self.headers.iter().map(of).collect())
    }

    /// Appends the line without its end.
    pub fn write(&self, out: &mut Vec<u8>, record: &RequestRecord, now: SystemTime) {
        match &self.format {
            Format::All => {
                line::write_line(out, record, now);
                if self.query || record.headers.is_some() {
                    self.write_more(out, record, now);
                }
            }
            Format::Fields(fields) => {
                out.push(b'{');
                let empty = out.len();
                for field in fields {
                    self.write_pair(out, *field, record, now, empty);
                }
                out.push(b'}');
            }
            Format::Template(parts) => {
                for part in parts {
                    self.write_part(out, part, record, now);
                }
            }
        }
    }

    fn write_more(&self, out: &mut Vec<u8>, record: &RequestRecord, now: SystemTime) {
        out.pop();
        for field in [Field::Query, Field::Headers] {
            self.write_pair(out, field, record, now, 0);
        }
        out.push(b'}');
    }

    /// `"name":value`, if there is one, with a comma before it unless the line is still `empty` bytes long.
    fn write_pair(
        &self,
        out: &mut Vec<u8>,
        field: Field,
        record: &RequestRecord,
        now: SystemTime,
        empty: usize,
    ) {
        let before = out.len();
        if before > empty {
            out.push(b',');
        }
        write_string(out, field.name().as_bytes());
        out.push(b':');
        let value = out.len();
        self.value(out, field, record, now);
        if out.len() == value {
            out.truncate(before);
        }
    }

    fn write_part(&self, out: &mut Vec<u8>, part: &Part, record: &RequestRecord, now: SystemTime) {
        let field = match part {
            Part::Text(text) => return out.extend_from_slice(text.as_bytes()),
            Part::Field(field) => *field,
        };
        let before = out.len();
        self.value(out, field, record, now);
        if out.len() == before {
            out.push(b'-');
        } else if out.get(before) == Some(&b'"') {
            // A JSON string keeps its escapes, so that no client writes a line of its own, and loses its quotes.
            out.remove(before);
            out.pop();
        }
    }

    /// The JSON value of a field; nothing if it has none.
    fn value(&self, out: &mut Vec<u8>, field: Field, record: &RequestRecord, now: SystemTime) {
        let text = |out: &mut Vec<u8>, text: &str| write_string(out, text.as_bytes());
        match field {
            Field::Time => {
                out.push(b'"');
                write_rfc3339(out, now);
                out.push(b'"');
            }
            Field::Level => text(out, "info"),
            Field::Msg => text(out, "request"),
            Field::Direction => text(out, record.route.direction),
            Field::Listener => text(out, &record.route.listener),
            Field::Route => text(out, &record.route.route),
            Field::Upstream => record.upstream.iter().for_each(|it| text(out, it)),
            Field::Endpoint => {
                (record.attempts.last().iter()).for_each(|it| text(out, &it.endpoint))
            }
            Field::Method => text(out, record.method.as_str()),
            Field::Path => write_string(out, line::shown_path(record)),
            Field::Query => self.write_query(out, record),
            Field::Status => {
                (record.status.iter()).for_each(|it| number_field(out, "", u64::from(it.as_u16())))
            }
            Field::BytesIn => number_field(out, "", record.bytes_in),
            Field::BytesOut => number_field(out, "", record.bytes_out),
            Field::Duration => millis_field(out, "", record.duration),
            Field::Phases => line::write_phases(out, "", record),
            Field::Attempts => line::write_attempts(out, "", record),
            Field::Reason => record.reason.iter().for_each(|it| text(out, it.as_str())),
            Field::Cause => record.cause.iter().for_each(|it| text(out, it)),
            Field::Limit => line::write_limit(out, "", record),
            Field::NotRetried => record.not_retried.iter().for_each(|it| text(out, it)),
            Field::Observed => record.observed.iter().for_each(|it| text(out, it)),
            Field::Client => write_ip(out, record.client),
            Field::RequestId => {
                (record.request_id.iter()).for_each(|id| write_string(out, id.as_bytes()));
            }
            Field::Headers => self.write_headers(out, record),
            Field::Config => text(out, &record.config),
        }
    }

    fn write_query(&self, out: &mut Vec<u8>, record: &RequestRecord) {
        if let Some(query) = record.uri.query() {
            let shown = redact::query(query, &self.redact);
            write_string(out, cut(shown.as_bytes()));
        }
    }

    fn write_headers(&self, out: &mut Vec<u8>, record: &RequestRecord) {
        let Some(values) = &record.headers else {
            return;
        };
        let mut before = b'{';
        for (name, value) in self.headers.iter().zip(values) {
            let Some(value) = value else { continue };
            out.push(before);
            before = b',';
            write_string(out, name.as_str().as_bytes());
            out.push(b':');
            write_string(out, cut(value.as_bytes()));
        }
        if before == b',' {
            out.push(b'}');
        }
    }
}

fn cut(value: &[u8]) -> &[u8] {
    &value[..value.len().min(VALUE_LIMIT)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_fields() {
        let parts = Part::parse("{client} \"{{{path}\" {status}").unwrap();
        assert_eq!(
            *parts,
            [
                Part::Field(Field::Client),
                Part::Text(" \"{".into()),
                Part::Field(Field::Path),
                Part::Text("\" ".into()),
                Part::Field(Field::Status),
            ]
        );
        assert_eq!(Part::parse("{sta"), Err(TemplateError::Open));
        assert_eq!(Part::parse("{stat}"), Err(TemplateError::Unknown("stat")));
    }

    #[test]
    fn every_field_has_its_name() {
        for name in Field::NAMES {
            assert_eq!(Field::named(name).map(Field::name), Some(*name));
        }
    }
}
