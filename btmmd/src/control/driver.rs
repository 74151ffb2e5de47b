//! The Unix socket itself: who may connect, how many, and whether somebody answers on it already.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::client::{Client, ClientError};
use super::error::ControlError;
use super::request::{Caller, ControlRequest};
use super::{server, wire};

/// The socket's name in the runtime directory.
pub const SOCKET: &str = "btmmd.sock";
/// The group whose members may read.
pub const GROUP: &str = "btmm";
/// How many may be connected.
const CLIENTS: usize = 64;
/// How many of those may be callers who can only read, so that they cannot lock root out.
const READERS: usize = 48;
/// How long the CLI waits for a reply: longer than the server's longest deadline.
const PATIENCE: Duration = Duration::from_secs(150);

/// Why the control socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers on it.
    #[error("{}: another btmmd is running", .0.display())]
    Running(PathBuf),
    /// There is something else of that name, which is left alone.
    #[error("{}: is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// The system's word.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What happened.
        #[source]
        cause: io::Error,
    },
}

/// The bound control socket. Its file goes when this does.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
    slots: Slots,
}

impl Server {
    /// Binds the socket at `path`, replacing one on which nobody answers. Mode 0660 for `group` ([`group`]), 0600 without one.
    /// Must be called within a tokio runtime.
    pub fn bind(path: &Path, group: Option<u32>) -> Result<Self, BindError> {
        let fail = |cause| BindError::Io { path: path.to_owned(), cause };
        refuse_if_taken(path)?;
        // Under another name until its owner and mode are right, then in place at once.
        let prepared = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&prepared);
        let listener = UnixListener::bind(&prepared).map_err(fail)?;
        let placed = chown(&prepared, None, group)
            .and_then(|()| std::fs::set_permissions(&prepared, PermissionsExt::from_mode(if group.is_some() { 0o660 } else { 0o600 })))
            .and_then(|()| std::fs::symlink_metadata(&prepared))
            .and_then(|meta| std::fs::rename(&prepared, path).map(|()| meta.ino()));
        match placed {
            Ok(inode) => Ok(Self { listener, path: path.to_owned(), inode, slots: Slots::new() }),
            Err(cause) => {
                let _ = std::fs::remove_file(&prepared);
                Err(fail(cause))
            }
        }
    }

    /// Serves until `requests` is closed by its receiver. Dropping the future ends all connections.
    pub async fn run(self, requests: mpsc::Sender<ControlRequest>) {
        let daemon = nix::unistd::geteuid().as_raw();
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some(session) = self.admit(stream, daemon, requests.clone()) {
                            sessions.spawn(session);
                        }
                    }
                    Err(cause) => {
                        // Out of descriptors or memory: both pass.
                        tracing::warn!(%cause, "control socket cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = sessions.join_next() => {}
                () = requests.closed() => return,
            }
        }
    }

    fn admit(&self, stream: UnixStream, daemon: u32, requests: mpsc::Sender<ControlRequest>) -> Option<impl Future<Output = ()> + use<>> {
        let peer = match stream.peer_cred() {
            Ok(peer) => peer,
            Err(cause) => {
                tracing::warn!(%cause, "control socket cannot tell who calls");
                return None;
            }
        };
        let caller = Caller { uid: peer.uid(), gid: peer.gid(), pid: peer.pid(), may_change: peer.uid() == 0 || peer.uid() == daemon };
        let Some(slot) = self.slots.take(caller.may_change) else {
            let busy = ControlError::failed("control socket", "too many clients");
            // A best effort: the client may not be reading.
            let _ = wire::encode_error(&busy).map(|bytes| stream.try_write(&bytes));
            return None;
        };
        Some(async move {
            let end = server::serve(stream, caller, requests, server::Deadlines::default()).await;
            tracing::trace!(uid = caller.uid, %end, "control connection ended");
            drop(slot);
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[derive(Debug)]
struct Slots {
    all: Arc<Semaphore>,
    readers: Arc<Semaphore>,
}

impl Slots {
    fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(CLIENTS)), readers: Arc::new(Semaphore::new(READERS)) }
    }

    fn take(&self, may_change: bool) -> Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)> {
        let reader = if may_change { None } else { Some(self.readers.clone().try_acquire_owned().ok()?) };
        Some((self.all.clone().try_acquire_owned().ok()?, reader))
    }
}

fn refuse_if_taken(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(BindError::Io { path: path.to_owned(), cause }),
        Ok(meta) if !meta.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match BlockingStream::connect(path) {
        Err(cause) if cause.kind() == io::ErrorKind::ConnectionRefused || cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(BindError::Io { path: path.to_owned(), cause }),
        Ok(_) => Err(BindError::Running(path.to_owned())),
    }
}

/// The id of group [`GROUP`], when there is one.
pub fn group() -> Option<u32> {
    nix::unistd::Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw())
}

/// Connects to the daemon whose socket is in `runtime_dir`.
pub fn connect(runtime_dir: &Path) -> Result<Client<BlockingStream>, ClientError> {
    connect_for(runtime_dir, PATIENCE)
}

/// The same, to wait for replies however long they take to come, and to be told each time that none came for as long as `pause`.
pub fn connect_to_listen(runtime_dir: &Path, pause: Duration) -> Result<Client<BlockingStream>, ClientError> {
    connect_for(runtime_dir, pause)
}

fn connect_for(runtime_dir: &Path, patience: Duration) -> Result<Client<BlockingStream>, ClientError> {
    let path = runtime_dir.join(SOCKET);
    let stream = BlockingStream::connect(&path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning,
        io::ErrorKind::PermissionDenied => ClientError::MayNotConnect { path: path.clone() },
        _ => ClientError::Socket { path: path.clone(), cause },
    })?;
    stream.set_read_timeout(Some(patience)).map_err(|cause| ClientError::Socket { path: path.clone(), cause })?;
    Ok(Client::new(stream))
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
