//! The lab's virtual machine: the lab root's kernel and programs, the checkout beside them, one command.
mod direct;
mod kmod;
mod qemu;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::workspace::Workspace;

pub use direct::kernel_has_ipsec;

/// Ends the process `vm -- …` runs in when the command did not end on its own account.
pub const CODE_OF_TIMEOUT: i32 = 124;

/// What to run, and in what.
#[derive(clap::Args, Clone)]
pub struct Request {
    /// Seconds until the machine is stopped and the command has failed
    #[arg(long, default_value_t = 900)]
    pub timeout: u64,
    /// Let systemd be process 1; the command runs once it is up, and the machine is then shut down properly
    #[arg(long)]
    pub systemd: bool,
    /// Keep what is written to the root in this disk image (made when absent), so that the next boot finds it
    #[arg(long)]
    pub disk: Option<PathBuf>,
    /// Memory in MiB
    #[arg(long, default_value_t = 3072)]
    pub memory: u32,
    /// Use KVM (some machines hang in it, hence not by itself)
    #[arg(long)]
    pub kvm: bool,
    /// One processor whose clock is the number of instructions it executed: what is measured inside depends no more on the host's load
    #[arg(long, conflicts_with = "kvm")]
    pub counted: bool,
    /// Use QEMU even where this kernel has all the lab needs
    #[arg(long, conflicts_with = "direct")]
    pub qemu: bool,
    /// Use namespaces and a chroot of the lab root, whatever this kernel has
    #[arg(long)]
    pub direct: bool,
    /// Show the VM's kernel log at the end
    #[arg(long, short)]
    pub verbose: bool,
    /// The command and its arguments, started in the checkout (which has the same path inside)
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

impl Request {
    /// A command for the plain machine, with a limit in time.
    #[must_use]
    pub fn new(command: &[&str], timeout: Duration) -> Self {
        Self {
            timeout: timeout.as_secs(),
            systemd: false,
            disk: None,
            memory: 3072,
            kvm: false,
            counted: false,
            qemu: false,
            direct: false,
            verbose: false,
            command: command.iter().map(|&s| s.to_owned()).collect(),
        }
    }
}

/// Runs the command with its output passed on live and answers its exit code.
pub fn run(workspace: &Workspace, request: &Request) -> Result<i32> {
    let root = workspace.lab_root();
    ensure!(root.join("usr").is_dir(), "there is no lab root at {}: run `cargo xtask setup`", root.display());
    let namespaces = request.direct || (!request.qemu && !request.systemd && !request.kvm && !request.counted && kernel_has_ipsec());
    if namespaces { direct::run(workspace, request) } else { qemu::run(workspace, request) }
}

/// The command as a shell would read it.
fn shell_words(command: &[String]) -> String {
    let quoted: Vec<String> = command.iter().map(|word| quote(word)).collect();
    quoted.join(" ")
}

/// One word as a shell would read it.
#[must_use]
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Variables of this process which the command inside shall see.
fn environment() -> String {
    let passed = |name: &str| {
        name.starts_with("BTMM_")
            || name.starts_with("PROPTEST_")
            || ["RUST_LOG", "RUST_BACKTRACE", "NEXTEST", "NO_COLOR", "TERM"].contains(&name)
    };
    let mut text: String =
        std::env::vars().filter(|(name, _)| passed(name)).map(|(name, value)| format!("export {name}={}\n", quote(&value))).collect();
    text.push_str("export BTMM_LAB=inside\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_quotes_and_spaces_reaches_the_shell_as_it_is() {
        let words = ["echo", "it's", "a b", "$HOME", ""].map(str::to_owned);
        let out = std::process::Command::new("sh")
            .args(["-c", &format!("set -- {}; printf '%s|' \"$@\"", shell_words(&words))])
            .output()
            .expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "echo|it's|a b|$HOME||");
    }
}
