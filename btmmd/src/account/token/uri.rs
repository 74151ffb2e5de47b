//! Which key on which token: `pkcs11:` URIs (RFC 7512).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest URI worth reading, in octets.
const MAX_URI: usize = 1024;

/// What is wrong with a URI. Names attributes, and never tells their values: one may be a PIN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// Not a URI of a token at all.
    #[error("it is not a URI that begins with pkcs11:, of at most {MAX_URI} printable characters")]
    Form,
    /// Not `name=value`.
    #[error("something in it is not of the form NAME=VALUE")]
    Nameless,
    /// A value that cannot be decoded.
    #[error("the value of {0:?} in it cannot be read")]
    Attribute(String),
    /// An attribute by which no key is looked for here.
    #[error("{0:?} in it is not understood: token, serial, model, manufacturer, object, id, type=private, module-path and pin-source are")]
    Unknown(String),
    /// An attribute comes twice.
    #[error("{0:?} is in it twice")]
    Twice(String),
    /// The PIN itself.
    #[error("pin-value is in it, but a PIN belongs in a file: write pin-source=file:/FILE")]
    PinValue,
    /// A path that is not absolute.
    #[error("{0} is no absolute path in it")]
    Path(&'static str),
    /// Without a module there is no way to a token.
    #[error("module-path is missing in it, such as ?module-path=/usr/lib/x86_64-linux-gnu/pkcs11/opensc-pkcs11.so")]
    NoModule,
    /// Any token would do.
    #[error("it names no token: add token= or serial=")]
    NoToken,
    /// Any key would do.
    #[error("it names no key: add object= or id=")]
    NoKey,
}

/// A key on a token. The PIN is never in it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenUri {
    text: String,
    /// The shared object that speaks to the token.
    pub(super) module: PathBuf,
    /// The token's label.
    pub(super) token: Option<String>,
    pub(super) serial: Option<String>,
    pub(super) model: Option<String>,
    pub(super) manufacturer: Option<String>,
    /// The key pair's label.
    pub(super) object: Option<String>,
    pub(super) id: Option<Vec<u8>>,
    /// Where the PIN is; a systemd credential when absent.
    pub(super) pin_source: Option<PathBuf>,
}

impl TokenUri {
    /// The token, as people know it.
    pub(super) fn token_name(&self) -> String {
        self.token.as_ref().or(self.serial.as_ref()).map(|name| format!("{name:?}")).unwrap_or_default()
    }

    /// The key, as people know it.
    pub(super) fn key_name(&self) -> String {
        let id = || self.id.as_ref().map(|id| data_encoding::HEXLOWER.encode(id)).unwrap_or_default();
        self.object.as_ref().map_or_else(id, |label| format!("{label:?}"))
    }
}

#[derive(Default)]
struct Attributes {
    module: Option<String>,
    token: Option<String>,
    serial: Option<String>,
    model: Option<String>,
    manufacturer: Option<String>,
    object: Option<String>,
    id: Option<Vec<u8>>,
    pin_source: Option<String>,
}

impl Attributes {
    fn take(&mut self, attribute: &str) -> Result<(), UriError> {
        let (name, value) = attribute.split_once('=').ok_or(UriError::Nameless)?;
        if name == "pin-value" {
            return Err(UriError::PinValue);
        }
        let broken = || UriError::Attribute(name.to_owned());
        let octets = decoded(value).ok_or_else(broken)?;
        let twice = || UriError::Twice(name.to_owned());
        if name == "id" {
            return if self.id.replace(octets).is_none() { Ok(()) } else { Err(twice()) };
        }
        let text = String::from_utf8(octets).map_err(|_| broken())?;
        let place = match name {
            "token" => &mut self.token,
            "serial" => &mut self.serial,
            "model" => &mut self.model,
            "manufacturer" => &mut self.manufacturer,
            "object" => &mut self.object,
            "module-path" => &mut self.module,
            "pin-source" => &mut self.pin_source,
            "type" if text == "private" => return Ok(()),
            _ => return Err(UriError::Unknown(name.to_owned())),
        };
        if place.replace(text).is_none() { Ok(()) } else { Err(twice()) }
    }
}

impl FromStr for TokenUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        let rest = text.strip_prefix("pkcs11:").filter(|_| text.len() <= MAX_URI && text.bytes().all(|octet| octet.is_ascii_graphic()));
        let rest = rest.ok_or(UriError::Form)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut found = Attributes::default();
        for attribute in path.split(';').chain(query.split('&')).filter(|attribute| !attribute.is_empty()) {
            found.take(attribute)?;
        }
        if found.token.is_none() && found.serial.is_none() {
            return Err(UriError::NoToken);
        }
        if found.object.is_none() && found.id.is_none() {
            return Err(UriError::NoKey);
        }
        let pin = found.pin_source.map(|source| absolute(source.strip_prefix("file:").unwrap_or(&source), "pin-source"));
        Ok(Self {
            text: text.to_owned(),
            module: absolute(&found.module.ok_or(UriError::NoModule)?, "module-path")?,
            token: found.token,
            serial: found.serial,
            model: found.model,
            manufacturer: found.manufacturer,
            object: found.object,
            id: found.id,
            pin_source: pin.transpose()?,
        })
    }
}

/// The daemon stands in another folder than who names the file.
fn absolute(path: &str, what: &'static str) -> Result<PathBuf, UriError> {
    let path = PathBuf::from(path.strip_prefix("//").map_or_else(|| path.to_owned(), |rest| format!("/{}", rest.trim_start_matches('/'))));
    if path.is_absolute() { Ok(path) } else { Err(UriError::Path(what)) }
}

/// Undoes percent encoding (RFC 3986 §2.1).
fn decoded(value: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, after @ ..] = rest {
        (octets, rest) = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let pair = [high.to_ascii_uppercase(), low.to_ascii_uppercase()];
                octets.extend(data_encoding::HEXUPPER.decode(&pair).ok()?);
                (octets, after)
            }
            (b'%', _) => return None,
            _ => {
                octets.push(*first);
                (octets, after)
            }
        };
    }
    Some(octets)
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "pkcs11:model=SoftHSM%20v2;token=my%20card;object=sharing;id=%01%aB;type=private?module-path=/usr/lib/x.so&pin-source=file:/etc/btmm/pin";

    #[test]
    fn a_uri_says_token_key_module_and_where_the_pin_is() {
        let uri: TokenUri = WHOLE.parse().unwrap();
        assert_eq!((uri.token.as_deref(), uri.model.as_deref(), uri.serial.as_deref()), (Some("my card"), Some("SoftHSM v2"), None));
        assert_eq!((uri.object.as_deref(), uri.id.as_deref()), (Some("sharing"), Some([1, 0xab].as_slice())));
        assert_eq!(uri.module, PathBuf::from("/usr/lib/x.so"));
        assert_eq!(uri.pin_source, Some(PathBuf::from("/etc/btmm/pin")));
        assert_eq!(uri.to_string(), WHOLE);
        assert_eq!((uri.token_name().as_str(), uri.key_name().as_str()), ("\"my card\"", "\"sharing\""));
        let short: TokenUri = "pkcs11:serial=7f;id=%02?module-path=/m.so&pin-source=file:///run/pin".parse().unwrap();
        assert_eq!((short.token_name().as_str(), short.key_name().as_str()), ("\"7f\"", "02"));
        assert_eq!(short.pin_source, Some(PathBuf::from("/run/pin")));
    }

    #[test]
    fn what_does_not_name_one_key_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<TokenUri>().unwrap_err();
        assert_eq!(refused("file:/etc/key"), UriError::Form);
        assert_eq!(refused(&format!("pkcs11:token={}", "a".repeat(MAX_URI))), UriError::Form);
        assert_eq!(refused("pkcs11:token=a;object=b"), UriError::NoModule);
        assert_eq!(refused("pkcs11:object=b?module-path=/m"), UriError::NoToken);
        assert_eq!(refused("pkcs11:token=a?module-path=/m"), UriError::NoKey);
        assert_eq!(refused("pkcs11:token=a;token=b"), UriError::Twice("token".to_owned()));
        assert_eq!(refused("pkcs11:token=%4"), UriError::Attribute("token".to_owned()));
        assert_eq!(refused("pkcs11:token=%zz"), UriError::Attribute("token".to_owned()));
        assert_eq!(refused("pkcs11:slot-id=3"), UriError::Unknown("slot-id".to_owned()));
        assert_eq!(refused("pkcs11:token=a;object=b?module-path=m.so"), UriError::Path("module-path"));
        assert_eq!(refused("pkcs11:token=a;object=b?module-path=/m&pin-source=pin"), UriError::Path("pin-source"));
        assert_eq!(refused("pkcs11:token=a;object=b?module-path=/m&pin-value=1234"), UriError::PinValue);
        assert_eq!(refused("pkcs11:token"), UriError::Nameless);
    }

    #[test]
    fn no_error_tells_a_pin() {
        for text in
            ["pin-value=1234", "pin-value=1234%x4", "pin-value=1234%ff", "PIN-VALUE=1234", "pin-value1234", "type=1234", "pin=1234%"]
        {
            let refused = format!("pkcs11:{text}").parse::<TokenUri>().unwrap_err();
            assert!(!refused.to_string().contains("1234") && !format!("{refused:?}").contains("1234"), "{text}: {refused}");
        }
    }
}
