//! The rings of the test bed.
pub mod binaries;
mod systemd;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::step::{cargo, succeed};
use crate::vm::{self, Request};
use crate::workspace::Workspace;
use crate::{build_ebpf, setup};

use binaries::{Binary, Ring};

/// What may be asked for by name.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// Plain tests: no root, no network
    Unit,
    /// Tests in network namespaces of this kernel (root)
    Netns,
    /// Tests that need ESP, in the lab's virtual machine
    Vm,
    /// Foreign implementations as judges, in the virtual machine
    Interop,
    /// MIT Kerberos, OpenSSH and Samba as judges of the local KDC, in network namespaces of this kernel (root)
    InteropKrb5,
    /// The Debian package under systemd, in the virtual machine
    Systemd,
}

/// Every ring in order.
const ALL: [Which; 6] = [Which::Unit, Which::Netns, Which::InteropKrb5, Which::Vm, Which::Interop, Which::Systemd];

/// `cargo xtask test`
#[derive(clap::Args)]
pub struct Arguments {
    /// Which ring; all of them when absent
    pub ring: Option<Which>,
    /// Only test binaries whose name contains this
    pub binary: Option<String>,
    /// Passed to the test binaries (not to the unit ring), such as the name of a test
    #[arg(last = true)]
    pub rest: Vec<String>,
}

/// Runs the rings and says how each went; the first that fails ends the run.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<i32> {
    setup::run(workspace)?;
    build_ebpf::run()?;
    let rings: Vec<Which> = arguments.ring.map_or_else(|| ALL.to_vec(), |ring| vec![ring]);
    let mut binaries = Vec::new();
    if rings != [Which::Systemd] {
        // The programs that tests start, then every test binary.
        succeed(cargo(workspace).args(["build", "--workspace", "--exclude", "btmm-ebpf", "--bins"]))?;
        binaries = binaries::build(workspace, (rings == [Which::InteropKrb5]).then_some("interop_krb5*"))?;
    }
    let mut summary = Vec::new();
    for ring in rings {
        let begun = Instant::now();
        let count = run_ring(workspace, ring, &binaries, arguments)?;
        summary.push(format!("{:<12} {:>4} test binaries {:>6.1} s", name(ring), count, begun.elapsed().as_secs_f32()));
    }
    println!("\n{}", summary.join("\n"));
    Ok(0)
}

fn run_ring(workspace: &Workspace, which: Which, binaries: &[Binary], arguments: &Arguments) -> Result<usize> {
    println!("\n=== {} ===", name(which));
    let ring = match which {
        Which::Unit => {
            unit(workspace)?;
            return Ok(binaries.iter().filter(|binary| binary.ring == Ring::Unit).count());
        }
        Which::Systemd => {
            systemd::run(workspace)?;
            return Ok(1);
        }
        Which::Netns => Ring::Netns,
        Which::Vm => Ring::Vm,
        Which::Interop => Ring::Interop,
        Which::InteropKrb5 => Ring::InteropKrb5,
    };
    let wanted = |binary: &&Binary| binary.ring == ring && arguments.binary.as_ref().is_none_or(|part| binary.name.contains(part.as_str()));
    let chosen: Vec<&Binary> = binaries.iter().filter(wanted).collect();
    ensure!(!chosen.is_empty() || arguments.binary.is_none(), "no test binary of ring {} has such a name", name(which));
    match ring {
        Ring::Netns | Ring::InteropKrb5 => natively(&chosen, &arguments.rest)?,
        _ => in_vm(workspace, &chosen, &arguments.rest)?,
    }
    Ok(chosen.len())
}

/// cargo-nextest where it is, else cargo test. Documentation's examples come besides: nextest does not run them.
fn unit(workspace: &Workspace) -> Result<()> {
    let nextest = cargo(workspace).args(["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    if nextest {
        let filter = "not binary(/^(netns|vm|interop)_/)";
        succeed(cargo(workspace).args(["nextest", "run", "--workspace", "--exclude", "btmm-ebpf", "--no-fail-fast", "-E", filter]))?;
        succeed(cargo(workspace).args(["nextest", "run", "--package", "btmm-ebpf", "--lib", "--no-tests", "pass"]))?;
    } else {
        succeed(cargo(workspace).args(["test", "--workspace", "--lib", "--bins"]))?;
        for name in binaries::integration_names(workspace)? {
            if binaries::ring_of(&name) == Ring::Unit {
                succeed(cargo(workspace).args(["test", "--workspace", "--exclude", "btmm-ebpf", "--test", &name]))?;
            }
        }
    }
    succeed(cargo(workspace).args(["test", "--quiet", "--workspace", "--exclude", "btmm-ebpf", "--exclude", "xtask", "--doc"]))
}

fn natively(binaries: &[&Binary], rest: &[String]) -> Result<()> {
    ensure!(nix::unistd::Uid::effective().is_root(), "network namespaces need root: sudo env PATH=\"$PATH\" cargo xtask test netns");
    for binary in binaries {
        println!("--- {}", binary.name);
        succeed(Command::new(&binary.path).args(rest).current_dir(&binary.package))?;
    }
    Ok(())
}

/// All of them in one boot, one after another: emulation is slow and their timings should not depend on one another.
fn in_vm(workspace: &Workspace, binaries: &[&Binary], rest: &[String]) -> Result<()> {
    if binaries.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = binaries
        .iter()
        .map(|binary| {
            let quoted: Vec<String> = rest.iter().map(|word| vm::quote(word)).collect();
            format!(
                "echo '--- {name}'; cd {folder} && timeout -k 5 {LIMIT} {path} --test-threads=1 {rest} || failed=\"$failed {name}\"",
                name = binary.name,
                folder = vm::quote(&binary.package.to_string_lossy()),
                path = vm::quote(&binary.path.to_string_lossy()),
                rest = quoted.join(" "),
            )
        })
        .collect();
    let script = format!("failed=\n{}\n[ -z \"$failed\" ] || {{ echo \"failed:$failed\"; exit 1; }}\n", lines.join("\n"));
    let limit = Duration::from_secs(60 + LIMIT * binaries.len() as u64);
    let code = vm::run(workspace, &Request::new(&["sh", "-c", &script], limit))?;
    if code != 0 {
        bail!("tests in the virtual machine ended with code {code}");
    }
    Ok(())
}

/// Seconds one test binary may take under emulation.
const LIMIT: u64 = 600;

fn name(which: Which) -> &'static str {
    match which {
        Which::Unit => "unit",
        Which::Netns => "netns",
        Which::Vm => "vm",
        Which::Interop => "interop",
        Which::InteropKrb5 => "interop-krb5",
        Which::Systemd => "systemd",
    }
}
