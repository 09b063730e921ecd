//! `routes[].rewrite`, and the paths of redirects.

use super::super::diagnostics::{Diagnostic, Diagnostics};
use super::super::model::{Located, PathRewrite, Pattern, ReplacePiece, Rewrite};
use super::fields::{Fields, Item};
use super::patterns::{self, Anchored, inside};
use super::{keys, matches, scalars};

/// Reads one rewrite.
pub(super) fn rewrite(item: Item<'_>, out: &mut Diagnostics) -> Option<Rewrite> {
    let (key, title) = (item.key, item.title());
    let fields = Fields::of(item, keys::REWRITE, out)?;
    let host = fields.get("host");
    let path = fields.get("path");
    if host.is_none() && path.is_none() && !fields.has_unknown() {
        let message = format!("{title} rewrites nothing");
        out.push(
            Diagnostic::error(message)
                .at(key)
                .label("write `host: …` or `path: { prefix: /x }`"),
        );
    }
    Some(Rewrite {
        host: host.and_then(|item| authority(&item, out)),
        path: path.and_then(|item| path_rewrite(item, keys::REWRITE_PATH, out)),
    })
}

/// A host with or without port, as `Host` has it.
fn authority(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    let scalar = scalars::scalar(item, "a host name", "write `app.internal`", out)?;
    let text = scalar.value().to_ascii_lowercase();
    let parsed = text.parse::<http::uri::Authority>();
    if parsed.is_ok_and(|authority| !authority.host().is_empty() && !text.contains(['@', '*'])) {
        return Some(text);
    }
    let message = format!("{} of {} is not a host", scalar.words(), item.title());
    out.push(
        Diagnostic::error(message)
            .at(item.at())
            .label("write `app.internal` or `app.internal:8080`"),
    );
    None
}

/// `{ full: … }` or one of the other `allowed` keys.
pub(super) fn path_rewrite(
    item: Item<'_>,
    allowed: &[&'static str],
    out: &mut Diagnostics,
) -> Option<Located<PathRewrite>> {
    let (key, title) = (item.key, item.title());
    let fields = Fields::of(item, allowed, out)?;
    let written: Vec<Item<'_>> = allowed.iter().filter_map(|key| fields.get(key)).collect();
    let [one] = &written[..] else {
        if let [first, second, ..] = &written[..] {
            let name = |item: &Item<'_>| item.path.rsplit('.').next().map(str::to_owned);
            let (first, name) = (
                name(first).unwrap_or_default(),
                name(second).unwrap_or_default(),
            );
            let message = format!("{title} has both `{first}` and `{name}`");
            out.push(
                Diagnostic::error(message)
                    .at(second.key)
                    .label("keep one of them"),
            );
        } else if !fields.has_unknown() {
            let label = "write `{ full: /x }` or `{ prefix: /x }`";
            out.push(
                Diagnostic::error(format!("{title} says no path"))
                    .at(key)
                    .label(label),
            );
        }
        return None;
    };
    let place = one.key;
    let read = if let Some(item) = fields.get("full") {
        PathRewrite::Full(matches::path_text(&item, out)?.to_owned())
    } else if let Some(item) = fields.get("prefix") {
        PathRewrite::Prefix(prefix(&item, out)?)
    } else {
        let (pattern, pieces) = regex(fields.get("regex")?, out)?;
        PathRewrite::Regex(pattern, pieces)
    };
    Some(Located::new(read, place))
}

/// Another prefix, without its trailing `/`; `""` takes the prefix away, as `/` does.
fn prefix(item: &Item<'_>, out: &mut Diagnostics) -> Option<String> {
    use super::super::yaml::Value;
    if matches!(&item.node.value, Value::Scalar(scalar) if scalar.quoted && scalar.value().is_empty())
    {
        return Some(String::new());
    }
    let path = matches::path_text(item, out)?;
    Some(path.trim_end_matches('/').to_owned())
}

fn regex(item: Item<'_>, out: &mut Diagnostics) -> Option<(Pattern, Vec<ReplacePiece>)> {
    let fields = Fields::of(item, keys::REWRITE_REGEX, out)?;
    let pattern = fields
        .required("match", "^/a/(.*)$", out)
        .and_then(|item| patterns::pattern(&item, Anchored::No, out));
    let replace = fields.required("replace", "/b/$1", out);
    let pattern = pattern?;
    let pieces = replacement(&replace?, &pattern, out)?;
    Some((pattern, pieces))
}

/// Texts and groups: `/b/$1`.
fn replacement(
    item: &Item<'_>,
    pattern: &Pattern,
    out: &mut Diagnostics,
) -> Option<Vec<ReplacePiece>> {
    let scalar = scalars::scalar(item, "a path with groups", "write `/b/$1`", out)?;
    let text = scalar.value();
    let illegal =
        |c: char| c.is_whitespace() || c.is_control() || !c.is_ascii() || "?#".contains(c);
    if text.chars().any(illegal) {
        let message = format!(
            "{} of {} holds characters that no path has",
            scalar.words(),
            item.title()
        );
        let label = "write them percent-encoded; the query is kept as it is";
        out.push(Diagnostic::error(message).at(item.at()).label(label));
        return None;
    }
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let after = rest.get(dollar + 1..).unwrap_or_default();
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (number, next) = after.split_at(digits);
        let kept = if digits == 0 { dollar + 1 } else { dollar };
        pieces.push(ReplacePiece::Text(
            rest.get(..kept).unwrap_or_default().to_owned(),
        ));
        if digits > 0 {
            let known = pattern.regex.captures_len();
            let Some(group) = number.parse().ok().filter(|number| *number < known) else {
                let begin = text.len() - rest.len() + dollar;
                out.push(no_group(
                    number,
                    known - 1,
                    inside(item, scalar, begin..begin + digits + 1),
                ));
                return None;
            };
            pieces.push(ReplacePiece::Group(group));
        }
        rest = next;
    }
    pieces.push(ReplacePiece::Text(rest.to_owned()));
    pieces.retain(|piece| !matches!(piece, ReplacePiece::Text(text) if text.is_empty()));
    Some(pieces)
}

fn no_group(number: &str, known: usize, at: super::super::source::Span) -> Diagnostic {
    let label = match known {
        0 => "the expression has no group; put `(` and `)` around what to keep".to_owned(),
        1 => "the expression has one group: `$1`".to_owned(),
        known => format!("the expression has the groups `$1` to `${known}`"),
    };
    Diagnostic::error(format!("the group `${number}` does not exist"))
        .at(at)
        .label(label)
}
