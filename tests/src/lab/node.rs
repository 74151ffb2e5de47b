//! One machine: its own network, mounts and host name.
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::{Finished, Running, finish};
use super::{inside, lab_root};

/// A machine of the lab: network, mount, host name and IPC namespaces of its own, with `/run`, `/etc`, `/var/lib` and the bpf file
/// system its own as well. Its processes are killed, and with them its namespaces, when it is dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    holder: Child,
    /// Its end tells the holder that we are gone.
    _alive: ChildStdin,
    network: PathBuf,
}

impl Node {
    /// A machine with nothing but a loopback interface.
    pub fn new(name: &str) -> Result<Self> {
        let root = if inside() { String::new() } else { lab_root().to_string_lossy().into_owned() };
        let root = if Path::new(&root).is_dir() { root } else { String::new() };
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--uts", "--ipc", "sh", "-c", include_str!("holder.sh"), "node", name, &root])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let alive = holder.stdin.take().context("the holder's input")?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().context("the holder's output")?).read_line(&mut line)?;
        let network = fs::read_link(format!("/proc/{}/ns/net", holder.id()));
        let own = fs::read_link("/proc/self/ns/net")?;
        let node = Self { name: name.to_owned(), network: network.unwrap_or_default(), holder, _alive: alive };
        ensure!(line == "ready\n", "the namespaces of {name} could not be made (root is needed)");
        ensure!(node.network != own, "{name} would be this process's own network");
        Ok(node)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process which holds its namespaces, for `ip … netns PID`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A file of this machine, as this process can open it.
    #[must_use]
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        let below = absolute.strip_prefix("/").unwrap_or(absolute);
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(below)
    }

    /// Writes one of its files, with the folders above it. Foreign programs see those below `/run`.
    pub fn write(&self, absolute: &str, content: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(absolute);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content).with_context(|| format!("writing {absolute} of {}", self.name))
    }

    /// A program of this machine's root (or ours, by its path), in the namespaces of the node.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let proc = format!("/proc/{}/ns", self.holder.id());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={proc}/net")).arg(format!("--mount={proc}/mnt"));
        command.arg(format!("--uts={proc}/uts")).arg(format!("--ipc={proc}/ipc"));
        command.arg("--").arg(program);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// A program of the lab root: directly inside the VM, by `chroot` outside.
    pub fn foreign(&self, program: impl AsRef<OsStr>) -> Command {
        if inside() {
            return self.command(program);
        }
        let mut command = self.command("chroot");
        command.arg("/run/lab/root").arg(program);
        command
    }

    /// Starts a program made by [`command`](Self::command) or [`foreign`](Self::foreign) in the background.
    /// Answers once it is inside the node.
    pub fn spawn(&self, command: Command) -> Result<Running> {
        self.arrived(Running::start(command)?)
    }

    /// The same for a program that ends when its standard input does.
    pub fn spawn_attended(&self, command: Command) -> Result<Running> {
        self.arrived(Running::start_attended(command)?)
    }

    fn arrived(&self, mut running: Running) -> Result<Running> {
        let link = format!("/proc/{}/ns/net", running.pid());
        while running.is_running() && fs::read_link(&link).is_ok_and(|network| network != self.network) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(running)
    }

    /// Runs a program with words split at white space, to its end, which must be good.
    pub fn run(&self, words: &str) -> Result<Finished> {
        let mut split = words.split_whitespace();
        let mut command = self.command(split.next().context("a program to run")?);
        command.args(split);
        finish(command)
    }

    /// Sends one echo request and waits up to `seconds` for the answer.
    pub fn ping(&self, address: &str, seconds: u32) -> Result<Finished> {
        let mut command = self.foreign("ping");
        command.args(["-c1", &format!("-W{seconds}"), address]);
        finish(command)
    }

    /// Runs lines of `ip` (without the word itself) as one batch.
    pub fn ip(&self, lines: &str) -> Result<()> {
        self.feed("ip", &["-batch", "-"], lines)
    }

    /// Loads an nftables ruleset.
    pub fn nft(&self, ruleset: &str) -> Result<()> {
        self.feed("nft", &["-f", "-"], ruleset)
    }

    /// Sets a kernel parameter of its network, such as `net.ipv4.ip_forward`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key.replace('.', "/"));
        self.enter(|| fs::write(&path, value))?.with_context(|| format!("setting {key} of {}", self.name))
    }

    /// Calls a function in a thread of its own that has moved into this node's network and mounts.
    pub fn enter<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T> {
        let open = |kind: &str| fs::File::open(format!("/proc/{}/ns/{kind}", self.holder.id()));
        let (network, mounts) = (open("net")?, open("mnt")?);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                unshare(CloneFlags::CLONE_FS).context("leaving the shared file system state")?;
                setns(&network, CloneFlags::CLONE_NEWNET).context("entering the network")?;
                setns(&mounts, CloneFlags::CLONE_NEWNS).context("entering the mounts")?;
                Ok(function())
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn feed(&self, program: &str, arguments: &[&str], input: &str) -> Result<()> {
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {program}"))?;
        child.stdin.take().context("its input")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "{program} in {}: {}{}\n{input}",
            self.name,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// Processes, other than the holder, whose network is this node's.
    fn processes(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|network| network == self.network))
            .filter(|pid| u32::try_from(*pid) != Ok(self.holder.id()))
            .map(Pid::from_raw)
            .collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The holder first, or it would speak of its children's end.
        let _ = self.holder.kill();
        let own = fs::read_link("/proc/self/ns/net").unwrap_or_default();
        if !self.network.as_os_str().is_empty() && self.network != own {
            for pid in self.processes() {
                // It may just have ended.
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        let _ = self.holder.wait();
    }
}
