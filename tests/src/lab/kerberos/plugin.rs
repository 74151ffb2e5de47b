//! Our plugin in a machine's libkrb5.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use btmmd::lkdc::discover::Realms;
use btmmd::lkdc::discover::linux::publish;

use super::{Machine, Pair};

/// Debian's plugin folder.
const FOLDER: &str = "/usr/lib/x86_64-linux-gnu/krb5/plugins/libkrb5";

impl Machine {
    /// Brings the machine to where the package brings it: the plugin, and the file in `krb5.conf.d`. What only its owner may do, to include
    /// that folder in its `krb5.conf`, is not done.
    pub fn install_package_files(&self) -> Result<()> {
        self.write_foreign("/etc/krb5.conf.d/btmm.conf", include_str!("../../../../systemd/krb5.conf"))?;
        self.install_locate_plugin()
    }

    /// Installs the locate plugin as the package does.
    pub fn install_locate_plugin(&self) -> Result<()> {
        let plugin = library("btmm_locate")?;
        self.write_foreign(&format!("{FOLDER}/btmm_locate.so"), std::fs::read(&plugin)?)
    }

    /// Writes a table of realms as btmmd keeps it, in the words of its format.
    pub fn write_realms(&self, machines: &[&Self]) -> Result<()> {
        let lines = machines.iter().map(|machine| format!("{} {} {}\n", machine.realm(), machine.inner, machine.fqdn()));
        self.node.write(btmm_locate::TABLE, lines.collect::<String>())
    }
}

impl Pair {
    /// Brings a machine to where the package and btmmd bring it.
    pub fn prepare(&self, machine: &Machine) -> Result<()> {
        let trust = self.authority.trust();
        let realms = Realms::of_roster(&self.roster, &trust.zone);
        let publish = || publish(Path::new("/run/btmm"), &realms, Some(&machine.name), &trust.ca, &BTreeMap::new());
        machine.node.enter(publish)?.context("publishing")?;
        machine.install_package_files()
    }
}

/// A shared object of this workspace, built with the tests.
fn library(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe()?;
    let folder = running.parent().context("a test program lies in a folder")?;
    let folders = [folder.to_owned(), folder.join("deps"), folder.join("..")];
    let mut paths = folders.iter().map(|folder| folder.join(format!("lib{name}.so")));
    paths.find(|path| path.is_file()).with_context(|| format!("lib{name}.so is not beside {}", running.display()))
}
