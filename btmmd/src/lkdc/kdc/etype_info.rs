//! PA-ETYPE-INFO2 (RFC 4120 §5.2.7.5): what a password needs to become a key.

use rasn_kerberos::PaData;

use super::preauth::pa;
use crate::lkdc::asn1::Der;
use crate::lkdc::crypto::Etype;
use crate::lkdc::principals::{Entry, Kind};

/// The encryption types of `etypes` that the client has keys for, in that order, with the salt of each. `None` when it has none, or when
/// its keys are random.
pub fn etype_info2(entry: &Entry, etypes: &[Etype]) -> Option<PaData> {
    let current = entry.current()?;
    if !matches!(entry.kind, Kind::User { .. }) {
        return None;
    }
    let known: Vec<Etype> = etypes.iter().copied().filter(|etype| current.key(*etype).is_some()).collect();
    if known.is_empty() {
        return None;
    }
    let value = Der::of(|der| {
        der.sequence(|der| {
            for etype in known {
                der.sequence(|der| {
                    der.field(0, |der| der.integer(etype.number().into()));
                    if let Some(salt) = &current.salt {
                        der.field(1, |der| der.string(salt));
                    }
                });
            }
        });
    });
    Some(PaData { r#type: pa::ETYPE_INFO2, value: value.to_vec().into() })
}
