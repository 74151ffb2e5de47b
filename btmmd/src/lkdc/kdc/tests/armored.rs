//! Requests in armor.

use super::*;
use crate::lkdc::fast::client::{ArmorTicket, Inside};
use crate::lkdc::fast::{Armor, FastOptions};
use crate::lkdc::name::ANONYMOUS_REALM;

const HIDDEN: FastOptions = FastOptions(FastOptions::HIDE_CLIENT_NAMES);
/// How a name stands in a message that says none.
const NOBODY: &str = "WELLKNOWN/ANONYMOUS";

fn armor(kdc: &Kdc) -> Armor {
    let tgt = initial(kdc, &Wish::tgt("bob"));
    let (bob, realm) = (Principal::user("bob"), realm());
    let with = ArmorTicket { ticket: &tgt.ticket, session: &tgt.session, realm: realm.as_str(), client: &bob };
    Armor::of_ticket(with, now(), &mut SystemEntropy)
}

/// The KDC's answer to alice, who wears `armor`. Outside it she is nobody.
fn answer(kdc: &Kdc, armor: &Armor, options: FastOptions, padata: &[PaData]) -> Vec<u8> {
    let outer = Wish { client: Some(Principal::anonymous()), ..Wish::tgt("alice") };
    let body = Wish::tgt("alice").body();
    let worn = armor.request(&Inside { options, padata, body: &body }, &asn1::encode(&outer.body()), &mut SystemEntropy);
    ask(kdc, &as_req(&outer, vec![worn])).reply
}

#[test]
fn who_asks_to_be_hidden_is_named_nowhere_outside_the_armor() {
    let kdc = kdc();
    let armor = armor(&kdc);
    let key = password_key(Etype::Aes256CtsHmacSha1_96);
    for (options, client, crealm) in [(HIDDEN, NOBODY, ANONYMOUS_REALM.to_owned()), (FastOptions(0), "alice", realm().to_string())] {
        let reply = answer(&kdc, &armor, options, &[timestamp(&key, NOW + u64::from(options == HIDDEN))]);
        assert_eq!(reply.windows(5).any(|octets| octets == b"alice"), client == "alice");
        let AsRep(reply) = asn1::decode(&reply).expect("an AS-REP");
        assert_eq!(Principal::of_message(&reply.cname).unwrap().to_string(), client);
        assert_eq!(asn1::text(&reply.crealm).unwrap(), crealm);
        let vouched = armor.open_reply(reply.padata.as_deref().unwrap(), 4711, &asn1::encode(&reply.ticket)).unwrap();
        assert_eq!((vouched.client.to_string().as_str(), vouched.realm.as_str()), ("alice", realm().as_str()));
        assert_eq!(opened(&kdc, &reply.ticket).client, Principal::user("alice"));
    }
}

#[test]
fn who_asks_to_be_hidden_is_not_named_by_a_refusal() {
    let kdc = kdc();
    let armor = armor(&kdc);
    for (options, client) in [(HIDDEN, NOBODY), (FastOptions(0), "alice")] {
        let reply = answer(&kdc, &armor, options, &[]);
        assert_eq!(reply.windows(5).any(|octets| octets == b"alice"), client == "alice");
        let error: KrbError = asn1::decode(&reply).expect("a KRB-ERROR");
        assert_eq!(Principal::of_message(error.cname.as_ref().unwrap()).unwrap().to_string(), client);
        let (inner, _) = armor.open_error(&error, 4711).unwrap();
        assert_eq!(Principal::of_message(inner.cname.as_ref().unwrap()).unwrap(), Principal::user("alice"));
        assert_eq!(ErrorCode(inner.error_code), ErrorCode::KDC_ERR_PREAUTH_REQUIRED);
    }
}
