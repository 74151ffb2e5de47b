//! The base's side: one server shared by every connection, and its file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{RendezvousError, framed, now, random, receive, send};
use crate::account::name::{MachineName, ZoneName};
use crate::disk;
use crate::rendezvous::server::{Replies, Server};
use crate::rendezvous::tsig::TsigSecret;
use crate::rendezvous::zone::{Limits, Zone};

/// A connection of a member may be silent this long; members poll more often.
const IDLE: Duration = Duration::from_secs(300);
/// A connection must carry a right signature within this, and again after every refusal.
const STRANGER: Duration = Duration::from_secs(10);
/// Refusals before a connection is closed.
const REFUSALS: u32 = 3;
/// A reply must be taken within this.
const SEND: Duration = Duration::from_secs(30);
/// Connections of members at once.
const MEMBERS: usize = 256;
/// Connections at once of which nobody knows yet whose they are, in a pool of their own: however many strangers come, members find a place.
const STRANGERS: usize = 32;
/// Changes within this time are written to disk as one.
const SAVE: Duration = Duration::from_secs(1);

struct Shared {
    server: Mutex<Server>,
    changed: Notify,
    members: Semaphore,
    strangers: Semaphore,
    file: PathBuf,
}

/// The base's server, shared by every connection and by the base's own machine.
#[derive(Clone)]
pub struct SharedServer(Arc<Shared>);

impl SharedServer {
    /// Opens the zone kept in `file`, or begins an empty one when there is no such file. `base` is the machine that serves.
    ///
    /// A damaged file is an error and stays as it is; see [`set_aside`].
    pub fn open(zone: &ZoneName, base: &MachineName, file: PathBuf) -> Result<Self, RendezvousError> {
        Self::open_with(zone, base, file, Limits::default())
    }

    /// [`SharedServer::open`] with other limits than the usual.
    pub fn open_with(zone: &ZoneName, base: &MachineName, file: PathBuf, limits: Limits) -> Result<Self, RendezvousError> {
        let now = now();
        let opened = match fs::read(&file) {
            Ok(bytes) => Zone::from_snapshot(&bytes, zone, base, limits, now.monotonic, now.wall)
                .map_err(|why| RendezvousError::State { path: file.clone(), why })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Zone::new(zone, base, limits, random() as u32),
            Err(why) => return Err(RendezvousError::File { path: file, why }),
        };
        let server = Mutex::new(Server::new(zone.clone(), opened));
        let (members, strangers) = (Semaphore::new(MEMBERS), Semaphore::new(STRANGERS));
        Ok(Self(Arc::new(Shared { server, changed: Notify::new(), members, strangers, file })))
    }

    /// Lets `machine` in with `secret`, or replaces its secret. At run time.
    pub fn set_key(&self, machine: &MachineName, secret: TsigSecret) {
        self.lock().set_key(machine, secret);
    }

    /// Shuts `machine` out and takes its records away.
    pub fn remove_key(&self, machine: &MachineName) {
        self.lock().remove_key(machine);
        self.0.changed.notify_one();
    }

    /// Answers one request, from wherever it came.
    pub fn handle(&self, request: &[u8]) -> Replies {
        let replies = self.lock().handle(request, now());
        self.0.changed.notify_one();
        replies
    }

    /// Serves one connection after its TLS handshake (ALPN `dot`) until it ends, idles, or only ever asks what is refused. `shown` is whose
    /// certificate the other end proved to have: a member gets a member's place with it, and without it by its first right signature.
    pub async fn serve_dot(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send, shown: Option<&MachineName>) {
        let mut known = shown.is_some_and(|machine| self.lock().is_member(machine));
        let pool = if known { &self.0.members } else { &self.0.strangers };
        let Ok(mut place) = pool.try_acquire() else {
            tracing::debug!(known, "too many connections to the zone");
            return;
        };
        let mut stream = framed(stream);
        let (mut patience, mut refusals) = (STRANGER, 0);
        while let Ok(Some(request)) = timeout(patience, receive(&mut stream)).await {
            let replies = self.handle(&request);
            (patience, refusals) = if replies.from.is_some() { (IDLE, 0) } else { (STRANGER, refusals + 1) };
            if replies.from.is_some() && !known {
                known = self.promote(&mut place);
            }
            let sent = timeout(SEND, send(&mut stream, replies.messages)).await;
            if !matches!(sent, Ok(Ok(()))) || refusals >= REFUSALS {
                return;
            }
        }
    }

    /// Gives a stranger's place back for a member's, if there is one.
    fn promote<'a>(&'a self, place: &mut SemaphorePermit<'a>) -> bool {
        let member = self.0.members.try_acquire();
        member.map(|member| *place = member).is_ok()
    }

    /// Ends leases on time and keeps the file up to date. To be spawned once; write errors are logged and tried again.
    pub async fn run(self) {
        loop {
            let lease_ends = self.lock().poll_timeout().map(|(at, _)| Instant::from_std(at));
            tokio::select! {
                () = self.0.changed.notified() => sleep(SAVE).await,
                () = sleep_until(lease_ends.unwrap_or_else(Instant::now)), if lease_ends.is_some() => {}
            }
            if let Err(error) = self.save().await {
                tracing::error!(%error, "the zone was not saved");
                sleep(Duration::from_secs(10)).await;
                self.0.changed.notify_one();
            }
        }
    }

    /// Writes the file if something changed since it was written; to be called once more on stop.
    pub async fn save(&self) -> Result<(), RendezvousError> {
        let snapshot = {
            let (mut server, now) = (self.lock(), now());
            server.expire(now.monotonic);
            if !server.take_unsaved() {
                return Ok(());
            }
            server.zone().to_snapshot(now.monotonic, now.wall)
        };
        let file = self.0.file.clone();
        let written = tokio::task::spawn_blocking(move || disk::replace(&file, &snapshot, 0o600, |_| Ok(()))).await;
        written.map_err(io::Error::other).and_then(|result| result).map_err(|why| {
            self.lock().mark_unsaved();
            RendezvousError::File { path: self.0.file.clone(), why }
        })
    }

    /// The zone's serial.
    pub fn serial(&self) -> u32 {
        self.lock().zone().serial()
    }

    fn lock(&self) -> MutexGuard<'_, Server> {
        self.0.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves a damaged zone file out of the way, to `<file>.damaged-<seconds>`, and says where it is now. Only when the owner asked for it.
pub fn set_aside(file: &Path) -> Result<PathBuf, RendezvousError> {
    let mut aside = file.as_os_str().to_owned();
    aside.push(format!(".damaged-{}", now().wall));
    let aside = PathBuf::from(aside);
    fs::rename(file, &aside).map_err(|why| RendezvousError::File { path: file.to_owned(), why })?;
    Ok(aside)
}
