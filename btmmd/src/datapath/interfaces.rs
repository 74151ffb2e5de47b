//! The interfaces of this network namespace, as far as attaching needs to know them.

use std::collections::BTreeMap;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::{InterfaceFlags, if_nameindex};

use super::{DatapathError, waiting_room};

/// `ARPHRD_ETHER` of `<linux/if_arp.h>`.
const ETHERNET: u16 = 1;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name now.
    pub name: String,
    /// Index.
    pub index: u32,
    /// Whether frames begin with an Ethernet header.
    pub ethernet: bool,
    /// Whether there is hardware behind it, real or of a virtual machine.
    pub hardware: bool,
    /// Whether it is a loopback.
    pub loopback: bool,
    /// Whether it is up.
    pub up: bool,
    /// Whether it has an IP address.
    pub addressed: bool,
}

impl Interface {
    /// Every interface of this network namespace, by index.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn all() -> Result<Vec<Self>, DatapathError> {
        let unlisted = |error: nix::Error| DatapathError::Interface(format!("list ({error})"));
        let entries: Vec<_> = getifaddrs().map_err(unlisted)?.collect();
        let mut all = BTreeMap::new();
        for known in &if_nameindex().map_err(unlisted)? {
            let name = known.name().to_string_lossy().into_owned();
            let of_it = || entries.iter().filter(|entry| entry.interface_name == name);
            // An interface without a link address (a TUN, a PPP, `btmm0`) has an entry without one.
            let link = of_it().find_map(|entry| entry.address.as_ref()?.as_link_addr().map(|link| link.hatype()));
            let flags = of_it().next().map_or(InterfaceFlags::empty(), |entry| entry.flags);
            let interface = Self {
                index: known.index(),
                ethernet: link == Some(ETHERNET),
                hardware: Path::new("/sys/class/net").join(&name).join("device").exists(),
                loopback: flags.contains(InterfaceFlags::IFF_LOOPBACK),
                up: flags.contains(InterfaceFlags::IFF_UP),
                addressed: false,
                name: name.clone(),
            };
            all.insert(name, interface);
        }
        for entry in &entries {
            let ip =
                entry.address.as_ref().is_some_and(|address| address.as_sockaddr_in().is_some() || address.as_sockaddr_in6().is_some());
            if let (true, Some(interface)) = (ip, all.get_mut(&entry.interface_name)) {
                interface.addressed = true;
            }
        }
        let mut all: Vec<Self> = all.into_values().collect();
        all.sort_by_key(|interface| interface.index);
        Ok(all)
    }

    /// The interface of that name.
    ///
    /// # Errors
    /// [`DatapathError::Interface`] when there is none.
    pub fn by_name(name: &str) -> Result<Self, DatapathError> {
        Self::all()?.into_iter().find(|interface| interface.name == name).ok_or_else(|| DatapathError::Interface(name.to_owned()))
    }

    /// The interface of that index.
    ///
    /// # Errors
    /// [`DatapathError::Interface`] when there is none.
    pub fn by_index(index: u32) -> Result<Self, DatapathError> {
        Self::all()?
            .into_iter()
            .find(|interface| interface.index == index)
            .ok_or_else(|| DatapathError::Interface(format!("with index {index}")))
    }

    /// Whether port 4500 could be reached or left through it: it is up, has an address, and is neither a loopback nor ours.
    pub fn is_uplink(&self) -> bool {
        self.up && self.addressed && self.may_lead_out()
    }

    /// Whether it is neither a loopback nor ours.
    pub fn may_lead_out(&self) -> bool {
        !self.loopback && self.name != "btmm0" && self.name != waiting_room::INTERFACE
    }
}
