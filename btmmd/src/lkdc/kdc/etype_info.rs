//! PA-ETYPE-INFO2 (RFC 4120 §5.2.7.5): what a password needs to become a key.

use rasn_kerberos::PaData;

use super::preauth::{Asked, pa};
use crate::lkdc::asn1::Der;
use crate::lkdc::principals::Kind;

/// Encryption type and salt of the key that the client is to prove itself with: one, since a conversation rests on one (RFC 9588 §3.1).
/// `None` when it has no key of a type that both speak, or when its keys are random.
pub fn etype_info2(asked: &Asked<'_>) -> Option<PaData> {
    let (entry, key) = asked.entry.zip(asked.client_key)?;
    if !matches!(entry.kind, Kind::User { .. }) {
        return None;
    }
    let value = Der::of(|der| {
        der.sequence(|der| {
            der.sequence(|der| {
                der.field(0, |der| der.integer(key.etype().number().into()));
                if let Some(salt) = &entry.current().and_then(|current| current.salt.as_ref()) {
                    der.field(1, |der| der.string(salt));
                }
            });
        });
    });
    Some(PaData { r#type: pa::ETYPE_INFO2, value: value.to_vec().into() })
}
