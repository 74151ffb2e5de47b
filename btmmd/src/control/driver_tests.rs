use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::mpsc;
use zlink::varlink_service::Proxy;

use super::*;
use crate::control::messages::{Machines, Switched};
use crate::control::request::Call;

/// A folder of its own under the system's temporary one, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("btmm-control-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join(SOCKET)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Serves in `folder` with an event loop that answers `On` and `Machines` at once and `Status` never.
fn running(folder: &Folder) -> tokio::task::JoinHandle<()> {
    let server = Server::bind(&folder.socket(), None).unwrap();
    let (requests, mut received) = mpsc::channel::<ControlRequest>(8);
    tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(request) = received.recv().await {
            match request.call {
                Call::On(answer) => answer.send(Ok(Switched { on: true, changed: true })).unwrap(),
                Call::Machines(answer) => {
                    answer.send(Ok(Machines { zone: "z.z".to_owned(), this: "a".to_owned(), machines: vec![] })).unwrap();
                }
                Call::Status(answer) => unanswered.push(answer),
                other => panic!("{other:?}"),
            }
        }
    });
    tokio::spawn(server.run(requests))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_group_and_goes_with_the_server() {
    let folder = Folder::new();
    let mode = || std::fs::metadata(folder.socket()).unwrap().mode() & 0o7777;
    let server = Server::bind(&folder.socket(), None).unwrap();
    assert_eq!(mode(), 0o600);
    drop(server);
    assert!(!folder.socket().exists());
    let gid = nix::unistd::getegid().as_raw();
    let server = Server::bind(&folder.socket(), Some(gid)).unwrap();
    assert_eq!((mode(), std::fs::metadata(folder.socket()).unwrap().gid()), (0o660, gid));
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "nothing else is left in the folder");
    drop(server);
}

#[tokio::test]
async fn a_socket_on_which_somebody_answers_is_not_taken_over() {
    let folder = Folder::new();
    let task = running(&folder);
    let refused = Server::bind(&folder.socket(), None).unwrap_err();
    assert!(matches!(&refused, BindError::Running(path) if *path == folder.socket()), "{refused}");
    let path = folder.0.clone();
    assert!(blocking(move || connect(&path).unwrap().on()).await.unwrap().changed, "the first still answers");
    task.abort();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_the_old_server_does_not_remove_the_new_one() {
    let folder = Folder::new();
    let stale = std::os::unix::net::UnixListener::bind(folder.socket()).unwrap();
    drop(stale);
    assert!(folder.socket().exists());
    let first = Server::bind(&folder.socket(), None).unwrap();
    std::fs::remove_file(folder.socket()).unwrap();
    let second = Server::bind(&folder.socket(), None).unwrap();
    drop(first);
    assert!(folder.socket().exists());
    drop(second);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new();
    std::fs::write(folder.socket(), "precious").unwrap();
    assert!(matches!(Server::bind(&folder.socket(), None), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(folder.socket()).unwrap(), "precious");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let error = Server::bind(Path::new("/nonexistent/btmmd.sock"), None).unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/btmmd.sock: "), "{error}");
}

#[tokio::test]
async fn without_a_daemon_the_client_says_how_to_start_it() {
    let folder = Folder::new();
    let absent = connect(&folder.0).unwrap_err();
    drop(std::os::unix::net::UnixListener::bind(folder.socket()).unwrap());
    let stale = connect(&folder.0).unwrap_err();
    for error in [absent, stale] {
        assert_eq!(error.to_string(), "btmmd is not running: systemctl start btmmd");
        assert_eq!(error.exit_class() as u8, 3);
    }
}

#[tokio::test]
async fn a_call_that_waits_does_not_hold_up_other_callers() {
    let folder = Folder::new();
    let task = running(&folder);
    let mut waiting = std::os::unix::net::UnixStream::connect(folder.socket()).unwrap();
    io::Write::write_all(&mut waiting, b"{\"method\":\"org.btmm.Control.Status\"}\0").unwrap();
    let path = folder.0.clone();
    let machines = blocking(move || connect(&path).unwrap().machines()).await.unwrap();
    assert_eq!(machines.this, "a");
    task.abort();
}

#[tokio::test]
async fn too_many_clients_are_turned_away_with_a_reason_and_come_in_when_others_leave() {
    let folder = Folder::new();
    let task = running(&folder);
    let crowd: Vec<_> = (0..CLIENTS).map(|_| BlockingStream::connect(folder.socket()).unwrap()).collect();
    let path = folder.0.clone();
    let refused = blocking(move || connect(&path).unwrap().machines()).await.unwrap_err();
    assert_eq!(refused.to_string(), "control socket: too many clients");
    drop(crowd);
    let path = folder.0.clone();
    let admitted = blocking(move || (0..100).any(|_| connect(&path).unwrap().machines().is_ok())).await;
    assert!(admitted);
    task.abort();
}

#[test]
fn readers_cannot_take_the_last_places() {
    let slots = Slots::new();
    let readers: Vec<_> = std::iter::from_fn(|| slots.take(false)).collect();
    assert_eq!(readers.len(), READERS);
    let others: Vec<_> = std::iter::from_fn(|| slots.take(true)).collect();
    assert_eq!(others.len(), CLIENTS - READERS);
    drop(readers);
    assert!(slots.take(false).is_some());
}

#[tokio::test]
async fn a_varlink_client_that_is_not_ours_finds_and_reads_the_interface() {
    let folder = Folder::new();
    let task = running(&folder);
    let mut foreign = zlink::tokio::unix::connect(folder.socket()).await.unwrap();
    let info = foreign.get_info().await.unwrap().unwrap();
    assert_eq!((info.product.as_ref(), info.version.as_ref()), ("btmmd", env!("CARGO_PKG_VERSION")));
    let interfaces: Vec<_> = info.interfaces.iter().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(interfaces, ["org.varlink.service", "org.btmm.Control"]);
    for name in interfaces {
        let description = foreign.get_interface_description(name.as_str().try_into().unwrap()).await.unwrap().unwrap();
        assert_eq!(description.parse().unwrap().name().as_str(), name);
    }
    task.abort();
}
