//! The handle to the kernel's IPsec, and the monitor of its events.

use tokio::sync::mpsc;

use super::error::XfrmError;
use super::port::{InnerNetwork, KernelEvent, PolicyId, PolicySpec, Removed, SaEntry, SaId, SaSpec};

/// The kernel's IPsec of the network namespace of the thread that opened it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Xfrm {}

impl Xfrm {
    /// Opens the request sockets; needs a tokio runtime.
    pub fn open() -> Result<Self, XfrmError> {
        todo!()
    }

    /// Opens the monitor on a socket of its own. Dropping the receiver ends it.
    pub fn monitor() -> Result<mpsc::Receiver<KernelEvent>, XfrmError> {
        todo!()
    }

    /// Installs a state, or replaces the one of the same identity; for an outbound one also points the peer's out policy at its outer addresses.
    pub async fn install_sa(&self, _spec: &SaSpec) -> Result<(), XfrmError> {
        todo!()
    }

    /// Removes a state; `false` when there was none.
    pub async fn remove_sa(&self, _id: SaId) -> Result<bool, XfrmError> {
        todo!()
    }

    /// All ESP states of our interface id.
    pub async fn states(&self) -> Result<Vec<SaEntry>, XfrmError> {
        todo!()
    }

    /// Installs or changes the policies of one peer.
    pub async fn set_policies(&self, _spec: &PolicySpec) -> Result<(), XfrmError> {
        todo!()
    }

    /// Removes the policies of one peer; `false` when there were none.
    pub async fn remove_policies(&self, _id: PolicyId) -> Result<bool, XfrmError> {
        todo!()
    }

    /// Makes the kernel hold the guard, `btmm0`, routes and rules of this network (idempotent), and answers the interface's index.
    /// The guard comes first, so that there is no moment at which an inner packet could leave in clear.
    pub async fn raise(&self, _network: &InnerNetwork) -> Result<u32, XfrmError> {
        todo!()
    }

    /// Changes the MTU of `btmm0`.
    pub async fn set_mtu(&self, _mtu: u32) -> Result<(), XfrmError> {
        todo!()
    }

    /// At start: removes every state of ours (a dead daemon's keys are of no use) and the policies that are not in `wanted`, and sets those that are.
    pub async fn reconcile(&self, _wanted: &[PolicySpec]) -> Result<Removed, XfrmError> {
        todo!()
    }

    /// Removes states, policies, `btmm0` and its routes. The guard stays: nothing for an inner address leaves in clear.
    pub async fn cleanup(&self) -> Result<Removed, XfrmError> {
        todo!()
    }

    /// [`Self::cleanup`], and the guard too: nothing of ours is left in the kernel.
    pub async fn purge(&self) -> Result<Removed, XfrmError> {
        todo!()
    }
}
