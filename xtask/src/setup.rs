//! Everything a fresh machine lacks: build tools, QEMU, the lab root. Silent and instant when nothing is missing.
mod labroot;
mod packages;
mod tools;

pub use tools::{CARGO_DEB, CARGO_DENY};

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Installs and makes what is missing.
pub fn run(workspace: &Workspace) -> Result<()> {
    let missing = packages::missing()?;
    let make_root = !labroot::is_current(workspace);
    let tools = tools::missing(workspace);
    if missing.is_empty() && !make_root && tools.is_empty() {
        return Ok(());
    }
    if (!missing.is_empty() || make_root) && !nix::unistd::Uid::effective().is_root() {
        bail!("set-up needs root, to install packages and to make the lab root; run:\n\n    sudo env PATH=\"$PATH\" cargo xtask setup\n");
    }
    if !missing.is_empty() || make_root {
        packages::update()?;
    }
    if !missing.is_empty() {
        packages::install(&missing)?;
    }
    for tool in tools {
        tool.build(workspace)?;
    }
    if make_root {
        labroot::make(workspace)?;
    }
    Ok(())
}

/// One line of progress, on the error stream: standard output belongs to results.
pub fn say(what: &str) {
    eprintln!("setup: {what}");
}
