//! What stock Kerberos on this machine and the rest of the account are told of the local KDCs.

use nix::unistd::gethostname;
use tracing::warn;

use super::session::Session;
use crate::account::identity::Identity;
use crate::lkdc::discover::linux::publish;
use crate::lkdc::discover::mdns::Announcement;
use crate::lkdc::discover::mdns::driver::{Mdns, Network};
use crate::lkdc::discover::{Place, Realms};
use crate::lkdc::name::RealmName;
use crate::netwatch::{Kind, Snapshot};

/// This machine's own KDC.
pub(super) fn own_place(identity: &Identity) -> Place {
    Place {
        machine: identity.name().clone(),
        fqdn: identity.fqdn(),
        inner: identity.inner(),
        realm: RealmName::of_key(identity.key().spki()),
    }
}

impl Session {
    /// The KDCs of the account as far as the roster is known.
    pub(super) fn realms(&self) -> Realms {
        let known = self.roster.current().map(|roster| Realms::of_roster(roster, self.identity.zone()));
        known.unwrap_or_default().with(own_place(&self.identity))
    }

    /// Writes what stock programs read. A failure takes nothing else down.
    pub(super) fn publish_realms(&self) {
        let (ca, config) = (&self.identity.trust().ca, &self.config.lkdc);
        let own = config.enabled.then(|| self.identity.name());
        if let Err(error) = publish(&self.runtime, &self.realms(), own, ca, &config.users) {
            warn!(%error, "stock Kerberos programs do not find the account's machines");
        }
    }

    /// The realm as the zone has it; empty where no tickets are given.
    pub(super) fn published_realm(&self) -> String {
        if self.config.lkdc.enabled { own_place(&self.identity).realm.to_string() } else { String::new() }
    }

    /// Tells the home network of the realm, where tickets are given there.
    pub(super) fn announce_realm(&mut self) {
        let speaks = self.config.lkdc.enabled && self.config.lkdc.lan;
        let networks: Vec<Network> = if speaks { networks(&self.network) } else { Vec::new() };
        if self.mdns.as_ref().map(|(known, _)| known) == Some(&networks) {
            return;
        }
        self.mdns = None;
        let host = gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let announcement = Announcement::new(&host, &own_place(&self.identity).realm);
        self.mdns = announcement.map(|announcement| (networks.clone(), Mdns::start(&announcement, networks)));
    }
}

/// Where neighbours may be: interfaces that lead elsewhere and have an address.
fn networks(snapshot: &Snapshot) -> Vec<Network> {
    let outer = snapshot.interfaces.values().filter(|interface| interface.kind == Kind::Outer && interface.up);
    outer
        .flat_map(|interface| {
            let has = |ipv6| interface.addresses.iter().any(|address| address.ip.is_ipv6() == ipv6);
            let families = [false, true].into_iter().filter(move |ipv6| has(*ipv6));
            families.map(|ipv6| Network { interface: interface.name.clone(), index: interface.index, ipv6 })
        })
        .collect()
}
