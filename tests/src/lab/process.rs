//! Programs that run in a node.
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a program that ended well wrote.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs to the end; an exit code other than 0 is an error with all it wrote.
pub fn finish(mut command: Command) -> Result<Finished> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    judge(&command, output)
}

fn judge(command: &Command, output: Output) -> Result<Finished> {
    let Output { status, stdout, stderr } = output;
    let finished = Finished { out: String::from_utf8_lossy(&stdout).into_owned(), err: String::from_utf8_lossy(&stderr).into_owned() };
    if !status.success() {
        bail!("{command:?}: {status}\n{}{}", finished.out, finished.err);
    }
    Ok(finished)
}

/// Runs to the end with `input` on standard input; an exit code other than 0 is an error with all it wrote.
pub fn feed(mut command: Command, input: &str) -> Result<Finished> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    // It may end without having read it.
    let _ = child.stdin.take().context("its input")?.write_all(input.as_bytes());
    judge(&command, child.wait_with_output()?)
}

/// A program in the background, killed when this is dropped. What it writes is kept.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// With nothing to read on standard input.
    pub(super) fn start(command: Command) -> Result<Self> {
        Self::start_reading(command, Stdio::null())
    }

    /// With an input that stays open, and empty, as long as this lives.
    pub(super) fn start_attended(command: Command) -> Result<Self> {
        Self::start_reading(command, Stdio::piped())
    }

    fn start_reading(mut command: Command, input: Stdio) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir().join(format!("btmm-lab-{}-{number}.log", std::process::id()));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let name = format!("{command:?}");
        let child = command.stdin(input).stdout(file.try_clone()?).stderr(file).spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Its process id: `nsenter` becomes the program, so this is the program itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it wrote so far, output and errors.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until it has written `text`.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<()> {
        let until = Instant::now() + limit;
        loop {
            if self.log().contains(text) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it wrote {text:?}:\n{}", self.name, self.log());
            }
            if Instant::now() >= until {
                bail!("{} did not write {text:?} within {limit:?}:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// True while it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("a process id")?);
        kill(pid, signal).with_context(|| format!("sending {signal} to {}", self.name))
    }

    /// Asks it to end (SIGTERM), waits, and answers how it ended.
    pub fn stop(mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= until {
                bail!("{} did not end within {limit:?}:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}---", self.name, self.log());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}
