//! Kerberos messages as octets: one bounded way in, one way out, and what the message types do not do by themselves.
//!
//! - [`decode`]: the bounds of [`der`] are checked before anything is decoded.
//! - [`nonce`]: requests whose nonce has a sign.
//! - [`mod@time`]: `KerberosTime` without fractions of a second.
//! - [`mod@flags`]: bit strings of at least 32 bits.
//! - [`mod@write`]: DER written without a value tree.
//! - [`mod@wipe`]: secrets in messages are overwritten.
//! - [`raw`]: parts of a request as the sender encoded them, which checksums cover.

pub mod flags;
pub mod nonce;
pub mod raw;
pub mod time;
pub mod wipe;
pub mod write;

use rasn_kerberos::KerberosString;

use crate::wire::der;

pub use crate::wire::der::MAX_MESSAGE;
pub use flags::{flag_bits, flags};
pub use raw::req_body;
pub use time::{system_time, time};
pub use wipe::{wipe, wipe_padata};
pub use write::Der;

/// The most characters of the decoder's word.
const MAX_CAUSE: usize = 160;

/// Why octets were refused. Sender's fault in every case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Asn1Error {
    /// Too long, nested too deep, or no DER.
    #[error(transparent)]
    Bounds(#[from] der::DerError),
    /// Something else than what was expected.
    #[error("not a valid {what}: {cause}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// The decoder's word.
        cause: String,
    },
    /// A field has a value that its type allows and Kerberos does not.
    #[error("{0} has an impossible value")]
    Value(&'static str),
}

/// Decodes exactly one DER value within the bounds of size and depth.
#[expect(clippy::disallowed_methods, reason = "the bounds are checked here")]
pub fn decode<T: rasn::Decode>(bytes: &[u8]) -> Result<T, Asn1Error> {
    der::check(bytes)?;
    rasn::der::decode(bytes).map_err(|error| Asn1Error::Malformed { what: short_name::<T>(), cause: in_short(&error) })
}

/// Encodes in DER.
///
/// # Panics
/// Never for the types of this program: their fields have no constraint that a value could break.
pub fn encode<T: rasn::Encode>(value: &T) -> Vec<u8> {
    rasn::der::encode(value).expect("Kerberos types have no constraint that a value could break")
}

/// The text of a Kerberos string, which is UTF-8 in practice (RFC 4120 §5.2.1 says IA5).
pub fn text(string: &KerberosString) -> Result<&str, Asn1Error> {
    std::str::from_utf8(string.as_bytes()).map_err(|_| Asn1Error::Value("KerberosString"))
}

/// `text` as a Kerberos string. Characters that `GeneralString` does not know become `?`: names of ours have none.
pub fn string(text: &str) -> KerberosString {
    KerberosString::from_bytes(text.as_bytes()).unwrap_or_else(|_| {
        let plain: Vec<u8> = text.bytes().map(|byte| if byte.is_ascii() { byte } else { b'?' }).collect();
        KerberosString::from_bytes(&plain).expect("every ASCII octet is allowed")
    })
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit_once("::").map_or(name, |(_, last)| last)
}

/// The decoder quotes what it cannot read, whole and as it came. It goes into replies and logs.
fn in_short(error: &rasn::error::DecodeError) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|character| character.is_ascii() && !character.is_control()).take(MAX_CAUSE).collect()
}

#[cfg(test)]
mod tests;
