//! The zone: records by name and type, a lease for each name, a serial that grows with every visible change.
//!
//! The apex holds one SOA and one NS, made up here; no update can touch it. Everything else lives on a lease (RFC 9664), also what came
//! without asking for one: a machine that is gone shall not be listed for ever.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hickory_proto::rr::rdata::{NS, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::policy::owner;
use crate::account::name::{MachineName, ZoneName};

/// What the zone allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A shorter lease is lengthened to this.
    pub min_lease: Duration,
    /// A longer one is cut to this; also granted to who does not ask.
    pub max_lease: Duration,
    /// Names of one machine.
    pub names: usize,
    /// Records of one machine.
    pub records: usize,
    /// Octets of rdata of one machine.
    pub octets: usize,
    /// TTLs are cut to this many seconds.
    pub ttl: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_lease: Duration::from_secs(1800),
            max_lease: Duration::from_secs(7200),
            names: 64,
            records: 128,
            octets: 16 * 1024,
            ttl: 7200,
        }
    }
}

impl Limits {
    /// The lease granted to who asks for `seconds`.
    pub fn grant(&self, seconds: u32) -> Duration {
        Duration::from_secs(seconds.into()).clamp(self.min_lease, self.max_lease)
    }
}

/// Records of one type at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordSet {
    /// Seconds.
    pub ttl: u32,
    /// Never empty, no duplicates.
    pub data: Vec<RData>,
}

/// Everything at one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// By type number; never empty in the zone.
    pub sets: BTreeMap<u16, RecordSet>,
    /// When all of it goes.
    pub expires: Instant,
}

/// What a query finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// At least one record.
    Records(Vec<Record>),
    /// The name exists, the type does not.
    NoData,
    /// The name does not exist.
    NxDomain,
}

/// The account's zone.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: Name,
    base: Name,
    limits: Limits,
    pub(super) serial: u32,
    pub(super) nodes: BTreeMap<Name, Node>,
}

impl Zone {
    /// An empty zone served by `base`. A `serial` at random lets everyone notice that an earlier zone of that name was lost.
    pub fn new(zone: &ZoneName, base: &MachineName, limits: Limits, serial: u32) -> Self {
        let fqdn = |text: &str| Name::from_ascii(format!("{text}.")).expect("zone and machine names are LDH and short enough for DNS");
        Self { origin: fqdn(zone.as_str()), base: fqdn(&base.in_zone(zone)), limits, serial, nodes: BTreeMap::new() }
    }

    /// The apex.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// Grows with every visible change, wraps as RFC 1982 wants.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// What the zone allows.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The SOA record.
    pub fn soa(&self) -> Record {
        let mailbox = self.origin.prepend_label("hostmaster").unwrap_or_else(|_| self.origin.clone());
        let soa = SOA::new(self.base.clone(), mailbox, self.serial, 30, 30, 7200, 30);
        Record::from_rdata(self.origin.clone(), 30, RData::SOA(soa))
    }

    /// Records of `kind` (ANY: all) at `name`, which must lie in the zone.
    pub fn lookup(&self, name: &Name, kind: RecordType) -> Answer {
        let at_name = self.at(name);
        let records: Vec<_> = at_name.iter().filter(|r| kind == RecordType::ANY || r.record_type() == kind).cloned().collect();
        if !records.is_empty() {
            Answer::Records(records)
        } else if !at_name.is_empty() || self.has_below(name) {
            Answer::NoData
        } else {
            Answer::NxDomain
        }
    }

    /// Every record at exactly `name`.
    pub(super) fn at(&self, name: &Name) -> Vec<Record> {
        if *name == self.origin {
            let ns = Record::from_rdata(self.origin.clone(), 30, RData::NS(NS(self.base.clone())));
            return vec![self.soa(), ns];
        }
        self.nodes.get_key_value(name).map(|(name, node)| records(name, node).collect()).unwrap_or_default()
    }

    fn has_below(&self, name: &Name) -> bool {
        self.nodes.keys().any(|inner| name.zone_of(inner))
    }

    /// The whole zone, SOA first and last as AXFR (RFC 5936) wants.
    pub fn transfer(&self) -> Vec<Record> {
        let mut all = self.at(&self.origin);
        all.extend(self.nodes.iter().flat_map(|(name, node)| records(name, node)));
        all.push(self.soa());
        all
    }

    /// The names of `machine`.
    pub(super) fn names_of(&self, machine: &str) -> impl Iterator<Item = (&Name, &Node)> {
        self.nodes.iter().filter(move |(name, _)| owner(&self.origin, name).as_deref() == Some(machine))
    }

    /// Takes away all records of `machine`. True if there were any.
    pub fn remove_machine(&mut self, machine: &MachineName) -> bool {
        let names: Vec<_> = self.names_of(machine.as_str()).map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.nodes.remove(name);
        }
        self.changed(!names.is_empty())
    }

    /// Takes away what has expired. True if anything had.
    pub fn expire(&mut self, now: Instant) -> bool {
        let before = self.nodes.len();
        self.nodes.retain(|_, node| node.expires > now);
        self.changed(self.nodes.len() != before)
    }

    /// When the next lease ends.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.nodes.values().map(|node| node.expires).min().map(|at| (at, "a lease in the zone ends"))
    }

    pub(super) fn changed(&mut self, changed: bool) -> bool {
        if changed {
            self.serial = self.serial.wrapping_add(1);
        }
        changed
    }
}

fn records<'a>(name: &'a Name, node: &'a Node) -> impl Iterator<Item = Record> + 'a {
    node.sets.values().flat_map(move |set| {
        set.data.iter().map(move |data| {
            let mut record = Record::from_rdata(name.clone(), set.ttl, data.clone());
            record.dns_class = DNSClass::IN;
            record
        })
    })
}
