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
use super::tls::{ChannelBinding, FoundBase};

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
    /// What to ask of the base, over the connection with this binding and no other.
    pub(super) fn request(&self, code: &InvitationCode, channel: &ChannelBinding) -> Result<JoinRequest, KeyError> {
        Ok(JoinRequest {
            secret: code.secret.clone(),
            name: self.name.clone(),
            request: self.key.certificate_request()?,
            proof: JoinRequest::prove(&self.key, channel)?,
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::authority::Authority;
    use crate::account::base::Base;
    use crate::account::driver::tests::{Directory, directory};
    use crate::account::key::KeyAlgorithm;
    use crate::account::public_key::PublicKey;
    use crate::account::tsig::TsigKey;
    use crate::account::{AccountOptions, create};

    type Spoil<'a> = Box<dyn Fn(&mut Membership) + 'a>;

    struct Answered {
        _directory: Directory,
        base: Base,
        found: FoundBase,
        key: Arc<MachineKey>,
        answer: Membership,
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_800_000_000)
    }

    /// The answer of a base to a machine that asks to be called imac.
    fn answered(algorithm: KeyAlgorithm) -> Answered {
        let directory = directory();
        let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() };
        let (identity, mut base) = create(directory.path(), options, now()).unwrap();
        let key = Arc::new(MachineKey::generate(algorithm).unwrap());
        let code = base.invite(&["192.0.2.1:4500".parse().unwrap()], now()).unwrap();
        let channel = ChannelBinding([7; 32]);
        let request = applicant(&key).request(&code, &channel).unwrap();
        let answer = base.join([192, 0, 2, 2].into(), &request, &channel, now()).unwrap();
        let found = FoundBase {
            certificate: identity.certificate().to_vec(),
            authority: identity.trust().ca.clone(),
            fqdn: "base.alice.btmm.internal".to_owned(),
        };
        Answered { _directory: directory, base, found, key, answer }
    }

    fn applicant(key: &Arc<MachineKey>) -> Applicant {
        Applicant { key: Arc::clone(key), name: "imac".parse().unwrap() }
    }

    #[test]
    fn a_right_answer_is_believed_for_both_kinds_of_key() {
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
            let Answered { key, answer, found, base, _directory } = answered(algorithm);
            let (identity, roster) = applicant(&key).accept(answer, &found, Vec::new(), now()).unwrap();
            assert_eq!(identity.fqdn(), "imac.alice.btmm.internal");
            assert_eq!(roster, base.roster());
        }
    }

    #[test]
    fn an_answer_with_any_wrong_part_is_not_believed() {
        let Answered { key, answer, found, base, _directory } = answered(KeyAlgorithm::EcdsaP256);
        let other_key = MachineKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let other = PublicKey::from_spki(other_key.spki()).unwrap();
        let mine = PublicKey::from_spki(key.spki()).unwrap();
        let foreign = Authority::create("alice".parse().unwrap(), base.trust().zone.clone(), base.trust().prefix, now()).unwrap();
        let imac: MachineName = "imac".parse().unwrap();
        let laptop: MachineName = "laptop".parse().unwrap();
        let wrong: Vec<(&str, Spoil<'_>)> = vec![
            ("another CA", Box::new(|answer| answer.authority = foreign.trust().ca.clone())),
            ("a certificate by another CA", Box::new(|answer| answer.certificate = foreign.issue(&mine, &imac, now()).unwrap())),
            ("a certificate for another key", Box::new(|answer| answer.certificate = base.authority.issue(&other, &imac, now()).unwrap())),
            (
                "a certificate for another name",
                Box::new(|answer| answer.certificate = base.authority.issue(&mine, &laptop, now()).unwrap()),
            ),
            ("another name", Box::new(|answer| answer.name = laptop.clone())),
            ("another base", Box::new(|answer| answer.base = laptop.clone())),
            ("another zone", Box::new(|answer| answer.zone = "bob.btmm.internal".parse().unwrap())),
            ("another prefix", Box::new(|answer| answer.prefix = crate::account::prefix::UlaPrefix::with_global_id([0; 5]))),
            ("another TSIG key name", Box::new(|answer| answer.tsig = TsigKey::generate("laptop.alice.btmm.internal".into()).unwrap())),
            (
                "a roster without us",
                Box::new(|answer| {
                    let alone: Vec<_> = base.roster().machines().iter().filter(|machine| machine.base).cloned().collect();
                    answer.roster = Roster::new(base.trust(), 9, 0, alone).sign(&base.authority).unwrap();
                }),
            ),
            ("a roster by another CA", Box::new(|answer| answer.roster = base.roster().sign(&foreign).unwrap())),
        ];
        for (what, spoil) in &wrong {
            let mut spoiled = answer.clone();
            spoil(&mut spoiled);
            let refused = applicant(&key).accept(spoiled, &found, Vec::new(), now());
            assert!(refused.is_err(), "{what}");
            assert_eq!(refused.unwrap_err().to_string().lines().count(), 1, "{what}");
        }
        applicant(&key).accept(answer, &found, Vec::new(), now()).unwrap();
    }
}
