//! The end of an IKE SA: DELETE on its way, and answers to whatever the peer still repeats.

use std::time::{Duration, Instant};

use super::channel::{Channel, Path, Received, Retry};
use super::codec::number::{notify, protocol};
use super::codec::{Delete, Exchange, Message, Payload};
use super::timer::{Earliest, Timer};
use super::turn::Turn;

/// A closed SA answers repetitions this long.
const FORGET_AFTER: Duration = Duration::from_secs(20);

/// No children, no future.
#[derive(Debug)]
pub(super) struct Closing {
    channel: Channel,
    farewell: Farewell,
    forget_at: Instant,
}

/// How far our DELETE has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// It waits for the answer to what is outstanding.
    Due,
    /// It waits for its own answer.
    Said,
    /// Answered, or none is said.
    Done,
}

/// What became of it.
pub(super) enum Closed {
    /// Still needed.
    Waiting(Box<Closing>),
    /// Forgotten.
    Gone,
}

impl Closing {
    /// Says DELETE.
    pub fn start(channel: Channel, t: &mut Turn<'_>) -> Self {
        let mut closing = Self { channel, farewell: Farewell::Due, forget_at: t.now + 3 * FORGET_AFTER };
        closing.send_delete(t);
        closing
    }

    /// The peer said DELETE, or must not hear from us: only answer repetitions.
    pub fn quietly(channel: Channel, t: &mut Turn<'_>) -> Self {
        Self { channel, farewell: Farewell::Done, forget_at: t.now + FORGET_AFTER }
    }

    /// The SPI we chose.
    pub fn own_spi(&self) -> u64 {
        self.channel.own_spi()
    }

    /// Whether the peer may not know yet that this SA is closed.
    pub fn unconfirmed(&self) -> bool {
        self.farewell != Farewell::Done
    }

    /// When something is due.
    pub fn earliest(&self) -> Earliest {
        self.channel.earliest().at(self.forget_at, Timer::Forget)
    }

    /// Sends again, or forgets.
    pub fn retry(mut self: Box<Self>, t: &mut Turn<'_>) -> Closed {
        if self.forget_at <= t.now {
            return Closed::Gone;
        }
        match self.channel.retry(t) {
            Retry::Waiting => Closed::Waiting(self),
            Retry::GivenUp => Closed::Gone,
        }
    }

    /// Takes a message.
    pub fn receive(mut self: Box<Self>, message: &Message<'_>, from: Path, t: &mut Turn<'_>) -> Closed {
        match self.channel.receive(message, from, t) {
            Received::Request { id, .. } if message.header.exchange == Exchange::CREATE_CHILD_SA => {
                self.channel.follow(from);
                let busy = [Payload::notify(notify::TEMPORARY_FAILURE, Vec::new())];
                self.channel.respond(message.header.exchange, id, &busy, t);
            }
            Received::Request { id, .. } => {
                self.channel.follow(from);
                self.channel.respond(message.header.exchange, id, &[], t);
            }
            Received::Response { .. } if self.farewell == Farewell::Due => self.send_delete(t),
            // The good-bye is answered; the peer may still repeat one of its own.
            Received::Response { .. } => {
                self.farewell = Farewell::Done;
                self.forget_at = t.now + FORGET_AFTER;
            }
            Received::Nothing => {}
        }
        Closed::Waiting(self)
    }

    fn send_delete(&mut self, t: &mut Turn<'_>) {
        let tries = t.config.delete_transmissions;
        if self.channel.idle() {
            self.farewell = Farewell::Said;
            let delete = Payload::Delete(Delete { protocol: protocol::IKE, spis: Vec::new() });
            self.channel.request(Exchange::INFORMATIONAL, &[delete], tries, t);
        } else {
            self.channel.doubt(tries, t);
        }
    }
}
