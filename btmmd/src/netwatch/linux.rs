//! The kernel's side of the network watch: one dump, and a stream of snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rtnetlink::{Handle, RouteMessageBuilder};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::snapshot::{Address, DefaultRoute, Interface, Kind, Snapshot};

/// A change is told when nothing more has happened for this long …
const QUIET: Duration = Duration::from_millis(150);
/// … or when it is this old.
const PATIENCE: Duration = Duration::from_secs(1);
/// After a failed dump the next attempt waits this long.
const RETRY: Duration = Duration::from_secs(1);
/// `RTNLGRP_LINK`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_IFADDR`, `RTNLGRP_IPV6_ROUTE`.
const GROUPS: [u32; 5] = [1, 5, 7, 9, 11];
/// Interfaces of our own, by name.
const INNER: [&str; 2] = ["btmm0", "btmm-wait"];

/// Starts watching the network namespace of the calling thread; needs a tokio runtime.
///
/// The first snapshot is complete when this returns. Changes are told once they have been quiet for a moment, so a
/// new lease is one change and not five. Dropping every receiver ends the watch.
pub async fn watch() -> io::Result<watch::Receiver<Arc<Snapshot>>> {
    // Listening begins before the first dump, so no change falls between the two.
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    events.socket_mut().bind(&SocketAddr::new(0, GROUPS.iter().fold(0, |groups, group| groups | 1 << (group - 1))))?;
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let (sender, receiver) = watch::channel(Arc::new(dump(&handle).await?));
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => (),
            () = follow(&events, &handle, &sender) => (),
        }
    });
    Ok(receiver)
}

/// The network as it is now.
pub async fn snapshot() -> io::Result<Snapshot> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    dump(&handle).await
}

/// Runs until the socket fails.
async fn follow(events: &TokioSocket, handle: &Handle, sender: &watch::Sender<Arc<Snapshot>>) {
    loop {
        if let Err(error) = next_change(events).await {
            tracing::error!(%error, "the network watch ended");
            return;
        }
        let snapshot = loop {
            match dump(handle).await {
                Ok(snapshot) => break snapshot,
                Err(error) => {
                    tracing::warn!(%error, "reading addresses and routes failed; trying again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        sender.send_if_modified(|current| {
            let changed = **current != snapshot;
            if changed {
                *current = Arc::new(snapshot);
            }
            changed
        });
    }
}

/// Returns once something has happened and it has been quiet since.
async fn next_change(events: &TokioSocket) -> io::Result<()> {
    receive(events).await?;
    let patience = Instant::now() + PATIENCE;
    loop {
        let quiet = patience.min(Instant::now() + QUIET);
        match timeout_at(quiet, receive(events)).await {
            Ok(received) => received?,
            Err(_) => return Ok(()),
        }
    }
}

/// What an event says does not matter, for a dump follows; so lost events (ENOBUFS) are an event like any other.
async fn receive(events: &TokioSocket) -> io::Result<()> {
    match events.recv_from_full().await {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn dump(handle: &Handle) -> io::Result<Snapshot> {
    let links = collect(handle.link().get().execute()).await?;
    let mut interfaces: BTreeMap<u32, Interface> = links.iter().map(|link| (link.header.index, interface(link))).collect();
    for message in collect(handle.address().get().execute()).await? {
        if let (Some(interface), Some(address)) = (interfaces.get_mut(&message.header.index), address(&message)) {
            interface.addresses.insert(address);
        }
    }
    let mut defaults = BTreeSet::new();
    for request in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()] {
        let routes = collect(handle.route().get(request).execute()).await?;
        defaults.extend(routes.iter().flat_map(default_routes));
    }
    Ok(Snapshot { interfaces, defaults })
}

async fn collect<T>(found: impl Stream<Item = Result<T, rtnetlink::Error>>) -> io::Result<Vec<T>> {
    found.try_collect().await.map_err(|error| io::Error::other(error.to_string()))
}

fn interface(link: &LinkMessage) -> Interface {
    let name = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    });
    let name = name.unwrap_or_default();
    let kind = match () {
        () if link.header.flags.contains(LinkFlags::Loopback) => Kind::Loopback,
        () if INNER.contains(&name.as_str()) => Kind::Inner,
        () => Kind::Outer,
    };
    let up = link.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
    let mtu = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    Interface { index: link.header.index, name, kind, up, mtu: mtu.unwrap_or(1500), addresses: BTreeSet::new() }
}

fn address(message: &AddressMessage) -> Option<Address> {
    // On point-to-point links IFA_ADDRESS is the other end and IFA_LOCAL ours; IPv6 as a rule has only IFA_ADDRESS.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let ip = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    })?;
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let flags = flags.unwrap_or(AddressFlags::empty());
    let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    // The bit of IFA_F_TEMPORARY means "secondary" for IPv4.
    let temporary = message.header.family == AddressFamily::Inet6 && flags.contains(AddressFlags::Secondary);
    (!flags.intersects(unusable)).then_some(Address { ip, prefix: message.header.prefix_len, temporary })
}

/// The default routes in a route of the main table: several if it is a multipath route.
fn default_routes(route: &RouteMessage) -> Vec<DefaultRoute> {
    let header = &route.header;
    if header.destination_prefix_length != 0 || header.kind != RouteType::Unicast || header.table != RouteHeader::RT_TABLE_MAIN {
        return vec![];
    }
    let ipv6 = header.address_family == AddressFamily::Inet6;
    let find = |attributes: &[RouteAttribute]| attributes.iter().find_map(gateway);
    let metric = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let default = |interface, gateway| DefaultRoute { metric: metric.unwrap_or(0), interface, gateway, ipv6 };
    let single = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(interface) => Some(default(*interface, find(&route.attributes))),
        _ => None,
    });
    let multiple = route.attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    multiple.flatten().map(|hop| default(hop.interface_index, find(&hop.attributes))).chain(single).collect()
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(gateway)) | RouteAttribute::Via(RouteVia::Inet(gateway)) => Some((*gateway).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) | RouteAttribute::Via(RouteVia::Inet6(gateway)) => Some((*gateway).into()),
        _ => None,
    }
}
