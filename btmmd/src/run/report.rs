//! What people and programs are told: `btmm status`, `btmm machines`, metrics.

use std::time::{Duration, Instant, SystemTime};

use super::kdc::Kerberos;
use super::renew::ending;
use super::session::Session;
use crate::account::certificate;
use crate::clock;
use crate::control::messages::{
    AccountStatus, Counters, Finding, Firewall, MachineStatus, Machines, Nat, PortMapping, RendezvousStatus, ResolverStatus, Severity,
    Status, Tunnel, TunnelUp, Uplink,
};
use crate::engine::{self, Peer};
use crate::esp::Direction;
use crate::ike::SaStatus;
use crate::portmap::Mapping;
use crate::resolver::Integration;
use crate::xfrm::port::SaEntry;

impl Session {
    /// This machine's place in its account.
    pub(super) fn account_status(&self) -> AccountStatus {
        AccountStatus {
            account: self.identity.account().to_string(),
            zone: self.identity.zone().to_string(),
            machine: self.identity.name().to_string(),
            inner: self.identity.inner(),
            base: self.identity.is_base(),
            certificate_expires: certificate::validity(self.identity.certificate()).map_or(0, |(_, end)| seconds(end)),
        }
    }

    /// Everything there is to tell.
    pub(super) async fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            on: self.engine.is_on(),
            firewall: self.firewall(),
            account: Some(self.account_status()),
            health: self.findings(),
            port_mapping: self.mapping_status(),
            rendezvous: self.zone_status(),
            resolver: self.resolver_status(),
            kdc: self.kerberos.as_ref().map(Kerberos::status),
            uplinks: self.uplink_status(),
            peers: self.peers().await,
            counters: self.counters(),
        }
    }

    /// The account's machines.
    pub(super) async fn machines(&self) -> Machines {
        Machines { zone: self.identity.zone().to_string(), this: self.identity.name().to_string(), machines: self.peers().await }
    }

    async fn peers(&self) -> Vec<MachineStatus> {
        // A dump that fails costs the byte counts, nothing else: the tunnel's state is ours.
        let states = self.xfrm.states().await.unwrap_or_default();
        let associations = self.ike.status();
        self.engine.peers().map(|peer| self.peer_status(peer, &states, &associations)).collect()
    }

    fn peer_status(&self, peer: &Peer, states: &[SaEntry], associations: &[SaStatus]) -> MachineStatus {
        let fqdn = peer.name().in_zone(self.identity.zone());
        let association = associations.iter().find(|association| association.peer == fqdn);
        let used = states.iter().filter(|state| state.reqid == peer.number()).map(|state| state.used).max();
        let online = !peer.candidates().is_empty();
        let tunnel = match (peer.tunnel(), association) {
            (engine::Tunnel::Up { since, .. }, Some(association)) => {
                let carried = |wanted| self.carried(peer, states, wanted);
                Tunnel::Up(Box::new(TunnelUp {
                    since: wall(*since),
                    local: association.local,
                    remote: association.remote,
                    nat: nat(association),
                    via: "direct".to_owned(),
                    bytes_in: carried(Direction::In),
                    bytes_out: carried(Direction::Out),
                    rtt_us: association.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                    spi_in: association.child_in.unwrap_or(0),
                    spi_out: association.child_out.unwrap_or(0),
                    algorithms: association.algorithms.clone(),
                    last_used: used.filter(|used| *used > 0).and_then(|used| i64::try_from(used).ok()),
                }))
            }
            (engine::Tunnel::Finding { since, .. } | engine::Tunnel::Connecting { since, .. }, _) => {
                Tunnel::Connecting { since: wall(*since) }
            }
            _ => Tunnel::Down { cause: peer.last_failure().map(ToString::to_string) },
        };
        let last_seen = online.then(|| seconds(clock::wall()));
        MachineStatus { name: peer.name().to_string(), inner: peer.inner(), online, last_seen, tunnel }
    }

    fn carried(&self, peer: &Peer, states: &[SaEntry], wanted: Direction) -> u64 {
        let ours =
            |state: &&SaEntry| state.reqid == peer.number() && self.states.get(&state.id).is_some_and(|spec| spec.direction == wanted);
        states.iter().filter(ours).map(|state| state.carried.0).sum()
    }

    fn firewall(&self) -> Firewall {
        match (self.datapath.blocked(), self.datapath.uplinks()) {
            (Ok(_), Ok(uplinks)) if uplinks.is_empty() => Firewall::Absent,
            (Ok(true), Ok(_)) => Firewall::Block,
            (Ok(false), Ok(_)) => Firewall::Allow,
            _ => Firewall::Absent,
        }
    }

    fn uplink_status(&self) -> Vec<Uplink> {
        let attached = self.datapath.uplinks().unwrap_or_default();
        let gate = |name: &str| {
            let uplink = attached.iter().find(|uplink| uplink.interface == name)?;
            Some(format!("{:?}", uplink.ingress).to_ascii_lowercase())
        };
        self.network
            .uplinks()
            .map(|link| Uplink {
                name: link.name.clone(),
                addresses: link.addresses.iter().map(|address| address.ip).collect(),
                gate: gate(&link.name),
            })
            .collect()
    }

    fn counters(&self) -> Counters {
        let gate = self.datapath.counters().unwrap_or_default();
        Counters {
            gate_passed: gate.esp_accepted + gate.ike_accepted + gate.keepalive,
            gate_dropped: gate.esp_unknown
                + gate.ike_limited
                + gate.malformed
                + gate.unreadable
                + gate.blocked_in
                + gate.blocked_out
                + gate.blocked_fragment,
            ..self.told.counters
        }
    }

    fn mapping_status(&self) -> PortMapping {
        if !self.config.port_mapping.enabled {
            return PortMapping { text: "off by configuration".to_owned(), ..PortMapping::default() };
        }
        let mapping = self.mapping();
        let text = match &mapping {
            Mapping::Public(_) => "not needed: public address".to_owned(),
            Mapping::Mapped { method, .. } => format!("mapped by {method}"),
            Mapping::None(cause) => format!("none: {cause}"),
        };
        PortMapping { text, external: mapping.external().map(Into::into), expires: None }
    }

    fn zone_status(&self) -> RendezvousStatus {
        let contact = self.identity.base();
        let server = match self.identity.is_base() {
            true => "this machine".to_owned(),
            false => contact.addresses.first().map(ToString::to_string).unwrap_or_default(),
        };
        let state = match (&self.told.zone_error, &self.told.publish_error, self.told.published) {
            (Some(_), ..) => "unreachable",
            (None, Some(_), _) => "refused",
            (None, None, Some(_)) => "published",
            (None, None, None) => "publishing",
        };
        RendezvousStatus {
            server: Some(server),
            state: state.to_owned(),
            last_success: self.told.published.map(|(at, _)| seconds(at)),
            lease_expires: self.told.published.map(|(at, lease)| seconds(at + lease)),
            error: self.told.zone_error.clone().or_else(|| self.told.publish_error.clone()),
        }
    }

    fn resolver_status(&self) -> ResolverStatus {
        let listen = self.doors.stub.as_ref().and_then(|stub| stub.address().ok());
        let (state, hint) = match (&listen, &self.told.integration) {
            (None, _) => ("off", self.told.stub_error.clone()),
            (Some(_), Some(Integration::Resolved)) => ("resolved", None),
            (Some(_), Some(other)) => ("stub", Some(other.to_string())),
            (Some(_), None) => ("stub", None),
        };
        ResolverStatus { state: state.to_owned(), listen, hint }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut add = |severity, what: String, cause: &str, next_step: &str| {
            findings.push(Finding { severity, what, cause: cause.to_owned(), next_step: next_step.to_owned() });
        };
        if let Some(trouble) = self.identity.key().trouble() {
            let step = "tunnels that are up go on; new ones and tickets by certificate wait for the token";
            add(Severity::Error, "this machine's key is out of reach".to_owned(), &trouble.to_string(), step);
        }
        for (interface, cause) in &self.told.gate_errors {
            add(Severity::Error, format!("{interface} has no gate"), cause, "the port-4500 switch does not reach this interface");
        }
        if let Some(cause) = &self.told.stub_error {
            add(Severity::Error, "names are not resolved".to_owned(), cause, "set resolver.stub in btmmd.toml to a free loopback address");
        }
        if let Some(cause) = &self.told.zone_error {
            add(
                Severity::Error,
                "the home base cannot be asked".to_owned(),
                cause,
                "is the home base on, and does its router forward TCP 4500?",
            );
        }
        if let Some(cause) = &self.told.publish_error {
            add(Severity::Error, "this machine is not published".to_owned(), cause, "other machines may not find it until this is mended");
        }
        if let (true, Mapping::None(cause)) = (self.config.port_mapping.enabled, self.mapping()) {
            let step = "machines elsewhere cannot begin a tunnel to this one: enable NAT-PMP or UPnP on the router, or forward UDP 4500";
            add(Severity::Warning, "no port mapping".to_owned(), &cause.to_string(), step);
        }
        findings.extend(self.roster.finding());
        let valid = self.identity.starts_at()..self.identity.expires_at();
        findings.extend(ending::finding(&valid, self.told.renewal_error.as_deref(), clock::wall()));
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }
}

fn nat(association: &SaStatus) -> Nat {
    match (association.nat_local, association.nat_remote) {
        (false, false) => Nat::None,
        (true, false) => Nat::Local,
        (false, true) => Nat::Remote,
        (true, true) => Nat::Both,
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn wall(instant: Instant) -> i64 {
    seconds(clock::wall() - clock::monotonic().saturating_duration_since(instant))
}
