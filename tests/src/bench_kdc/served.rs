//! Our KDC in a process of its own, for measurements: the real driver over principals that both sides know the keys of.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use aws_lc_rs::digest;
use btmmd::account::identity::Identity;
use btmmd::account::key::MachineKey;
use btmmd::account::known_roster;
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::crypto::{Etype, Key};
use btmmd::lkdc::driver::{Audit, Driver};
use btmmd::lkdc::kdc::event::{Event, Outcome};
use btmmd::lkdc::kdc::policy::Policy;
use btmmd::lkdc::kdc::preauth::Mechanism;
use btmmd::lkdc::kdc::timestamp::EncryptedTimestamp;
use btmmd::lkdc::kdc::{Kdc, Settings};
use btmmd::lkdc::name::{Principal, RealmName};
use btmmd::lkdc::pkinit::{Believers, Pkinit, PkinitKdc, Signatory};
use btmmd::lkdc::principals::{Entry, Kind, Principals, VersionedKeys};

use crate::lab::kerberos::STATE;

/// The one encryption type of all keys, on both sides: what Debian's krb5 makes by default.
pub const ETYPE: Etype = Etype::Aes256CtsHmacSha1_96;
/// Users with a password, which is their name.
pub const USERS: usize = 10;
/// Host of the service that tickets are for.
pub const HOST: &str = "imac.alice.btmm.internal";

/// What the process is told.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The realm
    #[arg(long)]
    realm: RealmName,
    /// Where to serve
    #[arg(long)]
    listen: SocketAddr,
    /// Threads
    #[arg(long)]
    threads: usize,
    /// More users, with random keys
    #[arg(long, default_value_t = 0)]
    crowd: u32,
    /// Folder with key and certificate of the machine, which has joined an account: with these, certificates are taken too
    #[arg(long)]
    credentials: Option<PathBuf>,
}

/// Serves until it is killed.
///
/// # Errors
/// When the address cannot be had.
pub fn run(arguments: &Arguments) -> Result<()> {
    let settings = Settings { realm: arguments.realm.clone(), policy: Policy::default(), host: HOST.to_owned() };
    let mut mechanisms: Vec<Box<dyn Mechanism>> = vec![Box::new(EncryptedTimestamp)];
    if let Some(folder) = &arguments.credentials {
        mechanisms.push(Box::new(pkinit(folder)?));
    }
    let kdc = Kdc::new(settings, principals(arguments)?, mechanisms);
    let audit: Audit = Arc::new(log);
    let _driver = Driver::start(Arc::new(kdc), &[arguments.listen], arguments.threads, audit)?;
    println!("commencing operation");
    loop {
        std::thread::park();
    }
}

fn pkinit(folder: &Path) -> Result<Pkinit> {
    let signatory = signatory(folder)?;
    let identity = Identity::load_if_joined(Path::new(STATE))?.context("the machine has joined no account")?;
    let roster = known_roster(Path::new(STATE), identity.trust())?;
    let believers = Believers::new(identity.trust().clone(), roster, (0..USERS).map(user));
    Ok(Pkinit(Arc::new(PkinitKdc::new(signatory, believers, &mut SystemEntropy))))
}

/// The machine whose files lie in `folder`.
pub fn signatory(folder: &Path) -> Result<Signatory> {
    let key = MachineKey::from_pem(&std::fs::read(folder.join("machine.key"))?)?;
    Ok(Signatory::new(Arc::new(key), certificate(&folder.join("machine.pem"))?)?)
}

fn certificate(path: &Path) -> Result<Vec<u8>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    Ok(data_encoding::BASE64.decode(base64.as_bytes())?)
}

/// One line for each request, written at once, as krb5kdc does.
fn log(event: &Event) {
    let name = |name: &Option<Principal>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    let outcome = match &event.outcome {
        Outcome::Issued { .. } => "issued",
        Outcome::Repeated => "repeated",
        Outcome::Continued => "continued",
        Outcome::Refused { reason, .. } => reason.as_ref(),
    };
    let line = format!("{} {}: {} for {}: {outcome}\n", event.exchange, event.source.address, name(&event.client), name(&event.service));
    // Nobody is left to be told of a log that cannot be written.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn principals(arguments: &Arguments) -> Result<Principals> {
    let principals = Principals::new();
    let realm = arguments.realm.as_str();
    let random = || Key::random(ETYPE, &mut SystemEntropy);
    principals.insert(entry(Principal::krbtgt(realm), Kind::Krbtgt, random(), None));
    principals.insert(entry(Principal::service("host", HOST), Kind::Service, random(), None));
    for number in 0..USERS {
        let name = user(number);
        let salt = format!("{realm}{name}");
        let entry = entry(Principal::user(&name), Kind::User { local: None }, password_key(realm, &name)?, Some(salt));
        principals.insert(entry);
    }
    for number in 0..arguments.crowd {
        let name = Principal::user(&member(number));
        principals.insert(entry(name, Kind::User { local: None }, member_key(number)?, None));
    }
    Ok(principals)
}

fn entry(name: Principal, kind: Kind, key: Key, salt: Option<String>) -> Entry {
    let since = SystemTime::now() - Duration::from_secs(1);
    let keys = vec![VersionedKeys { kvno: 1, keys: vec![key].into(), salt, since, until: None }].into();
    Entry { keys, ..Entry::new(name, kind) }
}

/// Name, and password, of a user.
#[must_use]
pub fn user(number: usize) -> String {
    format!("user{number}")
}

/// A user's key, with the usual salt.
pub fn password_key(realm: &str, name: &str) -> Result<Key> {
    Ok(Key::from_password(ETYPE, name.as_bytes(), format!("{realm}{name}").as_bytes(), None)?)
}

/// Name of one of the crowd.
#[must_use]
pub fn member(number: u32) -> String {
    format!("member{number}")
}

/// Key of one of the crowd.
pub fn member_key(number: u32) -> Result<Key> {
    Ok(Key::new(ETYPE, digest::digest(&digest::SHA256, &number.to_be_bytes()).as_ref())?)
}
