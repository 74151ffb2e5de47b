//! Where things are.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checkout, its target directory and the lab.
pub struct Workspace {
    /// The checkout's top level.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
}

impl Workspace {
    /// Finds the checkout this xtask was built from.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in a folder of the workspace")?
            .canonicalize()
            .context("finding the workspace")?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        std::fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
        let target = target.canonicalize()?;
        Ok(Self { root, target })
    }

    /// Root file system with every foreign program, made by `setup`.
    pub fn lab_root(&self) -> PathBuf {
        self.target.join("lab/rootfs")
    }

    /// Build tools which come from crates.io.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }
}
