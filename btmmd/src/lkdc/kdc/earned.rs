//! How a ticket was earned: what the KDC writes into it for itself, and reads when the ticket pays for another one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::account::roster::KeyHash;
use crate::lkdc::asn1::time;
use crate::lkdc::principals::Strength;

/// How the client of a ticket proved itself. Every ticket that rests on that one inherits it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earned {
    /// How strongly. Empty for an anonymous client.
    pub strengths: Vec<Strength>,
    /// The machine whose certificate was the proof: when it leaves the account, its tickets are worth nothing.
    pub machine: Option<Certified>,
}

/// A machine of the account, by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certified {
    /// Its key.
    pub key: KeyHash,
    /// When the certificate was issued, in seconds since 1970: a machine that joined after the roster was made is not in it yet.
    issued: u64,
}

impl Certified {
    /// Length of the encoded form: the hash of the key, then the time as a number of 64 bits.
    const LENGTH: usize = 40;

    /// The machine with this key, certified at `issued_at`.
    pub fn new(key: KeyHash, issued_at: SystemTime) -> Self {
        Self { key, issued: time::seconds(issued_at) }
    }

    /// When it was certified.
    pub fn issued_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.issued)
    }

    /// As it stands in a ticket.
    pub(super) fn encode(&self) -> Vec<u8> {
        [self.key.octets().as_slice(), &self.issued.to_be_bytes()].concat()
    }

    /// From a ticket. Nothing but what [`Certified::encode`] writes, and no time beyond what a certificate can say.
    pub(super) fn decode(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; Self::LENGTH] = octets.try_into().ok()?;
        let (key, issued) = octets.split_first_chunk::<32>()?;
        let issued = u64::from_be_bytes(issued.try_into().ok()?);
        (issued <= LATEST).then_some(Self { key: KeyHash::from(*key), issued })
    }
}

/// The last second of the year 9999, where the times of X.509 end.
const LATEST: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read_as_it_was_written_and_nothing_else_is_read() {
        let machine = Certified::new(KeyHash::of(b"a key"), UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let octets = machine.encode();
        assert_eq!(Certified::decode(&octets), Some(machine));
        assert_eq!(Certified::decode(&octets[1..]), None);
        assert_eq!(Certified::decode(&[&octets[..], &[0]].concat()), None);
        assert_eq!(Certified::decode(&[0xff; 40]), None, "a time that no clock can hold");
    }
}
