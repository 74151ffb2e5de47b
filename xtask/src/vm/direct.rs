//! The lab without a virtual machine, where the running kernel has all it needs: namespaces and a chroot.
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::{CODE_OF_TIMEOUT, Request, environment, quote, shell_words};
use crate::workspace::Workspace;

/// Makes an xfrm interface and an ESP state in a network namespace that dies with it.
const PROBE: &str = "ip link set lo up && ip link add probe0 type xfrm dev lo if_id 7 && ip xfrm state add src ::1 dst ::1 \
     proto esp spi 0x1000 mode tunnel aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128 \
     && ip link add probe1 type veth peer name probe2 && tc qdisc add dev probe1 root netem delay 1ms";

/// True when this process may make namespaces and the kernel has ESP, xfrm interfaces and netem.
#[must_use]
pub fn kernel_has_ipsec() -> bool {
    Command::new("unshare")
        .args(["--net", "sh", "-c", PROBE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs the command in namespaces of its own, with the lab root (under a cover that takes the writes) as its root.
pub fn run(workspace: &Workspace, request: &Request) -> Result<i32> {
    let lab = workspace.lab_root().canonicalize()?;
    let cover = workspace.target.join("vm").join(std::process::id().to_string());
    std::fs::create_dir_all(&cover).with_context(|| format!("creating {}", cover.display()))?;
    let script = format!(
        "{script}\nenter {cover} {lab} {repo} {target} {words}\n",
        script = include_str!("direct.sh"),
        cover = quote(&cover.to_string_lossy()),
        lab = quote(&lab.to_string_lossy()),
        repo = quote(&workspace.root.to_string_lossy()),
        target = quote(&workspace.target.to_string_lossy()),
        words = shell_words(&request.command),
    );
    let status = Command::new("timeout")
        .args(["--signal=KILL", &request.timeout.to_string()])
        .args(["unshare", "--mount", "--net", "--uts", "--ipc", "--cgroup", "--pid", "--fork", "--kill-child", "sh", "-c"])
        .arg(format!("{}{script}", environment()))
        .stdin(Stdio::null())
        .status()
        .context("starting unshare");
    // Mounted upon in a namespace that is gone: here it is empty.
    let _ = std::fs::remove_dir(&cover);
    let status = status?;
    Ok(status.code().unwrap_or(CODE_OF_TIMEOUT))
}
