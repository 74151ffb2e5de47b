//! The lab root: Debian with every program we are judged against, and the kernel the VM boots.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::say;
use crate::workspace::Workspace;

/// What is in it. A change here makes it anew.
const PACKAGES: &[&str] = &[
    "linux-image-amd64",
    "systemd-sysv,systemd-resolved,libnss-resolve,dbus,polkitd,kmod,udev,procps,adduser",
    "iproute2,iputils-ping,nftables,ethtool,tcpdump,bpftool,busybox-static,python3-minimal,curl,openssl,ca-certificates",
    "iperf3,wireguard-tools",
    "miniupnpd-nftables,miniupnpc,natpmpc,coturn",
    "strongswan-swanctl,charon-systemd,libstrongswan-extra-plugins,libcharon-extra-plugins",
    "krb5-user,krb5-pkinit,krb5-kdc,krb5-admin-server",
    "openssh-server,openssh-client,samba,smbclient,tigervnc-standalone-server,softhsm2",
    "bind9,bind9-dnsutils,knot,avahi-daemon,avahi-utils",
];

/// Used when the machine's own sources name no Debian.
const DEBIAN: &[&str] = &[
    "http://deb.debian.org/debian bookworm main",
    "http://deb.debian.org/debian bookworm-updates main",
    "http://deb.debian.org/debian-security bookworm-security main",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// True when it is there and holds today's list of packages.
pub fn is_current(workspace: &Workspace) -> bool {
    workspace.lab_root().join("usr").is_dir()
        && fs::read_to_string(stamp(&workspace.lab_root())).is_ok_and(|text| text == PACKAGES.join("\n"))
}

/// Makes it beside the old one and then puts it in its place.
pub fn make(workspace: &Workspace) -> Result<()> {
    let begun = Instant::now();
    let root = workspace.lab_root();
    let new = root.with_extension("new");
    let lab = root.parent().context("the lab root lies in a folder")?;
    fs::create_dir_all(lab).with_context(|| format!("creating {}", lab.display()))?;
    remove(&new)?;
    say(&format!("making the lab root in {} (2 to 5 minutes, 1 GB)", root.display()));
    let (suite, sources) = sources()?;
    let status = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--mode=root", "--architectures=amd64"])
        .args(["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=Acquire::Retries \"3\""])
        .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(&suite)
        .arg(&new)
        .args(&sources)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context("starting mmdebstrap")?;
    if !status.success() {
        remove(&new)?;
        bail!("mmdebstrap: {status}");
    }
    let old = root.with_extension("old");
    remove(&old)?;
    if root.exists() {
        fs::rename(&root, &old).context("putting the old lab root aside")?;
    }
    fs::rename(&new, &root).context("putting the lab root in its place")?;
    fs::write(stamp(&root), PACKAGES.join("\n"))?;
    remove(&old)?;
    say(&format!("the lab root is made ({} s)", begun.elapsed().as_secs()));
    Ok(())
}

fn stamp(root: &Path) -> PathBuf {
    root.with_extension("packages")
}

/// Suite and source lines, as the machine's apt has them (in whatever format, mirrors included), Debian's only.
fn sources() -> Result<(String, Vec<String>)> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(ORIGIN)|$(REPO_URI) $(RELEASE) $(COMPONENT)"])
        .args(["Identifier: Packages", "Architecture: amd64"])
        .output()
        .context("asking apt-get for its sources")?;
    let own = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(choose(&own, Path::new(KEYRING).exists()))
}

fn choose(own: &str, keyring: bool) -> (String, Vec<String>) {
    let debian: Vec<&str> = own.lines().filter_map(|line| line.strip_prefix("Debian|")).collect();
    let release = |line: &&str| line.split_whitespace().nth(1).filter(|release| !release.contains('-')).map(str::to_owned);
    let (suite, lines) = match debian.iter().find_map(release) {
        Some(suite) => (suite, debian),
        None => ("bookworm".to_owned(), DEBIAN.to_vec()),
    };
    let options = if keyring { format!("[signed-by={KEYRING}] ") } else { String::new() };
    (suite, lines.iter().map(|line| format!("deb {options}{line}")).collect())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).with_context(|| format!("removing {}", folder.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_is_taken_from_the_machines_sources() {
        let own = "Debian|http://mirror/debian/ trixie main\nDebian|http://mirror/debian/ trixie-updates main\nOther|http://x/ y z\n";
        let (suite, lines) = choose(own, false);
        assert_eq!(suite, "trixie");
        assert_eq!(lines, ["deb http://mirror/debian/ trixie main", "deb http://mirror/debian/ trixie-updates main"]);
    }

    #[test]
    fn a_machine_that_is_no_debian_still_gets_one() {
        let (suite, lines) = choose("Ubuntu|http://archive/ noble main\n", true);
        assert_eq!((suite.as_str(), lines.len()), ("bookworm", 3));
        assert!(lines[0].starts_with("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http"));
    }
}
