//! The zone on disk: versioned JSON with rdata in wire form. A damaged file is an error that says so; nothing is repaired by guessing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use hickory_proto::rr::{Name, RData, RecordData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder, NameEncoding, Restrict};
use serde::{Deserialize, Serialize};

use super::policy;
use super::zone::{Limits, Node, RecordSet, Zone};
use crate::account::name::{MachineName, ZoneName};

/// The form written by this version.
pub const VERSION: u32 = 1;

/// Why a snapshot was not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum SnapshotError {
    /// Not JSON of the expected shape.
    #[error("not a zone file: {0}")]
    Syntax(String),
    /// Written by a later version.
    #[error("zone file version {0} is not known to this btmmd (it knows {VERSION})")]
    Version(u32),
    /// Of another account.
    #[error("holds zone {found}, not {expected}")]
    OtherZone {
        /// In the file.
        found: String,
        /// Ours.
        expected: String,
    },
    /// A record that cannot be.
    #[error("the record of {0} is damaged")]
    Record(String),
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    zone: String,
    serial: u32,
    /// Seconds since 1970.
    saved: u64,
    names: Vec<SavedName>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedName {
    /// As text, or, where text would not come back the same, in wire form.
    name: String,
    /// Seconds the lease had left when saved.
    lease: u64,
    records: Vec<SavedSet>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedSet {
    #[serde(rename = "type")]
    kind: u16,
    ttl: u32,
    data: Vec<String>,
}

impl Zone {
    /// The zone as a file. `wall` is in seconds since 1970.
    pub fn to_snapshot(&self, now: Instant, wall: u64) -> Vec<u8> {
        let names = self.nodes.iter().map(|(name, node)| SavedName {
            name: write_name(name),
            lease: node.expires.saturating_duration_since(now).as_secs(),
            records: node
                .sets
                .iter()
                .map(|(kind, set)| SavedSet {
                    kind: *kind,
                    ttl: set.ttl,
                    data: set.data.iter().filter_map(encode).map(|wire| BASE64.encode(&wire)).collect(),
                })
                .collect(),
        });
        let file = File { version: VERSION, zone: self.origin().to_ascii(), serial: self.serial, saved: wall, names: names.collect() };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("strings and numbers are JSON");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`Zone::to_snapshot`] wrote. Leases ran on while the file lay there, as far as the wall clock can be believed.
    pub fn from_snapshot(
        bytes: &[u8],
        zone: &ZoneName,
        base: &MachineName,
        limits: Limits,
        now: Instant,
        wall: u64,
    ) -> Result<Self, SnapshotError> {
        let syntax = |error: serde_json::Error| SnapshotError::Syntax(error.to_string());
        let Header { version } = serde_json::from_slice(bytes).map_err(syntax)?;
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let file: File = serde_json::from_slice(bytes).map_err(syntax)?;
        let mut restored = Self::new(zone, base, limits, file.serial);
        if file.zone != restored.origin().to_ascii() {
            return Err(SnapshotError::OtherZone { found: file.zone, expected: restored.origin().to_ascii() });
        }
        let asleep = wall.saturating_sub(file.saved);
        for saved in file.names {
            let damaged = || SnapshotError::Record(saved.name.clone());
            let name = read_name(&saved.name).filter(Name::is_fqdn).ok_or_else(damaged)?.to_lowercase();
            if policy::owner(restored.origin(), &name).is_none() {
                return Err(damaged());
            }
            let left = Duration::from_secs(saved.lease.saturating_sub(asleep)).min(limits.max_lease);
            let sets = saved.records.iter().map(read_set).collect::<Option<BTreeMap<_, _>>>().ok_or_else(damaged)?;
            if sets.is_empty() {
                return Err(damaged());
            }
            restored.nodes.insert(name, Node { sets, expires: now + left });
        }
        restored.expire(now);
        Ok(restored)
    }
}

const WIRE: &str = "base64:";

/// Labels may hold any octet (RFC 6763 wants UTF-8 in them), and text forms disagree about the odd ones.
fn write_name(name: &Name) -> String {
    let text = name.to_ascii();
    if Name::from_ascii(&text).is_ok_and(|read| read == *name) {
        return text;
    }
    let wire: Vec<u8> = name.iter().flat_map(|label| [&[label.len() as u8], label].concat()).chain([0]).collect();
    format!("{WIRE}{}", BASE64.encode(&wire))
}

fn read_name(text: &str) -> Option<Name> {
    let Some(encoded) = text.strip_prefix(WIRE) else { return Name::from_ascii(text).ok() };
    Name::read(&mut BinDecoder::new(&BASE64.decode(encoded.as_bytes()).ok()?)).ok()
}

fn read_set(saved: &SavedSet) -> Option<(u16, RecordSet)> {
    let data: Vec<_> =
        saved.data.iter().map(|text| decode(saved.kind.into(), &BASE64.decode(text.as_bytes()).ok()?)).collect::<Option<_>>()?;
    (!data.is_empty()).then_some((saved.kind, RecordSet { ttl: saved.ttl, data }))
}

/// Rdata in uncompressed wire form.
pub(super) fn encode(data: &RData) -> Option<Vec<u8>> {
    let mut wire = Vec::new();
    let mut encoder = BinEncoder::new(&mut wire);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).ok()?;
    Some(wire)
}

/// True for rdata that will come back from disk as it is; what would not must never get into the zone.
pub(super) fn survives(data: &RData) -> bool {
    data.is_update() || encode(data).and_then(|wire| decode(data.record_type(), &wire)).as_ref() == Some(data)
}

fn decode(kind: RecordType, wire: &[u8]) -> Option<RData> {
    let length = u16::try_from(wire.len()).ok().filter(|n| *n > 0)?;
    if !policy::WRITABLE.contains(&kind) {
        return None;
    }
    let data = RData::read(&mut BinDecoder::new(wire), kind, Restrict::new(length)).ok()?;
    // Compression inside a single rdata would refer to itself; our own writer never makes it.
    (encode(&data).as_deref() == Some(wire)).then_some(data)
}
