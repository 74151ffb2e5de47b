//! What can go wrong between us and the kernel's BPF.

use std::io;
use std::path::PathBuf;

/// Why the datapath could not do what it was asked. Each carries the object it failed on.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// This binary was built without the BPF toolchain.
    #[error("built without eBPF programs: run `cargo xtask build-ebpf`")]
    NoPrograms,
    /// There is no bpffs at the pins' place and none could be mounted.
    #[error("{path}: no BPF file system here and mounting one failed ({source}); run `mount -t bpf bpf /sys/fs/bpf` as root")]
    Bpffs {
        /// The folder for the pins.
        path: PathBuf,
        /// What mount(2) said.
        source: io::Error,
    },
    /// A pin could not be made, opened or removed.
    #[error("{path}: {source}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel (or its verifier) refused the object.
    #[error("loading the eBPF programs: {0}")]
    Load(Box<aya::EbpfError>),
    /// The object lacks what this binary expects of it.
    #[error("the eBPF object has no {0}: run `cargo xtask build-ebpf`")]
    Missing(&'static str),
    /// The kernel refused a program.
    #[error("eBPF program {name}: {source}")]
    Program {
        /// Which.
        name: &'static str,
        /// Why.
        source: Box<aya::programs::ProgramError>,
    },
    /// A map could not be read or written.
    #[error("eBPF map {name}: {source}")]
    Map {
        /// Which.
        name: &'static str,
        /// Why.
        source: Box<aya::maps::MapError>,
    },
    /// A program could not be attached.
    #[error("{interface}: cannot attach {program}: {why}")]
    Attach {
        /// Interface name.
        interface: String,
        /// Program name.
        program: &'static str,
        /// What the kernel said.
        why: String,
    },
    /// No such interface.
    #[error("no interface {0}")]
    Interface(String),
    /// The file that keeps the switch's choice could not be written.
    #[error("{path}: {source}")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The switch is set but some interfaces could not be put under it.
    #[error("the firewall is not in force on {0}")]
    Partial(String),
    /// The ring buffer of the programs' log could not be opened.
    #[error("the eBPF programs' log: {source}")]
    ProgramLog {
        /// What the kernel said.
        source: io::Error,
    },
    /// The waiting room's device or its injection socket failed.
    #[error("waiting room {what}: {source}")]
    WaitingRoom {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl DatapathError {
    /// True when more rights would have helped: the CLI says "run as root" and exits with 4.
    pub fn is_permission(&self) -> bool {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return io.kind() == io::ErrorKind::PermissionDenied;
            }
            source = error.source();
        }
        false
    }
}
