//! The varlink protocol: frames and envelopes, bytes to calls and replies to bytes. No socket.
//!
//! A message is a JSON object followed by a NUL (<https://varlink.org/Method-Call>). An object is read twice, first its envelope, then the
//! parameters into the type that the method takes, so that an invitation's code is never copied into a generic tree that nobody wipes.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use tokio_util::bytes::{Buf, BytesMut};
use tokio_util::codec::Decoder;

use super::error::ControlError;
use super::messages::{AccountCreate, INTERFACE, Join};
use super::secrets::{Keytab, Passwd, TicketWanted};
use super::services::Require;

/// The longest call that the server takes.
pub const MAX_CALL: usize = 64 * 1024;
/// The longest reply that the client takes.
pub const MAX_REPLY: usize = 8 * 1024 * 1024;
/// The interface that every varlink service has.
pub const SERVICE: &str = "org.varlink.service";
/// The description of [`INTERFACE`] in varlink's own language.
pub const DESCRIPTION: &str = include_str!("org.btmm.Control.varlink");
/// The description of [`SERVICE`].
pub const SERVICE_DESCRIPTION: &str = include_str!("org.varlink.service.varlink");

/// A peer that does not speak varlink. The connection ends.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// No NUL within the limit.
    #[error("message longer than {0} bytes")]
    TooLong(usize),
    /// Not a JSON object with the members of an envelope.
    #[error("not a varlink message: {0}")]
    Envelope(#[source] serde_json::Error),
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Cuts a byte stream into messages, without their NUL.
#[derive(Debug)]
pub struct Frames {
    limit: usize,
    searched: usize,
}

impl Frames {
    /// Refuses messages longer than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, searched: 0 }
    }
}

impl Decoder for Frames {
    type Item = BytesMut;
    type Error = WireError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<BytesMut>, WireError> {
        let found = buffer.iter().skip(self.searched).position(|byte| *byte == 0).map(|at| at.saturating_add(self.searched));
        match found {
            Some(at) if at > self.limit => Err(WireError::TooLong(self.limit)),
            Some(at) => {
                self.searched = 0;
                let frame = buffer.split_to(at);
                buffer.advance(1);
                Ok(Some(frame))
            }
            None if buffer.len() > self.limit => Err(WireError::TooLong(self.limit)),
            None => {
                self.searched = buffer.len();
                Ok(None)
            }
        }
    }
}

/// A decoded call.
#[derive(Debug, PartialEq)]
pub struct Incoming {
    /// What is called.
    pub method: Method,
    /// Whether the caller takes several replies.
    pub more: bool,
    /// Whether the caller wants no reply.
    pub oneway: bool,
}

/// A call that can be made, with its parameters.
#[derive(Debug, PartialEq)]
pub enum Method {
    /// `org.varlink.service.GetInfo`
    GetInfo,
    /// `org.varlink.service.GetInterfaceDescription`
    GetInterfaceDescription(GetInterfaceDescription),
    /// `Status`
    Status,
    /// `Machines`
    Machines,
    /// `Ping`
    Ping(Ping),
    /// `On`
    On,
    /// `Off`
    Off,
    /// `AccountCreate`
    AccountCreate(AccountCreate),
    /// `Invite`
    Invite,
    /// `Join`
    Join(Join),
    /// `Passwd`
    Passwd(Passwd),
    /// `Keytab`
    Keytab(Keytab),
    /// `Services`
    Services,
    /// `Require`
    Require(Require),
    /// `Ticket`
    Ticket(TicketWanted),
    /// `Tickets`
    Tickets,
    /// `Reload`
    Reload,
    /// `Metrics`
    Metrics,
    /// None of ours.
    Unknown(String),
    /// One of ours with parameters that are not its.
    Malformed {
        /// The method.
        method: String,
        /// What is wrong with the parameters.
        message: String,
    },
}

impl Method {
    /// Whether the caller must be root or the daemon's user, because the call changes something or gives out keys. `Passwd`, `Ticket` and
    /// `Tickets` are left to those who know the users: one's own password and tickets are one's own.
    pub fn changes(&self) -> bool {
        match self {
            Self::On
            | Self::Off
            | Self::AccountCreate(_)
            | Self::Invite
            | Self::Join(_)
            | Self::Reload
            | Self::Keytab(_)
            | Self::Require(_) => true,
            Self::GetInfo | Self::GetInterfaceDescription(_) | Self::Status | Self::Machines | Self::Ping(_) | Self::Metrics => false,
            Self::Services | Self::Passwd(_) | Self::Ticket(_) | Self::Tickets | Self::Unknown(_) | Self::Malformed { .. } => false,
        }
    }

    /// The method's name without its interface.
    pub fn name(&self) -> &str {
        match self {
            Self::GetInfo => "GetInfo",
            Self::GetInterfaceDescription(_) => "GetInterfaceDescription",
            Self::Status => "Status",
            Self::Machines => "Machines",
            Self::Ping(_) => "Ping",
            Self::On => "On",
            Self::Off => "Off",
            Self::AccountCreate(_) => "AccountCreate",
            Self::Invite => "Invite",
            Self::Join(_) => "Join",
            Self::Passwd(_) => "Passwd",
            Self::Keytab(_) => "Keytab",
            Self::Services => "Services",
            Self::Require(_) => "Require",
            Self::Ticket(_) => "Ticket",
            Self::Tickets => "Tickets",
            Self::Reload => "Reload",
            Self::Metrics => "Metrics",
            Self::Unknown(method) | Self::Malformed { method, .. } => method,
        }
    }
}

/// Parameters of `GetInterfaceDescription`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetInterfaceDescription {
    /// The interface.
    pub interface: String,
}

/// Parameters of `Ping`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// The machine's name: one label, or in full.
    pub machine: String,
    /// How many probes. Absent: one, or with `more` until the caller hangs up.
    pub count: Option<u32>,
    /// Milliseconds between probes, 200 to 60000; 1000 when absent.
    pub interval_ms: Option<u32>,
}

/// Errors of the varlink service interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum ServiceError {
    /// The interface of the method is not ours.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// The interface.
        interface: String,
    },
    /// The interface has no such method.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// The method.
        method: String,
    },
    /// The call has several replies and the caller takes only one.
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    ExpectedMore {},
}

/// Reply of `GetInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Who made this.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Where it lives.
    pub url: String,
    /// Its interfaces.
    pub interfaces: Vec<String>,
}

/// Reply of `GetInterfaceDescription`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// In varlink's own language.
    pub description: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    parameters: Option<IgnoredAny>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    oneway: bool,
}

#[derive(Deserialize)]
struct Parameters<P> {
    parameters: P,
}

/// Decodes one frame. An error means that the peer does not speak varlink at all.
pub fn decode_call(frame: &[u8]) -> Result<Incoming, WireError> {
    let envelope: Envelope<'_> = serde_json::from_slice(frame).map_err(WireError::Envelope)?;
    let full = envelope.method.as_ref();
    let method = match full.rsplit_once('.') {
        Some((INTERFACE, name)) => ours(name, frame),
        Some((SERVICE, "GetInfo")) => Ok(Method::GetInfo),
        Some((SERVICE, "GetInterfaceDescription")) => parameters(frame).map(Method::GetInterfaceDescription),
        _ => Ok(Method::Unknown(full.to_owned())),
    };
    let method = method.unwrap_or_else(|cause| {
        let message = if envelope.parameters.is_none() { "parameters are missing".to_owned() } else { cause.to_string() };
        Method::Malformed { method: full.to_owned(), message }
    });
    Ok(Incoming { method, more: envelope.more, oneway: envelope.oneway })
}

fn ours(name: &str, frame: &[u8]) -> Result<Method, serde_json::Error> {
    Ok(match name {
        "Status" => Method::Status,
        "Machines" => Method::Machines,
        "Ping" => Method::Ping(parameters(frame)?),
        "On" => Method::On,
        "Off" => Method::Off,
        "AccountCreate" => Method::AccountCreate(parameters(frame)?),
        "Invite" => Method::Invite,
        "Join" => Method::Join(parameters(frame)?),
        "Passwd" => Method::Passwd(parameters(frame)?),
        "Keytab" => Method::Keytab(parameters(frame)?),
        "Services" => Method::Services,
        "Require" => Method::Require(parameters(frame)?),
        "Ticket" => Method::Ticket(parameters(frame)?),
        "Tickets" => Method::Tickets,
        "Reload" => Method::Reload,
        "Metrics" => Method::Metrics,
        _ => Method::Unknown(format!("{INTERFACE}.{name}")),
    })
}

fn parameters<P: DeserializeOwned>(frame: &[u8]) -> Result<P, serde_json::Error> {
    serde_json::from_slice::<Parameters<P>>(frame).map(|outer| outer.parameters)
}

#[derive(Serialize)]
struct CallOut<'a, P> {
    method: String,
    parameters: &'a P,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

/// Encodes a call of our interface, with its NUL.
pub fn encode_call<P: Serialize>(name: &str, parameters: &P, more: bool) -> Result<Vec<u8>, serde_json::Error> {
    terminated(&CallOut { method: format!("{INTERFACE}.{name}"), parameters, more })
}

#[derive(Serialize)]
struct ReplyOut<'a, P> {
    parameters: &'a P,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continues: bool,
}

/// Encodes a reply, with its NUL.
pub fn encode_reply<P: Serialize>(parameters: &P, continues: bool) -> Result<Vec<u8>, serde_json::Error> {
    terminated(&ReplyOut { parameters, continues })
}

/// Encodes an error reply, with its NUL: a [`ControlError`] or a [`ServiceError`].
pub fn encode_error<E: Serialize>(error: &E) -> Result<Vec<u8>, serde_json::Error> {
    terminated(error)
}

fn terminated<T: Serialize>(message: &T) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec(message)?;
    bytes.push(0);
    Ok(bytes)
}

/// A decoded reply: its parameters and whether more follow, or the error.
pub type ReplyIn<P> = Result<(P, bool), ControlError>;

#[derive(Deserialize)]
struct ReplyEnvelope<'a> {
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
    #[serde(default)]
    continues: bool,
}

/// Decodes one reply frame. An error that this version does not know keeps its name and its message.
pub fn decode_reply<P: DeserializeOwned>(frame: &[u8]) -> Result<ReplyIn<P>, WireError> {
    let envelope: ReplyEnvelope<'_> = serde_json::from_slice(frame).map_err(WireError::Envelope)?;
    match envelope.error {
        Some(name) => Ok(Err(serde_json::from_slice(frame).unwrap_or_else(|_| unknown_error(&name, frame)))),
        None => {
            let value = parameters(frame).map_err(WireError::Envelope)?;
            Ok(Ok((value, envelope.continues)))
        }
    }
}

fn unknown_error(name: &str, frame: &[u8]) -> ControlError {
    #[derive(Deserialize, Default)]
    struct Told {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        method: Option<String>,
    }
    let told: Told = parameters(frame).unwrap_or_default();
    let message = told.message.or(told.method).unwrap_or_else(|| "this btmm does not know the error".to_owned());
    ControlError::Failed { object: name.to_owned(), message }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(super) mod tests;
