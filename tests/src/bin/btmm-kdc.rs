//! The local KDC alone, without tunnels and daemon: for interoperability tests and measurements.
//!
//! Prints `realm NAME`, one line `listening ADDRESS` for each address, and serves until standard input ends or it is killed.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use btmmd::account::identity::Identity;
use btmmd::account::key::{KeyAlgorithm, MachineKey};
use btmmd::account::known_roster;
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::driver::{Audit, Driver};
use btmmd::lkdc::kdc::mechanisms::mechanisms;
use btmmd::lkdc::kdc::policy::Policy;
use btmmd::lkdc::kdc::preauth::Mechanism;
use btmmd::lkdc::kdc::{Kdc, Settings};
use btmmd::lkdc::name::RealmName;
use btmmd::lkdc::pkinit::{Believers, Pkinit, PkinitKdc, Signatory};
use btmmd::lkdc::principals::TotpSecret;
use btmmd::lkdc::principals::book::Names;
use btmmd::lkdc::principals::register::Register;
use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// State directory: the identity of a joined machine, or nothing yet
    #[arg(long)]
    state: PathBuf,
    /// Address to serve on, UDP and TCP; port 0 for one that is free
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: Vec<SocketAddr>,
    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// A user with a password
    #[arg(long, value_name = "NAME=PASSWORD")]
    password: Vec<String>,
    /// A user with a second factor, after its password; the URI is printed as `totp NAME URI`
    #[arg(long, value_name = "NAME")]
    totp: Vec<String>,
    /// What a service asks of its clients: certificate, otp or password
    #[arg(long, value_name = "SERVICE=STRENGTH")]
    require: Vec<String>,
    /// Where to write the keys of all services
    #[arg(long)]
    keytab: Option<PathBuf>,
    /// Users without a purpose, to make the table large
    #[arg(long, default_value_t = 0)]
    crowd: usize,
    /// Tells each request on standard error
    #[arg(long)]
    audit: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.state)?;
    let identity = Identity::load_if_joined(&arguments.state)?;
    let names = names(identity.as_ref())?;
    let policy = Policy::default();
    let mut register =
        Register::open(&arguments.state, names, policy.ticket_life + policy.renew_life, SystemTime::now(), &mut SystemEntropy)?;
    fill(&mut register, &arguments)?;
    let names = register.names().clone();
    let host = format!("{}.{}", names.machine, names.zone);
    let settings = Settings { realm: names.realm.clone(), policy, host };
    let mut table: Vec<Box<dyn Mechanism>> = Vec::new();
    if let Some(identity) = &identity {
        let roster = known_roster(&arguments.state, identity.trust())?;
        let signatory = Signatory::new(identity.key().clone(), identity.certificate().to_vec())?;
        let believers = Believers::new(identity.trust().clone(), roster, [names.account.clone()]);
        table.push(Box::new(Pkinit(Arc::new(PkinitKdc::new(signatory, believers, &mut SystemEntropy)))));
    }
    table.extend(mechanisms(register.codes().clone(), &mut SystemEntropy));
    let kdc = Kdc::new(settings, register.principals().clone(), table);
    let audit: Audit = if arguments.audit { Arc::new(|event| eprintln!("{event:?}")) } else { Arc::new(|_| {}) };
    let driver = Driver::start(Arc::new(kdc), &arguments.listen, arguments.threads, audit)?;
    println!("realm {}", names.realm);
    for address in driver.addresses() {
        println!("listening {address}");
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

/// Of the joined machine, or of one that is made up.
fn names(identity: Option<&Identity>) -> anyhow::Result<Names> {
    let none = BTreeMap::new();
    Ok(match identity {
        Some(identity) => Names {
            realm: RealmName::of_key(identity.key().spki()),
            machine: identity.name().to_string(),
            zone: identity.zone().to_string(),
            account: identity.account().to_string(),
            users: none,
        },
        None => Names {
            realm: RealmName::of_key(MachineKey::generate(KeyAlgorithm::EcdsaP256)?.spki()),
            machine: "imac".to_owned(),
            zone: "alice.btmm.internal".to_owned(),
            account: "alice".to_owned(),
            users: none,
        },
    })
}

fn fill(register: &mut Register, arguments: &Arguments) -> anyhow::Result<()> {
    for user in &arguments.password {
        let (name, password) = user.split_once('=').context("NAME=PASSWORD")?;
        register.set_password(name, password, None, SystemTime::now())?;
    }
    for name in &arguments.totp {
        let secret = TotpSecret::generate(&mut SystemEntropy);
        println!("totp {name} {}", *secret.uri(name, &register.names().machine));
        register.set_totp(name, secret)?;
    }
    for demand in &arguments.require {
        let (service, strength) = demand.split_once('=').context("SERVICE=STRENGTH")?;
        register.require(service, &[strength.parse()?])?;
    }
    if let Some(path) = &arguments.keytab {
        std::fs::write(path, &*register.keytab(&[])?)?;
    }
    let pattern = register.principals().all().into_iter().find(|entry| entry.totp.is_none());
    if let Some(pattern) = pattern {
        for number in 0..arguments.crowd {
            let mut entry = (*pattern).clone();
            entry.name = btmmd::lkdc::name::Principal::user(&format!("crowd{number}"));
            register.principals().insert(entry);
        }
    }
    Ok(())
}
