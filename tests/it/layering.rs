//! The house keeps its order: who may import whom, who may do what, how long a file and a function may be.
//! `DESIGN.md` §4 says it, this test holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// Longest file and longest function, in lines.
const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

/// What each module may import; everything else of the crate is refused.
const MAY: [(&str, &[&str]); 15] = [
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app",
            "config",
            "snapshot",
            "telemetry",
            "units",
            "admin",
            "downstream",
            "proxy",
            "route",
            "upstream",
            "policy",
            "drain",
            "tls",
        ],
    ),
    (
        "app",
        &[
            "config",
            "admin",
            "downstream",
            "proxy",
            "snapshot",
            "route",
            "upstream",
            "policy",
            "telemetry",
            "tls",
            "units",
            "drain",
        ],
    ),
    (
        "admin",
        &[
            "proxy",
            "snapshot",
            "route",
            "upstream",
            "policy",
            "telemetry",
            "units",
            "wire",
            "drain",
        ],
    ),
    (
        "downstream",
        &[
            "proxy",
            "snapshot",
            "route",
            "upstream",
            "policy",
            "telemetry",
            "tls",
            "units",
            "wire",
            "drain",
        ],
    ),
    (
        "proxy",
        &[
            "snapshot",
            "route",
            "upstream",
            "policy",
            "telemetry",
            "units",
            "wire",
            "drain",
        ],
    ),
    (
        "snapshot",
        &[
            "config",
            "route",
            "upstream",
            "policy",
            "telemetry",
            "tls",
            "units",
        ],
    ),
    ("route", &["upstream", "policy", "telemetry", "units"]),
    ("upstream", &["policy", "telemetry", "tls", "units", "wire"]),
    ("policy", &["units"]),
    ("config", &["units"]),
    ("wire", &["units"]),
    ("telemetry", &["units"]),
    ("tls", &["units"]),
    ("units", &[]),
];

/// What a pure module does not name: I/O, threads, the clock.
const IMPURE: [&str; 9] = [
    "tokio",
    "hyper",
    "std::net",
    "std::fs",
    "std::io",
    "std::thread",
    "std::process",
    "Instant::now",
    "SystemTime::now",
];

/// A source file by its path below `src`.
struct File {
    path: String,
    text: String,
    /// The text without comments, strings and characters; as many lines.
    code: String,
    /// Modules of the crate that it names.
    imports: BTreeSet<String>,
}

impl File {
    fn new(path: &str, text: &str) -> Self {
        let mut file = Self {
            path: path.into(),
            text: text.into(),
            code: mask(text),
            imports: BTreeSet::new(),
        };
        file.imports = file.find_imports();
        file
    }

    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// What is compiled into the program: everything before the tests, which stand last.
    fn program(&self) -> &str {
        if self.path.ends_with("/tests.rs") {
            return "";
        }
        self.code.split("#[cfg(test)]").next().unwrap_or_default()
    }

    fn find_imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let single = Regex::new(r"\bcrate::(\w+)").unwrap();
        let crate_name = Regex::new(r"\boutrigger::(\w+)").unwrap();
        for pattern in [&single, &crate_name] {
            for hit in pattern.captures_iter(self.program()) {
                found.insert(hit[1].to_string());
            }
        }
        let group = Regex::new(r"use crate::\{([^;]*)\};").unwrap();
        let first = Regex::new(r"^\s*(\w+)").unwrap();
        for hit in group.captures_iter(self.program()) {
            for item in top_level_items(&hit[1]) {
                found.extend(first.captures(&item).map(|name| name[1].to_string()));
            }
        }
        found.retain(|name| name != self.module());
        found
    }
}

/// `a::{b, c}, d` → `a::{b, c}` and ` d`.
fn top_level_items(list: &str) -> Vec<String> {
    let (mut depth, mut items) = (0, vec![String::new()]);
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(String::new());
                continue;
            }
            _ => {}
        }
        items.last_mut().unwrap().push(character);
    }
    items
}

/// Blanks comments, strings and characters, keeping line ends.
fn mask(text: &str) -> String {
    let pattern = Regex::new(
        r###"(?s)//[^\n]*|/\*.*?\*/|b?r"[^"]*"|b?r#".*?"#|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:u\{\w+\}|x\w\w|.)|[^\\'])'"###,
    )
    .unwrap();
    let blank = |hit: &regex::Captures<'_>| {
        let lines = hit[0].matches('\n').count();
        format!(" {}", "\n".repeat(lines))
    };
    pattern.replace_all(text, blank).into_owned()
}

/// Every violation, a line each.
fn violations(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |file: &File, what: String| found.push(format!("{}: {what}", file.path));
    for file in files {
        for what in imports_refused(file)
            .into_iter()
            .chain(deeds_refused(file))
            .chain(lengths_refused(file))
        {
            say(file, what);
        }
    }
    found.extend(circles(files));
    found
}

fn imports_refused(file: &File) -> Vec<String> {
    if file.module() == "lib" {
        return Vec::new();
    }
    let Some((_, allowed)) = MAY.iter().find(|(module, _)| *module == file.module()) else {
        return vec![format!(
            "module `{}` has no place in the order",
            file.module()
        )];
    };
    let imports = &file.imports;
    let refused = imports
        .iter()
        .filter(|name| !allowed.contains(&name.as_str()));
    refused
        .map(|name| format!("`{}` may not import `{name}`", file.module()))
        .collect()
}

fn deeds_refused(file: &File) -> Vec<String> {
    let mut refused = Vec::new();
    let program = file.program();
    if file.module() == "policy" {
        let named = IMPURE.iter().filter(|name| program.contains(*name));
        refused.extend(named.map(|name| format!("a policy is pure, and this names `{name}`")));
    }
    if !file.path.starts_with("config/yaml") && program.contains("serde_yaml") {
        refused.push("only `config::yaml` knows the YAML library".into());
    }
    let answers = ["proxy/respond.rs", "app/demo.rs"].contains(&file.path.as_str())
        || file.module() == "admin";
    if !answers {
        for deed in ["Response::new(", "Response::builder(", "Response::default("] {
            if program.contains(deed) {
                refused.push(format!(
                    "only `proxy::respond` invents answers, and this has `{deed}`"
                ));
            }
        }
        // A status line is in a string, so the text counts; tests may write what they like.
        let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        if Regex::new(r#""(?:[^"\n]*\b)?HTTP/1\.[01] \d\d\d"#)
            .unwrap()
            .is_match(text)
        {
            refused.push("only `proxy::respond` invents answers, and this writes one".into());
        }
    }
    if file.module() == "proxy"
        && !["proxy/respond.rs", "proxy/error.rs"].contains(&file.path.as_str())
    {
        let status = Regex::new(r"StatusCode::([A-Z_]{2,})").unwrap();
        for hit in status.captures_iter(program) {
            // Recognising a switch of protocols is passing on.
            if &hit[1] != "SWITCHING_PROTOCOLS" {
                refused.push(format!(
                    "a status is chosen in `proxy::error`, not here: {}",
                    &hit[1]
                ));
            }
        }
    }
    refused
}

fn lengths_refused(file: &File) -> Vec<String> {
    let mut refused = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES {
        refused.push(format!("{lines} lines are more than {FILE_LINES}"));
    }
    for (name, lines) in functions(&file.code) {
        if lines > FUNCTION_LINES {
            refused.push(format!(
                "`fn {name}` has {lines} lines, more than {FUNCTION_LINES}"
            ));
        }
    }
    refused
}

/// Name and length of each function with a body.
fn functions(code: &str) -> Vec<(String, usize)> {
    let head = Regex::new(r"\bfn (\w+)").unwrap();
    let mut found = Vec::new();
    for hit in head.captures_iter(code) {
        let begin = hit.get(0).unwrap().start();
        let mut depth = 0usize;
        for (offset, character) in code[begin..].char_indices() {
            match character {
                ';' if depth == 0 => break,
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        let lines = code[begin..begin + offset].matches('\n').count() + 1;
                        found.push((hit[1].to_string(), lines));
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

/// Modules that can be reached from themselves.
fn circles(files: &[File]) -> Vec<String> {
    let mut graph: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        graph
            .entry(file.module())
            .or_default()
            .extend(file.imports.clone());
    }
    let mut found = Vec::new();
    for &start in graph.keys() {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = graph[start].iter().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(graph.get(module.as_str()).into_iter().flatten());
            }
        }
        if seen.iter().any(|module| *module == start) {
            found.push(format!("`{start}` imports itself by way of others"));
        }
    }
    found
}

fn sources(directory: &Path, root: &Path, into: &mut Vec<File>) {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            sources(&path, root, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let below = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_string();
            into.push(File::new(&below, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn the_sources_keep_the_order_of_the_house() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &root, &mut files);
    assert!(files.len() > 50, "{} files were found", files.len());
    let imports: usize = files.iter().map(|file| file.imports.len()).sum();
    assert!(imports > 50, "{imports} imports were found");
    let functions: usize = files.iter().map(|file| functions(&file.code).len()).sum();
    assert!(functions > 500, "{functions} functions were found");
    let found = violations(&files);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[track_caller]
fn refused(path: &str, text: &str, why: &str) {
    let found = violations(&[File::new(path, text)]);
    assert!(
        found.len() == 1 && found[0].contains(why),
        "{path}: {text:.80} → {found:?}"
    );
}

#[test]
fn planted_violations_are_found() {
    let import = "may not import";
    refused("policy/a.rs", "use crate::upstream::Upstream;", import);
    refused(
        "proxy/a.rs",
        "fn a() { crate::downstream::worker::a() }",
        import,
    );
    refused(
        "downstream/a.rs",
        "use crate::config::model::Config;",
        import,
    );
    refused(
        "upstream/a.rs",
        "use crate::{telemetry::{a, b}, route::Route};",
        import,
    );
    refused("telemetry/a.rs", "pub use crate::snapshot::*;", import);
    refused("main.rs", "fn main() { outrigger::app::run() }", import);
    refused("misc/a.rs", "", "has no place");
    refused(
        "policy/a.rs",
        "fn a() { std::time::Instant::now(); }",
        "pure",
    );
    refused("policy/a.rs", "use tokio::time::Instant;", "pure");
    refused("app/a.rs", "use serde_yaml::Value;", "YAML");
    refused(
        "proxy/a.rs",
        "fn a() { Response::new(body) }",
        "invents answers",
    );
    refused(
        "downstream/a.rs",
        "const A: &str = \"HTTP/1.1 400 Bad\";",
        "invents answers",
    );
    refused(
        "proxy/a.rs",
        "fn a() { StatusCode::BAD_GATEWAY }",
        "a status",
    );
    refused("units.rs", &"\n".repeat(401), "401 lines");
    let long = format!(
        "fn a() {{\n let s = \"}}\"; // }}\n let c = '}}';{}\n}}",
        "\n b();".repeat(59)
    );
    refused("units.rs", &long, "`fn a` has 63 lines");
    let both = [
        File::new("route/a.rs", "use crate::upstream::A;"),
        File::new("upstream/a.rs", "use crate::route::B;"),
    ];
    let found = violations(&both);
    assert_eq!(
        found.len(),
        3,
        "one import, and each module in a circle: {found:?}"
    );
}

#[test]
fn what_only_looks_like_a_violation_is_let_through() {
    let fine = [
        (
            "policy/a.rs",
            "//! Not `crate::app`.\n// tokio\nconst A: &str = \"hyper\";",
        ),
        (
            "proxy/a.rs",
            "fn a() {\n}\n#[cfg(test)]\nmod tests { use crate::app::App; }",
        ),
        (
            "proxy/a.rs",
            "fn a(s: StatusCode) -> bool { s == StatusCode::SWITCHING_PROTOCOLS }",
        ),
        ("admin/a.rs", "fn a() { Response::new(()) }"),
        ("config/yaml/a.rs", "use serde_yaml::Value;"),
        ("snapshot/a.rs", "use crate::config::model::Config;"),
    ];
    let files = fine.map(|(path, text)| File::new(path, text));
    assert!(violations(&files).is_empty(), "{:?}", violations(&files));
}
