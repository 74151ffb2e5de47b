//! The kernel's side of the network watch: one dump, and a stream of snapshots.

use std::io;
use std::sync::Arc;

use tokio::sync::watch;

use super::snapshot::Snapshot;

/// Starts watching the network namespace of the calling thread; needs a tokio runtime.
///
/// The first snapshot is complete when this returns. Changes are told once they have been quiet for a moment, so a
/// new lease is one change and not five. Dropping every receiver ends the watch.
pub async fn watch() -> io::Result<watch::Receiver<Arc<Snapshot>>> {
    todo!()
}

/// The network as it is now.
pub async fn snapshot() -> io::Result<Snapshot> {
    todo!()
}
