//! What travels over the control socket, and what `btmm --json` prints: field names are stable.
//!
//! Times are seconds since the epoch, round trips microseconds, names fully spelled.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The varlink interface.
pub const INTERFACE: &str = "org.btmm.Control";

/// Everything `btmm status` tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The switch `btmm on`/`btmm off`.
    pub on: bool,
    /// The port-4500 switch in eBPF.
    pub firewall: Firewall,
    /// The account, when this machine is in one.
    pub account: Option<AccountStatus>,
    /// What is not as it should be, worst first.
    pub health: Vec<Finding>,
    /// The home router's mapping of our port.
    pub port_mapping: PortMapping,
    /// Whether our names are published and others' can be looked up.
    pub rendezvous: RendezvousStatus,
    /// How this machine resolves names of the zone.
    pub resolver: ResolverStatus,
    /// This machine's own KDC; absent when it gives no tickets.
    #[serde(default)]
    pub kdc: Option<KdcStatus>,
    /// Interfaces over which tunnels travel.
    pub uplinks: Vec<Uplink>,
    /// The account's other machines.
    pub peers: Vec<MachineStatus>,
    /// Counted since the daemon started.
    pub counters: Counters,
}

/// The state of the switch that the eBPF programs obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firewall {
    /// Tunnel traffic passes by the gate's rules.
    Allow,
    /// Nothing passes on the encapsulation port.
    Block,
    /// The gate is not attached to any uplink.
    Absent,
}

/// This machine's place in its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// The account's name.
    pub account: String,
    /// Its DNS zone.
    pub zone: String,
    /// This machine's name in the zone: one label.
    pub machine: String,
    /// This machine's inner address.
    pub inner: Ipv6Addr,
    /// Whether this machine is a home base.
    pub base: bool,
    /// When the sharing certificate ends.
    pub certificate_expires: i64,
}

/// How bad a [`Finding`] is. Worst last, so that it sorts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Something works less well than it could.
    Warning,
    /// Something does not work.
    Error,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What is the matter, in one clause.
    pub what: String,
    /// Why, as far as known.
    pub cause: String,
    /// What the owner can do.
    pub next_step: String,
}

/// The home router's mapping of our port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// One line: `mapped by NAT-PMP`, `not needed: public address`, `none: the router does not answer`.
    pub text: String,
    /// Where the internet reaches us, when known.
    pub external: Option<SocketAddr>,
    /// When the mapping ends unless renewed.
    pub expires: Option<i64>,
}

/// Whether our names are published and others' can be looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RendezvousStatus {
    /// Server asked: address or, on the base itself, `this machine`.
    pub server: Option<String>,
    /// One word: `published`, `publishing`, `unreachable`, `refused`, `off`.
    pub state: String,
    /// The last success.
    pub last_success: Option<i64>,
    /// When the lease of our records ends.
    pub lease_expires: Option<i64>,
    /// The last error, in one line.
    pub error: Option<String>,
}

/// How this machine resolves names of the zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverStatus {
    /// One word: `resolved` (systemd-resolved per link), `stub` (the loopback address only), `off`.
    pub state: String,
    /// The stub's address.
    pub listen: Option<SocketAddr>,
    /// What the owner must do so that names resolve, when anything.
    pub hint: Option<String>,
}

/// This machine's own KDC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdcStatus {
    /// The realm.
    pub realm: String,
    /// Where it listens; nowhere when it cannot.
    pub listen: Vec<SocketAddr>,
    /// Users, services and machines that it knows.
    pub principals: u64,
    /// Tickets given since the session began.
    pub given: u64,
    /// Tickets refused since then.
    pub refused: u64,
}

/// An interface over which tunnels travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The interface.
    pub name: String,
    /// Its addresses that can carry tunnels.
    pub addresses: Vec<IpAddr>,
    /// Whether the gate is attached, and how: `xdp`, `tcx`, `tc`.
    pub gate: Option<String>,
}

/// Counted since the daemon started; the gate's counters since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Tunnels brought up.
    pub tunnels_up: u64,
    /// Attempts that failed.
    pub tunnels_failed: u64,
    /// Packets held in the waiting room and sent on.
    pub packets_held: u64,
    /// Packets given up in the waiting room.
    pub packets_dropped: u64,
    /// IKE datagrams received.
    pub ike_received: u64,
    /// IKE datagrams sent.
    pub ike_sent: u64,
    /// Packets the gate let through.
    pub gate_passed: u64,
    /// Packets the gate dropped.
    pub gate_dropped: u64,
}

/// One of the account's machines, seen from this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineStatus {
    /// Its name in the zone: one label.
    pub name: String,
    /// Its inner address.
    pub inner: Ipv6Addr,
    /// Whether its records are in the zone and their lease runs.
    pub online: bool,
    /// When its records were last fresh or it last spoke.
    pub last_seen: Option<i64>,
    /// The tunnel to it.
    pub tunnel: Tunnel,
}

/// The tunnel to a machine. In JSON one object whose `state` tells which fields there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Tunnel {
    /// None, and none being made.
    Down {
        /// Why the last attempt or tunnel ended; `None` before the first.
        cause: Option<String>,
    },
    /// Being made.
    Connecting {
        /// Since when.
        since: i64,
    },
    /// Carrying packets.
    Up(Box<TunnelUp>),
}

/// A tunnel that carries packets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelUp {
    /// Since when.
    pub since: i64,
    /// Our outer address and port.
    pub local: SocketAddr,
    /// The peer's outer address and port.
    pub remote: SocketAddr,
    /// Which ends are behind a NAT.
    pub nat: Nat,
    /// The path: `direct` in this version.
    pub via: String,
    /// Bytes received, inner.
    pub bytes_in: u64,
    /// Bytes sent, inner.
    pub bytes_out: u64,
    /// The last round trip measured, in microseconds.
    pub rtt_us: Option<u64>,
    /// SPI of the kernel's inbound SA.
    pub spi_in: u32,
    /// SPI of the kernel's outbound SA.
    pub spi_out: u32,
    /// The suites in use, for people.
    pub algorithms: String,
    /// The last packet in either direction.
    pub last_used: Option<i64>,
}

/// Which ends of a tunnel are behind a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Neither end.
    None,
    /// This end.
    Local,
    /// The other end.
    Remote,
    /// Both ends.
    Both,
}

/// Reply of `Machines`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machines {
    /// The account's zone.
    pub zone: String,
    /// This machine's name.
    pub this: String,
    /// The account's other machines, by name.
    pub machines: Vec<MachineStatus>,
}

/// What one probe of a machine found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The machine.
    pub machine: String,
    /// Its inner address.
    pub inner: Ipv6Addr,
    /// Its outer address.
    pub remote: SocketAddr,
    /// The path: `direct` in this version.
    pub via: String,
    /// The round trip in microseconds, without the time to make the tunnel.
    pub rtt_us: u64,
    /// How long making the tunnel took, in microseconds, when this probe had to.
    pub connect_us: Option<u64>,
}

/// One item of the reply stream of `Ping`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PingReply {
    /// Counted from 1.
    pub sequence: u32,
    /// The answer, when there was one.
    pub pong: Option<Pong>,
    /// Why there was none.
    pub lost: Option<String>,
}

/// Parameters of `AccountCreate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    /// The account's name, a single label.
    pub name: String,
    /// Its zone; `NAME.btmm.internal` when absent.
    pub zone: Option<String>,
    /// This machine's name; the host name's first label when absent.
    pub machine: Option<String>,
    /// Whether this machine serves the account. Must be true in this version.
    pub serve: bool,
    /// The `pkcs11:` URI of a key on a token, made there if it is missing; a key in a file when absent.
    pub key: Option<String>,
}

/// Parameters of `Join`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// The invitation.
    pub code: InvitationCode,
    /// This machine's name; the host name's first label when absent.
    pub machine: Option<String>,
    /// The `pkcs11:` URI of a key on a token, made there if it is missing; a key in a file when absent.
    pub key: Option<String>,
}

/// An invitation's code: shown to the one who asked for it, otherwise a secret until it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct InvitationCode(Zeroizing<String>);

impl InvitationCode {
    /// The code.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for InvitationCode {
    fn from(code: String) -> Self {
        Self(Zeroizing::new(code))
    }
}

impl From<InvitationCode> for String {
    fn from(code: InvitationCode) -> Self {
        code.0.to_string()
    }
}

impl fmt::Debug for InvitationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationCode(…)")
    }
}

/// Reply of `Invite`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// One line to be typed or pasted on the new machine.
    pub code: InvitationCode,
    /// When it ends.
    pub expires: i64,
}

/// Reply of `On` and `Off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switched {
    /// The switch's state now.
    pub on: bool,
    /// Whether the call changed it.
    pub changed: bool,
}

/// Reply of `Reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys whose new value is in force.
    pub applied: Vec<String>,
    /// Keys whose new value waits for a restart.
    pub restart_needed: Vec<String>,
}

/// Reply of `Metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    /// Prometheus text format 0.0.4.
    pub text: String,
}
