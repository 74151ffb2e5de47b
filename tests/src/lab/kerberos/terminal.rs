//! A person at a terminal, who answers what programs ask there.
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;

use super::Machine;

/// How long a line may take, with all its answers.
const PATIENCE: Duration = Duration::from_secs(60);

impl Machine {
    /// Types a line into a shell at a terminal of its own, and each answer once its prompt is on the screen. Answers the screen of a line that
    /// ended well.
    pub fn type_line(&self, line: &str, answers: &[(&str, &str)]) -> Result<String> {
        let terminal = openpty(None, None).context("a terminal")?;
        let ours = File::from(terminal.master);
        fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let theirs: OwnedFd = terminal.slave;
        let mut shell = self.program("setsid", &["--ctty", "--wait", "sh", "-c", line]);
        shell.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        let mut child = shell.spawn().with_context(|| format!("starting {shell:?}"))?;
        // Its copies of the terminal would keep it open.
        drop(shell);
        let watched = watch(ours, answers, &mut || Ok(child.try_wait()?.map(|status| status.success())));
        if watched.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        watched.map_err(|error| anyhow!("{line}: {error:#}\n--- trace\n{}", self.trace()))
    }
}

fn watch(mut terminal: File, answers: &[(&str, &str)], ended: &mut dyn FnMut() -> Result<Option<bool>>) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    let (mut screen, mut seen, mut answers) = (String::new(), 0, answers.iter());
    let mut next = answers.next();
    loop {
        let end = ended()?;
        // What was written before the end is on the screen after it.
        read(&mut terminal, &mut screen)?;
        if let Some((prompt, answer)) = next
            && let Some(at) = screen.get(seen..).and_then(|rest| rest.find(prompt))
        {
            seen += at + prompt.len();
            writeln!(terminal, "{answer}")?;
            next = answers.next();
        }
        match (end, next) {
            (Some(true), None) => return Ok(screen),
            (Some(true), Some((prompt, _))) => bail!("it never asked {prompt:?}:\n{screen}"),
            (Some(false), _) => bail!("it failed:\n{screen}"),
            (None, _) => {}
        }
        ensure!(Instant::now() < until, "not done within {PATIENCE:?}, next prompt {next:?}:\n{screen}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Takes what is there. A terminal that all programs have closed has nothing more (`EIO`).
fn read(terminal: &mut File, screen: &mut String) -> Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match terminal.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => screen.push_str(&String::from_utf8_lossy(buffer.get(..length).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EIO) => return Ok(()),
            Err(error) => return Err(error).context("reading the terminal"),
        }
    }
}
