//! The outline of a DNS message: where its sections end and what its TSIG record says. Reads hostile bytes before anything else does.

use crate::wire::{Reader, WireError, at_most};

const TSIG: u16 = 250;
/// RFC 1035 §2.3.4.
const MAX_NAME: usize = 255;
const MAX_RDATA: usize = u16::MAX as usize;

/// A message whose sections do not add up, or whose TSIG record is not last and alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed DNS message")]
pub struct Malformed;

impl From<WireError> for Malformed {
    fn from(_: WireError) -> Self {
        Self
    }
}

/// A domain name in canonical wire form: uncompressed, lower case, at most 255 octets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CanonicalName(Vec<u8>);

impl CanonicalName {
    /// From text such as `imac.alice.btmm.internal`; no escapes.
    pub fn from_text(text: &str) -> Result<Self, Malformed> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.trim_end_matches('.').split('.') {
            let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n)).ok_or(Malformed)?;
            wire.push(length);
            wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        wire.push(0);
        if wire.len() <= MAX_NAME { Ok(Self(wire)) } else { Err(Malformed) }
    }

    /// The algorithm's name.
    pub fn hmac_sha256() -> Self {
        Self(b"\x0bhmac-sha256\0".to_vec())
    }

    /// The octets, with the root's at the end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Follows compression only backwards, so it ends.
    fn read(message: &[u8], start: usize) -> Result<Self, Malformed> {
        let mut wire = Vec::new();
        let mut floor = start;
        let mut reader = Reader::new(message.get(start..).ok_or(Malformed)?);
        loop {
            match reader.u8("label")? {
                0 => {
                    wire.push(0);
                    return Ok(Self(wire));
                }
                length @ 1..=63 => {
                    wire.push(length);
                    wire.extend(reader.take(length.into(), "label")?.iter().map(u8::to_ascii_lowercase));
                    at_most(wire.len(), MAX_NAME - 1, "name")?;
                }
                high @ 192.. => {
                    let target = usize::from(u16::from_be_bytes([high - 192, reader.u8("pointer")?]));
                    if target >= floor {
                        return Err(Malformed);
                    }
                    floor = target;
                    reader = Reader::new(message.get(target..).ok_or(Malformed)?);
                }
                _ => return Err(Malformed),
            }
        }
    }
}

/// The TSIG record of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Where the record begins.
    pub start: usize,
    /// The key's name.
    pub key: CanonicalName,
    /// The algorithm's name.
    pub algorithm: CanonicalName,
    /// Seconds since 1970.
    pub time: u64,
    /// Seconds.
    pub fudge: u16,
    /// Possibly truncated or empty.
    pub mac: Vec<u8>,
    /// The id the signer saw.
    pub original_id: u16,
    /// 0 or a TSIG error.
    pub error: u16,
    /// The server's clock, on BADTIME.
    pub other: Vec<u8>,
}

/// What can be said of a message before it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Message id.
    pub id: u16,
    /// The second word of the header.
    pub flags: u16,
    /// ARCOUNT as sent, the TSIG record counted.
    pub additional: u16,
    /// Octets of the question section when it holds one question whose name is not compressed.
    pub question: Option<Vec<u8>>,
    /// The signature, if any.
    pub signature: Option<Signature>,
}

impl Outline {
    /// True for a reply.
    pub fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// Walks the whole message once. Time and memory are linear in its length.
    pub fn read(message: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let at = |reader: &Reader| message.len() - reader.len();
        let id = reader.u16("id")?;
        let flags = reader.u16("flags")?;
        let questions = reader.u16("question count")?;
        let others = u32::from(reader.u16("answer count")?) + u32::from(reader.u16("authority count")?);
        let additional = reader.u16("additional count")?;
        for _ in 0..questions {
            skip_name(&mut reader)?;
            reader.take(4, "question")?;
        }
        let question = if questions == 1 { plain_question(message, at(&reader)) } else { None };
        let mut signature = None;
        let records = others + u32::from(additional);
        for index in 1..=records {
            let start = at(&reader);
            skip_name(&mut reader)?;
            let kind = reader.u16("type")?;
            let class_and_ttl = reader.array::<6>("class and TTL")?;
            let length = reader.u16("rdata length")?;
            let rdata = at(&reader);
            let mut fields = reader.sub(length.into(), MAX_RDATA, "rdata")?;
            if kind == TSIG {
                // Last and alone in the additional section, class ANY, TTL 0 (RFC 8945 §4.2, §5.1).
                if index != records || additional == 0 || class_and_ttl != [0, 255, 0, 0, 0, 0] {
                    return Err(Malformed);
                }
                let (key, algorithm) = (CanonicalName::read(message, start)?, CanonicalName::read(message, rdata)?);
                signature = Some(Signature::read(&mut fields, start, key, algorithm)?);
            }
        }
        reader.finish("message")?;
        Ok(Self { id, flags, additional, question, signature })
    }
}

impl Signature {
    fn read(fields: &mut Reader, start: usize, key: CanonicalName, algorithm: CanonicalName) -> Result<Self, Malformed> {
        skip_name(fields)?;
        let time = u64::from(fields.u16("time")?) << 32 | u64::from(fields.u32("time")?);
        let fudge = fields.u16("fudge")?;
        let length = fields.u16("MAC length")?;
        let mac = fields.take(length.into(), "MAC")?.to_vec();
        let original_id = fields.u16("original id")?;
        let error = fields.u16("TSIG error")?;
        let length = fields.u16("other length")?;
        let other = fields.take(length.into(), "other data")?.to_vec();
        fields.finish("TSIG record")?;
        Ok(Self { start, key, algorithm, time, fudge, mac, original_id, error, other })
    }
}

/// Only what can be copied into a reply: no pointers, which would point elsewhere there.
fn plain_question(message: &[u8], end: usize) -> Option<Vec<u8>> {
    let name = CanonicalName::read(message, 12).ok()?;
    (12 + name.as_bytes().len() + 4 == end).then(|| message.get(12..end).map(<[u8]>::to_vec))?
}

fn skip_name(reader: &mut Reader) -> Result<(), Malformed> {
    loop {
        match reader.u8("label")? {
            0 => return Ok(()),
            length @ 1..=63 => reader.take(length.into(), "label").map(drop)?,
            192.. => return reader.u8("pointer").map(drop).map_err(Malformed::from),
            _ => return Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_and_bounded() {
        assert_eq!(CanonicalName::from_text("iMac.Example.").unwrap().as_bytes(), b"\x04imac\x07example\0");
        assert_eq!(CanonicalName::from_text("a..b"), Err(Malformed));
        assert_eq!(CanonicalName::from_text(&"x".repeat(64)), Err(Malformed));
        assert_eq!(CanonicalName::from_text(&"abc.".repeat(64)), Err(Malformed));
    }

    #[test]
    fn compression_that_does_not_go_backwards_is_malformed() {
        let mut message = vec![0; 12];
        message.extend_from_slice(b"\x01a\0\x01b\xc0\x0c\xc0\x11");
        assert_eq!(CanonicalName::read(&message, 15).unwrap().as_bytes(), b"\x01b\x01a\0");
        assert_eq!(CanonicalName::read(&message, 17).unwrap().as_bytes(), b"\x01a\0");
        assert_eq!(CanonicalName::read(&message, 19).unwrap().as_bytes(), b"\x01a\0");
        let looping = [&[0; 12][..], b"\x01a\xc0\x0c"].concat();
        assert_eq!(CanonicalName::read(&looping, 12), Err(Malformed));
    }
}
