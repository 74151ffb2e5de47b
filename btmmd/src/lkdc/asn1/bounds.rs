//! Size and depth of a DER value, checked before anything of it is decoded.

use super::Asn1Error;

/// The largest message, and the largest value inside one, in octets.
pub const MAX_MESSAGE: usize = 65_536;

/// How deep values may be nested. A TGS-REQ needs 12; a certificate inside a CMS message 14.
pub const MAX_DEPTH: usize = 32;

const CONSTRUCTED: u8 = 0x20;
const LONG_TAG: u8 = 0x1f;

/// Whether `bytes` are one DER value, of definite lengths that fit into each other, small and flat enough to be decoded.
///
/// Primitive values are not looked into: what is wrapped in an OCTET STRING comes through here again by itself.
pub fn check(bytes: &[u8]) -> Result<(), Asn1Error> {
    if bytes.len() > MAX_MESSAGE {
        return Err(Asn1Error::TooLong(bytes.len()));
    }
    let mut ends = [0_usize; MAX_DEPTH];
    let mut depth = 0_usize;
    let mut at = 0_usize;
    let mut end = bytes.len();
    loop {
        while at == end {
            let Some(outer) = depth.checked_sub(1) else { return Ok(()) };
            depth = outer;
            end = *ends.get(depth).ok_or(Asn1Error::TooDeep)?;
        }
        let (tag, start, length) = header(bytes, at).ok_or(Asn1Error::NotDer(at))?;
        let stop = start.checked_add(length).filter(|stop| *stop <= end).ok_or(Asn1Error::NotDer(at))?;
        if depth == 0 && stop != bytes.len() {
            return Err(Asn1Error::NotDer(stop));
        }
        if tag & CONSTRUCTED == 0 {
            at = stop;
            continue;
        }
        *ends.get_mut(depth).ok_or(Asn1Error::TooDeep)? = end;
        depth = depth.saturating_add(1);
        (at, end) = (start, stop);
    }
}

/// Tag, place of the contents and their length, of the value that begins at `at`.
pub(crate) fn header(bytes: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let rest = bytes.get(at..)?;
    let (tag, rest) = rest.split_first()?;
    if tag & LONG_TAG == LONG_TAG {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let mut start = at.checked_add(2)?;
    if *first < 0x80 {
        return Some((*tag, start, usize::from(*first)));
    }
    let octets = usize::from(first & 0x7f);
    if !(1..=4).contains(&octets) {
        return None;
    }
    let length = rest.get(..octets)?.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
    start = start.checked_add(octets)?;
    Some((*tag, start, length))
}
