//! Writing DER without a value tree in between: the replies of a KDC are written, encrypted and forgotten.

use rasn_kerberos::{HostAddress, PaData};
use zeroize::Zeroizing;

use crate::lkdc::name::Principal;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const GENERALIZED_TIME: u8 = 0x18;
const GENERAL_STRING: u8 = 0x1b;
const SEQUENCE: u8 = 0x30;

/// DER being written. What was written is wiped when it is dropped, because it may hold a session key.
#[derive(Default)]
pub struct Der {
    out: Zeroizing<Vec<u8>>,
}

/// The tag octet of `[number]`, explicit.
pub const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// The tag octet of `[APPLICATION number]`, explicit.
pub const fn application(number: u8) -> u8 {
    0x60 | number
}

impl Der {
    /// An empty one with room for a ticket, so that secrets are not left behind by growth.
    pub fn new() -> Self {
        Self { out: Zeroizing::new(Vec::with_capacity(1024)) }
    }

    /// What `write` writes.
    pub fn of(write: impl FnOnce(&mut Self)) -> Zeroizing<Vec<u8>> {
        let mut der = Self::new();
        write(&mut der);
        der.out
    }

    /// A value of any tag around what `write` writes.
    pub fn tagged(&mut self, tag: u8, write: impl FnOnce(&mut Self)) {
        self.out.extend([tag, 0]);
        let start = self.out.len();
        write(self);
        let length = self.out.len() - start;
        let octets = length.to_be_bytes();
        let skipped = octets.iter().take_while(|octet| **octet == 0).count();
        let significant = octets.get(skipped..).unwrap_or_default();
        let (first, more): (u8, &[u8]) = match u8::try_from(length) {
            Ok(short) if short < 0x80 => (short, &[]),
            _ => (0x80 | u8::try_from(significant.len()).unwrap_or(0), significant),
        };
        if let Some(place) = self.out.get_mut(start - 1) {
            *place = first;
        }
        if !more.is_empty() {
            self.out.splice(start..start, more.iter().copied());
        }
    }

    /// A SEQUENCE.
    pub fn sequence(&mut self, write: impl FnOnce(&mut Self)) {
        self.tagged(SEQUENCE, write);
    }

    /// A field `[number]` of a SEQUENCE.
    pub fn field(&mut self, number: u8, write: impl FnOnce(&mut Self)) {
        self.tagged(context(number), write);
    }

    /// An INTEGER.
    pub fn integer(&mut self, value: i64) {
        let octets = value.to_be_bytes();
        let redundant = |pair: &&[u8]| matches!(pair, [0x00, next] if *next < 0x80) || matches!(pair, [0xff, next] if *next >= 0x80);
        let skipped = octets.windows(2).take_while(redundant).count();
        self.primitive(INTEGER, octets.get(skipped..).unwrap_or_default());
    }

    /// An OCTET STRING.
    pub fn octets(&mut self, octets: &[u8]) {
        self.primitive(OCTET_STRING, octets);
    }

    /// A `KerberosString`.
    pub fn string(&mut self, text: &str) {
        self.primitive(GENERAL_STRING, text.as_bytes());
    }

    /// A UTF8String.
    pub fn utf8(&mut self, text: &str) {
        self.primitive(UTF8_STRING, text.as_bytes());
    }

    /// `KerberosFlags` of 32 bits; bit 0 is the most significant.
    pub fn flags(&mut self, bits: u32) {
        let [a, b, c, d] = bits.to_be_bytes();
        self.primitive(BIT_STRING, &[0, a, b, c, d]);
    }

    /// A `KerberosTime`, in seconds since 1970.
    pub fn time(&mut self, seconds: u64) {
        self.primitive(GENERALIZED_TIME, &super::time::digits(seconds));
    }

    /// A `PrincipalName`.
    pub fn principal(&mut self, name: &Principal) {
        self.sequence(|der| {
            der.field(0, |der| der.integer(name.name_type.into()));
            der.field(1, |der| der.sequence(|der| name.components.iter().for_each(|part| der.string(part))));
        });
    }

    /// An `EncryptionKey` or a `Checksum`, which look alike.
    pub fn typed(&mut self, number: i32, octets: &[u8]) {
        self.sequence(|der| {
            der.field(0, |der| der.integer(number.into()));
            der.field(1, |der| der.octets(octets));
        });
    }

    /// An `EncryptedData`.
    pub fn encrypted(&mut self, etype: i32, kvno: Option<u32>, cipher: &[u8]) {
        self.sequence(|der| {
            der.field(0, |der| der.integer(etype.into()));
            if let Some(kvno) = kvno {
                der.field(1, |der| der.integer(kvno.into()));
            }
            der.field(2, |der| der.octets(cipher));
        });
    }

    /// A SEQUENCE OF `PA-DATA`.
    pub fn padata(&mut self, all: &[PaData]) {
        self.sequence(|der| {
            for padata in all {
                der.sequence(|der| {
                    der.field(1, |der| der.integer(padata.r#type.into()));
                    der.field(2, |der| der.octets(&padata.value));
                });
            }
        });
    }

    /// `HostAddresses`.
    pub fn addresses(&mut self, all: &[HostAddress]) {
        self.sequence(|der| all.iter().for_each(|address| der.typed(address.addr_type, &address.address)));
    }

    /// What is encoded already.
    pub fn raw(&mut self, der: &[u8]) {
        self.out.extend_from_slice(der);
    }

    fn primitive(&mut self, tag: u8, octets: &[u8]) {
        self.tagged(tag, |der| der.out.extend_from_slice(octets));
    }
}
