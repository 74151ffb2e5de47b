//! Taking a pinned link off its interface now. Removing the pin alone does it too, but some time later, when the kernel gets round to it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `BPF_OBJ_GET` and `BPF_LINK_DETACH` of `enum bpf_cmd`.
const OBJ_GET: libc::c_int = 7;
const LINK_DETACH: libc::c_int = 34;

/// The part of `union bpf_attr` that `BPF_OBJ_GET` reads.
#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_DETACH` reads.
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// Detaches the link behind a pin and removes the pin.
pub fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let get = ObjGet { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    let descriptor = bpf(OBJ_GET, &get)?;
    // SAFETY: just opened, and ours alone.
    let link = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let detach = LinkDetach { link_fd: link.as_raw_fd() as u32 };
    match bpf(LINK_DETACH, &detach) {
        // Its interface is gone: there is nothing to detach from.
        Err(error) if error.raw_os_error() != Some(libc::ENOLINK) => return Err(error),
        _ => {}
    }
    std::fs::remove_file(pin)
}

fn bpf<A>(command: libc::c_int, attributes: &A) -> io::Result<libc::c_int> {
    // SAFETY: the attributes are passed with their size, outlive the call, and the two commands above only read them (and the path
    // that one of them points to, which lives as long).
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<A>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as libc::c_int) }
}
