//! Size and depth of a DER value, checked before anything of it is decoded.
//!
//! Decoders are not called but by [`x509`] and [`crate::lkdc::asn1::decode`], which check first: clippy sees to it.

use x509_cert::der::Decode;

/// The largest message, and the largest value inside one, in octets.
pub const MAX_MESSAGE: usize = 65_536;

/// How deep values may be nested. A TGS-REQ needs 12; a certificate inside a CMS message 14.
pub const MAX_DEPTH: usize = 32;

const CONSTRUCTED: u8 = 0x20;
const LONG_TAG: u8 = 0x1f;

/// Why octets are decoded by nobody. Their sender's fault in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DerError {
    /// More than [`MAX_MESSAGE`].
    #[error("message of {0} octets, more than the {MAX_MESSAGE} allowed")]
    TooLong(usize),
    /// Values nested deeper than [`MAX_DEPTH`].
    #[error("values nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// A length that leads outside, is indefinite, or a tag of more than one octet.
    #[error("octet {0} does not begin a DER value")]
    NotDer(usize),
    /// Something else than what was expected.
    #[error("not what was expected")]
    Malformed,
}

/// Whether `bytes` are one DER value, of definite lengths that fit into each other, small and flat enough to be decoded.
///
/// Primitive values are not looked into: what is wrapped in an OCTET STRING comes through here again by itself.
pub fn check(bytes: &[u8]) -> Result<(), DerError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DerError::TooLong(bytes.len()));
    }
    let mut ends = [0_usize; MAX_DEPTH];
    let mut depth = 0_usize;
    let mut at = 0_usize;
    let mut end = bytes.len();
    loop {
        while at == end {
            let Some(outer) = depth.checked_sub(1) else { return Ok(()) };
            depth = outer;
            end = *ends.get(depth).ok_or(DerError::TooDeep)?;
        }
        let (tag, start, length) = header(bytes, at).ok_or(DerError::NotDer(at))?;
        let stop = start.checked_add(length).filter(|stop| *stop <= end).ok_or(DerError::NotDer(at))?;
        if depth == 0 && stop != bytes.len() {
            return Err(DerError::NotDer(stop));
        }
        if tag & CONSTRUCTED == 0 {
            at = stop;
            continue;
        }
        *ends.get_mut(depth).ok_or(DerError::TooDeep)? = end;
        depth = depth.saturating_add(1);
        (at, end) = (start, stop);
    }
}

/// Decodes exactly one value of X.509 within the bounds.
#[expect(clippy::disallowed_methods, reason = "the bounds are checked here")]
pub fn x509<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, DerError> {
    check(bytes)?;
    T::from_der(bytes).map_err(|_| DerError::Malformed)
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

#[cfg(test)]
mod tests {
    use x509_cert::der::asn1::ObjectIdentifier;

    use super::*;

    #[test]
    fn a_value_of_another_kind_is_no_value() {
        assert!(x509::<ObjectIdentifier>(&[0x06, 0x03, 0x2b, 0x65, 0x70]).is_ok());
        assert_eq!(x509::<ObjectIdentifier>(&[0x04, 0x03, 0x2b, 0x65, 0x70]), Err(DerError::Malformed));
        assert_eq!(x509::<ObjectIdentifier>(&[0x06, 0x03, 0x2b, 0x65, 0x70, 0x00]), Err(DerError::NotDer(5)));
    }

    #[test]
    fn depth_size_and_indefinite_lengths_are_bounded() {
        let nested = |depth: usize| {
            (0..depth).fold(vec![0x05, 0x00], |inner, _| {
                let mut outer = vec![0x30];
                match u8::try_from(inner.len()).ok().filter(|length| *length < 0x80) {
                    Some(length) => outer.push(length),
                    None => outer.extend([0x81, u8::try_from(inner.len()).unwrap()]),
                }
                outer.extend(inner);
                outer
            })
        };
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(DerError::TooDeep));
        assert_eq!(check(&vec![0; MAX_MESSAGE + 1]), Err(DerError::TooLong(MAX_MESSAGE + 1)));
        assert_eq!(check(&[0x30, 0x80, 0, 0]), Err(DerError::NotDer(0)));
        assert_eq!(check(&[0x1f, 0x81, 0x01, 0x00]), Err(DerError::NotDer(0)));
        assert_eq!(check(&[0x30, 0x03, 0x04, 0x05, 0x00]), Err(DerError::NotDer(2)));
    }
}
