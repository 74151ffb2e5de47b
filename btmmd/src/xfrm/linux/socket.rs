//! A netlink socket to the XFRM subsystem, for requests.
//!
//! It speaks through `netlink-sys` and not `netlink-proto`, which queues requests, keeps its buffers and can log a
//! message's bytes: here every buffer that held a key is overwritten before it is freed.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_xfrm::XfrmMessage;
use netlink_sys::protocols::NETLINK_XFRM;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::xfrm::decode::{self, End, Raw};
use crate::xfrm::encode::wipe;

/// Room for answers and events, as far as the kernel grants it.
const RECEIVE_BUFFER: usize = 4 << 20;
/// `NLM_F_DUMP_INTR`: the table changed during the dump.
const DUMP_INTERRUPTED: u16 = 0x10;
/// How often an interrupted dump is begun again.
const DUMP_TRIES: usize = 5;

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The kernel's answer: error number and explanation.
    Refused(i32, String),
    /// The socket's.
    Io(io::Error),
}

/// One request at a time; cheap, for the kernel answers XFRM requests before `send` returns.
#[derive(Debug)]
pub(super) struct Requests {
    socket: Mutex<(Socket, u32)>,
}

/// A `TokioSocket` that can be printed.
struct Socket(TokioSocket);

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NETLINK_XFRM({})", self.0.as_raw_fd())
    }
}

impl Requests {
    /// Opens the socket in the network namespace of the calling thread.
    pub(super) fn open() -> io::Result<Self> {
        let socket = bound(0)?;
        socket.socket_ref().connect(&SocketAddr::new(0, 0))?;
        socket.socket_ref().set_ext_ack(true)?;
        socket.socket_ref().set_cap_ack(true)?;
        Ok(Self { socket: Mutex::new((Socket(socket), 0)) })
    }

    /// Sends a change and awaits its acknowledgement.
    pub(super) async fn change(&self, message: XfrmMessage) -> Result<(), Failure> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK, |_: &Raw<'_>| None::<()>).await.map(drop)
    }

    /// Sends a dump request and collects what `keep` makes of the answers.
    pub(super) async fn dump<T>(&self, message: impl Fn() -> XfrmMessage, keep: impl Fn(&Raw<'_>) -> Option<T>) -> Result<Vec<T>, Failure> {
        for _ in 0..DUMP_TRIES {
            let (found, interrupted) = self.exchange(message(), NLM_F_REQUEST | NLM_F_DUMP, &keep).await?;
            if !interrupted {
                return Ok(found);
            }
        }
        Err(Failure::Io(io::Error::other("the table changed during every attempt to read it")))
    }

    async fn exchange<T>(&self, message: XfrmMessage, flags: u16, keep: impl Fn(&Raw<'_>) -> Option<T>) -> Result<(Vec<T>, bool), Failure> {
        let mut guard = self.socket.lock().await;
        let (Socket(socket), sequence) = &mut *guard;
        // An answer to a request whose caller went away carries an older number and is passed over.
        *sequence = sequence.wrapping_add(1);
        let request = serialize(message, flags, *sequence);
        socket.send(&request).await.map_err(Failure::Io)?;
        let (mut found, mut interrupted) = (vec![], false);
        loop {
            let (datagram, _) = socket.recv_from_full().await.map_err(Failure::Io)?;
            let datagram = Zeroizing::new(datagram);
            for raw in decode::split(&datagram).filter(|raw| raw.sequence == *sequence) {
                interrupted |= raw.flags & DUMP_INTERRUPTED != 0;
                match decode::end(&raw) {
                    Some(End::Done) => return Ok((found, interrupted)),
                    Some(End::Refused(errno, why)) => return Err(Failure::Refused(errno, why)),
                    None => found.extend(keep(&raw)),
                }
            }
        }
    }
}

/// A socket of the XFRM subsystem, bound to multicast groups (a bit each), with a large receive buffer.
pub(super) fn bound(groups: u32) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_XFRM)?;
    socket.socket_mut().bind(&SocketAddr::new(0, groups))?;
    enlarge(&socket);
    Ok(socket)
}

/// Enlarges the receive buffer of a netlink socket, past the system's limit where the right to do that is held.
fn enlarge(socket: &TokioSocket) {
    use nix::sys::socket::{setsockopt, sockopt};
    // SAFETY: the descriptor belongs to `socket`, which outlives the borrow.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        // Without CAP_NET_ADMIN the limit holds; a smaller buffer means a resync more often, not a failure.
        let _ = setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER);
    }
}

/// The bytes of a request. Both the message's and the buffer's copy of a key are overwritten after use.
fn serialize(message: XfrmMessage, flags: u16, sequence: u32) -> Zeroizing<Vec<u8>> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut buffer = Zeroizing::new(vec![0; message.buffer_len()]);
    message.serialize(&mut buffer);
    if let NetlinkPayload::InnerMessage(XfrmMessage::AddSa(sa) | XfrmMessage::UpdateSa(sa)) = &mut message.payload {
        wipe(&mut sa.nlas);
    }
    buffer
}
