//! One connection: calls in, permission checked, answers out. Generic over the stream; sockets are in [`super::driver`].

use std::collections::VecDeque;
use std::time::Duration;

use futures::StreamExt;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::FramedRead;
use tracing::info;
use zeroize::Zeroize;

use super::error::ControlError;
use super::messages::{INTERFACE, PingReply};
use super::request::{Answer, Call, Caller, ControlRequest};
use super::wire::{self, Frames, Incoming, Method, ServiceError, WireError};

/// How many calls a connection may have waiting behind the one at work.
const PIPELINE: usize = 16;
/// How long a caller may take to read what it asked for.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a caller may be silent between calls.
const SILENCE: Duration = Duration::from_secs(300);

/// How long the event loop may take over an answer.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For a call that only asks.
    pub read: Duration,
    /// For a call that changes something: a join crosses the internet.
    pub change: Duration,
    /// For one probe, making the tunnel included; after it the probe counts as lost. Longer than the event loop goes on trying, so that the
    /// caller hears why it gave up.
    pub probe: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { read: Duration::from_secs(10), change: Duration::from_secs(120), probe: Duration::from_secs(20) }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    /// The caller hung up.
    #[error("the caller hung up")]
    HungUp,
    /// The caller was silent for too long, or did not read its replies.
    #[error("the caller was idle")]
    Idle,
    /// The event loop takes no more requests.
    #[error("the daemon is stopping")]
    Stopping,
    /// The caller does not speak varlink.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Serves one connection until it ends.
pub async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    caller: Caller,
    requests: mpsc::Sender<ControlRequest>,
    deadlines: Deadlines,
) -> SessionEnd {
    let (reader, writer) = tokio::io::split(stream);
    let mut session = Session {
        frames: FramedRead::new(reader, Frames::new(wire::MAX_CALL)),
        waiting: VecDeque::new(),
        writer,
        caller,
        requests,
        deadlines,
    };
    match session.run().await {
        Ok(()) => SessionEnd::HungUp,
        Err(end) => end,
    }
}

struct Session<S> {
    frames: FramedRead<ReadHalf<S>, Frames>,
    waiting: VecDeque<BytesMut>,
    writer: WriteHalf<S>,
    caller: Caller,
    requests: mpsc::Sender<ControlRequest>,
    deadlines: Deadlines,
}

impl<S: AsyncRead + AsyncWrite> Session<S> {
    async fn run(&mut self) -> Result<(), SessionEnd> {
        loop {
            let mut frame = match self.waiting.pop_front() {
                Some(frame) => frame,
                None => match timeout(SILENCE, self.frames.next()).await.map_err(|_| SessionEnd::Idle)? {
                    Some(frame) => frame?,
                    None => return Ok(()),
                },
            };
            let decoded = wire::decode_call(&frame);
            frame.zeroize();
            self.handle(decoded?).await?;
        }
    }

    async fn handle(&mut self, incoming: Incoming) -> Result<(), SessionEnd> {
        let Incoming { method, more, oneway } = incoming;
        if method.changes() && !self.caller.may_change {
            return self.error(oneway, &not_permitted(&method, self.caller)).await;
        }
        let Deadlines { read, change, .. } = self.deadlines;
        match method {
            Method::GetInfo => self.reply(oneway, &info(), false).await,
            Method::GetInterfaceDescription(asked) => self.describe(oneway, &asked.interface).await,
            Method::Unknown(method) => self.unknown(oneway, method).await,
            Method::Malformed { method, message } => {
                self.error(oneway, &ControlError::BadArgument { argument: format!("parameters of {method}"), message }).await
            }
            Method::Ping(ping) => self.ping(oneway, more, ping).await,
            Method::Status => self.ask(oneway, read, Call::Status).await,
            Method::Machines => self.ask(oneway, read, Call::Machines).await,
            Method::Metrics => self.ask(oneway, read, Call::Metrics).await,
            Method::Services => self.ask(oneway, read, Call::Services).await,
            Method::On => self.ask(oneway, change, Call::On).await,
            Method::Off => self.ask(oneway, change, Call::Off).await,
            Method::Invite => self.ask(oneway, change, Call::Invite).await,
            Method::Reload => self.ask(oneway, change, Call::Reload).await,
            Method::AccountCreate(wanted) => self.ask(oneway, change, |answer| Call::AccountCreate(wanted, answer)).await,
            Method::Join(wanted) => self.ask(oneway, change, |answer| Call::Join(wanted, answer)).await,
            Method::Passwd(wanted) => self.ask(oneway, change, |answer| Call::Passwd(wanted, answer)).await,
            Method::Keytab(wanted) => self.ask(oneway, change, |answer| Call::Keytab(wanted, answer)).await,
            Method::Require(wanted) => self.ask(oneway, change, |answer| Call::Require(wanted, answer)).await,
            Method::Ticket(wanted) => self.ask(oneway, change, |answer| Call::Ticket(wanted, answer)).await,
            Method::Tickets => self.tickets(oneway, more).await,
        }
    }

    /// Asks the event loop once and passes its answer on.
    async fn ask<T: Serialize>(
        &mut self,
        oneway: bool,
        deadline: Duration,
        call: impl FnOnce(Answer<T>) -> Call,
    ) -> Result<(), SessionEnd> {
        match self.answer(deadline, call).await? {
            Some(Ok(value)) => self.reply(oneway, &value, false).await,
            Some(Err(error)) => self.error(oneway, &error).await,
            None => self.error(oneway, &ControlError::failed("btmmd", late(deadline))).await,
        }
    }

    /// Tells what tickets are held; with `more`, again whenever they change, until the caller hangs up or the session ends.
    async fn tickets(&mut self, oneway: bool, more: bool) -> Result<(), SessionEnd> {
        if oneway {
            return Ok(());
        }
        let deadline = self.deadlines.read;
        let mut held = match self.answer(deadline, Call::Tickets).await? {
            Some(Ok(held)) => held,
            Some(Err(error)) => return self.error(oneway, &error).await,
            None => return self.error(oneway, &ControlError::failed("btmmd", late(deadline))).await,
        };
        loop {
            let now = held.borrow_and_update().clone();
            self.reply(oneway, &*now, more).await?;
            let machines: Vec<&str> = now.tickets.iter().map(|tickets| tickets.machine.as_str()).collect();
            info!(target: "btmmd::audit", uid = self.caller.uid, ?machines, "tickets handed out");
            if !more {
                return Ok(());
            }
            if self.while_connected(held.changed()).await?.is_err() {
                return self.error(oneway, &ControlError::failed("btmmd", "it begins anew: ask again")).await;
            }
        }
    }

    /// Probes `count` times, or until the caller hangs up.
    async fn ping(&mut self, oneway: bool, more: bool, ping: wire::Ping) -> Result<(), SessionEnd> {
        let interval_ms = ping.interval_ms.unwrap_or(1000);
        let count = if more { ping.count } else { Some(ping.count.unwrap_or(1)) };
        if let Some(refused) = refuse_ping(count, interval_ms) {
            return self.error(oneway, &refused).await;
        }
        if oneway || (!more && count != Some(1)) {
            return self.error(oneway, &ServiceError::ExpectedMore {}).await;
        }
        let mut sequence: u32 = 1;
        loop {
            let machine = ping.machine.clone();
            let (pong, lost) = match self.answer(self.deadlines.probe, |answer| Call::Ping(machine, answer)).await? {
                Some(Ok(pong)) => (Some(pong), None),
                Some(Err(ControlError::Unreachable { message, .. })) => (None, Some(message)),
                Some(Err(error)) => return self.error(oneway, &error).await,
                None => (None, Some(late(self.deadlines.probe))),
            };
            let last = count == Some(sequence);
            self.reply(oneway, &PingReply { sequence, pong, lost }, !last).await?;
            if last {
                return Ok(());
            }
            sequence = sequence.wrapping_add(1);
            self.while_connected(sleep(Duration::from_millis(u64::from(interval_ms)))).await?;
        }
    }

    /// The event loop's answer; `None` when the deadline passed first.
    async fn answer<T>(
        &mut self,
        deadline: Duration,
        call: impl FnOnce(Answer<T>) -> Call,
    ) -> Result<Option<Result<T, ControlError>>, SessionEnd> {
        let (answer, reply) = oneshot::channel();
        let request = ControlRequest { caller: self.caller, call: call(answer) };
        let requests = self.requests.clone();
        self.while_connected(requests.send(request)).await?.map_err(|_| SessionEnd::Stopping)?;
        Ok(match self.while_connected(timeout(deadline, reply)).await? {
            Ok(Ok(answered)) => Some(answered),
            Ok(Err(_)) => Some(Err(ControlError::failed("btmmd", "stopped before it had an answer"))),
            Err(_) => None,
        })
    }

    /// Waits for `work`, but no longer than the caller stays. Calls that arrive meanwhile wait their turn.
    async fn while_connected<T>(&mut self, work: impl Future<Output = T>) -> Result<T, SessionEnd> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                frame = self.frames.next(), if self.waiting.len() < PIPELINE => match frame {
                    Some(frame) => self.waiting.push_back(frame?),
                    None => return Err(SessionEnd::HungUp),
                },
            }
        }
    }

    async fn describe(&mut self, oneway: bool, interface: &str) -> Result<(), SessionEnd> {
        let description = match interface {
            INTERFACE => wire::DESCRIPTION,
            wire::SERVICE => wire::SERVICE_DESCRIPTION,
            _ => return self.error(oneway, &ServiceError::InterfaceNotFound { interface: interface.to_owned() }).await,
        };
        self.reply(oneway, &wire::Description { description: description.to_owned() }, false).await
    }

    async fn unknown(&mut self, oneway: bool, method: String) -> Result<(), SessionEnd> {
        let error = match method.rsplit_once('.') {
            Some((INTERFACE | wire::SERVICE, _)) => ServiceError::MethodNotFound { method },
            Some((interface, _)) => ServiceError::InterfaceNotFound { interface: interface.to_owned() },
            None => ServiceError::InterfaceNotFound { interface: method },
        };
        self.error(oneway, &error).await
    }

    async fn reply<T: Serialize>(&mut self, oneway: bool, value: &T, continues: bool) -> Result<(), SessionEnd> {
        self.write(oneway, wire::encode_reply(value, continues)).await
    }

    async fn error<E: Serialize>(&mut self, oneway: bool, error: &E) -> Result<(), SessionEnd> {
        self.write(oneway, wire::encode_error(error)).await
    }

    async fn write(&mut self, oneway: bool, encoded: Result<Vec<u8>, serde_json::Error>) -> Result<(), SessionEnd> {
        if oneway {
            return Ok(());
        }
        let mut bytes = encoded.map_err(WireError::Envelope)?;
        let written = timeout(WRITE_DEADLINE, self.writer.write_all(&bytes)).await;
        bytes.zeroize();
        written.map_err(|_| SessionEnd::Idle)?.map_err(|_| SessionEnd::HungUp)
    }
}

fn late(deadline: Duration) -> String {
    format!("no answer within {} s", deadline.as_secs_f32())
}

fn refuse_ping(count: Option<u32>, interval_ms: u32) -> Option<ControlError> {
    if count == Some(0) {
        return Some(ControlError::BadArgument { argument: "count".to_owned(), message: "0 is not allowed: use 1 or more".to_owned() });
    }
    (!(200..=60_000).contains(&interval_ms)).then(|| ControlError::BadArgument {
        argument: "interval_ms".to_owned(),
        message: format!("{interval_ms} is not allowed: use 200 to 60000"),
    })
}

fn not_permitted(method: &Method, caller: Caller) -> ControlError {
    ControlError::NotPermitted { method: method.name().to_owned(), uid: caller.uid, message: "be root, for example with sudo".to_owned() }
}

fn info() -> wire::Info {
    wire::Info {
        vendor: "btmm".to_owned(),
        product: "btmmd".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: env!("CARGO_PKG_REPOSITORY").to_owned(),
        interfaces: vec![wire::SERVICE.to_owned(), INTERFACE.to_owned()],
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
