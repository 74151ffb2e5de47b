//! What a service asks of its clients, told to one who falls short of it.

use rasn_kerberos::TypedData;

use super::error::{ErrorCode, Refusal};
use crate::lkdc::asn1::{self, Der};
use crate::lkdc::name::Principal;
use crate::lkdc::principals::Strength;
use crate::lkdc::principals::strength::listed;

/// Our own type of TYPED-DATA, of the negative ones that nobody assigns: authentication indicators, as AD-AUTHENTICATION-INDICATOR
/// (RFC 8129 §3) has them. Stock clients pass over it.
const STRENGTHS: i32 = -97;

/// KDC_ERR_POLICY for a client that proved itself in none of the ways that `service` takes. The `e-text` says which these are, to people,
/// and the `e-data` to our own client.
pub fn refusal(service: &Principal, wanted: &[Strength]) -> Refusal {
    let indicators = Der::of(|der| der.sequence(|der| wanted.iter().for_each(|strength| der.utf8(strength.indicator()))));
    let typed = Der::of(|der| der.sequence(|der| der.typed(STRENGTHS, &indicators)));
    Refusal::new(ErrorCode::KDC_ERR_POLICY, format!("{service} asks for {}", listed(wanted))).with_typed_data(typed.to_vec())
}

/// What the `e-data` of such a refusal says. Empty when it says something else.
pub fn read(data: &[u8]) -> Vec<Strength> {
    let typed: TypedData = asn1::decode(data).unwrap_or_default();
    let ours = typed.iter().find(|item| item.r#type == STRENGTHS).and_then(|item| item.value.as_deref());
    let indicators = ours.and_then(|value| asn1::decode::<Vec<String>>(value).ok()).unwrap_or_default();
    indicators.iter().filter_map(|indicator| indicator.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lkdc::kdc::error::EData;

    #[test]
    fn what_is_asked_for_is_told_to_people_and_read_back_by_programs() {
        let refusal = refusal(&Principal::service("host", "imac"), &[Strength::Certificate, Strength::Otp]);
        assert_eq!(refusal.to_string(), "KDC_ERR_POLICY: host/imac asks for certificate or otp");
        let EData::Typed(data) = refusal.data else { panic!("no typed data") };
        assert_eq!(read(&data), [Strength::Certificate, Strength::Otp]);
    }

    #[test]
    fn data_of_another_kind_says_nothing() {
        let other = Der::of(|der| der.sequence(|der| der.typed(104, b"0")));
        let strange = Der::of(|der| der.sequence(|der| der.typed(STRENGTHS, b"0")));
        for data in [&[][..], b"0", &other, &strange] {
            assert_eq!(read(data), []);
        }
    }
}
