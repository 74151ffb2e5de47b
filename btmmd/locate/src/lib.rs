//! A plugin of MIT's libkrb5 (its `locate_plugin.h`) that says where the KDC of a realm `LKDC:…` is.
//!
//! Every program that uses Kerberos loads it, sshd as root among them. So it reads one short file ([`TABLE`]) and nothing else: no socket, no
//! name service, no waiting, no thread, no heap, no environment. What it does not know it leaves to others.
mod sockaddr;
pub mod table;

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::catch_unwind;

use sockaddr::SocketAddress;
pub use table::TABLE;

/// `KRB5_PLUGIN_NO_HANDLE`: ask the next one (`krb5_err.et`, entry 249 of the table that begins at -1765328384).
pub const NO_HANDLE: i32 = -1_765_328_135;

/// Kerberos (RFC 4120 §7.2).
const PORT: u16 = 88;
/// `locate_service_kdc` and `locate_service_primary_kdc`: a machine's one KDC is both. It has no other service.
const KDC: std::ops::RangeInclusive<c_int> = 1..=2;

/// Takes an address; an answer other than 0 means that no more are wanted.
type Callback = unsafe extern "C" fn(data: *mut c_void, socktype: c_int, address: *mut libc::sockaddr) -> c_int;
type Lookup = unsafe extern "C" fn(
    blob: *mut c_void,
    service: c_int,
    realm: *const c_char,
    socktype: c_int,
    family: c_int,
    callback: Option<Callback>,
    data: *mut c_void,
) -> i32;

/// `krb5plugin_service_locate_ftable`, version 0.
#[repr(C)]
#[derive(Debug)]
pub struct FunctionTable {
    minor_version: c_int,
    init: unsafe extern "C" fn(context: *mut c_void, blob: *mut *mut c_void) -> i32,
    fini: unsafe extern "C" fn(blob: *mut c_void),
    /// Calls back with the addresses for a service of a realm.
    pub lookup: Lookup,
}

/// What libkrb5 looks for in every object of its plugin folder.
// SAFETY: no other object of the host's defines a symbol of this name for the global scope: plugins are opened with RTLD_LOCAL.
#[unsafe(no_mangle)]
pub static service_locator: FunctionTable = FunctionTable { minor_version: 0, init, fini, lookup };

unsafe extern "C" fn init(_context: *mut c_void, blob: *mut *mut c_void) -> i32 {
    if !blob.is_null() {
        // SAFETY: libkrb5 passes the address of a pointer variable.
        unsafe { blob.write(std::ptr::null_mut()) };
    }
    0
}

unsafe extern "C" fn fini(_blob: *mut c_void) {}

unsafe extern "C" fn lookup(
    _blob: *mut c_void,
    service: c_int,
    realm: *const c_char,
    socktype: c_int,
    family: c_int,
    callback: Option<Callback>,
    data: *mut c_void,
) -> i32 {
    let (Some(callback), false, true) = (callback, realm.is_null(), KDC.contains(&service)) else { return NO_HANDLE };
    // SAFETY: libkrb5 passes a terminated string that outlives the call.
    let realm = unsafe { CStr::from_ptr(realm) };
    let Ok(Some(address)) = catch_unwind(|| table::find(realm.to_bytes(), TABLE)) else { return NO_HANDLE };
    let Some(mut address) = SocketAddress::new(address, PORT, family) else { return NO_HANDLE };
    let kinds: &[c_int] = match socktype {
        0 => &[libc::SOCK_DGRAM, libc::SOCK_STREAM],
        libc::SOCK_DGRAM => &[libc::SOCK_DGRAM],
        libc::SOCK_STREAM => &[libc::SOCK_STREAM],
        _ => return NO_HANDLE,
    };
    for kind in kinds {
        // SAFETY: the callback is libkrb5's for this call, its data belong to it, and the address lives until it returns.
        if unsafe { callback(data, *kind, address.as_mut_ptr()) } != 0 {
            break;
        }
    }
    0
}
