//! A frame that means nothing to anybody, by which a capture knows that it has seen all that came before.
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// Reserved for experiments (IEEE 802, "Local Experimental Ethertype 1"): every receiver ignores it.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// The shortest Ethernet frame without its checksum.
const LENGTH: usize = 60;
/// Which frames are ours; a random number follows it.
const NAME: &[u8] = b"btmm lab: last frame ";
const MARK: usize = NAME.len() + 16;

/// A frame with random content, and the socket that sends it.
#[derive(Debug)]
pub struct LastFrame {
    socket: OwnedFd,
    frame: [u8; LENGTH],
}

impl LastFrame {
    /// One for an interface of this thread's network namespace.
    pub fn new(interface: &str) -> Result<Self> {
        let index = nix::net::if_::if_nametoindex(interface).with_context(|| format!("finding {interface}"))?;
        let socket = bound(index).with_context(|| format!("opening {interface}"))?;
        let mut frame = [0; LENGTH];
        // To an address of no card, from one of no card.
        frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        frame[12..14].copy_from_slice(&ETHERTYPE);
        frame[14..14 + NAME.len()].copy_from_slice(NAME);
        aws_lc_rs::rand::fill(&mut frame[14 + NAME.len()..14 + MARK])?;
        Ok(Self { socket, frame })
    }

    /// Sends it.
    pub fn send(&self) -> Result<()> {
        let sent = nix::unistd::write(&self.socket, &self.frame).context("sending the last frame")?;
        anyhow::ensure!(sent == LENGTH, "the last frame was cut at {sent} octets");
        Ok(())
    }

    /// True for the frames of any capture, which may run beside one another on a wire.
    #[must_use]
    pub fn is_one(frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&ETHERTYPE) && frame.get(14..).is_some_and(|content| content.starts_with(NAME))
    }

    /// What no other frame contains.
    #[must_use]
    pub fn mark(&self) -> &[u8] {
        &self.frame[14..14 + MARK]
    }
}

/// A packet socket that sends at one interface and receives nothing (protocol 0).
fn bound(index: u32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call; its result is checked.
    let descriptor = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // SAFETY: a sockaddr_ll is integers; all zeros is one.
    let mut at: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    at.sll_family = libc::AF_PACKET as libc::c_ushort;
    at.sll_ifindex = index.cast_signed();
    let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address lives over the call and `size` is its size.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const at).cast(), size) } {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}
