//! The token itself, by its PKCS#11 module.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;
use x509_cert::der::Encode;
use x509_cert::der::asn1::{OctetStringRef, UintRef};

use super::{TokenError, TokenUri};
use crate::account::layout::StateError;
use crate::account::linux::{self, Secrecy};
use crate::wire::der;

/// The systemd credential that is the PIN when the URI names no file.
const CREDENTIAL: &str = "token-pin";
/// CKA_EC_PARAMS of P-256: its object identifier in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// All of a DER SubjectPublicKeyInfo of P-256 before its uncompressed point.
pub(super) const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];

/// A module is started once in a process, whoever uses it.
static MODULES: Mutex<BTreeMap<PathBuf, Arc<Pkcs11>>> = Mutex::new(BTreeMap::new());

/// A token that has taken the PIN, and the key on it.
pub(super) struct Opened {
    session: Session,
    module: Arc<Pkcs11>,
    slot: Slot,
    key: ObjectHandle,
    spki: Vec<u8>,
    uri: TokenUri,
}

impl Opened {
    /// Opens the token and finds the key; with `make`, a missing one is made there.
    pub fn open(uri: &TokenUri, make: bool) -> Result<Self, TokenError> {
        let (module, slot, info) = match find(uri) {
            Ok(found) => found,
            // Some modules learn of a token only when they are started.
            Err(TokenError::NoToken { .. } | TokenError::Refused { .. }) => {
                forget(&uri.module);
                find(uri)?
            }
            Err(error) => return Err(error),
        };
        let session = module.open_ro_session(slot).map_err(refused(uri, "be opened"))?;
        log_in(uri, &session, &info)?;
        let (private, public) = match key_pair(uri, &session)? {
            Some(found) => found,
            None if make => {
                make_key_pair(uri, &module, slot)?;
                key_pair(uri, &session)?.ok_or_else(|| no_key(uri))?
            }
            None => return Err(no_key(uri)),
        };
        let spki = public_key(uri, &session, public)?;
        Ok(Self { module, slot, session, key: private, spki, uri: uri.clone() })
    }

    /// The public key, DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether the token is still there and logged in.
    pub fn is_there(&self) -> bool {
        self.module.get_token_info(self.slot).is_ok_and(|info| is_meant(&self.uri, &info)) && self.session.get_session_info().is_ok()
    }

    /// Signs a SHA-256 digest; the signature is a DER `Ecdsa-Sig-Value`.
    pub fn sign(&self, digest: &[u8; 32]) -> Result<Vec<u8>, TokenError> {
        let raw = self.session.sign(&Mechanism::Ecdsa, self.key, digest).map_err(refused(&self.uri, "sign"))?;
        signature(&raw).ok_or_else(|| refused(&self.uri, "sign")("its signature cannot be read"))
    }
}

/// PKCS#11 v2.40 §2.3.1: r and s in a row, of equal length.
fn signature(raw: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = raw.split_at_checked(raw.len() / 2).filter(|(r, s)| r.len() == s.len() && r.len() <= 32)?;
    let [r, s] = [UintRef::new(r).ok()?.to_der().ok()?, UintRef::new(s).ok()?.to_der().ok()?];
    // At most 70 octets: the short form of a length.
    Some([[0x30, u8::try_from(r.len() + s.len()).ok()?].as_slice(), &r, &s].concat())
}

fn refused<E: Display>(uri: &TokenUri, action: &'static str) -> impl Fn(E) -> TokenError {
    let token = uri.token_name();
    move |cause| TokenError::Refused { token: token.clone(), action, why: line(&cause) }
}

fn no_key(uri: &TokenUri) -> TokenError {
    TokenError::NoKey { token: uri.token_name(), key: uri.key_name() }
}

fn line(cause: &dyn Display) -> String {
    cause.to_string().replace('\n', " ")
}

/// Takes up the module, and finds the token by its description.
fn find(uri: &TokenUri) -> Result<(Arc<Pkcs11>, Slot, TokenInfo), TokenError> {
    let module = module(&uri.module)?;
    for slot in module.get_slots_with_token().map_err(refused(uri, "be looked for"))? {
        if let Some(info) = module.get_token_info(slot).ok().filter(|info| is_meant(uri, info)) {
            return Ok((module, slot, info));
        }
    }
    Err(TokenError::NoToken { token: uri.token_name() })
}

fn is_meant(uri: &TokenUri, info: &TokenInfo) -> bool {
    let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is.trim_end());
    fits(&uri.token, info.label())
        && fits(&uri.serial, info.serial_number())
        && fits(&uri.model, info.model())
        && fits(&uri.manufacturer, info.manufacturer_id())
}

fn module(path: &Path) -> Result<Arc<Pkcs11>, TokenError> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(path) {
        return Ok(Arc::clone(module));
    }
    let failed = |cause: Error| TokenError::Module { module: path.display().to_string(), why: line(&cause) };
    let module = Pkcs11::new(path).map_err(failed)?;
    match module.initialize(CInitializeArgs::OsThreads) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) | Ok(()) => {}
        Err(error) => return Err(failed(error)),
    }
    Ok(Arc::clone(modules.entry(path.to_owned()).or_insert(Arc::new(module))))
}

/// Ends a module that nobody uses: to end it is to end everybody's sessions.
fn forget(path: &Path) {
    MODULES.lock().unwrap_or_else(PoisonError::into_inner).retain(|known, module| known != path || Arc::strong_count(module) > 1);
}

fn log_in(uri: &TokenUri, session: &Session, info: &TokenInfo) -> Result<(), TokenError> {
    if !info.login_required() {
        return Ok(());
    }
    let locked = |state| TokenError::Locked { token: uri.token_name(), state };
    if info.user_pin_locked() {
        return Err(locked("is locked"));
    }
    if info.user_pin_final_try() {
        return Err(locked("locks itself at the next wrong PIN"));
    }
    let (pin, file) = pin(uri)?;
    match session.login(UserType::User, Some(&pin)) {
        // One login is everybody's in a process.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
            Err(TokenError::WrongPin { token: uri.token_name(), file: file.display().to_string() })
        }
        Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(locked("is locked")),
        Err(error) => Err(refused(uri, "take the PIN")(error)),
    }
}

/// The PIN, and the file that it is from: its first line.
fn pin(uri: &TokenUri) -> Result<(AuthPin, PathBuf), TokenError> {
    let failed = |why: String| TokenError::NoPin { token: uri.token_name(), why };
    let (file, secrecy) = match (&uri.pin_source, std::env::var_os("CREDENTIALS_DIRECTORY")) {
        (Some(file), _) => (file.clone(), Secrecy::Secret),
        // systemd lets the service's user in by an access list, which looks like a group's right.
        (None, Some(folder)) => (Path::new(&folder).join(CREDENTIAL), Secrecy::Public),
        (None, None) => {
            return Err(failed(format!("name its file by pin-source=file:/FILE, or give btmmd.service LoadCredential={CREDENTIAL}:/FILE")));
        }
    };
    let read = linux::read(&file, secrecy).map_err(|error| match error {
        StateError::Exposed { path, mode } => {
            failed(format!("{} can be read by other users (mode {mode:04o}): run \"chmod 600\" on it", path.display()))
        }
        other => failed(other.to_string()),
    })?;
    let octets = read.ok_or_else(|| failed(format!("{} does not exist", file.display())))?;
    let text = std::str::from_utf8(&octets).map_err(|_| failed(format!("{} is not text", file.display())))?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok((AuthPin::new(line.to_owned()), file)),
        None => Err(failed(format!("{} begins with an empty line", file.display()))),
    }
}

/// What both halves of the pair are called.
fn names(uri: &TokenUri) -> Vec<Attribute> {
    let label = uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec()));
    label.into_iter().chain(uri.id.clone().map(Attribute::Id)).collect()
}

/// The private and the public half.
fn key_pair(uri: &TokenUri, session: &Session) -> Result<Option<(ObjectHandle, ObjectHandle)>, TokenError> {
    let find = |class| {
        let template: Vec<Attribute> = std::iter::once(Attribute::Class(class)).chain(names(uri)).collect();
        session.find_objects(&template).map(|found| found.first().copied()).map_err(refused(uri, "look for the key"))
    };
    Ok(find(ObjectClass::PRIVATE_KEY)?.zip(find(ObjectClass::PUBLIC_KEY)?))
}

/// Makes a key that never leaves the token.
fn make_key_pair(uri: &TokenUri, module: &Pkcs11, slot: Slot) -> Result<(), TokenError> {
    let session = module.open_rw_session(slot).map_err(refused(uri, "be written to"))?;
    let common = || names(uri).into_iter().chain([Attribute::Token(true)]);
    let public: Vec<Attribute> =
        common().chain([Attribute::Private(false), Attribute::Verify(true), Attribute::EcParams(P256.to_vec())]).collect();
    let private: Vec<Attribute> = common()
        .chain([Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)])
        .collect();
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).map(drop).map_err(refused(uri, "make a key"))
}

/// SubjectPublicKeyInfo of CKA_EC_PARAMS and CKA_EC_POINT (a DER OCTET STRING of the point; some tokens leave its header out).
fn public_key(uri: &TokenUri, session: &Session, public: ObjectHandle) -> Result<Vec<u8>, TokenError> {
    let other_kind = || TokenError::Kind { token: uri.token_name(), key: uri.key_name() };
    let read = |wanted: &[AttributeType]| session.get_attributes(public, wanted).map_err(refused(uri, "show the public key"));
    if read(&[AttributeType::KeyType])? != [Attribute::KeyType(KeyType::EC)] {
        return Err(other_kind());
    }
    let (mut curve, mut point) = (None, None);
    for attribute in read(&[AttributeType::EcParams, AttributeType::EcPoint])? {
        match attribute {
            Attribute::EcParams(octets) => curve = Some(octets),
            Attribute::EcPoint(octets) => point = Some(octets),
            _ => {}
        }
    }
    let point = point.filter(|_| curve.is_some_and(|curve| curve == P256)).ok_or_else(other_kind)?;
    let point = uncompressed(&point).ok_or_else(other_kind)?;
    Ok([P256_SPKI.as_slice(), point].concat())
}

/// The uncompressed point of P-256 in a CKA_EC_POINT. By its length alone it is told from one in an OCTET STRING: the tag of that is 4, too.
fn uncompressed(octets: &[u8]) -> Option<&[u8]> {
    const LENGTH: usize = 65;
    let point = if octets.len() == LENGTH { octets } else { der::x509::<OctetStringRef<'_>>(octets).ok()?.as_bytes() };
    (point.len() == LENGTH && point.first() == Some(&4)).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_with_and_without_its_header_whatever_it_is() {
        for first_of_x in 0..=u8::MAX {
            let mut raw = [7; 65];
            (raw[0], raw[1]) = (4, first_of_x);
            assert_eq!(uncompressed(&raw), Some(raw.as_slice()), "{first_of_x:#x}");
            let wrapped = [[4, 65].as_slice(), &raw].concat();
            assert_eq!(uncompressed(&wrapped), Some(raw.as_slice()), "{first_of_x:#x}");
        }
        assert_eq!(uncompressed(&[2; 65]), None);
        assert_eq!(uncompressed(&[4; 33]), None);
    }

    #[test]
    fn signatures_become_der_integers_without_leading_zeros_and_with_a_sign() {
        let raw = [[0, 0x7f], [0x80, 0]].concat();
        assert_eq!(signature(&raw).unwrap(), [0x30, 8, 2, 1, 0x7f, 2, 3, 0, 0x80, 0]);
        assert_eq!(signature(&[0xff; 64]).unwrap().len(), 2 + 2 * 35);
        assert_eq!(signature(&[1; 65]), None);
        assert_eq!(signature(&[1; 96]), None);
    }
}
