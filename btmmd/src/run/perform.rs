//! Executes what the upper half decides, strictly in order: each kernel change is complete before the next command runs.

use tracing::{debug, info, trace, warn};

use super::session::Session;
use super::tickets::Tickets;
use crate::account::name::MachineName;
use crate::engine::{self, Cause, Member};
use crate::esp::Direction;
use crate::ike;
use crate::xfrm::port::{InnerNetwork, PolicyId, PolicySpec, SaId, SaSpec};
use crate::{clock, portmap, resolver};

impl Session {
    /// Executes commands until nobody wants anything more.
    pub(super) async fn settle(&mut self) {
        loop {
            if let Some(command) = self.ike.poll_command() {
                self.perform_ike(command).await;
            } else if let Some(command) = self.engine.poll_command() {
                self.perform_engine(command).await;
            } else if let Some(command) = self.stub.poll_command() {
                self.perform_stub(command);
            } else if let Some(command) = self.mapper.poll_command() {
                self.perform_mapper(command).await;
            } else {
                return;
            }
        }
    }

    async fn perform_mapper(&mut self, command: portmap::Command) {
        match command {
            portmap::Command::Send { gateway, method, request } => self.doors.router.send(gateway, method, request).await,
            portmap::Command::Changed { port, mapping } if port.transport == portmap::Transport::Udp => {
                info!(%mapping, "port mapping");
                self.advertise();
                let external = mapping.external();
                if std::mem::replace(&mut self.told.external, external) != external {
                    // Peers that are up send to the old address until they hear from us.
                    self.ike.handle(ike::Input::NetworkChanged, clock::monotonic());
                }
            }
            portmap::Command::Changed { .. } => {}
            portmap::Command::Released => self.released = true,
        }
    }

    async fn perform_ike(&mut self, command: ike::Command) {
        match command {
            ike::Command::Send { local, remote, bytes } => {
                self.told.counters.ike_sent += 1;
                trace!(?local, %remote, octets = bytes.len(), "IKE sent");
                if let Err(error) = self.doors.sockets.send(local, remote, &bytes).await {
                    debug!(%remote, %error, "IKE datagram not sent");
                }
            }
            ike::Command::Keepalive { local, remote } => {
                if let Err(error) = self.doors.sockets.keepalive(local, remote).await {
                    debug!(%remote, %error, "keepalive not sent");
                }
            }
            ike::Command::InstallSa(child) => self.install(child).await,
            ike::Command::RemoveSa(sa) => self.remove(sa).await,
            ike::Command::MoveSa { sa, local, remote } => self.move_sa(sa, local, remote).await,
            ike::Command::Up { peer, local, remote, .. } => self.tunnel_up(&peer, local, remote),
            ike::Command::Down { peer, why } => self.tunnel_ended(&peer, why, true),
            ike::Command::Failed { peer, why } => self.tunnel_ended(&peer, why, false),
            ike::Command::Alive { peer, remote, rtt } => {
                if let Some(peer) = self.machine(&peer).and_then(|name| self.engine.peer(&name)) {
                    self.pings.alive(peer, remote, rtt);
                }
            }
        }
    }

    async fn perform_engine(&mut self, command: engine::Command) {
        match command {
            engine::Command::AddPeer { peer, inner, number } => {
                let spec = self.policies(inner, number);
                if let Err(error) = self.xfrm.set_policies(&spec).await {
                    warn!(%peer, %error, "policies not installed");
                }
            }
            engine::Command::RemovePeer { peer, inner } => {
                if let Err(error) = self.xfrm.remove_policies(self.policy(inner)).await {
                    warn!(%peer, %error, "policies not removed");
                }
            }
            engine::Command::Initiate { peer, inner, candidates } => {
                let candidates = engine::order(&self.own(), &candidates);
                let peer = peer.in_zone(self.identity.zone());
                self.ike.handle(ike::Input::Initiate { peer, inner, candidates }, clock::monotonic());
            }
            engine::Command::Close { peer } => {
                let peer = peer.in_zone(self.identity.zone());
                self.ike.handle(ike::Input::Close { peer }, clock::monotonic());
            }
            engine::Command::Confirm { peer } => {
                let peer = peer.in_zone(self.identity.zone());
                self.ike.handle(ike::Input::Confirm { peer }, clock::monotonic());
            }
            engine::Command::Places { peer } => self.tell_places(&peer),
            engine::Command::RefreshDirectory => {
                self.rendezvous.look_now("a peer is wanted");
                self.ask_roster();
            }
            engine::Command::Ready { inner, ready } => {
                if let Err(error) = self.datapath.set_peer_ready(inner, ready) {
                    warn!(%inner, ready, %error, "the waiting room was not told");
                }
            }
            engine::Command::ReleaseHeld { inner } => self.release(inner),
            engine::Command::DiscardHeld { inner, cause } => {
                let dropped = self.holding.refuse(inner);
                self.told.counters.packets_dropped += dropped as u64;
                debug!(%inner, dropped, %cause, "held packets given up");
            }
            engine::Command::NameUp { peer } => self.stub.handle(resolver::Input::TunnelUp(peer), clock::monotonic()),
            engine::Command::NameFailed { peer, cause } => {
                self.told.counters.tunnels_failed += 1;
                self.pings.failed(&peer, &cause.to_string());
                self.tickets.iter_mut().for_each(|tickets| tickets.unreachable(&peer, &cause.to_string()));
                self.stub.handle(resolver::Input::TunnelFailed(peer, cause.to_string()), clock::monotonic());
            }
            engine::Command::MeasureUsage { peer } => self.measure(&peer).await,
        }
    }

    fn perform_stub(&mut self, command: resolver::Command) {
        match command {
            resolver::Command::Answer { to, bytes } => {
                if let Some(stub) = &mut self.doors.stub {
                    stub.answer(to, bytes);
                }
            }
            resolver::Command::WantTunnel(peer) => self.engine.handle(engine::Input::Want { peer }, clock::monotonic()),
        }
    }

    /// The peer's name without its zone.
    pub(super) fn machine(&self, fqdn: &str) -> Option<MachineName> {
        self.identity.zone().machine(fqdn)
    }

    fn policy(&self, inner_remote: std::net::Ipv6Addr) -> PolicyId {
        PolicyId { inner_local: self.identity.inner(), inner_remote }
    }

    /// A peer's policies as they should be.
    fn policies(&self, inner: std::net::Ipv6Addr, reqid: u32) -> PolicySpec {
        let sending = self.states.values().find(|state| state.direction == Direction::Out && state.reqid == reqid);
        PolicySpec { id: self.policy(inner), reqid, outer: sending.map(|state| (state.local.ip(), state.remote.ip())) }
    }

    async fn install(&mut self, child: ike::ChildSa) {
        let Some(name) = self.machine(&child.peer) else { return };
        if self.engine.peer(&name).is_none() {
            self.introduce(name.clone(), child.inner_remote).await;
        }
        let Some(reqid) = self.engine.peer(&name).filter(|peer| peer.inner() == child.inner_remote).map(engine::Peer::number) else {
            return;
        };
        let spec = SaSpec {
            direction: child.direction,
            spi: child.spi,
            local: child.local,
            remote: child.remote,
            inner_local: child.inner_local,
            inner_remote: child.inner_remote,
            reqid,
            key: child.key,
            soft_lifetime: child.soft_lifetime,
            hard_lifetime: child.hard_lifetime,
        };
        if let Err(error) = self.install_spec(&spec).await {
            warn!(peer = %name, %error, "tunnel given up: its states cannot be installed");
            let now = clock::monotonic();
            self.ike.handle(ike::Input::Close { peer: child.peer }, now);
            self.engine.handle(engine::Input::TunnelFailed { peer: name, cause: Cause::Ike(error) }, now);
        } else {
            self.states.insert(spec.id(), spec);
        }
    }

    async fn install_spec(&mut self, spec: &SaSpec) -> Result<(), String> {
        if spec.direction == Direction::In {
            self.datapath.set_inbound_sa(spec.spi, true).map_err(|error| error.to_string())?;
        }
        self.xfrm.install_sa(spec).await.map_err(|error| error.to_string())
    }

    /// A peer that the roster has not told of yet, but whose certificate is right: policies first, then its states.
    async fn introduce(&mut self, name: MachineName, inner: std::net::Ipv6Addr) {
        self.engine.handle(engine::Input::Introduced(Member { name, inner }), clock::monotonic());
        while let Some(command) = self.engine.poll_command() {
            Box::pin(self.perform_engine(command)).await;
        }
        self.ask_roster();
    }

    async fn remove(&mut self, sa: ike::SaRef) {
        let id = sa_id(sa);
        self.states.remove(&id);
        self.usage.forget(id);
        if sa.direction == Direction::In
            && let Err(error) = self.datapath.set_inbound_sa(sa.spi, false)
        {
            warn!(spi = format_args!("{:08x}", sa.spi), %error, "the gate was not told");
        }
        if let Err(error) = self.xfrm.remove_sa(id).await {
            warn!(spi = format_args!("{:08x}", sa.spi), %error, "state not removed");
        }
    }

    /// A port that changed is an update in place; an address that changed costs the state, and IKE rekeys by itself.
    async fn move_sa(&mut self, sa: ike::SaRef, local: std::net::SocketAddr, remote: std::net::SocketAddr) {
        let id = sa_id(sa);
        let Some(spec) = self.states.get(&id).cloned() else { return };
        self.keep_tunnels();
        if spec.local.ip() != local.ip() || spec.remote.ip() != remote.ip() {
            return self.remove(sa).await;
        }
        let moved = SaSpec { local, remote, ..spec };
        match self.xfrm.update_sa(&moved).await {
            Ok(()) => drop(self.states.insert(id, moved)),
            Err(error) => warn!(spi = format_args!("{:08x}", sa.spi), %error, "state not moved"),
        }
    }

    fn tunnel_up(&mut self, fqdn: &str, local: std::net::SocketAddr, remote: std::net::SocketAddr) {
        let Some(name) = self.machine(fqdn) else { return };
        let now = clock::monotonic();
        info!(peer = %name, "tunnel up");
        debug!(peer = %name, %local, %remote, "tunnel up");
        self.told.counters.tunnels_up += 1;
        self.engine.handle(engine::Input::TunnelUp { peer: name.clone() }, now);
        self.keep_tunnels();
        self.tickets.iter_mut().for_each(Tickets::look_again);
        if self.pings.up(&name, now) {
            self.ike.handle(ike::Input::Probe { peer: fqdn.to_owned() }, now);
        }
    }

    fn tunnel_ended(&mut self, fqdn: &str, why: ike::Cause, was_up: bool) {
        let Some(peer) = self.machine(fqdn) else { return };
        let now = clock::monotonic();
        info!(%peer, cause = %why, was_up, "tunnel down");
        self.pings.failed(&peer, &why.text);
        self.tickets.iter_mut().for_each(Tickets::look_again);
        let cause = Cause::Ike(why.text);
        let input = match was_up {
            true => engine::Input::TunnelDown { peer, cause },
            false => engine::Input::TunnelFailed { peer, cause },
        };
        self.engine.handle(input, now);
        self.keep_tunnels();
    }

    fn release(&mut self, inner: std::net::Ipv6Addr) {
        for packet in self.holding.release(inner, clock::monotonic()) {
            match self.doors.waiting_room.inject(self.inner_index, &packet) {
                Ok(()) => self.told.counters.packets_held += 1,
                Err(error) => {
                    self.told.counters.packets_dropped += 1;
                    warn!(%inner, %error, "a held packet was lost");
                }
            }
        }
    }

    /// Somebody may have flushed the policies. Without its own a peer is not heard, and without the guard's a neighbour may be.
    async fn restore_policies(&self) {
        let network = InnerNetwork { address: self.identity.inner(), prefix: self.identity.prefix().network(), mtu: self.mtu };
        let peers: Vec<_> = self.engine.peers().map(|peer| self.policies(peer.inner(), peer.number())).collect();
        match self.xfrm.restore(&network, &peers).await {
            Ok(0) => {}
            Ok(missing) => warn!(missing, "IPsec policies were removed by somebody else; they are set again"),
            Err(error) => warn!(%error, "IPsec policies not compared with the kernel's"),
        }
    }

    async fn measure(&mut self, peer: &MachineName) {
        let Some(number) = self.engine.peer(peer).map(engine::Peer::number) else { return };
        let now = clock::monotonic();
        self.restore_policies().await;
        match self.xfrm.states().await {
            Ok(states) => {
                self.compare(&states, now);
                let inbound = |id| self.states.get(&id).is_some_and(|spec| spec.direction == Direction::In);
                let measured = self.usage.look(&states, number, inbound);
                for spi_in in measured.heard {
                    self.ike.handle(ike::Input::Traffic { spi_in }, now);
                }
                self.engine.handle(engine::Input::Usage { peer: peer.clone(), packets: measured.packets }, now);
            }
            Err(error) => warn!(%peer, %error, "usage of the tunnel is not known"),
        }
    }
}

fn sa_id(sa: ike::SaRef) -> SaId {
    let destination = match sa.direction {
        Direction::In => sa.local.ip(),
        Direction::Out => sa.remote.ip(),
    };
    SaId { destination, spi: sa.spi }
}
