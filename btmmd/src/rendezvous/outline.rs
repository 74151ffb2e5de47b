//! The outline of a DNS message: where its sections end and what its TSIG record says. Reads hostile bytes before anything else does.

/// A message whose sections do not add up, or whose TSIG record is not last and alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed DNS message")]
pub struct Malformed;

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
        if wire.len() <= 255 { Ok(Self(wire)) } else { Err(Malformed) }
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
        let (mut at, mut floor) = (start, start);
        loop {
            let length = usize::from(*message.get(at).ok_or(Malformed)?);
            match length {
                0 => {
                    wire.push(0);
                    return if wire.len() <= 255 { Ok(Self(wire)) } else { Err(Malformed) };
                }
                1..=63 => {
                    let label = message.get(at..at + 1 + length).ok_or(Malformed)?;
                    wire.extend(label.iter().map(|b| b.to_ascii_lowercase()));
                    if wire.len() > 254 {
                        return Err(Malformed);
                    }
                    at += 1 + length;
                }
                192.. => {
                    let low = usize::from(*message.get(at + 1).ok_or(Malformed)?);
                    let target = (length - 192) << 8 | low;
                    if target >= floor {
                        return Err(Malformed);
                    }
                    (at, floor) = (target, target);
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
        let id = u16_at(message, 0)?;
        let flags = u16_at(message, 2)?;
        let questions = u16_at(message, 4)?;
        let additional = u16_at(message, 10)?;
        let records = [6, 8, 10].into_iter().try_fold(0_u32, |sum, at| Ok(sum + u32::from(u16_at(message, at)?)))?;
        let mut at = 12;
        for _ in 0..questions {
            at = skip_name(message, at)? + 4;
        }
        let question = if questions == 1 { plain_question(message, at) } else { None };
        let mut signature = None;
        for index in 1..=records {
            let start = at;
            let fixed = skip_name(message, start)?;
            let end = fixed + 10 + usize::from(u16_at(message, fixed + 8)?);
            if u16_at(message, fixed)? == 250 {
                if index != records || additional == 0 {
                    return Err(Malformed);
                }
                signature = Some(Signature::read(message, start, fixed, end)?);
            }
            at = end;
        }
        if at != message.len() {
            return Err(Malformed);
        }
        Ok(Self { id, flags, additional, question, signature })
    }
}

impl Signature {
    fn read(message: &[u8], start: usize, fixed: usize, end: usize) -> Result<Self, Malformed> {
        // Class ANY and TTL 0 (RFC 8945 §4.2).
        if message.get(fixed + 2..fixed + 8) != Some(&[0, 255, 0, 0, 0, 0]) || end > message.len() {
            return Err(Malformed);
        }
        let rdata = fixed + 10;
        let at = skip_name(message, rdata)?;
        let time =
            (u64::from(u16_at(message, at)?) << 32) | (u64::from(u16_at(message, at + 2)?) << 16) | u64::from(u16_at(message, at + 4)?);
        let mac_end = at + 10 + usize::from(u16_at(message, at + 8)?);
        let other_end = mac_end + 6 + usize::from(u16_at(message, mac_end + 4)?);
        if other_end != end {
            return Err(Malformed);
        }
        Ok(Self {
            start,
            key: CanonicalName::read(message, start)?,
            algorithm: CanonicalName::read(message, rdata)?,
            time,
            fudge: u16_at(message, at + 6)?,
            mac: message.get(at + 10..mac_end).ok_or(Malformed)?.to_vec(),
            original_id: u16_at(message, mac_end)?,
            error: u16_at(message, mac_end + 2)?,
            other: message.get(mac_end + 6..other_end).ok_or(Malformed)?.to_vec(),
        })
    }
}

/// Only what can be copied into a reply: no pointers, which would point elsewhere there.
fn plain_question(message: &[u8], end: usize) -> Option<Vec<u8>> {
    let name = CanonicalName::read(message, 12).ok()?;
    (12 + name.as_bytes().len() + 4 == end).then(|| message.get(12..end).map(<[u8]>::to_vec))?
}

fn u16_at(message: &[u8], at: usize) -> Result<u16, Malformed> {
    let pair = message.get(at..at + 2).ok_or(Malformed)?;
    pair.try_into().map(u16::from_be_bytes).map_err(|_| Malformed)
}

/// The place after the name that begins at `at`.
fn skip_name(message: &[u8], mut at: usize) -> Result<usize, Malformed> {
    loop {
        match usize::from(*message.get(at).ok_or(Malformed)?) {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += 1 + length,
            192.. => return Ok(at + 2),
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
