//! What a caller wishes for, and what it has to prove itself with.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::certificate::Certificate;
use crate::lkdc::crypto::Etype;
use crate::lkdc::full_name::FullName;
use crate::lkdc::kdc::options::Flags;
use crate::lkdc::name::{ANONYMOUS_REALM, Principal, RealmName};

/// Ten hours, as the design has it.
pub const TICKET_LIFE: Duration = Duration::from_secs(10 * 3600);
/// Seven days.
pub const RENEW_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The initial ticket that is wished for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who asks, and in which realm.
    pub client: FullName,
    /// What the ticket is for; nothing means the realm's ticket-granting service.
    pub service: Option<Principal>,
    /// KDC options.
    pub options: Flags,
    /// How long it shall live.
    pub life: Duration,
    /// How long it shall be renewable.
    pub renewable: Option<Duration>,
    /// Encryption types, the best first.
    pub etypes: Vec<Etype>,
    /// How to treat pre-authentication that an eavesdropper can try passwords against.
    pub timestamp: TimestampUse,
    /// The realm that `WELLKNOWN:COM.APPLE.LKDC` must turn out to be, where it is known.
    pub expected: Option<RealmName>,
}

impl Wish {
    /// A forwardable ticket-granting ticket of the usual life.
    pub fn tgt(client: FullName) -> Self {
        Self {
            client,
            service: None,
            options: Flags::FORWARDABLE.with(Flags::PROXIABLE).with(Flags::CANONICALIZE),
            life: TICKET_LIFE,
            renewable: Some(RENEW_LIFE),
            etypes: Etype::ALL.to_vec(),
            timestamp: TimestampUse::Allowed,
            expected: None,
        }
    }

    /// The ticket of a client that says nothing of itself, short-lived: armor for what comes next (RFC 8062).
    pub fn anonymous(realm: &str) -> Self {
        let client = FullName::new(Principal::anonymous(), realm);
        let life = Duration::from_secs(600);
        Self { options: Flags::ANONYMOUS.with(Flags::CANONICALIZE), life, renewable: None, ..Self::tgt(client) }
    }

    /// What the ticket is for.
    pub fn server(&self) -> Principal {
        self.service.clone().unwrap_or_else(|| Principal::krbtgt(&self.client.realm))
    }

    /// Whether the client is the anonymous one.
    pub fn is_anonymous(&self) -> bool {
        self.options.has(Flags::ANONYMOUS)
    }

    /// Whether a referral may lead to `realm`.
    pub(super) fn expects(&self, realm: &str) -> bool {
        self.expected.as_ref().is_none_or(|expected| expected.as_str() == realm)
    }

    /// Whether a reply may name its client so.
    pub(super) fn allows_realm(&self, realm: &str) -> bool {
        realm == self.client.realm || self.is_anonymous() && realm == ANONYMOUS_REALM
    }
}

/// Whether a plain encrypted timestamp may be sent. It lets whoever reads it try passwords at leisure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampUse {
    /// When nothing better is offered.
    Allowed,
    /// Not at all: an attacker who hides the better offers gets nothing.
    Never,
}

/// What the caller has. A mechanism is chosen among what these allow; nobody is asked anything.
#[derive(Clone, Default)]
pub struct Secrets {
    /// The sharing certificate, or the wish to remain anonymous.
    pub certificate: Option<Certificate>,
    /// The password.
    pub password: Option<Zeroizing<String>>,
    /// A one-time code, good for one attempt.
    pub code: Option<Zeroizing<String>>,
}

impl Secrets {
    /// Nothing but the sharing certificate.
    pub fn certificate(certificate: Certificate) -> Self {
        Self { certificate: Some(certificate), ..Self::default() }
    }

    /// Nothing but a password.
    pub fn password(password: &str) -> Self {
        Self { password: Some(Zeroizing::new(password.to_owned())), ..Self::default() }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("password", &self.password.is_some()).field("code", &self.code.is_some()).finish()
    }
}
