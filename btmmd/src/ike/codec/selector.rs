//! Traffic selectors (RFC 7296 §3.13).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::{Reader, WireError, Writer, at_most};

/// Selectors in one payload, at most.
pub const SELECTORS_MAX: usize = 32;

const IPV4_RANGE: u8 = 7;
const IPV6_RANGE: u8 = 8;

/// A range of addresses and ports of one protocol (zero: any).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Addresses of one family.
    Range {
        /// IP protocol, zero for any.
        protocol: u8,
        /// First and last port.
        ports: (u16, u16),
        /// First address.
        first: IpAddr,
        /// Last address, of the same family.
        last: IpAddr,
    },
    /// A type of selector we do not know; it matches nothing.
    Unknown {
        /// The type.
        kind: u8,
        /// The protocol octet.
        protocol: u8,
        /// The rest.
        data: Vec<u8>,
    },
}

impl Selector {
    /// Exactly one address; any protocol and port.
    pub fn host(address: Ipv6Addr) -> Self {
        Self::Range { protocol: 0, ports: (0, u16::MAX), first: address.into(), last: address.into() }
    }
}

pub(super) fn read(body: &mut Reader<'_>) -> Result<Vec<Selector>, WireError> {
    let count = usize::from(body.u8("number of selectors")?);
    at_most(count, SELECTORS_MAX, "number of selectors")?;
    body.array::<3>("selectors reserved")?;
    let selectors = (0..count).map(|_| read_one(body)).collect::<Result<_, _>>()?;
    body.finish("selectors")?;
    Ok(selectors)
}

fn read_one(body: &mut Reader<'_>) -> Result<Selector, WireError> {
    let kind = body.u8("selector type")?;
    let protocol = body.u8("selector protocol")?;
    let length = usize::from(body.u16("selector length")?);
    let mut inner = Reader::new(body.take(length.saturating_sub(4), "selector")?);
    if kind != IPV4_RANGE && kind != IPV6_RANGE {
        return Ok(Selector::Unknown { kind, protocol, data: inner.rest().to_vec() });
    }
    let ports = (inner.u16("first port")?, inner.u16("last port")?);
    let mut address = || -> Result<IpAddr, WireError> {
        Ok(if kind == IPV4_RANGE {
            Ipv4Addr::from(inner.array::<4>("selector address")?).into()
        } else {
            Ipv6Addr::from(inner.array::<16>("selector address")?).into()
        })
    };
    let (first, last) = (address()?, address()?);
    inner.finish("selector")?;
    Ok(Selector::Range { protocol, ports, first, last })
}

pub(super) fn write(selectors: &[Selector], writer: &mut Writer) {
    writer.u8(u8::try_from(selectors.len()).expect("bounded by SELECTORS_MAX"));
    writer.bytes(&[0; 3]);
    for selector in selectors {
        let at = writer.len();
        match selector {
            Selector::Range { protocol, ports, first, last } => {
                writer.u8(if first.is_ipv4() { IPV4_RANGE } else { IPV6_RANGE });
                writer.u8(*protocol);
                writer.u16(0);
                writer.u16(ports.0);
                writer.u16(ports.1);
                write_address(first, writer);
                write_address(last, writer);
            }
            Selector::Unknown { kind, protocol, data } => {
                writer.u8(*kind);
                writer.u8(*protocol);
                writer.u16(0);
                writer.bytes(data);
            }
        }
        let length = writer.len() - at;
        writer.patch_u16(at + 2, length);
    }
}

fn write_address(address: &IpAddr, writer: &mut Writer) {
    match address {
        IpAddr::V4(v4) => writer.bytes(&v4.octets()),
        IpAddr::V6(v6) => writer.bytes(&v6.octets()),
    }
}
