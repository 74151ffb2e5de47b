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
mod services;
mod terminal;
mod tools;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};
use btmmd::account::authority::Authority;
use btmmd::account::certificate::AccountTrust;
use btmmd::account::driver::DotConnection;
use btmmd::account::key::MachineKey;
use btmmd::account::name::MachineName;
use btmmd::account::roster::Roster;
use btmmd::account::tls::{OwnCertificate, base_config};
use btmmd::account::{self, AccountOptions, Identity, SharedBase};
use btmmd::lkdc::name::RealmName;
use tokio::net::TcpListener;

use super::{Node, Running, binary, inside};

pub use conf::Conf;
pub use mit::MitKdc;

/// Where a machine's Kerberos files lie; foreign programs see them there.
pub const FOLDER: &str = "/run/krb5";
/// Where a joined machine's state lies.
pub const STATE: &str = "/var/lib/btmm";
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
    /// The account's CA, for certificates beside those of the two machines: a machine that has one and is not on the roster was removed.
    pub authority: Authority,
    /// Its two machines, as both know them.
    pub roster: Roster,
    /// The machine with the KDC and the services; also the account's base.
    pub imac: Machine,
    /// The client.
    pub laptop: Machine,
}

impl Pair {
    /// Makes them, with their credentials in [`FOLDER`] and each other's names in `/etc/hosts`. No `krb5.conf` yet.
    pub fn new() -> Result<Self> {
        let node = Node::new("imac")?;
        let state = node.path(STATE);
        let options = AccountOptions { account: "alice".parse()?, zone: Some(ZONE.parse()?), machine: "imac".parse()? };
        let (identity, base) = account::create(&state, options, SystemTime::now())?;
        let base = SharedBase::new(base);
        let imac = Machine::joined(node, Ipv4Addr::new(198, 18, 0, 1))?;
        let node = Node::new("laptop")?;
        let laptop_state = node.path(STATE);
        // A test may be asynchronous itself, and one runtime does not wait inside another.
        let joining = std::thread::scope(|scope| scope.spawn(|| join(&base, &identity, &laptop_state)).join());
        joining.map_err(|_| anyhow!("joining panicked"))??;
        let laptop = Machine::joined(node, Ipv4Addr::new(198, 18, 0, 2))?;
        let base = base.lock();
        let ca = MachineKey::from_pem(&std::fs::read(state.join("base/ca.key"))?)?;
        let authority = Authority::from_parts(ca, identity.account().clone(), base.trust().clone())?;
        let pair = Self { authority, roster: base.roster(), imac, laptop };
        pair.connect()?;
        Ok(pair)
    }

    /// Makes them with our KDC on `imac`, started with these arguments of `btmm-kdc`, and its realm in `laptop`'s `krb5.conf`.
    /// What the KDC wrote is shown when the test fails.
    pub fn with_kdc(arguments: &[&str]) -> Result<(Self, Running)> {
        let pair = Self::new()?;
        let kdc = pair.imac.start_kdc(arguments)?;
        pair.laptop.configure(&Conf::new().realm_of(&pair.imac))?;
        Ok((pair, kdc))
    }

    /// A user of `imac`'s realm.
    #[must_use]
    pub fn user(&self, name: &str) -> String {
        format!("{name}@{}", self.imac.realm())
    }

    fn connect(&self) -> Result<()> {
        let (imac, laptop) = (&self.imac, &self.laptop);
        imac.node.ip(&format!("link add wire type veth peer name wire netns {}", laptop.node.pid()))?;
        for machine in [imac, laptop] {
            let Machine { node, lan, inner, .. } = machine;
            node.ip(&format!("addr add {lan}/24 dev wire\naddr add {inner}/64 dev wire nodad\nlink set wire up"))?;
            let name = |machine: &Machine| format!("{} {} {}\n", machine.inner, machine.fqdn(), machine.name);
            node.write("/etc/hosts", format!("127.0.0.1 localhost\n::1 localhost\n{}{}", name(imac), name(laptop)))?;
        }
        Ok(())
    }
}

/// Joins `laptop` at this base over loopback, as its daemon would.
fn join(base: &SharedBase, identity: &Identity, state: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let invitation = base.lock().invite(&[listener.local_addr()?], SystemTime::now())?;
        let tls = base_config(identity, OwnCertificate::new(identity))?;
        tokio::spawn(account::serve_base(listener, tls, base.clone(), |_: DotConnection| async {}));
        account::join(&invitation, "laptop".parse()?, state).await?;
        Ok(())
    })
}

impl Machine {
    fn new(node: Node, name: &MachineName, key: MachineKey, certificate: &[u8], trust: &AccountTrust, lan: Ipv4Addr) -> Result<Self> {
        let inner = trust.prefix.inner_address(key.spki());
        let machine = Self { node, name: name.clone(), key, certificate: certificate.to_vec(), inner, lan };
        machine.write_credentials("machine", &machine.key, &machine.certificate)?;
        machine.write("account.pem", &pem("CERTIFICATE", &trust.ca))?;
        Ok(machine)
    }

    /// A machine whose own daemon brought it into its account. `lan` is its address at home.
    pub fn joined(node: Node, lan: Ipv4Addr) -> Result<Self> {
        let state = node.path(STATE);
        let identity = Identity::load(&state)?;
        let key = MachineKey::from_pem(&std::fs::read(state.join("machine.key"))?)?;
        Self::new(node, identity.name(), key, identity.certificate(), identity.trust(), lan)
    }

    /// Our KDC on port 88 of its inner address and in the LAN, with the state of the joined machine. Arguments are those of `btmm-kdc`.
    pub fn start_kdc(&self, arguments: &[&str]) -> Result<Running> {
        self.start_kdc_with(arguments, &[])
    }

    /// The same with these variables in its environment.
    pub fn start_kdc_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Running> {
        let mut command = self.node.command(binary("btmm-kdc"));
        command.envs(environment.iter().copied());
        command.args(["--state", STATE, "--audit", "--listen", &format!("[{}]:88", self.inner), "--listen", &format!("{}:88", self.lan)]);
        command.args(arguments);
        let mut kdc = self.node.spawn_attended(command)?;
        kdc.wait_for(&format!("listening {}:88", self.lan), Duration::from_secs(20))?;
        Ok(kdc)
    }

    /// Its name in the zone.
    #[must_use]
    pub fn fqdn(&self) -> String {
        format!("{}.{ZONE}", self.name)
    }

    /// The realm that its key names.
    #[must_use]
    pub fn realm(&self) -> String {
        RealmName::of_key(self.key.spki()).to_string()
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

    /// The path by which this machine's own programs reach a file of its foreign ones.
    #[must_use]
    pub fn foreign_path(&self, absolute: &str) -> String {
        if inside() { absolute.to_owned() } else { format!("/run/lab/root{absolute}") }
    }

    /// Writes a file that foreign programs look for outside `/run`.
    pub fn write_foreign(&self, absolute: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.node.write(&self.foreign_path(absolute), content)
    }
}

/// PEM (RFC 7468) of DER.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<String> = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
