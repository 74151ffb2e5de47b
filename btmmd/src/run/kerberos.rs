//! What stock Kerberos on this machine and the rest of the account are told of the local KDCs.

use std::collections::BTreeMap;

use tracing::warn;

use super::session::Session;
use crate::account::identity::Identity;
use crate::lkdc::discover::linux::publish;
use crate::lkdc::discover::{Place, Realms};
use crate::lkdc::name::RealmName;

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
        let ca = &self.identity.trust().ca;
        if let Err(error) = publish(&self.runtime, &self.realms(), self.identity.name(), ca, &BTreeMap::new()) {
            warn!(%error, "stock Kerberos programs do not find the account's machines");
        }
    }
}
