//! Parts of a request as their sender encoded them. Checksums cover these octets; encoding again could give others.

use super::Asn1Error;
use crate::wire::der::header;

const SEQUENCE: u8 = 0x30;
/// `[4]` of KDC-REQ.
const REQ_BODY: u8 = 0xa4;

/// The KDC-REQ-BODY, header included, inside an AS-REQ or TGS-REQ. The request should be one that decodes.
pub fn req_body(request: &[u8]) -> Result<&[u8], Asn1Error> {
    let message = inside(request).ok_or(Asn1Error::Value("KDC-REQ"))?;
    field(message, REQ_BODY).ok_or(Asn1Error::Value("req-body"))
}

/// The contents of the explicitly tagged field `tag` in the SEQUENCE `sequence`.
pub fn field(sequence: &[u8], tag: u8) -> Option<&[u8]> {
    let (outer, start, length) = header(sequence, 0)?;
    if outer != SEQUENCE {
        return None;
    }
    let stop = start.checked_add(length)?;
    let mut at = start;
    while at < stop {
        let (found, start, length) = header(sequence, at)?;
        let end = start.checked_add(length)?;
        if found == tag {
            return sequence.get(start..end);
        }
        at = end;
    }
    None
}

/// The contents of the outermost tag.
pub fn inside(value: &[u8]) -> Option<&[u8]> {
    let (_, start, length) = header(value, 0)?;
    value.get(start..start.checked_add(length)?)
}

/// The outermost tag: what kind of message this claims to be.
pub fn tag(value: &[u8]) -> Option<u8> {
    value.first().copied()
}
