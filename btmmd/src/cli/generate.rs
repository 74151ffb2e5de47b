//! Manual pages and completion scripts, for packaging: made from the arguments and the documented configuration, so that they cannot drift.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::args::{Btmm, EXIT_CODES};
use crate::config::{Config, TableDoc};

/// The page of the daemon, whose text is written by hand; `@VERSION@` stands for the version.
const BTMMD_8: &str = include_str!("../../man/btmmd.8.in");

/// A generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without a folder.
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// `btmm.1` with one page per command, `btmmd.8` and `btmmd.toml.5`.
pub fn manual(version: &str) -> Vec<File> {
    let mut files = Vec::new();
    let mut root = Btmm::command().disable_help_subcommand(true);
    root.build();
    pages(&root, version, &mut files);
    files.push(File { name: "btmmd.8".to_owned(), content: BTMMD_8.replace("@VERSION@", version).into_bytes() });
    files.push(File { name: "btmmd.toml.5".to_owned(), content: configuration(version).to_roff().into_bytes() });
    files
}

/// Scripts under the names that the shells look for.
pub fn completions() -> Vec<File> {
    let script = |shell: Shell, name: &str| {
        let mut content = Vec::new();
        clap_complete::generate(shell, &mut Btmm::command(), "btmm", &mut content);
        File { name: name.to_owned(), content }
    };
    vec![script(Shell::Bash, "btmm"), script(Shell::Fish, "btmm.fish"), script(Shell::Zsh, "_btmm")]
}

fn pages(command: &Command, version: &str, files: &mut Vec<File>) {
    if command.is_hide_set() {
        return;
    }
    files.push(page(command, version));
    for inner in command.get_subcommands() {
        pages(inner, version, files);
    }
}

fn page(command: &Command, version: &str) -> File {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    // The exit codes have a section of their own here.
    let man = Man::new(command.clone().after_help(None::<&str>).display_name(name.clone()))
        .title(name.to_uppercase())
        .source(format!("btmm {version}"))
        .manual("Back to My Mac for Linux");
    let mut content = Vec::new();
    let rendered = man
        .render_title(&mut content)
        .and_then(|()| man.render_name_section(&mut content))
        .and_then(|()| man.render_synopsis_section(&mut content))
        .and_then(|()| man.render_description_section(&mut content))
        .and_then(|()| man.render_options_section(&mut content))
        .and_then(|()| if command.has_subcommands() { man.render_subcommands_section(&mut content) } else { Ok(()) })
        .and_then(|()| examples(command).to_writer(&mut content))
        .and_then(|()| closing().to_writer(&mut content));
    rendered.expect("writing to memory does not fail");
    File { name: format!("{name}.1"), content }
}

/// The lines of a command that its help shows as examples. The root's last words are the exit codes, which have a section of their own.
fn examples(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if let Some(lines) = help.strip_prefix("Examples:\n") {
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line.trim())]);
        }
        roff.control("fi", []);
    }
    roff
}

fn closing() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        entry(&mut roff, [bold(code.to_string())], meaning);
    }
    roff.control("SH", ["ENVIRONMENT"]);
    entry(&mut roff, [bold("BTMM_RUNTIME_DIR")], "folder of btmmd's control socket, instead of /run/btmm");
    entry(&mut roff, [bold("BTMM_STATE_DIR")], "folder in which the firewall switch is kept, instead of /var/lib/btmm");
    entry(&mut roff, [bold("BTMM_BPFFS")], "folder of the pinned eBPF programs, instead of /sys/fs/bpf/btmm");
    entry(
        &mut roff,
        [bold("KRB5CCNAME")],
        "where your tickets are, instead of where default_ccache_name in krb5.conf says or, where that says nothing, FILE:/tmp/krb5cc_UID; \
         FILE:, DIR: and KEYRING: are understood",
    );
    entry(
        &mut roff,
        [bold("KRB5_CONFIG")],
        "files, with colons between them, that are read for default_ccache_name instead of /etc/krb5.conf",
    );
    entry(&mut roff, [bold("NO_COLOR")], "when set, no colour on a terminal either");
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("btmm"), roman("(1), "), bold("btmmd"), roman("(8), "), bold("btmmd.toml"), roman("(5)")]);
    roff
}

fn entry<const N: usize>(roff: &mut Roff, term: [Inline; N], text: &str) {
    roff.control("TP", []);
    roff.text(term);
    roff.text([roman(text)]);
}

fn configuration(version: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("TH", ["BTMMD.TOML", "5", "", &format!("btmm {version}"), "Back to My Mac for Linux"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("btmmd.toml - configuration of btmmd")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([italic("/etc/btmm/btmmd.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A TOML file. Every setting has a default, and an absent file is as good as an empty one. An unknown key or a value that is not allowed is \
         refused with its line, and nothing starts.",
    )]);
    for table in Config::tables() {
        documented(&mut roff, &table);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("btmm"), roman("(1), "), bold("btmmd"), roman("(8); \"btmmd --print-config\" prints an example file")]);
    roff
}

fn documented(roff: &mut Roff, table: &TableDoc) {
    let heading = if table.name.is_empty() { "TOP LEVEL".to_owned() } else { format!("[{}]", table.name) };
    roff.control("SH", [heading.as_str()]);
    roff.text([roman(sentence(table.about))]);
    for setting in &table.entries {
        roff.control("TP", []);
        roff.text([bold(setting.key), roman(" = "), italic(setting.default.as_str())]);
        roff.text([roman(sentence(setting.doc))]);
    }
}

fn sentence(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}
