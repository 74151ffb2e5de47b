use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaEncoding,
};

use super::*;
use crate::account::key::{KeyAlgorithm, KeyError, MachineKey, Signer};
use crate::lkdc::pkinit::asn1::AuthPack;
use crate::lkdc::pkinit::rig::{account, now, signatory};

mod captured;

const TYPE: oid::Oid = oid::PKINIT_AUTH_DATA;

fn decode(base64: &str) -> Vec<u8> {
    data_encoding::BASE64.decode(base64.as_bytes()).unwrap()
}

fn verify(message: &[u8]) -> Result<Vec<u8>, CmsError> {
    SignedData::parse(message, TYPE)?.verify(TYPE).map(<[u8]>::to_vec)
}

#[test]
fn what_is_signed_verifies_for_each_kind_of_key() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
        let laptop = signatory(&account(), "laptop", algorithm, now());
        let message = sign(TYPE, b"content", &laptop).unwrap();
        assert_eq!(verify(&message).unwrap(), b"content");
        assert_eq!(SignedData::parse(&message, TYPE).unwrap().certificate().unwrap(), laptop.certificate());
    }
}

/// A key of a kind that machines do not have, with a certificate by itself.
struct Foreign<F> {
    spki: Vec<u8>,
    sign: F,
}

impl<F> std::fmt::Debug for Foreign<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Foreign")
    }
}

impl<F: Fn(&[u8]) -> Vec<u8> + Send + Sync> Signer for Foreign<F> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok((self.sign)(message))
    }

    fn spki(&self) -> &[u8] {
        &self.spki
    }
}

fn foreign(pkcs8: &[u8], sign: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Signatory {
    let key = rcgen::KeyPair::try_from(pkcs8).unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().der().to_vec();
    let spki = Parts::of(&certificate).unwrap().spki.to_vec();
    Signatory::new(Arc::new(Foreign { spki, sign }), certificate).unwrap()
}

/// Good as it is; not with another signature, and not with a digest that was not signed over.
fn judge_foreign(how: (Digest, Oid), signatory: &Signatory) {
    let message = sign_with(how, TYPE, b"content", signatory).unwrap();
    assert_eq!(verify(&message).unwrap(), b"content");
    let mut bent = message;
    *bent.last_mut().unwrap() ^= 1;
    assert_eq!(verify(&bent), Err(CmsError::Signature));
    let other = if how.0 == Digest::Sha512 { Digest::Sha256 } else { Digest::Sha512 };
    assert_eq!(verify(&sign_with((other, how.1), TYPE, b"content", signatory).unwrap()), Err(CmsError::Signature));
}

#[test]
fn a_key_over_p384_signs() {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    let card = foreign(pkcs8.as_ref(), move |message| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec());
    // id-ecdsa-with-SHA384, 1.2.840.10045.4.3.3.
    judge_foreign((Digest::Sha384, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3]), &card);
}

#[test]
fn an_rsa_key_signs_with_either_padding_if_the_message_says_which() {
    let pkcs8 = AsDer::<Pkcs8V1Der<'_>>::as_der(&KeyPair::generate(KeySize::Rsa2048).unwrap()).unwrap();
    let ways: [(Digest, Oid, &'static dyn RsaEncoding); 5] = [
        (Digest::Sha256, oid::RSA_PSS, &RSA_PSS_SHA256),
        (Digest::Sha384, oid::RSA_PSS, &RSA_PSS_SHA384),
        (Digest::Sha512, oid::RSA_PSS, &RSA_PSS_SHA512),
        (Digest::Sha256, oid::SHA256_WITH_RSA, &RSA_PKCS1_SHA256),
        (Digest::Sha512, oid::RSA, &RSA_PKCS1_SHA512),
    ];
    for (digest, padding, encoding) in ways {
        let key = KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let card = foreign(pkcs8.as_ref(), move |message| {
            let mut signature = vec![0; key.public_modulus_len()];
            key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        });
        judge_foreign((digest, padding), &card);
        let misnamed = if padding == oid::RSA_PSS { oid::SHA256_WITH_RSA } else { oid::RSA_PSS };
        assert_eq!(verify(&sign_with((digest, misnamed), TYPE, b"content", &card).unwrap()), Err(CmsError::Signature));
    }
}

#[test]
fn mits_signatures_verify_under_the_wrong_name_that_they_carry() {
    for message in [captured::P256, captured::RSA] {
        let message = decode(message);
        let content = verify(&message).unwrap();
        let pack = AuthPack::parse(&content).unwrap();
        assert_eq!(pack.supported_kdfs.unwrap().len(), 3);
        assert!(pack.authenticator.freshness_token.is_some() && pack.client_dh_nonce.is_none());
        let mut bent = message.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert_eq!(verify(&bent), Err(CmsError::Signature));
    }
}

#[test]
fn mits_ed25519_signature_is_none() {
    assert_eq!(verify(&decode(captured::ED25519)), Err(CmsError::Signature));
}

#[test]
fn mits_anonymous_message_is_read_but_never_verified() {
    let message = decode(captured::ANONYMOUS);
    let signed = SignedData::parse(&message, TYPE).unwrap();
    assert!(!signed.is_signed() && AuthPack::parse(signed.content()).is_ok());
    assert_eq!(signed.verify(TYPE), Err(CmsError::Unsigned));
    assert_eq!(SignedData::parse(&unsigned(TYPE, b"x"), TYPE).unwrap().content(), b"x");
}

#[test]
fn content_of_another_type_is_refused_inside_and_in_the_attributes() {
    let laptop = signatory(&account(), "laptop", KeyAlgorithm::EcdsaP256, now());
    let message = sign(oid::DATA, b"content", &laptop).unwrap();
    assert_eq!(verify(&message), Err(CmsError::ContentType));
    // The type outside the signature changed, the one inside not.
    let at = message.windows(oid::DATA.len()).position(|octets| octets == oid::DATA).unwrap();
    let mut relabelled = message.clone();
    relabelled[at + oid::DATA.len() - 1] ^= 4;
    let other = relabelled[at..at + oid::DATA.len()].to_vec();
    assert_eq!(SignedData::parse(&relabelled, &other).unwrap().verify(&other), Err(CmsError::ContentType));
}

#[test]
fn a_signature_over_anything_but_known_attributes_is_none() {
    let laptop = signatory(&account(), "laptop", KeyAlgorithm::EcdsaP256, now());
    let how = VerifyingKey::from_spki(laptop.spki()).unwrap().kind.signs_with();
    let known =
        || vec![attribute(oid::CONTENT_TYPE, &der::oid(TYPE)), attribute(oid::MESSAGE_DIGEST, &der::octets(how.0.of(b"content").as_ref()))];
    let judge = |attributes: Vec<Vec<u8>>| verify(&sign_attributes(how, attributes, TYPE, b"content", &laptop).unwrap());
    let with = |attribute: Vec<u8>| judge([known(), vec![attribute]].concat());
    let time = der::value(der::UTC_TIME, &[b"270101000000Z"]);
    assert_eq!(judge(known()).unwrap(), b"content");
    assert_eq!(with(attribute(oid::SIGNING_TIME, &time)).unwrap(), b"content");
    // What IKE_AUTH signs could be read as the first of these: it begins as its peer likes, and ends in octets of nobody's choice.
    for strange in [
        der::sequence(&[&der::oid(&[0x55; 200])]),
        attribute(&[0x2a, 4], &der::octets(b"swallowed")),
        attribute(oid::SIGNING_TIME, &der::octets(b"swallowed")),
        attribute(oid::SIGNING_TIME, &[time.clone(), time.clone()].concat()),
        attribute(oid::CONTENT_TYPE, &der::oid(TYPE)),
        der::sequence(&[&der::oid(oid::SIGNING_TIME), &der::value(der::SET, &[&time]), &der::octets(b"swallowed")]),
    ] {
        assert!(matches!(with(strange), Err(CmsError::Malformed(_))));
    }
}

#[test]
fn changed_content_is_told_from_a_wrong_signature() {
    let laptop = signatory(&account(), "laptop", KeyAlgorithm::EcdsaP256, now());
    let message = sign(TYPE, b"content", &laptop).unwrap();
    let at = message.windows(7).position(|octets| octets == b"content").unwrap();
    let mut changed = message.clone();
    changed[at] = b'k';
    assert_eq!(verify(&changed), Err(CmsError::Changed));
    let thief = Signatory { key: Arc::new(MachineKey::generate(KeyAlgorithm::EcdsaP256).unwrap()), ..laptop };
    assert_eq!(verify(&sign(TYPE, b"content", &thief).unwrap()), Err(CmsError::Signature));
}

#[test]
fn a_certificate_that_is_not_the_signers_does_not_help() {
    let account = account();
    let [laptop, imac] = ["laptop", "imac"].map(|name| signatory(&account, name, KeyAlgorithm::EcdsaP256, now()));
    let message = sign(TYPE, b"content", &laptop).unwrap();
    let swapped = replace(&message, laptop.certificate(), imac.certificate());
    assert_eq!(verify(&swapped), Err(CmsError::NoCertificate));
    assert_eq!(Signatory::new(laptop.key.clone(), imac.certificate().to_vec()).unwrap_err(), CmsError::OtherKey);
}

/// The message with another certificate, all lengths put right.
fn replace(message: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let signed = SignedData::parse(message, TYPE).unwrap();
    let at = message.windows(old.len()).position(|octets| octets == old).unwrap();
    let signer = Value::only(&message[at + old.len()..], der::SET, "signers").unwrap().contents;
    content_info(&der::algorithm(oid::SHA256), TYPE, signed.content(), &der::explicit(0, new), signer)
}

#[test]
fn a_digest_that_can_be_forged_is_refused() {
    let laptop = signatory(&account(), "laptop", KeyAlgorithm::EcdsaP256, now());
    let message = sign(TYPE, b"content", &laptop).unwrap();
    let digest = der::algorithm(oid::SHA256);
    let last = message.windows(digest.len()).rposition(|octets| octets == digest).unwrap();
    let mut other = message.clone();
    // id-sha224: of the same length, and not in the list.
    other[last + digest.len() - 1] = 4;
    assert_eq!(verify(&other), Err(CmsError::Digest));
}

#[test]
fn several_signers_and_too_many_certificates_are_refused() {
    let laptop = signatory(&account(), "laptop", KeyAlgorithm::EcdsaP256, now());
    let message = sign(TYPE, b"content", &laptop).unwrap();
    let at = message.windows(laptop.certificate().len()).position(|octets| octets == laptop.certificate()).unwrap();
    let signer = Value::only(&message[at + laptop.certificate().len()..], der::SET, "signers").unwrap().contents.to_vec();
    let build = |certificates: usize, signers: usize| {
        let certificates = der::value(der::context(0), &vec![laptop.certificate(); certificates]);
        content_info(&der::algorithm(oid::SHA256), TYPE, b"content", &certificates, &vec![signer.as_slice(); signers].concat())
    };
    assert_eq!(verify(&build(MAX_CERTIFICATES, 1)).unwrap(), b"content");
    assert_eq!(verify(&build(1, 2)), Err(CmsError::SeveralSigners));
    assert!(matches!(verify(&build(MAX_CERTIFICATES + 1, 1)), Err(CmsError::Malformed(_))));
    assert_eq!(verify(&build(0, 1)), Err(CmsError::NoCertificate));
    assert_eq!(verify(&build(1, 0)), Err(CmsError::Unsigned));
}
