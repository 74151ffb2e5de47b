//! UPDATE (RFC 2136): prerequisites, prescan, changes; all or nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordData, RecordType};

use super::policy;
use super::snapshot;
use super::zone::{Answer, Node, RecordSet, Zone};
use crate::account::name::MachineName;

/// The longest rdata of a single record, in octets.
pub const MAX_RDATA: usize = 1024;

/// Why an update changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The update is not well-formed (RFC 2136 §3.2, §3.4.1).
    #[error("malformed update of {0}")]
    Malformed(Name),
    /// A name outside the zone.
    #[error("{0} is not in this zone")]
    NotInZone(Name),
    /// A prerequisite does not hold; the code says which kind.
    #[error("a prerequisite on {0} does not hold")]
    Prerequisite(Name, ResponseCode),
    /// Another machine's name, or the apex.
    #[error("{machine} may not change {name}")]
    NotOwner {
        /// Whose key signed.
        machine: MachineName,
        /// What it wanted to change.
        name: Name,
    },
    /// A type no machine may publish, or rdata that is too long or could not be kept.
    #[error("this {kind} record may not be published at {name}")]
    Type {
        /// The type.
        kind: RecordType,
        /// Where.
        name: Name,
    },
    /// More than one machine may have.
    #[error("{0} has too many names, records or octets in the zone")]
    TooMuch(MachineName),
}

impl UpdateError {
    /// The code of the reply.
    pub fn response_code(&self) -> ResponseCode {
        match self {
            Self::Malformed(_) => ResponseCode::FormErr,
            Self::NotInZone(_) => ResponseCode::NotZone,
            Self::Prerequisite(_, code) => *code,
            Self::NotOwner { .. } | Self::Type { .. } | Self::TooMuch(_) => ResponseCode::Refused,
        }
    }
}

/// One signed request to change the zone.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// Whose key signed it.
    pub machine: &'a MachineName,
    /// RFC 2136 §2.4.
    pub prerequisites: &'a [Record],
    /// RFC 2136 §2.5.
    pub changes: &'a [Record],
    /// How long what it adds shall live; already clamped.
    pub lease: Duration,
}

impl Zone {
    /// Does all of `update` or nothing. True if a reader can see a difference; a mere refresh is false and keeps the serial.
    pub fn update(&mut self, update: &Update, now: Instant) -> Result<bool, UpdateError> {
        self.expire(now);
        for change in update.changes {
            self.prescan(update.machine, change)?;
        }
        self.check_prerequisites(update.prerequisites)?;
        let mut draft: BTreeMap<Name, Node> = BTreeMap::new();
        for change in update.changes {
            let node = draft
                .entry(change.name.to_lowercase())
                .or_insert_with_key(|name| self.nodes.get(name).cloned().unwrap_or(Node { sets: BTreeMap::new(), expires: now }));
            apply(node, change, self.limits().ttl, now + update.lease);
        }
        self.check_limits(update.machine, &draft)?;
        let mut visible = false;
        for (name, node) in draft {
            visible |= self.nodes.get(&name).map(|old| &old.sets) != Some(&node.sets).filter(|sets| !sets.is_empty());
            if node.sets.is_empty() {
                self.nodes.remove(&name);
            } else {
                self.nodes.insert(name, node);
            }
        }
        Ok(self.changed(visible))
    }

    /// RFC 2136 §3.4.1, and who may.
    fn prescan(&self, machine: &MachineName, change: &Record) -> Result<(), UpdateError> {
        let (name, kind) = (&change.name, change.record_type());
        if !self.origin().zone_of(name) {
            return Err(UpdateError::NotInZone(name.clone()));
        }
        let empty = change.data.is_update();
        let well_formed = match change.dns_class {
            DNSClass::IN => !empty && kind != RecordType::ANY,
            DNSClass::ANY => empty && change.ttl == 0,
            DNSClass::NONE => !empty && change.ttl == 0 && kind != RecordType::ANY,
            _ => false,
        };
        if !well_formed || matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return Err(UpdateError::Malformed(name.clone()));
        }
        if !policy::may_write(self.origin(), machine, name) {
            return Err(UpdateError::NotOwner { machine: machine.clone(), name: name.clone() });
        }
        if !policy::is_writable(kind) || octets(&change.data) > MAX_RDATA || !snapshot::survives(&change.data) {
            return Err(UpdateError::Type { kind, name: name.clone() });
        }
        Ok(())
    }

    /// RFC 2136 §3.2.
    fn check_prerequisites(&self, prerequisites: &[Record]) -> Result<(), UpdateError> {
        let mut wanted: BTreeMap<(Name, u16), Vec<&RData>> = BTreeMap::new();
        for condition in prerequisites {
            let (name, kind, empty) = (&condition.name, condition.record_type(), condition.data.is_update());
            if condition.ttl != 0 {
                return Err(UpdateError::Malformed(name.clone()));
            }
            if !self.origin().zone_of(name) {
                return Err(UpdateError::NotInZone(name.clone()));
            }
            let exists = matches!(self.lookup(name, kind), Answer::Records(_));
            let (holds, otherwise) = match (condition.dns_class, kind) {
                (DNSClass::ANY, RecordType::ANY) if empty => (exists, ResponseCode::NXDomain),
                (DNSClass::ANY, _) if empty => (exists, ResponseCode::NXRRSet),
                (DNSClass::NONE, RecordType::ANY) if empty => (!exists, ResponseCode::YXDomain),
                (DNSClass::NONE, _) if empty => (!exists, ResponseCode::YXRRSet),
                (DNSClass::IN, kind) if !empty && kind != RecordType::ANY => {
                    wanted.entry((name.to_lowercase(), kind.into())).or_default().push(&condition.data);
                    (true, ResponseCode::NXRRSet)
                }
                _ => return Err(UpdateError::Malformed(name.clone())),
            };
            if !holds {
                return Err(UpdateError::Prerequisite(name.clone(), otherwise));
            }
        }
        for ((name, kind), data) in wanted {
            let Answer::Records(found) = self.lookup(&name, kind.into()) else {
                return Err(UpdateError::Prerequisite(name, ResponseCode::NXRRSet));
            };
            let same = found.iter().all(|r| data.contains(&&r.data)) && data.iter().all(|d| found.iter().any(|r| r.data == **d));
            if !same {
                return Err(UpdateError::Prerequisite(name, ResponseCode::NXRRSet));
            }
        }
        Ok(())
    }

    fn check_limits(&self, machine: &MachineName, draft: &BTreeMap<Name, Node>) -> Result<(), UpdateError> {
        let kept = self.names_of(machine.as_str()).filter(|(name, _)| !draft.contains_key(name)).map(|(_, node)| node);
        let (mut names, mut records, mut length) = (0, 0, 0);
        for node in kept.chain(draft.values()).filter(|node| !node.sets.is_empty()) {
            names += 1;
            for data in node.sets.values().flat_map(|set| &set.data) {
                records += 1;
                length += octets(data);
            }
        }
        let limits = self.limits();
        if names > limits.names || records > limits.records || length > limits.octets {
            return Err(UpdateError::TooMuch(machine.clone()));
        }
        Ok(())
    }
}

/// RFC 2136 §3.4.2 for one record that passed the prescan.
fn apply(node: &mut Node, change: &Record, max_ttl: u32, expires: Instant) {
    let kind = u16::from(change.record_type());
    match change.dns_class {
        DNSClass::ANY if change.record_type() == RecordType::ANY => node.sets.clear(),
        DNSClass::ANY => {
            node.sets.remove(&kind);
        }
        DNSClass::NONE => {
            let Some(set) = node.sets.get_mut(&kind) else { return };
            set.data.retain(|data| *data != change.data);
            if set.data.is_empty() {
                node.sets.remove(&kind);
            }
        }
        _ => {
            let set = node.sets.entry(kind).or_insert(RecordSet { ttl: 0, data: Vec::new() });
            set.ttl = change.ttl.min(max_ttl);
            if !set.data.contains(&change.data) {
                set.data.push(change.data.clone());
            }
            node.expires = expires;
        }
    }
}

/// The rdata's length on the wire, uncompressed; more than any limit if it cannot be encoded.
fn octets(data: &RData) -> usize {
    if data.is_update() { 0 } else { snapshot::encode(data).map_or(usize::MAX / 2, |wire| wire.len()) }
}
