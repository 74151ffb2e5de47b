use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use rasn_kerberos::{EncTicketPart, KdcOptions, KdcReqBody, KrbError, MethodData, PaData, Ticket, TicketFlags, TransitedEncoding};
use zeroize::Zeroizing;

use super::armor::Tgs;
use super::challenge::Challenge;
use super::client::{ArmorTicket, Inside};
use super::envelope::{key_to_message, seal};
use super::kdc::{open_as, open_tgs};
use super::*;
use crate::entropy::SystemEntropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::name::Principal;

const REALM: &str = "LKDC:SHA256.00";
const SKEW: Duration = Duration::from_secs(300);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(1_800_000_000_000_123)
}

fn key(etype: Etype) -> Key {
    Key::random(etype, &mut SystemEntropy)
}

/// A realm with one ticket for its ticket-granting service.
struct World {
    tgs_key: Key,
    session: Key,
    client: Principal,
    ticket: Ticket,
}

impl World {
    fn new(etype: Etype) -> Self {
        Self::with(etype, Principal::krbtgt(REALM), 0, Duration::from_secs(3600))
    }

    fn with(etype: Etype, service: Principal, flags: u32, life: Duration) -> Self {
        let (tgs_key, session, client) = (key(etype), key(etype), Principal::anonymous());
        let part = EncTicketPart {
            flags: TicketFlags(asn1::flags(flags)),
            key: key_to_message(&session),
            crealm: asn1::string(crate::lkdc::name::ANONYMOUS_REALM),
            cname: client.to_message(),
            transited: TransitedEncoding { r#type: 1, contents: Vec::new().into() },
            auth_time: asn1::time(now()),
            start_time: None,
            end_time: asn1::time(now() + life),
            renew_till: None,
            caddr: None,
            authorization_data: None,
        };
        let mut enc_part = seal(&tgs_key, usage::TICKET, &asn1::encode(&part), &mut SystemEntropy);
        enc_part.kvno = Some(2);
        let ticket = Ticket { tkt_vno: 5.into(), realm: asn1::string(REALM), sname: service.to_message(), enc_part };
        Self { tgs_key, session, client, ticket }
    }

    fn armor(&self, at: SystemTime) -> Armor {
        let realm = crate::lkdc::name::ANONYMOUS_REALM;
        let with = ArmorTicket { ticket: &self.ticket, session: &self.session, realm, client: &self.client };
        Armor::of_ticket(with, at, &mut SystemEntropy)
    }

    fn open(&self, pa: &PaData, outer: &[u8], at: SystemTime) -> Result<FastRequest, FastError> {
        let keys = |etype, kvno| (etype == self.tgs_key.etype() && kvno == Some(2)).then(|| self.tgs_key.clone());
        open_as(&pa.value, outer, Tgs { realm: REALM, keys: &keys, skew: SKEW }, at)
    }
}

fn body(nonce: u32) -> KdcReqBody {
    KdcReqBody {
        kdc_options: KdcOptions(asn1::flags(0)),
        cname: Some(Principal::user("alice").to_message()),
        realm: asn1::string(REALM),
        sname: Some(Principal::krbtgt(REALM).to_message()),
        from: None,
        till: asn1::time(now()),
        rtime: None,
        nonce,
        etype: vec![18],
        addresses: None,
        enc_authorization_data: None,
        additional_tickets: None,
    }
}

fn proof() -> PaData {
    PaData { r#type: 2, value: b"proof".to_vec().into() }
}

fn request(armor: &Armor, options: u32, outer: &[u8]) -> PaData {
    let inner = Inside { options: FastOptions(options), padata: &[proof()], body: &body(7) };
    armor.request(&inner, outer, &mut SystemEntropy)
}

#[test]
fn a_request_comes_out_of_its_armor_as_it_went_in_with_every_etype() {
    for etype in Etype::ALL {
        let world = World::new(etype);
        let armor = world.armor(now());
        let pa = request(&armor, FastOptions::HIDE_CLIENT_NAMES, b"outer");
        let inner = world.open(&pa, b"outer", now()).unwrap();
        assert_eq!((inner.padata.as_slice(), &inner.body), ([proof()].as_slice(), &body(7)));
        assert_eq!(inner.raw_body, asn1::encode(&body(7)));
        assert!(inner.options.hides_client());
        assert!(inner.armored_by.as_ref().unwrap().client.is_anonymous());
        assert_eq!(inner.armor_key(), armor.key());
    }
}

#[test]
fn armor_keeps_no_hold_on_what_was_put_into_it() {
    let armor = World::new(Etype::Aes256CtsHmacSha1_96).armor(now());
    let padata = [proof()];
    armor.request(&Inside { options: FastOptions(0), padata: &padata, body: &body(7) }, b"outer body", &mut SystemEntropy);
    // Octets that are the caller's alone can be written to, so they can be overwritten.
    let [proof] = padata;
    assert!(bytes::Bytes::from(proof.value).try_into_mut().is_ok());
}

#[test]
fn a_reply_is_vouched_for_and_its_key_strengthened() {
    let world = World::new(Etype::Aes256CtsHmacSha1_96);
    let armor = world.armor(now());
    let inner = world.open(&request(&armor, 0, b"outer"), b"outer", now()).unwrap();
    let long_term = key(Etype::Aes128CtsHmacSha256_128);
    let alice = Principal::user("alice");
    let end = Finished { realm: REALM, client: &alice, ticket: b"ticket" };
    let reply = inner.reply(&long_term, vec![proof()], end, now(), &mut SystemEntropy);
    let padata = [reply.padata];
    let vouched = armor.open_reply(&padata, 7, b"ticket").unwrap();
    assert_eq!((vouched.realm.as_str(), &vouched.client, vouched.padata.as_slice()), (REALM, &alice, [proof()].as_slice()));
    assert_eq!(vouched.reply_key(&long_term), reply.reply_key);
    assert_ne!(reply.reply_key, long_term);
    assert!(armor.open_reply(&padata, 7, b"another ticket").is_err());
    assert_eq!(armor.open_reply(&padata, 8, b"ticket").unwrap_err(), FastError::Nonce);
    assert_eq!(armor.open_reply(&[proof()], 7, b"ticket").unwrap_err(), FastError::NotArmored);
    assert!(world.armor(now()).open_reply(&padata, 7, b"ticket").is_err());
}

#[test]
fn an_error_travels_inside_the_armor_and_brings_a_cookie() {
    let world = World::new(Etype::Aes256CtsHmacSha384_192);
    let armor = world.armor(now());
    let inner = world.open(&request(&armor, 0, b"outer"), b"outer", now()).unwrap();
    let mut error = error(25);
    let pa = inner.error(&asn1::encode(&KrbError { e_data: None, ..error.clone() }), vec![proof()], &mut SystemEntropy);
    error.error_code = 60;
    error.e_data = Some(asn1::encode::<MethodData>(&vec![pa]).into());
    let (meant, padata) = armor.open_error(&error, 7).unwrap();
    assert_eq!((meant.error_code, meant.e_data), (25, None));
    assert_eq!(padata.iter().map(|pa| pa.r#type).collect::<Vec<_>>(), [2, PA_FX_COOKIE]);
    error.e_data = None;
    assert_eq!(armor.open_error(&error, 7).unwrap_err(), FastError::NotArmored);
}

fn error(code: i32) -> KrbError {
    KrbError {
        pvno: 5.into(),
        msg_type: 30.into(),
        ctime: None,
        cusec: None,
        stime: asn1::time(now()),
        susec: 0.into(),
        error_code: code,
        crealm: None,
        cname: None,
        realm: asn1::string(REALM),
        sname: Principal::krbtgt(REALM).to_message(),
        e_text: None,
        e_data: Some(b"\x30\x00".to_vec().into()),
    }
}

#[test]
fn what_is_not_armor_for_this_service_now_is_refused() {
    let etype = Etype::Aes256CtsHmacSha1_96;
    let life = Duration::from_secs(3600);
    let world = World::new(etype);
    let open = |world: &World, at| world.open(&request(&world.armor(at), 0, b"outer"), b"outer", now()).map(drop);
    assert_eq!(open(&world, now() + SKEW), Ok(()));
    assert!(matches!(open(&world, now() + SKEW * 2), Err(FastError::Skew(_))));
    assert!(matches!(open(&world, now() - SKEW * 2), Err(FastError::Skew(_))));
    let late = now() + life + SKEW + Duration::from_secs(1);
    let pa = request(&world.armor(late), 0, b"outer");
    assert_eq!(world.open(&pa, b"outer", late).map(drop), Err(FastError::TicketTime));
    let invalid = World::with(etype, Principal::krbtgt(REALM), asn1::flags::bit(7), life);
    assert_eq!(open(&invalid, now()), Err(FastError::TicketTime));
    let other = World::with(etype, Principal::krbtgt("ELSEWHERE"), 0, life);
    assert_eq!(open(&other, now()), Err(FastError::NotTgs("krbtgt/ELSEWHERE".to_owned())));
    let host = World::with(etype, Principal::service("host", "imac"), 0, life);
    assert!(matches!(open(&host, now()), Err(FastError::NotTgs(_))));
    let mut kvno = World::new(etype);
    kvno.ticket.enc_part.kvno = Some(1);
    assert_eq!(open(&kvno, now()), Err(FastError::NoKey { etype: 18, kvno: Some(1) }));
    let mut impostor = World::new(etype);
    impostor.client = Principal::user("mallory");
    assert_eq!(open(&impostor, now()), Err(FastError::Mismatch));
}

#[test]
fn what_the_armor_does_not_cover_is_noticed() {
    let world = World::new(Etype::Aes256CtsHmacSha1_96);
    let armor = world.armor(now());
    assert!(matches!(world.open(&request(&armor, 0, b"outer"), b"other", now()), Err(FastError::Crypto(_))));
    assert_eq!(
        world.open(&request(&armor, asn1::flags::bit(5), b"outer"), b"outer", now()).map(drop),
        Err(FastError::CriticalOption(asn1::flags::bit(5)))
    );
    // kdc-follow-referrals, bit 16, may be ignored.
    assert!(world.open(&request(&armor, asn1::flags::bit(16), b"outer"), b"outer", now()).is_ok());
    let bare = Armor::of_tgs(&key(Etype::Aes256CtsHmacSha1_96), &world.session);
    assert_eq!(world.open(&request(&bare, 0, b"outer"), b"outer", now()).map(drop), Err(FastError::NoArmor));
}

#[test]
fn a_tgs_request_is_its_own_armor() {
    let (subkey, session) = (key(Etype::Aes128CtsHmacSha1_96), key(Etype::Aes256CtsHmacSha384_192));
    let armor = Armor::of_tgs(&subkey, &session);
    let pa = request(&armor, 0, b"ap-req");
    let inner = open_tgs(&pa.value, b"ap-req", Some(&subkey), &session).unwrap();
    assert!(inner.armored_by.is_none());
    assert_eq!(open_tgs(&pa.value, b"ap-req", None, &session).map(drop), Err(FastError::NoSubkey));
    assert!(open_tgs(&pa.value, b"other", Some(&subkey), &session).is_err());
    let explicit = request(&World::new(Etype::Aes256CtsHmacSha1_96).armor(now()), 0, b"ap-req");
    assert_eq!(open_tgs(&explicit.value, b"ap-req", Some(&subkey), &session).map(drop), Err(FastError::ArmorInTgs));
}

#[test]
fn an_encrypted_challenge_proves_both_sides_and_not_the_one_for_the_other() {
    for etype in Etype::ALL {
        let (armor, long_term, wrong) = (key(Etype::Aes256CtsHmacSha1_96), key(etype), key(etype));
        let both = Challenge { armor: &armor, long_term: &long_term };
        let proof = both.prove(now(), &mut SystemEntropy);
        assert!(both.verify(&proof, now() + SKEW, SKEW).is_ok_and(|once| proof.ends_with(&once)));
        assert!(matches!(both.verify(&proof, now() + SKEW * 2, SKEW), Err(FastError::Skew(_))));
        assert!(Challenge { armor: &armor, long_term: &wrong }.verify(&proof, now(), SKEW).is_err());
        let answer = both.answer(now(), &mut SystemEntropy);
        assert_eq!(both.verify_answer(&answer), Ok(()));
        assert!(both.verify_answer(&proof).is_err());
        assert!(both.verify(&answer, now(), SKEW).is_err());
    }
}

#[test]
fn a_cookie_is_for_one_client_and_ten_minutes() {
    let jar = CookieJar::new(key(Etype::Aes256CtsHmacSha384_192));
    let (alice, bob) = (Principal::user("alice"), Principal::user("bob"));
    let mut cookie = Cookie::of(151, Zeroizing::new(b"scalar".to_vec()));
    cookie.push(141, Zeroizing::new(Vec::new()));
    let sealed = [jar.seal(&cookie, &alice, now(), &mut SystemEntropy)];
    let opened = jar.open(&sealed, &alice, now() + cookie::LIFETIME).unwrap().unwrap();
    assert_eq!((opened.get(151), opened.get(141), opened.get(2)), (Some(b"scalar".as_slice()), Some([].as_slice()), None));
    assert_eq!(jar.open(&sealed, &bob, now()), Err(FastError::ForeignCookie));
    let late = now() + cookie::LIFETIME + Duration::from_secs(1);
    assert_eq!(jar.open(&sealed, &alice, late), Err(FastError::CookieExpired));
    let other = CookieJar::new(key(Etype::Aes256CtsHmacSha384_192));
    assert_eq!(other.open(&sealed, &alice, now()), Err(FastError::ForeignCookie));
    assert_eq!(jar.open(&[proof()], &alice, now()), Ok(None));
    assert!(!format!("{cookie:?}").contains("scalar"));
}

proptest! {
    #[test]
    fn any_octets_are_refused_as_armor(value: Vec<u8>, outer: Vec<u8>) {
        let world = World::new(Etype::Aes256CtsHmacSha1_96);
        let pa = PaData { r#type: PA_FX_FAST, value: value.clone().into() };
        prop_assert!(world.open(&pa, &outer, now()).is_err());
        prop_assert!(world.armor(now()).open_reply(&[pa], 7, &outer).is_err());
        let jar = CookieJar::new(world.session.clone());
        let cookie = PaData { r#type: PA_FX_COOKIE, value: value.into() };
        prop_assert!(jar.open(&[cookie], &world.client, now()).is_err());
    }

    #[test]
    fn one_damaged_octet_is_noticed(place: prop::sample::Index, flip in 1..=255_u8) {
        let world = World::new(Etype::Aes256CtsHmacSha1_96);
        let pa = request(&world.armor(now()), 0, b"outer");
        let mut value = pa.value.to_vec();
        *place.get_mut(&mut value) ^= flip;
        let damaged = PaData { r#type: PA_FX_FAST, value: value.into() };
        if let Ok(inner) = world.open(&damaged, b"outer", now()) {
            // Octets that say nothing, such as the ticket's name type or the AP-REQ's options, may differ; what was asked may not.
            prop_assert_eq!(&inner.body, &body(7));
            prop_assert_eq!(&inner.padata, &[proof()]);
        }
    }
}
