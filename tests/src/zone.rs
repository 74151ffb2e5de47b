//! The account's zone as the tests of the rendezvous have it.

use btmmd::account::name::{MachineName, ZoneName};
use btmmd::rendezvous::tsig::TsigSecret;

/// Its name.
pub fn zone() -> ZoneName {
    "alice.btmm.internal".parse().expect("a zone name")
}

/// A machine's name.
pub fn machine(name: &str) -> MachineName {
    name.parse().expect("a machine name")
}

/// A machine's secret; another one for each first letter.
pub fn secret(who: &str) -> TsigSecret {
    let letter = who.as_bytes().first().copied().unwrap_or_default();
    TsigSecret::new(&[letter; 32]).expect("32 octets are enough")
}
