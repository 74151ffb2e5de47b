//! Groups of the key agreement as PKINIT writes them: SubjectPublicKeyInfo from the client, a bare value from the KDC.

use super::der::{self, DerError, Value};
use super::oid;
use crate::lkdc::crypto::dh::DhGroup;

const WHAT: &str = "clientPublicValue";

/// The group and the public value in a DER SubjectPublicKeyInfo. `None` for a group without a name here.
pub(crate) fn read_public(spki: &[u8]) -> Result<Option<(DhGroup, Vec<u8>)>, DerError> {
    let mut info = Value::only(spki, der::SEQUENCE, WHAT)?.values();
    let mut algorithm = info.take(der::SEQUENCE, WHAT)?.values();
    let public = info.take(der::BIT_STRING, WHAT)?.bits(WHAT)?;
    let group = match algorithm.take(der::OID, WHAT)?.contents {
        oid::DH_PUBLIC_NUMBER => modp(algorithm.take(der::SEQUENCE, WHAT)?)?,
        oid::EC_PUBLIC_KEY => (algorithm.next(WHAT)?.whole == der::oid(oid::P256)).then_some(DhGroup::P256),
        oid::X25519 => Some(DhGroup::X25519),
        _ => None,
    };
    let Some(group) = group else { return Ok(None) };
    Ok(Some((group, from_wire(group, public)?)))
}

/// The MODP group with these DomainParameters (RFC 3279 §2.3.3): prime, generator and, from those who know it, the order.
fn modp(parameters: Value<'_>) -> Result<Option<DhGroup>, DerError> {
    let mut parameters = parameters.values();
    let prime = parameters.take(der::INTEGER, WHAT)?.contents;
    let generator = parameters.take(der::INTEGER, WHAT)?.contents;
    Ok(DhGroup::from_parameters(prime, generator))
}

/// A client's public value as DER SubjectPublicKeyInfo.
pub(crate) fn write_public(group: DhGroup, public: &[u8]) -> Vec<u8> {
    der::sequence(&[&algorithm(group), &der::bits(&to_wire(group, public))])
}

/// AlgorithmIdentifier of a group, as in TD-DH-PARAMETERS (RFC 4556 §3.2.3, RFC 5349 §4).
pub(crate) fn algorithm(group: DhGroup) -> Vec<u8> {
    match group {
        DhGroup::P256 => der::sequence(&[&der::oid(oid::EC_PUBLIC_KEY), &der::oid(oid::P256)]),
        DhGroup::X25519 => der::algorithm(oid::X25519),
        DhGroup::Modp2 | DhGroup::Modp14 | DhGroup::Modp16 => {
            let numbers = [group.prime().unwrap_or_default(), group.generator().unwrap_or_default(), &group.order().unwrap_or_default()];
            let [prime, generator, order] = numbers.map(der::integer);
            der::sequence(&[&der::oid(oid::DH_PUBLIC_NUMBER), &der::sequence(&[&prime, &generator, &order])])
        }
    }
}

/// The groups in TD-DH-PARAMETERS that we know, in the KDC's order.
pub(crate) fn read_parameters(data: &[u8]) -> Result<Vec<DhGroup>, DerError> {
    const WHAT: &str = "TD-DH-PARAMETERS";
    let mut list = Value::only(data, der::SEQUENCE, WHAT)?.values();
    let mut groups = Vec::new();
    while !list.is_empty() {
        let mut identifier = list.take(der::SEQUENCE, WHAT)?.values();
        let group = match identifier.take(der::OID, WHAT)?.contents {
            oid::DH_PUBLIC_NUMBER => modp(identifier.take(der::SEQUENCE, WHAT)?)?,
            oid::EC_PUBLIC_KEY => (identifier.next(WHAT)?.whole == der::oid(oid::P256)).then_some(DhGroup::P256),
            oid::X25519 => Some(DhGroup::X25519),
            _ => None,
        };
        groups.extend(group);
    }
    Ok(groups)
}

/// A public value in a BIT STRING: a DER INTEGER for MODP groups (RFC 3279 §2.3.3), the point itself for curves.
pub(crate) fn to_wire(group: DhGroup, public: &[u8]) -> Vec<u8> {
    if group.prime().is_some() { der::integer(public) } else { public.to_vec() }
}

/// The reverse of [`to_wire`]; whether the value lies in the group, the key agreement will see.
pub(crate) fn from_wire(group: DhGroup, wire: &[u8]) -> Result<Vec<u8>, DerError> {
    if group.prime().is_none() {
        return Ok(wire.to_vec());
    }
    let value = Value::only(wire, der::INTEGER, "the public value")?;
    if value.contents.first().is_none_or(|first| first & 0x80 != 0) {
        return Err(DerError("the public value"));
    }
    Ok(value.contents.to_vec())
}
