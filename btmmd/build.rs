//! Embeds the eBPF programs that `cargo xtask build-ebpf` leaves in `target/ebpf`, or nothing: everything but loading them works then.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let folder = manifest.parent().unwrap_or(Path::new("..")).join("target/ebpf");
    // Cargo runs a script whose inputs are missing each time; an empty folder is an input that is there. Outside the workspace
    // (a published crate) it cannot be made and that does not matter.
    let _made_or_published = fs::create_dir_all(&folder);
    println!("cargo::rerun-if-changed={}", folder.display());
    let object = fs::read(folder.join("btmm.o")).unwrap_or_default();
    fs::write(out.join("btmm.o"), object).expect("OUT_DIR can be written");
}
