//! The files that stock Kerberos reads, in the daemon's runtime folder.
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use x509_cert::der::pem::{LineEnding, decode_vec, encode_string};

use super::{Conf, Place, Realms, krb5_conf};
use crate::account::certificate::AccountTrust;
use crate::account::name::MachineName;
use crate::account::prefix::UlaPrefix;

/// What the locate plugin reads.
pub const TABLE: &str = "realms";
/// What the system's `krb5.conf` includes.
pub const KRB5_CONF: &str = "krb5.conf";
/// The account's CA certificate.
pub const ANCHOR: &str = "account.pem";

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}", path = path.display())]
pub struct PublishError {
    path: PathBuf,
    source: io::Error,
}

/// Writes all of them, for an account with the CA certificate `ca` (DER). `own` is this machine, if it gives tickets. Readers see the old file
/// or the new one.
pub fn publish(
    folder: &Path,
    realms: &Realms,
    own: Option<&MachineName>,
    ca: &[u8],
    users: &BTreeMap<String, String>,
) -> Result<(), PublishError> {
    let anchor = folder.join(ANCHOR);
    // Encoding fails for no certificate of a size that was ever accepted.
    write(&anchor, encode_string("CERTIFICATE", LineEnding::LF, ca).unwrap_or_default().as_bytes())?;
    let conf = Conf { own: own.and_then(|own| realms.of_host(own.as_str())), anchor: &anchor.to_string_lossy(), users };
    write(&folder.join(KRB5_CONF), krb5_conf(realms, &conf).as_bytes())?;
    write(&folder.join(TABLE), realms.table().as_bytes())
}

/// Whom a client of this machine's KDC may believe: the CA that [`publish`] wrote, and the zone and prefix that its name and address show.
/// Nothing where no CA is published.
pub fn trust(folder: &Path, machine: &Place) -> Option<AccountTrust> {
    let text = fs::read(folder.join(ANCHOR)).ok()?;
    let (_, ca) = decode_vec(&text).ok()?;
    let (_, zone) = machine.fqdn.split_once('.')?;
    Some(AccountTrust { ca, zone: zone.parse().ok()?, prefix: UlaPrefix::around(machine.inner)? })
}

/// Empties what [`publish`] wrote: this machine is in no account. The files stay, because libkrb5 fails where an included file is missing.
pub fn withdraw(folder: &Path) -> Result<(), PublishError> {
    [TABLE, KRB5_CONF].iter().try_for_each(|name| write(&folder.join(name), b""))
}

/// For everybody to read, whatever the mask of the daemon is.
fn write(path: &Path, octets: &[u8]) -> Result<(), PublishError> {
    let fresh = path.with_extension("new");
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(libc::O_NOFOLLOW).open(&fresh)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(octets)?;
        fs::rename(&fresh, path)
    })();
    written.map_err(|source| PublishError { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::super::tests::realms;
    use super::*;

    #[test]
    fn everybody_can_read_what_is_published_and_nothing_is_missing_after_it_is_withdrawn() {
        let folder = std::env::temp_dir().join(format!("btmm-discover-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let own = "imac".parse().expect("a name");
        for users in [BTreeMap::new(), BTreeMap::from([("alice".to_owned(), "al".to_owned())])] {
            publish(&folder, &realms(), Some(&own), &[0x30, 0], &users).expect("published");
            let conf = fs::read_to_string(folder.join(KRB5_CONF)).expect("a file");
            assert_eq!(conf.contains("alice = al"), !users.is_empty());
        }
        assert_eq!(fs::read_to_string(folder.join(TABLE)).expect("a file"), realms().table());
        assert!(fs::read_to_string(folder.join(ANCHOR)).expect("a file").starts_with("-----BEGIN CERTIFICATE-----\nMAA=\n"));
        for name in [TABLE, KRB5_CONF, ANCHOR] {
            let mode = fs::metadata(folder.join(name)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o644, "{name}");
        }
        let known = realms();
        let trust = trust(&folder, known.of_host("imac").expect("known")).expect("all that is needed");
        assert_eq!((trust.ca, trust.zone.to_string().as_str()), (vec![0x30, 0], "alice.btmm.internal"));
        assert_eq!(trust.prefix.to_string(), "fd12:3456:789a::/48");
        withdraw(&folder).expect("withdrawn");
        for name in [TABLE, KRB5_CONF] {
            assert_eq!(fs::read(folder.join(name)).expect("still there"), b"", "{name}");
        }
        assert!(publish(&folder.join("missing"), &realms(), None, &[], &BTreeMap::new()).is_err());
        fs::remove_dir_all(folder).expect("removed");
    }
}
