//! Types of single settings. Each refuses a wrong value by saying which are allowed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A UDP port other than 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub struct Port(u16);

impl Port {
    /// 4500, the port of IKE and ESP in UDP (RFC 3948).
    pub const IPSEC_NAT_T: Self = Self(4500);

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for Port {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u16::try_from(number).ok().filter(|port| *port != 0).map(Self).ok_or_else(|| not_within(number, 1, 65_535))
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub struct Number<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Number<MIN, MAX> {
    /// A default.
    pub(super) const fn of(number: u32) -> Self {
        assert!(MIN <= number && number <= MAX, "a default is within its own bounds");
        Self(number)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const MIN: u32, const MAX: u32> TryFrom<i64> for Number<MIN, MAX> {
    type Error = String;

    fn try_from(number: i64) -> Result<Self, String> {
        u32::try_from(number)
            .ok()
            .filter(|n| (MIN..=MAX).contains(n))
            .map(Self)
            .ok_or_else(|| not_within(number, i64::from(MIN), i64::from(MAX)))
    }
}

/// A time of `MIN` to `MAX` whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seconds<const MIN: u32, const MAX: u32>(Number<MIN, MAX>);

impl<const MIN: u32, const MAX: u32> Seconds<MIN, MAX> {
    /// A default.
    pub(super) const fn of(seconds: u32) -> Self {
        Self(Number::of(seconds))
    }

    /// Whole seconds.
    pub fn seconds(self) -> u32 {
        self.0.get()
    }

    /// The same as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.seconds()))
    }
}

/// A time of `MIN` to `MAX` seconds, written with its unit: "90s", "15m", "10h", "7d".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span<const MIN: u32, const MAX: u32>(u32);

/// Seconds of each unit, the longest first.
const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl<const MIN: u32, const MAX: u32> Span<MIN, MAX> {
    /// A default.
    pub(super) const fn of(seconds: u32) -> Self {
        assert!(MIN <= seconds && seconds <= MAX, "a default is within its own bounds");
        Self(seconds)
    }

    /// Whole seconds.
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// The same as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Span<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, length) = UNITS.into_iter().find(|(_, length)| self.0.is_multiple_of(*length)).unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / length)
    }
}

impl<const MIN: u32, const MAX: u32> TryFrom<String> for Span<MIN, MAX> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let seconds = UNITS.into_iter().find_map(|(unit, length)| text.strip_suffix(unit)?.parse::<u32>().ok()?.checked_mul(length));
        seconds
            .filter(|seconds| (MIN..=MAX).contains(seconds))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not allowed: use {} to {}, with s, m, h or d for the unit", Self(MIN), Self(MAX)))
    }
}

impl<const MIN: u32, const MAX: u32> From<Span<MIN, MAX>> for String {
    fn from(span: Span<MIN, MAX>) -> Self {
        span.to_string()
    }
}

/// A name the kernel accepts for an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// `btmm0`.
    pub fn tunnel() -> Self {
        Self("btmm0".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let allowed = (1..=15).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':'))
            && !matches!(name.as_str(), "." | ".." | "all" | "default" | "lo");
        if allowed {
            Ok(Self(name))
        } else {
            Err(format!("{name:?} is not an interface name: use 1 to 15 printable characters, no space, slash or colon"))
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A service's name, the first part of a principal such as `host/imac.alice.btmm.internal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// A default.
    pub(super) fn of(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ServiceName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let allowed =
            (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if allowed { Ok(Self(name)) } else { Err(format!("{name:?} is not a service's name: use the bare name, such as host")) }
    }
}

/// A loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Loopback(IpAddr);

impl Loopback {
    /// 127.45.0.1: out of the way of other stubs, which take 127.0.0.53 and 127.0.1.1.
    pub const STUB: Self = Self(IpAddr::V4(Ipv4Addr::new(127, 45, 0, 1)));

    /// The address.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

impl TryFrom<String> for Loopback {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse::<IpAddr>()
            .ok()
            .filter(IpAddr::is_loopback)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not allowed: use a loopback address, 127.0.0.0/8 or ::1, without a port"))
    }
}

/// Which interfaces carry tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uplinks {
    /// Every one that is up and leads elsewhere.
    Auto,
    /// These.
    List(Vec<InterfaceName>),
}

impl Serialize for Uplinks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::List(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Uplinks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UplinksVisitor)
    }
}

struct UplinksVisitor;

impl<'de> Visitor<'de> for UplinksVisitor {
    type Value = Uplinks;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\" or a list of interface names")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Uplinks, E> {
        if text == "auto" { Ok(Uplinks::Auto) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Uplinks, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        if names.is_empty() { Err(de::Error::invalid_length(0, &self)) } else { Ok(Uplinks::List(names)) }
    }
}

/// Whether systemd-resolved is told about the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolved {
    /// When it runs.
    Auto,
    /// Never.
    Off,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What does not work.
    Error,
    /// And what may stop working.
    Warn,
    /// And what changes.
    Info,
    /// And how it was decided, with names and addresses.
    Debug,
    /// And every packet.
    Trace,
}

impl LogLevel {
    /// As in the file, which is also tracing's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

fn not_within(number: i64, min: i64, max: i64) -> String {
    format!("{number} is not allowed: use {min} to {max}")
}
