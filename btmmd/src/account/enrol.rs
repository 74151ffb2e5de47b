//! Enrolment: what a machine asks the base over HTTPS, and what the base answers. Requests in, responses out; no socket, no clock.
//!
//! | request | who may | answer |
//! |---|---|---|
//! | `POST /v1/join` [`JoinRequest`] | whoever holds an invitation, and the key that is to join | [`Membership`] |
//! | `POST /v1/renew` [`RenewRequest`] | a machine of the account, by its TLS certificate | [`Renewal`] |
//! | `GET /v1/roster` | a machine of the account, by its TLS certificate | [`SignedRoster`] |
//!
//! A certificate that has ended still tells which machine it was: for these requests alone, so that a machine that was off when its
//! certificate ended gets a new one. A machine that is not in the book is refused, whatever it shows.
//!
//! Every other answer is a [`Refusal`]. All bodies are JSON.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::certificate::PeerIdentity;
use super::invitations::{InvitationError, Invitations, seconds};
use super::invite::InviteSecret;
use super::key::{KeyError, MachineKey};
use super::name::{AccountName, MachineName, ZoneName};
use super::octets;
use super::prefix::UlaPrefix;
use super::public_key::PublicKey;
use super::roster::{KeyHash, MAX_MACHINES, Machine, Roster, SignedRoster};
use super::tls::ChannelBinding;
use super::tsig::TsigKey;

/// The largest request body, in octets.
pub const MAX_REQUEST: usize = 64 * 1024;
/// The largest response body, in octets.
pub const MAX_RESPONSE: usize = 512 * 1024;

/// What a signature that proves the key of a machine that joins is for.
const JOIN_CONTEXT: &str = "btmm join 1";

/// A machine asks to join.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// From the invitation code.
    pub secret: InviteSecret,
    /// The name it would like.
    pub name: MachineName,
    /// PKCS#10, DER: nothing but the key is taken from it. It is the same for every connection, so that others may have kept it.
    #[serde(with = "octets")]
    pub request: Vec<u8>,
    /// The key's signature of this TLS connection's [`ChannelBinding`]: proves that who asks has the key now.
    #[serde(with = "octets")]
    pub proof: Vec<u8>,
}

impl JoinRequest {
    /// What `key` signs to join over the connection with this binding.
    pub(super) fn prove(key: &MachineKey, channel: &ChannelBinding) -> Result<Vec<u8>, KeyError> {
        key.sign_for(JOIN_CONTEXT, channel.octets())
    }

    /// The key that wants to join, once it has proven to be at the other end of the connection.
    fn proven_key(&self, channel: &ChannelBinding) -> Result<PublicKey, Refusal> {
        let key = PublicKey::from_request(&self.request).map_err(|_| Refusal::NotUnderstood)?;
        if key.signed(JOIN_CONTEXT, channel.octets(), &self.proof) { Ok(key) } else { Err(Refusal::OtherConnection) }
    }
}

/// What a machine gets that joins. The octets are DER.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// The account.
    pub account: AccountName,
    /// Its zone.
    pub zone: ZoneName,
    /// Its prefix.
    pub prefix: UlaPrefix,
    /// The name the machine now has.
    pub name: MachineName,
    /// The base's name.
    pub base: MachineName,
    /// The account's CA certificate.
    #[serde(with = "octets")]
    pub authority: Vec<u8>,
    /// The machine's sharing certificate.
    #[serde(with = "octets")]
    pub certificate: Vec<u8>,
    /// The machine's TSIG key.
    pub tsig: TsigKey,
    /// The machines of the account, the new one included.
    pub roster: SignedRoster,
}

/// A machine asks for a new certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    /// PKCS#10, DER, signed with the key that the machine has had all along.
    #[serde(with = "octets")]
    pub request: Vec<u8>,
}

/// A new certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Renewal {
    /// DER.
    #[serde(with = "octets")]
    pub certificate: Vec<u8>,
}

/// Why the base did not do what was asked. Everything in it is checked when it is read, so that it can be shown to people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "refused", rename_all = "kebab-case")]
pub enum Refusal {
    /// No such code.
    #[error("{}", InvitationError::Unknown)]
    UnknownCode,
    /// The code has admitted another machine.
    #[error("{}", InvitationError::Used)]
    UsedCode,
    /// The code is too old.
    #[error("{}", InvitationError::Expired)]
    ExpiredCode,
    /// Too many wrong codes from this address.
    #[error("too many wrong invitation codes came from this address: wait a minute")]
    TooManyTries,
    /// The key that wants to join is not at the other end of this connection.
    #[error("the request to join was made for another connection: only the machine itself can join with its key")]
    OtherConnection,
    /// Another machine has the name.
    #[error("another machine of the account is called {name}: join with another name, by \"btmm join --machine NAME\"")]
    NameTaken {
        /// The name wanted.
        name: MachineName,
    },
    /// The machine is known under another name.
    #[error("this machine is already in the account as {name}: join with that name, by \"btmm join --machine {name}\"")]
    KnownAs {
        /// Its name.
        name: MachineName,
    },
    /// The account is full.
    #[error("the account has {MAX_MACHINES} machines already, and cannot hold more")]
    Full,
    /// No client certificate, or one of a machine that is not in the account (any more).
    #[error("the base does not know this machine: join the account again")]
    NotAMember,
    /// Not a request that this base understands.
    #[error("the base does not understand this request: do both machines have the same version of btmm?")]
    NotUnderstood,
    /// The base could not do it; its own log says why.
    #[error("the base failed to answer: see \"journalctl -u btmmd\" on the base")]
    Failed,
}

impl From<InvitationError> for Refusal {
    fn from(error: InvitationError) -> Self {
        match error {
            InvitationError::Unknown => Self::UnknownCode,
            InvitationError::Used => Self::UsedCode,
            InvitationError::Expired => Self::ExpiredCode,
            InvitationError::TooMany => Self::Failed,
        }
    }
}

/// A machine as the base knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    #[serde(flatten)]
    pub(super) machine: Machine,
    pub(super) tsig: TsigKey,
}

/// The account's book: who is in it, and who may come in. Changed as a whole, on disk and in memory, or not at all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Book {
    pub(super) format: u32,
    pub(super) serial: u64,
    /// When the serial last changed, in seconds since 1970.
    #[serde(default)]
    pub(super) changed_at: u64,
    pub(super) members: Vec<Member>,
    pub(super) invitations: Invitations,
}

impl Book {
    /// The signed list of the members.
    pub(super) fn roster(&self, authority: &Authority) -> Roster {
        let machines = self.members.iter().map(|member| member.machine.clone()).collect();
        Roster::new(authority.trust(), self.serial, self.changed_at, machines)
    }

    /// Lets a machine in. A machine that is in already gets its name, TSIG key and a new certificate.
    pub(super) fn join(
        &mut self,
        authority: &Authority,
        request: &JoinRequest,
        channel: &ChannelBinding,
        now: SystemTime,
    ) -> Result<Membership, Refusal> {
        let key = request.proven_key(channel)?;
        let hash = KeyHash::of(key.spki());
        self.invitations.admit(&request.secret, hash, now)?;
        let tsig = match self.members.iter().find(|member| member.machine.key == hash) {
            Some(known) if known.machine.name != request.name => return Err(Refusal::KnownAs { name: known.machine.name.clone() }),
            Some(known) => known.tsig.clone(),
            None => self.add(authority, &key, &request.name, false, now)?,
        };
        let certificate = authority.issue(&key, &request.name, now).map_err(|_| Refusal::Failed)?;
        let base = self.members.iter().find(|member| member.machine.base).ok_or(Refusal::Failed)?;
        let trust = authority.trust();
        Ok(Membership {
            account: authority.account().clone(),
            zone: trust.zone.clone(),
            prefix: trust.prefix,
            name: request.name.clone(),
            base: base.machine.name.clone(),
            authority: trust.ca.clone(),
            certificate,
            tsig,
            roster: self.roster(authority).sign(authority).map_err(|_| Refusal::Failed)?,
        })
    }

    /// Adds a member with a new TSIG key, which is returned.
    pub(super) fn add(
        &mut self,
        authority: &Authority,
        key: &PublicKey,
        name: &MachineName,
        base: bool,
        now: SystemTime,
    ) -> Result<TsigKey, Refusal> {
        if self.members.iter().any(|member| member.machine.name == *name) {
            return Err(Refusal::NameTaken { name: name.clone() });
        }
        if self.members.len() >= MAX_MACHINES {
            return Err(Refusal::Full);
        }
        let trust = authority.trust();
        let inner = trust.prefix.inner_address(key.spki());
        if self.members.iter().any(|member| member.machine.inner == inner) {
            // Two keys whose hashes share 64 bits: made on purpose.
            return Err(Refusal::Failed);
        }
        let tsig = TsigKey::generate(name.in_zone(&trust.zone)).map_err(|_| Refusal::Failed)?;
        let machine = Machine { name: name.clone(), inner, key: KeyHash::of(key.spki()), joined_at: seconds(now), base };
        self.members.push(Member { machine, tsig: tsig.clone() });
        self.serial += 1;
        self.changed_at = seconds(now);
        Ok(tsig)
    }

    /// Whether `peer` is a member with this name and key.
    pub(super) fn holds(&self, peer: &PeerIdentity) -> bool {
        let hash = KeyHash::of(&peer.spki);
        self.members.iter().any(|member| member.machine.name == peer.name && member.machine.key == hash)
    }

    /// A new certificate for a member, who keeps name and key.
    pub(super) fn renew(
        &self,
        authority: &Authority,
        peer: &PeerIdentity,
        request: &RenewRequest,
        now: SystemTime,
    ) -> Result<Renewal, Refusal> {
        let key = PublicKey::from_request(&request.request).map_err(|_| Refusal::NotUnderstood)?;
        if !self.holds(peer) || key.spki() != peer.spki {
            return Err(Refusal::NotAMember);
        }
        let certificate = authority.issue(&key, &peer.name, now).map_err(|_| Refusal::Failed)?;
        Ok(Renewal { certificate })
    }
}
