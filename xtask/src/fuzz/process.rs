//! One target's process: started, measured by the kernel's count of its processor time, ended.
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::said::Said;
use super::targets::{Target, folder};
use crate::workspace::Workspace;

/// The unit of processor time in `/proc`: Linux's USER_HZ is 100.
const TICK: Duration = Duration::from_millis(10);

/// Seconds that one input may take. None needs a hundredth of one.
const PATIENCE: u64 = 60;

/// The process may take so many times as long by the clock as its budget of processor time, on a machine that does other things.
const STRETCH: u64 = 30;

/// A target that runs.
pub struct Process<'a> {
    target: &'a Target,
    child: Child,
    log: PathBuf,
    begun: Instant,
    budget: Duration,
    told: bool,
}

/// What became of it.
pub enum Glance<'a> {
    /// It goes on.
    Runs(Process<'a>),
    /// Its end.
    Ended(Run<'a>),
}

/// A target that has run.
pub struct Run<'a> {
    /// Which.
    pub target: &'a Target,
    /// By its own word.
    pub said: Said,
    /// User and system time of all its threads.
    pub processor: Duration,
    /// From start to end.
    pub wall: Duration,
    log: PathBuf,
    status: ExitStatus,
    told: bool,
}

impl<'a> Process<'a> {
    /// Starts it on what is known from runs before. It ends after `budget` of processor time.
    pub fn start(workspace: &Workspace, target: &'a Target, budget: Duration) -> Result<Self> {
        let folder = folder(workspace);
        let log = folder.join("logs").join(format!("{}.log", target.name));
        for made in [folder.join(corpus(target)), folder.join(crashes(target)), log.parent().context("a log lies in a folder")?.to_owned()]
        {
            fs::create_dir_all(&made).with_context(|| format!("creating {}", made.display()))?;
        }
        let file = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let ceiling = (budget.as_secs() + 1) * STRETCH;
        // Inputs that made it fall once are tried again first.
        let options = format!(
            "{corpus} {crashes} -artifact_prefix={crashes}/ -timeout={PATIENCE} -report_slow_units={PATIENCE} -max_total_time={ceiling} -print_final_stats=1",
            corpus = corpus(target),
            crashes = crashes(target),
        );
        let child = Command::new(&target.binary)
            .args(words(target))
            // Its options are cut at blanks: paths in them are relative.
            .current_dir(&folder)
            .env("BOLERO_LIBFUZZER_ARGS", options)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", target.binary.display()))?;
        Ok(Self { target, child, log, begun: Instant::now(), budget, told: false })
    }

    /// Looks after it. It is told to end when its budget is used up or an interrupt came, and ended at a second one.
    pub fn glance(mut self, interrupts: u32) -> Result<Glance<'a>> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // Left unreaped, so that its times are still there to read.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let ended = waitid(Id::Pid(pid), flags).context("waiting for a target")? != WaitStatus::StillAlive;
        let processor = processor_time(pid)?;
        if ended {
            return self.end(processor).map(Glance::Ended);
        }
        if interrupts > 1 {
            self.child.kill().context("ending a target")?;
            self.told = true;
        } else if !self.told && (interrupts > 0 || processor >= self.budget) {
            kill(pid, Signal::SIGUSR1).context("ending a target")?;
            self.told = true;
        }
        Ok(Glance::Runs(self))
    }

    fn end(mut self, processor: Duration) -> Result<Run<'a>> {
        let wall = self.begun.elapsed();
        let status = self.child.wait().context("waiting for a target")?;
        let log = fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        let said = Said::read(&String::from_utf8_lossy(&log));
        Ok(Run { target: self.target, said, processor, wall, log: self.log, status, told: self.told })
    }
}

impl Run<'_> {
    /// How many crashes. An end in another way than asked for, of which there is no word, is one, too.
    pub fn crashes(&self) -> usize {
        self.said.crashes.len().max(usize::from(self.fell()))
    }

    fn fell(&self) -> bool {
        if self.told {
            let as_told = [Signal::SIGUSR1, Signal::SIGKILL].map(|signal| Some(signal as i32));
            return !self.status.success() && !as_told.contains(&self.status.signal());
        }
        !self.status.success() || self.said.executions == 0
    }

    /// A word on each crash, and how to see it again.
    pub fn failures(&self, workspace: &Workspace) -> Vec<String> {
        let (name, folder) = (&self.target.name, folder(workspace));
        if self.said.crashes.is_empty() && self.fell() {
            return vec![format!("{name}: ended unasked ({}), see {}", self.status, self.log.display())];
        }
        let again = |file: &Path| {
            let (folder, file, binary) = (folder.display(), file.display(), self.target.binary.display());
            let words = words(self.target).join(" ");
            format!("{name}: crash in {folder}/{file}; to see it again:\n    cd {folder} && BOLERO_LIBFUZZER_ARGS={file} {binary} {words}")
        };
        self.said.crashes.iter().map(|file| again(file)).collect()
    }
}

fn corpus(target: &Target) -> String {
    format!("corpus/{}", target.name)
}

fn crashes(target: &Target) -> String {
    format!("crashes/{}", target.name)
}

/// One test, in the main thread.
fn words(target: &Target) -> [&str; 4] {
    [&target.test, "--exact", "--nocapture", "--test-threads=1"]
}

/// Of all threads of a process, also of one that has ended and was not reaped.
fn processor_time(pid: Pid) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading a target's times")?;
    times(&stat).context("the kernel tells no times of a target")
}

/// User and system time, of the fields 14 and 15 of `/proc/PID/stat` (proc_pid_stat(5)). The second field may have anything in it.
fn times(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(str::parse::<u32>);
    let ticks = fields.next()?.ok()? + fields.next()?.ok()?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_user_and_system_time_whatever_the_program_is_called() {
        let stat = "4711 (a) b (c) R 1 4711 4711 0 -1 4194304 100 0 0 0 250 50 7 8 20 0 2 0 100 1 1";
        assert_eq!(times(stat), Some(Duration::from_secs(3)));
        assert_eq!(times("4711 (a) R 1"), None);
    }

    #[test]
    fn the_time_of_a_child_that_worked_is_known_after_its_end() {
        let mut child = Command::new("sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).spawn().expect("a shell");
        let pid = Pid::from_raw(child.id().cast_signed());
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("it ends");
        let spent = processor_time(pid).expect("its times");
        child.wait().expect("it is reaped");
        assert!(spent >= TICK, "{spent:?}");
    }
}
