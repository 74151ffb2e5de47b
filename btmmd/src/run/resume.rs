//! Which tunnels are up, kept on disk. Whoever was at the other end of one when this daemon was killed, or the power failed, goes on sending
//! into states that are gone here, and would take most of a minute to notice. So the next daemon begins by raising them again, where they
//! led: INITIAL_CONTACT tells the other end that all it had is void (RFC 7296 §2.4). Goodbyes that were said leave nothing to raise.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::session::Session;
use crate::account::name::MachineName;
use crate::clock;
use crate::engine::{Peer, Tunnel};
use crate::ike::{self, SaStatus};

/// A tunnel that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    machine: MachineName,
    /// The other end's outer address: where a NAT in front of it still lets us in, which what it publishes may not be.
    remote: SocketAddr,
}

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Resume {
    path: PathBuf,
    kept: Vec<Kept>,
}

impl Resume {
    /// What an earlier daemon left. A file that cannot be read costs time, nothing else.
    pub fn load(path: PathBuf) -> Self {
        let read = std::fs::read(&path).and_then(|octets| Ok(serde_json::from_slice(&octets)?));
        let kept = read.unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                warn!(file = %path.display(), %error, "tunnels of the last run are not raised again");
            }
            Vec::new()
        });
        Self { path, kept }
    }

    /// Keeps which tunnels are up now. Not synced: that would hold up every tunnel, and what a power failure takes is only time.
    fn keep(&mut self, up: Vec<Kept>) {
        if up == self.kept {
            return;
        }
        match save(&self.path, &up) {
            Ok(()) => self.kept = up,
            Err(error) => warn!(file = %self.path.display(), %error, "which tunnels are up is not kept"),
        }
    }
}

fn save(path: &Path, kept: &[Kept]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, serde_json::to_vec(kept)?)?;
    std::fs::rename(&fresh, path)
}

impl Session {
    /// Raises the tunnels that were up when the last daemon ended without a goodbye.
    pub(super) fn resume(&mut self) {
        if !self.engine.is_on() {
            return self.keep_tunnels();
        }
        for Kept { machine, remote } in self.resume.kept.clone() {
            let Some(inner) = self.engine.peer(&machine).map(Peer::inner) else { continue };
            debug!(peer = %machine, %remote, "its tunnel was up when btmmd ended: raised again");
            let peer = machine.in_zone(self.identity.zone());
            self.ike.handle(ike::Input::Initiate { peer, inner, candidates: vec![remote] }, clock::monotonic());
        }
    }

    /// A tunnel came, moved or went.
    pub(super) fn keep_tunnels(&mut self) {
        let kept = |association: SaStatus| {
            let machine = self.machine(&association.peer)?;
            let up = matches!(self.engine.peer(&machine).map(Peer::tunnel), Some(Tunnel::Up { .. }));
            up.then_some(Kept { machine, remote: association.remote })
        };
        let up = self.ike.status().into_iter().filter_map(kept).collect();
        self.resume.keep(up);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again_and_what_is_damaged_is_nothing() {
        let folder = crate::account::driver::tests::directory();
        let path = folder.path().join("tunnels.json");
        assert!(Resume::load(path.clone()).kept.is_empty());
        let kept = [Kept { machine: "imac".parse().unwrap(), remote: "203.0.113.2:1024".parse().unwrap() }];
        save(&path, &kept).unwrap();
        assert_eq!(Resume::load(path.clone()).kept, kept);
        std::fs::write(&path, "[{\"machine\": \"Not A Name\", \"remote\": \"203.0.113.2:1024\"}]").unwrap();
        assert!(Resume::load(path).kept.is_empty());
    }

    #[test]
    fn the_file_follows_the_tunnels() {
        let folder = crate::account::driver::tests::directory();
        let mut resume = Resume::load(folder.path().join("tunnels.json"));
        for remotes in [&["203.0.113.2:1024"][..], &["203.0.113.9:4500"], &[]] {
            let up = |remote: &&str| Kept { machine: "imac".parse().unwrap(), remote: remote.parse().unwrap() };
            let up: Vec<Kept> = remotes.iter().map(up).collect();
            resume.keep(up.clone());
            assert_eq!(Resume::load(resume.path.clone()).kept, up);
        }
    }
}
