//! How systemd-resolved is made to ask the stub for the account's names, and for no others.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Table;

/// What resolved is told about `btmm0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Index of `btmm0`.
    pub index: u32,
    /// Where the stub listens.
    pub stub: SocketAddr,
    /// The account's zone, no trailing dot.
    pub zone: String,
    /// Its reverse zone.
    pub reverse_zone: String,
}

impl Link {
    /// The settings for `table`.
    pub fn new(index: u32, stub: SocketAddr, table: &Table) -> Self {
        Self { index, stub, zone: table.zone.to_string(), reverse_zone: table.reverse_zone() }
    }
}

/// A method of `org.freedesktop.resolve1.Manager`, each for one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `SetLinkDNSEx`: the link's only name server.
    Server(SocketAddr),
    /// `SetLinkDomains`: routing-only domains, so that bare names are never completed with them.
    RoutingDomains(Vec<String>),
    /// `SetLinkDefaultRoute`: whether names of no link's domains come here.
    DefaultRoute(bool),
    /// `SetLinkDNSSEC`.
    Dnssec(&'static str),
    /// `SetLinkDNSOverTLS`.
    DnsOverTls(&'static str),
    /// `SetLinkLLMNR`.
    Llmnr(&'static str),
    /// `SetLinkMulticastDNS`.
    MulticastDns(&'static str),
    /// `RevertLink`: forget all of it.
    Revert,
}

/// The calls that bring the account's names to the stub. The domains come last: no query is sent our way half configured.
pub fn apply(link: &Link) -> Vec<Call> {
    vec![
        Call::DefaultRoute(false),
        Call::Dnssec("no"),
        Call::DnsOverTls("no"),
        Call::Llmnr("no"),
        Call::MulticastDns("no"),
        Call::Server(link.stub),
        Call::RoutingDomains(vec![link.zone.clone(), link.reverse_zone.clone()]),
    ]
}

/// The calls that undo [`apply`].
pub fn revert() -> Vec<Call> {
    vec![Call::Revert]
}

/// How the system's resolver reaches the stub, for `btmm status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Integration {
    /// Through systemd-resolved.
    Resolved,
    /// systemd-resolved does not run; the owner has to point the resolver at the stub.
    Manual {
        /// Where the stub listens.
        stub: SocketAddr,
        /// The account's zone.
        zone: String,
    },
    /// systemd-resolved runs and refused.
    Refused(String),
}

impl Integration {
    /// Nobody can be told: the owner has to.
    pub fn manual(link: &Link) -> Self {
        Self::Manual { stub: link.stub, zone: link.zone.clone() }
    }
}

/// How long to wait before resolved is told again: a second, then twice as long each time, up to a minute.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    const LAST: Duration = Duration::from_secs(60);

    /// The next wait.
    pub fn wait(&mut self) -> Duration {
        let wait = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(self.tries)).min(Self::LAST);
        self.tries = self.tries.saturating_add(1);
        wait
    }

    /// It has worked.
    pub fn rest(&mut self) {
        self.tries = 0;
    }
}

impl fmt::Display for Integration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolved => write!(f, "systemd-resolved asks btmmd for the account's names"),
            Self::Refused(reason) => write!(f, "systemd-resolved refused: {reason}"),
            Self::Manual { stub, zone } => {
                let (ip, port) = (stub.ip(), stub.port());
                writeln!(f, "systemd-resolved is not running; btmmd answers names of {zone} at {stub}. Do one of these:")?;
                if port == 53 {
                    writeln!(f, "  resolv.conf  first line of /etc/resolv.conf: nameserver {ip}")?;
                }
                writeln!(f, "  dnsmasq      server=/{zone}/{ip}#{port}")?;
                write!(f, "  unbound      stub-zone:\n                 name: {zone}\n                 stub-addr: {ip}@{port}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..100).map(|_| backoff.wait().as_secs()).collect();
        assert_eq!(waits.get(..8), Some(&[1, 2, 4, 8, 16, 32, 60, 60][..]));
        assert_eq!(waits.last(), Some(&60));
        backoff.rest();
        assert_eq!(backoff.wait().as_secs(), 1);
    }
}
