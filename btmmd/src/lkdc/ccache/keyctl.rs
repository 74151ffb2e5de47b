//! System calls on the kernel's keys (keyrings(7)), as far as caches need them.

use std::ffi::{CStr, CString};
use std::io;

use libc::c_long;
use zeroize::Zeroizing;

/// Longest list or payload that is read.
const MAX_READ: usize = 1024 * 1024;

/// A key or keyring, by its serial number or one of the special ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Serial(i32);

impl Serial {
    fn word(self) -> c_long {
        c_long::from(self.0)
    }
}

/// The thread's keyring.
pub(super) const THREAD: Serial = Serial(libc::KEY_SPEC_THREAD_KEYRING);
/// The process's keyring.
pub(super) const PROCESS: Serial = Serial(libc::KEY_SPEC_PROCESS_KEYRING);
/// The session's keyring.
pub(super) const SESSION: Serial = Serial(libc::KEY_SPEC_SESSION_KEYRING);
/// The user's keyring.
pub(super) const USER: Serial = Serial(libc::KEY_SPEC_USER_KEYRING);
/// The user's keyring for processes without a session of their own.
pub(super) const USER_SESSION: Serial = Serial(libc::KEY_SPEC_USER_SESSION_KEYRING);

/// What a key is, and what it is called.
#[derive(Debug)]
pub(super) struct About {
    /// `keyring`, `user`, `big_key`, …
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The key of this type and name below `ring`.
pub(super) fn search(ring: Serial, kind: &CStr, name: &str) -> io::Result<Option<Serial>> {
    let name = text(name)?;
    // SAFETY: both strings end with NUL and outlive the call, and the kernel only reads them.
    let found = unsafe { libc::syscall(libc::SYS_keyctl, word(libc::KEYCTL_SEARCH), ring.word(), kind.as_ptr(), name.as_ptr(), word(0)) };
    match checked(found) {
        Ok(found) => Ok(Some(Serial(number(found)?))),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOKEY | libc::EKEYEXPIRED | libc::EKEYREVOKED)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Adds a key to `ring`, in the place of one of the same type and name.
pub(super) fn add(ring: Serial, kind: &CStr, name: &str, payload: &[u8]) -> io::Result<Serial> {
    let name = text(name)?;
    // SAFETY: both strings end with NUL, the payload is `len` octets long, all outlive the call, and the kernel only reads them.
    let added = unsafe { libc::syscall(libc::SYS_add_key, kind.as_ptr(), name.as_ptr(), payload.as_ptr(), payload.len(), ring.word()) };
    Ok(Serial(number(checked(added)?)?))
}

/// The payload of a key.
pub(super) fn read(key: Serial) -> io::Result<Zeroizing<Vec<u8>>> {
    filled(Contents::Payload, key)
}

/// The keys that a keyring holds.
pub(super) fn members(ring: Serial) -> io::Result<Vec<Serial>> {
    let octets = read(ring)?;
    Ok(octets.chunks_exact(4).filter_map(|chunk| chunk.try_into().ok()).map(|chunk| Serial(i32::from_ne_bytes(chunk))).collect())
}

/// What a key is: the kernel answers `type;uid;gid;permissions;name`.
pub(super) fn about(key: Serial) -> io::Result<About> {
    let octets = filled(Contents::Description, key)?;
    let described = String::from_utf8_lossy(octets.strip_suffix(&[0]).unwrap_or(&octets)).into_owned();
    let mut parts = described.splitn(5, ';');
    let (kind, name) = (parts.next().unwrap_or_default(), parts.nth(3).unwrap_or_default());
    Ok(About { kind: kind.to_owned(), name: name.to_owned() })
}

/// Puts `key` into `ring` as well.
pub(super) fn link(key: Serial, ring: Serial) -> io::Result<()> {
    call(Order::Link, key, ring.word()).map(drop)
}

/// Takes `key` out of `ring`.
pub(super) fn unlink(key: Serial, ring: Serial) -> io::Result<()> {
    call(Order::Unlink, key, ring.word()).map(drop)
}

/// Takes everything out of `ring`.
pub(super) fn clear(ring: Serial) -> io::Result<()> {
    call(Order::Clear, ring, 0).map(drop)
}

/// Has the kernel forget `key` after so many seconds.
pub(super) fn forget_after(key: Serial, seconds: u32) -> io::Result<()> {
    call(Order::SetTimeout, key, word(seconds)).map(drop)
}

/// The serial number behind a special one; the keyring is not made for it.
pub(super) fn resolve(special: Serial) -> io::Result<Serial> {
    Ok(Serial(number(call(Order::Resolve, special, 0)?)?))
}

/// The keyring of a user that outlives log-out, possessed through the process's.
pub(super) fn persistent(uid: u32) -> io::Result<Serial> {
    Ok(Serial(number(call(Order::GetPersistent, Serial(uid.cast_signed()), PROCESS.word())?)?))
}

/// Operations whose arguments are numbers.
enum Order {
    Link,
    Unlink,
    Clear,
    SetTimeout,
    Resolve,
    GetPersistent,
}

fn call(order: Order, key: Serial, argument: c_long) -> io::Result<c_long> {
    let operation = match order {
        Order::Link => libc::KEYCTL_LINK,
        Order::Unlink => libc::KEYCTL_UNLINK,
        Order::Clear => libc::KEYCTL_CLEAR,
        Order::SetTimeout => libc::KEYCTL_SET_TIMEOUT,
        Order::Resolve => libc::KEYCTL_GET_KEYRING_ID,
        Order::GetPersistent => libc::KEYCTL_GET_PERSISTENT,
    };
    // SAFETY: none of these operations takes an address.
    checked(unsafe { libc::syscall(libc::SYS_keyctl, word(operation), key.word(), argument, word(0), word(0)) })
}

/// Operations that fill a buffer.
#[derive(Clone, Copy)]
enum Contents {
    Payload,
    Description,
}

fn filled(contents: Contents, key: Serial) -> io::Result<Zeroizing<Vec<u8>>> {
    let operation = match contents {
        Contents::Payload => libc::KEYCTL_READ,
        Contents::Description => libc::KEYCTL_DESCRIBE,
    };
    let mut buffer = Zeroizing::new(vec![0u8; 4096]);
    loop {
        // SAFETY: the kernel writes at most `len` octets, which the buffer has and which are borrowed for the call.
        let length =
            checked(unsafe { libc::syscall(libc::SYS_keyctl, word(operation), key.word(), buffer.as_mut_ptr(), buffer.len(), word(0)) })?;
        let length = usize::try_from(length).unwrap_or_default();
        if length <= buffer.len() {
            buffer.truncate(length);
            return Ok(buffer);
        }
        if length > MAX_READ {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        buffer = Zeroizing::new(vec![0; length]);
    }
}

fn checked(answer: c_long) -> io::Result<c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn word(number: u32) -> c_long {
    c_long::from(number)
}

fn number(serial: c_long) -> io::Result<i32> {
    i32::try_from(serial).map_err(|_| io::ErrorKind::InvalidData.into())
}

fn text(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::ErrorKind::InvalidInput.into())
}
