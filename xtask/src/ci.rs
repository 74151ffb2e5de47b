//! What a change must pass.
mod imports;

use anyhow::{Result, bail};

use crate::setup::CARGO_DENY;
use crate::step::{cargo, succeed};
use crate::test;
use crate::workspace::Workspace;
use crate::{build_ebpf, setup};

/// Form, lints, documentation, licences, directions of imports, then every ring.
pub fn run(workspace: &Workspace) -> Result<i32> {
    check(workspace)?;
    test::run(workspace, &test::Arguments { ring: None, binary: None, rest: Vec::new() })
}

/// All but the tests.
pub fn check(workspace: &Workspace) -> Result<()> {
    setup::run(workspace)?;
    build_ebpf::run()?;
    println!("=== form, lints, documentation ===");
    succeed(cargo(workspace).args(["fmt", "--all", "--check"]))?;
    succeed(cargo(workspace).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // Written for whoever works on it, so private items are in it and may be linked to.
    let strict = "-D warnings -A rustdoc::private_intra_doc_links";
    succeed(cargo(workspace).args(["doc", "--workspace", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", strict))?;
    println!("=== directions of imports ===");
    let wrong = imports::check(&workspace.root.join("btmmd/src"))?;
    if !wrong.is_empty() {
        bail!("imports against the direction of the design:\n{}", wrong.join("\n"));
    }
    println!("=== licences and bans ===");
    let deny = CARGO_DENY.find_or_build(workspace)?;
    let mut command = std::process::Command::new(deny);
    succeed(command.current_dir(&workspace.root).args(["check", "bans", "licenses", "sources"]))
}
