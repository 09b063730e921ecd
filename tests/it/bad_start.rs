//! What prevents a start is told in one clear message, at once, and nothing is left behind.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::binary::{command, program, wait};

/// Generous for a debug build on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(15);

const ADMIN_OFF: &str = "admin: { probes: off, control: off }\n";

/// Runs with the file at `path`; what it says on standard error.
#[track_caller]
fn fails(path: &Path) -> String {
    let begun = Instant::now();
    let mut child = command(path)
        .env("OUTRIGGER_TEST_SET", "127.0.0.1:1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        err.read_to_string(&mut text).unwrap();
        text
    });
    let mut said = String::new();
    out.read_to_string(&mut said).unwrap();
    let status = wait(&mut child);
    let text = reading.join().unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(said.is_empty(), "nothing for standard output: {said}");
    let messages = text
        .lines()
        .filter(|line| line.starts_with("error"))
        .count();
    assert_eq!(messages, 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[track_caller]
fn text_fails(yaml: impl AsRef<[u8]>, says: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outrigger.yaml");
    std::fs::write(&path, yaml).unwrap();
    let text = fails(&path);
    assert!(text.contains(says), "{text}");
    text
}

fn minimal(address: &str, forward: &str) -> String {
    format!(
        "{ADMIN_OFF}listeners:\n  inbound: {{ address: {address}, forward: {forward} }}\nupstreams:\n  app: {{ endpoints: [127.0.0.1:3000] }}\n"
    )
}

#[test]
fn a_missing_file() {
    let text = fails(Path::new("/no/such/file.yaml"));
    assert!(
        text.contains("/no/such/file.yaml: this file does not exist"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_directory_instead_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let text = fails(directory.path());
    assert!(
        text.contains("this is not a file; name the file in it"),
        "{text}"
    );
}

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn a_file_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("outrigger.yaml");
    std::fs::write(&path, minimal("127.0.0.1:0", "app")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        eprintln!("SKIPPED: this user may read everything (root?), so no file is unreadable");
        return;
    }
    let text = fails(&path);
    assert!(text.contains("may not be read"), "{text}");
}

#[test]
fn a_port_in_use_and_the_free_one_beside_it_is_not_kept() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let [taken_at, free_at] = [&taken, &free].map(|socket| socket.local_addr().unwrap());
    drop(free);
    let yaml = format!(
        "{ADMIN_OFF}listeners:\n  one: {{ address: {free_at}, forward: app }}\n  two: {{ address: {taken_at}, forward: app }}\nupstreams:\n  app: {{ endpoints: [127.0.0.1:3000] }}\n"
    );
    let text = text_fails(yaml, "listener `two` cannot bind");
    assert!(text.contains("nothing was started"), "{text}");
    TcpListener::bind(free_at).expect("the other one is free again");
}

#[test]
fn an_admin_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = minimal("127.0.0.1:0", "app").replace(
        ADMIN_OFF,
        &format!(
            "admin: {{ probes: {}, control: off }}\n",
            taken.local_addr().unwrap()
        ),
    );
    text_fails(yaml, "`admin.probes` cannot bind");
}

#[test]
fn an_unknown_upstream() {
    let text = text_fails(minimal("127.0.0.1:0", "ap"), "upstream `ap` does not exist");
    assert!(
        text.contains("outrigger.yaml:3:") && text.contains("did you mean `app`?"),
        "{text}"
    );
}

#[test]
fn an_empty_file() {
    text_fails("", "error");
    text_fails("# only a comment\n", "error");
}

#[test]
fn a_text_that_is_not_yaml_or_not_text() {
    text_fails("listeners: [", "error");
    text_fails([0xff, 0xfe, 0x00], "is not UTF-8 text");
}

#[test]
fn a_yaml_bomb() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        bomb.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            [below.as_str(); 10].join(", ")
        ));
    }
    text_fails(bomb, "error");
}

#[test]
fn a_text_nested_deeply() {
    text_fails("[".repeat(100_000), "error");
    text_fails(format!("a: {}", "{a: ".repeat(100_000)), "error");
}

#[test]
fn a_file_of_ten_megabytes() {
    let text = format!("{}\n", "#".repeat(99)).repeat(100_000);
    text_fails(text, "a configuration has at most 4 MiB");
}

#[test]
fn a_broken_variable() {
    let yaml = minimal("127.0.0.1:0", "app");
    let unset = yaml.replace("127.0.0.1:3000", "\"${OUTRIGGER_TEST_UNSET}\"");
    text_fails(unset, "OUTRIGGER_TEST_UNSET");
    let open = yaml.replace("127.0.0.1:3000", "\"${OUTRIGGER_TEST_SET\"");
    text_fails(open, "OUTRIGGER_TEST_SET");
}

#[test]
fn run_without_a_file_shows_how_to_start_on_one_screen() {
    let output = program().arg("run").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.lines().count() <= 24, "{text}");
    for part in [
        "needs a configuration file",
        "endpoints: [127.0.0.1:3000]",
        "outrigger run --config FILE",
        "outrigger check FILE",
        "outrigger demo",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_usage_is_told_with_its_own_exit_code() {
    let output = program().args(["run", "--confg", "a"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("--config")
    );
}
