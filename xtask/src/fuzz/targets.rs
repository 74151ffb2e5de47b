//! The fuzz targets: built with coverage, and found by asking the test binaries.
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::step::{cargo, output};
use crate::test::binaries;
use crate::workspace::Workspace;

/// What makes rustc write down which edges were taken and which values compared, in the sections where libFuzzer looks for it.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "--cfg=fuzzing_libfuzzer",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-stack-depth=0",
    // Cargo builds the package's programs beside its tests. Nobody runs them here, and they lack libFuzzer, which the flags above refer to.
    "-Clink-arg=-Wl,--unresolved-symbols=ignore-all",
];

/// One test that is a fuzz target.
pub struct Target {
    /// `BINARY/TEST`, without the binary's `fuzz_`: also the folders of its corpus and its crashes.
    pub name: String,
    /// The program.
    pub binary: PathBuf,
    /// Name of the test in it.
    pub test: String,
}

/// Builds the targets and lists them by name.
pub fn build(workspace: &Workspace) -> Result<Vec<Target>> {
    let mut command = cargo(workspace);
    command
        .args(["test", "--no-run", "--package", "btmm-tests", "--test", "fuzz_*", "--profile", "fuzz"])
        // For a named target, or build scripts and procedural macros would get the flags as well.
        .args(["--target", &host()?, "--target-dir"])
        .arg(folder(workspace))
        .args(["--message-format", "json-render-diagnostics"])
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    let mut targets = Vec::new();
    for binary in binaries::built(&mut command)? {
        let short = binary.name.trim_start_matches("fuzz_");
        let tests = tests_of(&binary.path)?;
        targets.extend(tests.into_iter().map(|test| Target { name: format!("{short}/{test}"), binary: binary.path.clone(), test }));
    }
    Ok(targets)
}

/// Where everything about fuzzing is.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("fuzz")
}

fn host() -> Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    said.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned).context("rustc names no host")
}

/// Not every test beside a target is one. Asked by bolero's variable, those that are tell so and do nothing else.
fn tests_of(binary: &Path) -> Result<Vec<String>> {
    let name = binary.display();
    let mut command = Command::new(binary);
    command.args(["--nocapture", "--test-threads=1"]).env("CARGO_BOLERO_SELECT", "all");
    let output = command.output().with_context(|| format!("starting {name}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    // The others run meanwhile, and may fail: no business of ours, as long as all had their turn.
    ensure!(output.status.code().is_some(), "{name} cannot list its targets: {}\n{said}", output.status);
    let mut tests: Vec<String> = said.lines().filter_map(test_of).collect();
    tests.sort();
    Ok(tests)
}

/// The test that a line of JSON tells of, among others.
fn test_of(line: &str) -> Option<String> {
    let told: Value = serde_json::from_str(line.get(line.find('{')?..)?).ok()?;
    told.get("__bolero_target")?;
    told["test_name"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_from_other_tests_and_other_words() {
        let target =
            r#"{"__bolero_target":"v0.5.0","exe":"/t/x","work_dir":"/w","package_name":"p","is_harnessed":true,"test_name":"any_bytes"}"#;
        assert_eq!(test_of(target).as_deref(), Some("any_bytes"));
        assert_eq!(test_of(&format!("test any_bytes ... {target}")).as_deref(), Some("any_bytes"));
        for other in ["test any_bytes ... ok", "", r#"{"test_name":"any_bytes"}"#, "{"] {
            assert_eq!(test_of(other), None, "{other}");
        }
    }
}
