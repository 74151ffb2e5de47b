//! The Debian package on a machine with systemd: installed, enabled, rebooted, upgraded, purged; and the agent of a user under her own systemd.
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::dist::{self, Profile};
use crate::vm::{self, Request};
use crate::workspace::Workspace;

/// Seconds for one boot with all that happens in it; emulated, and systemd starts a lot.
const LIMIT: Duration = Duration::from_secs(600);

/// Two boots of one disk, each with a script of `tests/systemd`.
pub fn run(workspace: &Workspace) -> Result<()> {
    let deb = dist::run(workspace, Profile::Dev)?;
    let disk = workspace.target.join("vm-systemd.img");
    let _ = fs::remove_file(&disk);
    let result = ["first-boot.sh", "second-boot.sh"].iter().try_for_each(|script| {
        println!("--- {script}");
        let path = workspace.root.join("tests/systemd").join(script);
        let words = ["sh", &path.to_string_lossy(), &deb.to_string_lossy()];
        let request = Request { systemd: true, disk: Some(disk.clone()), ..Request::new(&words, LIMIT) };
        let code = vm::run(workspace, &request)?;
        ensure!(code == 0, "{script} ended with code {code}");
        Ok(())
    });
    let _ = fs::remove_file(&disk);
    result
}
