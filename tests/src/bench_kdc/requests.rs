//! What is asked: requests made before the clock runs, each different from all others.

use std::net::SocketAddr;
use std::time::SystemTime;

use anyhow::Result;
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::asn1;
use btmmd::lkdc::client::driver::Kdcs;
use btmmd::lkdc::client::request::{as_body, as_request, nonce, tgs_request, timestamp_request};
use btmmd::lkdc::client::{AsExchange, Grant, Secrets, TgsWish, Wish};
use btmmd::lkdc::crypto::Key;
use btmmd::lkdc::crypto::dh::DhGroup;
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::kdc::preauth::pa;
use btmmd::lkdc::name::Principal;
use btmmd::lkdc::pkinit::{self, PkinitQuestion, Signatory};
use rasn_kerberos::PaData;

use super::load::{Good, Load};
use super::served::{ETYPE, HOST, USERS, member, member_key, password_key, user};

fn wish(realm: &str, name: &str) -> Wish {
    Wish { etypes: vec![ETYPE], ..Wish::tgt(FullName::new(Principal::user(name), realm)) }
}

/// AS-REQ with an encrypted timestamp, from all users in turn.
pub fn by_password(realm: &str, count: usize) -> Result<Load> {
    let users = (0..USERS).map(|number| Ok((wish(realm, &user(number)), password_key(realm, &user(number))?)));
    let users = users.collect::<Result<Vec<(Wish, Key)>>>()?;
    let requests = users.iter().cycle().take(count);
    let requests = requests.map(|(wish, key)| timestamp_request(wish, key, SystemTime::now(), &mut SystemEntropy)).collect();
    Ok(Load { requests, good: Good::As })
}

/// The same, from members of a crowd of that size, far from each other.
pub fn by_member(realm: &str, crowd: u32, count: usize, round: usize) -> Result<Load> {
    let mut requests = Vec::with_capacity(count);
    for place in round * count..(round + 1) * count {
        let number = u32::try_from(place)?.wrapping_mul(2_654_435_761) % crowd;
        requests.push(timestamp_request(&wish(realm, &member(number)), &member_key(number)?, SystemTime::now(), &mut SystemEntropy));
    }
    Ok(Load { requests, good: Good::As })
}

/// AS-REQ with a signature, from all users in turn with the same machine's certificate, agreeing in MODP group 14 as MIT's clients do.
/// Those let no KDC use its key pair twice; ours does.
pub fn by_certificate(realm: &str, signatory: &Signatory, may_reuse: bool, count: usize) -> Result<Load> {
    let ask = |number| {
        let now = SystemTime::now();
        let body = as_body(&wish(realm, &user(number % USERS)), nonce(&mut SystemEntropy), now);
        let req_body = asn1::encode(&body);
        let question = PkinitQuestion { req_body: &req_body, freshness_token: None, group: DhGroup::Modp14, may_reuse, nonce: body.nonce };
        let (value, _) = pkinit::client::ask(&question, Some(signatory), now, &mut SystemEntropy)?;
        let padata = [(pa::PK_AS_REQ, value), (pa::REQ_ENC_PA_REP, Vec::new())];
        Ok(as_request(padata.map(|(number, value)| PaData { r#type: number, value: value.into() }).into(), body))
    };
    Ok(Load { requests: (0..count).map(ask).collect::<Result<_>>()?, good: Good::As })
}

/// A ticket-granting ticket for each user, from the KDC there.
pub fn tickets(realm: &str, server: SocketAddr) -> Result<Vec<Grant>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let kdcs = Kdcs::at(vec![server]);
    let one = |number| {
        let exchange = AsExchange::new(wish(realm, &user(number)), Secrets::password(&user(number)));
        Ok(runtime.block_on(kdcs.initial(exchange))?.grant)
    };
    (0..USERS).map(one).collect()
}

/// TGS-REQ for a service, from all users in turn.
pub fn by_ticket(realm: &str, tickets: &[Grant], count: usize) -> Result<Load> {
    let service = FullName::new(Principal::service("host", HOST), realm);
    let ask = |tgt: &Grant| {
        let wish = TgsWish { etypes: vec![ETYPE], ..TgsWish::service(service.clone(), tgt) };
        Ok(tgs_request(&wish, tgt, SystemTime::now(), &mut SystemEntropy)?.bytes)
    };
    Ok(Load { requests: tickets.iter().cycle().take(count).map(ask).collect::<Result<_>>()?, good: Good::Tgs })
}
