//! The machine's own packages: build tools and what carries the test bed. No servers among them.
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::say;

/// What is installed on the machine, by name.
const PACKAGES: &[&str] = &[
    // The compiler of the eBPF programs: a rustc with the core library for bpfel-unknown-none, and LLVM for bpf-linker.
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    // C for the cryptography, and for linking at all.
    "gcc",
    "g++",
    "libc6-dev",
    "make",
    "zlib1g-dev",
    // The test bed.
    "qemu-system-x86",
    "mmdebstrap",
    "e2fsprogs",
    "util-linux",
    "iproute2",
    "nftables",
    "tcpdump",
    "bpftool",
    // The package.
    "dpkg-dev",
];

/// Those not installed.
pub fn missing() -> Result<Vec<&'static str>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"])
        .args(PACKAGES)
        .stderr(Stdio::null())
        .output()
        .context("asking dpkg-query (set-up knows Debian and its derivatives only)")?;
    let known = String::from_utf8_lossy(&output.stdout).into_owned();
    let installed = |name: &str| known.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
    Ok(PACKAGES.iter().copied().filter(|name| !installed(name)).collect())
}

/// Fetches the lists of packages.
pub fn update() -> Result<()> {
    say("apt-get update");
    apt(&["-q", "update"])
}

/// Installs packages by name.
pub fn install(names: &[&str]) -> Result<()> {
    say(&format!("installing {}", names.join(" ")));
    let mut arguments = vec!["-q", "install", "--yes", "--no-install-recommends"];
    arguments.extend(names);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        // Its progress is progress: on the error stream.
        .stdout(std::io::stderr())
        .status()
        .context("starting apt-get")?;
    if !status.success() {
        bail!("apt-get {}: {status}", arguments.join(" "));
    }
    Ok(())
}
