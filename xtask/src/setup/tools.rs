//! Build tools that come from crates.io, kept in `target/tools`.
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::say;
use crate::workspace::Workspace;

/// A tool, how cargo installs it, and with which environment.
pub struct Tool {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: &'static [(&'static str, &'static str)],
}

/// Links the eBPF programs. Against the same LLVM as `rustc-web`.
const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    arguments: &["--version", "^0.13", "--no-default-features", "--features", "llvm-22"],
    environment: &[("LLVM_PREFIX", "/usr/lib/llvm-22"), ("LIBRARY_PATH", "/usr/lib/llvm-22/lib")],
};

/// Makes the Debian package.
pub const CARGO_DEB: Tool = Tool { name: "cargo-deb", arguments: &["--version", "^3", "--locked"], environment: &[] };

/// Checks licences and bans.
pub const CARGO_DENY: Tool =
    Tool { name: "cargo-deny", arguments: &["--version", "^0.20", "--locked", "--no-default-features"], environment: &[] };

/// Those every build needs and the machine has not.
pub fn missing(workspace: &Workspace) -> Vec<Tool> {
    [BPF_LINKER].into_iter().filter(|tool| tool.find(workspace).is_none()).collect()
}

impl Tool {
    /// The program, in `target/tools` or the search path.
    pub fn find(&self, workspace: &Workspace) -> Option<PathBuf> {
        let own = workspace.tools().join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::iter::once(own).chain(std::env::split_paths(&path)).map(|folder| folder.join(self.name)).find(|file| file.is_file())
    }

    /// The program, built first when it is not there.
    pub fn find_or_build(&self, workspace: &Workspace) -> Result<PathBuf> {
        if self.find(workspace).is_none() {
            self.build(workspace)?;
        }
        self.find(workspace).with_context(|| format!("{} is not where cargo put it", self.name))
    }

    /// Builds it into `target/tools`.
    pub fn build(&self, workspace: &Workspace) -> Result<()> {
        say(&format!("building {} (a minute or more)", self.name));
        let status = Command::new("cargo")
            .args(["install", self.name])
            .args(self.arguments)
            .arg("--root")
            .arg(workspace.tools())
            .arg("--target-dir")
            .arg(workspace.tools().join("build"))
            .envs(self.environment.iter().copied())
            .env_remove("CARGO_TARGET_DIR")
            // Not the workspace: its lock file and settings are no business of a tool.
            .current_dir(Path::new("/"))
            .stdout(std::io::stderr())
            .status()
            .with_context(|| format!("starting cargo install {}", self.name))?;
        if !status.success() {
            bail!("cargo install {}: {status}", self.name);
        }
        Ok(())
    }
}
