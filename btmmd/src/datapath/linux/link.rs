//! Pinned links: on which interface one is, and taking it off now. Removing the pin alone takes it off too, but some time later, when the
//! kernel gets round to it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `BPF_OBJ_GET`, `BPF_OBJ_GET_INFO_BY_FD` and `BPF_LINK_DETACH` of `enum bpf_cmd`.
const OBJ_GET: libc::c_int = 7;
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const LINK_DETACH: libc::c_int = 34;

/// `BPF_LINK_TYPE_XDP` and `BPF_LINK_TYPE_TCX` of `enum bpf_link_type`.
const XDP: u32 = 6;
const TCX: u32 = 11;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_OBJ_GET_INFO_BY_FD` reads.
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`, of an XDP or TCX link. Both have the interface in the same place: 0 when it is gone.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    program: u32,
    padding: u32,
    interface: u32,
    rest: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_DETACH` reads.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// The interface that a pinned XDP or TCX link is attached to; `None` when it is attached to nothing any more.
pub fn interface(pin: &Path) -> io::Result<Option<u32>> {
    let link = open(pin)?;
    let mut info = LinkInfo::default();
    let info_len = size_of::<LinkInfo>() as u32;
    let asked = GetInfo { bpf_fd: link.as_raw_fd() as u32, info_len, info: std::ptr::from_mut(&mut info) as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &asked)?;
    match info.link_type {
        XDP | TCX => Ok((info.interface != 0).then_some(info.interface)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a link of XDP or TCX")),
    }
}

/// Detaches the link behind a pin and removes the pin.
pub fn detach(pin: &Path) -> io::Result<()> {
    let link = open(pin)?;
    let detach = LinkDetach { link_fd: link.as_raw_fd() as u32 };
    match bpf(LINK_DETACH, &detach) {
        // Its interface is gone: there is nothing to detach from.
        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => return Err(error),
        _ => {}
    }
    std::fs::remove_file(pin)
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    let descriptor = bpf(OBJ_GET, &get)?;
    // SAFETY: just opened, and ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn bpf<A>(command: libc::c_int, attributes: &A) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are passed with their size and outlive the call. The three commands above only read them, and what one of them
    // points to lives as long: the path, and the information, which is written as far as its length in there says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
