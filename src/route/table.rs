//! The look-up structure: host → path → method, headers, query.
//!
//! Path: see [`super`]. Hosts and paths are hash look-ups, one per leading segment of the path at most, so that ten
//! thousand routes cost what ten cost; regular expressions are looked at together. Prefixes are compared segment by
//! segment: `/api` takes `/api/x`, not `/apix`.
//!
//! The order in which rules are tried is total (Gateway API, HTTPRouteRule):
//! 1. host: exact, then the longer wildcard, then none;
//! 2. path: exact, then regular expression, then the longer prefix;
//! 3. rules that name methods before rules that do not; 4. more headers; 5. more query parameters;
//! 6. what was inserted first.
//!
//! The Gateway API leaves the place of regular expressions open. Here they stand before prefixes, for whoever writes
//! `/users/[0-9]+` beside the prefix `/` or `/users` means an exception to it; among themselves the length of a pattern
//! says nothing, so the other steps decide. A rule that does not hold leaves the request to the next one, of whatever
//! host and path.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use http::{HeaderMap, Method};
use regex::{Regex, RegexSet, RegexSetBuilder};

use super::conditions::Conditions;

/// A host to match; lower-cased, without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// The whole name.
    Exact(Box<str>),
    /// One or more labels, then this name.
    Suffix(Box<str>),
    /// Every name, and none.
    Any,
}

/// A path to match.
#[derive(Debug, Clone)]
pub enum Path {
    /// The whole path.
    Exact(Box<str>),
    /// An expression for the whole path; anchored on both sides.
    Regex(Regex),
    /// The path itself or its leading segments.
    Prefix(Box<str>),
}

/// What a route asks of a request.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Its host.
    pub host: Host,
    /// Its path.
    pub path: Path,
    /// Its method is one of these; empty: any.
    pub methods: Box<[Method]>,
    /// Its headers and query.
    pub conditions: Conditions,
}

/// What of a request counts for routing.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// The host, maybe with a port, in any case.
    pub host: &'r str,
    /// The path in its normal form.
    pub path: &'r str,
    /// What follows the path's `?`.
    pub query: Option<&'r str>,
    /// The method.
    pub method: &'r Method,
    /// The headers.
    pub headers: &'r HeaderMap,
}

/// Finds the most specific target.
#[derive(Debug)]
pub struct Table<T> {
    exact: Map<Paths<T>>,
    suffix: Map<Paths<T>>,
    any: Paths<T>,
}

type Map<V> = HashMap<Box<str>, V, RandomState>;

#[derive(Debug)]
struct Paths<T> {
    exact: Map<Vec<Rule<T>>>,
    regex: Regexes<T>,
    /// By prefix without its trailing slash; `/` is not among them.
    prefix: Map<Vec<Rule<T>>>,
    /// Of the prefix `/`, which nearly every table has and every path comes to in the end.
    root: Vec<Rule<T>>,
    /// Length of the longest key of `prefix`: what a client adds behind costs no look-up.
    longest: usize,
}

/// Rules by expression, in the order in which they are tried.
#[derive(Debug)]
struct Regexes<T> {
    rules: Vec<(Regex, Rule<T>)>,
    /// All expressions in one automaton, in the same order; none if they are few, or too large for one.
    set: Option<RegexSet>,
}

#[derive(Debug)]
struct Rule<T> {
    methods: Box<[Method]>,
    /// Boxed and mostly absent: what has none is half as long to look through.
    conditions: Option<Box<Conditions>>,
    target: T,
}

/// From so many expressions on, one automaton for all is faster than one after the other.
const SET_FROM: usize = 4;

/// Memory that the automaton of all expressions of a host may take. Beyond it they are tried one by one.
const SET_BYTES: usize = 64 * 1024 * 1024;

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            exact: Map::default(),
            suffix: Map::default(),
            any: Paths::default(),
        }
    }
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self {
            exact: Map::default(),
            regex: Regexes {
                rules: Vec::new(),
                set: None,
            },
            prefix: Map::default(),
            root: Vec::new(),
            longest: 0,
        }
    }
}

/// Of two that ask the same of a request, the one that comes first wins.
impl<T> FromIterator<(Matcher, T)> for Table<T> {
    fn from_iter<I: IntoIterator<Item = (Matcher, T)>>(rules: I) -> Self {
        let mut table = Self::default();
        for (matcher, target) in rules {
            table.insert(matcher, target);
        }
        let hosts = table.exact.values_mut().chain(table.suffix.values_mut());
        hosts.chain([&mut table.any]).for_each(Paths::finish);
        table
    }
}

impl<T> Table<T> {
    fn insert(&mut self, matcher: Matcher, target: T) {
        let paths = match matcher.host {
            Host::Exact(name) => self.exact.entry(name).or_default(),
            Host::Suffix(name) => self.suffix.entry(name).or_default(),
            Host::Any => &mut self.any,
        };
        let conditions = Some(matcher.conditions).filter(|conditions| !conditions.is_empty());
        let rule = Rule {
            methods: matcher.methods,
            conditions: conditions.map(Box::new),
            target,
        };
        paths.insert(matcher.path, rule);
    }

    /// The target for a request.
    pub fn find(&self, asked: &Asked<'_>) -> Option<&T> {
        if self.exact.is_empty() && self.suffix.is_empty() {
            return self.any.find(asked);
        }
        let name = without_port(asked.host);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.find_named(&name.to_ascii_lowercase(), asked)
        } else {
            self.find_named(name, asked)
        }
    }

    fn find_named(&self, name: &str, asked: &Asked<'_>) -> Option<&T> {
        let exact = self.exact.get(name).and_then(|paths| paths.find(asked));
        exact
            .or_else(|| self.find_suffix(name, asked))
            .or_else(|| self.any.find(asked))
    }

    fn find_suffix(&self, name: &str, asked: &Asked<'_>) -> Option<&T> {
        if self.suffix.is_empty() {
            return None;
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            rest = parent;
            if let Some(target) = self.suffix.get(rest).and_then(|paths| paths.find(asked)) {
                return Some(target);
            }
        }
        None
    }
}

impl<T> Paths<T> {
    fn insert(&mut self, path: Path, rule: Rule<T>) {
        match path {
            Path::Exact(path) => self.exact.entry(path).or_default().push(rule),
            Path::Regex(regex) => self.regex.rules.push((regex, rule)),
            Path::Prefix(path) => match path.trim_end_matches('/') {
                "" => self.root.push(rule),
                prefix => {
                    self.longest = self.longest.max(prefix.len());
                    self.prefix.entry(prefix.into()).or_default().push(rule);
                }
            },
        }
    }

    /// Puts the rules of each path into the order in which they are tried.
    fn finish(&mut self) {
        let lists = self.exact.values_mut().chain(self.prefix.values_mut());
        for rules in lists.chain([&mut self.root]) {
            rules.sort_by_key(Rule::rank);
        }
        self.regex.finish();
    }

    fn find(&self, asked: &Asked<'_>) -> Option<&T> {
        if !self.exact.is_empty()
            && let Some(target) = pick(self.exact.get(asked.path), asked)
        {
            return Some(target);
        }
        self.regex
            .find(asked)
            .or_else(|| self.find_prefix(asked))
            .or_else(|| {
                let rooted = asked.path.starts_with('/');
                pick(Some(&self.root).filter(|_| rooted), asked)
            })
    }

    fn find_prefix(&self, asked: &Asked<'_>) -> Option<&T> {
        let path = asked.path;
        let mut prefix = match path.as_bytes().get(..=self.longest) {
            Some(beginning) => path.get(..beginning.iter().rposition(|&byte| byte == b'/')?)?,
            None => path,
        };
        while !prefix.is_empty() {
            if let Some(target) = pick(self.prefix.get(prefix), asked) {
                return Some(target);
            }
            prefix = prefix.get(..prefix.rfind('/')?)?;
        }
        None
    }
}

impl<T> Regexes<T> {
    fn finish(&mut self) {
        self.rules.sort_by_key(|(_, rule)| rule.rank());
        if self.rules.len() >= SET_FROM {
            let patterns = self.rules.iter().map(|(regex, _)| regex.as_str());
            let set = RegexSetBuilder::new(patterns).size_limit(SET_BYTES).build();
            self.set = set.ok();
        }
    }

    fn find(&self, asked: &Asked<'_>) -> Option<&T> {
        let Some(set) = &self.set else {
            let mut rules = self.rules.iter();
            let found = rules.find(|(regex, rule)| rule.takes(asked) && regex.is_match(asked.path));
            return found.map(|(_, rule)| &rule.target);
        };
        // Nothing is allocated for a path that none takes.
        if !set.is_match(asked.path) {
            return None;
        }
        let matched = set.matches(asked.path);
        let mut rules = matched.iter().filter_map(|index| self.rules.get(index));
        let found = rules.find(|(_, rule)| rule.takes(asked));
        found.map(|(_, rule)| &rule.target)
    }
}

impl<T> Rule<T> {
    /// Smaller is tried sooner.
    fn rank(&self) -> (bool, usize, usize) {
        let conditions = self.conditions.as_ref();
        let count = conditions.map_or((0, 0), |conditions| {
            (conditions.headers.len(), conditions.query.len())
        });
        (
            self.methods.is_empty(),
            usize::MAX - count.0,
            usize::MAX - count.1,
        )
    }

    fn takes(&self, asked: &Asked<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(asked.method))
            && self
                .conditions
                .as_ref()
                .is_none_or(|conditions| conditions.hold(asked))
    }
}

fn pick<'a, T>(rules: Option<&'a Vec<Rule<T>>>, asked: &Asked<'_>) -> Option<&'a T> {
    let rule = rules?.iter().find(|rule| rule.takes(asked))?;
    Some(&rule.target)
}

/// `example.com:8080` → `example.com`, `[::1]:80` → `[::1]`; a final dot goes, too.
fn without_port(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() =>
        {
            name
        }
        _ => host,
    };
    let bare = name.strip_suffix('.').unwrap_or(name);
    // An unbracketed IPv6 address has colons in what is left, and no port.
    if bare.contains(':') && !bare.ends_with(']') {
        host
    } else {
        bare
    }
}

#[cfg(test)]
mod tests;
