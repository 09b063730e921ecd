//! The table against a reference that looks at every rule, and the order of rules as a total one.

use http::HeaderValue;
use http::header::HeaderName;
use proptest::prelude::*;

use super::{host, path};
use crate::route::conditions::{Conditions, Test};
use crate::route::table::{Asked, Host, Matcher, Path, Table};
use http::{HeaderMap, Method};

/// A rule in the words of the reference.
#[derive(Debug, Clone)]
struct Told {
    host: &'static str,
    path: &'static str,
    methods: Vec<Method>,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
}

/// A request in its words.
#[derive(Debug, Clone)]
struct Question {
    host: &'static str,
    path: &'static str,
    method: Method,
    headers: Vec<(&'static str, &'static str)>,
    query: Vec<(&'static str, &'static str)>,
}

impl Told {
    fn matcher(&self) -> Matcher {
        let test = |value: &str| match value {
            "*" => Test::Present,
            value => Test::Is(value.into()),
        };
        Matcher {
            host: host(self.host),
            path: path(self.path),
            methods: self.methods.clone().into(),
            conditions: Conditions {
                headers: self
                    .headers
                    .iter()
                    .map(|(name, value)| (HeaderName::from_static(name), test(value)))
                    .collect(),
                query: self
                    .query
                    .iter()
                    .map(|(name, value)| ((*name).into(), test(value)))
                    .collect(),
            },
        }
    }

    /// Its place in the order, greater first: the sentences of the module's header, one by one.
    fn rank(&self) -> (usize, usize, usize, usize, bool, usize, usize) {
        let host = match host(self.host) {
            Host::Exact(name) => (2, name.len()),
            Host::Suffix(name) => (1, name.len()),
            Host::Any => (0, 0),
        };
        let path = match path(self.path) {
            Path::Exact(_) => (2, 0),
            Path::Regex(_) => (1, 0),
            Path::Prefix(prefix) => (0, prefix.trim_end_matches('/').len()),
        };
        (
            host.0,
            host.1,
            path.0,
            path.1,
            !self.methods.is_empty(),
            self.headers.len(),
            self.query.len(),
        )
    }

    fn takes(&self, question: &Question) -> bool {
        let host = match host(self.host) {
            Host::Exact(name) => *name == *question.host,
            Host::Suffix(name) => question.host.ends_with(&format!(".{name}")),
            Host::Any => true,
        };
        let path = match path(self.path) {
            Path::Exact(path) => *path == *question.path,
            Path::Regex(regex) => regex.is_match(question.path),
            Path::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                question.path == prefix || question.path.starts_with(&format!("{prefix}/"))
            }
        };
        let first = |list: &[(&str, &'static str)], name: &str| {
            list.iter()
                .find(|(own, _)| *own == name)
                .map(|(_, value)| *value)
        };
        let holds = |rules: &[(&str, &str)], list: &[(&str, &'static str)]| {
            rules.iter().all(|(name, value)| {
                first(list, name).is_some_and(|found| *value == "*" || *value == found)
            })
        };
        let method = self.methods.is_empty() || self.methods.contains(&question.method);
        host && path
            && method
            && holds(&self.headers, &question.headers)
            && holds(&self.query, &question.query)
    }
}

/// Looks at every rule.
fn naive(rules: &[Told], question: &Question) -> Option<usize> {
    let taking = rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.takes(question));
    // Of equals `max_by_key` gives the last, and the first counts.
    taking
        .rev()
        .max_by_key(|(_, rule)| rule.rank())
        .map(|(index, _)| index)
}

fn quick(table: &Table<usize>, question: &Question) -> Option<usize> {
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        headers.insert(*name, HeaderValue::from_static(value));
    }
    let query: Vec<String> = question
        .query
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let query = (!query.is_empty()).then(|| query.join("&"));
    let asked = Asked {
        host: question.host,
        path: question.path,
        query: query.as_deref(),
        method: &question.method,
        headers: &headers,
    };
    table.find(&asked).copied()
}

type Pairs = Vec<(&'static str, &'static str)>;

/// Each name at most once.
fn pairs(names: [&'static str; 2], values: Vec<&'static str>) -> impl Strategy<Value = Pairs> {
    let one = prop::option::weighted(0.3, prop::sample::select(values));
    (one.clone(), one).prop_map(move |(first, second)| {
        let pairs = names.into_iter().zip([first, second]);
        pairs
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    })
}

fn rule() -> impl Strategy<Value = Told> {
    let hosts = vec!["", "a.com", "x.a.com", "*.a.com", "*.x.a.com", "*.com"];
    let paths = vec![
        "/",
        "/a",
        "/a/",
        "/a/b",
        "=/a",
        "=/a/b",
        "~/a/[a-z]+",
        "~/.*",
        "~/a",
        "~/a/b|/c",
        "~/[0-9]",
    ];
    let methods = prop::sample::subsequence(vec![Method::GET, Method::POST], 0..=2);
    let values = vec!["1", "2", "*"];
    (
        prop::sample::select(hosts),
        prop::sample::select(paths),
        methods,
        pairs(["x-a", "x-b"], values.clone()),
        pairs(["q", "r"], values),
    )
        .prop_map(|(host, path, methods, headers, query)| Told {
            host,
            path,
            methods,
            headers,
            query,
        })
}

fn question() -> impl Strategy<Value = Question> {
    let hosts = vec!["a.com", "x.a.com", "y.x.a.com", "b.com", "org"];
    let paths = vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/c", "/1"];
    let methods = vec![Method::GET, Method::POST, Method::PUT];
    (
        prop::sample::select(hosts),
        prop::sample::select(paths),
        prop::sample::select(methods),
        pairs(["x-a", "x-b"], vec!["1", "2"]),
        pairs(["q", "r"], vec!["1", "2"]),
    )
        .prop_map(|(host, path, method, headers, query)| Question {
            host,
            path,
            method,
            headers,
            query,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1024) })]

    #[test]
    fn the_table_finds_what_looking_at_every_rule_finds(
        rules in prop::collection::vec(rule(), 0..14), questions in prop::collection::vec(question(), 1..12)
    ) {
        let table: Table<usize> = rules.iter().map(Told::matcher).zip(0..).collect();
        for question in &questions {
            prop_assert_eq!(quick(&table, question), naive(&rules, question), "{:?}", question);
        }
    }

    /// The order is total: among rules that all differ in rank, the file's order decides nothing.
    #[test]
    fn the_order_of_the_file_decides_only_between_equals(
        rules in prop::collection::vec(rule(), 0..10), questions in prop::collection::vec(question(), 1..12)
    ) {
        let mut distinct = rules;
        distinct.sort_by_key(Told::rank);
        distinct.dedup_by_key(|rule| rule.rank());
        let forward: Table<usize> = distinct.iter().map(Told::matcher).zip(0..).collect();
        let backward: Table<usize> = distinct.iter().map(Told::matcher).zip(0..).collect::<Vec<_>>().into_iter().rev().collect();
        for question in &questions {
            prop_assert_eq!(quick(&forward, question), quick(&backward, question));
        }
    }
}
