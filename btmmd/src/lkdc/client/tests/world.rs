//! A realm, a clock, and a wire without loss.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rasn_kerberos::KrbError;
use smallvec::smallvec;

use crate::entropy::SystemEntropy;
use crate::lkdc::asn1;
use crate::lkdc::client::{AsExchange, ClientError, ClockOffset, Grant, Next, TgsExchange, TgsWish, Wish};
use crate::lkdc::crypto::{Etype, Key};
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::event::{Source, Transport};
use crate::lkdc::kdc::policy::Policy;
use crate::lkdc::kdc::preauth::Mechanism;
use crate::lkdc::kdc::timestamp::EncryptedTimestamp;
use crate::lkdc::kdc::{Kdc, Settings};
use crate::lkdc::name::{Principal, RealmName};
use crate::lkdc::principals::{Entry, Kind, Principals, VersionedKeys, Versions};

pub const PASSWORD: &str = "correct horse";
const HOST: &str = "imac.alice.btmm.internal";

/// One realm and its KDC.
pub struct World {
    pub kdc: Kdc,
    pub realm: String,
    /// The client's clock.
    pub now: SystemTime,
    /// The KDC's clock, when it is ahead.
    pub ahead: Duration,
    /// The KDC's clock, when it is behind.
    pub behind: Duration,
    /// What the client has sent.
    pub sent: Vec<Vec<u8>>,
}

pub fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn versioned(keys: Vec<Key>, salt: Option<String>) -> Versions {
    smallvec![VersionedKeys { kvno: 1, keys: keys.into(), salt, since: start(), until: None }]
}

fn random_keys() -> Versions {
    versioned(Etype::ALL.iter().map(|etype| Key::random(*etype, &mut SystemEntropy)).collect(), None)
}

/// `alice` with [`PASSWORD`] and keys of these types.
pub fn alice(realm: &str, etypes: &[Etype]) -> Entry {
    let salt = format!("{realm}alice");
    let key = |etype: &Etype| Key::from_password(*etype, PASSWORD.as_bytes(), salt.as_bytes(), None).unwrap();
    let keys = versioned(etypes.iter().map(key).collect(), Some(salt.clone()));
    Entry { keys, ..Entry::new(Principal::user("alice"), Kind::User { local: None }) }
}

impl World {
    /// A realm where a password is proven by an encrypted timestamp.
    pub fn new() -> Self {
        Self::with(vec![Box::new(EncryptedTimestamp)])
    }

    /// A realm with these mechanisms.
    pub fn with(mechanisms: Vec<Box<dyn Mechanism>>) -> Self {
        Self::of_key(b"a public key", mechanisms)
    }

    /// A realm named after this key.
    pub fn of_key(spki: &[u8], mechanisms: Vec<Box<dyn Mechanism>>) -> Self {
        let realm = RealmName::of_key(spki);
        let principals = Principals::new();
        principals.insert(Entry { keys: random_keys(), ..Entry::new(Principal::krbtgt(realm.as_str()), Kind::Krbtgt) });
        principals.insert(Entry { keys: random_keys(), ..Entry::new(Principal::service("host", HOST), Kind::Service) });
        principals.insert(alice(realm.as_str(), &Etype::ALL));
        let name = realm.as_str().to_owned();
        let kdc = Kdc::new(Settings { realm, policy: Policy::default(), host: HOST.to_owned() }, principals, mechanisms);
        Self { kdc, realm: name, now: start(), ahead: Duration::ZERO, behind: Duration::ZERO, sent: Vec::new() }
    }

    pub fn alice(&self) -> FullName {
        FullName::new(Principal::user("alice"), &self.realm)
    }

    pub fn host(&self) -> FullName {
        FullName::new(Principal::service("host", HOST), &self.realm)
    }

    pub fn wish(&self) -> Wish {
        Wish::tgt(self.alice())
    }

    pub fn kdc_now(&self) -> SystemTime {
        self.now + self.ahead - self.behind
    }

    /// The KDC's answer.
    pub fn ask(&mut self, request: Vec<u8>) -> Vec<u8> {
        let address: SocketAddr = "[fd00::2]:1000".parse().unwrap();
        let source = Source { address, transport: Transport::Tcp };
        let answer = self.kdc.answer(&request, source, self.kdc_now(), &mut SystemEntropy);
        self.sent.push(request);
        answer.reply
    }

    /// Carries an initial exchange to its end.
    pub fn initial(&mut self, exchange: &mut AsExchange) -> Result<Grant, ClientError> {
        self.initial_through(exchange, |answer| answer)
    }

    /// The same, while someone on the way alters answers.
    pub fn initial_through(&mut self, exchange: &mut AsExchange, mut alter: impl FnMut(Vec<u8>) -> Vec<u8>) -> Result<Grant, ClientError> {
        let mut request = exchange.start(self.now, &mut SystemEntropy)?;
        loop {
            let answer = alter(self.ask(request));
            match exchange.receive(&answer, self.now, &mut SystemEntropy)? {
                Next::Send(next) => request = next,
                Next::Done(grant) => return Ok(*grant),
            }
        }
    }

    /// Carries an exchange with the ticket-granting service to its end.
    pub fn ticket(&mut self, wish: TgsWish, tgt: &Grant, offset: ClockOffset) -> Result<Grant, ClientError> {
        let mut exchange = TgsExchange::new(wish, tgt.clone(), offset);
        let mut request = exchange.start(self.now, &mut SystemEntropy)?;
        loop {
            let answer = self.ask(request);
            match exchange.receive(&answer, self.now, &mut SystemEntropy)? {
                Next::Send(next) => request = next,
                Next::Done(grant) => return Ok(*grant),
            }
        }
    }
}

/// A KRB-ERROR that anyone could have written.
pub fn says(code: i32, realm: &str, data: Option<&[u8]>) -> Vec<u8> {
    asn1::encode(&KrbError {
        pvno: 5.into(),
        msg_type: 30.into(),
        ctime: None,
        cusec: None,
        stime: asn1::time(start()),
        susec: 0.into(),
        error_code: code,
        crealm: Some(asn1::string(realm)),
        cname: None,
        realm: asn1::string(realm),
        sname: Principal::krbtgt(realm).to_message(),
        e_text: None,
        e_data: data.map(|data| data.to_vec().into()),
    })
}
