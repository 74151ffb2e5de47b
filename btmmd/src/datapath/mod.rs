//! eBPF programs, the firewall switch and the waiting room.
//!
//! - [`Datapath`]: the programs, their pinned maps and where they are attached. Everything is pinned under one folder of a bpffs
//!   and goes on working with no process alive.
//! - [`firewall`]: the switch `btmm firewall block`, usable as root with no daemon.
//! - [`waiting_room`]: the TUN device that receives packets for peers without a tunnel, and the way to send them on.
//! - [`holding`]: the pure queue those packets wait in.
//!
//! Which packets pass in which state is written down in `docs/security.md`.

pub mod error;
pub mod firewall;
pub mod holding;
pub mod interfaces;
mod linux;
pub mod object;
pub mod waiting_room;

use std::net::Ipv6Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use error::DatapathError;
pub use linux::{Datapath, ProgramLog, purge};

/// What the programs are told when they are loaded, and again whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// UDP encapsulation port of this machine: the port the gate guards and the switch closes.
    pub port: u16,
    /// The account's /48 (the bits below it are ignored), once there is an account. Arms the never-in-clear guard on the uplinks.
    pub prefix: Option<Ipv6Addr>,
    /// IKE messages one source (IPv4 /32, IPv6 /64) may send per second, sustained.
    pub ike_per_second: u32,
    /// IKE messages one source may send at once after a rest.
    pub ike_burst: u32,
    /// Where the choice of the switch is kept: `<state_dir>/firewall`.
    pub state_dir: PathBuf,
    /// Where `gate` is to be XDP.
    pub xdp: XdpUse,
    /// Let the programs log what they drop, with source and SPI (aya-log), at level trace. Off by default, and then not in the loaded
    /// programs at all.
    pub program_log: bool,
}

impl Settings {
    /// Port 4500, no account yet, 50 IKE messages per second and source with a burst of 100, no log.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            port: 4500,
            prefix: None,
            ike_per_second: 50,
            ike_burst: 100,
            state_dir: state_dir.into(),
            xdp: XdpUse::Hardware,
            program_log: false,
        }
    }
}

/// Where `gate` is to be XDP rather than TC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpUse {
    /// On interfaces with hardware behind them, real or of a virtual machine. On a veth and its like packets are socket buffers
    /// already, and XDP has each copied first: TCP over a veth fell from 5 to 1.4 Gbit/s, where TC costs nothing that shows.
    Hardware,
    /// Wherever the driver has it.
    Driver,
}

/// How a program sits on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// XDP in the driver (or wherever the kernel chose), held by a pinned link.
    Xdp,
    /// TCX (kernel 6.6 and later), held by a pinned link.
    Tcx,
    /// A clsact filter with a fixed priority and handle, held by the interface.
    Tc,
}

/// An interface on which the gate is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Name now.
    pub interface: String,
    /// Index, by which it was attached.
    pub index: u32,
    /// Where `gate` sits.
    pub ingress: Hook,
    /// Where `gate_egress` sits.
    pub egress: Hook,
}

/// Packets counted by verdict since the maps were made, all CPUs summed. Names as in `docs/security.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Not for the encapsulation port: passed untouched.
    pub other: u64,
    /// ESP of a known SPI: passed.
    pub esp_accepted: u64,
    /// ESP of no SPI of ours: dropped.
    pub esp_unknown: u64,
    /// IKE within the rate: passed.
    pub ike_accepted: u64,
    /// IKE beyond the rate of its source: dropped.
    pub ike_limited: u64,
    /// NAT keepalives: passed.
    pub keepalive: u64,
    /// To the port but too short or inconsistent to be any of these: dropped.
    pub malformed: u64,
    /// Claims to be IP and ends or nests so that it cannot be told whether it is for the port: dropped.
    pub unreadable: u64,
    /// Dropped by the switch on the way in.
    pub blocked_in: u64,
    /// Dropped by the switch on the way out.
    pub blocked_out: u64,
    /// Later fragments of UDP dropped by the switch, either way.
    pub blocked_fragment: u64,
    /// Inner addresses that were about to leave an uplink in clear: dropped. Anything but 0 is worth a look.
    pub guarded: u64,
    /// Leaving an uplink and none of the above: passed.
    pub out: u64,
    /// Handed to the waiting room.
    pub waiting: u64,
    /// Leaving `btmm0` for a peer that has its tunnel: passed.
    pub ready: u64,
    /// Leaving `btmm0` but not for an inner address, or with no waiting room to go to: dropped.
    pub stray: u64,
}
