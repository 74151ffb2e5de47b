use super::super::client::groups_offered;
use super::super::der;
use super::super::rig::{Asked, BODY, Rig, SKEW, account, now, roster, signatory};
use super::*;
use crate::account::certificate::CertificateError;
use crate::account::key::{KeyAlgorithm, MachineKey};
use crate::lkdc::pkinit::cms::CmsError;

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn client_and_kdc_agree_on_a_key_in_each_group_and_for_each_kind_of_key() {
    let kinds = [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519];
    for (imac, laptop) in kinds.into_iter().flat_map(|imac| kinds.map(|laptop| (imac, laptop))) {
        let rig = Rig::of_kinds(imac, laptop);
        for (group, may_reuse) in DhGroup::ACCEPTABLE.into_iter().flat_map(|group| [(group, false), (group, true)]) {
            let asked = Asked { group, may_reuse, ..rig.ordinary() };
            let (value, waiting) = rig.ask(&asked);
            let answer = rig.answer(&asked, &value, BODY).unwrap();
            let result = rig.finish(&asked, &waiting, &value, &answer.padata).unwrap();
            assert_eq!(result.reply_key, answer.reply_key, "{group:?}");
            assert_eq!(result.kdc.unwrap().name.as_str(), "imac");
            let Who::Machine(peer) = answer.who else { panic!("{:?}", answer.who) };
            assert_eq!((peer.name.as_str(), answer.fresh), ("laptop", false));
        }
    }
}

#[test]
fn the_key_has_the_type_that_the_client_likes_best() {
    let rig = Rig::new();
    for etype in Etype::ALL {
        let asked = Asked { etypes: &[etype, Etype::Aes128CtsHmacSha1_96], ..rig.ordinary() };
        let (value, waiting) = rig.ask(&asked);
        let answer = rig.answer(&asked, &value, BODY).unwrap();
        assert_eq!(answer.reply_key.etype(), etype);
        assert_eq!(rig.finish(&asked, &waiting, &value, &answer.padata).unwrap().reply_key, answer.reply_key);
    }
    assert_eq!(rig.refusal(&Asked { etypes: &[], ..rig.ordinary() }).code(), 14);
}

#[test]
fn a_key_pair_is_used_again_only_for_those_who_allow_it_and_never_gives_the_same_key() {
    let rig = Rig::new();
    let public = |may_reuse| {
        let asked = Asked { may_reuse, ..rig.ordinary() };
        let (value, _) = rig.ask(&asked);
        let answer = rig.answer(&asked, &value, BODY).unwrap();
        let info = DhRepInfo::parse(&answer.padata).unwrap();
        let signed = SignedData::parse(info.signed_data, oid::PKINIT_DH_KEY_DATA).unwrap();
        let key = KdcDhKeyInfo::parse(signed.content()).unwrap();
        assert_eq!((key.expires.is_some(), info.server_dh_nonce.is_some(), key.nonce == 0), (may_reuse, may_reuse, may_reuse));
        (key.public_value.to_vec(), answer.reply_key)
    };
    let ((first, key), (second, other)) = (public(true), public(true));
    assert_eq!(first, second);
    assert_ne!(key, other);
    assert_ne!(public(false).0, public(false).0);
}

#[test]
fn an_anonymous_client_signs_nothing_and_others_must_sign() {
    let rig = Rig::new();
    let nobody = Asked { client: Principal::anonymous(), signatory: None, ..rig.ordinary() };
    let (value, waiting) = rig.ask(&nobody);
    let answer = rig.answer(&nobody, &value, BODY).unwrap();
    assert_eq!(answer.who, Who::Anonymous);
    assert_eq!(rig.finish(&nobody, &waiting, &value, &answer.padata).unwrap().reply_key, answer.reply_key);
    let unsigned = rig.refusal(&Asked { signatory: None, ..rig.ordinary() });
    assert_eq!((unsigned.code(), unsigned.to_string().as_str()), (24, "alice must sign its request"));
    assert_eq!(rig.refusal(&Asked { client: Principal::anonymous(), ..rig.ordinary() }).code(), 24);
}

#[test]
fn a_machine_may_be_the_accounts_user_or_itself_and_nobody_else() {
    let rig = Rig::new();
    for client in [Principal::service("host", "laptop"), Principal::service("host", "laptop.alice.btmm.internal")] {
        let asked = Asked { client, ..rig.ordinary() };
        assert!(rig.answer(&asked, &rig.ask(&asked).0, BODY).is_ok());
    }
    for client in [Principal::service("host", "imac"), Principal::service("http", "laptop"), Principal::user("bob")] {
        let refused = rig.refusal(&Asked { client, ..rig.ordinary() });
        assert!(matches!(refused, PkinitError::WrongName { .. }) && refused.code() == 75, "{refused}");
    }
    rig.kdc.believers().set_users(["bob".to_owned()]);
    assert_eq!(rig.refusal(&rig.ordinary()).code(), 75);
}

#[test]
fn a_removed_machine_and_a_replaced_one_are_refused_at_once() {
    let rig = Rig::new();
    let asked = rig.ordinary();
    assert!(rig.answer(&asked, &rig.ask(&asked).0, BODY).is_ok(), "its chain is remembered now");
    rig.kdc.believers().set_roster(roster(&rig.account, &[("imac", &rig.imac)]));
    let removed = rig.refusal(&asked);
    assert_eq!(
        (removed.code(), removed),
        (72, PkinitError::Certificate(CertificateError::Removed { subject: "laptop.alice.btmm.internal".into() }))
    );
    rig.kdc.believers().set_roster(roster(&rig.account, &[("imac", &rig.imac), ("laptop", &rig.imac)]));
    let replaced = rig.refusal(&asked);
    assert_eq!(
        (replaced.code(), replaced),
        (62, PkinitError::Certificate(CertificateError::Replaced { subject: "laptop.alice.btmm.internal".into() }))
    );
}

#[test]
fn certificates_that_are_not_valid_now_or_of_another_account_are_refused() {
    let rig = Rig::new();
    let old = signatory(&rig.account, "laptop", KeyAlgorithm::EcdsaP256, now() - 400 * DAY);
    let refused = rig.refusal(&Asked { signatory: Some(&old), ..rig.ordinary() });
    assert!(matches!(&refused, PkinitError::Certificate(CertificateError::Expired { .. })) && refused.code() == 71, "{refused}");
    let early = signatory(&rig.account, "laptop", KeyAlgorithm::EcdsaP256, now() + DAY);
    let refused = rig.refusal(&Asked { signatory: Some(&early), ..rig.ordinary() });
    assert!(matches!(&refused, PkinitError::Certificate(CertificateError::NotYetValid { .. })) && refused.code() == 71, "{refused}");
    let foreign = signatory(&account(), "laptop", KeyAlgorithm::EcdsaP256, now());
    let refused = rig.refusal(&Asked { signatory: Some(&foreign), ..rig.ordinary() });
    assert!(matches!(&refused, PkinitError::Certificate(CertificateError::OtherAuthority { .. })) && refused.code() == 70, "{refused}");
}

#[test]
fn a_refused_client_is_told_what_would_be_accepted() {
    let rig = Rig::new();
    let foreign = signatory(&account(), "laptop", KeyAlgorithm::EcdsaP256, now());
    let asked = Asked { signatory: Some(&foreign), ..rig.ordinary() };
    let data = rig.answer(&asked, &rig.ask(&asked).0, BODY).unwrap_err().typed_data().unwrap();
    // TD-TRUSTED-CERTIFIERS, 104, with the subject of the account's CA.
    assert_eq!(data.get(4..9), Some([0xa0, 3, 2, 1, 104].as_slice()), "{data:02x?}");
    assert!(data.windows(18).any(|octets| octets == b"btmm account alice"));
    let weak = forged(&rig, |pack| pack.client_public_value = Some(WEAK));
    assert_eq!(weak.code(), 65);
    let offered = groups_offered(&weak.typed_data().unwrap()).unwrap();
    assert_eq!(offered, [DhGroup::Modp14, DhGroup::Modp16, DhGroup::X25519, DhGroup::P256], "what MIT's clients can read comes first");
}

/// A SubjectPublicKeyInfo over secp256k1, 1.3.132.0.10.
const WEAK: &[u8] = &[0x30, 0x15, 0x30, 0x10, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x0a, 3, 1, 0];

/// What the KDC says to an AuthPack that our client would not write, properly signed.
fn forged(rig: &Rig, change: impl FnOnce(&mut AuthPack<'_>)) -> Refused {
    let asked = rig.ordinary();
    let (value, _) = rig.ask(&asked);
    let signed = SignedData::parse(PaPkAsReq::parse(&value).unwrap().signed_auth_pack, oid::PKINIT_AUTH_DATA).unwrap();
    let mut pack = AuthPack::parse(signed.content()).unwrap();
    change(&mut pack);
    let signed = cms::sign(oid::PKINIT_AUTH_DATA, &pack.encode(), &rig.laptop).unwrap();
    rig.answer(&asked, &PaPkAsReq { signed_auth_pack: &signed }.encode(), BODY).unwrap_err()
}

#[test]
fn what_the_client_offers_must_be_acceptable() {
    let rig = Rig::new();
    let [group_2, one] = [(DhGroup::Modp2, 3), (DhGroup::Modp14, 1)].map(|(group, public)| &*group::write_public(group, &[public]).leak());
    for (code, refused) in [
        (65, forged(&rig, |pack| pack.client_public_value = Some(group_2))),
        (65, forged(&rig, |pack| pack.client_public_value = Some(one))),
        (81, forged(&rig, |pack| pack.client_public_value = None)),
        (100, forged(&rig, |pack| pack.supported_kdfs = Some(vec![b"unknown"]))),
        (79, forged(&rig, |pack| (pack.authenticator.checksum, pack.authenticator.checksum2) = (None, None))),
        (79, forged(&rig, |pack| pack.authenticator.checksum2 = Some((oid::SHA1, b"digest")))),
        (41, forged(&rig, |pack| pack.authenticator.checksum2 = Some((oid::SHA256, &[0; 32])))),
        (41, forged(&rig, |pack| pack.authenticator.checksum = Some(&[0; 20]))),
    ] {
        assert_eq!(refused.code(), code, "{refused}");
    }
}

#[test]
fn a_signature_by_another_key_or_over_another_message_is_refused() {
    let rig = Rig::new();
    let thief = Signatory { key: Arc::new(MachineKey::generate(KeyAlgorithm::EcdsaP256).unwrap()), ..rig.laptop.clone() };
    let refused = rig.refusal(&Asked { signatory: Some(&thief), ..rig.ordinary() });
    assert_eq!((refused.code(), refused), (64, PkinitError::Cms(CmsError::Signature)));
    // A request of ours with another body: its signed part does not cover it.
    let asked = rig.ordinary();
    let (value, _) = rig.ask(&asked);
    let refused = rig.answer(&asked, &value, b"another body").unwrap_err();
    assert_eq!((refused.code(), refused.error), (41, PkinitError::OtherRequest));
}

#[test]
fn a_request_signed_anew_is_known_by_what_was_signed() {
    let rig = Rig::new();
    let asked = rig.ordinary();
    let (value, _) = rig.ask(&asked);
    let content = SignedData::parse(PaPkAsReq::parse(&value).unwrap().signed_auth_pack, oid::PKINIT_AUTH_DATA).unwrap().content();
    // Whoever hears an ECDSA signature can write it in a second way; for us it is easier to make another.
    let signed = cms::sign(oid::PKINIT_AUTH_DATA, content, &rig.laptop).unwrap();
    let again = PaPkAsReq { signed_auth_pack: &signed }.encode();
    assert_ne!(again, value);
    let [first, second] = [value, again].map(|value| rig.answer(&asked, &value, BODY).unwrap().content);
    assert_eq!(first, second);
}

#[test]
fn each_bent_octet_of_a_request_is_noticed() {
    let rig = Rig::new();
    let asked = rig.ordinary();
    let (value, _) = rig.ask(&asked);
    let signed = PaPkAsReq::parse(&value).unwrap().signed_auth_pack;
    let mut unnoticed = 0;
    for at in 0..value.len() {
        let mut bent = value.clone();
        bent[at] ^= 1;
        if let Ok(answer) = rig.answer(&asked, &bent, BODY) {
            assert_eq!(answer.who, rig.answer(&asked, &value, BODY).unwrap().who);
            unnoticed += 1;
        }
        assert!(rig.answer(&asked, &value[..at], BODY).is_err(), "length {at}");
    }
    // Versions, the list of digests and the name of the signature algorithm decide nothing.
    assert!(unnoticed < 40 && signed.len() > 1000, "{unnoticed} of {}", signed.len());
}

#[test]
fn clocks_may_differ_by_the_skew_and_no_more() {
    let rig = Rig::new();
    for at in [now() - SKEW, now() + SKEW] {
        let asked = Asked { at, ..rig.ordinary() };
        assert!(rig.answer(&asked, &rig.ask(&asked).0, BODY).is_ok());
    }
    for at in [now() - SKEW - Duration::from_secs(1), now() + SKEW + Duration::from_secs(1)] {
        let refused = rig.refusal(&Asked { at, ..rig.ordinary() });
        assert_eq!((refused.code(), refused), (37, PkinitError::Skew));
    }
}

#[test]
fn a_freshness_token_counts_only_while_it_is_fresh() {
    let rig = Rig::new();
    let with = |made| Asked { token: Some(rig.kdc.freshness_token(made)), ..rig.ordinary() };
    let asked = with(now());
    assert!(rig.answer(&asked, &rig.ask(&asked).0, BODY).unwrap().fresh);
    let refused = rig.refusal(&with(now() - Duration::from_secs(301)));
    assert_eq!((refused.code(), refused), (90, PkinitError::Stale));
    let rig = Rig { kdc: rig.kdc.requiring_freshness(), ..rig };
    assert_eq!(rig.refusal(&rig.ordinary()), PkinitError::NotFresh);
    let asked = Asked { token: Some(rig.kdc.freshness_token(now())), ..rig.ordinary() };
    assert!(rig.answer(&asked, &rig.ask(&asked).0, BODY).unwrap().fresh);
}

#[test]
fn an_rsa_key_transport_request_or_nonsense_is_refused_politely() {
    let rig = Rig::new();
    let asked = rig.ordinary();
    for nonsense in [vec![], vec![0x30], der::sequence(&[]), vec![0xff; 5000], vec![0x30; 40_000]] {
        assert_eq!(rig.answer(&asked, &nonsense, BODY).unwrap_err().code(), 24);
    }
}
