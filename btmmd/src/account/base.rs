//! The home base's half of an account: its CA, its book of machines and invitations.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::authority::{Authority, AuthorityError};
use super::certificate::{AccountTrust, CertificateError, PeerIdentity};
use super::enrol::{Book, JoinRequest, Membership, Refusal, RenewRequest, Renewal};
use super::identity::{BaseContact, Identity};
use super::invitations::{Guesses, InvitationError, Invitations};
use super::invite::{CodeError, Fingerprint, InvitationCode, InviteSecret, MAX_ADDRESSES};
use super::key::{KeyError, random};
use super::layout::{self, FORMAT, StateError};
use super::linux::{self, Secrecy};
use super::name::{AccountName, MachineName, ZoneName};
use super::prefix::UlaPrefix;
use super::public_key::PublicKey;
use super::roster::{Roster, SignedRoster};
use super::tls::ChannelBinding;
use super::tsig::TsigKey;

/// Why the base could not do what its owner asked.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The CA.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The system's cryptography.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate issued is not right: never happens unless the clock runs wild.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// An invitation cannot be given.
    #[error(transparent)]
    Invitation(#[from] InvitationError),
    /// The addresses do not fit in a code.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// An address to which nobody can connect.
    #[error("{0} is not an address at which the base can be reached")]
    Address(SocketAddr),
    /// The account's book refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What the owner decides when founding an account.
#[derive(Clone, Debug)]
pub struct AccountOptions {
    /// The account's name.
    pub account: AccountName,
    /// Its zone; `None` is `<account>.btmm.internal`.
    pub zone: Option<ZoneName>,
    /// This machine's name.
    pub machine: MachineName,
}

/// Founds an account in `state_dir`, of which this machine is the home base. Refuses, and changes nothing, where there is an account already.
pub fn create(state_dir: &Path, options: AccountOptions, now: SystemTime) -> Result<(Identity, Base), BaseError> {
    refuse_if_joined(state_dir)?;
    let base_dir = state_dir.join(layout::BASE);
    if linux::exists(&base_dir)? {
        return Err(StateError::Orphaned(base_dir).into());
    }
    let zone = options.zone.unwrap_or_else(|| options.account.default_zone());
    let prefix = UlaPrefix::with_global_id(random()?);
    let authority = Authority::create(options.account.clone(), zone, prefix, now)?;
    let key = linux::machine_key(state_dir)?;
    let public = PublicKey::from_spki(key.spki())?;
    let mut book = Book { format: FORMAT, serial: 0, changed_at: 0, members: Vec::new(), invitations: Invitations::default() };
    let tsig = book.add(&authority, &public, &options.machine, true, now)?;
    let identity = Identity {
        certificate: authority.issue(&public, &options.machine, now)?,
        account: options.account,
        trust: authority.trust().clone(),
        key: Arc::new(key),
        base: BaseContact { name: options.machine.clone(), addresses: Vec::new() },
        name: options.machine,
        tsig,
    };
    identity.check(now)?;
    linux::make_directory(&base_dir)?;
    let base = Base::new(state_dir, authority, book)?;
    let written = linux::write_key(&state_dir.join(layout::CA_KEY), base.authority.key())
        .and_then(|()| base.write(&base.book, &base.roster))
        .and_then(|()| identity.save(state_dir));
    if let Err(error) = written {
        base.unmake();
        return Err(error.into());
    }
    Ok((identity, base))
}

/// Refuses when this machine is in an account.
fn refuse_if_joined(state_dir: &Path) -> Result<(), StateError> {
    Identity::load_if_joined(state_dir)?.map_or(Ok(()), |identity| Err(identity.exists(state_dir)))
}

/// The base of an account, shared by the connections that it serves and by the one who invites.
#[derive(Clone, Debug)]
pub struct SharedBase(Arc<Mutex<Base>>);

impl SharedBase {
    /// Shares `base`.
    pub fn new(base: Base) -> Self {
        Self(Arc::new(Mutex::new(base)))
    }

    /// The base, exclusively. Its methods write files: hold it from a thread that may block, and not across an await.
    pub fn lock(&self) -> MutexGuard<'_, Base> {
        // A panic leaves the book as it was: it is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a home base. Every change is on disk before it is believed or answered.
#[derive(Debug)]
pub struct Base {
    state_dir: PathBuf,
    pub(super) authority: Authority,
    pub(super) book: Book,
    pub(super) roster: SignedRoster,
    guesses: Guesses,
    serial: watch::Sender<u64>,
}

impl Base {
    fn new(state_dir: &Path, authority: Authority, book: Book) -> Result<Self, KeyError> {
        let roster = book.roster(&authority).sign(&authority)?;
        let serial = watch::Sender::new(book.serial);
        Ok(Self { state_dir: state_dir.to_owned(), authority, book, roster, guesses: Guesses::default(), serial })
    }

    /// Takes the home base in `state_dir` up again.
    pub fn open(state_dir: &Path) -> Result<Self, BaseError> {
        let identity = Identity::load(state_dir)?;
        let path = state_dir.join(layout::CA_KEY);
        let key = linux::read_key(&path)?.ok_or_else(|| StateError::NoBase(path.clone()))?;
        let damaged = |error: AuthorityError| StateError::damaged(&path, &error.to_string());
        let authority = Authority::from_parts(key, identity.account().clone(), identity.trust().clone()).map_err(damaged)?;
        let path = state_dir.join(layout::BASE_STATE);
        let json = linux::read(&path, Secrecy::Secret)?.ok_or_else(|| StateError::damaged(&path, "it is missing"))?;
        let book: Book = layout::parse(&path, &json)?;
        let base = Self::new(state_dir, authority, book)?;
        if base.roster.verify(base.authority.trust()).is_err() || !base.book.members.iter().any(|member| member.machine.base) {
            return Err(StateError::damaged(&path, "its list of machines contradicts itself").into());
        }
        base.write_roster(&base.roster)?;
        Ok(base)
    }

    /// Gives out an invitation that admits one machine for an hour. `addresses` are where the base can be reached, best first.
    pub fn invite(&mut self, addresses: &[SocketAddr], now: SystemTime) -> Result<InvitationCode, BaseError> {
        if !(1..=MAX_ADDRESSES).contains(&addresses.len()) {
            return Err(CodeError::Addresses(addresses.len()).into());
        }
        if let Some(bad) =
            addresses.iter().find(|address| address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast())
        {
            return Err(BaseError::Address(*bad));
        }
        let secret = InviteSecret::generate()?;
        let mut book = self.book.clone();
        let expires_at = book.invitations.add(&secret, now)?;
        self.adopt(book)?;
        let fqdn = self.name().in_zone(&self.authority.trust().zone);
        let fingerprint = Fingerprint::of(&self.authority.trust().ca, &fqdn);
        Ok(InvitationCode { addresses: addresses.to_vec(), fingerprint, secret, expires_at })
    }

    /// Answers a machine at `source` that asks to join over the connection with this binding.
    pub fn join(
        &mut self,
        source: IpAddr,
        request: &JoinRequest,
        channel: &ChannelBinding,
        now: SystemTime,
    ) -> Result<Membership, Refusal> {
        if !self.guesses.may_try(source, now) {
            return Err(Refusal::TooManyTries);
        }
        let mut book = self.book.clone();
        let joined = book.join(&self.authority, request, channel, now);
        if matches!(joined, Err(Refusal::UnknownCode | Refusal::UsedCode | Refusal::ExpiredCode)) {
            self.guesses.was_wrong(source, now);
        }
        let membership = joined?;
        self.adopt(book).map_err(|error| {
            tracing::error!(%error, machine = %request.name, "cannot let a machine join");
            Refusal::Failed
        })?;
        tracing::info!(machine = %membership.name, "a machine joined the account");
        Ok(membership)
    }

    /// Answers a machine, known by its TLS certificate, that asks for a new certificate.
    pub fn renew(&self, peer: &PeerIdentity, request: &RenewRequest, now: SystemTime) -> Result<Renewal, Refusal> {
        self.book.renew(&self.authority, peer, request, now)
    }

    /// Gives the base's own machine a new certificate, and saves it.
    pub fn renew_own(&self, identity: &Identity, now: SystemTime) -> Result<Identity, BaseError> {
        let key = PublicKey::from_spki(identity.key().spki())?;
        let renewed = identity.renewed(self.authority.issue(&key, identity.name(), now)?, now)?;
        renewed.save(&self.state_dir)?;
        Ok(renewed)
    }

    /// Whom the machines of the account believe.
    pub fn trust(&self) -> &AccountTrust {
        self.authority.trust()
    }

    /// Whether `peer` is a machine of the account, with this name and key.
    pub fn holds(&self, peer: &PeerIdentity) -> bool {
        self.book.holds(peer)
    }

    /// The machines of the account.
    pub fn roster(&self) -> Roster {
        self.book.roster(&self.authority)
    }

    /// The machines of the account, signed for others.
    pub fn signed_roster(&self) -> &SignedRoster {
        &self.roster
    }

    /// The serial number of the roster, watched: whenever it changes, [`Base::roster`] and [`Base::tsig_keys`] have changed.
    pub fn watch_serial(&self) -> watch::Receiver<u64> {
        self.serial.subscribe()
    }

    /// The TSIG keys of all machines, the base's own included.
    pub fn tsig_keys(&self) -> impl Iterator<Item = (&MachineName, &TsigKey)> {
        self.book.members.iter().map(|member| (&member.machine.name, &member.tsig))
    }

    /// The base's own name.
    fn name(&self) -> &MachineName {
        let base = self.book.members.iter().find(|member| member.machine.base);
        base.map(|member| &member.machine.name).expect("create and open see to it that the base is a member")
    }

    /// Makes `book` the account's, on disk first.
    fn adopt(&mut self, book: Book) -> Result<(), BaseError> {
        let roster =
            if book.serial == self.book.serial { self.roster.clone() } else { book.roster(&self.authority).sign(&self.authority)? };
        self.write(&book, &roster)?;
        self.roster = roster;
        self.book = book;
        self.serial.send_if_modified(|serial| std::mem::replace(serial, self.book.serial) != self.book.serial);
        Ok(())
    }

    fn write(&self, book: &Book, roster: &SignedRoster) -> Result<(), StateError> {
        let json = Zeroizing::new(serde_json::to_vec_pretty(book).expect("a book always makes JSON"));
        linux::write(&self.state_dir.join(layout::BASE_STATE), &json, Secrecy::Secret)?;
        self.write_roster(roster)
    }

    fn write_roster(&self, roster: &SignedRoster) -> Result<(), StateError> {
        linux::write_roster(&self.state_dir, roster)
    }

    /// Takes back the files of an account that could not be founded.
    fn unmake(&self) {
        for file in [layout::ROSTER, layout::BASE_STATE, layout::CA_KEY] {
            // What cannot be removed either is reported by the next attempt.
            let _ = linux::remove(&self.state_dir.join(file));
        }
        let _ = linux::remove_directory(&self.state_dir.join(layout::BASE));
    }
}
