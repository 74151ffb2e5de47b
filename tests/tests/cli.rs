//! `btmm` without a daemon: what is refused, how it is told, and what needs no daemon at all.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// An invitation by a base at 198.51.100.1, long expired.
const CODE: &str = "btmm1-042cccv4040020g30g2gc1r81450p30d1r7h048j2c0020g30g2gc1r81450p30d1r7pnca9j3j2kk8";

/// Runs `btmm` where no daemon is, with `input` as its standard input.
fn btmm_fed(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_btmm-as-tested"))
        .args(arguments)
        .env("BTMM_RUNTIME_DIR", "/nonexistent/run")
        .env("BTMM_STATE_DIR", "/nonexistent/state")
        .env("BTMM_BPFFS", "/nonexistent/bpf")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn btmm(arguments: &[&str]) -> Output {
    btmm_fed(arguments, "")
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("btmm-cli-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn text(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_wrong_argument_is_named_with_what_is_allowed_and_exit_code_2() {
    let long = "x".repeat(64);
    for (arguments, expected) in [
        (&["frob"][..], "unrecognized subcommand 'frob'"),
        (&["status", "now"], "unexpected argument 'now'"),
        (&["--jsno"], "unexpected argument '--jsno'"),
        (&["ping"], "<MACHINE>"),
        (&["ping", "a_b"], "\"a_b\" is not a machine name: use a-z, 0-9 and inner hyphens, at most 63 characters"),
        (&["ping", long.as_str()], "is not a machine name"),
        (&["ping", "imac..alice"], "\"imac..alice\" is not a machine name"),
        (&["ping", "imac", "-c", "0"], "invalid value '0' for '--count <N>'"),
        (&["ping", "imac", "-c", "many"], "invalid value 'many' for '--count <N>'"),
        (&["ping", "imac", "-i", "0.1"], "invalid value '0.1' for '--interval <SECONDS>': use 0.2 to 60 seconds"),
        (&["ping", "imac", "-i", "NaN"], "use 0.2 to 60 seconds"),
        (&["firewall"], "firewall"),
        (&["firewall", "open"], "unrecognized subcommand 'open'"),
        (&["account", "create", "--serve"], "<NAME>"),
        (&["account", "create", "alice"], "--serve"),
        (&["account", "create", "al_ice", "--serve"], "\"al_ice\" is not an account name"),
        (&["account", "create", "alice", "--serve", "--zone", "internal"], "\"internal\" is not a zone name"),
        (&["account", "create", "alice", "--serve", "--machine", "i.mac"], "\"i.mac\" is not a machine name"),
        (&["join", "code", "--machine=-x-"], "\"-x-\" is not a machine name"),
        (&["completions", "tcsh"], "invalid value 'tcsh' for '<SHELL>'"),
    ] {
        let output = btmm(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told(&output).contains(expected), "{arguments:?}: {}", told(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn commands_that_do_not_exist_yet_are_not_pretended() {
    for name in ["doctor", "netcheck", "share", "browse", "whois"] {
        assert_eq!(btmm(&[name]).status.code(), Some(2), "{name}");
    }
    assert!(!printed(&btmm(&["help"])).contains("internal  "));
}

#[test]
fn an_unusable_code_is_refused_before_the_daemon_is_asked() {
    let (none, cut) =
        ("this is not an invitation code: one begins with btmm1-", "the invitation code is mistyped or cut short: copy it again");
    let shortened = &CODE[..CODE.len() - 1];
    let (long, endless) = (format!("{CODE}{CODE}"), "x".repeat(1 << 20));
    for (arguments, input, expected) in [
        (&["join"][..], "", none),
        (&["join"], "\n", none),
        (&["join", "-"], "  \n", none),
        (&["join", ""], "", none),
        (&["join", "two words"], "", none),
        (&["join", "-"], "esc\u{1b}ape\n", none),
        (&["join", "-"], endless.as_str(), none),
        (&["join", shortened], "", cut),
        (&["join", long.as_str()], "", cut),
        (&["join", "-"], shortened, cut),
    ] {
        let output = btmm_fed(arguments, input);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(told(&output), format!("btmm: CODE: {expected}\n"), "{arguments:?}");
    }
}

#[test]
fn without_a_daemon_every_command_that_needs_it_says_how_to_start_it_with_exit_code_3() {
    for arguments in [
        &[][..],
        &["status"],
        &["on"],
        &["off"],
        &["machines"],
        &["ping", "imac"],
        &["account", "show"],
        &["account", "create", "alice", "--serve"],
        &["invite"],
        &["join", CODE],
    ] {
        let output = btmm(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert_eq!(told(&output), "btmm: btmmd is not running: systemctl start btmmd\n", "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_failure_is_told_as_json_when_json_was_asked_for() {
    for arguments in [&["--json"][..], &["--json", "machines"], &["machines", "--json"]] {
        let output = btmm(arguments);
        assert_eq!(output.status.code(), Some(3));
        let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(failure, serde_json::json!({"error": null, "message": "btmmd is not running: systemctl start btmmd", "exit_code": 3}));
    }
}

#[test]
fn help_is_printed_and_documents_the_exit_codes() {
    for arguments in [&["help"][..], &["--help"], &["-h"]] {
        let output = btmm(arguments);
        assert_eq!(output.status.code(), Some(0));
        for line in ["0  done", "1  tried and failed", "3  btmmd is not running", "5  the other machine does not answer"] {
            assert!(printed(&output).contains(line), "{line}");
        }
    }
}

#[test]
fn the_version_is_told_without_a_daemon() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(printed(&btmm(&["version"])), format!("btmm {version}\nbtmmd is not running\n"));
    let json: Value = serde_json::from_slice(&btmm(&["version", "--json"]).stdout).unwrap();
    assert_eq!(json, serde_json::json!({"btmm": version, "btmmd": null}));
}

#[test]
fn completions_are_printed_and_written_for_packaging() {
    let folder = Folder::new("completions");
    assert_eq!(btmm(&["internal", "completions", folder.text()]).status.code(), Some(0));
    for (shell, file) in [("bash", "btmm"), ("fish", "btmm.fish"), ("zsh", "_btmm")] {
        let script = printed(&btmm(&["completions", shell]));
        assert!(script.contains("firewall") && script.contains("machines"), "{shell}");
        assert_eq!(folder.read(file), script);
    }
}

#[test]
fn manual_pages_cover_every_command_and_every_setting() {
    let folder = Folder::new("man");
    assert_eq!(btmm(&["internal", "man", folder.text()]).status.code(), Some(0));
    let commands = [
        "status",
        "on",
        "off",
        "machines",
        "ping",
        "firewall",
        "account",
        "invite",
        "join",
        "passwd",
        "keytab",
        "tickets",
        "agent",
        "services",
        "completions",
        "version",
    ];
    let nested = [
        "firewall-block",
        "firewall-allow",
        "firewall-status",
        "account-create",
        "account-show",
        "tickets-get",
        "tickets-list",
        "tickets-renew",
        "tickets-rm",
        "services-list",
        "services-require",
    ];
    for name in commands.iter().chain(&nested) {
        let page = folder.read(&format!("btmm-{name}.1"));
        assert!(page.contains(".SH NAME\nbtmm\\-") && page.contains(".SH \"EXIT STATUS\""), "{name}:\n{page}");
    }
    let root = folder.read("btmm.1");
    assert!([".SH \"EXIT STATUS\"", "default_ccache_name", "KRB5_CONFIG"].iter().all(|part| root.contains(part)), "{root}");
    assert!(folder.read("btmm-tickets-get.1").contains(".SH EXAMPLES\n.nf\nbtmm tickets get host@imac\n"));
    assert!(folder.read("btmmd.8").contains(env!("CARGO_PKG_VERSION")));
    let settings = folder.read("btmmd.toml.5");
    for table in btmmd::config::Config::tables() {
        for entry in table.entries {
            assert!(settings.contains(&entry.key.replace('-', "\\-")), "{}", entry.key);
        }
    }
    let count = std::fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(count, commands.len() + nested.len() + 3, "no page of a hidden command, none forgotten here");
}

#[test]
fn a_mistyped_line_is_told_as_json_to_programs() {
    let output = btmm(&["tickets", "get", "imac", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = "invalid value 'imac' for '<SERVICE@HOST>': is not SERVICE@HOST, such as host@imac";
    assert_eq!(told, serde_json::json!({"error": null, "message": message, "exit_code": 2}));
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let output = btmm(&["internal", "man", "/proc/nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).starts_with("btmm: /proc/nowhere: "), "{}", told(&output));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(env!("CARGO_BIN_EXE_btmm-as-tested")).args(["completions", "bash"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn it_is_called_btmm_whatever_the_file_is_called() {
    assert!(printed(&btmm(&["ping", "--help"])).contains("Usage: btmm ping [OPTIONS] <MACHINE>"));
}
