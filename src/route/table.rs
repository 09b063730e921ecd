//! The look-up structure: host → path → method.
//!
//! Path: see [`super`]. Every step is a hash look-up, one per leading segment of the path at most, so that ten
//! thousand routes cost what ten cost. Prefixes are compared segment by segment: `/api` takes `/api/x`, not `/apix`.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use http::Method;

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// The whole path.
    Exact(Box<str>),
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
    /// By prefix without its trailing slash; `/` is not among them.
    prefix: Map<Vec<Rule<T>>>,
    /// Of the prefix `/`, which nearly every table has and every path comes to in the end.
    root: Vec<Rule<T>>,
    /// Length of the longest key of `prefix`: what a client adds behind costs no look-up.
    longest: usize,
}

#[derive(Debug)]
struct Rule<T> {
    methods: Box<[Method]>,
    target: T,
}

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
            prefix: Map::default(),
            root: Vec::new(),
            longest: 0,
        }
    }
}

impl<T> Table<T> {
    /// Adds a target. Of two that ask the same of a request, the one inserted first wins.
    pub fn insert(&mut self, matcher: Matcher, target: T) {
        let paths = match matcher.host {
            Host::Exact(name) => self.exact.entry(name).or_default(),
            Host::Suffix(name) => self.suffix.entry(name).or_default(),
            Host::Any => &mut self.any,
        };
        let rules = match matcher.path {
            Path::Exact(path) => paths.exact.entry(path).or_default(),
            Path::Prefix(path) => match path.trim_end_matches('/') {
                "" => &mut paths.root,
                prefix => {
                    paths.longest = paths.longest.max(prefix.len());
                    paths.prefix.entry(prefix.into()).or_default()
                }
            },
        };
        // One that names methods is more specific than one that does not.
        let position = if matcher.methods.is_empty() {
            rules.len()
        } else {
            rules.partition_point(|rule| !rule.methods.is_empty())
        };
        rules.insert(
            position,
            Rule {
                methods: matcher.methods,
                target,
            },
        );
    }

    /// The target for a request; `host` may carry a port.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Option<&T> {
        if self.exact.is_empty() && self.suffix.is_empty() {
            return self.any.find(path, method);
        }
        let name = without_port(host);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            self.find_named(&name.to_ascii_lowercase(), path, method)
        } else {
            self.find_named(name, path, method)
        }
    }

    fn find_named(&self, name: &str, path: &str, method: &Method) -> Option<&T> {
        let exact = self
            .exact
            .get(name)
            .and_then(|paths| paths.find(path, method));
        exact
            .or_else(|| self.find_suffix(name, path, method))
            .or_else(|| self.any.find(path, method))
    }

    fn find_suffix(&self, name: &str, path: &str, method: &Method) -> Option<&T> {
        if self.suffix.is_empty() {
            return None;
        }
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            rest = parent;
            if let Some(target) = self
                .suffix
                .get(rest)
                .and_then(|paths| paths.find(path, method))
            {
                return Some(target);
            }
        }
        None
    }
}

impl<T> Paths<T> {
    fn find(&self, path: &str, method: &Method) -> Option<&T> {
        if !self.exact.is_empty()
            && let Some(target) = pick(self.exact.get(path), method)
        {
            return Some(target);
        }
        self.find_prefix(path, method).or_else(|| {
            let rooted = path.starts_with('/');
            pick(Some(&self.root).filter(|_| rooted), method)
        })
    }

    fn find_prefix(&self, path: &str, method: &Method) -> Option<&T> {
        let mut prefix = match path.as_bytes().get(..=self.longest) {
            Some(beginning) => path.get(..beginning.iter().rposition(|&byte| byte == b'/')?)?,
            None => path,
        };
        while !prefix.is_empty() {
            if let Some(target) = pick(self.prefix.get(prefix), method) {
                return Some(target);
            }
            prefix = prefix.get(..prefix.rfind('/')?)?;
        }
        None
    }
}

fn pick<'a, T>(rules: Option<&'a Vec<Rule<T>>>, method: &Method) -> Option<&'a T> {
    let rule = rules?
        .iter()
        .find(|rule| rule.methods.is_empty() || rule.methods.contains(method))?;
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
mod tests {
    use super::*;

    fn table(rules: &[(&str, &str, &[Method])]) -> Table<usize> {
        let mut table = Table::default();
        for (index, (host, path, methods)) in rules.iter().enumerate() {
            let host = match host.strip_prefix("*.") {
                Some(suffix) => Host::Suffix(suffix.into()),
                None if host.is_empty() => Host::Any,
                None => Host::Exact((*host).into()),
            };
            let path = match path.strip_prefix('=') {
                Some(exact) => Path::Exact(exact.into()),
                None => Path::Prefix((*path).into()),
            };
            table.insert(
                Matcher {
                    host,
                    path,
                    methods: (*methods).into(),
                },
                index,
            );
        }
        table
    }

    fn find(table: &Table<usize>, host: &str, path: &str) -> Option<usize> {
        table.find(host, path, &Method::GET).copied()
    }

    #[test]
    fn the_more_specific_host_wins_whatever_the_order() {
        let table = table(&[
            ("", "/", &[]),
            ("*.b.com", "/", &[]),
            ("a.b.com", "/", &[]),
            ("*.a.b.com", "/", &[]),
        ]);
        let hosts = [
            "x.org",
            "c.b.com",
            "a.b.com",
            "y.a.b.com",
            "b.com",
            "A.B.com:8080",
            "a.b.com.",
            "[::1]:80",
            "",
        ];
        assert_eq!(
            hosts.map(|host| find(&table, host, "/")),
            [0, 1, 2, 3, 0, 2, 2, 0, 0].map(Some)
        );
    }

    #[test]
    fn an_exact_path_beats_a_prefix_and_the_longer_prefix_the_shorter() {
        let table = table(&[
            ("", "/", &[]),
            ("", "/api", &[]),
            ("", "/api/v1/", &[]),
            ("", "=/api/v1", &[]),
        ]);
        let paths = [
            "/",
            "/api",
            "/apix",
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/api/v1/x/y",
            "/api/v2",
            "*",
        ];
        let expected = [
            Some(0),
            Some(1),
            Some(0),
            Some(1),
            Some(3),
            Some(2),
            Some(2),
            Some(1),
            None,
        ];
        assert_eq!(paths.map(|path| find(&table, "h", path)), expected);
    }

    #[test]
    fn a_host_without_a_matching_path_leaves_the_request_to_the_next_host() {
        let table = table(&[("a.com", "/only", &[]), ("", "/", &[])]);
        assert_eq!(find(&table, "a.com", "/other"), Some(1));
    }

    #[test]
    fn a_rule_with_methods_comes_first_and_lets_others_through() {
        let table = table(&[
            ("", "/", &[]),
            ("", "/", &[Method::POST]),
            ("", "/", &[Method::POST, Method::PUT]),
        ]);
        let target = |method| table.find("h", "/x", &method).copied();
        assert_eq!(
            [
                target(Method::GET),
                target(Method::POST),
                target(Method::PUT)
            ],
            [Some(0), Some(1), Some(2)]
        );
    }

    #[test]
    fn a_long_path_finds_a_short_prefix() {
        let table = table(&[
            ("", "/api", &[]),
            ("", "/api/v1", &[]),
            ("", "/x", &[Method::POST]),
        ]);
        let long = format!("/api{}", "/a".repeat(30_000));
        assert_eq!(find(&table, "h", &long), Some(0));
        assert_eq!(find(&table, "h", "/api/v1/x"), Some(1));
        assert_eq!(find(&table, "h", "/api/v12"), Some(0));
        assert_eq!(find(&table, "h", &"/".repeat(60_000)), None);
        assert_eq!(find(&table, "h", "/x"), None);
    }

    #[test]
    fn nothing_matches_nothing() {
        assert_eq!(find(&table(&[("a.com", "/", &[])]), "b.com", "/"), None);
        assert_eq!(find(&table(&[]), "", ""), None);
    }
}
