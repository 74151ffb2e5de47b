//! An address as C has it.
use std::mem::zeroed;
use std::net::IpAddr;

/// A `sockaddr_in` or `sockaddr_in6`.
pub enum SocketAddress {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl SocketAddress {
    /// None where `family` is neither `AF_UNSPEC` nor the address's own.
    pub fn new(address: IpAddr, port: u16, family: i32) -> Option<Self> {
        let own = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        if family != libc::AF_UNSPEC && family != own {
            return None;
        }
        let (own, port) = (libc::sa_family_t::try_from(own).ok()?, port.to_be());
        Some(match address {
            IpAddr::V4(address) => {
                let s_addr = u32::from(address).to_be();
                // SAFETY: integers and arrays of them: all zeros is a value.
                Self::V4(libc::sockaddr_in { sin_family: own, sin_port: port, sin_addr: libc::in_addr { s_addr }, ..unsafe { zeroed() } })
            }
            IpAddr::V6(address) => {
                let s6_addr = address.octets();
                // SAFETY: as above.
                Self::V6(libc::sockaddr_in6 {
                    sin6_family: own,
                    sin6_port: port,
                    sin6_addr: libc::in6_addr { s6_addr },
                    ..unsafe { zeroed() }
                })
            }
        })
    }

    /// For C, which tells the kind by its first field.
    pub fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        match self {
            Self::V4(address) => std::ptr::from_mut(address).cast(),
            Self::V6(address) => std::ptr::from_mut(address).cast(),
        }
    }
}
