use super::super::rig::{Asked, BODY, Rig, now, signatory};
use super::*;
use crate::account::key::KeyAlgorithm;

/// What the client makes of a reply that `change` has written anew and `signatory` signed.
fn forged(rig: &Rig, asked: &Asked<'_>, signatory: &Signatory, change: impl FnOnce(&mut KdcDhKeyInfo<'_>)) -> PkinitClientError {
    let (value, waiting) = rig.ask(asked);
    let answer = rig.answer(asked, &value, BODY).unwrap();
    let info = DhRepInfo::parse(&answer.padata).unwrap();
    let signed = SignedData::parse(info.signed_data, oid::PKINIT_DH_KEY_DATA).unwrap();
    let mut key = KdcDhKeyInfo::parse(signed.content()).unwrap();
    change(&mut key);
    let signed = cms::sign(oid::PKINIT_DH_KEY_DATA, &key.encode(), signatory).unwrap();
    let reply = DhRepInfo { signed_data: &signed, ..info }.encode();
    rig.finish(asked, &waiting, &value, &reply).unwrap_err()
}

#[test]
fn another_machine_of_the_account_cannot_pose_as_the_kdc() {
    let rig = Rig::new();
    let refused = forged(&rig, &rig.ordinary(), &rig.laptop, |_| {});
    let expected = PkinitClientError::Impostor { machine: "laptop.alice.btmm.internal".into(), realm: rig.realm.clone() };
    assert_eq!(refused, expected);
    // Nor under the same name with a new key: the realm is the key.
    let reborn = signatory(&rig.account, "imac", KeyAlgorithm::EcdsaP256, now());
    assert!(matches!(forged(&rig, &rig.ordinary(), &reborn, |_| {}), PkinitClientError::Impostor { .. }));
}

#[test]
fn a_kdc_of_another_account_or_with_an_old_certificate_is_refused() {
    let rig = Rig::new();
    let foreign = signatory(&super::super::rig::account(), "imac", KeyAlgorithm::EcdsaP256, now());
    let refused = forged(&rig, &rig.ordinary(), &foreign, |_| {});
    assert!(matches!(refused, PkinitClientError::Certificate(CertificateError::OtherAuthority { .. })), "{refused}");
    let old = Duration::from_secs(400 * 24 * 3600);
    let old = signatory(&rig.account, "imac", KeyAlgorithm::EcdsaP256, now() - old);
    let refused = forged(&rig, &rig.ordinary(), &old, |_| {});
    assert!(matches!(refused, PkinitClientError::Certificate(CertificateError::Expired { .. })), "{refused}");
}

#[test]
fn a_reply_to_another_question_is_refused() {
    let rig = Rig::new();
    let asked = rig.ordinary();
    let ((value, _), (_, waiting)) = (rig.ask(&asked), rig.ask(&asked));
    let answer = rig.answer(&asked, &value, BODY).unwrap();
    assert_eq!(rig.finish(&asked, &waiting, &value, &answer.padata).unwrap_err(), PkinitClientError::OtherRequest);
}

#[test]
fn a_key_pair_is_not_used_again_without_leave_nor_for_ever() {
    let rig = Rig::new();
    let reused = Asked { may_reuse: true, ..rig.ordinary() };
    for (asked, end) in [
        (&rig.ordinary(), now() + Duration::from_secs(60)),
        (&reused, now() - Duration::from_secs(60)),
        (&reused, now() + 2 * LONGEST_REUSE),
    ] {
        let refused = forged(&rig, asked, &rig.imac, |key| (key.nonce, key.expires) = (0, Some(end)));
        assert_eq!(refused, PkinitClientError::Reuse);
    }
    assert_eq!(forged(&rig, &reused, &rig.imac, |key| key.nonce = 7), PkinitClientError::Reuse);
}

#[test]
fn a_public_value_outside_the_group_is_refused() {
    let rig = Rig::new();
    let refused = forged(&rig, &rig.ordinary(), &rig.imac, |key| key.public_value = &[4; 65]);
    assert_eq!(refused, PkinitClientError::PublicValue);
    let modp = Asked { group: DhGroup::Modp14, ..rig.ordinary() };
    assert_eq!(forged(&rig, &modp, &rig.imac, |key| key.public_value = &[2, 1, 1]), PkinitClientError::PublicValue);
}

#[test]
fn each_bent_octet_of_a_reply_is_noticed_or_changes_the_key() {
    let rig = Rig::new();
    let asked = rig.ordinary();
    let (value, waiting) = rig.ask(&asked);
    let answer = rig.answer(&asked, &value, BODY).unwrap();
    for at in 0..answer.padata.len() {
        let mut bent = answer.padata.clone();
        bent[at] ^= 1;
        // The key is derived from the reply's octets too: a bent one fits no AS-REP.
        let key = rig.finish(&asked, &waiting, &value, &bent).map(|result| result.reply_key);
        assert!(key.is_err() || key != Ok(answer.reply_key.clone()), "octet {at}");
    }
}

#[test]
fn a_derivation_that_was_not_offered_is_refused() {
    let rig = Rig::new();
    let asked = rig.ordinary();
    let (value, waiting) = rig.ask(&asked);
    let answer = rig.answer(&asked, &value, BODY).unwrap();
    let info = DhRepInfo::parse(&answer.padata).unwrap();
    let reply = DhRepInfo { kdf: Some(kdf::oid(PkinitKdf::Sha1)), ..info }.encode();
    assert_eq!(rig.finish(&asked, &waiting, &value, &reply).unwrap_err(), PkinitClientError::Kdf);
}

#[test]
fn a_kdc_under_another_authority_must_name_the_realm() {
    let rig = Rig::new();
    let ca = &rig.account.trust().ca;
    let certificate = rig.imac.certificate();
    assert_eq!(KdcTrust::Authority { ca, realm: rig.realm.as_str() }.check(certificate, now()), Ok(None));
    let refused = KdcTrust::Authority { ca, realm: "EXAMPLE.TEST" }.check(certificate, now());
    assert_eq!(refused, Err(PkinitClientError::OtherRealm { realm: "EXAMPLE.TEST".into() }));
}
