//! Runs a command: daemon, files, standard input and output.

mod agent;
mod certified;
mod grants;
mod keys;
mod prompt;
mod secret;
mod tickets;

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use clap::{CommandFactory, Parser};
use serde::Serialize;

use super::args::{self, Account, Btmm, Command, Internal};
use super::ping::Tally;
use super::table::Paint;
use super::{account, firewall, generate, machines, ping, status};
use crate::config::{self, Config};
use crate::control::client::ClientError;
use crate::control::driver::connect;
use crate::control::error::{ControlError, ExitClass};
use crate::control::messages::Status;
use crate::control::wire::Ping;
use crate::datapath::{DatapathError, Settings, firewall as switch};
use crate::lkdc::ccache::CacheError;
use crate::lkdc::keytab::KeytabFileError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The daemon's part.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The kernel's part of `btmm firewall`.
    #[error("{}", datapath_line(.0))]
    Datapath(#[from] DatapathError),
    /// The switch cannot be read without the daemon by others than root.
    #[error("firewall: btmmd is not running, and without it only root can read the switch")]
    OnlyRoot,
    /// A ticket from a KDC.
    #[error(transparent)]
    Grant(#[from] grants::GrantFailure),
    /// The caller's tickets.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The keytab.
    #[error(transparent)]
    Keytab(#[from] KeytabFileError),
    /// A value that was not on the command line is wrong.
    #[error("{argument}: {message}")]
    Value {
        /// What the value is for.
        argument: &'static str,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// A file cannot be written, or standard input not read.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        cause: io::Error,
    },
}

impl Failure {
    fn exit_class(&self) -> ExitClass {
        match self {
            Self::Client(error) => error.exit_class(),
            Self::Grant(failure) => failure.exit_class(),
            Self::OnlyRoot => ExitClass::NotPermitted,
            Self::Datapath(error) if error.is_permission() => ExitClass::NotPermitted,
            Self::Value { .. } => ExitClass::Usage,
            Self::Cache(CacheError::Foreign { .. }) => ExitClass::NotPermitted,
            Self::Datapath(_) | Self::File { .. } | Self::Cache(_) | Self::Keytab(_) => ExitClass::Failed,
        }
    }

    /// The varlink name of the error when it is one.
    fn name(&self) -> Option<String> {
        let Self::Client(ClientError::Refused(error)) = self else { return None };
        serde_json::to_value(error).ok()?.get("error")?.as_str().map(str::to_owned)
    }
}

fn datapath_line(error: &DatapathError) -> String {
    let advice = if error.is_permission() { ": be root, for example with sudo" } else { "" };
    format!("{error}{advice}")
}

/// What `--json` prints on standard error.
#[derive(Serialize)]
struct FailureJson {
    error: Option<String>,
    message: String,
    exit_code: u8,
}

/// The whole command: arguments in, exit code out.
pub fn main() -> ExitCode {
    let btmm = match Btmm::try_parse() {
        Ok(btmm) => btmm,
        Err(told) => {
            if told.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                let whole = told.to_string();
                tell_json(None, whole.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(), ExitClass::Usage);
                return ExitCode::from(ExitClass::Usage as u8);
            }
            // Nothing can be done about a closed standard error.
            let _ = told.print();
            return ExitCode::from(if told.use_stderr() { ExitClass::Usage as u8 } else { ExitClass::Done as u8 });
        }
    };
    let output = Output { json: btmm.json };
    let class = run(btmm, output).unwrap_or_else(|failure| {
        output.tell(&failure);
        failure.exit_class()
    });
    ExitCode::from(class as u8)
}

fn tell_json(error: Option<String>, message: String, class: ExitClass) {
    let report = FailureJson { error, message, exit_code: class as u8 };
    eprintln!("{}", serde_json::to_string(&report).unwrap_or(report.message));
}

fn run(btmm: Btmm, output: Output) -> Result<ExitClass, Failure> {
    match btmm.command.unwrap_or(Command::Status) {
        Command::Status => {
            let reply = connect(&runtime_dir())?.status()?;
            output.print(&reply, |paint| status::render(&reply, now(), paint))
        }
        Command::On => {
            let reply = connect(&runtime_dir())?.on()?;
            output.print(&reply, |_| status::switched(reply.on, reply.changed))
        }
        Command::Off => {
            let reply = connect(&runtime_dir())?.off()?;
            output.print(&reply, |_| status::switched(reply.on, reply.changed))
        }
        Command::Machines => {
            let reply = connect(&runtime_dir())?.machines()?;
            output.print(&reply, |paint| machines::render(&reply, now(), paint))
        }
        Command::Ping(args) => run_ping(&args, output),
        Command::Firewall(action) => run_firewall(action, output),
        Command::Account(Account::Create(args)) => {
            let reply = connect(&runtime_dir())?.account_create(&account::create(&args))?;
            output.print(&reply, |_| account::created(&reply))
        }
        Command::Account(Account::Show) => {
            let reply = connect(&runtime_dir())?.status()?.account.ok_or(ClientError::Refused(ControlError::NoAccount {}))?;
            output.print(&reply, |_| status::account(&reply, now()))
        }
        Command::Invite => {
            let reply = connect(&runtime_dir())?.invite()?;
            let done = output.print(&reply, |_| account::invitation(&reply))?;
            if !output.json {
                eprint!("{}", account::invitation_note(&reply, now()));
            }
            Ok(done)
        }
        Command::Join(args) => run_join(&args, output),
        Command::Passwd(args) => keys::run_passwd(&args, output),
        Command::Keytab(args) => keys::run_keytab(&args, output),
        Command::Tickets(args) => tickets::run(&args, output),
        Command::Services(args) => keys::run_services(&args, output),
        Command::Agent => agent::run(),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Btmm::command(), "btmm", &mut script);
            write_out(&script)
        }
        Command::Version => run_version(output),
        Command::Internal(Internal::Man { dir }) => write_files(&dir, generate::manual(env!("CARGO_PKG_VERSION"))),
        Command::Internal(Internal::Completions { dir }) => write_files(&dir, generate::completions()),
    }
}

fn run_version(output: Output) -> Result<ExitClass, Failure> {
    #[derive(Serialize)]
    struct Versions {
        btmm: &'static str,
        btmmd: Option<String>,
    }
    let running = connect(&runtime_dir()).and_then(|mut client| client.status()).ok().map(|status| status.version);
    let versions = Versions { btmm: env!("CARGO_PKG_VERSION"), btmmd: running };
    output.print(&versions, |_| status::versions(versions.btmmd.as_deref()))
}

fn run_join(args: &args::Join, output: Output) -> Result<ExitClass, Failure> {
    let typed = match args.code.as_deref() {
        Some("-") | None => read_code()?,
        Some(code) => code.to_owned(),
    };
    let call = account::join(args, &typed).map_err(|error| Failure::Value { argument: "CODE", message: error.to_string() })?;
    let reply = connect(&runtime_dir())?.join(&call)?;
    output.print(&reply, |_| account::joined(&reply))
}

fn read_code() -> Result<String, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprint!("code from \"btmm invite\": ");
    }
    let mut line = String::new();
    // One more than the longest code, so that a longer one is seen to be too long, and its line end.
    let limit = account::MAX_CODE as u64 + 3;
    stdin.lock().take(limit).read_line(&mut line).map_err(|cause| Failure::File { path: "standard input".into(), cause })?;
    Ok(line)
}

fn run_ping(args: &args::Ping, output: Output) -> Result<ExitClass, Failure> {
    let tally = Arc::new(Mutex::new(Tally::default()));
    if !output.json {
        sum_up_when_interrupted(args.machine.clone(), Arc::clone(&tally));
    }
    let mut client = connect(&runtime_dir())?;
    let call = Ping { machine: args.machine.clone(), count: args.count, interval_ms: Some(args.interval.0) };
    for reply in client.ping(&call)? {
        let reply = reply?;
        tally.lock().unwrap_or_else(PoisonError::into_inner).note(&reply);
        output.print_line(&reply, || ping::line(&args.machine, &reply))?;
    }
    let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    if !output.json {
        write_out(tally.summary(&args.machine).as_bytes())?;
    }
    Ok(ping_class(&tally))
}

fn ping_class(tally: &Tally) -> ExitClass {
    if tally.answered() { ExitClass::Done } else { ExitClass::Unreachable }
}

/// Ctrl-C ends a ping with its summary, as people expect of ping(8).
fn sum_up_when_interrupted(machine: String, tally: Arc<Mutex<Tally>>) {
    // Without these Ctrl-C just ends the process, as by default. In force before the first probe, not when the thread gets its turn.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let listening = {
        let _inside = runtime.enter();
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
    };
    let Ok(mut interrupts) = listening else { return };
    std::thread::spawn(move || {
        if runtime.block_on(interrupts.recv()).is_some() {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = write_out(format!("\n{}", tally.summary(&machine)).as_bytes());
            std::process::exit(ping_class(&tally) as i32);
        }
    });
}

fn run_firewall(action: args::Firewall, output: Output) -> Result<ExitClass, Failure> {
    let pins = directory("BTMM_BPFFS", "/sys/fs/bpf/btmm");
    let state = directory("BTMM_STATE_DIR", "/var/lib/btmm");
    let report: firewall::Report = match action {
        args::Firewall::Block => {
            let (config, error) = Config::load_or_default(Path::new(config::PATH));
            error.iter().for_each(|error| eprintln!("btmm: {error}; port {} is blocked", config.port.get()));
            switch::block(&pins, &Settings { port: config.port.get(), ..Settings::new(&state) })?.into()
        }
        args::Firewall::Allow => switch::allow(&pins, &state)?.into(),
        args::Firewall::Status if nix::unistd::geteuid().is_root() => switch::status(&pins, &state)?.into(),
        // Pins and state are root's and the daemon's; what others can see of them looks as if there were none.
        args::Firewall::Status => (&told_by_daemon()?).into(),
    };
    output.print(&report, |paint| firewall::render(&report, paint))
}

fn told_by_daemon() -> Result<Status, Failure> {
    match connect(&runtime_dir()).and_then(|mut client| client.status()) {
        Err(ClientError::NotRunning) => Err(Failure::OnlyRoot),
        told => Ok(told?),
    }
}

#[derive(Clone, Copy)]
struct Output {
    json: bool,
}

impl Output {
    fn tell(self, failure: &Failure) {
        let message = failure.to_string();
        if self.json {
            tell_json(failure.name(), message, failure.exit_class());
        } else {
            eprintln!("btmm: {message}");
        }
    }

    /// A word about what is passed over or tried next. Not for programs: they read what came of it.
    fn note(self, word: impl std::fmt::Display) {
        if !self.json {
            eprintln!("{word}");
        }
    }

    fn print<T: Serialize>(self, reply: &T, text: impl FnOnce(Paint) -> String) -> Result<ExitClass, Failure> {
        let paint = Paint(io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
        write_out(self.format(reply, || text(paint), serde_json::to_string_pretty)?.as_bytes())
    }

    /// One line of a stream.
    fn print_line<T: Serialize>(self, reply: &T, text: impl FnOnce() -> String) -> Result<ExitClass, Failure> {
        write_out(self.format(reply, text, serde_json::to_string)?.as_bytes())
    }

    fn format<T: Serialize>(
        self,
        reply: &T,
        text: impl FnOnce() -> String,
        json: impl FnOnce(&T) -> serde_json::Result<String>,
    ) -> Result<String, Failure> {
        if !self.json {
            return Ok(text());
        }
        let encoded = json(reply).map_err(|cause| Failure::File { path: "standard output".into(), cause: cause.into() })?;
        Ok(encoded + "\n")
    }
}

fn write_out(bytes: &[u8]) -> Result<ExitClass, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // The reader has seen enough.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => std::process::exit(i32::from(ExitClass::Done as u8)),
        Err(cause) => Err(Failure::File { path: "standard output".into(), cause }),
        Ok(()) => Ok(ExitClass::Done),
    }
}

fn write_files(dir: &Path, files: Vec<generate::File>) -> Result<ExitClass, Failure> {
    std::fs::create_dir_all(dir).map_err(|cause| Failure::File { path: dir.to_owned(), cause })?;
    for file in files {
        let path = dir.join(file.name);
        std::fs::write(&path, file.content).map_err(|cause| Failure::File { path, cause })?;
    }
    Ok(ExitClass::Done)
}

fn runtime_dir() -> PathBuf {
    directory("BTMM_RUNTIME_DIR", "/run/btmm")
}

fn directory(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map_or_else(|| default.into(), PathBuf::from)
}

fn now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}
