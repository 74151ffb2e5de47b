//! The story and the measurements: the program `lab`, where it must run.
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::step::{cargo, succeed};
use crate::vm::{self, Request};
use crate::workspace::Workspace;
use crate::{build_ebpf, setup};

/// Measurements that need nothing but this kernel.
const NATIVE: &[&str] = &["gate", "kdc"];

/// Measurements of work that needs the virtual machine: by a clock that counts instructions, so that neither the host nor emulation counts.
const COUNTED: &[&str] = &["tunnel", "connect"];

/// `cargo xtask bench`
#[derive(clap::Args)]
pub struct Bench {
    /// Which measurement: tunnel, gate, connect, kdc
    pub name: String,
    /// End with one line of JSON
    #[arg(long)]
    pub json: bool,
    /// Passed on to `lab bench NAME`
    #[arg(last = true)]
    pub rest: Vec<String>,
}

/// Tells the story in the virtual machine.
pub fn demo(workspace: &Workspace, rest: &[String]) -> Result<i32> {
    let lab = build(workspace, "dev")?;
    let mut command = vec![lab.as_str(), "demo"];
    command.extend(rest.iter().map(String::as_str));
    vm::run(workspace, &Request::new(&command, Duration::from_secs(600)))
}

/// Measures.
pub fn bench(workspace: &Workspace, bench: &Bench) -> Result<i32> {
    let lab = build(workspace, "release")?;
    let mut command = vec![lab.as_str(), "bench", bench.name.as_str()];
    if bench.json {
        command.push("--json");
    }
    command.extend(bench.rest.iter().map(String::as_str));
    if NATIVE.contains(&bench.name.as_str()) {
        let status = Command::new(&lab).args(&command[1..]).current_dir(&workspace.root).status()?;
        return Ok(status.code().unwrap_or(1));
    }
    let counted = COUNTED.contains(&bench.name.as_str());
    vm::run(workspace, &Request { counted, ..Request::new(&command, Duration::from_secs(1200)) })
}

/// Builds our programs; answers the path of `lab`.
fn build(workspace: &Workspace, profile: &str) -> Result<String> {
    setup::run(workspace)?;
    build_ebpf::run()?;
    let mut command = cargo(workspace);
    command.args(["build", "--package", "btmmd", "--package", "btmm-tests", "--bins", "--profile", profile]);
    // Its progress is no result.
    succeed(command.stdout(std::io::stderr()))?;
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(workspace.target.join(folder).join("lab").to_string_lossy().into_owned())
}
