//! Nonces with a sign. RFC 4120 §5.4.1 has 32 bits without one; Heimdal, and with it Samba, writes half of its nonces as negative numbers, and
//! wants them back as it wrote them.

use std::ops::Range;

use rasn_kerberos::KdcReqBody;

use super::Asn1Error;
use crate::wire::der::header;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// `[7]` of KDC-REQ-BODY.
const NONCE: u8 = 0xa7;
/// `[4]` of KDC-REQ.
const REQ_BODY: u8 = 0xa4;
/// `[2]` of KrbFastReq (RFC 6113 §5.4.2).
const FAST_REQ_BODY: u8 = 0xa2;

/// Decodes an AS-REQ or TGS-REQ. `body` says where its body is, in which a negative nonce then stands as the same 32 bits.
pub fn request<T: rasn::Decode>(message: &[u8], body: impl FnOnce(&mut T) -> &mut KdcReqBody) -> Result<T, Asn1Error> {
    decode(message, negative_of(message), body)
}

/// The same for a KrbFastReq.
pub fn fast_request<T: rasn::Decode>(message: &[u8], body: impl FnOnce(&mut T) -> &mut KdcReqBody) -> Result<T, Asn1Error> {
    decode(message, negative(message, 0, FAST_REQ_BODY), body)
}

/// The nonce of an AS-REQ or TGS-REQ as the reply must have it.
pub fn in_reply(nonce: u32, request: &[u8]) -> i64 {
    if negative_of(request).is_some() { i64::from(nonce.cast_signed()) } else { i64::from(nonce) }
}

fn decode<T: rasn::Decode>(
    message: &[u8],
    nonce: Option<(Range<usize>, u32)>,
    body: impl FnOnce(&mut T) -> &mut KdcReqBody,
) -> Result<T, Asn1Error> {
    let Some((place, nonce)) = nonce else { return super::decode(message) };
    // A request in armor can hold a password.
    let mut positive = zeroize::Zeroizing::new(message.to_vec());
    if let Some(octets) = positive.get_mut(place) {
        octets.fill(1);
    }
    let mut decoded = super::decode(&positive)?;
    body(&mut decoded).nonce = nonce;
    Ok(decoded)
}

fn negative_of(request: &[u8]) -> Option<(Range<usize>, u32)> {
    let (_, start, _) = header(request, 0)?;
    negative(request, start, REQ_BODY)
}

/// Where the nonce of the body in field `tag` of the SEQUENCE at `start` lies, and its 32 bits, when it is negative and has no more.
fn negative(message: &[u8], start: usize, tag: u8) -> Option<(Range<usize>, u32)> {
    let nonce = field(message, field(message, start, tag)?, NONCE)?;
    let (INTEGER, start, length @ 1..=4) = header(message, nonce)? else { return None };
    let place = start..start.checked_add(length)?;
    let octets = message.get(place.clone())?;
    if octets.first()? & 0x80 == 0 {
        return None;
    }
    Some((place, octets.iter().fold(u32::MAX, |bits, octet| bits << 8 | u32::from(*octet))))
}

/// Where the contents of the field `tag` begin, in the SEQUENCE at `start`.
fn field(message: &[u8], start: usize, tag: u8) -> Option<usize> {
    let (SEQUENCE, mut at, length) = header(message, start)? else { return None };
    let stop = at.checked_add(length)?;
    while at < stop {
        let (found, start, length) = header(message, at)?;
        if found == tag {
            return Some(start);
        }
        at = start.checked_add(length)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use rasn_kerberos::TgsReq;

    use super::*;

    /// A TGS-REQ with these contents of the INTEGER that is its nonce.
    fn message(nonce: &[u8]) -> Vec<u8> {
        let tlv = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).expect("short")], value].concat();
        let body = [
            tlv(0xa0, &tlv(0x03, &[0, 0, 0, 0, 0])),
            tlv(0xa2, &tlv(0x1b, b"R")),
            tlv(0xa5, &tlv(0x18, b"19700101000000Z")),
            tlv(0xa7, &tlv(INTEGER, nonce)),
            tlv(0xa8, &tlv(SEQUENCE, &tlv(INTEGER, &[18]))),
        ];
        let fields = [tlv(0xa1, &tlv(INTEGER, &[5])), tlv(0xa2, &tlv(INTEGER, &[12])), tlv(REQ_BODY, &tlv(SEQUENCE, &body.concat()))];
        tlv(0x6c, &tlv(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn a_nonce_keeps_its_32_bits_and_its_sign() {
        for (octets, bits, reply) in [
            (&[0x01][..], 1, 1),
            (&[0x7f, 0xff, 0xff, 0xff], 0x7fff_ffff, 0x7fff_ffff),
            (&[0x00, 0xf5, 0x3e, 0x8e, 0x79], 0xf53e_8e79, 0xf53e_8e79),
            (&[0xf5, 0x3e, 0x8e, 0x79], 0xf53e_8e79, -180_449_671),
            (&[0x80, 0x00], 0xffff_8000, -32_768),
            (&[0xff], u32::MAX, -1),
        ] {
            let message = message(octets);
            let request: TgsReq = request(&message, |request: &mut TgsReq| &mut request.0.req_body).expect("decodes");
            assert_eq!(request.0.req_body.nonce, bits, "{octets:?}");
            assert_eq!(in_reply(bits, &message), reply, "{octets:?}");
        }
    }

    #[test]
    fn what_has_more_than_32_bits_or_is_cut_short_is_refused() {
        let long = message(&[0x80, 0, 0, 0, 0]);
        let whole = message(&[0xf5, 0x3e, 0x8e, 0x79]);
        let decode = |message: &[u8]| request(message, |request: &mut TgsReq| &mut request.0.req_body);
        assert!(decode(&long).is_err());
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
    }
}
