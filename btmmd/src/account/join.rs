//! Joining an account, seen from the machine that joins: what to ask, and whether to believe the answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::certificate::{self, AccountTrust, CertificateError, Purpose};
use super::enrol::{JoinRequest, Membership};
use super::identity::{BaseContact, Identity};
use super::invite::InvitationCode;
use super::key::{KeyError, MachineKey};
use super::name::MachineName;
use super::roster::{Roster, RosterError};
use super::tls::FoundBase;

/// Why the base's answer to a machine that joins was not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum AnswerError {
    /// The certificates.
    #[error("the base answered with a wrong certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The roster.
    #[error("the base answered with a wrong roster: {0}")]
    Roster(#[from] RosterError),
    /// The parts of the answer do not belong together.
    #[error("the base answered with a wrong {0}")]
    Contradiction(&'static str),
}

/// A machine about to join.
pub(super) struct Applicant {
    pub(super) key: Arc<MachineKey>,
    pub(super) name: MachineName,
}

impl Applicant {
    /// What to ask of the base.
    pub(super) fn request(&self, code: &InvitationCode) -> Result<JoinRequest, KeyError> {
        Ok(JoinRequest { secret: code.secret.clone(), name: self.name.clone(), request: self.key.certificate_request()? })
    }

    /// The identity in the base's answer, if everything in it holds together and comes from the base that the TLS session proved.
    pub(super) fn accept(
        self,
        answer: Membership,
        found: &FoundBase,
        addresses: Vec<SocketAddr>,
        now: SystemTime,
    ) -> Result<(Identity, Roster), AnswerError> {
        if answer.authority != found.authority {
            return Err(AnswerError::Contradiction("CA certificate"));
        }
        let trust = AccountTrust { ca: answer.authority, zone: answer.zone, prefix: answer.prefix };
        let base = certificate::verify(&found.certificate, &trust, Purpose::TlsServer, now)?;
        if base.name != answer.base || base.fqdn != found.fqdn {
            return Err(AnswerError::Contradiction("base name"));
        }
        if answer.name != self.name {
            return Err(AnswerError::Contradiction("machine name"));
        }
        let identity = Identity {
            account: answer.account,
            name: self.name,
            trust,
            key: self.key,
            certificate: answer.certificate,
            base: BaseContact { name: answer.base, addresses },
            tsig: answer.tsig,
        };
        identity.check(now)?;
        let roster = answer.roster.verify(&identity.trust)?;
        if !roster.holds(&identity.name, identity.key.spki()) || !roster.holds(&base.name, &base.spki) {
            return Err(AnswerError::Contradiction("roster: this machine or the base is missing from it"));
        }
        Ok((identity, roster))
    }
}
