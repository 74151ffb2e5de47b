//! Kerberos between two machines of one account, with stock tools in namespaces of this kernel.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use btmm_tests::lab::kerberos::{Conf, MitKdc, Pair};
//! let pair = Pair::new()?;
//! let kdc = MitKdc::new("EXAMPLE.TEST").principal("alice", "a secret").start(&pair.imac)?;
//! pair.laptop.configure(&Conf::new().realm("EXAMPLE.TEST", &pair.imac))?;
//! pair.laptop.kinit(&["alice@EXAMPLE.TEST"], Some("a secret"))?;
//! assert!(pair.laptop.klist(&["-e"])?.out.contains("krbtgt/EXAMPLE.TEST"));
//! # drop(kdc);
//! # Ok(()) }
//! ```
mod conf;
mod mit;
mod plugin;
mod tools;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use anyhow::{Context, Result};
use btmmd::account::authority::Authority;
use btmmd::account::key::{KeyAlgorithm, MachineKey};
use btmmd::account::name::MachineName;
use btmmd::account::prefix::UlaPrefix;
use btmmd::account::public_key::PublicKey;
use btmmd::account::roster::KeyHash;

use super::Node;

pub use conf::Conf;
pub use mit::MitKdc;

/// Where a machine's Kerberos files lie; foreign programs see them there.
pub const FOLDER: &str = "/run/krb5";
/// The account's zone.
pub const ZONE: &str = "alice.btmm.internal";

/// A machine of the account on the wire.
#[derive(Debug)]
pub struct Machine {
    /// Its namespaces.
    pub node: Node,
    /// Its name in the account.
    pub name: MachineName,
    /// Its key.
    pub key: MachineKey,
    /// Its sharing certificate, DER.
    pub certificate: Vec<u8>,
    /// Its inner address, on the wire's interface.
    pub inner: Ipv6Addr,
    /// Its address in the LAN that the wire is.
    pub lan: Ipv4Addr,
}

/// `imac` and `laptop` on one wire, in the account `alice`, each with its inner address and one in 198.18.0.0/24.
#[derive(Debug)]
pub struct Pair {
    /// The account's CA.
    pub authority: Authority,
    /// The machine with the KDC and the services.
    pub imac: Machine,
    /// The client.
    pub laptop: Machine,
}

impl Pair {
    /// Makes them, with their credentials in [`FOLDER`] and each other's names in `/etc/hosts`. No `krb5.conf` yet.
    pub fn new() -> Result<Self> {
        Self::with(authority()?)
    }

    /// Makes them in this account, which must have the zone [`ZONE`].
    pub fn with(authority: Authority) -> Result<Self> {
        let imac = Machine::new(&authority, "imac", Ipv4Addr::new(198, 18, 0, 1))?;
        let laptop = Machine::new(&authority, "laptop", Ipv4Addr::new(198, 18, 0, 2))?;
        imac.node.ip(&format!("link add wire type veth peer name wire netns {}", laptop.node.pid()))?;
        for machine in [&imac, &laptop] {
            machine
                .node
                .ip(&format!("addr add {}/24 dev wire\naddr add {}/64 dev wire nodad\nlink set wire up", machine.lan, machine.inner))?;
            machine.node.write(
                "/etc/hosts",
                format!(
                    "127.0.0.1 localhost\n::1 localhost\n{} {} imac\n{} {} laptop\n",
                    imac.inner,
                    imac.fqdn(),
                    laptop.inner,
                    laptop.fqdn()
                ),
            )?;
        }
        Ok(Self { authority, imac, laptop })
    }
}

/// A new account `alice`.
pub fn authority() -> Result<Authority> {
    let prefix = UlaPrefix::with_global_id([0x12, 0x34, 0x56, 0x78, 0x9a]);
    let (account, zone) = ("alice".parse()?, ZONE.parse()?);
    Authority::create(account, zone, prefix, SystemTime::now()).context("founding the account")
}

impl Machine {
    fn new(authority: &Authority, name: &str, lan: Ipv4Addr) -> Result<Self> {
        let (name, key) = (name.parse::<MachineName>()?, MachineKey::generate(KeyAlgorithm::EcdsaP256)?);
        let certificate = authority.issue(&PublicKey::from_spki(key.spki())?, &name, SystemTime::now())?;
        let inner = authority.trust().prefix.inner_address(key.spki());
        let machine = Self { node: Node::new(name.as_str())?, name, key, certificate, inner, lan };
        machine.write_credentials("machine", &machine.key, &machine.certificate)?;
        machine.write("account.pem", &pem("CERTIFICATE", &authority.trust().ca))?;
        Ok(machine)
    }

    /// Its name in the zone.
    #[must_use]
    pub fn fqdn(&self) -> String {
        format!("{}.{ZONE}", self.name)
    }

    /// The realm that its key names.
    #[must_use]
    pub fn realm(&self) -> String {
        format!("LKDC:SHA256.{}", String::from(KeyHash::of(self.key.spki())).to_ascii_uppercase())
    }

    /// Writes a key and its certificate to `NAME.key` and `NAME.pem` in [`FOLDER`]; its own are there as `machine`, the account's CA as
    /// `account.pem`.
    pub fn write_credentials(&self, name: &str, key: &MachineKey, certificate: &[u8]) -> Result<()> {
        self.write(&format!("{name}.key"), &key.to_pem()?)?;
        self.write(&format!("{name}.pem"), &pem("CERTIFICATE", certificate))
    }

    /// Writes a file in [`FOLDER`].
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        self.node.write(&format!("{FOLDER}/{name}"), text)
    }

    /// Writes a file that foreign programs look for outside `/run`.
    pub fn write_foreign(&self, absolute: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.node.write(&format!("/run/lab/root{absolute}"), content)
    }
}

/// PEM (RFC 7468) of DER.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<String> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
