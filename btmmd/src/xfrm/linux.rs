//! The handle to the kernel's IPsec, and the monitor of its events.
mod monitor;
mod route;
mod socket;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use netlink_packet_xfrm::XfrmMessage;
use nix::errno::Errno;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use self::route::Routes;
use self::socket::{Failure, Requests};
use super::error::{Object, XfrmError};
use super::link::{self, NotOurs};
use super::policy::{Flow, Policy, missing, policy_changes};
use super::port::{IF_ID, INTERFACE, InnerNetwork, KernelEvent, MINIMUM_MTU, PolicyId, PolicySpec, Removed, SaEntry, SaId, SaSpec};
use super::{decode, encode};
use crate::esp::{Direction, EspKey};

/// The kernel's IPsec of the network namespace of the thread that opened it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Xfrm {
    requests: Arc<Requests>,
    routes: Routes,
}

impl Xfrm {
    /// Opens the request sockets; needs a tokio runtime.
    pub fn open() -> Result<Self, XfrmError> {
        let requests = Requests::open().map_err(|source| socket_error("open", Object::Socket("IPsec requests"), source))?;
        let routes = Routes::open().map_err(|source| socket_error("open", Object::Socket("route requests"), source))?;
        Ok(Self { requests: Arc::new(requests), routes })
    }

    /// Opens the monitor on a socket of its own. Dropping the receiver ends it.
    ///
    /// A slow receiver loses no event unnoticed: what does not fit into the kernel's buffer is told as [`KernelEvent::Resync`].
    pub fn monitor() -> Result<mpsc::Receiver<KernelEvent>, XfrmError> {
        monitor::start().map_err(|source| socket_error("open", Object::Socket("IPsec events"), source))
    }

    /// Has the kernel load and test what our states need, and says at once what is missing. Left to the first tunnel this would make it
    /// wait, by seconds on a slow machine. The states made for it carry nothing and are gone when this returns.
    pub async fn warm_up(&self) -> Result<(), XfrmError> {
        for loopback in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let spec = warm_up_state(loopback);
            self.requests.change(XfrmMessage::AddSa(encode::sa(&spec))).await.map_err(failed("try out", Object::Sa(spec.id())))?;
            self.remove_sa(spec.id()).await?;
        }
        Ok(())
    }

    /// Installs a state, or replaces the one of the same identity; for an outbound one also points the peer's out policy at its outer
    /// addresses. Two outbound states of a peer: the kernel sends by the younger, to the second.
    pub async fn install_sa(&self, spec: &SaSpec) -> Result<(), XfrmError> {
        check(spec)?;
        let object = || Object::Sa(spec.id());
        match self.requests.change(XfrmMessage::AddSa(encode::sa(spec))).await {
            Err(Failure::Refused(errno, _)) if Errno::from_raw(errno) == Errno::EEXIST => {
                self.remove_sa(spec.id()).await?;
                self.requests.change(XfrmMessage::AddSa(encode::sa(spec))).await.map_err(failed("install", object()))?;
            }
            other => other.map_err(failed("install", object()))?,
        }
        if spec.direction == Direction::Out {
            let id = PolicyId { inner_local: spec.inner_local, inner_remote: spec.inner_remote };
            let outer = Some((spec.local.ip(), spec.remote.ip()));
            self.set_policies(&PolicySpec { id, reqid: spec.reqid, outer }).await?;
        }
        Ok(())
    }

    /// Changes the UDP ports and lifetimes of a state in place; counters, sequence numbers and replay window stay. Addresses cannot be changed.
    pub async fn update_sa(&self, spec: &SaSpec) -> Result<(), XfrmError> {
        check(spec)?;
        self.requests.change(XfrmMessage::UpdateSa(encode::sa(spec))).await.map_err(failed("update", Object::Sa(spec.id())))
    }

    /// Removes a state; `false` when there was none.
    pub async fn remove_sa(&self, id: SaId) -> Result<bool, XfrmError> {
        absent_is_fine(self.requests.change(XfrmMessage::DeleteSa(encode::sa_name(id))).await).map_err(failed("remove", Object::Sa(id)))
    }

    /// All ESP states of our interface id.
    pub async fn states(&self) -> Result<Vec<SaEntry>, XfrmError> {
        let dump = || XfrmMessage::GetDumpSa(Default::default());
        let found = self.requests.dump(dump, decode::sa_entry).await.map_err(failed("list", Object::Table("IPsec states")))?;
        Ok(found.into_iter().filter(|entry| entry.if_id == IF_ID).collect())
    }

    /// Every policy that is of a kind we install, foreign ones among them.
    pub async fn policies(&self) -> Result<Vec<Policy>, XfrmError> {
        let dump = || XfrmMessage::GetPolicy(Default::default());
        self.requests.dump(dump, decode::policy).await.map_err(failed("list", Object::Table("IPsec policies")))
    }

    /// Installs or changes the policies of one peer.
    pub async fn set_policies(&self, spec: &PolicySpec) -> Result<(), XfrmError> {
        for policy in Policy::of_peer(spec) {
            self.set_policy(&policy, Object::Policy(spec.id)).await?;
        }
        Ok(())
    }

    /// Removes the policies of one peer; `false` when there were none.
    pub async fn remove_policies(&self, id: PolicyId) -> Result<bool, XfrmError> {
        let mut any = false;
        for policy in Policy::of_peer(&PolicySpec { id, reqid: 0, outer: None }) {
            any |= self.remove_policy(&policy.flow, Object::Policy(id)).await?;
        }
        Ok(any)
    }

    /// Puts up the guard alone (see [`super::guard`]): enough for an early unit that runs before any network is up. Idempotent.
    pub async fn raise_guard(&self, network: &InnerNetwork) -> Result<(), XfrmError> {
        self.routes.set_rules(&link::rules(network)).await?;
        self.routes.set_unreachable(&link::routes(network, 0)[..1]).await?;
        let changes = policy_changes(&self.policies().await?, &Policy::of_guard(network), Policy::is_of_guard);
        for policy in &changes.set {
            self.set_policy(policy, Object::Guard("policies")).await?;
        }
        for flow in &changes.remove {
            self.remove_policy(flow, Object::Guard("policies")).await?;
        }
        Ok(())
    }

    /// Makes the kernel hold the guard, `btmm0`, routes and rules of this network (idempotent), and answers the interface's index.
    /// The guard comes first, so that there is no moment at which an inner packet could leave in clear.
    pub async fn raise(&self, network: &InnerNetwork) -> Result<u32, XfrmError> {
        if network.mtu < MINIMUM_MTU {
            return Err(XfrmError::Misuse { object: Object::Interface(INTERFACE.into()), why: "IPv6 needs an MTU of at least 1280" });
        }
        self.raise_guard(network).await?;
        let present = self.routes.link().await?;
        let steps = link::link_steps(present.as_ref(), network).map_err(|NotOurs| XfrmError::Misuse {
            object: Object::Interface(INTERFACE.into()),
            why: "exists and is not ours; rename or delete it: ip link delete btmm0",
        })?;
        let index = self.routes.carry_out(present.map(|link| link.index), &steps).await?;
        self.routes.set_routes(&link::routes(network, index)).await?;
        Ok(index)
    }

    /// Changes the MTU of `btmm0`.
    pub async fn set_mtu(&self, mtu: u32) -> Result<(), XfrmError> {
        self.routes.set_mtu(mtu.max(MINIMUM_MTU)).await
    }

    /// At start: removes every state of ours (a dead daemon's keys are of no use) and the policies that are not in `wanted`, and sets those that are.
    pub async fn reconcile(&self, wanted: &[PolicySpec]) -> Result<Removed, XfrmError> {
        let states = self.remove_states().await?;
        let wanted: Vec<_> = wanted.iter().flat_map(Policy::of_peer).collect();
        let changes = policy_changes(&self.policies().await?, &wanted, Policy::is_of_peer);
        for policy in &changes.set {
            self.set_policy(policy, Object::Table("IPsec policies")).await?;
        }
        for flow in &changes.remove {
            self.remove_policy(flow, Object::Table("IPsec policies")).await?;
        }
        Ok(Removed { states, policies: changes.remove.len(), ..Removed::default() })
    }

    /// Sets the policies, of the guard and of these peers, that somebody else has removed; answers how many.
    pub async fn restore(&self, network: &InnerNetwork, peers: &[PolicySpec]) -> Result<usize, XfrmError> {
        let wanted: Vec<_> = Policy::of_guard(network).into_iter().chain(peers.iter().flat_map(Policy::of_peer)).collect();
        let missing = missing(&self.policies().await?, &wanted);
        for policy in &missing {
            self.set_policy(policy, Object::Table("IPsec policies")).await?;
        }
        Ok(missing.len())
    }

    /// Removes states, policies, `btmm0` and its routes. The guard stays: nothing for an inner address leaves in clear.
    pub async fn cleanup(&self) -> Result<Removed, XfrmError> {
        let mut removed = self.reconcile(&[]).await?;
        removed.interfaces = usize::from(self.routes.remove_link().await?);
        Ok(removed)
    }

    /// [`Self::cleanup`], and the guard too: nothing of ours is left in the kernel.
    pub async fn purge(&self) -> Result<Removed, XfrmError> {
        let mut removed = self.cleanup().await?;
        for policy in self.policies().await?.iter().filter(|policy| policy.is_of_guard()) {
            removed.policies += usize::from(self.remove_policy(&policy.flow, Object::Guard("policies")).await?);
        }
        removed.routes = self.routes.remove_all().await?;
        Ok(removed)
    }

    async fn remove_states(&self) -> Result<usize, XfrmError> {
        let mut removed = 0;
        for state in self.states().await? {
            removed += usize::from(self.remove_sa(state.id).await?);
        }
        Ok(removed)
    }

    async fn set_policy(&self, policy: &Policy, object: Object) -> Result<(), XfrmError> {
        self.requests.change(XfrmMessage::UpdatePolicy(encode::policy(policy))).await.map_err(failed("set", object))
    }

    async fn remove_policy(&self, flow: &Flow, object: Object) -> Result<bool, XfrmError> {
        absent_is_fine(self.requests.change(XfrmMessage::DeletePolicy(encode::policy_name(flow))).await).map_err(failed("remove", object))
    }
}

fn check(spec: &SaSpec) -> Result<(), XfrmError> {
    let wrong = |why| Err(XfrmError::Misuse { object: Object::Sa(spec.id()), why });
    if spec.local.is_ipv4() != spec.remote.is_ipv4() {
        return wrong("the two outer addresses are of different families");
    }
    if spec.local.ip().is_unspecified() || spec.remote.ip().is_unspecified() {
        return wrong("an outer address is unspecified");
    }
    if spec.hard_lifetime <= spec.soft_lifetime {
        return wrong("the hard lifetime is not longer than the soft one");
    }
    if spec.reqid == 0 {
        return wrong("reqid 0 means any peer");
    }
    Ok(())
}

/// A state from this machine to itself, under a key that nobody keeps.
fn warm_up_state(loopback: IpAddr) -> SaSpec {
    let (mut key, mut spi) = (Zeroizing::new([0; 36]), [0; 4]);
    aws_lc_rs::rand::fill(key.as_mut_slice()).expect("the system's random number generator works");
    aws_lc_rs::rand::fill(&mut spi).expect("the system's random number generator works");
    SaSpec {
        direction: Direction::Out,
        spi: 0x1000_0000 | u32::from_be_bytes(spi),
        local: SocketAddr::new(loopback, 4500),
        remote: SocketAddr::new(loopback, 4500),
        inner_local: Ipv6Addr::LOCALHOST,
        inner_remote: Ipv6Addr::LOCALHOST,
        reqid: u32::MAX,
        key: EspKey(key),
        soft_lifetime: Duration::from_secs(1),
        hard_lifetime: Duration::from_secs(2),
    }
}

fn absent_is_fine(answer: Result<(), Failure>) -> Result<bool, Failure> {
    match answer {
        Ok(()) => Ok(true),
        Err(Failure::Refused(errno, _)) if matches!(Errno::from_raw(errno), Errno::ESRCH | Errno::ENOENT) => Ok(false),
        Err(failure) => Err(failure),
    }
}

fn failed(action: &'static str, object: Object) -> impl FnOnce(Failure) -> XfrmError {
    move |failure| match failure {
        Failure::Refused(errno, why) => XfrmError::refused(action, object, errno, &why),
        Failure::Io(source) => XfrmError::Socket { action, object, source },
    }
}

fn socket_error(action: &'static str, object: Object, source: std::io::Error) -> XfrmError {
    XfrmError::Socket { action, object, source }
}
