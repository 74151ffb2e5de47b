//! The register of principals: what is kept on disk, and the table that the KDC looks into, always the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use super::Principals;
use super::book::{Book, Names};
use super::linux::{self, FileError};
use super::password::{self, BadPassword};
use super::strength::Strength;
use super::totp::TotpSecret;
use crate::entropy::Entropy;
use crate::lkdc::crypto::CryptoError;
use crate::lkdc::keytab::{self, KeytabError};
use crate::lkdc::name::Principal;
use crate::lkdc::otp::totp::matching_step;
use crate::lkdc::otp::{self, Ledger, OtpError};

/// How long a new second factor waits for the first code of it.
const OFFERED: Duration = Duration::from_secs(600);

/// Why the register was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A right code that cannot be put down as used.
    #[error("{0}; nothing was changed")]
    NotKept(OtpError),
    /// A password that is easily guessed.
    #[error("the password is refused: {0}")]
    Password(#[from] BadPassword),
    /// Not the password there was.
    #[error("this is not {0}'s password")]
    WrongPassword(String),
    /// A second factor without a first.
    #[error("{0} has no password yet: set one with \"btmm passwd\" first")]
    NoPassword(String),
    /// Not a code of the second factor that was made.
    #[error("this is not the code that {0}'s authenticator should show now (are both clocks right?); nothing was changed")]
    WrongCode(String),
    /// A code for nothing.
    #[error("no new second factor of {0} waits for a code: begin with \"btmm passwd --totp\"")]
    NoOffer(String),
    /// A service there is not.
    #[error("there is no service {name:?}; there are: {}", known.join(", "))]
    NoService {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The cryptography.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The names do not fit in a keytab.
    #[error("keytab: {0}")]
    Keytab(#[from] KeytabError),
}

/// The register, shared by those who ask it to change. A clone is the same register.
#[derive(Clone, Debug)]
pub struct SharedRegister {
    names: Arc<Names>,
    principals: Principals,
    codes: Arc<Ledger>,
    register: Arc<Mutex<Register>>,
}

impl SharedRegister {
    /// Shares `register`.
    pub fn new(register: Register) -> Self {
        let (names, principals) = (Arc::new(register.names.clone()), register.principals.clone());
        let codes = register.codes.clone();
        Self { names, principals, codes, register: Arc::new(Mutex::new(register)) }
    }

    /// The names of this machine. Does not wait.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The table that the KDC looks into. It follows every change. Does not wait.
    pub fn principals(&self) -> &Principals {
        &self.principals
    }

    /// The one-time codes that were used. Does not wait.
    pub fn codes(&self) -> &Arc<Ledger> {
        &self.codes
    }

    /// The register, exclusively. Its methods write files and stretch passwords: hold it from a thread that may block, not across an await.
    pub fn lock(&self) -> MutexGuard<'_, Register> {
        // A panic leaves the book as it was: it is replaced as a whole.
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The principals of this machine's realm. Every change is on disk before the KDC sees it.
#[derive(Debug)]
pub struct Register {
    state_dir: PathBuf,
    names: Names,
    machines: Vec<String>,
    longest: Duration,
    book: Book,
    principals: Principals,
    codes: Arc<Ledger>,
    /// Second factors that were made and have not proven to work yet, by user. Kept in memory only.
    offers: BTreeMap<String, Offer>,
}

/// A second factor that was made and has not proven to work yet.
#[derive(Debug)]
struct Offer {
    secret: TotpSecret,
    until: SystemTime,
}

impl Register {
    /// Reads the register of `state_dir`, or makes one with fresh keys. `longest` is how long a ticket can live, renewals included: so long
    /// old keys are kept.
    pub fn open(
        state_dir: &Path,
        names: Names,
        longest: Duration,
        now: SystemTime,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, RegisterError> {
        let kept = linux::load(state_dir)?;
        let new = kept.is_none();
        let codes = Arc::new(otp::linux::open(&state_dir.join(linux::FOLDER), new, now)?);
        let mut changed = new;
        let mut book = kept.unwrap_or_else(|| Book::new(names.realm.clone(), now, entropy));
        if book.realm != names.realm {
            book.rename(names.realm.clone(), now, entropy);
            changed = true;
        }
        changed |= book.complete(now, entropy);
        changed |= book.age(longest, now, entropy);
        let state_dir = state_dir.to_owned();
        let (machines, principals, offers) = (Vec::new(), Principals::new(), BTreeMap::new());
        let register = Self { state_dir, names, machines, longest, book, principals, codes, offers };
        if changed {
            linux::save(&register.state_dir, &register.book)?;
        }
        register.tell();
        Ok(register)
    }

    /// The table that the KDC looks into. It follows every change.
    pub fn principals(&self) -> &Principals {
        &self.principals
    }

    /// The one-time codes that were used.
    pub fn codes(&self) -> &Arc<Ledger> {
        &self.codes
    }

    /// The names of this machine.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The account's other machines, fully qualified: each is known as the client `host/NAME`.
    pub fn set_machines(&mut self, machines: Vec<String>) {
        if self.machines != machines {
            self.machines = machines;
            self.tell();
        }
    }

    /// Makes new keys for the ticket granting service when they are old, and forgets keys whose time has come. To be called daily.
    pub fn age(&mut self, now: SystemTime, entropy: &mut dyn Entropy) -> Result<(), RegisterError> {
        let mut book = self.book.clone();
        if book.age(self.longest, now, entropy) { self.adopt(book) } else { Ok(()) }
    }

    /// Sets a user's password. `old` is the one there was, which must be right; `None` comes from one who may do without.
    pub fn set_password(&mut self, user: &str, password: &str, old: Option<&str>, now: SystemTime) -> Result<(), RegisterError> {
        self.prove(user, old)?;
        password::check(password, &[user, &self.names.account, &self.names.machine])?;
        let mut book = self.book.clone();
        book.set_password(user, password.as_bytes(), now)?;
        self.adopt(book)
    }

    /// Refuses an old password that is not the one kept. Where none is kept there is nothing to prove.
    pub fn prove(&self, user: &str, old: Option<&str>) -> Result<(), RegisterError> {
        match old {
            Some(old) if self.book.has_password(user) && !self.book.is_password(user, old.as_bytes()) => {
                Err(RegisterError::WrongPassword(user.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether a user has a password.
    pub fn has_password(&self, user: &str) -> bool {
        self.book.has_password(user)
    }

    /// Forgets a user's password and second factor; tells whether there were any.
    pub fn forget(&mut self, user: &str) -> Result<bool, RegisterError> {
        self.offers.remove(user);
        let mut book = self.book.clone();
        let had = book.forget(user);
        if had {
            self.adopt(book)?;
        }
        Ok(had)
    }

    /// Makes a second factor for a user with a password. It takes effect with a code of it: see [`Self::confirm_totp`]. What is returned is
    /// shown once and holds the secret.
    pub fn offer_totp(&mut self, user: &str, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Zeroizing<String>, RegisterError> {
        self.needs_password(user)?;
        let secret = TotpSecret::generate(entropy);
        let uri = secret.uri(user, &self.names.machine);
        self.offers.retain(|_, offer| now < offer.until);
        self.offers.insert(user.to_owned(), Offer { secret, until: now + OFFERED });
        Ok(uri)
    }

    /// Puts the second factor that was made last in the place of the one there was, because its owner's authenticator gives the right code,
    /// which is used up then.
    pub fn confirm_totp(&mut self, user: &str, code: &str, now: SystemTime) -> Result<(), RegisterError> {
        let offer = self.offers.get(user).filter(|offer| now < offer.until);
        let secret = offer.ok_or_else(|| RegisterError::NoOffer(user.to_owned()))?.secret.clone();
        let step = matching_step(&secret, code.as_bytes(), now).ok_or_else(|| RegisterError::WrongCode(user.to_owned()))?;
        // The old factor may have used the same step: it was another code then.
        match self.codes.claim(&Principal::user(user), step) {
            Ok(()) | Err(OtpError::Used) => {}
            Err(error) => return Err(RegisterError::NotKept(error)),
        }
        self.set_totp(user, secret)?;
        self.offers.remove(user);
        Ok(())
    }

    /// Gives a user with a password this second factor.
    pub fn set_totp(&mut self, user: &str, secret: TotpSecret) -> Result<(), RegisterError> {
        self.needs_password(user)?;
        let mut book = self.book.clone();
        book.set_totp(user, Some(secret));
        self.adopt(book)
    }

    fn needs_password(&self, user: &str) -> Result<(), RegisterError> {
        if self.book.has_password(user) { Ok(()) } else { Err(RegisterError::NoPassword(user.to_owned())) }
    }

    /// Takes a user's second factor away; tells whether there was one.
    pub fn remove_totp(&mut self, user: &str) -> Result<bool, RegisterError> {
        self.offers.remove(user);
        let had = self.book.users.get(user).is_some_and(|user| user.totp.is_some());
        if had {
            let mut book = self.book.clone();
            book.set_totp(user, None);
            self.adopt(book)?;
        }
        Ok(had)
    }

    /// What each service asks of its clients, any one of these; nothing stands for any proof.
    pub fn demands(&self) -> BTreeMap<String, Vec<Strength>> {
        self.book.services.iter().map(|(name, service)| (name.clone(), service.strength.clone())).collect()
    }

    /// Sets what a service asks of its clients. Tickets that were given before stay good.
    pub fn require(&mut self, service: &str, strength: &[Strength]) -> Result<(), RegisterError> {
        let mut book = self.book.clone();
        if book.require(service, strength) { self.adopt(book) } else { Err(self.no_service(service)) }
    }

    /// Makes new keys for `services`, or for all when none is named. Tickets for the old ones stay good.
    pub fn rotate(&mut self, services: &[String], now: SystemTime, entropy: &mut dyn Entropy) -> Result<(), RegisterError> {
        let mut book = self.book.clone();
        let all = self.services();
        for service in if services.is_empty() { &all } else { services } {
            if !book.rotate(service, self.longest, now, entropy) {
                return Err(self.no_service(service));
            }
        }
        self.adopt(book)
    }

    /// The keys of `services`, or of all when none is named, as a keytab.
    pub fn keytab(&self, services: &[String]) -> Result<Zeroizing<Vec<u8>>, RegisterError> {
        let entries = self.book.keytab(&self.names, services).map_err(|unknown| self.no_service(&unknown))?;
        Ok(keytab::emit(&entries)?)
    }

    fn services(&self) -> Vec<String> {
        self.book.services.keys().cloned().collect()
    }

    fn no_service(&self, name: &str) -> RegisterError {
        RegisterError::NoService { name: name.to_owned(), known: self.services() }
    }

    fn adopt(&mut self, book: Book) -> Result<(), RegisterError> {
        linux::save(&self.state_dir, &book)?;
        self.book = book;
        self.tell();
        Ok(())
    }

    fn tell(&self) {
        self.principals.replace(self.book.entries(&self.names, &self.machines));
    }
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
