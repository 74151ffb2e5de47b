//! The Debian package.
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::setup::CARGO_DEB;
use crate::step::{cargo, output, succeed};
use crate::workspace::Workspace;
use crate::{build_ebpf, setup};

/// Whether speed of the programs or of the build counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What users get.
    Release,
    /// What the tests have built already.
    Dev,
}

/// Builds everything in the package and the package; answers its file.
pub fn run(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    setup::run(workspace)?;
    build_ebpf::run()?;
    let (name, folder) = match profile {
        Profile::Release => ("release", "release"),
        Profile::Dev => ("dev", "debug"),
    };
    succeed(cargo(workspace).args(["build", "--package", "btmmd", "--package", "btmm-locate", "--bins", "--lib", "--profile", name]))?;
    let built = workspace.target.join(folder);
    generate(&built, &built.join("dist"))?;
    let folder = workspace.target.join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let tool = CARGO_DEB.find_or_build(workspace)?;
    let mut command = std::process::Command::new(tool);
    command.current_dir(&workspace.root);
    // cargo-deb reads assets from target/release and puts the profile's folder in its place.
    command.args(["--package", "btmmd", "--no-build", "--strip", "--profile", name, "--output"]).arg(&folder);
    let said = output(&mut command)?;
    Ok(PathBuf::from(said.lines().last().context("cargo-deb names no package")?.trim()))
}

/// Manual pages, completions and the example configuration, by the programs that they describe.
fn generate(built: &Path, to: &Path) -> Result<()> {
    let (man, completions) = (to.join("man"), to.join("completions"));
    for folder in [&man, &completions] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let btmm = || std::process::Command::new(built.join("btmm"));
    succeed(btmm().args(["internal", "man"]).arg(&man))?;
    succeed(btmm().args(["internal", "completions"]).arg(&completions))?;
    let example = output(std::process::Command::new(built.join("btmmd")).arg("--print-config"))?;
    fs::write(to.join("btmmd.toml"), example)?;
    place_plugin(built, &to.join("plugin"))
}

/// MIT Kerberos looks for plugins in a folder named after the kind of machine.
fn place_plugin(built: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(to);
    let folder = to.join(format!("{}-linux-gnu/krb5/plugins/libkrb5", std::env::consts::ARCH));
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let plugin = built.join("libbtmm_locate.so");
    fs::copy(&plugin, folder.join("btmm_locate.so")).with_context(|| format!("copying {}", plugin.display()))?;
    Ok(())
}
