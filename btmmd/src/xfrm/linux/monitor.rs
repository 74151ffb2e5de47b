//! The monitor of kernel events.

use std::io;

use netlink_packet_xfrm::constants::{XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_MAPPING};
use netlink_sys::{AsyncSocketExt, TokioSocket};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::socket::bound;
use crate::xfrm::decode;
use crate::xfrm::port::KernelEvent;

/// Events held here before they wait in the kernel; past its buffer they are lost and told as [`KernelEvent::Resync`].
const DEPTH: usize = 64;

/// Opens the socket in the network namespace of the calling thread and reads it in a task of its own.
pub(super) fn start() -> io::Result<mpsc::Receiver<KernelEvent>> {
    let groups = [XFRMNLGRP_ACQUIRE, XFRMNLGRP_EXPIRE, XFRMNLGRP_MAPPING].into_iter().fold(0, |groups, group| groups | 1 << (group - 1));
    let socket = bound(groups)?;
    let (events, receiver) = mpsc::channel(DEPTH);
    tokio::spawn(async move {
        tokio::select! {
            () = events.closed() => (),
            () = forward(&socket, &events) => (),
        }
    });
    Ok(receiver)
}

/// Runs until the socket or the receiver is gone.
async fn forward(socket: &TokioSocket, events: &mpsc::Sender<KernelEvent>) {
    loop {
        let datagram = match socket.recv_from_full().await {
            Ok((datagram, _)) => Zeroizing::new(datagram),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                if events.send(KernelEvent::Resync).await.is_err() {
                    return;
                }
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the XFRM monitor ended");
                return;
            }
        };
        for event in decode::split(&datagram).filter_map(|raw| decode::event(&raw)) {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}
