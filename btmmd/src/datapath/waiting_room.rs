//! The waiting room: TUN `btmm-wait`, to which `wait_egress` redirects packets for peers without a tunnel, and the way to send
//! them on once there is one.

mod linux;

use std::time::Instant;

use super::DatapathError;

/// Name of the TUN device.
pub const INTERFACE: &str = "btmm-wait";

/// The TUN device, up and without addresses, and a packet socket for `btmm0`. The device goes when this is dropped; `wait_egress`
/// then drops instead of redirecting.
pub struct WaitingRoom {
    tun: linux::Tun,
    sender: linux::Sender,
}

impl WaitingRoom {
    /// Makes the device. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DatapathError::WaitingRoom`], with CAP_NET_ADMIN or CAP_NET_RAW missing, or another daemon's device, among the reasons.
    pub async fn open() -> Result<Self, DatapathError> {
        Self::named(INTERFACE).await
    }

    /// As [`open`](Self::open), under another name: a stand-in for `btmm0` in tests, on kernels without xfrm interfaces.
    #[doc(hidden)]
    pub async fn named(name: &str) -> Result<Self, DatapathError> {
        let failed = |what| move |source| DatapathError::WaitingRoom { what, source };
        let sender = linux::Sender::open().map_err(failed("opening the packet socket"))?;
        let tun = linux::Tun::create(name).map_err(failed("creating the TUN device"))?;
        linux::bring_up(tun.index()).await.map_err(failed("bringing the TUN device up"))?;
        Ok(Self { tun, sender })
    }

    /// Index of the TUN device, for [`super::Datapath::attach_waiting_room`].
    pub fn index(&self) -> u32 {
        self.tun.index()
    }

    /// The next packet: a whole IPv6 packet as the application sent it. Cancel safe.
    ///
    /// # Errors
    /// When the device is gone.
    pub async fn recv(&self) -> Result<(Vec<u8>, Instant), DatapathError> {
        let packet = self.tun.recv().await.map_err(|source| DatapathError::WaitingRoom { what: "reading the TUN device", source })?;
        Ok((packet, Instant::now()))
    }

    /// Sends a held packet out of interface `index` (`btmm0`), past TC egress, so that it is not held again.
    ///
    /// # Errors
    /// What the packet socket said; a full queue included.
    pub fn inject(&self, index: u32, packet: &[u8]) -> Result<(), DatapathError> {
        self.sender.send(index, packet).map_err(|source| DatapathError::WaitingRoom { what: "sending a packet on", source })
    }
}
