//! `/dev/net/tun` and a packet socket.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use netlink_packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute};
use rtnetlink::LinkUnspec;
use tokio::io::unix::AsyncFd;

/// The largest packet a TUN carries.
const LARGEST: u32 = 65_535;
/// `PACKET_QDISC_BYPASS` of `<linux/if_packet.h>`: neither queueing discipline nor TC egress sees what is sent.
const PACKET_QDISC_BYPASS: libc::c_int = 20;

nix::ioctl_write_ptr_bad!(
    /// Names the device behind a descriptor of `/dev/net/tun`, creating it.
    tun_set_interface,
    libc::TUNSETIFF,
    libc::ifreq
);

/// A TUN device that lives as long as this.
pub struct Tun {
    file: AsyncFd<File>,
    buffer: Mutex<Vec<u8>>,
    index: u32,
}

impl Tun {
    pub fn create(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        // SAFETY: an ifreq is integers and unions of them; all zeros is one.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the descriptor is open and the request outlives the call, which only reads it and writes the name back.
        unsafe { tun_set_interface(file.as_raw_fd(), &raw const request) }?;
        let index = nix::net::if_::if_nametoindex(name)?;
        // SAFETY: a File is one open descriptor, which nothing else closes or replaces before the AsyncFd drops it.
        let file = unsafe { AsyncFd::register(file) }?;
        Ok(Self { file, buffer: Mutex::new(vec![0; LARGEST as usize]), index })
    }

    pub fn index(&self) -> u32 {
        self.index
    }

    pub async fn recv(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.file.readable().await?;
            let read = |file: &AsyncFd<File>| {
                let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
                let length = file.get_ref().read(&mut buffer)?;
                Ok(buffer.get(..length).unwrap_or_default().to_vec())
            };
            match ready.try_io(read) {
                Ok(result) => return result,
                Err(_not_ready_after_all) => continue,
            }
        }
    }
}

/// Sets the device up, with no IPv6 address of the kernel's making and so no traffic of its own.
pub async fn bring_up(index: u32) -> io::Result<()> {
    let (connection, handle, _messages) = rtnetlink::new_connection()?;
    let driver = tokio::spawn(connection);
    let no_address = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let quiet = LinkUnspec::new_with_index(index).mtu(LARGEST).append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![no_address]));
    let result = async {
        handle.link().set(quiet.build()).execute().await?;
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
    }
    .await;
    driver.abort();
    result.map_err(|error| match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    })
}

/// A packet socket that receives nothing and sends past TC egress.
pub struct Sender(OwnedFd);

impl Sender {
    pub fn open() -> io::Result<Self> {
        // SAFETY: takes plain numbers. Protocol 0 receives nothing.
        let descriptor = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and ours alone.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let on: libc::c_int = 1;
        // SAFETY: the option is an int, and one is passed with its size.
        let result = unsafe {
            let size = size_of::<libc::c_int>() as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, PACKET_QDISC_BYPASS, (&raw const on).cast(), size)
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(Self(socket)) }
    }

    pub fn send(&self, index: u32, packet: &[u8]) -> io::Result<()> {
        // SAFETY: a sockaddr_ll is integers; all zeros is one.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as libc::c_ushort;
        to.sll_protocol = (libc::ETH_P_IPV6 as u16).to_be();
        to.sll_ifindex = i32::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: packet and address are passed with their sizes and outlive the call.
        let sent = unsafe {
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            libc::sendto(self.0.as_raw_fd(), packet.as_ptr().cast(), packet.len(), 0, (&raw const to).cast(), size)
        };
        match usize::try_from(sent) {
            Err(_) => Err(io::Error::last_os_error()),
            Ok(length) if length == packet.len() => Ok(()),
            Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}
