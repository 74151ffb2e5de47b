//! The KDCs that are measured, and the cores they run on.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::served::{HOST, USERS, user};
use crate::lab::Running;
use crate::lab::kerberos::{FOLDER, Machine, MitKdc};

/// A KDC that runs.
#[derive(Debug)]
pub struct Subject {
    /// Where.
    pub address: SocketAddr,
    process: Running,
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Asked to end, krb5kdc takes its workers along; a kill would leave them.
        if self.process.signal(Signal::SIGTERM).is_ok() {
            let _ = self.process.wait(Duration::from_secs(5));
        }
    }
}

/// Calls a function in a thread that may run only on these cores. What it starts inherits that.
pub fn on_cores<T: Send>(cores: &[usize], function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let mut set = CpuSet::new();
    cores.iter().try_for_each(|core| set.set(*core)).context("a core")?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sched_setaffinity(Pid::from_raw(0), &set).context("choosing cores")?;
            function()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The same, in front of everything else that these cores have to do, this thread and what it starts: a thread of ordinary priority, however
/// high, waits whole ticks for others, which says nothing about the one that is measured. Not for more than half a second without a pause: the
/// kernel stops who takes all of a second.
pub fn undisturbed<T: Send>(cores: &[usize], function: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_cores(cores, || {
        let first = libc::sched_param { sched_priority: 1 };
        // SAFETY: the parameters live until the call returns, and 0 is this thread.
        let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first) };
        nix::errno::Errno::result(set).context("real-time priority")?;
        function()
    })
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv6Addr::LOCALHOST, port).into()
}

/// The database of an MIT KDC with the users and the service. It notes neither the last success nor failures of a client, since ours
/// does not either, and has keys of one encryption type.
pub fn mit(machine: &Machine) -> Result<MitKdc> {
    let mut kdc = MitKdc::new(&machine.realm()).etypes("aes256-cts:normal").service(&format!("host/{HOST}"));
    kdc = kdc.line("database_module = quiet").section(
        "[dbmodules]\n    quiet = {\n        db_library = db2\n        disable_last_success = true\n        disable_lockout = true\n    }",
    );
    for number in 0..USERS {
        kdc = kdc.principal(&user(number), &user(number));
    }
    kdc.create(machine)?;
    Ok(kdc)
}

/// Starts it with this number of worker processes.
pub fn start_mit(kdc: &MitKdc, machine: &Machine, workers: u32, port: u16) -> Result<Subject> {
    let process = kdc.clone().workers(workers).serve(machine, port)?;
    Ok(Subject { address: loopback(port), process })
}

/// Starts ours with this number of threads.
pub fn start_ours(machine: &Machine, threads: usize, crowd: u32, port: u16) -> Result<Subject> {
    let address = loopback(port);
    let mut command = machine.node.command(std::env::current_exe()?);
    command.args(["kdc", "--realm", &machine.realm(), "--listen", &address.to_string()]);
    command.args(["--threads", &threads.to_string(), "--crowd", &crowd.to_string(), "--credentials", FOLDER]);
    let mut process = machine.node.spawn(command)?;
    process.wait_for("commencing operation", Duration::from_secs(60))?;
    Ok(Subject { address, process })
}
