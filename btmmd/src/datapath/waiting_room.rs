//! The waiting room: TUN `btmm-wait`, to which `wait_egress` redirects packets for peers without a tunnel, and the way to send
//! them on once there is one.

use std::time::Instant;

use super::DatapathError;

/// Name of the TUN device.
pub const INTERFACE: &str = "btmm-wait";

/// The TUN device, up and without addresses, and a packet socket for `btmm0`. The device goes when this is dropped; `wait_egress`
/// then drops instead of redirecting.
pub struct WaitingRoom {}

impl WaitingRoom {
    /// Makes (or takes over) the device. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DatapathError::WaitingRoom`], with CAP_NET_ADMIN or CAP_NET_RAW missing among the reasons.
    pub async fn open() -> Result<Self, DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Index of the TUN device, for [`super::Datapath::attach_waiting_room`].
    pub fn index(&self) -> u32 {
        0
    }

    /// The next packet: a whole IPv6 packet as the application sent it. Cancel safe.
    ///
    /// # Errors
    /// When the device is gone.
    pub async fn recv(&self) -> Result<(Vec<u8>, Instant), DatapathError> {
        Err(DatapathError::NoPrograms)
    }

    /// Sends a held packet out of interface `index` (`btmm0`), past TC egress, so that it is not held again.
    ///
    /// # Errors
    /// What the packet socket said; a full queue included.
    pub fn inject(&self, _index: u32, _packet: &[u8]) -> Result<(), DatapathError> {
        Err(DatapathError::NoPrograms)
    }
}
