//! What can be typed.

use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::account::name::{MachineName, ZoneName};

/// The exit codes, for `btmm help` and the manual pages.
pub const EXIT_CODES: [(u8, &str); 6] = [
    (0, "done"),
    (1, "tried and failed"),
    (2, "the command line or one of its values is wrong; nothing was tried"),
    (3, "btmmd is not running"),
    (4, "not permitted: be root, or for commands that only look, a member of group btmm"),
    (5, "the other machine does not answer"),
];

/// Your own machines, reachable from anywhere.
#[derive(Debug, Parser)]
#[command(
    name = "btmm",
    bin_name = "btmm",
    version,
    about,
    long_about = "Your own machines, reachable from anywhere, over kernel IPsec.\n\nWithout a command: status."
)]
#[command(propagate_version = false, after_help = exit_codes_help(), max_term_width = 100)]
pub struct Btmm {
    /// Print JSON for programs; field names are stable
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// What to do; status when absent
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show this machine's state, its findings and its tunnels
    Status,
    /// Switch btmm on, now and after every boot
    On,
    /// Switch btmm off: no tunnels, nothing published; inner addresses stay unreachable, never in clear
    Off,
    /// List the account's machines
    Machines,
    /// Probe a machine over its tunnel, making the tunnel first if need be
    Ping(Ping),
    /// Block or allow tunnel traffic in the kernel, with or without btmmd
    #[command(subcommand)]
    Firewall(Firewall),
    /// Make or show the account
    #[command(subcommand)]
    Account(Account),
    /// Make a code with which one more machine can join, once and within the hour
    Invite,
    /// Join an account with a code from "btmm invite"
    Join(Join),
    /// Set the password with which a user gets Kerberos tickets of this machine
    Passwd(Passwd),
    /// Write the keys of this machine's services into a keytab, for sshd, smbd and others
    Keytab(Keytab),
    /// Show and look after your Kerberos tickets
    Tickets(Tickets),
    /// Show or set what this machine's services ask of those who want tickets for them
    Services(Services),
    /// Keep your tickets in step with those that btmmd gets; for systemctl --user enable --now btmm-agent
    Agent,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Show the versions of btmm and of the running btmmd
    Version,
    /// For packaging
    #[command(subcommand, hide = true)]
    Internal(Internal),
}

/// `btmm ping`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  btmm ping imac\n  btmm ping imac --count 1 && ssh imac.alice.btmm.internal")]
pub struct Ping {
    /// The machine's name, such as imac or imac.alice.btmm.internal, or its inner address
    #[arg(value_parser = target)]
    pub machine: String,
    /// Stop after this many probes
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// Seconds between probes
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Interval,
}

/// Milliseconds between probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval(pub u32);

/// `btmm firewall`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Firewall {
    /// Drop all tunnel traffic from the next packet on, over reboots too, until allowed again
    Block,
    /// Let tunnel traffic pass again
    Allow,
    /// Show the switch and what was counted
    Status,
}

/// `btmm account`
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Make an account; this machine becomes its home base
    Create(Create),
    /// Show this machine's account
    Show,
}

/// `btmm account create`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo btmm account create alice --serve\n  sudo btmm account create alice --serve --zone home.example.org --machine base"
)]
pub struct Create {
    /// The account's name, such as alice
    #[arg(value_parser = account_name)]
    pub name: String,
    /// The account's DNS zone [default: NAME.btmm.internal]
    #[arg(long)]
    pub zone: Option<ZoneName>,
    /// This machine's name [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub machine: Option<MachineName>,
    /// Serve the account from this machine, which the others must be able to reach on TCP 4500
    #[arg(long, required = true)]
    pub serve: bool,
    /// Keep this machine's key on a PKCS#11 token, where an ECDSA P-256 key of that name is used or made, such as
    /// "pkcs11:token=card;object=btmm?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so&pin-source=file:/etc/btmm/pin"
    #[arg(long, value_name = "URI")]
    pub key: Option<String>,
}

/// `btmm join`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sudo btmm join\n  sudo btmm join - <code")]
pub struct Join {
    /// The code; "-" reads it from standard input, and without one you are asked for it
    pub code: Option<String>,
    /// This machine's name [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub machine: Option<MachineName>,
    /// Keep this machine's key on a PKCS#11 token, where an ECDSA P-256 key of that name is used or made, such as
    /// "pkcs11:token=card;object=btmm?module-path=/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so&pin-source=file:/etc/btmm/pin"
    #[arg(long, value_name = "URI")]
    pub key: Option<String>,
}

/// `btmm passwd`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  btmm passwd\n  sudo btmm passwd alice --password-file -\n  btmm passwd --totp\n  sudo btmm passwd alice --totp --code-file -\n  btmm passwd --no-totp"
)]
pub struct Passwd {
    /// The user [default: you; root must name one]
    #[arg(value_parser = user_name)]
    pub user: Option<String>,
    /// Read the new password from the first line of a file; "-" is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["password_fd", "remove", "totp", "no_totp"])]
    pub password_file: Option<PathBuf>,
    /// Read the new password from the first line of an open file descriptor
    #[arg(long, value_name = "N", conflicts_with_all = ["remove", "totp", "no_totp"])]
    pub password_fd: Option<u32>,
    /// Forget the password and the second factor
    #[arg(long, conflicts_with_all = ["totp", "no_totp"])]
    pub remove: bool,
    /// Ask for a one-time code as well; prints what an authenticator reads, and takes effect with the first code that it shows then
    #[arg(long, conflicts_with = "no_totp")]
    pub totp: bool,
    /// Ask for the password alone again
    #[arg(long, conflicts_with_all = ["code_file", "code_fd"])]
    pub no_totp: bool,
    /// For --totp: where the first code comes from. It is read after the line for the authenticator was printed
    #[command(flatten)]
    pub code: CodeFrom,
}

/// `btmm keytab`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo btmm keytab host cifs\n  sudo btmm keytab --rotate\n  sudo btmm keytab nfs --output /etc/nfs.keytab"
)]
pub struct Keytab {
    /// The services: host, cifs, nfs, vnc, afpserver, HTTP [default: all]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Where to; keys of other principals that are there stay
    #[arg(short, long, value_name = "FILE", default_value = "/etc/krb5.keytab")]
    pub output: PathBuf,
    /// Make new keys first; tickets for the old ones stay good
    #[arg(long)]
    pub rotate: bool,
}

/// `btmm services`
#[derive(Debug, Args)]
pub struct Services {
    /// What to do; list when absent
    #[command(subcommand)]
    pub action: Option<ServiceAction>,
}

/// `btmm services …`
#[derive(Debug, Subcommand)]
pub enum ServiceAction {
    /// List the services and what each asks
    List,
    /// Give tickets for a service only to those who proved themselves in one of these ways
    ///
    /// certificate: by a machine of the account. password: by a password, with or without a one-time code. otp: by both.
    /// Tickets that were given before stay good until they end.
    Require(Require),
}

/// `btmm services require`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo btmm services require host otp\n  sudo btmm services require cifs certificate password\n  sudo btmm services require host any"
)]
pub struct Require {
    /// The service, such as host, which is ssh's
    pub service: String,
    /// certificate, otp or password, one or more; or any
    #[arg(required = true, value_name = "STRENGTH", value_parser = ["certificate", "otp", "password", "any"])]
    pub strength: Vec<String>,
}

/// `btmm tickets`
#[derive(Debug, Args)]
pub struct Tickets {
    /// Show principals in full
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What to do; list when absent
    #[command(subcommand)]
    pub action: Option<TicketAction>,
}

/// `btmm tickets …`
#[derive(Debug, Subcommand)]
pub enum TicketAction {
    /// List tickets, those that have ended too
    List,
    /// Remove tickets
    Rm(Remove),
    /// Renew tickets before they end
    Renew(Renew),
    /// Get a ticket for a service of another machine: by certificate, or asks for password and one-time code where that does not do
    Get(Get),
}

/// `btmm tickets rm`
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  btmm tickets rm host@imac\n  btmm tickets rm --expired\n  btmm tickets rm --all")]
pub struct Remove {
    /// Tickets for what: a principal, SERVICE@HOST, or HOST for all that are for it; or --all, or --expired
    #[arg(value_name = "TICKET", required_unless_present_any = ["all", "expired"])]
    pub tickets: Vec<String>,
    /// Every ticket, and the cache with them
    #[arg(long, conflicts_with_all = ["tickets", "expired"])]
    pub all: bool,
    /// Those that have ended
    #[arg(long, conflicts_with = "tickets")]
    pub expired: bool,
}

/// `btmm tickets renew`
#[derive(Debug, Args)]
pub struct Renew {
    /// Tickets for what, as with rm [default: those with which others are got]
    #[arg(value_name = "TICKET")]
    pub tickets: Vec<String>,
}

/// `btmm tickets get`
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  btmm tickets get host@imac\n  btmm tickets get cifs@imac --user carol --password-file - --code-file - <secrets"
)]
pub struct Get {
    /// The service and its machine, such as host@imac
    #[arg(value_name = "SERVICE@HOST")]
    pub ticket: ServiceAt,
    /// Who signs in, where that has to be done [default: you]
    #[arg(long, value_parser = user_name)]
    pub user: Option<String>,
    /// Read the password from the first line of a file; "-" is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "password_fd")]
    pub password_file: Option<PathBuf>,
    /// Read the password from the first line of an open file descriptor
    #[arg(long, value_name = "N")]
    pub password_fd: Option<u32>,
    /// Where a one-time code comes from
    #[command(flatten)]
    pub code: CodeFrom,
}

/// A one-time code that is not asked for.
#[derive(Debug, Default, Args)]
pub struct CodeFrom {
    /// Read the one-time code from the first line of a file; "-" is standard input, after the password if that comes from there
    #[arg(long, value_name = "FILE", conflicts_with = "code_fd")]
    pub code_file: Option<PathBuf>,
    /// Read the one-time code from the first line of an open file descriptor
    #[arg(long, value_name = "N")]
    pub code_fd: Option<u32>,
}

/// `SERVICE@HOST`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAt {
    /// The service.
    pub service: String,
    /// The machine's name.
    pub host: String,
}

impl FromStr for ServiceAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('@') {
            Some((service, host)) if !service.is_empty() && !host.is_empty() && !text.contains(['/', '\\']) && !host.contains('@') => {
                Ok(Self { service: service.to_owned(), host: host.to_owned() })
            }
            _ => Err("is not SERVICE@HOST, such as host@imac".to_owned()),
        }
    }
}

/// `btmm internal`
#[derive(Debug, Subcommand)]
pub enum Internal {
    /// Write the manual pages
    Man {
        /// Where to
        dir: PathBuf,
    },
    /// Write completion scripts for bash, fish and zsh
    Completions {
        /// Where to
        dir: PathBuf,
    },
}

fn exit_codes_help() -> String {
    let codes: Vec<String> = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code}  {meaning}")).collect();
    format!("Exit codes:\n{}", codes.join("\n"))
}

fn user_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 256 || text.contains(['@', '/', '\\', '\0']) || text.chars().any(char::is_whitespace) {
        return Err("is not a user's name: use the bare name, such as alice".to_owned());
    }
    Ok(text.to_owned())
}

fn account_name(text: &str) -> Result<String, String> {
    let name = text.parse::<MachineName>();
    name.map(String::from).map_err(|_| format!("{text:?} is not an account name: use a-z, 0-9 and inner hyphens, at most 63 characters"))
}

fn target(text: &str) -> Result<String, String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    let named = text.strip_suffix('.').unwrap_or(text);
    match (named.parse::<MachineName>(), named.parse::<ZoneName>()) {
        (Ok(label), _) => Ok(label.to_string()),
        (_, Ok(full)) => Ok(full.to_string()),
        (Err(error), Err(_)) => Err(error.to_string()),
    }
}

fn interval(text: &str) -> Result<Interval, String> {
    let seconds: f64 = text.parse().map_err(|_| "use a number of seconds".to_owned())?;
    if (0.2..=60.0).contains(&seconds) {
        // Within the bounds just checked the product fits.
        Ok(Interval((seconds * 1000.0).round() as u32))
    } else {
        Err("use 0.2 to 60 seconds".to_owned())
    }
}
