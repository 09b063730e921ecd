//! What a user sees when a file is wrong: each kind of mistake, as it is printed.
//!
//! `tests/golden/config/NNN-name.yaml` holds one mistake, the `.txt` beside it what is printed. `BLESS=1` writes the
//! latter anew; read the difference before you commit it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger::cli::check::{self, Format};
use outrigger::config::render::{self, Colour};
use outrigger::config::source::Source;
use outrigger::config::{self, diagnostics::Diagnostics, model::Config};
use outrigger::snapshot;
use proptest::prelude::*;

fn golden_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/config")
}

pub(crate) fn env(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8080".to_owned()),
        "WORD" => Some("several".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

pub(crate) fn yaml_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The text of `path` under its bare name, so that no path of this machine is printed.
pub(crate) fn source(path: &Path) -> Source {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    Source {
        name,
        directory: golden_dir(),
        text: std::fs::read_to_string(path).unwrap(),
    }
}

/// The golden file of this name, whatever its number.
fn golden(name: &str) -> Source {
    let ending = format!("-{name}.yaml");
    let is_it = |path: &&PathBuf| path.to_string_lossy().ends_with(&ending);
    source(yaml_files(&golden_dir()).iter().find(is_it).unwrap())
}

fn printed(source: &Source) -> String {
    let (text, _) = check::source_text(source, &env, Format::Human(Colour::Never));
    text.replace(&golden_dir().display().to_string(), "DIR")
}

pub(crate) fn checked(text: &str) -> (Config, Diagnostics) {
    let (config, mut diagnostics) = config::read(&Source::inline("test.yaml", text), &env);
    snapshot::check::check(&config, &mut diagnostics);
    (config, diagnostics)
}

/// The messages of a file's mistakes.
fn messages(text: &str) -> Vec<String> {
    checked(text)
        .1
        .iter()
        .map(|item| item.message.clone())
        .collect()
}

#[test]
fn each_mistake_is_told_as_agreed() {
    let mut different = Vec::new();
    for path in yaml_files(&golden_dir()) {
        let seen = printed(&source(&path));
        let expected = path.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&expected, &seen).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != seen {
            different.push(format!("{}\n{seen}", path.display()));
        }
    }
    assert!(
        different.is_empty(),
        "{} differ; BLESS=1 rewrites\n{}",
        different.len(),
        different.join("\n")
    );
}

#[test]
fn each_mistake_has_a_place_a_caret_and_a_remedy() {
    // These are about the file as a whole.
    let placeless = ["the file is empty", "no listeners"];
    for path in yaml_files(&golden_dir()) {
        let source = source(&path);
        let (config, mut diagnostics) = config::read(&source, &env);
        snapshot::check::check(&config, &mut diagnostics);
        assert!(!diagnostics.is_empty(), "{} has no mistake", source.name);
        for item in &diagnostics {
            let message = &item.message;
            assert!(
                item.hint().is_some(),
                "{}: {message}: no remedy",
                source.name
            );
            assert!(
                !message.contains('\n') && !message.ends_with('.'),
                "{message}"
            );
            if item.at.is_none() {
                assert!(
                    placeless.iter().any(|part| message.contains(part)),
                    "{}: {message}: no place",
                    source.name
                );
                continue;
            }
            let line = render::one_line(&source, item);
            assert!(line.starts_with(&format!("{}:", source.name)), "{line}");
        }
        let shown = printed(&source);
        let placed = diagnostics.iter().filter(|item| item.at.is_some()).count();
        assert_eq!(shown.matches("--> ").count(), placed, "{shown}");
        assert!(shown.matches('^').count() >= placed, "{shown}");
    }
}

#[test]
fn the_golden_files_are_of_different_kinds() {
    let kinds: HashSet<String> = yaml_files(&golden_dir())
        .iter()
        .map(|path| printed(&source(path)))
        .collect();
    assert!(kinds.len() >= 65, "{}", kinds.len());
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_and_in_its_order() {
    let source = golden("many-at-once");
    let (config, mut diagnostics) = config::read(&source, &env);
    snapshot::check::check(&config, &mut diagnostics);
    let places: Vec<_> = diagnostics
        .iter()
        .map(|item| source.line_col(item.at.unwrap()).line)
        .collect();
    assert_eq!(places, [2, 3, 6, 6, 8, 9, 11, 13, 14, 15, 16]);
}

#[test]
fn a_broken_section_still_counts_for_references() {
    let seen = messages(
        "listeners: { inbound: { address: nowhere, forward: app } }\n\
         routes: [{ name: a, listeners: [inbound], forward: app, timeout: 5 }]\n\
         upstreams: { app: { endpoints: 7 } }\n",
    );
    assert_eq!(seen.len(), 3, "{seen:#?}");
}

#[test]
fn a_list_where_names_belong_hides_no_other_mistake_and_adds_none() {
    let seen = messages(
        "listeners: { inbound: { address: 127.0.0.1:80, forward: app } }\nupstreams: [a]\nworkers: 0\n",
    );
    assert_eq!(seen.len(), 2, "{seen:#?}");
}

/// A release build answers within a second; this one is not optimised and shares the machine with other tests.
const PROMPT: Duration = Duration::from_secs(20);

#[test]
fn a_bomb_is_answered_quickly() {
    let started = tokio::time::Instant::now();
    printed(&golden("alias-bomb"));
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
}

#[test]
fn the_text_of_a_referenced_file_is_never_shown() {
    for name in ["file-of-wrong-type", "file-of-wrong-unit", "file-as-a-name"] {
        let source = golden(name);
        let (_, diagnostics) = config::read(&source, &env);
        let line = render::one_line(&source, diagnostics.iter().next().unwrap());
        let told = format!(
            "{line}{}{}",
            render::json(&source, &diagnostics),
            printed(&source)
        );
        assert!(
            !told.contains("hunter2") && !told.contains("1234567"),
            "{told}"
        );
        assert!(line.contains("the content of `file:values/"), "{line}");
    }
}

#[test]
fn json_tells_the_same_as_the_text() {
    let source = Source::inline(
        "a.yaml",
        "listeners: { in: { address: 127.0.0.1:80, forward: é, x: 1 } }\n",
    );
    let (text, valid) = check::source_text(&source, &env, Format::Json);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(!valid);
    assert_eq!(json["valid"], false);
    assert_eq!(json["errors"], 2);
    let second = &json["diagnostics"][1];
    assert_eq!(
        (&second["line"], &second["column"]),
        (&1.into(), &55.into()),
        "{second}"
    );
    assert_eq!(second["severity"], "error");
    assert_eq!(second["file"], "a.yaml");
    assert_eq!(second["hint"], "remove it, or write an allowed key");
}

#[test]
fn a_file_that_cannot_be_read_is_told_in_one_line() {
    let (text, valid) = check::run(Path::new("no/such.yaml"), Format::Human(Colour::Never));
    assert!(
        !valid && text.starts_with("error: no/such.yaml: this file does not exist; "),
        "{text}"
    );
    let (text, valid) = check::run(Path::new("no/such.yaml"), Format::Json);
    assert!(
        !valid && serde_json::from_str::<serde_json::Value>(&text).unwrap()["errors"] == 1,
        "{text}"
    );
}

#[test]
fn values_come_from_variables_files_and_quotes() {
    let text = "listeners: { inbound: { address: \"127.0.0.1:${PORT}\", forward: '${EMPTY:-app}', limits: { headers: '7' } } }\n\
                upstreams: { app: { endpoints: [localhost:3000], timeouts: { connect: \"${NONE:-2s}\" } } }\n\
                access_log: { file: a$$b }\n";
    let (config, diagnostics) = checked(text);
    assert!(diagnostics.is_empty(), "{:#?}", messages(text));
    assert_eq!(
        config.listeners[0].address.value,
        outrigger::units::place::Place::Tcp("127.0.0.1:8080".parse().unwrap())
    );
    assert_eq!(config.listeners[0].limits.headers, 7);
    assert_eq!(
        config.upstreams[0].endpoints[0].value.address,
        config::model::EndpointAddress::Socket("127.0.0.1:3000".parse().unwrap())
    );
    assert_eq!(config.upstreams[0].timeouts.connect, Duration::from_secs(2));
    let log = config::model::Located::new("a$b".to_owned(), config::source::Span::default());
    assert_eq!(
        config.access_log.output,
        config::model::LogOutput::File(log)
    );
}

#[test]
fn anchors_and_merging_work() {
    let text = "listeners: { inbound: { address: 127.0.0.1:80, forward: b } }\n\
                routes: [{ name: a, forward: a, match: { path: /a } }]\n\
                upstreams:\n  a: &base\n    endpoints: [127.0.0.1:1]\n    pool: &pool { max_idle: 3 }\n  \
                b: { <<: *base, pool: *pool, endpoints: [127.0.0.1:2] }\n";
    let (config, diagnostics) = checked(text);
    assert!(diagnostics.is_empty(), "{:#?}", messages(text));
    assert_eq!(config.upstreams[1].pool.max_idle, 3);
    let address = &config.upstreams[1].endpoints[0].value.address;
    assert_eq!(address.to_string(), "127.0.0.1:2");
}

#[test]
fn a_mistake_behind_an_alias_is_told_once() {
    let seen = messages(
        "listeners: { a: { address: 127.0.0.1:1, forward: app, timeouts: &t { idle: 5 } },\n\
         \x20            b: { address: 127.0.0.1:2, forward: app, timeouts: *t } }\n\
         upstreams: { app: { endpoints: [127.0.0.1:3] } }\n",
    );
    assert_eq!(seen.len(), 2, "one for each place that uses it: {seen:#?}");
}

#[test]
fn routes_with_one_rule_on_different_listeners_do_not_collide() {
    let file = |listeners: &str| {
        format!(
            "listeners: {{ a: {{ address: 127.0.0.1:1, forward: app }}, b: {{ address: 127.0.0.1:2, forward: app }} }}\n\
             routes: [{{ name: x, listeners: [a], match: {{ path: /p }}, forward: app }},\n\
             \x20        {{ name: y, {listeners} match: {{ path: /p }}, forward: app }}]\n\
             upstreams: {{ app: {{ endpoints: [127.0.0.1:3] }} }}\n"
        )
    };
    assert_eq!(messages(&file("listeners: [b],")), [""; 0]);
    assert_eq!(
        messages(&file("listeners: [b, a],")),
        ["routes `x` and `y` match the same requests"]
    );
    assert_eq!(
        messages(&file("")),
        ["routes `x` and `y` match the same requests"]
    );
}

#[test]
fn a_large_file_of_mistakes_is_answered_quickly_and_briefly() {
    let mut text = "listeners:\n".to_owned();
    for n in 0..10_000 {
        text.push_str(&format!(
            "  l{n}: {{ adress: 0.0.0.0:80, forward: nobody }}\n"
        ));
    }
    let started = tokio::time::Instant::now();
    let shown = printed(&Source::inline("large.yaml", text));
    assert!(
        shown.ends_with("9900 more are not shown\n\n10000 errors\n")
            || shown.contains("more are not shown")
    );
    assert!(shown.len() < 100_000, "{}", shown.len());
    assert!(started.elapsed() < PROMPT, "{:?}", started.elapsed());
}

/// Reads, checks and prints; whatever comes out is fine.
fn survives(text: &str) {
    let source = Source::inline("test.yaml", text);
    check::source_text(&source, &env, Format::Human(Colour::Never));
    check::source_text(&source, &env, Format::Json);
}

fn valid_files() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    yaml_files(&dir)
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_text_is_read_without_panic(text in "(?s).{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_text_of_yaml_signs_is_read_without_panic(text in "[a-c :\\-\\[\\]{}&*!|>'\"#%@\n\t\r,?~é日$.<0-9]{0,80}") {
        survives(&text);
    }

    #[test]
    fn a_mutated_file_is_read_without_panic(
        pick in 0usize..64,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, "[ :\\-\\[\\]{}&*'\"\n\t$é0-9a-z]{0,6}"), 1..6),
    ) {
        let files = valid_files();
        let mut text = files[pick % files.len()].clone();
        for (at, removed, inserted) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + removed).min(text.len()));
            text.replace_range(start..end, &inserted);
        }
        survives(&text);
    }
}
