//! What a machine tells its account, as DNS records (RFC 6281 §3, with one refinement).
//!
//! | name | type | what |
//! |---|---|---|
//! | `<host>` | AAAA | inner address |
//! | `_autotunnel._udp.<host>` | SRV *n* 0 *port* `_autotunnel[-k].<host>` | one per candidate, priority = order of preference |
//! | `_autotunnel[-k].<host>` | A or AAAA | that candidate's outer address |
//! | `_autotunnel._udp.<host>` | TXT | `v=1`, `kinds=mapped,local`, `nat=…`, `version=…` |
//! | `_kerberos.<host>` | TXT | the realm of its KDC |
//!
//! RFC 6281 has a single target `_autotunnel.<host>`. A machine with several candidates on different ports (a mapped 49152 and a local
//! 4500) would then be ambiguous: two ports and two addresses make four pairs, two of them wrong. So each candidate has a target of its
//! own, with exactly one address: `_autotunnel` for the preferred one, `_autotunnel-2`, `_autotunnel-3` … for the others. A reader of the
//! original form (one target, several addresses) still works: each address is tried with the SRV's port.
//!
//! BIND takes no addresses at `_autotunnel.<host>` unless the zone says `check-names ignore;`. Reading is strict and bounded: the zone may be hostile. Addresses that can only hurt are left out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hickory_proto::rr::rdata::{AAAA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::policy::owner;
use crate::account::name::{MachineName, ZoneName};

/// Seconds that a reader may keep any of our records.
pub const TTL: u32 = 120;
/// The most candidates written or read.
pub const MAX_CANDIDATES: usize = 16;
/// The longest `nat` or `version` text, in octets.
pub const MAX_TEXT: usize = 64;
/// The longest realm, in octets: a machine's own has 76.
pub const MAX_REALM: usize = 128;
/// The most machines read from one zone.
pub const MAX_MACHINES: usize = 1024;

const VERSION_OF_FORM: &str = "v=1";

/// Why a machine's records could not be made or understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum RecordsError {
    /// The name does not fit into DNS.
    #[error("{0} does not fit into a DNS name")]
    Name(String),
    /// More than one inner address: it is not ours to choose.
    #[error("{0} has more than one AAAA record in the zone")]
    SeveralInner(MachineName),
}

/// How a candidate address came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateKind {
    /// A port mapped on the home router.
    Mapped,
    /// An address of the machine itself that the whole internet can reach.
    Public,
    /// An address on the machine's own network.
    Local,
    /// The address a STUN server saw.
    Reflexive,
    /// Another machine of the account that relays.
    Relay,
    /// A kind of a later version.
    Unknown,
}

impl CandidateKind {
    /// The word in the TXT record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Public => "public",
            Self::Local => "local",
            Self::Reflexive => "reflexive",
            Self::Relay => "relay",
            Self::Unknown => "unknown",
        }
    }

    fn from_word(word: &str) -> Self {
        [Self::Mapped, Self::Public, Self::Local, Self::Reflexive, Self::Relay]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .unwrap_or(Self::Unknown)
    }
}

/// An outer address at which a machine's encapsulation port may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// How it was found.
    pub kind: CandidateKind,
    /// Where to send.
    pub address: SocketAddr,
}

/// What one machine publishes about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Whose.
    pub machine: MachineName,
    /// Its address inside the account.
    pub inner: Ipv6Addr,
    /// Where it may be reached, best first; at most [`MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// What its router does, in a word or two; may be empty.
    pub nat: String,
    /// The software's version; may be empty.
    pub version: String,
    /// The realm of its KDC; may be empty. A hint: the realm that counts follows from the machine's key.
    pub realm: String,
}

impl Advertisement {
    /// The update that puts exactly this, and nothing older of ours, into the zone: deletions first.
    pub fn to_update(&self, zone: &ZoneName) -> Result<Vec<Record>, RecordsError> {
        let host = host(&self.machine, zone)?;
        let service = service(&host)?;
        let mut changes = withdrawal(&self.machine, zone)?;
        changes.push(record(&host, RData::AAAA(AAAA(self.inner))));
        let candidates = self.candidates.iter().take(MAX_CANDIDATES);
        for (order, candidate) in candidates.clone().enumerate() {
            let target = target(&host, order)?;
            let priority = u16::try_from(order).unwrap_or(u16::MAX);
            changes.push(record(&service, RData::SRV(SRV::new(priority, 0, candidate.address.port(), target.clone()))));
            changes.push(record(&target, RData::from(candidate.address.ip())));
        }
        let kinds: Vec<_> = candidates.map(|candidate| candidate.kind.as_str()).collect();
        let texts = vec![
            VERSION_OF_FORM.to_owned(),
            format!("kinds={}", kinds.join(",")),
            format!("nat={}", shorten(&self.nat)),
            format!("version={}", shorten(&self.version)),
        ];
        changes.push(record(&service, RData::TXT(TXT::new(texts))));
        if !self.realm.is_empty() && self.realm.len() <= MAX_REALM {
            changes.push(record(&kerberos(&host)?, RData::TXT(TXT::new(vec![self.realm.clone()]))));
        }
        Ok(changes)
    }
}

/// The update that takes everything of `machine` out of the zone that this module ever puts there.
pub fn withdrawal(machine: &MachineName, zone: &ZoneName) -> Result<Vec<Record>, RecordsError> {
    let host = host(machine, zone)?;
    let mut deletions = vec![deletion(&host, RecordType::AAAA), deletion(&service(&host)?, RecordType::ANY)];
    deletions.push(deletion(&kerberos(&host)?, RecordType::TXT));
    for order in 0..MAX_CANDIDATES {
        deletions.push(deletion(&target(&host, order)?, RecordType::ANY));
    }
    Ok(deletions)
}

/// Which addresses count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// For tests on one machine: loopback counts.
    pub allow_loopback: bool,
}

impl Filter {
    /// False for addresses at which no peer can be, or that lead back into the tunnel (the account's own prefix).
    pub fn accepts(self, address: SocketAddr, inner: Ipv6Addr) -> bool {
        if address.port() == 0 {
            return false;
        }
        match address.ip() {
            ip if ip.is_unspecified() || ip.is_multicast() => false,
            ip if ip.is_loopback() => self.allow_loopback,
            IpAddr::V4(ip) => !(ip.is_broadcast() || ip.is_link_local() || ip.octets()[0] == 0 || ip.octets()[0] >= 240),
            IpAddr::V6(ip) => ip.to_ipv4_mapped().is_none() && !ip.is_unicast_link_local() && ip.segments()[..3] != inner.segments()[..3],
        }
    }
}

/// Understands a whole zone. A machine whose records make no sense is left out; the others are not disturbed.
pub fn read_zone(zone: &ZoneName, records: &[Record], filter: Filter) -> BTreeMap<MachineName, Advertisement> {
    let Ok(origin) = Name::from_ascii(format!("{zone}.")) else { return BTreeMap::new() };
    let mut machines: BTreeMap<MachineName, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let Some(machine) = owner(&origin, &record.name).and_then(|label| label.parse().ok()) else { continue };
        if machines.len() < MAX_MACHINES || machines.contains_key(&machine) {
            machines.entry(machine).or_default().push(record);
        }
    }
    let read = |(machine, records): (MachineName, Vec<&Record>)| {
        let advertisement = read_machine(&machine, zone, &records, filter).ok()??;
        Some((machine, advertisement))
    };
    machines.into_iter().filter_map(read).collect()
}

/// What a reader would make of `advertisement` once it is in the zone.
pub fn as_read(advertisement: &Advertisement, zone: &ZoneName, filter: Filter) -> Option<Advertisement> {
    let changes = advertisement.to_update(zone).ok()?;
    let added: Vec<_> = changes.iter().filter(|record| record.dns_class == DNSClass::IN).collect();
    read_machine(&advertisement.machine, zone, &added, filter).ok()?
}

/// Understands the records of one machine; `None` when it has no inner address there.
pub fn read_machine(
    machine: &MachineName,
    zone: &ZoneName,
    records: &[&Record],
    filter: Filter,
) -> Result<Option<Advertisement>, RecordsError> {
    let host = host(machine, zone)?;
    let (service, kerberos) = (service(&host)?, kerberos(&host)?);
    let mut inners = Vec::new();
    let mut services = Vec::new();
    let mut advertisement = Advertisement {
        machine: machine.clone(),
        inner: Ipv6Addr::UNSPECIFIED,
        candidates: Vec::new(),
        nat: String::new(),
        version: String::new(),
        realm: String::new(),
    };
    let mut kinds = Vec::new();
    for record in records.iter().filter(|record| record.dns_class == DNSClass::IN) {
        match &record.data {
            RData::AAAA(address) if record.name == host => inners.push(address.0),
            RData::SRV(srv) if record.name == service && host.zone_of(&srv.target) => services.push(srv),
            RData::TXT(txt) if record.name == service => read_texts(txt, &mut advertisement, &mut kinds),
            RData::TXT(txt) if record.name == kerberos => advertisement.realm = read_realm(txt),
            _ => {}
        }
    }
    let Some(&inner) = inners.first() else { return Ok(None) };
    if inners.iter().any(|other| *other != inner) {
        return Err(RecordsError::SeveralInner(machine.clone()));
    }
    advertisement.inner = inner;
    services.sort_by_key(|srv| srv.priority);
    for (order, srv) in services.into_iter().take(MAX_CANDIDATES).enumerate() {
        let kind = kinds.get(order).copied().unwrap_or(CandidateKind::Unknown);
        let addresses = records.iter().filter(|record| record.name == srv.target).filter_map(|record| record.data.ip_addr());
        for address in addresses.map(|ip| SocketAddr::new(ip, srv.port)) {
            let known = advertisement.candidates.iter().any(|candidate| candidate.address == address);
            if !known && advertisement.candidates.len() < MAX_CANDIDATES && filter.accepts(address, inner) {
                advertisement.candidates.push(Candidate { kind, address });
            }
        }
    }
    Ok(Some(advertisement))
}

fn read_texts(txt: &TXT, advertisement: &mut Advertisement, kinds: &mut Vec<CandidateKind>) {
    let texts = txt.txt_data.iter().filter_map(|octets| std::str::from_utf8(octets).ok());
    for (key, value) in texts.take(16).filter_map(|text| text.split_once('=')) {
        match key {
            "kinds" if kinds.is_empty() => kinds.extend(value.split(',').take(MAX_CANDIDATES).map(CandidateKind::from_word)),
            "nat" => advertisement.nat = printable(value),
            "version" => advertisement.version = printable(value),
            _ => {}
        }
    }
}

/// The one string of the record; a name in another form is none.
fn read_realm(txt: &TXT) -> String {
    let [octets] = &*txt.txt_data else { return String::new() };
    let text = std::str::from_utf8(octets).unwrap_or_default();
    if text.len() <= MAX_REALM && text.bytes().all(|octet| octet.is_ascii_graphic()) { text.to_owned() } else { String::new() }
}

/// What may be shown on a terminal, and no more of it than we would write.
fn printable(text: &str) -> String {
    shorten(text).chars().filter(|c| !c.is_control()).collect()
}

fn shorten(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or(text)
}

fn host(machine: &MachineName, zone: &ZoneName) -> Result<Name, RecordsError> {
    let fqdn = format!("{}.", machine.in_zone(zone));
    Name::from_ascii(&fqdn).map_err(|_| RecordsError::Name(fqdn))
}

fn service(host: &Name) -> Result<Name, RecordsError> {
    let below = host.prepend_label("_udp").and_then(|udp| udp.prepend_label("_autotunnel"));
    below.map_err(|_| RecordsError::Name(format!("_autotunnel._udp.{host}")))
}

fn kerberos(host: &Name) -> Result<Name, RecordsError> {
    host.prepend_label("_kerberos").map_err(|_| RecordsError::Name(format!("_kerberos.{host}")))
}

fn target(host: &Name, order: usize) -> Result<Name, RecordsError> {
    let label = if order == 0 { "_autotunnel".to_owned() } else { format!("_autotunnel-{}", order + 1) };
    host.prepend_label(label.as_str()).map_err(|_| RecordsError::Name(format!("{label}.{host}")))
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

/// RFC 2136 §2.5.2 and §2.5.3: class ANY, no rdata.
fn deletion(name: &Name, kind: RecordType) -> Record {
    let mut record = Record::update0(name.clone(), 0, kind);
    record.dns_class = DNSClass::ANY;
    record
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::A;

    use super::*;

    fn zone() -> ZoneName {
        "alice.btmm.internal".parse().unwrap()
    }

    fn imac() -> Advertisement {
        Advertisement {
            machine: "imac".parse().unwrap(),
            inner: "fd12:3456:789a::1".parse().unwrap(),
            candidates: vec![
                Candidate { kind: CandidateKind::Mapped, address: "203.0.113.7:49152".parse().unwrap() },
                Candidate { kind: CandidateKind::Public, address: "[2001:db8::7]:4500".parse().unwrap() },
                Candidate { kind: CandidateKind::Local, address: "192.168.1.7:4500".parse().unwrap() },
            ],
            nat: "mapped by NAT-PMP".to_owned(),
            version: "0.1.0".to_owned(),
            realm: "LKDC:SHA256.0123456789ABCDEF".to_owned(),
        }
    }

    fn added(advertisement: &Advertisement) -> Vec<Record> {
        advertisement.to_update(&zone()).unwrap().into_iter().filter(|record| record.dns_class == DNSClass::IN).collect()
    }

    fn read(records: &[Record]) -> Advertisement {
        read_zone(&zone(), records, Filter::default()).into_values().next().unwrap()
    }

    #[test]
    fn an_advertisement_survives_the_zone_in_any_order_of_records() {
        let mut records = added(&imac());
        assert_eq!(read(&records), imac());
        records.reverse();
        assert_eq!(read(&records), imac());
    }

    #[test]
    fn each_candidate_has_a_target_of_its_own() {
        let addresses: Vec<_> =
            added(&imac()).iter().filter(|r| r.data.ip_addr().is_some()).map(|r| r.name.iter().next().unwrap().to_vec()).collect();
        assert_eq!(addresses, [&b"imac"[..], b"_autotunnel", b"_autotunnel-2", b"_autotunnel-3"]);
    }

    #[test]
    fn an_update_deletes_whatever_an_earlier_life_left_behind() {
        let deletions: Vec<_> = withdrawal(&"imac".parse().unwrap(), &zone()).unwrap();
        assert!(deletions.iter().all(|record| record.dns_class == DNSClass::ANY && record.ttl == 0));
        let many = Advertisement {
            candidates: (1..=20).map(|port| Candidate { kind: CandidateKind::Local, address: ([10, 0, 0, 1], port).into() }).collect(),
            ..imac()
        };
        for record in added(&many) {
            assert!(deletions.iter().any(|deletion| deletion.name == record.name), "{}", record.name);
        }
        assert_eq!(read(&added(&many)).candidates.len(), MAX_CANDIDATES);
    }

    #[test]
    fn addresses_that_can_only_hurt_are_left_out() {
        let bad = [
            "0.0.0.0:4500",
            "127.0.0.1:4500",
            "224.0.0.1:4500",
            "255.255.255.255:4500",
            "169.254.1.1:4500",
            "0.1.2.3:4500",
            "240.0.0.1:1",
            "203.0.113.7:0",
            "[::]:4500",
            "[::1]:4500",
            "[ff02::1]:4500",
            "[fe80::1]:4500",
            "[::ffff:127.0.0.1]:4500",
            "[fd12:3456:789a::2]:4500",
        ];
        let candidates = bad.iter().map(|text| Candidate { kind: CandidateKind::Public, address: text.parse().unwrap() }).collect();
        assert_eq!(read(&added(&Advertisement { candidates, ..imac() })).candidates, []);
        let allow = Filter { allow_loopback: true };
        assert!(allow.accepts("127.0.0.1:4500".parse().unwrap(), imac().inner) && allow.accepts("[::1]:1".parse().unwrap(), imac().inner));
    }

    #[test]
    fn a_target_outside_the_machine_is_ignored() {
        let mut records = added(&imac());
        for record in &mut records {
            if let RData::SRV(srv) = &mut record.data {
                srv.target = Name::from_ascii("victim.alice.btmm.internal.").unwrap();
            }
        }
        records.push(Record::from_rdata(Name::from_ascii("victim.alice.btmm.internal.").unwrap(), 1, RData::A(A::new(192, 0, 2, 1))));
        assert_eq!(read(&records).candidates, []);
    }

    #[test]
    fn two_inner_addresses_make_a_machine_unknown_but_not_its_neighbour() {
        let mut records = added(&imac());
        records.push(record(&records[0].name.clone(), RData::AAAA(AAAA("fd12:3456:789a::2".parse().unwrap()))));
        records.extend(added(&Advertisement { machine: "laptop".parse().unwrap(), ..imac() }));
        let machines: Vec<_> = read_zone(&zone(), &records, Filter::default()).into_keys().map(String::from).collect();
        assert_eq!(machines, ["laptop"]);
    }

    #[test]
    fn a_realm_is_one_string_below_the_host_or_none() {
        let realm = added(&imac()).into_iter().find(|record| record.name.to_ascii() == "_kerberos.imac.alice.btmm.internal.").unwrap();
        assert_eq!(realm.data, RData::TXT(TXT::new(vec![imac().realm])));
        for strings in [vec![], vec![imac().realm, "X".to_owned()], vec!["a b".to_owned()], vec!["é".to_owned()], vec!["x".repeat(129)]] {
            let data = RData::TXT(TXT::new(strings.clone()));
            let records = added(&Advertisement { realm: String::new(), ..imac() }).into_iter().chain([record(&realm.name, data)]);
            assert_eq!(read(&records.collect::<Vec<_>>()).realm, "", "{strings:?}");
        }
    }

    #[test]
    fn texts_are_cut_and_stripped_of_control_characters() {
        let hostile = Advertisement { nat: "\u{1b}[2J".to_owned() + &"é".repeat(60), version: "x".repeat(300), ..imac() };
        let read = read(&added(&hostile));
        assert!(read.nat.len() <= MAX_TEXT && !read.nat.contains('\u{1b}'));
        assert_eq!(read.version.len(), MAX_TEXT);
    }
}
