//! Who may import whom in btmmd.
//!
//! Two programs stand on top, `cli` (btmm) and `run` (btmmd), and meet in `control`. Decisions are pure and below them; the half that
//! touches the kernel is reached from `run` alone, and from `btmm firewall`, which must work without a daemon.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Each top-level module and what it may import. Every one may import itself.
const ALLOWED: &[(&str, &[&str])] = &[
    ("lib", &[]),
    ("bin", &[]),
    // A mistyped invitation is refused before anybody is asked, hence its reader.
    (
        "cli",
        &[
            "control",
            "config",
            "clock",
            "datapath",
            "account::name",
            "account::invite",
            // A user's tickets are files of that user's, and a keytab is root's: no daemon has a part in them.
            "lkdc::ccache",
            "lkdc::client",
            "lkdc::discover",
            "lkdc::crypto::Etype",
            "lkdc::full_name",
            "lkdc::keytab",
            "lkdc::name",
            "lkdc::principals::strength",
        ],
    ),
    (
        "run",
        &[
            "control",
            "engine",
            "ike",
            "lkdc",
            "entropy",
            "disk",
            "esp",
            "rendezvous",
            "resolver",
            "portmap",
            "netwatch",
            "account",
            "xfrm",
            "datapath",
            "config",
            "clock",
            "wire",
        ],
    ),
    ("control", &["wire", "clock", "account::name", "lkdc::principals::strength"]),
    ("engine", &["ike", "lkdc", "entropy", "rendezvous", "resolver", "portmap", "netwatch", "account", "clock", "wire"]),
    ("ike", &["wire", "clock", "entropy", "esp", "account::name"]),
    ("lkdc", &["wire", "clock", "entropy", "account"]),
    ("rendezvous", &["wire", "clock", "account::name", "disk"]),
    ("resolver", &["wire", "clock", "account::name"]),
    ("portmap", &["wire", "clock", "account::name"]),
    ("netwatch", &["wire", "clock", "account::name"]),
    // It implements the credentials that ike asks for.
    ("account", &["wire", "clock", "entropy", "ike", "disk"]),
    ("xfrm", &["wire", "clock", "esp", "account::name"]),
    ("datapath", &["wire", "clock", "account::name", "disk"]),
    ("config", &["clock", "account::name"]),
    ("clock", &[]),
    ("disk", &[]),
    ("entropy", &[]),
    ("esp", &[]),
    ("wire", &[]),
];

/// One line per import that goes against the table.
pub fn check(source: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    walk(source, &mut files)?;
    files.sort();
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        let inner = file.strip_prefix(source).unwrap_or(&file);
        wrong.extend(judge(inner, &text));
    }
    Ok(wrong)
}

/// What is wrong with one file, named by its path below `src`.
fn judge(file: &Path, text: &str) -> Vec<String> {
    let module = file.components().next().map(|first| first.as_os_str().to_string_lossy().into_owned()).unwrap_or_default();
    let module = module.trim_end_matches(".rs");
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == module) else {
        return vec![format!("{}: {module} is not in the table of xtask/src/ci/imports.rs", file.display())];
    };
    let permitted = |path: &str| {
        let first = path.split("::").next().unwrap_or_default();
        first == module || allowed.iter().any(|entry| *entry == first || path == *entry || path.starts_with(&format!("{entry}::")))
    };
    let mut wrong = Vec::new();
    for (number, line) in paths(text) {
        if !permitted(&line) {
            wrong.push(format!("btmmd/src/{}:{number}: {module} may not import {line}", file.display()));
        }
    }
    wrong
}

/// Every path that follows `crate::`, with its line; groups in braces are taken apart. Comments do not count.
fn paths(text: &str) -> Vec<(usize, String)> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, matched) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let number = code[..at].matches('\n').count() + 1;
        for path in expand(&code[at + matched.len()..]) {
            found.push((number, path));
        }
    }
    found
}

/// `a::b` gives itself, `{a, b::{c, d}}` gives `a` and `b::…`.
fn expand(text: &str) -> Vec<String> {
    let Some(group) = text.strip_prefix('{') else {
        return vec![text.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect()];
    };
    let mut depth = 0_u32;
    let mut paths = vec![String::new()];
    for character in group.chars() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => paths.push(String::new()),
            _ if depth == 0 && !character.is_whitespace() => {
                if let Some(last) = paths.last_mut() {
                    last.push(character);
                }
            }
            _ => {}
        }
    }
    paths.retain(|path| !path.is_empty());
    paths
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_against_the_direction_is_found_with_its_line() {
        let wrong = judge(Path::new("ike/sa.rs"), "use crate::wire::Reader;\n\nuse crate::xfrm::SaSpec;\n");
        assert_eq!(wrong, ["btmmd/src/ike/sa.rs:3: ike may not import xfrm::SaSpec"]);
    }

    #[test]
    fn groups_are_taken_apart_and_comments_are_not_code() {
        let text = "// crate::run\nuse crate::{account::name::{MachineName, ZoneName}, clock, run};\n/// [`crate::cli`]\n";
        let wrong = judge(Path::new("rendezvous/zone.rs"), text);
        assert_eq!(wrong, ["btmmd/src/rendezvous/zone.rs:2: rendezvous may not import run"]);
    }

    #[test]
    fn only_the_named_part_of_a_module_is_open_to_all() {
        assert!(judge(Path::new("xfrm/linux.rs"), "use crate::account::name::MachineName;").is_empty());
        assert_eq!(judge(Path::new("xfrm/linux.rs"), "use crate::account::roster::Roster;").len(), 1);
    }

    #[test]
    fn a_module_nobody_thought_of_is_an_error() {
        assert_eq!(judge(Path::new("newcomer.rs"), "").len(), 1);
    }

    #[test]
    fn every_module_named_in_the_table_has_a_row_of_its_own() {
        for (_, allowed) in ALLOWED {
            for name in *allowed {
                let first = name.split("::").next().unwrap_or_default();
                assert!(ALLOWED.iter().any(|(row, _)| *row == first), "{name}");
            }
        }
    }
}
