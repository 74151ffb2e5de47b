//! The caller's side, blocking: a command makes one call and ends.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::bytes::BytesMut;
use tokio_util::codec::Decoder;
use zeroize::Zeroize;

use super::error::{ControlError, ExitClass};
use super::messages::{AccountCreate, AccountStatus, Invitation, Join, Machines, Metrics, PingReply, Reloaded, Status, Switched};
use super::secrets::{HeldTickets, Keytab, Passwd, PasswordChanged, RealmTickets, ServiceKeys, TicketWanted};
use super::services::{Require, Services};
use super::wire::{self, Frames, WireError};

/// Why a call had no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("btmmd is not running: systemctl start btmmd")]
    NotRunning,
    /// The socket's mode keeps the caller out.
    #[error("{}: not permitted: be root or a member of group btmm (a new member logs out and in again first)", path.display())]
    MayNotConnect {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be used.
    #[error("{}: {cause}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        #[source]
        cause: io::Error,
    },
    /// btmmd ended the connection or took too long.
    #[error("btmmd did not answer: {0}")]
    Broken(#[source] io::Error),
    /// btmmd answered something else than varlink, or another version's replies.
    #[error("btmmd's answer is not understood ({0}): is it of the same version as btmm?")]
    Foreign(#[source] WireError),
    /// btmmd refused or failed.
    #[error(transparent)]
    Refused(#[from] ControlError),
}

impl ClientError {
    /// The exit code that tells a script what kind of failure this is.
    pub fn exit_class(&self) -> ExitClass {
        match self {
            Self::NotRunning => ExitClass::NotRunning,
            Self::MayNotConnect { .. } => ExitClass::NotPermitted,
            Self::Socket { .. } | Self::Broken(_) | Self::Foreign(_) => ExitClass::Failed,
            Self::Refused(error) => error.exit_class(),
        }
    }

    /// Whether nothing came for as long as is waited, and all is well otherwise.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Broken(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

/// A connection to btmmd.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    frames: Frames,
    buffer: BytesMut,
}

#[derive(Serialize)]
struct Nothing {}

impl<S: Read + Write> Client<S> {
    /// Speaks over `stream`.
    pub fn new(stream: S) -> Self {
        Self { stream, frames: Frames::new(wire::MAX_REPLY), buffer: BytesMut::new() }
    }

    /// Everything there is to tell.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.call("Status", &Nothing {})
    }

    /// The account's machines.
    pub fn machines(&mut self) -> Result<Machines, ClientError> {
        self.call("Machines", &Nothing {})
    }

    /// Probes a machine, once a second by default; replies come one by one.
    pub fn ping(&mut self, ping: &wire::Ping) -> Result<Replies<'_, S, PingReply>, ClientError> {
        self.send("Ping", ping, true)?;
        Ok(Replies { client: self, ended: false, reply: PhantomData })
    }

    /// Switches on.
    pub fn on(&mut self) -> Result<Switched, ClientError> {
        self.call("On", &Nothing {})
    }

    /// Switches off.
    pub fn off(&mut self) -> Result<Switched, ClientError> {
        self.call("Off", &Nothing {})
    }

    /// Makes an account.
    pub fn account_create(&mut self, wanted: &AccountCreate) -> Result<AccountStatus, ClientError> {
        self.call("AccountCreate", wanted)
    }

    /// Makes an invitation.
    pub fn invite(&mut self) -> Result<Invitation, ClientError> {
        self.call("Invite", &Nothing {})
    }

    /// Joins an account.
    pub fn join(&mut self, wanted: &Join) -> Result<AccountStatus, ClientError> {
        self.call("Join", wanted)
    }

    /// Changes a password.
    pub fn passwd(&mut self, wanted: &Passwd) -> Result<PasswordChanged, ClientError> {
        self.call("Passwd", wanted)
    }

    /// The keys of services.
    pub fn keytab(&mut self, wanted: &Keytab) -> Result<ServiceKeys, ClientError> {
        self.call("Keytab", wanted)
    }

    /// What services ask of those who want tickets for them.
    pub fn services(&mut self) -> Result<Services, ClientError> {
        self.call("Services", &Nothing {})
    }

    /// Sets what one asks.
    pub fn require(&mut self, wanted: &Require) -> Result<Services, ClientError> {
        self.call("Require", wanted)
    }

    /// A ticket, got with the machine's certificate.
    pub fn ticket(&mut self, wanted: &TicketWanted) -> Result<RealmTickets, ClientError> {
        self.call("Ticket", wanted)
    }

    /// The tickets that the daemon holds, now and whenever they change.
    pub fn tickets(&mut self) -> Result<Replies<'_, S, HeldTickets>, ClientError> {
        self.send("Tickets", &Nothing {}, true)?;
        Ok(Replies { client: self, ended: false, reply: PhantomData })
    }

    /// Has the configuration read again.
    pub fn reload(&mut self) -> Result<Reloaded, ClientError> {
        self.call("Reload", &Nothing {})
    }

    /// Metrics as Prometheus text.
    pub fn metrics(&mut self) -> Result<Metrics, ClientError> {
        self.call("Metrics", &Nothing {})
    }

    fn call<P: Serialize, R: DeserializeOwned>(&mut self, method: &str, parameters: &P) -> Result<R, ClientError> {
        self.send(method, parameters, false)?;
        Ok(self.receive()?.0)
    }

    fn send<P: Serialize>(&mut self, method: &str, parameters: &P, more: bool) -> Result<(), ClientError> {
        let mut bytes = wire::encode_call(method, parameters, more).map_err(|error| ClientError::Foreign(WireError::Envelope(error)))?;
        let sent = self.stream.write_all(&bytes);
        bytes.zeroize();
        // When the server has turned us away its reason is there to be read.
        match sent {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(ClientError::Broken(cause)),
            _ => Ok(()),
        }
    }

    fn receive<R: DeserializeOwned>(&mut self) -> Result<(R, bool), ClientError> {
        let frame = self.frame()?;
        Ok(wire::decode_reply(&frame).map_err(ClientError::Foreign)??)
    }

    fn frame(&mut self) -> Result<BytesMut, ClientError> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(frame) = self.frames.decode(&mut self.buffer).map_err(ClientError::Foreign)? {
                return Ok(frame);
            }
            let length = match self.stream.read(&mut chunk) {
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(ClientError::Broken)?,
            };
            match chunk.get(..length) {
                Some(read) if !read.is_empty() => self.buffer.extend_from_slice(read),
                _ => return Err(ClientError::Broken(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }
}

/// The replies of one call with `more`, as they come. Silence between them does not end them.
#[derive(Debug)]
pub struct Replies<'a, S, R> {
    client: &'a mut Client<S>,
    ended: bool,
    reply: PhantomData<R>,
}

impl<S: Read + Write, R: DeserializeOwned> Iterator for Replies<'_, S, R> {
    type Item = Result<R, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let received = self.client.receive();
        self.ended = match &received {
            Ok((_, more)) => !more,
            Err(error) => !error.is_silence(),
        };
        Some(received.map(|(reply, _)| reply))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// What comes, piece by piece; `None` is silence.
    struct Pieces(VecDeque<Option<&'static [u8]>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                Some(Some(mut piece)) => piece.read(buffer),
                Some(None) => Err(io::ErrorKind::WouldBlock.into()),
                None => Ok(0),
            }
        }
    }

    impl Write for Pieces {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn silence_between_replies_and_within_them_does_not_end_them() {
        let first = br#"{"parameters":{"realms":["A"],"tickets":[]},"continues":true}"#;
        let pieces = [None, Some(&first[..20]), None, Some(&first[20..]), Some(b"\0"), None];
        let mut client = Client::new(Pieces(pieces.into()));
        let mut replies = client.tickets().unwrap();
        let mut silent = || replies.next().unwrap().is_err_and(|error| error.is_silence());
        assert!(silent() && silent());
        assert_eq!(replies.next().unwrap().unwrap().realms, ["A"]);
        assert!(replies.next().unwrap().is_err_and(|error| error.is_silence()));
        assert!(replies.next().unwrap().is_err_and(|error| !error.is_silence()), "it hung up");
        assert!(replies.next().is_none());
    }
}
