//! systemd-resolved on a machine, with the system bus, started as systemd would start them.
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Node, Running, finish};

const PATIENCE: Duration = Duration::from_secs(20);

/// The two daemons, until this is dropped.
#[derive(Debug)]
pub struct Resolved<'a> {
    node: &'a Node,
    bus: Running,
    daemon: Option<Running>,
}

impl<'a> Resolved<'a> {
    /// Starts them, with these lines of `[Resolve]`.
    pub fn start(node: &'a Node, configuration: &str) -> Result<Self> {
        node.run("mkdir -p /run/dbus /run/systemd/resolve")?;
        let mut owned = node.foreign("chown");
        owned.args(["systemd-resolve:systemd-resolve", "/run/systemd/resolve"]);
        finish(owned)?;
        node.write("/run/systemd/resolved.conf.d/lab.conf", format!("[Resolve]\n{configuration}"))?;
        let mut command = node.foreign("dbus-daemon");
        command.args(["--system", "--nofork", "--nopidfile", "--print-address"]);
        let mut bus = node.spawn(command)?;
        bus.wait_for("unix:path=", PATIENCE)?;
        let mut resolved = Self { node, bus, daemon: None };
        resolved.restart()?;
        Ok(resolved)
    }

    /// Kills resolved, and starts it again on the same bus.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon = None;
        self.daemon = Some(self.node.spawn(self.node.foreign("/usr/lib/systemd/systemd-resolved"))?);
        let begun = Instant::now();
        while self.control("status").is_err() {
            ensure!(begun.elapsed() < PATIENCE, "resolved does not answer: {}\n{}", self.log(), self.bus.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// What `resolvectl` with these words prints.
    pub fn control(&self, words: &str) -> Result<String> {
        let mut command = self.node.foreign("resolvectl");
        command.args(words.split_whitespace());
        Ok(finish(command)?.out)
    }

    /// What resolved wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Running::log).unwrap_or_default()
    }
}
