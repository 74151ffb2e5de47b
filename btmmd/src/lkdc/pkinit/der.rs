//! DER values by hand, where a message must be seen as its sender encoded it: signatures and checksums cover octets, not meanings.
//!
//! [`bounds::check`] has to see the whole message first; then nothing here reads outside or recurses.

use crate::wire::der as bounds;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTC_TIME: u8 = 0x17;
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
pub(crate) const GENERAL_STRING: u8 = 0x1b;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// The tag `[number]` around another value, or in place of a constructed one.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The tag `[number] IMPLICIT` in place of a primitive one.
pub(crate) const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// A field that is not there, or is something else. Carries its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is malformed")]
pub struct DerError(pub &'static str);

/// One value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value<'a> {
    pub(crate) tag: u8,
    /// Without its header.
    pub(crate) contents: &'a [u8],
    /// With its header.
    pub(crate) whole: &'a [u8],
}

impl<'a> Value<'a> {
    /// The only value in `bytes`, within the bounds of size and depth.
    pub(crate) fn only(bytes: &'a [u8], tag: u8, what: &'static str) -> Result<Self, DerError> {
        bounds::check(bytes).map_err(|_| DerError(what))?;
        let mut values = Values { rest: bytes };
        let value = values.take(tag, what)?;
        values.finish(what)?;
        Ok(value)
    }

    /// The values inside.
    pub(crate) fn values(self) -> Values<'a> {
        Values { rest: self.contents }
    }

    /// A number that fits.
    pub(crate) fn number(self, what: &'static str) -> Result<i64, DerError> {
        let negative = self.contents.first().ok_or(DerError(what))? & 0x80 != 0;
        if self.contents.len() > 8 {
            return Err(DerError(what));
        }
        let start = if negative { -1 } else { 0 };
        Ok(self.contents.iter().fold(start, |number, octet| number << 8 | i64::from(*octet)))
    }

    /// The octets of a bit string without unused bits.
    pub(crate) fn bits(self, what: &'static str) -> Result<&'a [u8], DerError> {
        match self.contents {
            [0, bits @ ..] => Ok(bits),
            _ => Err(DerError(what)),
        }
    }
}

/// Values one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Values<'a> {
    /// The next value, whatever it is.
    pub(crate) fn next(&mut self, what: &'static str) -> Result<Value<'a>, DerError> {
        let (tag, start, length) = bounds::header(self.rest, 0).ok_or(DerError(what))?;
        let stop = start.checked_add(length).ok_or(DerError(what))?;
        let (whole, rest) = self.rest.split_at_checked(stop).ok_or(DerError(what))?;
        let contents = whole.get(start..).ok_or(DerError(what))?;
        self.rest = rest;
        Ok(Value { tag, contents, whole })
    }

    /// The next value, which has this tag.
    pub(crate) fn take(&mut self, tag: u8, what: &'static str) -> Result<Value<'a>, DerError> {
        let value = self.next(what)?;
        if value.tag == tag { Ok(value) } else { Err(DerError(what)) }
    }

    /// The next value if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8, what: &'static str) -> Result<Option<Value<'a>>, DerError> {
        if self.rest.first() == Some(&tag) { self.take(tag, what).map(Some) } else { Ok(None) }
    }

    /// The value tagged `tag` inside `[number]`.
    pub(crate) fn field(&mut self, number: u8, tag: u8, what: &'static str) -> Result<Value<'a>, DerError> {
        self.optional_field(number, tag, what)?.ok_or(DerError(what))
    }

    /// The value tagged `tag` inside `[number]`, if that comes next.
    pub(crate) fn optional_field(&mut self, number: u8, tag: u8, what: &'static str) -> Result<Option<Value<'a>>, DerError> {
        let Some(outer) = self.optional(context(number), what)? else { return Ok(None) };
        let mut inside = outer.values();
        let value = inside.take(tag, what)?;
        inside.finish(what)?;
        Ok(Some(value))
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Says that `what` ends here. A SEQUENCE that RFC 4556 marks extensible is not asked to.
    pub(crate) fn finish(&self, what: &'static str) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError(what)) }
    }
}

/// A value of these parts.
pub(crate) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 5);
    out.push(tag);
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or(0));
    } else {
        let octets = length.to_be_bytes();
        let skip = octets.iter().take_while(|octet| **octet == 0).count();
        out.push(0x80 | u8::try_from(octets.len() - skip).unwrap_or(0));
        out.extend(octets.iter().skip(skip));
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(SEQUENCE, parts)
}

/// `[number] { contents }`.
pub(crate) fn explicit(number: u8, contents: &[u8]) -> Vec<u8> {
    value(context(number), &[contents])
}

pub(crate) fn octets(contents: &[u8]) -> Vec<u8> {
    value(OCTET_STRING, &[contents])
}

/// The OID with these contents.
pub(crate) fn oid(contents: &[u8]) -> Vec<u8> {
    value(OID, &[contents])
}

pub(crate) fn bits(contents: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], contents])
}

/// A number that is not negative.
pub(crate) fn unsigned(number: u64) -> Vec<u8> {
    integer(&number.to_be_bytes())
}

/// A number that is not negative, big-endian, of any length.
pub(crate) fn integer(octets: &[u8]) -> Vec<u8> {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let octets = octets.get(zeros..).unwrap_or_default();
    // A sign octet, unless the first octet is already known to be positive.
    let sign: &[u8] = if octets.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    value(INTEGER, &[sign, octets])
}

/// AlgorithmIdentifier without parameters.
pub(crate) fn algorithm(identifier: &[u8]) -> Vec<u8> {
    sequence(&[&oid(identifier)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for length in [0_usize, 1, 127, 128, 255, 256, 65_000] {
            let written = octets(&vec![7; length]);
            assert_eq!(Value::only(&written, OCTET_STRING, "octets").unwrap().contents.len(), length);
        }
        for number in [0_u64, 1, 127, 128, 255, 256, 0x7fff_ffff, 0xffff_ffff] {
            let written = unsigned(number);
            assert_eq!(Value::only(&written, INTEGER, "number").unwrap().number("number"), Ok(i64::try_from(number).unwrap()));
        }
        assert_eq!(unsigned(0), [2, 1, 0]);
        assert_eq!(unsigned(128), [2, 2, 0, 128]);
    }

    #[test]
    fn negative_numbers_are_read_as_such_and_long_ones_refused() {
        assert_eq!(Value::only(&[2, 1, 0xff], INTEGER, "n").unwrap().number("n"), Ok(-1));
        assert_eq!(Value::only(&[2, 0], INTEGER, "n").unwrap().number("n"), Err(DerError("n")));
        let long = value(INTEGER, &[&[1; 9]]);
        assert_eq!(Value::only(&long, INTEGER, "n").unwrap().number("n"), Err(DerError("n")));
    }

    #[test]
    fn wrong_tags_and_leftovers_are_refused() {
        let written = explicit(3, &unsigned(5));
        let message = sequence(&[&written]);
        let mut values = Value::only(&message, SEQUENCE, "m").unwrap().values();
        assert_eq!(values.optional_field(2, INTEGER, "two"), Ok(None));
        assert_eq!(values.field(3, OCTET_STRING, "three").unwrap_err(), DerError("three"));
        let two = sequence(&[&explicit(3, &[unsigned(5), unsigned(6)].concat())]);
        let mut values = Value::only(&two, SEQUENCE, "m").unwrap().values();
        assert_eq!(values.field(3, INTEGER, "three").unwrap_err(), DerError("three"));
        assert!(Value::only(&[message.as_slice(), &[0]].concat(), SEQUENCE, "m").is_err());
    }
}
