//! The SA payload: proposals, transforms, attributes (RFC 7296 §3.3).

use crate::wire::{Reader, WireError, Writer, at_most};

/// Proposals in one SA payload, at most.
pub const PROPOSALS_MAX: usize = 64;
/// Transforms in one proposal, at most.
pub const TRANSFORMS_MAX: usize = 96;
/// Attributes of one transform, at most.
pub const ATTRIBUTES_MAX: usize = 8;

const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const SHORT_FORM: u16 = 0x8000;
const PROPOSAL_HEADER: usize = 8;
const TRANSFORM_HEADER: usize = 8;

/// One way to protect something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Number, by which the responder names its choice.
    pub number: u8,
    /// IKE, AH or ESP.
    pub protocol: u8,
    /// The sender's inbound SPI: none, 4 or 8 octets.
    pub spi: Vec<u8>,
    /// Alternatives, several of each type.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Transform type.
    pub kind: u8,
    /// Algorithm.
    pub id: u16,
    /// Parameters.
    pub attributes: Vec<Attribute>,
}

/// A parameter of an algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// Type and 16-bit value.
    Short(u16, u16),
    /// Type and value of any length.
    Long(u16, Vec<u8>),
}

impl Transform {
    /// An algorithm without parameters.
    pub fn plain(kind: u8, id: u16) -> Self {
        Self { kind, id, attributes: Vec::new() }
    }

    /// An algorithm with a key length in bits.
    pub fn keyed(kind: u8, id: u16, bits: u16) -> Self {
        Self { kind, id, attributes: vec![Attribute::Short(super::number::ATTRIBUTE_KEY_LENGTH, bits)] }
    }
}

pub(super) fn read(body: &mut Reader<'_>) -> Result<Vec<Proposal>, WireError> {
    let mut proposals = Vec::new();
    loop {
        at_most(proposals.len() + 1, PROPOSALS_MAX, "number of proposals")?;
        let more = body.u8("proposal mark")?;
        body.u8("proposal reserved")?;
        let length = usize::from(body.u16("proposal length")?);
        let mut inner = Reader::new(body.take(length.saturating_sub(4), "proposal")?);
        proposals.push(read_proposal(&mut inner)?);
        if more != MORE_PROPOSALS {
            break;
        }
    }
    body.finish("proposals")?;
    Ok(proposals)
}

fn read_proposal(inner: &mut Reader<'_>) -> Result<Proposal, WireError> {
    let number = inner.u8("proposal number")?;
    let protocol = inner.u8("proposal protocol")?;
    let spi_len = usize::from(inner.u8("proposal SPI size")?);
    let count = usize::from(inner.u8("number of transforms")?);
    at_most(count, TRANSFORMS_MAX, "number of transforms")?;
    let spi = inner.take(spi_len, "proposal SPI")?.to_vec();
    let transforms = (0..count).map(|_| read_transform(inner)).collect::<Result<_, _>>()?;
    inner.finish("transforms")?;
    Ok(Proposal { number, protocol, spi, transforms })
}

fn read_transform(inner: &mut Reader<'_>) -> Result<Transform, WireError> {
    inner.u16("transform mark")?;
    let length = usize::from(inner.u16("transform length")?);
    let mut body = Reader::new(inner.take(length.saturating_sub(4), "transform")?);
    let kind = body.u8("transform type")?;
    body.u8("transform reserved")?;
    let id = body.u16("transform ID")?;
    let mut attributes = Vec::new();
    while !body.is_empty() {
        at_most(attributes.len() + 1, ATTRIBUTES_MAX, "number of attributes")?;
        let tag = body.u16("attribute type")?;
        let value = body.u16("attribute value")?;
        attributes.push(if tag & SHORT_FORM != 0 {
            Attribute::Short(tag & !SHORT_FORM, value)
        } else {
            Attribute::Long(tag, body.take(usize::from(value), "attribute")?.to_vec())
        });
    }
    Ok(Transform { kind, id, attributes })
}

pub(super) fn write(proposals: &[Proposal], writer: &mut Writer) {
    let mut rest = proposals.iter();
    while let Some(proposal) = rest.next() {
        let at = writer.len();
        writer.u8(if rest.len() > 0 { MORE_PROPOSALS } else { 0 });
        writer.u8(0);
        writer.u16(0);
        writer.u8(proposal.number);
        writer.u8(proposal.protocol);
        writer.u8(u8::try_from(proposal.spi.len()).expect("SPIs are at most 255 octets: read from an octet or made here"));
        writer.u8(u8::try_from(proposal.transforms.len()).expect("bounded by TRANSFORMS_MAX"));
        debug_assert_eq!(writer.len() - at, PROPOSAL_HEADER);
        writer.bytes(&proposal.spi);
        write_transforms(&proposal.transforms, writer);
        let length = writer.len() - at;
        writer.patch_u16(at + 2, length);
    }
}

fn write_transforms(transforms: &[Transform], writer: &mut Writer) {
    let mut rest = transforms.iter();
    while let Some(transform) = rest.next() {
        let at = writer.len();
        writer.u8(if rest.len() > 0 { MORE_TRANSFORMS } else { 0 });
        writer.u8(0);
        writer.u16(0);
        writer.u8(transform.kind);
        writer.u8(0);
        writer.u16(transform.id);
        debug_assert_eq!(writer.len() - at, TRANSFORM_HEADER);
        for attribute in &transform.attributes {
            match attribute {
                Attribute::Short(tag, value) => {
                    writer.u16(tag | SHORT_FORM);
                    writer.u16(*value);
                }
                Attribute::Long(tag, value) => {
                    writer.u16(*tag);
                    writer.u16(u16::try_from(value.len()).expect("read from a 16-bit length or made here"));
                    writer.bytes(value);
                }
            }
        }
        let length = writer.len() - at;
        writer.patch_u16(at + 2, length);
    }
}
