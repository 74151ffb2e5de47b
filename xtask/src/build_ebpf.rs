//! Builds the eBPF programs into `target/ebpf/btmm.o`, from where `btmmd/build.rs` embeds them.
//!
//! Two toolchains will do, whichever is there: Debian's `rustc-web`, which ships `core` for `bpfel-unknown-none`, or a rustup nightly
//! with `rust-src`. Either needs `bpf-linker`; if there is none it is built once, from crates.io, into `target/tools`. The build has
//! a target folder of its own, because cargo would otherwise rebuild the host's crates each time the compiler changes.

use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const TARGET: &str = "bpfel-unknown-none";
const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// Builds the programs unless they are up to date.
pub fn run() -> Result<()> {
    let root = root()?;
    let toolchain = Toolchain::find()?;
    let object = root.join("target/ebpf/btmm.o");
    let stamp = root.join("target/ebpf-build/stamp");
    let inputs = format!("{:016x}", fingerprint(&root, &toolchain)?);
    if object.is_file() && fs::read_to_string(&stamp).is_ok_and(|kept| kept == inputs) {
        return Ok(());
    }
    let linker = match find_linker(&root) {
        Some(linker) => linker,
        None => install_linker(&root, &toolchain)?,
    };
    println!("building the eBPF programs with {}", toolchain.name);
    let built = build(&root, &toolchain, &linker)?;
    publish(&built, &object)?;
    fs::write(&stamp, inputs).with_context(|| format!("writing {}", stamp.display()))?;
    println!("{} is up to date", object.strip_prefix(&root).unwrap_or(&object).display());
    Ok(())
}

/// A compiler that can make BPF.
struct Toolchain {
    /// For people.
    name: String,
    rustc: PathBuf,
    /// `core` must be built along.
    build_std: bool,
    /// LLVM inside this rustc, by which bpf-linker must be chosen.
    llvm: String,
}

impl Toolchain {
    fn find() -> Result<Self> {
        if let Some(toolchain) = Self::debian().or_else(Self::nightly) {
            return Ok(toolchain);
        }
        bail!(
            "no compiler for {TARGET} found. Either install Debian's:\n    \
             apt-get install rustc-web libstd-rust-web-dev-bpf llvm-22-dev libpolly-22-dev\n\
             or rustup's:\n    rustup toolchain install nightly --component rust-src\n\
             (everything but the programs themselves builds and tests without either)"
        )
    }

    fn debian() -> Option<Self> {
        let rustc = PathBuf::from(DEBIAN_RUSTC);
        let sysroot = ask(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let core = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
        if !core.is_dir() {
            return None;
        }
        Self::describe(rustc, false)
    }

    fn nightly() -> Option<Self> {
        let rustc = PathBuf::from(ask(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]))?.trim());
        let sysroot = ask(Command::new(&rustc).args(["--print", "sysroot"]))?;
        let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
        if !source.is_dir() {
            return None;
        }
        Self::describe(rustc, true)
    }

    fn describe(rustc: PathBuf, build_std: bool) -> Option<Self> {
        let version = ask(Command::new(&rustc).arg("-vV"))?;
        let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()?.to_owned();
        Some(Self { name: version.lines().next()?.to_owned(), rustc, build_std, llvm })
    }
}

/// What a command prints, if it succeeds.
fn ask(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    if output.status.success() { String::from_utf8(output.stdout).ok() } else { None }
}

fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    Ok(root.to_owned())
}

/// Everything the object is made from. The whole lock file is in it: cheaper than to say which lines matter.
fn fingerprint(root: &Path, toolchain: &Toolchain) -> Result<u64> {
    let mut files = vec![root.join("Cargo.toml"), root.join("Cargo.lock"), root.join("xtask/src/build_ebpf.rs")];
    collect(&root.join("btmm-ebpf"), &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    (&toolchain.name, toolchain.build_std).hash(&mut hasher);
    for file in files {
        fs::read(&file).with_context(|| format!("reading {}", file.display()))?.hash(&mut hasher);
        file.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

fn find_linker(root: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([root.join("target/tools/bin")]);
    folders.map(|folder| folder.join(LINKER)).find(|linker| linker.is_file())
}

fn install_linker(root: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{}", toolchain.llvm));
    if !prefix.join("bin/llvm-config").exists() {
        bail!(
            "{LINKER} must be built and needs LLVM {llvm}: apt-get install llvm-{llvm}-dev libpolly-{llvm}-dev (or put a {LINKER} into PATH)",
            llvm = toolchain.llvm
        );
    }
    println!("building {LINKER} {LINKER_VERSION} once, into target/tools (a minute or two)");
    let tools = root.join("target/tools");
    let status = Command::new(cargo())
        .args(["install", LINKER, "--version", LINKER_VERSION, "--locked", "--no-default-features", "--features"])
        .arg(format!("llvm-{}", toolchain.llvm))
        .arg("--root")
        .arg(&tools)
        .env("LLVM_PREFIX", &prefix)
        .env("LIBRARY_PATH", prefix.join("lib"))
        .env("CARGO_TARGET_DIR", tools.join("build"))
        .status()
        .context("running cargo install")?;
    if !status.success() {
        bail!("cargo install {LINKER} {LINKER_VERSION} failed");
    }
    Ok(tools.join("bin").join(LINKER))
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

fn build(root: &Path, toolchain: &Toolchain, linker: &Path) -> Result<PathBuf> {
    let target_dir = root.join("target/ebpf-build");
    let mut linker_flag = OsString::from("-Clinker=");
    linker_flag.push(linker);
    let flags = [OsStr::new("--cfg=bpf_target_arch=\"x86_64\""), OsStr::new("-Cdebuginfo=2"), OsStr::new("-Clink-arg=--btf"), &linker_flag];
    let mut command = Command::new(cargo());
    command
        .args(["build", "--release", "--quiet", "--package", "btmm-ebpf", "--bin", "btmm-programs", "--features", "programs"])
        .args(["--target", TARGET])
        .current_dir(root)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\u{1f}")))
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    if toolchain.build_std {
        command.args(["-Z", "build-std=core"]);
    }
    let status = command.status().context("running cargo build")?;
    if !status.success() {
        bail!("building the eBPF programs failed");
    }
    Ok(target_dir.join(TARGET).join("release/btmm-programs"))
}

/// Puts the object in place in one step, and not at all when it would be the same: `btmmd` is then not compiled again.
fn publish(built: &Path, object: &Path) -> Result<()> {
    let bytes = fs::read(built).with_context(|| format!("reading {}", built.display()))?;
    if fs::read(object).is_ok_and(|kept| kept == bytes) {
        return Ok(());
    }
    let folder = object.parent().context("the object lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let fresh = built.with_extension("fresh");
    fs::write(&fresh, &bytes).with_context(|| format!("writing {}", fresh.display()))?;
    fs::rename(&fresh, object).with_context(|| format!("writing {}", object.display()))
}
