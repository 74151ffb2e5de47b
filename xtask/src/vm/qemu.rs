//! The machine under QEMU.
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};

use super::kmod::Modules;
use super::stream::copy_until_mark;
use super::{CODE_OF_TIMEOUT, Request, environment, quote, shell_words};
use crate::cpio::Archive;
use crate::workspace::Workspace;

/// What the initial root loads. All else is loaded by the kernel's own requests, from the lab root.
const MODULES: &[&str] = &["virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay", "virtio_rng"];
/// For a disk, besides; crc32c is what ext4 asks the kernel for by name.
const DISK_MODULES: &[&str] = &["virtio_blk", "crc32c_generic", "ext4"];
const DISK_BYTES: u64 = 2 << 30;
/// How long a machine with systemd may take to go down after its command.
const SHUTDOWN: Duration = Duration::from_secs(90);

/// A folder of one run: initial root, kernel log. Removed with it.
struct RunFolder(PathBuf);

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Nothing depends on it being gone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Boots, runs, and answers the exit code of the command.
pub fn run(workspace: &Workspace, request: &Request) -> Result<i32> {
    let folder = RunFolder(workspace.target.join("vm").join(std::process::id().to_string()));
    fs::create_dir_all(&folder.0).with_context(|| format!("creating {}", folder.0.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mark = format!("btmm-vm-{}-{}", std::process::id(), now.as_nanos());
    let lab = workspace.lab_root().canonicalize()?;
    let (kernel, modules) = kernel_of(&lab)?;
    fs::write(folder.0.join("initrd"), initial_root(workspace, request, &lab, &modules, &mark)?)?;
    if let Some(disk) = &request.disk {
        make_disk(disk)?;
    }
    let errors = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&mark)?).context("making the socket for the VM's errors")?;

    let mut machine = qemu(workspace, request, &folder.0, &kernel, &lab, &mark)
        .spawn()
        .context("starting qemu-system-x86_64 (install it with `cargo xtask setup`)")?;
    let out = machine.stdout.take().context("the machine's output")?;
    let out = passing_on(move || Ok(out), io::stdout(), &mark);
    let err = passing_on(move || Ok(errors.accept()?.0), io::stderr(), &mark);
    let result = wait(&mut machine, request, &[&out, &err]);
    let _ = machine.kill();
    machine.wait()?;
    let code = out.join().map_err(|_| anyhow!("the reader of the VM's output panicked"))?;
    if matches!(code, Ok(Some(_))) && err.is_finished() {
        err.join().map_err(|_| anyhow!("the reader of the VM's errors panicked"))??;
    }
    if request.verbose {
        eprintln!("{}", kernel_log(&folder.0, usize::MAX));
    }
    match (result, code?) {
        (Ok(true), Some(code)) => Ok(code),
        (Ok(false), _) => {
            eprintln!("xtask vm: stopped after {} s\n{}", request.timeout, kernel_log(&folder.0, 30));
            Ok(CODE_OF_TIMEOUT)
        }
        (Err(error), _) => Err(error),
        (Ok(true), None) => bail!(
            "the virtual machine ended before its command did; the last it said:\n{}\n{}",
            kernel_log(&folder.0, 30),
            fs::read_to_string(folder.0.join("qemu.log")).unwrap_or_default()
        ),
    }
}

/// True when the machine or its command ended, false when time was up.
fn wait(machine: &mut Child, request: &Request, streams: &[&JoinHandle<Result<Option<i32>>>]) -> Result<bool> {
    let until = Instant::now() + Duration::from_secs(request.timeout);
    while !streams.iter().all(|stream| stream.is_finished()) {
        if machine.try_wait()?.is_some() {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(20));
    }
    // The command is done. With systemd, let it write its disk and shut down; else there is nothing worth keeping.
    let until = Instant::now() + SHUTDOWN;
    while request.systemd && machine.try_wait()?.is_none() {
        if Instant::now() >= until {
            eprintln!("xtask vm: systemd did not shut the machine down within {} s", SHUTDOWN.as_secs());
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(true)
}

/// Passes one of the machine's streams on, in a thread.
fn passing_on<R: Read>(
    open: impl FnOnce() -> io::Result<R> + Send + 'static,
    to: impl io::Write + Send + 'static,
    mark: &str,
) -> JoinHandle<Result<Option<i32>>> {
    let mark = mark.to_owned();
    thread::spawn(move || copy_until_mark(open().context("opening the VM's output")?, to, &mark))
}

/// The newest kernel of a root, and the folder of its modules.
fn kernel_of(lab: &Path) -> Result<(PathBuf, PathBuf)> {
    let mut kernels: Vec<String> = fs::read_dir(lab.join("boot"))
        .with_context(|| format!("reading {}/boot", lab.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_prefix("vmlinuz-").map(str::to_owned))
        .collect();
    kernels.sort();
    let version = kernels.pop().with_context(|| format!("no kernel in {}/boot", lab.display()))?;
    Ok((lab.join(format!("boot/vmlinuz-{version}")), lab.join(format!("usr/lib/modules/{version}"))))
}

fn initial_root(workspace: &Workspace, request: &Request, lab: &Path, modules: &Path, mark: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for name in ["bin", "dev", "proc", "sys", "lower", "cover", "new", "vm", "modules"] {
        archive.directory(name);
    }
    archive.copy("bin/busybox", &lab.join("usr/bin/busybox"))?;
    archive.file("init", include_bytes!("stage1.sh"));
    archive.file("vm/stage2.sh", include_bytes!("stage2.sh"));
    archive.file("vm/command.sh", include_bytes!("command.sh"));
    archive.file("vm/units.sh", include_bytes!("units.sh"));
    archive.file("vm/environment", environment().as_bytes());
    archive.file("vm/user.sh", format!("exec {}\n", shell_words(&request.command)).as_bytes());
    let config = format!(
        "MARK={}\nCOVER={}\nINIT={}\nMOUNT_repo={}\nMOUNT_target={}\n",
        quote(mark),
        if request.disk.is_some() { "disk" } else { "memory" },
        if request.systemd { "systemd" } else { "own" },
        quote(&workspace.root.to_string_lossy()),
        if workspace.target.starts_with(&workspace.root) { String::new() } else { quote(&workspace.target.to_string_lossy()) },
    );
    archive.file("vm/config", config.as_bytes());
    let mut order = String::new();
    let names: Vec<&str> = MODULES.iter().chain(request.disk.iter().flat_map(|_| DISK_MODULES)).copied().collect();
    for file in Modules::read(modules)?.load_order(&names)? {
        let name = file.file_name().context("a module has a name")?.to_string_lossy().into_owned();
        archive.copy(&format!("modules/{name}"), &file)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules/order", order.as_bytes());
    Ok(archive.finish())
}

fn qemu(workspace: &Workspace, request: &Request, folder: &Path, kernel: &Path, lab: &Path, errors: &str) -> Command {
    // setpriv: the machine ends with us, even when we are killed.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    qemu.args(["-machine", "pc", "-cpu", "max"]);
    match (request.kvm, request.counted) {
        (true, _) => qemu.args(["-accel", "kvm", "-smp", "2"]),
        // Two nanoseconds an instruction: about what emulation reaches on an idle host.
        (false, true) => qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=on", "-smp", "1"]),
        (false, false) => qemu.args(["-accel", "tcg,thread=multi", "-smp", "2"]),
    };
    qemu.args(["-m", &request.memory.to_string(), "-device", "virtio-rng-pci"]);
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(folder.join("initrd"));
    qemu.args(["-append", "console=ttyS0 loglevel=6 panic=-1 mitigations=off nokaslr audit=0 apparmor=0 net.ifnames=0"]);
    qemu.arg("-serial").arg(format!("file:{}", folder.join("kernel.log").display()));
    qemu.args(["-device", "virtio-serial-pci", "-chardev", "stdio,id=out,signal=off"]);
    qemu.arg("-chardev").arg(format!("socket,id=err,path={errors},abstract=on"));
    qemu.args(["-device", "virtserialport,chardev=out,name=stdout", "-device", "virtserialport,chardev=err,name=stderr"]);
    let mut share = |tag: &str, path: &Path, options: &str| {
        qemu.arg("-fsdev").arg(format!("local,id={tag},path={},security_model=none,multidevs=remap{options}", path.display()));
        qemu.arg("-device").arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
    };
    share("lab", lab, ",readonly=on");
    share("repo", &workspace.root, "");
    if !workspace.target.starts_with(&workspace.root) {
        share("target", &workspace.target, "");
    }
    if let Some(disk) = &request.disk {
        qemu.arg("-drive").arg(format!("file={},if=virtio,format=raw,cache=unsafe", disk.display()));
    }
    let log = File::create(folder.join("qemu.log")).map_or_else(|_| Stdio::null(), Stdio::from);
    // An input at its end would look to the guest like an unplugged port: it stays open and silent.
    qemu.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
    qemu
}

/// Makes an empty ext4 image, sparse, unless it is there.
fn make_disk(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    file.set_len(DISK_BYTES)?;
    let made = Command::new("mke2fs").args(["-q", "-F", "-t", "ext4"]).arg(path).env("PATH", search_path()).status();
    match made {
        Ok(status) if status.success() => Ok(()),
        other => {
            let _ = fs::remove_file(path);
            bail!("mke2fs {}: {other:?}", path.display())
        }
    }
}

fn search_path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// The last lines of what the machine wrote on its console.
fn kernel_log(folder: &Path, lines: usize) -> String {
    let log = fs::read(folder.join("kernel.log")).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let all: Vec<&str> = log.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
