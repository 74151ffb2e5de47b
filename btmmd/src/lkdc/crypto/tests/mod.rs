//! The RFCs' own values, and other implementations as judges.
mod agreement;
mod oracles;
mod rfc8009;
mod simplified;
mod spake;

use super::{Etype, Key};

/// Octets from hexadecimal, in either case and with blanks.
fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).unwrap()
}

fn key(etype: Etype, text: &str) -> Key {
    Key::new(etype, &hex(text)).unwrap()
}
