use data_encoding::HEXUPPER;
use proptest::prelude::*;
use rasn_kerberos::EncryptedData;

use super::asn1::{PaSpake, SpakeResponse, SpakeSecondFactor};
use super::client::{Client, Next};
use super::kdc::{Challenge, Message, challenge, finish, read};
use super::*;
use crate::entropy::{Entropy, SystemEntropy};
use crate::lkdc::asn1::{decode, encode};
use crate::lkdc::crypto::spake_group::SpakeGroup;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::fast::envelope::seal;

const BODY: &[u8] = b"body";

fn key(etype: Etype) -> Key {
    Key::random(etype, &mut SystemEntropy)
}

fn response(value: &[u8]) -> SpakeResponse {
    match read(value).unwrap() {
        Message::Response(response) => response,
        Message::Support(group) => panic!("support for {group:?}"),
    }
}

fn answered(client: &mut Client, challenge: &Challenge, initial: &Key) -> (Vec<u8>, Key) {
    match client.challenged(&challenge.message, initial, BODY, &mut SystemEntropy).unwrap() {
        Next::Respond { message, reply_key } => (message, reply_key),
        Next::Support(_) => panic!("asked for another group"),
    }
}

#[test]
fn both_sides_come_to_the_same_key_with_every_etype_and_group() {
    for etype in Etype::ALL {
        for group in SpakeGroup::ALL {
            let initial = key(etype);
            let mut client = Client::new();
            let support = client.support();
            assert!(matches!(read(&support), Ok(Message::Support(SpakeGroup::Edwards25519))));
            let challenge = challenge(group, &initial, Some(&support), &mut SystemEntropy);
            let (message, reply_key) = answered(&mut client, &challenge, &initial);
            let response = response(&message);
            assert_eq!(finish(&response, &challenge.secret, &initial, BODY).unwrap(), reply_key);
            assert_eq!(finish(&response, &challenge.secret, &initial, b"other body"), Err(SpakeError::WrongKey));
            assert_eq!(finish(&response, &challenge.secret, &key(etype), BODY).unwrap_err(), SpakeError::WrongKey);
        }
    }
}

#[test]
fn a_challenge_that_nobody_asked_for_is_answered_or_another_group_asked_for() {
    let initial = key(Etype::Aes256CtsHmacSha1_96);
    let first = challenge(SpakeGroup::Edwards25519, &initial, None, &mut SystemEntropy);
    let (message, reply_key) = answered(&mut Client::new(), &first, &initial);
    assert_eq!(finish(&response(&message), &first.secret, &initial, BODY).unwrap(), reply_key);

    // RFC 9588, appendix B: a challenge in P-521 (4), which is not spoken here.
    let mut client = Client::new();
    let p521 = encode(&PaSpake::Challenge(asn1::SpakeChallenge { group: 4, pubkey: vec![2; 67].into(), factors: Vec::new() }));
    let Ok(Next::Support(support)) = client.challenged(&p521, &initial, BODY, &mut SystemEntropy) else { panic!("went on") };
    let second = challenge(SpakeGroup::P256, &initial, Some(&support), &mut SystemEntropy);
    let (message, reply_key) = answered(&mut client, &second, &initial);
    assert_eq!(finish(&response(&message), &second.secret, &initial, BODY).unwrap(), reply_key);
    let again = client.challenged(&p521, &initial, BODY, &mut SystemEntropy);
    assert!(matches!(again, Err(SpakeError::NoGroup(groups)) if groups == [4]));
}

#[test]
fn what_is_out_of_turn_or_of_another_kind_is_refused() {
    let initial = key(Etype::Aes256CtsHmacSha1_96);
    let mut client = Client::new();
    let made = challenge(SpakeGroup::Edwards25519, &initial, None, &mut SystemEntropy);
    assert!(matches!(read(&made.message), Err(SpakeError::OutOfTurn)));
    let support = client.support();
    assert!(matches!(client.challenged(&support, &initial, BODY, &mut SystemEntropy), Err(SpakeError::OutOfTurn)));
    let only_p521 = encode(&PaSpake::Support(asn1::SpakeSupport { groups: vec![4] }));
    assert!(matches!(read(&only_p521), Err(SpakeError::NoGroup(groups)) if groups == [4]));
    let factors = vec![SpakeSecondFactor { r#type: 7, data: None }];
    let factor = encode(&PaSpake::Challenge(asn1::SpakeChallenge { group: 1, pubkey: vec![0; 32].into(), factors }));
    assert!(matches!(client.challenged(&factor, &initial, BODY, &mut SystemEntropy), Err(SpakeError::NoFactor(types)) if types == [7]));

    let (message, _) = answered(&mut Client::new(), &made, &initial);
    let response = response(&message);
    let other = Etype::Aes128CtsHmacSha256_128;
    assert_eq!(finish(&response, &made.secret, &key(other), BODY), Err(SpakeError::KeyChanged(other)));
    assert!(matches!(finish(&response, &made.secret[1..], &initial, BODY), Err(SpakeError::Cookie(_))));
    let nonsense = SpakeResponse { pubkey: vec![1; 31].into(), factor: response.factor.clone() };
    assert!(matches!(finish(&nonsense, &made.secret, &initial, BODY), Err(SpakeError::Crypto(_))));
}

/// Gives the scalar of a vector.
struct Fixed(Vec<u8>);

impl Entropy for Fixed {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

/// The little-endian number without its factor 8, which the group operations put in.
fn eighth(number: &[u8]) -> Vec<u8> {
    let above = number.iter().skip(1).chain([&0]);
    number.iter().zip(above).map(|(low, high)| low >> 3 | high << 5).collect()
}

fn unhex(hex: &str) -> Vec<u8> {
    HEXUPPER.decode(hex.as_bytes()).unwrap()
}

/// RFC 9588, appendix B: "AES256 edwards25519".
mod vector {
    pub const INITIAL: &str = "01B897121D933AB44B47EB5494DB15E50EB74530DBDAE9B634D65020FF5D88C1";
    pub const X: &str = "88C6C0A4F0241EF217C9788F02C32D00B72E4310748CD8FB5F94717607E6417D";
    pub const S: &str = "9E2CC32908FC46273279EC75354B4AEAFA70C3D99A4D507175ED70D80B255DDA";
    pub const SUPPORT: &str = "A0093007A0053003020101";
    pub const CHALLENGE: &str =
        "A1363034A003020101A12204206F301AACAE1220E91BE42868C163C5009AEEA1E9D9E28AFCFC339CDA5E7105B5A20930073005A003020101";
    pub const BODY: &str = concat!(
        "3075A00703050000000000A1143012A003020101A10B30091B077261656275726EA2101B0E415448454E412E4D49542E454455A3233021A003020102",
        "A11A30181B066B72627467741B0E415448454E412E4D49542E454455A511180F31393730303130313030303030305AA703020100A8053003020112",
    );
    pub const K0: &str = "A9BFA71C95C575756F922871524B65288B3F695573CCC0633E87449568210C23";
    pub const K1: &str = "1865A9EE1EF0640EC28AC007391CAC624C42639C714767A974E99AA10003015F";
}

#[test]
fn the_messages_of_rfc_9588_appendix_b_are_made_and_taken() {
    let etype = Etype::Aes256CtsHmacSha1_96;
    let initial = Key::new(etype, &unhex(vector::INITIAL)).unwrap();
    let support = unhex(vector::SUPPORT);
    assert!(matches!(read(&support), Ok(Message::Support(SpakeGroup::Edwards25519))));
    let made = challenge(SpakeGroup::Edwards25519, &initial, Some(&support), &mut Fixed(eighth(&unhex(vector::X))));
    assert_eq!(HEXUPPER.encode(&made.message), vector::CHALLENGE);
    let factor = encode(&SpakeSecondFactor { r#type: SF_NONE, data: None });
    let factor: EncryptedData = seal(&Key::new(etype, &unhex(vector::K1)).unwrap(), usage::SPAKE, &factor, &mut SystemEntropy);
    let response = SpakeResponse { pubkey: unhex(vector::S).into(), factor };
    let reply_key = finish(&response, &made.secret, &initial, &unhex(vector::BODY)).unwrap();
    assert_eq!(HEXUPPER.encode(reply_key.bytes()), vector::K0);
}

proptest! {
    #[test]
    fn any_octets_are_refused_or_read_back(value: Vec<u8>) {
        if read(&value).is_ok() {
            prop_assert_eq!(encode(&decode::<PaSpake>(&value).unwrap()), value.clone());
        }
        let initial = key(Etype::Aes256CtsHmacSha1_96);
        prop_assert!(Client::new().challenged(&value, &initial, BODY, &mut SystemEntropy).is_err());
    }
}
