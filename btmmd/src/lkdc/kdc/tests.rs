//! The exchanges, with a client made by hand from the message types.

use std::time::{Duration, UNIX_EPOCH};

use rasn_kerberos::{
    ApOptions, ApReq, AsRep, AsReq, Authenticator, Checksum, EncAsRepPart, EncKdcRepPart, EncTgsRepPart, EncryptedData, KdcOptions, KdcRep,
    KdcReq, KdcReqBody, KrbError, MethodData, PaData, PaEncTsEnc, TgsRep, TgsReq, Ticket,
};

use super::event::Transport;
use super::options::Flags;
use super::preauth::pa;
use super::*;
use crate::entropy::SystemEntropy;
use crate::lkdc::crypto::{Key, usage};
use crate::lkdc::name::APPLE_LKDC;
use crate::lkdc::principals::{Strength, VersionedKeys};

mod armored;
mod further;
mod initial;

pub(crate) const NOW: u64 = 1_800_000_000;
const PASSWORD: &[u8] = b"correct horse";
const HOST: &str = "imac.alice.btmm.internal";
/// Another machine of the account, which proves itself by its certificate.
const LAPTOP: &str = "laptop.alice.btmm.internal";

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn source() -> Source {
    Source { address: "[fd00::7]:4711".parse().unwrap(), transport: Transport::Udp }
}

fn realm() -> RealmName {
    RealmName::of_key(b"the key of imac")
}

fn salt() -> String {
    format!("{}alice", realm())
}

fn keys(kvno: u32, keys: Vec<Key>, salt: Option<String>) -> VersionedKeys {
    VersionedKeys { kvno, keys: keys.into(), salt, since: UNIX_EPOCH, until: None }
}

fn random_keys() -> VersionedKeys {
    keys(3, Etype::ALL.map(|etype| Key::random(etype, &mut SystemEntropy)).to_vec(), None)
}

fn password_key(etype: Etype) -> Key {
    Key::from_password(etype, PASSWORD, salt().as_bytes(), None).unwrap()
}

/// A KDC that knows alice, bob, a service with keys of every type, and one that wants a certificate.
pub(crate) fn kdc() -> Kdc {
    let principals = Principals::new();
    let add = |name: Principal, kind: Kind, versioned: VersionedKeys, change: fn(&mut Entry)| {
        let mut entry = Entry::new(name, kind);
        entry.keys = smallvec::smallvec![versioned];
        change(&mut entry);
        principals.insert(entry);
    };
    let user = || Kind::User { local: None };
    let alice = [Etype::Aes256CtsHmacSha1_96, Etype::Aes128CtsHmacSha1_96].map(password_key).to_vec();
    add(Principal::krbtgt(realm().as_str()), Kind::Krbtgt, random_keys(), |_| {});
    add(Principal::user("alice"), user(), keys(2, alice.clone(), Some(salt())), |_| {});
    add(Principal::user("bob"), user(), keys(1, alice, Some(salt())), |_| {});
    add(Principal::user("gone"), user(), random_keys(), |entry| entry.enabled = false);
    add(Principal::service("host", HOST), Kind::Service, random_keys(), |_| {});
    add(Principal::service("vnc", HOST), Kind::Service, random_keys(), |entry| entry.strength = vec![Strength::Certificate]);
    add(Principal::service("nfs", HOST), Kind::Service, random_keys(), |entry| entry.enabled = false);
    principals.insert(Entry::new(Principal::service("host", LAPTOP), Kind::Machine));
    let settings = Settings { realm: realm(), policy: Policy::default(), host: HOST.to_owned() };
    Kdc::new(settings, principals, vec![Box::new(timestamp::EncryptedTimestamp)])
}

fn ask(kdc: &Kdc, request: &[u8]) -> Answer {
    kdc.answer(request, source(), now(), &mut SystemEntropy)
}

/// What an AS-REQ asks for.
#[derive(Clone)]
struct Wish {
    client: Option<Principal>,
    realm: String,
    service: Principal,
    options: Flags,
    till: u64,
    etypes: Vec<i32>,
    nonce: u32,
}

impl Wish {
    fn tgt(user: &str) -> Self {
        Self {
            client: Some(Principal::user(user)),
            realm: realm().to_string(),
            service: Principal::krbtgt(realm().as_str()),
            options: Flags::FORWARDABLE.with(Flags::RENEWABLE).with(Flags::PROXIABLE),
            till: 0,
            etypes: vec![18, 17],
            nonce: 4711,
        }
    }

    fn body(&self) -> KdcReqBody {
        KdcReqBody {
            kdc_options: KdcOptions(asn1::flags(self.options.0)),
            cname: self.client.as_ref().map(Principal::to_message),
            realm: asn1::string(&self.realm),
            sname: Some(self.service.to_message()),
            from: None,
            till: time::from_seconds(self.till),
            rtime: None,
            nonce: self.nonce,
            etype: self.etypes.clone(),
            addresses: None,
            enc_authorization_data: None,
            additional_tickets: None,
        }
    }
}

fn as_req(wish: &Wish, padata: Vec<PaData>) -> Vec<u8> {
    asn1::encode(&AsReq(KdcReq { pvno: 5.into(), msg_type: 10.into(), padata: Some(padata), req_body: wish.body() }))
}

/// An AS-REQ without a proof.
pub(crate) fn as_request(user: &str) -> Vec<u8> {
    as_req(&Wish::tgt(user), Vec::new())
}

/// An AS-REQ with names that make even its refusal large.
pub(crate) fn large_request() -> Vec<u8> {
    as_req(&Wish { service: Principal::user(&"x".repeat(1024)), ..Wish::tgt(&"/".repeat(1024)) }, Vec::new())
}

fn timestamp(key: &Key, seconds: u64) -> PaData {
    let stamp = PaEncTsEnc { patimestamp: time::from_seconds(seconds), pausec: Some(5.into()) };
    let cipher = key.encrypt(usage::PA_ENC_TIMESTAMP, &asn1::encode(&stamp), &mut SystemEntropy);
    let data = EncryptedData { etype: key.etype().number(), kvno: None, cipher: cipher.into() };
    PaData { r#type: pa::ENC_TIMESTAMP, value: asn1::encode(&data).into() }
}

fn refusal(answer: &Answer) -> (KrbError, ErrorCode) {
    let error: KrbError = asn1::decode(&answer.reply).expect("a KRB-ERROR");
    let code = ErrorCode(error.error_code);
    (error, code)
}

fn methods(error: &KrbError) -> MethodData {
    asn1::decode(error.e_data.as_deref().expect("e-data")).expect("METHOD-DATA")
}

/// A ticket as its client holds it.
struct Held {
    ticket: Ticket,
    session: Key,
    part: EncKdcRepPart,
    reply: KdcRep,
}

impl Held {
    fn flags(&self) -> Flags {
        Flags(asn1::flag_bits(&self.part.flags.0))
    }
}

fn held(reply: KdcRep, part: EncKdcRepPart) -> Held {
    let session = Key::new(Etype::from_number(part.key.r#type).unwrap(), &part.key.value).unwrap();
    Held { ticket: reply.ticket.clone(), session, part, reply }
}

fn initial(kdc: &Kdc, wish: &Wish) -> Held {
    let key = password_key(Etype::Aes256CtsHmacSha1_96);
    let reply = ask(kdc, &as_req(wish, vec![timestamp(&key, NOW)])).reply;
    let AsRep(reply) = asn1::decode(&reply).expect("an AS-REP");
    let plain = key.decrypt(usage::AS_REP, &reply.enc_part.cipher).unwrap();
    let EncAsRepPart(part) = asn1::decode(&plain).unwrap();
    held(reply, part)
}

/// A TGS-REQ paid for with `tgt`.
fn tgs_req(tgt: &Held, body: KdcReqBody, subkey: Option<&Key>, change: impl FnOnce(&mut Authenticator)) -> Vec<u8> {
    let checksum = tgt.session.checksum(usage::TGS_REQ_CHECKSUM, &asn1::encode(&body));
    let mut authenticator = Authenticator {
        authenticator_vno: 5.into(),
        crealm: tgt.reply.crealm.clone(),
        cname: tgt.reply.cname.clone(),
        cksum: Some(Checksum { r#type: tgt.session.etype().checksum_type(), checksum: checksum.into() }),
        cusec: 0.into(),
        ctime: time::from_seconds(NOW),
        subkey: subkey.map(|key| rasn_kerberos::EncryptionKey { r#type: key.etype().number(), value: key.bytes().to_vec().into() }),
        seq_number: None,
        authorization_data: None,
    };
    change(&mut authenticator);
    let cipher = tgt.session.encrypt(usage::TGS_REQ_AUTHENTICATOR, &asn1::encode(&authenticator), &mut SystemEntropy);
    let request = ApReq {
        pvno: 5.into(),
        msg_type: 14.into(),
        ap_options: ApOptions(asn1::flags(0)),
        ticket: tgt.ticket.clone(),
        authenticator: EncryptedData { etype: tgt.session.etype().number(), kvno: None, cipher: cipher.into() },
    };
    let padata = vec![PaData { r#type: pa::TGS_REQ, value: asn1::encode(&request).into() }];
    asn1::encode(&TgsReq(KdcReq { pvno: 5.into(), msg_type: 12.into(), padata: Some(padata), req_body: body }))
}

fn further(kdc: &Kdc, tgt: &Held, wish: &Wish) -> Result<Held, ErrorCode> {
    bought(&ask(kdc, &tgs_req(tgt, wish.body(), None, |_| {})), &tgt.session, usage::TGS_REP_SESSION)
}

fn bought(answer: &Answer, key: &Key, number: u32) -> Result<Held, ErrorCode> {
    let Ok(TgsRep(reply)) = asn1::decode(&answer.reply) else { return Err(refusal(answer).1) };
    let plain = key.decrypt(number, &reply.enc_part.cipher).unwrap();
    let EncTgsRepPart(part) = asn1::decode(&plain).unwrap();
    Ok(held(reply, part))
}

/// Opens a ticket as its service.
fn opened(kdc: &Kdc, ticket: &Ticket) -> ticket::Opened {
    let service = Principal::of_message(&ticket.sname).unwrap();
    let entry = kdc.principals.find(&service).unwrap();
    let key = entry.key(ticket.enc_part.kvno, Etype::from_number(ticket.enc_part.etype).unwrap(), now()).unwrap().clone();
    ticket::open(ticket, &key).unwrap()
}
