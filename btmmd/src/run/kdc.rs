//! This machine's KDC within its session: where it listens, whom it knows, and the audit log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tracing::{debug, info, warn};

use super::session::Session;
use crate::account::identity::Identity;
use crate::account::roster::Roster;
use crate::config::Config;
use crate::control::messages::KdcStatus;
use crate::entropy::SystemEntropy;
use crate::lkdc::driver::{Audit, Driver, DriverError, PORT};
use crate::lkdc::kdc::event::{Event, Outcome};
use crate::lkdc::kdc::mechanisms::mechanisms;
use crate::lkdc::kdc::policy::Policy;
use crate::lkdc::kdc::preauth::Mechanism;
use crate::lkdc::kdc::{Kdc, Settings};
use crate::lkdc::name::RealmName;
use crate::lkdc::pkinit::{Believers, Pkinit, PkinitKdc, Signatory};
use crate::lkdc::principals::SharedRegister;

/// More threads than this gain nothing at home.
const MAX_THREADS: usize = 4;

/// The KDC, whom it knows, and its sockets.
pub(super) struct Kerberos {
    kdc: Arc<Kdc>,
    register: SharedRegister,
    /// Absent when this machine's certificate does not go with its key: then only passwords are proof.
    pkinit: Option<Arc<PkinitKdc>>,
    threads: usize,
    driver: Option<Driver>,
    tally: Arc<Tally>,
}

/// What the KDC has done since the session began.
#[derive(Default)]
struct Tally {
    given: AtomicU64,
    refused: AtomicU64,
}

impl Tally {
    fn count(&self, event: &Event) {
        match event.outcome {
            Outcome::Issued { .. } => self.given.fetch_add(1, Ordering::Relaxed),
            Outcome::Refused { .. } => self.refused.fetch_add(1, Ordering::Relaxed),
            Outcome::Repeated | Outcome::Continued => 0,
        };
    }
}

impl Kerberos {
    /// The KDC of this machine's realm; it listens nowhere yet. Without a roster certificates are no proof.
    pub fn new(identity: &Identity, register: SharedRegister, roster: Option<&Roster>, config: &Config) -> Self {
        let policy =
            Policy { ticket_life: config.lkdc.ticket_life.duration(), renew_life: config.lkdc.renew_life.duration(), ..Policy::default() };
        let settings = Settings { realm: RealmName::of_key(identity.key().spki()), policy, host: identity.fqdn() };
        let (principals, codes) = (register.principals().clone(), register.codes().clone());
        let users = config.lkdc.users.keys().cloned().chain([identity.account().to_string()]);
        let pkinit = match Signatory::new(identity.key().clone(), identity.certificate().to_vec()) {
            Ok(signatory) => {
                let believers = Believers::new(identity.trust().clone(), roster.cloned(), users);
                Some(Arc::new(PkinitKdc::new(signatory, believers, &mut SystemEntropy)))
            }
            Err(error) => {
                warn!(%error, "certificates of other machines are no proof");
                None
            }
        };
        let mut table: Vec<Box<dyn Mechanism>> = Vec::new();
        table.extend(pkinit.clone().map(|pkinit| Box::new(Pkinit(pkinit)) as Box<dyn Mechanism>));
        table.extend(mechanisms(codes, &mut SystemEntropy));
        let kdc = Kdc::new(settings, principals, table);
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        Self { kdc: Arc::new(kdc), register, pkinit, threads, driver: None, tally: Arc::default() }
    }

    /// What is told of it.
    pub fn status(&self) -> KdcStatus {
        KdcStatus {
            realm: self.kdc.realm().to_string(),
            listen: self.driver.as_ref().map(|driver| driver.addresses().to_vec()).unwrap_or_default(),
            principals: self.register.principals().len() as u64,
            given: self.tally.given.load(Ordering::Relaxed),
            refused: self.tally.refused.load(Ordering::Relaxed),
        }
    }

    /// Listens on these addresses, if it does not already.
    fn listen(&mut self, addresses: &[SocketAddr]) {
        if self.driver.as_ref().is_some_and(|driver| driver.addresses() == addresses) {
            return;
        }
        // First the old sockets go: an address may be in both lists.
        self.driver = None;
        let tally = self.tally.clone();
        let told = move |event: &Event| {
            tally.count(event);
            audit(event);
        };
        self.driver = self.bind(addresses.to_vec(), Arc::new(told));
    }

    /// Listens where it can: another KDC on one address of the home network is no reason to serve nobody on the others.
    fn bind(&self, mut addresses: Vec<SocketAddr>, told: Audit) -> Option<Driver> {
        loop {
            match Driver::start(self.kdc.clone(), &addresses, self.threads, told.clone()) {
                Ok(driver) => {
                    info!(realm = %self.kdc.realm(), ?addresses, "tickets are given");
                    return Some(driver);
                }
                Err(DriverError::Address { address: taken, transport, cause }) if addresses.len() > 1 => {
                    warn!(%cause, "no tickets are given on {transport} {taken}");
                    addresses.retain(|address| *address != taken);
                }
                Err(error) => {
                    warn!(%error, "no tickets are given");
                    return None;
                }
            }
        }
    }
}

impl Session {
    /// Listens where this machine can be asked for tickets: on its inner address, and on its own networks if so configured.
    pub(super) fn serve_kerberos(&mut self) {
        let inner = IpAddr::V6(self.identity.inner());
        let mut addresses = vec![SocketAddr::new(inner, PORT)];
        if self.config.lkdc.lan {
            addresses.extend(self.network.candidates().into_iter().map(|address| SocketAddr::new(address, PORT)));
        }
        if let Some(kerberos) = &mut self.kerberos {
            kerberos.listen(&addresses);
        }
    }

    /// The account's machines are clients, and those that left it are not any more.
    pub(super) fn tell_machines(&self) {
        let (Some(kerberos), Some(roster)) = (&self.kerberos, self.roster.current()) else { return };
        let others = roster.machines().iter().filter(|machine| machine.name != *self.identity.name());
        let machines = others.map(|machine| machine.name.in_zone(self.identity.zone())).collect();
        kerberos.register.lock().set_machines(machines);
        if let Some(pkinit) = &kerberos.pkinit {
            pkinit.believers().set_roster(roster.clone());
        }
    }
}

/// Every ticket given or refused, to the journal.
fn audit(event: &Event) {
    let name = |name: &Option<crate::lkdc::name::Principal>| name.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let (exchange, from) = (event.exchange, event.source.address.ip());
    match &event.outcome {
        Outcome::Issued { strengths, until, how } => {
            let (client, service) = (name(&event.client), name(&event.service));
            let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            info!(target: "btmmd::audit", %exchange, %from, client, service, ?strengths, until, how, "ticket given");
        }
        Outcome::Refused { code, reason } => {
            let (client, service) = (name(&event.client), name(&event.service));
            info!(target: "btmmd::audit", %exchange, %from, client, service, %code, reason = &**reason, "ticket refused");
        }
        Outcome::Repeated => debug!(target: "btmmd::audit", %exchange, %from, "reply sent again"),
        Outcome::Continued => debug!(target: "btmmd::audit", %exchange, %from, client = name(&event.client), "asked for a proof"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountOptions, create};
    use crate::clock;
    use crate::lkdc::principals::Register;
    use crate::run::register::names;

    /// A new account's base, its list of machines, and its register.
    fn base(folder: &std::path::Path) -> (Identity, crate::account::roster::Roster, SharedRegister, Config) {
        let options = AccountOptions { account: "alice".parse().unwrap(), zone: None, machine: "base".parse().unwrap() };
        let (identity, base) = create(folder, options, clock::wall()).unwrap();
        let config = Config::default();
        let life = config.lkdc.renew_life.duration();
        let register = Register::open(folder, names(&identity, &config), life, clock::wall(), &mut SystemEntropy).unwrap();
        (identity, base.roster(), SharedRegister::new(register), config)
    }

    #[test]
    fn the_kdc_has_the_kept_roster_from_its_first_moment_and_believes_nobody_without_one() {
        let folder = crate::account::driver::tests::directory();
        let (identity, roster, register, config) = base(folder.path());
        for (roster, believed) in [(Some(&roster), true), (None, false)] {
            let kerberos = Kerberos::new(&identity, register.clone(), roster, &config);
            let pkinit = kerberos.pkinit.unwrap();
            assert_eq!(pkinit.believers().believe(identity.certificate(), clock::wall()).is_ok(), believed);
        }
    }

    #[test]
    fn an_address_that_another_kdc_has_costs_the_others_nothing() {
        let folder = crate::account::driver::tests::directory();
        let (identity, roster, register, config) = base(folder.path());
        let mut kerberos = Kerberos::new(&identity, register, Some(&roster), &config);
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        kerberos.listen(&[other.local_addr().unwrap(), "127.0.0.2:0".parse().unwrap()]);
        let listens: Vec<IpAddr> = kerberos.status().listen.iter().map(SocketAddr::ip).collect();
        assert_eq!(listens, ["127.0.0.2".parse::<IpAddr>().unwrap()]);
    }
}
