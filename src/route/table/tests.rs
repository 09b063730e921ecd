mod order;

use super::*;

fn host(text: &str) -> Host {
    match text.strip_prefix("*.") {
        Some(suffix) => Host::Suffix(suffix.into()),
        None if text.is_empty() => Host::Any,
        None => Host::Exact(text.into()),
    }
}

/// `=/a` is exact, `~/a.*` an expression, else a prefix.
fn path(text: &str) -> Path {
    match (text.strip_prefix('='), text.strip_prefix('~')) {
        (Some(exact), _) => Path::Exact(exact.into()),
        (_, Some(pattern)) => Path::Regex(Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap()),
        (None, None) => Path::Prefix(text.into()),
    }
}

fn table(rules: &[(&str, &str, &[Method])]) -> Table<usize> {
    let rules = rules.iter().enumerate();
    let rules = rules.map(|(index, (name, text, methods))| {
        let matcher = Matcher {
            host: host(name),
            path: path(text),
            methods: (*methods).into(),
            conditions: Conditions::default(),
        };
        (matcher, index)
    });
    rules.collect()
}

fn ask(table: &Table<usize>, host: &str, path: &str, method: &Method) -> Option<usize> {
    let asked = Asked {
        host,
        path,
        query: None,
        method,
        headers: &HeaderMap::new(),
    };
    table.find(&asked).copied()
}

fn find(table: &Table<usize>, host: &str, path: &str) -> Option<usize> {
    ask(table, host, path, &Method::GET)
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
    let target = |method| ask(&table, "h", "/x", &method);
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

#[test]
fn an_expression_stands_between_exact_and_prefix_and_is_for_the_whole_path() {
    for more in [0, 10] {
        let mut rules: Vec<(&str, &str, &[Method])> = vec![
            ("", "/", &[]),
            ("", "/users/admin", &[]),
            ("", "~/users/[a-z]+", &[]),
            ("", "=/users/me", &[]),
            ("", "~/users/[0-9]+", &[Method::POST]),
        ];
        let others: Vec<String> = (0..more).map(|n| format!("~/other/{n}")).collect();
        rules.extend(others.iter().map(|pattern| ("", pattern.as_str(), &[][..])));
        let table = table(&rules);
        assert_eq!(find(&table, "h", "/users/me"), Some(3));
        assert_eq!(find(&table, "h", "/users/admin"), Some(2));
        assert_eq!(find(&table, "h", "/users/admin/x"), Some(1));
        assert_eq!(find(&table, "h", "/x/users/ab"), Some(0));
        assert_eq!(find(&table, "h", "/users/7"), Some(0));
        assert_eq!(ask(&table, "h", "/users/7", &Method::POST), Some(4));
    }
}
