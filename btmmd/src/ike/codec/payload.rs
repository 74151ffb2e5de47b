//! Payloads and the chain they form (RFC 7296 §3.2 – §3.13).

use super::number::payload as kind;
use super::proposal::{self, Proposal};
use super::selector::{self, Selector};
use super::{CodecError, HEADER_LEN};
use crate::wire::{Reader, WireError, Writer, at_most};

/// Payloads in one chain, at most.
pub const PAYLOADS_MAX: usize = 48;
/// SPIs in one DELETE, at most.
pub const DELETE_MAX: usize = 64;
/// Nonces are 16 to 256 octets (RFC 7296 §3.9).
pub const NONCE_LEN: std::ops::RangeInclusive<usize> = 16..=256;

const CRITICAL: u8 = 0x80;
const GENERIC_HEADER: usize = 4;

/// Who somebody claims to be (IDi, IDr). The reserved octets are kept because AUTH signs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Identification type.
    pub kind: u8,
    /// Octets 1 to 3 of the body.
    pub reserved: [u8; 3],
    /// The name itself.
    pub data: Vec<u8>,
}

impl Identity {
    /// The body as AUTH covers it: everything after the generic payload header.
    pub fn body(&self) -> Vec<u8> {
        let mut body = vec![self.kind];
        body.extend_from_slice(&self.reserved);
        body.extend_from_slice(&self.data);
        body
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Protocol of the SPI; zero when there is none.
    pub protocol: u8,
    /// SPI of the SA concerned, possibly empty.
    pub spi: Vec<u8>,
    /// Notify message type.
    pub kind: u16,
    /// What the type asks for.
    pub data: Vec<u8>,
}

/// SAs that are no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Protocol: IKE (then no SPIs) or ESP.
    pub protocol: u8,
    /// Inbound SPIs of the sender.
    pub spis: Vec<u32>,
}

/// One payload, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Security association: proposals.
    Sa(Vec<Proposal>),
    /// Key exchange.
    Ke {
        /// Group number.
        group: u16,
        /// Public value.
        data: Vec<u8>,
    },
    /// Who the initiator is.
    IdI(Identity),
    /// Who the responder is, or should be.
    IdR(Identity),
    /// A certificate.
    Cert {
        /// Encoding.
        encoding: u8,
        /// The certificate.
        data: Vec<u8>,
    },
    /// Whose certificates are welcome.
    CertReq {
        /// Encoding.
        encoding: u8,
        /// Hashes of authorities' keys.
        data: Vec<u8>,
    },
    /// Proof of identity.
    Auth {
        /// Method.
        method: u8,
        /// The proof.
        data: Vec<u8>,
    },
    /// Ni or Nr.
    Nonce(Vec<u8>),
    /// A notification.
    Notify(Notify),
    /// SAs that are no more.
    Delete(Delete),
    /// Traffic selectors of the initiator of the exchange.
    TsI(Vec<Selector>),
    /// Traffic selectors of its responder.
    TsR(Vec<Selector>),
    /// A vendor's mark.
    Vendor(Vec<u8>),
}

/// An encrypted payload (SK, or an SKF fragment), not yet opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protected<'a> {
    /// SK or SKF.
    pub kind: u8,
    /// Type of the first payload inside.
    pub first: u8,
    /// What is authenticated beside the content: the message up to the content.
    pub associated: &'a [u8],
    /// IV, ciphertext and tag.
    pub content: &'a [u8],
}

/// Reads payloads up to the end. `whole` is the message that `reader` reads the end of, for the associated data of SK.
pub(super) fn read_chain<'a>(
    first: u8,
    reader: &mut Reader<'a>,
    whole: &'a [u8],
) -> Result<(Vec<Payload>, Option<Protected<'a>>), CodecError> {
    let mut payloads = Vec::new();
    let mut next = first;
    let mut count = 0;
    while next != 0 {
        count += 1;
        at_most(count, PAYLOADS_MAX, "number of payloads")?;
        let this = next;
        next = reader.u8("next payload")?;
        let flags = reader.u8("payload flags")?;
        let length = usize::from(reader.u16("payload length")?);
        let body_len = length
            .checked_sub(GENERIC_HEADER)
            .ok_or(WireError::Invalid { what: "payload length", got: u64::try_from(length).unwrap_or(u64::MAX) })?;
        if this == kind::SK || this == kind::SKF {
            let content = reader.take(body_len, "encrypted payload")?;
            reader.finish("encrypted payload")?;
            let associated = whole.get(..whole.len() - body_len).unwrap_or_default();
            return Ok((payloads, Some(Protected { kind: this, first: next, associated, content })));
        }
        let mut body = Reader::new(reader.take(body_len, "payload")?);
        match read_body(this, &mut body)? {
            Some(payload) => payloads.push(payload),
            None if flags & CRITICAL != 0 => return Err(CodecError::Critical(this)),
            None => {}
        }
    }
    reader.finish("payloads")?;
    Ok((payloads, None))
}

/// Reads the payloads that were inside an encrypted one.
pub fn read_inner(first: u8, plain: &[u8]) -> Result<Vec<Payload>, CodecError> {
    let mut reader = Reader::new(plain);
    match read_chain(first, &mut reader, plain)? {
        (payloads, None) => Ok(payloads),
        (_, Some(_)) => Err(WireError::Invalid { what: "payload inside SK", got: u64::from(kind::SK) }.into()),
    }
}

/// Writes payloads one after the other, the last one pointing nowhere.
pub fn write_chain(payloads: &[Payload], writer: &mut Writer) {
    let mut rest = payloads.iter();
    while let Some(payload) = rest.next() {
        let at = writer.len();
        writer.u8(rest.clone().next().map_or(0, Payload::kind));
        writer.u8(0);
        writer.u16(0);
        write_body(payload, writer);
        let length = writer.len() - at;
        writer.patch_u16(at + 2, length);
    }
}

/// Writes the generic header of an SK payload whose content will be `content` octets, and the message's length.
pub(in crate::ike) fn write_sk_header(writer: &mut Writer, first: u8, content: usize) {
    debug_assert_eq!(writer.len(), HEADER_LEN, "SK is the only payload");
    writer.u8(first);
    writer.u8(0);
    let at = writer.len();
    writer.u16(0);
    writer.patch_u16(at, GENERIC_HEADER + content);
    let total = writer.len() + content;
    writer.patch_u32(super::header::LENGTH_AT, total);
}

fn read_body(this: u8, body: &mut Reader<'_>) -> Result<Option<Payload>, CodecError> {
    Ok(Some(match this {
        kind::SA => Payload::Sa(proposal::read(body)?),
        kind::KE => {
            let group = body.u16("key exchange group")?;
            body.u16("key exchange reserved")?;
            Payload::Ke { group, data: body.rest().to_vec() }
        }
        kind::ID_I => Payload::IdI(read_identity(body)?),
        kind::ID_R => Payload::IdR(read_identity(body)?),
        kind::CERT => Payload::Cert { encoding: body.u8("certificate encoding")?, data: body.rest().to_vec() },
        kind::CERTREQ => Payload::CertReq { encoding: body.u8("certificate encoding")?, data: body.rest().to_vec() },
        kind::AUTH => {
            let method = body.u8("authentication method")?;
            body.array::<3>("authentication reserved")?;
            Payload::Auth { method, data: body.rest().to_vec() }
        }
        kind::NONCE => {
            let nonce = body.rest();
            if !NONCE_LEN.contains(&nonce.len()) {
                return Err(WireError::Invalid { what: "nonce length", got: u64::try_from(nonce.len()).unwrap_or(u64::MAX) }.into());
            }
            Payload::Nonce(nonce.to_vec())
        }
        kind::NOTIFY => {
            let protocol = body.u8("notify protocol")?;
            let spi_len = usize::from(body.u8("notify SPI size")?);
            let number = body.u16("notify type")?;
            let spi = body.take(spi_len, "notify SPI")?.to_vec();
            Payload::Notify(Notify { protocol, spi, kind: number, data: body.rest().to_vec() })
        }
        kind::DELETE => Payload::Delete(read_delete(body)?),
        kind::TS_I => Payload::TsI(selector::read(body)?),
        kind::TS_R => Payload::TsR(selector::read(body)?),
        kind::VENDOR => Payload::Vendor(body.rest().to_vec()),
        _ => return Ok(None),
    }))
}

fn read_identity(body: &mut Reader<'_>) -> Result<Identity, WireError> {
    Ok(Identity { kind: body.u8("identity type")?, reserved: body.array("identity reserved")?, data: body.rest().to_vec() })
}

fn read_delete(body: &mut Reader<'_>) -> Result<Delete, WireError> {
    let protocol = body.u8("delete protocol")?;
    let size = body.u8("delete SPI size")?;
    let count = usize::from(body.u16("delete SPI count")?);
    at_most(count, DELETE_MAX, "delete SPI count")?;
    if !matches!((size, count), (0, 0) | (4, _)) {
        return Err(WireError::Invalid { what: "delete SPI size", got: u64::from(size) });
    }
    let spis = (0..count).map(|_| body.u32("delete SPI")).collect::<Result<_, _>>()?;
    body.finish("delete")?;
    Ok(Delete { protocol, spis })
}

fn write_body(payload: &Payload, writer: &mut Writer) {
    match payload {
        Payload::Sa(proposals) => proposal::write(proposals, writer),
        Payload::Ke { group, data } => {
            writer.u16(*group);
            writer.u16(0);
            writer.bytes(data);
        }
        Payload::IdI(identity) | Payload::IdR(identity) => writer.bytes(&identity.body()),
        Payload::Cert { encoding, data } | Payload::CertReq { encoding, data } => {
            writer.u8(*encoding);
            writer.bytes(data);
        }
        Payload::Auth { method, data } => {
            writer.u8(*method);
            writer.bytes(&[0; 3]);
            writer.bytes(data);
        }
        Payload::Nonce(data) | Payload::Vendor(data) => writer.bytes(data),
        Payload::Notify(notify) => {
            writer.u8(notify.protocol);
            writer.u8(u8::try_from(notify.spi.len()).expect("SPIs are at most 255 octets: read from an octet or made here"));
            writer.u16(notify.kind);
            writer.bytes(&notify.spi);
            writer.bytes(&notify.data);
        }
        Payload::Delete(delete) => {
            writer.u8(delete.protocol);
            writer.u8(if delete.spis.is_empty() { 0 } else { 4 });
            writer.u16(u16::try_from(delete.spis.len()).expect("bounded by DELETE_MAX"));
            delete.spis.iter().for_each(|spi| writer.u32(*spi));
        }
        Payload::TsI(selectors) | Payload::TsR(selectors) => selector::write(selectors, writer),
    }
}

impl Payload {
    /// The payload's type number.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Sa(_) => kind::SA,
            Self::Ke { .. } => kind::KE,
            Self::IdI(_) => kind::ID_I,
            Self::IdR(_) => kind::ID_R,
            Self::Cert { .. } => kind::CERT,
            Self::CertReq { .. } => kind::CERTREQ,
            Self::Auth { .. } => kind::AUTH,
            Self::Nonce(_) => kind::NONCE,
            Self::Notify(_) => kind::NOTIFY,
            Self::Delete(_) => kind::DELETE,
            Self::TsI(_) => kind::TS_I,
            Self::TsR(_) => kind::TS_R,
            Self::Vendor(_) => kind::VENDOR,
        }
    }

    /// A notification about no SA in particular.
    pub fn notify(kind: u16, data: Vec<u8>) -> Self {
        Self::Notify(Notify { protocol: 0, spi: Vec::new(), kind, data })
    }
}
