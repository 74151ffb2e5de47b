//! How a ticket was earned, as it stands in the ticket: authentication indicators (RFC 8129) for everybody, and the machine for the KDC
//! itself, inside a container that only the KDC can fill (RFC 7751).

use std::time::SystemTime;

use rasn::prelude::*;
use rasn_kerberos::{AuthorizationData, AuthorizationDataValue, VerifierMac};
use zeroize::Zeroizing;

use super::earned::{Certified, Earned};
use super::error::{ErrorCode, Refusal};
use super::ticket::{Contents, Opened, ServiceKey};
use crate::lkdc::asn1::{self, Der};
use crate::lkdc::crypto::{Etype, usage};
use crate::lkdc::principals::{Entry, Strength};

/// `AD-CAMMAC`.
const CAMMAC: i32 = 96;
/// `AD-AUTHENTICATION-INDICATOR`.
const INDICATOR: i32 = 97;
/// Our own: the machine whose certificate was the proof. Negative numbers are for local use (RFC 4120 §5.2.6), and who does not know this
/// one passes over it.
const MACHINE: i32 = -4500;

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

/// One element of authorization data, encoded: how the ticket was earned, vouched for to the KDC itself and to the service.
/// `service` is `None` for the ticket granting service, which is the KDC itself.
pub fn container(
    earned: &Earned,
    contents: &Contents<'_>,
    krbtgt: &ServiceKey<'_>,
    service: Option<&ServiceKey<'_>>,
) -> Zeroizing<Vec<u8>> {
    if *earned == Earned::default() {
        return Zeroizing::default();
    }
    let elements = elements(earned);
    let ticket = contents.encode(&elements);
    let cammac = Der::of(|der| {
        der.sequence(|der| {
            der.field(0, |der| der.sequence(|der| der.raw(&elements)));
            der.field(1, |der| verifier(der, krbtgt, &ticket));
            if let Some(service) = service {
                let covered = Der::of(|der| der.sequence(|der| der.raw(&elements)));
                der.field(2, |der| verifier(der, service, &covered));
            }
        });
    });
    let inner = Der::of(|der| der.sequence(|der| der.typed(CAMMAC, &cammac)));
    Der::of(|der| der.typed(AuthorizationDataValue::IF_RELEVANT, &inner))
}

fn elements(earned: &Earned) -> Zeroizing<Vec<u8>> {
    let strengths = &earned.strengths;
    let indicators = Der::of(|der| der.sequence(|der| strengths.iter().for_each(|strength| der.utf8(strength.indicator()))));
    Der::of(|der| {
        if !strengths.is_empty() {
            der.typed(INDICATOR, &indicators);
        }
        if let Some(machine) = &earned.machine {
            der.typed(MACHINE, &machine.encode());
        }
    })
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
///
/// # Errors
/// A container that no key of the ticket granting service vouches for, of those that are still good: what it says of its client's machine
/// cannot be believed, and must not be overlooked.
pub fn read(ticket: &Opened, krbtgt: &Entry, now: SystemTime) -> Result<(Earned, Vec<u8>), Refusal> {
    let (mut earned, mut rest) = (Earned::default(), Vec::new());
    for value in &ticket.authorization {
        match cammac(value) {
            Some(cammac) if is_vouched(&cammac, ticket, krbtgt, now) => {
                cammac.elements.iter().for_each(|element| learn(&mut earned, element));
            }
            Some(_) => {
                let reason = "nobody vouches for how the ticket was earned";
                return Err(Refusal::new(ErrorCode::KRB_AP_ERR_MODIFIED, reason));
            }
            None => rest.extend_from_slice(&Der::of(|der| der.typed(value.r#type, &value.data))),
        }
    }
    earned.strengths.sort_unstable();
    earned.strengths.dedup();
    Ok((earned, rest))
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

/// By the key that the verifier names: a ticket for a service can be older than the newest key of the ticket granting service.
fn is_vouched(cammac: &AdCammac, ticket: &Opened, krbtgt: &Entry, now: SystemTime) -> bool {
    let Some(verifier) = &cammac.kdc_verifier else { return false };
    let etype = verifier.enctype.and_then(Etype::from_number);
    let Some(key) = etype.and_then(|etype| krbtgt.key(verifier.kvno, etype, now)) else { return false };
    let elements: Vec<u8> =
        cammac.elements.iter().flat_map(|element| Der::of(|der| der.typed(element.r#type, &element.data)).to_vec()).collect();
    let covered = ticket.contents().encode(&elements);
    key.verify_checksum(usage::CAMMAC, &covered, &verifier.mac.checksum).is_ok()
}

fn learn(earned: &mut Earned, element: &AuthorizationDataValue) {
    match element.r#type {
        INDICATOR => {
            let indicators = asn1::decode::<Vec<Utf8String>>(&element.data).unwrap_or_default();
            earned.strengths.extend(indicators.iter().filter_map(|indicator| indicator.parse::<Strength>().ok()));
        }
        MACHINE => earned.machine = Certified::decode(&element.data),
        _ => {}
    }
}
