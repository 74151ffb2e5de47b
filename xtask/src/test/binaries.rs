//! The test binaries of the workspace, and the ring each belongs to by its name.
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::step::{cargo, output};
use crate::workspace::Workspace;

/// Where a test binary runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Anywhere.
    Unit,
    /// In namespaces of this kernel, as root.
    Netns,
    /// In the virtual machine.
    Vm,
    /// In the virtual machine, against foreign software.
    Interop,
    /// In namespaces of this kernel, as root, against foreign Kerberos software.
    InteropKrb5,
}

/// One test binary.
#[derive(Debug)]
pub struct Binary {
    /// Its target's name.
    pub name: String,
    /// The program.
    pub path: PathBuf,
    /// Folder of its package, where cargo would run it.
    pub package: PathBuf,
    /// By its name.
    pub ring: Ring,
}

/// The ring of a test target: `netns_…`, `vm_…`, `interop_krb5…`, `interop_…`, or plain.
pub fn ring_of(name: &str) -> Ring {
    if name.starts_with("interop_krb5") {
        return Ring::InteropKrb5;
    }
    match name.split('_').next() {
        Some("netns") => Ring::Netns,
        Some("vm") => Ring::Vm,
        Some("interop") => Ring::Interop,
        _ => Ring::Unit,
    }
}

/// Builds every test binary of the workspace, or those whose target's name fits `pattern`, and lists them by name.
pub fn build(workspace: &Workspace, pattern: Option<&str>) -> Result<Vec<Binary>> {
    let mut command = cargo(workspace);
    command.args(["test", "--no-run", "--workspace", "--exclude", "btmm-ebpf", "--message-format", "json-render-diagnostics"]);
    if let Some(pattern) = pattern {
        command.args(["--test", pattern]);
    }
    built(&mut command)
}

/// The test binaries that a run of cargo, which must write messages in JSON, has built, by name.
pub fn built(cargo: &mut Command) -> Result<Vec<Binary>> {
    let mut binaries = output(cargo)?.lines().filter_map(|line| read(line).transpose()).collect::<Result<Vec<_>>>()?;
    binaries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(binaries)
}

/// Names of the test targets that are files of a `tests` folder.
pub fn integration_names(workspace: &Workspace) -> Result<Vec<String>> {
    let text = output(cargo(workspace).args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&text).context("reading cargo's metadata")?;
    let targets = metadata["packages"].as_array().into_iter().flatten().flat_map(|p| p["targets"].as_array().into_iter().flatten());
    Ok(targets.filter(|target| target["kind"][0] == "test").filter_map(|target| target["name"].as_str().map(str::to_owned)).collect())
}

/// A test binary out of one of cargo's messages, or none when it tells of something else.
fn read(line: &str) -> Result<Option<Binary>> {
    let message: Value = serde_json::from_str(line).context("reading cargo's messages")?;
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let (true, Some(path), Some(name), Some(manifest)) =
        (is_test, message["executable"].as_str(), message["target"]["name"].as_str(), message["manifest_path"].as_str())
    else {
        return Ok(None);
    };
    let package = PathBuf::from(manifest).parent().context("a manifest lies in a folder")?.to_owned();
    let kind = &message["target"]["kind"][0];
    let ring = if kind == "test" { ring_of(name) } else { Ring::Unit };
    Ok(Some(Binary { name: name.to_owned(), path: path.into(), package, ring }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_read_from_the_name() {
        for (name, ring) in [
            ("netns_gate", Ring::Netns),
            ("vm_tunnel", Ring::Vm),
            ("interop_bind", Ring::Interop),
            ("interop_krb5_lab", Ring::InteropKrb5),
            ("resolver", Ring::Unit),
            ("vmstat", Ring::Unit),
        ] {
            assert_eq!(ring_of(name), ring, "{name}");
        }
    }

    #[test]
    fn a_library_called_like_a_ring_is_still_a_plain_test() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/w/p/Cargo.toml","profile":{"test":true},
            "target":{"kind":["lib"],"name":"vm_codec"},"executable":"/w/target/x"}"#
            .replace('\n', "");
        let binary = read(&line).expect("reads").expect("a test binary");
        assert_eq!((binary.ring, binary.package), (Ring::Unit, PathBuf::from("/w/p")));
    }
}
