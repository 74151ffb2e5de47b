//! Authorization data (RFC 4120 §5.2.6): what clients may put into their tickets, and what a ticket that pays must not say.

use rasn_kerberos::{AuthorizationData, AuthorizationDataValue};

use super::error::{ErrorCode, Refusal};
use crate::lkdc::asn1::{self, Der};

const IF_RELEVANT: i32 = AuthorizationDataValue::IF_RELEVANT;
/// `AD-fx-fast-armor` (RFC 6113 §5.4.1.1).
const FAST_ARMOR: i32 = 71;
/// `AD-fx-fast-used` (RFC 6113 §5.4.2).
const FAST_USED: i32 = 72;
/// What only a KDC may say: AD-KDCIssued, AD-CAMMAC, AD-AUTHENTICATION-INDICATOR, AD-WIN2K-PAC and AD-SIGNTICKET. From a client it would
/// deceive a service that believes it without a look at who vouches for it.
const OF_KDCS: [i32; 5] = [AuthorizationDataValue::KDC_ISSUED, 96, 97, 128, 512];

/// Whether a KDC may act on a request with these elements, of a ticket that pays, its authenticator, or the client's wishes.
pub fn check(values: &[AuthorizationDataValue]) -> Result<(), Refusal> {
    if has(values, AuthorizationDataValue::MANDATORY_FOR_KDC) {
        return Err(Refusal::new(ErrorCode::KDC_ERR_POLICY, "authorization data that must be understood, and is not"));
    }
    if has(values, FAST_ARMOR) {
        return Err(Refusal::new(ErrorCode::KDC_ERR_POLICY, "the ticket serves as armor and for nothing else"));
    }
    Ok(())
}

/// Whether an authenticator says that its request came in armor. One that does not come so any more was changed on its way.
pub fn was_armored(values: &[AuthorizationDataValue]) -> bool {
    has(values, FAST_USED)
}

/// What a client wants in its ticket, encoded each, without what is not a client's to say.
pub fn of_client(values: &[AuthorizationDataValue]) -> Vec<u8> {
    let allowed = |value: &&AuthorizationDataValue| !OF_KDCS.iter().any(|kind| has(std::slice::from_ref(*value), *kind));
    values.iter().filter(allowed).flat_map(|value| Der::of(|der| der.typed(value.r#type, &value.data)).to_vec()).collect()
}

/// Whether there is an element of this kind, bare or in AD-IF-RELEVANT.
fn has(values: &[AuthorizationDataValue], kind: i32) -> bool {
    values.iter().any(|value| {
        value.r#type == kind
            || value.r#type == IF_RELEVANT
                && asn1::decode::<AuthorizationData>(&value.data).is_ok_and(|inner| inner.iter().any(|value| value.r#type == kind))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(kind: i32) -> AuthorizationDataValue {
        AuthorizationDataValue { r#type: kind, data: b"data".to_vec().into() }
    }

    fn wrapped(kind: i32) -> AuthorizationDataValue {
        AuthorizationDataValue { r#type: IF_RELEVANT, data: asn1::encode(&vec![element(kind)]).into() }
    }

    #[test]
    fn what_only_a_kdc_may_say_is_not_taken_from_a_client() {
        for kind in OF_KDCS {
            let values = [element(kind), wrapped(kind), element(-1), wrapped(-2)];
            let kept = [element(-1), wrapped(-2)].map(|value| asn1::encode(&value)).concat();
            assert_eq!(of_client(&values), kept, "{kind}");
        }
    }

    #[test]
    fn what_must_be_understood_and_what_is_armor_only_pays_for_nothing() {
        for kind in [AuthorizationDataValue::MANDATORY_FOR_KDC, FAST_ARMOR] {
            for value in [element(kind), wrapped(kind)] {
                assert_eq!(check(&[element(-1), value]).unwrap_err().code, ErrorCode::KDC_ERR_POLICY);
            }
        }
        assert!(check(&[element(-1), wrapped(FAST_USED)]).is_ok());
        assert!(was_armored(&[element(-1), wrapped(FAST_USED)]) && was_armored(&[element(FAST_USED)]));
        assert!(!was_armored(&[element(FAST_ARMOR)]));
    }
}
