//! Authentication indicators (RFC 8129): how strongly the client proved itself, inside a container that only the KDC can fill (RFC 7751).

use rasn::prelude::*;
use rasn_kerberos::{AuthorizationData, AuthorizationDataValue, VerifierMac};
use zeroize::Zeroizing;

use super::ticket::{Contents, Opened, ServiceKey};
use crate::lkdc::asn1::{self, Der};
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::principals::Strength;

/// `AD-CAMMAC`.
const CAMMAC: i32 = 96;
/// `AD-AUTHENTICATION-INDICATOR`.
const INDICATOR: i32 = 97;

/// AD-CAMMAC (RFC 7751 §3): `other-verifiers` is optional there, and not in the message types at hand.
#[derive(AsnType, Clone, Debug, Decode, Encode)]
struct AdCammac {
    #[rasn(tag(explicit(0)))]
    elements: AuthorizationData,
    #[rasn(tag(explicit(1)))]
    kdc_verifier: Option<VerifierMac>,
    #[rasn(tag(explicit(2)))]
    svc_verifier: Option<VerifierMac>,
    #[rasn(tag(explicit(3)))]
    other_verifiers: Option<rasn::types::Any>,
}

/// One element of authorization data, encoded: the indicators of `strengths`, vouched for to the KDC itself and to the service.
/// `service` is `None` for the ticket granting service, which is the KDC itself.
pub fn container(
    strengths: &[Strength],
    contents: &Contents<'_>,
    krbtgt: &ServiceKey<'_>,
    service: Option<&ServiceKey<'_>>,
) -> Zeroizing<Vec<u8>> {
    if strengths.is_empty() {
        return Zeroizing::default();
    }
    let indicators = Der::of(|der| der.sequence(|der| strengths.iter().for_each(|strength| der.utf8(strength.indicator()))));
    let element = Der::of(|der| der.typed(INDICATOR, &indicators));
    let ticket = contents.encode(&element);
    let cammac = Der::of(|der| {
        der.sequence(|der| {
            der.field(0, |der| der.sequence(|der| der.raw(&element)));
            der.field(1, |der| verifier(der, krbtgt, &ticket));
            if let Some(service) = service {
                let elements = Der::of(|der| der.sequence(|der| der.raw(&element)));
                der.field(2, |der| verifier(der, service, &elements));
            }
        });
    });
    let inner = Der::of(|der| der.sequence(|der| der.typed(CAMMAC, &cammac)));
    Der::of(|der| der.typed(AuthorizationDataValue::IF_RELEVANT, &inner))
}

fn verifier(der: &mut Der, with: &ServiceKey<'_>, data: &[u8]) {
    let checksum = with.key.checksum(usage::CAMMAC, data);
    der.sequence(|der| {
        if let Some(kvno) = with.kvno {
            der.field(1, |der| der.integer(kvno.into()));
        }
        der.field(2, |der| der.integer(with.key.etype().number().into()));
        der.field(3, |der| der.typed(with.key.etype().checksum_type(), &checksum));
    });
}

/// What a ticket of ours says of its client's proof, and the rest of its authorization data, encoded each, which later tickets carry on.
/// A container that we did not make says nothing.
pub fn read(ticket: &Opened, krbtgt: &Key) -> (Vec<Strength>, Vec<u8>) {
    let (mut strengths, mut rest) = (Vec::new(), Vec::new());
    for value in &ticket.authorization {
        match cammac(value) {
            Some(cammac) => strengths.extend(vouched(&cammac, ticket, krbtgt)),
            None => rest.extend_from_slice(&Der::of(|der| der.typed(value.r#type, &value.data))),
        }
    }
    strengths.sort_unstable();
    strengths.dedup();
    (strengths, rest)
}

fn cammac(value: &AuthorizationDataValue) -> Option<AdCammac> {
    if value.r#type != AuthorizationDataValue::IF_RELEVANT {
        return None;
    }
    let inner: AuthorizationData = asn1::decode(&value.data).ok()?;
    match inner.as_slice() {
        [only] if only.r#type == CAMMAC => asn1::decode(&only.data).ok(),
        _ => None,
    }
}

fn vouched(cammac: &AdCammac, ticket: &Opened, krbtgt: &Key) -> Vec<Strength> {
    let elements: Vec<u8> =
        cammac.elements.iter().flat_map(|element| Der::of(|der| der.typed(element.r#type, &element.data)).to_vec()).collect();
    let covered = ticket.contents().encode(&elements);
    let Some(verifier) = &cammac.kdc_verifier else { return Vec::new() };
    if krbtgt.verify_checksum(usage::CAMMAC, &covered, &verifier.mac.checksum).is_err() {
        return Vec::new();
    }
    let indicators = cammac.elements.iter().filter(|element| element.r#type == INDICATOR);
    indicators
        .filter_map(|element| asn1::decode::<Vec<Utf8String>>(&element.data).ok())
        .flatten()
        .filter_map(|indicator| indicator.parse().ok())
        .collect()
}
