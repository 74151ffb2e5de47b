//! `/etc/btmm/btmmd.toml`: what can be set, its defaults, and errors that say where and what is allowed.
//!
//! The doc comments of the settings below are also the comments of the example file and the text of `btmmd.toml(5)`: see [`Config::example`].
pub mod value;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use value::{InterfaceName, LogLevel, Loopback, Number, Port, Resolved, Seconds, ServiceName, Span, Uplinks};

/// Where the file is unless `--config` says otherwise.
pub const PATH: &str = "/etc/btmm/btmmd.toml";

/// Declares a table of settings once: the struct, its defaults, and its documentation for people.
macro_rules! settings {
    ($(#[doc = $about:literal])* $name:ident { $($(#[doc = $doc:literal])* $field:ident: $kind:ty = $default:expr,)* }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($(#[doc = $doc])* pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $name {
            const ABOUT: &[&str] = &[$($about),*];
            const KEYS: &[Key] = &[$(Key { name: stringify!($field), doc: &[$($doc),*] }),*];
        }
    };
}

/// A setting as documented.
struct Key {
    name: &'static str,
    doc: &'static [&'static str],
}

settings! {
    /// Settings of btmmd. Every one has a default; an absent or empty file is fine.
    Config {
        /// UDP port on which tunnels (IKE and ESP) arrive, and the one that the home router is asked to map.
        /// Allowed: 1 to 65535.
        port: Port = Port::IPSEC_NAT_T,
        /// Interfaces under the gate: "auto" for every one that is up and leads elsewhere, or a list such as ["eth0", "wlan0"].
        uplinks: Uplinks = Uplinks::Auto,
        /// Seconds without a packet after which a tunnel is taken down.
        /// Allowed: 10 to 86400.
        idle_timeout: Seconds<10, 86_400> = Seconds::of(600),
        /// Seconds between looks at the account's zone for machines that moved.
        /// Allowed: 1 to 3600.
        poll_interval: Seconds<1, 3600> = Seconds::of(30),
        /// How much is logged.
        /// Allowed: "error", "warn", "info", "debug", "trace". Names and addresses appear from "debug" on, keys never.
        log_level: LogLevel = LogLevel::Info,
        /// Names of the account's machines on this machine.
        resolver: Resolver = Resolver::default(),
        /// What a home base serves to the account's machines.
        serve: Serve = Serve::default(),
        /// The home router's port mapping.
        port_mapping: PortMapping = PortMapping::default(),
        /// Keys and their exchange.
        ike: Ike = Ike::default(),
        /// This machine's own Kerberos realm.
        lkdc: Lkdc = Lkdc::default(),
    }
}

settings! {
    /// Names of the account's machines on this machine.
    Resolver {
        /// Whether look-ups of the account's zone are answered on this machine.
        enabled: bool = true,
        /// Address of the stub resolver, always on port 53.
        /// Allowed: a loopback address.
        stub: Loopback = Loopback::STUB,
        /// Whether systemd-resolved, when it runs, is told to ask the stub for the account's zone.
        /// Allowed: "auto", "off".
        resolved: Resolved = Resolved::Auto,
    }
}

settings! {
    /// What a home base serves to the account's machines: enrolment and the zone, over TLS. Without meaning on other machines.
    Serve {
        /// TCP addresses to listen on.
        listen: Vec<SocketAddr> = vec![
            SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 4500),
            SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 4500),
        ],
    }
}

settings! {
    /// The home router's port mapping.
    PortMapping {
        /// Whether the router is asked to map the port. Without it this machine is reached only from its own network or at a public address.
        enabled: bool = true,
    }
}

settings! {
    /// Keys and their exchange.
    Ike {
        /// Seconds after which a tunnel's keys are replaced.
        /// Allowed: 30 to 86400, at most ike_lifetime.
        child_lifetime: Seconds<30, 86_400> = Seconds::of(3600),
        /// Seconds after which the keys of the exchange itself are replaced.
        /// Allowed: 60 to 604800.
        ike_lifetime: Seconds<60, 604_800> = Seconds::of(14_400),
        /// IKE packets a second that one source (an IPv4 address, an IPv6 /64) may send before the gate drops them.
        /// Allowed: 1 to 100000.
        rate: Number<1, 100_000> = Number::of(50),
        /// IKE packets that one source may send at once.
        /// Allowed: 1 to 100000.
        burst: Number<1, 100_000> = Number::of(100),
    }
}

settings! {
    /// Kerberos: this machine's own realm, where passwords and sharing certificates become tickets for its services, and the tickets that
    /// btmmd gets from other machines.
    Lkdc {
        /// Whether tickets are given.
        enabled: bool = true,
        /// Whether they are given on the local network as well, and not through tunnels only.
        lan: bool = false,
        /// Principals and the local users that they are here, where these differ, such as { alice = "al" }. The local user that the
        /// account's user is here may have the tickets that btmmd gets with this machine's certificate.
        users: BTreeMap<String, String> = BTreeMap::new(),
        /// Services for which btmmd has tickets ready, of each machine while a tunnel leads to it. None when empty; others are got when
        /// asked for.
        /// Allowed: names of services, such as "host", "cifs", "nfs", "vnc", "afpserver", "HTTP".
        services: Vec<ServiceName> = vec![ServiceName::of("host"), ServiceName::of("cifs")],
        /// How long a ticket lasts at the most.
        /// Allowed: "5m" to "7d".
        ticket_life: Span<300, 604_800> = Span::of(36_000),
        /// How long a ticket can be renewed, at least ticket_life.
        /// Allowed: "5m" to "30d".
        renew_life: Span<300, 2_592_000> = Span::of(604_800),
    }
}

/// Why the configuration was refused. One line: file, place, key, what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there but cannot be read.
    #[error("{}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        #[source]
        cause: std::io::Error,
    },
    /// Not TOML, an unknown key or a value that is not allowed.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// The key when there is one, and what is allowed.
        message: String,
    },
    /// Two settings that cannot both hold.
    #[error("{}: {message}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// Both keys and what is allowed.
        message: String,
    },
}

impl Config {
    /// Reads `path`; defaults when there is no such file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(cause) => Err(ConfigError::Read { path: path.to_owned(), cause }),
        }
    }

    /// As [`load`](Self::load) for who must not fail over it: the defaults, and why, when the file is wrong.
    pub fn load_or_default(path: &Path) -> (Self, Option<ConfigError>) {
        match Self::load(path) {
            Ok(config) => (config, None),
            Err(error) => (Self::default(), Some(error)),
        }
    }

    /// Parses the text of a configuration file; `path` is for error messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| located(text, path, error.span(), error.message()))?;
        match config.contradiction() {
            Some(message) => Err(ConfigError::Contradiction { path: path.to_owned(), message }),
            None => Ok(config),
        }
    }

    /// The example file: every key with its documentation, commented out at its default.
    pub fn example() -> String {
        let mut text = String::new();
        for line in Self::ABOUT {
            text.push_str(&format!("#{line}\n"));
        }
        for table in Self::tables() {
            if !table.name.is_empty() {
                text.push_str(&format!("\n#{}\n[{}]\n", table.about.join("\n#"), table.name));
            }
            for entry in table.entries {
                text.push_str(&format!("\n#{}\n#{} = {}\n", entry.doc.join("\n#"), entry.key, entry.default));
            }
        }
        text
    }

    /// The documentation of every setting, for the manual page: the top level first, under an empty name.
    pub fn tables() -> Vec<TableDoc> {
        let defaults = toml::Table::try_from(Self::default()).unwrap_or_default();
        let nested = [
            ("resolver", Resolver::ABOUT, Resolver::KEYS),
            ("serve", Serve::ABOUT, Serve::KEYS),
            ("port_mapping", PortMapping::ABOUT, PortMapping::KEYS),
            ("ike", Ike::ABOUT, Ike::KEYS),
            ("lkdc", Lkdc::ABOUT, Lkdc::KEYS),
        ];
        let top: Vec<EntryDoc> =
            Self::KEYS.iter().filter(|key| nested.iter().all(|(name, ..)| *name != key.name)).map(|key| entry(key, &defaults)).collect();
        let mut tables = vec![TableDoc { name: "", about: Self::ABOUT, entries: top }];
        for (name, about, keys) in nested {
            let table = defaults.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
            tables.push(TableDoc { name, about, entries: keys.iter().map(|key| entry(key, &table)).collect() });
        }
        tables
    }

    fn contradiction(&self) -> Option<String> {
        if self.ike.child_lifetime.seconds() > self.ike.ike_lifetime.seconds() {
            return Some(format!(
                "ike.child_lifetime = {} is longer than ike.ike_lifetime = {}",
                self.ike.child_lifetime.seconds(),
                self.ike.ike_lifetime.seconds()
            ));
        }
        if self.lkdc.ticket_life.seconds() > self.lkdc.renew_life.seconds() {
            return Some(format!("lkdc.ticket_life = {} is longer than lkdc.renew_life = {}", self.lkdc.ticket_life, self.lkdc.renew_life));
        }
        match &self.uplinks {
            Uplinks::List(names) if names.contains(&InterfaceName::tunnel()) => {
                Some(format!("uplinks lists {:?}, which is the tunnel's own interface", InterfaceName::tunnel().as_str()))
            }
            _ => None,
        }
    }
}

/// One table of the file, documented.
#[derive(Clone, Debug)]
pub struct TableDoc {
    /// The table's name, empty for the top level.
    pub name: &'static str,
    /// What it is about; each line starts with a space.
    pub about: &'static [&'static str],
    /// Its settings.
    pub entries: Vec<EntryDoc>,
}

/// One setting, documented.
#[derive(Clone, Debug)]
pub struct EntryDoc {
    /// The key.
    pub key: &'static str,
    /// The default, as it would stand in the file.
    pub default: String,
    /// What it does and what is allowed; each line starts with a space.
    pub doc: &'static [&'static str],
}

fn entry(key: &Key, defaults: &toml::Table) -> EntryDoc {
    let default = defaults.get(key.name).map(toml::Value::to_string).unwrap_or_default();
    EntryDoc { key: key.name, default, doc: key.doc }
}

fn located(text: &str, path: &Path, span: Option<Range<usize>>, message: &str) -> ConfigError {
    let start = span.map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let line = before.matches('\n').count().saturating_add(1);
    let column = before.get(line_start..).unwrap_or("").chars().count().saturating_add(1);
    let whole_line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
    let message = message.replace('\n', ", ");
    let message = match whole_line.split_once('=') {
        Some((key, _)) if column > key.chars().count() => format!("{}: {message}", key.trim()),
        _ => message,
    };
    ConfigError::Value { path: path.to_owned(), line, column, message }
}

#[cfg(test)]
mod tests;
