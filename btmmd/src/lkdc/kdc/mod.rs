//! The KDC: a function of a request, the time and what it knows, to a reply and what the audit log is told.
//!
//! - `as_exchange`: a client proves itself. `tgs_exchange`: a ticket (`payment`) pays for another one. `armored`: both in armor.
//! - [`preauth`]: ways to prove oneself, and [`mechanisms`]: the table of them. [`timestamp`]: the oldest of them. `etype_info`: what a password needs to become a key.
//! - [`policy`]: times and options. [`replay`]: proofs and replies that were seen.
//! - `armored`: requests in armor. [`demand`]: what a service asks of its clients. [`earned`]: how a ticket was earned.
//! - `authorization`: what else stands in tickets. [`ticket`], [`indicator`], [`message`]: what is written. [`error`]: what is refused. [`event`]: what is told.

mod armored;
mod as_exchange;
mod authorization;
pub mod demand;
pub mod earned;
pub mod error;
mod etype_info;
pub mod event;
pub mod indicator;
pub mod mechanisms;
pub mod message;
pub mod options;
mod payment;
pub mod policy;
pub mod preauth;
pub mod replay;
mod tgs_exchange;
pub mod ticket;
pub mod timestamp;

use std::sync::Arc;
use std::time::SystemTime;

use rasn_kerberos::{KdcReq, KdcReqBody};

use super::asn1::{self, Asn1Error, raw, time, write};
use super::crypto::Etype;
use super::fast::FastRequest;
use super::name::{Principal, RealmName};
use super::principals::{Entry, Kind, Principals};
use crate::entropy::Entropy;
use earned::Earned;
use error::{ErrorCode, Refusal};
use event::{Event, Exchange, Outcome, Source};
use message::ErrorMessage;
use policy::Policy;
use preauth::Mechanism;
use replay::{Digest, Freshness, ReplayCache};
use ticket::ServiceKey;

/// The longest name of a realm that is looked at, in octets.
const MAX_REALM: usize = 256;

/// What a KDC is told when it is made.
pub struct Settings {
    /// The realm that this machine's key names.
    pub realm: RealmName,
    /// What tickets are given.
    pub policy: Policy,
    /// This machine's name in the zone: the canonical host of its services.
    pub host: String,
}

/// The KDC of one realm. Any number of threads may ask it at once: nothing on the way to a ticket is locked for longer than a look-up.
pub struct Kdc {
    settings: Settings,
    principals: Principals,
    mechanisms: Vec<Box<dyn Mechanism>>,
    replays: ReplayCache,
    krbtgt: Principal,
}

/// What a request gets.
#[derive(Debug)]
pub struct Answer {
    /// To be sent back; empty for octets that are no request and deserve no answer.
    pub reply: Vec<u8>,
    /// For the audit log.
    pub events: Vec<Event>,
}

/// What has been learnt of a request so far: an error message and the audit log tell of it.
#[derive(Default)]
struct Story {
    client: Option<(String, Principal)>,
    service: Option<Principal>,
    earned: Earned,
    until: u64,
    how: &'static str,
    /// The armor that the request came in.
    armor: Option<Arc<FastRequest>>,
}

/// A request as it came.
struct Request<'a> {
    bytes: &'a [u8],
    digest: Digest,
    source: Source,
    now: SystemTime,
    seconds: u64,
}

impl Kdc {
    /// A KDC for these principals. `mechanisms` are offered in their order.
    pub fn new(settings: Settings, principals: Principals, mechanisms: Vec<Box<dyn Mechanism>>) -> Self {
        let krbtgt = Principal::krbtgt(settings.realm.as_str());
        let replays = ReplayCache::new(settings.policy.skew.as_secs().saturating_mul(2));
        Self { settings, principals, mechanisms, replays, krbtgt }
    }

    /// Our realm.
    pub fn realm(&self) -> &RealmName {
        &self.settings.realm
    }

    /// Who may have tickets, and for what.
    pub fn principals(&self) -> &Principals {
        &self.principals
    }

    /// Answers an AS-REQ or a TGS-REQ.
    pub fn answer(&self, request: &[u8], from: Source, now: SystemTime, entropy: &mut dyn Entropy) -> Answer {
        let exchange = match raw::tag(request) {
            Some(tag) if tag == write::application(10) => Exchange::As,
            Some(tag) if tag == write::application(12) => Exchange::Tgs,
            _ => return Answer { reply: Vec::new(), events: Vec::new() },
        };
        let digest = replay::request_digest(request, from.address.ip());
        let told = |story: Story, outcome| Event {
            exchange,
            source: from,
            client: story.client.map(|(_, client)| client),
            service: story.service,
            outcome,
        };
        let seconds = time::seconds(now);
        if let Some(reply) = self.replays.reply(&digest, seconds) {
            return Answer { reply: reply.to_vec(), events: vec![told(Story::default(), Outcome::Repeated)] };
        }
        let request = Request { bytes: request, digest, source: from, now, seconds };
        let mut story = Story::default();
        let result = match exchange {
            Exchange::As => as_exchange::answer(self, &request, &mut story, entropy),
            Exchange::Tgs => tgs_exchange::answer(self, &request, &mut story, entropy),
        };
        match result {
            Ok(reply) => {
                self.replays.keep(digest, &reply, request.seconds);
                let until = asn1::system_time(&time::from_seconds(story.until));
                let outcome = Outcome::Issued { strengths: std::mem::take(&mut story.earned.strengths), until, how: story.how };
                Answer { reply, events: vec![told(story, outcome)] }
            }
            Err(refusal) => {
                let reply = match &story.armor {
                    Some(armor) => armored::error(self, armor, &refusal, &story, now, entropy),
                    None => self.error(&refusal, &story, now),
                };
                let outcome = match refusal {
                    refusal if refusal.is_step() => Outcome::Continued,
                    Refusal { code, reason, .. } => Outcome::Refused { code, reason },
                };
                Answer { reply, events: vec![told(story, outcome)] }
            }
        }
    }

    /// What is sent in place of a reply that does not fit into a datagram: the client comes back by TCP.
    pub fn too_big(&self, now: SystemTime) -> Vec<u8> {
        let refusal = Refusal::new(ErrorCode::KRB_ERR_RESPONSE_TOO_BIG, "the reply does not fit into a datagram");
        self.error(&refusal, &Story::default(), now)
    }

    /// What is sent to who announces a message longer than any request (RFC 4120 §7.2.2).
    pub fn too_long(&self, now: SystemTime) -> Vec<u8> {
        let refusal = Refusal::new(ErrorCode::KRB_ERR_FIELD_TOOLONG, "the message is too long");
        self.error(&refusal, &Story::default(), now)
    }

    fn error(&self, refusal: &Refusal, story: &Story, now: SystemTime) -> Vec<u8> {
        let client = story.client.as_ref().map(|(realm, client)| (realm.as_str(), client));
        let service = story.service.as_ref().unwrap_or(&self.krbtgt);
        ErrorMessage { refusal, client, realm: self.realm().as_str(), service, now }.encode()
    }

    /// The service of that name, and the name its ticket gets. Services on this machine are also found under the realm's name,
    /// `localhost` and the machine's short name; with `canonicalize` the ticket then says the full one.
    fn service(&self, name: &Principal, canonicalize: bool) -> Option<(Principal, Arc<Entry>)> {
        if let Some(entry) = self.principals.find(name) {
            return Some((name.clone(), entry));
        }
        let [service, host] = name.components.as_slice() else { return None };
        let short = self.settings.host.split('.').next().unwrap_or_default();
        let ours = [self.realm().as_str(), "localhost", short, self.settings.host.as_str()];
        if !ours.iter().any(|known| known.eq_ignore_ascii_case(host)) {
            return None;
        }
        let full = Principal::service(service, &self.settings.host);
        let entry = self.principals.find(&full)?;
        Some((if canonicalize { full } else { name.clone() }, entry))
    }

    /// The service, when it may be had tickets for: sealed with its own key, or with one that comes along.
    fn open_service(&self, name: &Principal, canonicalize: bool) -> Result<(Principal, Arc<Entry>), Refusal> {
        let unknown = || Refusal::new(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN, format!("no service {name} here"));
        let (name, entry) = self.service(name, canonicalize).ok_or_else(unknown)?;
        if !entry.enabled {
            return Err(Refusal::new(ErrorCode::KDC_ERR_SERVICE_REVOKED, format!("{name} is disabled")));
        }
        Ok((name, entry))
    }

    /// Whether a client without a proof of its own may still go on with the ticket it has.
    fn still_welcome(&self, crealm: &str, client: &Principal, earned: &Earned) -> Result<(), Refusal> {
        if let Some(machine) = &earned.machine
            && !self.mechanisms.iter().all(|mechanism| mechanism.still_believes(machine))
        {
            let reason = format!("the machine with which {client} proved itself is not in the account any more");
            return Err(Refusal::new(ErrorCode::KDC_ERR_CLIENT_REVOKED, reason));
        }
        if client.is_anonymous() {
            return Ok(());
        }
        if crealm != self.realm().as_str() {
            return Err(Refusal::new(ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN, format!("{client} is of another realm")));
        }
        match self.principals.find(client) {
            Some(entry) if !entry.enabled => Err(Refusal::new(ErrorCode::KDC_ERR_CLIENT_REVOKED, format!("{client} is disabled"))),
            Some(_) => Ok(()),
            None if may_be_machine(client) => Ok(()),
            None => Err(Refusal::new(ErrorCode::KDC_ERR_C_PRINCIPAL_UNKNOWN, format!("{client} is no longer known"))),
        }
    }

    fn spend(&self, proof: Digest, request: &Request<'_>) -> Result<(), Refusal> {
        match self.replays.spend(proof, request.digest, request.seconds) {
            Freshness::Fresh => Ok(()),
            Freshness::Replayed => Err(Refusal::new(ErrorCode::KRB_AP_ERR_REPEAT, "this proof was used before")),
        }
    }

    /// The key and version that our own tickets are sealed with.
    fn krbtgt_entry(&self) -> Result<Arc<Entry>, Refusal> {
        self.principals.find(&self.krbtgt).ok_or_else(|| Refusal::new(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN, "the realm has no key yet"))
    }
}

/// A client that needs no entry: its certificate speaks for it.
fn may_be_machine(client: &Principal) -> bool {
    matches!(client.components.as_slice(), [service, _] if service == "host")
}

/// A user's tickets, and those of a machine that proves itself by certificate, are sealed in the session key of a ticket of theirs.
fn must_have_key(name: &Principal, entry: &Entry) -> Result<(), Refusal> {
    match entry.kind {
        Kind::User { .. } => Err(Refusal::new(ErrorCode::KDC_ERR_MUST_USE_USER2USER, format!("{name} is a user, not a service"))),
        Kind::Machine => {
            let reason = format!("no service {name} here: that machine has a KDC of its own");
            Err(Refusal::new(ErrorCode::KDC_ERR_S_PRINCIPAL_UNKNOWN, reason))
        }
        Kind::Service | Kind::Krbtgt => Ok(()),
    }
}

/// Version 5, and the kind that its tag says (RFC 4120 §3.1.3).
fn check_version(message: &KdcReq, exchange: Exchange) -> Result<(), Refusal> {
    if message.pvno != 5.into() {
        return Err(Refusal::new(ErrorCode::KDC_ERR_BAD_PVNO, "not version 5 of the protocol"));
    }
    let kind = match exchange {
        Exchange::As => 10,
        Exchange::Tgs => 12,
    };
    if message.msg_type != kind.into() {
        return Err(Refusal::new(ErrorCode::KRB_AP_ERR_MSG_TYPE, "tag and type of the request differ"));
    }
    Ok(())
}

/// What seals tickets for this entry.
fn sealing_key(entry: &Entry) -> Result<ServiceKey<'_>, Refusal> {
    let none = || Refusal::new(ErrorCode::KDC_ERR_NULL_KEY, format!("{} has no key", entry.name));
    let current = entry.current().ok_or_else(none)?;
    let key = current.keys.first().ok_or_else(none)?;
    Ok(ServiceKey { key, kvno: Some(current.kvno) })
}

/// Whoever has no name gets tickets for the ticket granting service only, which serve as armor. A service that lets in whoever has a ticket
/// lets nobody in unnamed (MIT's `restrict_anonymous_to_tgt`).
fn check_named(client: &Principal, service: &Entry) -> Result<(), Refusal> {
    if client.is_anonymous() && !matches!(service.kind, Kind::Krbtgt) {
        return Err(Refusal::new(ErrorCode::KDC_ERR_POLICY, "without a name there are no tickets for services"));
    }
    Ok(())
}

/// Those of the client's encryption types that we speak, each once, in its order.
fn common_etypes(wanted: &[i32]) -> Result<Vec<Etype>, Refusal> {
    let mut common: Vec<Etype> = Vec::with_capacity(Etype::ALL.len());
    for etype in wanted.iter().filter_map(|number| Etype::from_number(*number)) {
        if !common.contains(&etype) {
            common.push(etype);
        }
    }
    if common.is_empty() {
        return Err(Refusal::new(ErrorCode::KDC_ERR_ETYPE_NOSUPP, "no common encryption type"));
    }
    Ok(common)
}

/// The session key's type: the first of the client's that the service has a key for, because then it speaks it. Of users and machines, whose
/// tickets are sealed in the session key of another one, that says nothing.
fn session_etype(common: &[Etype], service: &Entry) -> Result<Etype, Refusal> {
    let is_peer = matches!(service.kind, Kind::User { .. } | Kind::Machine);
    let spoken = |etype: &&Etype| is_peer || service.current().is_some_and(|keys| keys.key(**etype).is_some());
    common
        .iter()
        .find(spoken)
        .copied()
        .ok_or_else(|| Refusal::new(ErrorCode::KDC_ERR_ETYPE_NOSUPP, format!("{} has no key of a type the client speaks", service.name)))
}

/// The realm that a request is for.
fn realm_of(body: &KdcReqBody) -> Result<&str, Refusal> {
    let realm = asn1::text(&body.realm).map_err(malformed)?;
    if realm.len() > MAX_REALM { Err(malformed(Asn1Error::Value("realm"))) } else { Ok(realm) }
}

fn malformed(error: Asn1Error) -> Refusal {
    Refusal::new(ErrorCode::KRB_ERR_GENERIC, format!("malformed request: {error}"))
}

#[cfg(test)]
pub(crate) mod tests;
