//! A sharing key that never leaves a PKCS#11 token: a smart card, a USB key, SoftHSM2.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::algorithm::Digest;
use super::der::{self, DerError, Value};
use super::oid;
use super::sign::{SignError, Signer};

/// What can be wrong with a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The module is not there or does not start.
    #[error("the PKCS#11 module {module}: {cause}")]
    Module {
        /// Its path.
        module: PathBuf,
        /// The module's word.
        cause: cryptoki::error::Error,
    },
    /// No token has this label.
    #[error("no token is labelled {0:?}")]
    NoToken(String),
    /// The token refused: most often the PIN is wrong.
    #[error("the token {token:?} could not {action}: {cause}")]
    Token {
        /// Its label.
        token: String,
        /// What was tried.
        action: &'static str,
        /// The module's word.
        cause: cryptoki::error::Error,
    },
    /// The token has no such key pair, or of another kind.
    #[error("the token {token:?} has no ECDSA P-256 key pair labelled {key:?}")]
    NoKey {
        /// The token's label.
        token: String,
        /// The key's label.
        key: String,
    },
}

/// Which key on which token.
#[derive(Clone, Copy, Debug)]
pub struct TokenKey<'a> {
    /// The shared object that speaks to the token.
    pub module: &'a Path,
    /// The token's label.
    pub token: &'a str,
    /// The label of the key pair on it.
    pub key: &'a str,
}

/// An ECDSA P-256 key on a token, ready to sign.
pub struct Token {
    label: String,
    /// PKCS#11 sessions do one thing at a time.
    session: Mutex<Session>,
    key: ObjectHandle,
    spki: Vec<u8>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("label", &self.label).finish_non_exhaustive()
    }
}

impl Token {
    /// Opens the token with its user's PIN and finds the key.
    pub fn open(which: TokenKey<'_>, pin: &str) -> Result<Self, TokenError> {
        let label = which.token.to_owned();
        let refused = |action| {
            let token = label.clone();
            move |cause| TokenError::Token { token, action, cause }
        };
        let (module, slot) = slot(which)?;
        let session = module.open_ro_session(slot).map_err(refused("be opened"))?;
        session.login(UserType::User, Some(&AuthPin::new(pin.to_owned()))).map_err(refused("take the PIN"))?;
        let find = |class| {
            let template = [Attribute::Class(class), Attribute::Label(which.key.as_bytes().to_vec())];
            session.find_objects(&template).map(|found| found.first().copied()).map_err(refused("look for the key"))
        };
        let no_key = || TokenError::NoKey { token: label.clone(), key: which.key.to_owned() };
        let (private, public) = find(ObjectClass::PRIVATE_KEY)?.zip(find(ObjectClass::PUBLIC_KEY)?).ok_or_else(no_key)?;
        let attributes = [AttributeType::EcParams, AttributeType::EcPoint];
        let attributes = session.get_attributes(public, &attributes).map_err(refused("show the public key"))?;
        let spki = public_key(&attributes).map_err(|_| no_key())?;
        Ok(Self { session: Mutex::new(session), key: private, spki, label })
    }
}

impl Signer for Token {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |cause: &dyn fmt::Display| SignError(format!("the token {:?}: {cause}", self.label));
        let raw = session.sign(&Mechanism::Ecdsa, self.key, Digest::Sha256.of(message).as_ref()).map_err(|cause| failed(&cause))?;
        // PKCS#11 v2.40 §2.3.1: r and s in a row, of equal length.
        let halves = raw.split_at_checked(raw.len() / 2).filter(|(r, s)| !r.is_empty() && r.len() == s.len());
        let (r, s) = halves.ok_or_else(|| failed(&"not a signature"))?;
        Ok(der::sequence(&[&der::integer(r), &der::integer(s)]))
    }

    fn spki(&self) -> &[u8] {
        &self.spki
    }
}

fn slot(which: TokenKey<'_>) -> Result<(Pkcs11, Slot), TokenError> {
    let wrong = |cause| TokenError::Module { module: which.module.to_owned(), cause };
    let module = Pkcs11::new(which.module).map_err(wrong)?;
    if !module.is_initialized() {
        module.initialize(CInitializeArgs::OsThreads).map_err(wrong)?;
    }
    for slot in module.get_slots_with_token().map_err(wrong)? {
        if module.get_token_info(slot).is_ok_and(|info| info.label().trim_end() == which.token) {
            return Ok((module, slot));
        }
    }
    Err(TokenError::NoToken(which.token.to_owned()))
}

/// SubjectPublicKeyInfo of CKA_EC_PARAMS and CKA_EC_POINT (a DER OCTET STRING of the point).
fn public_key(attributes: &[Attribute]) -> Result<Vec<u8>, DerError> {
    const WHAT: &str = "the public key on the token";
    let (mut curve, mut point) = (None, None);
    for attribute in attributes {
        match attribute {
            Attribute::EcParams(octets) => curve = Some(octets),
            Attribute::EcPoint(octets) => point = Some(octets),
            _ => {}
        }
    }
    let (curve, point) = curve.zip(point).ok_or(DerError(WHAT))?;
    if *curve != der::oid(oid::P256) {
        return Err(DerError(WHAT));
    }
    let point = Value::only(point, der::OCTET_STRING, WHAT)?.contents;
    Ok(der::sequence(&[&der::sequence(&[&der::oid(oid::EC_PUBLIC_KEY), curve]), &der::bits(point)]))
}
