//! Bounded reading and writing of wire formats: the one door through which hostile bytes enter.
//!
//! A [`Reader`] never indexes and never panics; every length it takes from the wire is checked against a maximum that has a name, and
//! whoever finishes reading says so, which makes trailing data an error. A [`Writer`] back-patches lengths so that no caller computes one.
//! What others decode, DER, passes the bounds of [`der`] first.

pub mod der;

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ended inside `what`.
    #[error("input ends inside {what}")]
    Truncated {
        /// The field being read.
        what: &'static str,
    },
    /// Bytes remain after `what`.
    #[error("{extra} octets left over after {what}")]
    Trailing {
        /// The structure that should have ended.
        what: &'static str,
        /// How many octets remain.
        extra: usize,
    },
    /// A length or count exceeds its named maximum.
    #[error("{what} is {got}, more than the {max} allowed")]
    TooLong {
        /// The field.
        what: &'static str,
        /// What the wire said.
        got: usize,
        /// The maximum.
        max: usize,
    },
    /// A value that `what` may not have.
    #[error("{what} has the impossible value {got}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// What the wire said.
        got: u64,
    },
}

/// Takes fields off the front of a slice, big-endian.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many octets are left.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` octets.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(WireError::Truncated { what })?;
        self.rest = tail;
        Ok(head)
    }

    /// The next `N` octets as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated { what })?;
        self.rest = tail;
        Ok(*head)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// One octet.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    /// Two octets.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, WireError> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Four octets.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Eight octets.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// A reader over the next `count` octets, at most `max` of them.
    pub fn sub(&mut self, count: usize, max: usize, what: &'static str) -> Result<Reader<'a>, WireError> {
        at_most(count, max, what)?;
        self.take(count, what).map(Reader::new)
    }

    /// Says that `what` ends here: anything left over is an error.
    pub fn finish(&self, what: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing { what, extra: self.rest.len() }) }
    }
}

/// Refuses a length or count above its named maximum.
pub fn at_most(got: usize, max: usize, what: &'static str) -> Result<(), WireError> {
    if got <= max { Ok(()) } else { Err(WireError::TooLong { what, got, max }) }
}

/// Appends fields to a buffer, big-endian.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The finished buffer.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends octets.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends one octet.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Appends two octets.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends four octets.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }

    /// Appends eight octets.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }

    /// Overwrites the octet at `at`, which must have been written before.
    pub fn patch_u8(&mut self, at: usize, value: u8) {
        if let Some(slot) = self.bytes.get_mut(at) {
            *slot = value;
        }
    }

    /// Overwrites two octets at `at`. A length that does not fit is a bug of the caller and is caught in debug builds.
    pub fn patch_u16(&mut self, at: usize, value: usize) {
        debug_assert!(value <= usize::from(u16::MAX), "a 16-bit length of {value}");
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        if let Some(slot) = self.bytes.get_mut(at..at + 2) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Overwrites four octets at `at`.
    pub fn patch_u32(&mut self, at: usize, value: usize) {
        let value = u32::try_from(value).unwrap_or(u32::MAX);
        if let Some(slot) = self.bytes.get_mut(at..at + 4) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_is_left() {
        let mut writer = Writer::new();
        writer.u8(1);
        writer.u16(2);
        writer.u32(3);
        writer.u64(4);
        writer.bytes(b"end");
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8("a").unwrap(), 1);
        assert_eq!(reader.u16("b").unwrap(), 2);
        assert_eq!(reader.u32("c").unwrap(), 3);
        assert_eq!(reader.u64("d").unwrap(), 4);
        assert_eq!(reader.finish("all"), Err(WireError::Trailing { what: "all", extra: 3 }));
        assert_eq!(reader.rest(), b"end");
        assert_eq!(reader.finish("all"), Ok(()));
    }

    #[test]
    fn a_short_read_consumes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u32("word"), Err(WireError::Truncated { what: "word" }));
        assert_eq!(reader.len(), 3);
        assert_eq!(reader.u16("half").unwrap(), 0x0102);
    }

    #[test]
    fn a_length_above_its_maximum_is_refused_before_it_is_followed() {
        let mut reader = Reader::new(&[0; 8]);
        assert_eq!(reader.sub(6, 5, "list").unwrap_err(), WireError::TooLong { what: "list", got: 6, max: 5 });
        assert_eq!(reader.sub(5, 5, "list").unwrap().len(), 5);
    }

    #[test]
    fn a_patched_length_lands_where_it_was_reserved() {
        let mut writer = Writer::new();
        writer.u8(9);
        writer.u16(0);
        writer.bytes(&[1, 2, 3]);
        writer.patch_u16(1, 3);
        assert_eq!(writer.as_slice(), [9, 0, 3, 1, 2, 3]);
    }
}
