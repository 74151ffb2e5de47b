//! What comes in finds its IKE SA, or makes one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::authenticating::Authenticated;
use super::channel::Path;
use super::closing::Closed;
use super::codec::number::notify;
use super::codec::{CodecError, Exchange, Message, Payload};
use super::established::After;
use super::half_open::{self, HalfOpen, HalfOpened, syntax};
use super::init::Opened;
use super::parts::Parts;
use super::table::{Ike, Sa};
use super::turn::Turn;

/// Between two hints that an IKE SPI is unknown here.
const UNKNOWN_SPI_EVERY: Duration = Duration::from_millis(100);

impl Ike {
    pub(super) fn datagram(&mut self, from: Path, bytes: &[u8], now: Instant) {
        let mut t = Turn { core: &mut self.core, now };
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                tracing::trace!(%error, "unreadable IKE message");
                if let (CodecError::Critical(_), Some(spi_i), true) = (&error, Message::init_request(bytes), self.admits) {
                    half_open::refuse(spi_i, syntax(&error), from, &mut t);
                }
                return;
            }
        };
        let header = message.header;
        let own = if header.initiator { header.spi_r } else { header.spi_i };
        if own == 0 {
            if self.admits && header.exchange == Exchange::SA_INIT && !header.response && header.message_id == 0 && header.spi_i != 0 {
                self.sa_init(message, bytes, from, now);
            }
            return;
        }
        match self.sas.remove(&own) {
            Some(sa) => self.message(sa, message, bytes, from, now),
            None => {
                let rested = self.hinted.is_none_or(|last| now >= last + UNKNOWN_SPI_EVERY);
                if !header.response && message.protected.is_some() && rested {
                    self.hinted = Some(now);
                    half_open::unknown_spi(&header, from, &mut t);
                }
            }
        }
    }

    fn sa_init(&mut self, message: Message<'_>, bytes: &[u8], from: Path, now: Instant) {
        let mut t = Turn { core: &mut self.core, now };
        let (spi_i, key) = (message.header.spi_i, (from.remote, message.header.spi_i));
        if let Some(own) = self.answered.own_spi(&key) {
            if let Some(Sa::HalfOpen(half_open)) = self.sas.get(&own) {
                half_open.answer_again(bytes, from, &mut t);
            }
            return;
        }
        let half_open = self.sas.values().filter(|sa| matches!(sa, Sa::HalfOpen(_))).count();
        let parts = Parts::of(message.clear);
        if half_open >= t.config.cookie_threshold {
            let (nonce, rotation) = (parts.nonce.as_deref().unwrap_or_default(), t.config.cookie_rotation);
            let offered = parts.notify(notify::COOKIE).map(|cookie| cookie.data.as_slice()).unwrap_or_default();
            if !self.cookies.accepts(offered, nonce, from.remote.ip(), spi_i, rotation, now) {
                let cookie = self.cookies.bake(nonce, from.remote.ip(), spi_i, rotation, t.core.entropy.as_mut(), now);
                half_open::refuse(spi_i, Payload::notify(notify::COOKIE, cookie), from, &mut t);
                return;
            }
        }
        if let Some(half_open) = HalfOpen::answer(spi_i, &parts, bytes, from, &mut t) {
            let (places, until) = (t.config.half_open_max, now + 2 * t.config.half_open_lifetime);
            self.make_room(from.remote.ip(), places);
            self.answered.insert(key, half_open.own_spi(), until);
            self.put(Sa::HalfOpen(Box::new(half_open)));
        }
    }

    /// Makes room for one more half-open SA of this source, and for the memory of it, which outlives it.
    fn make_room(&mut self, newcomer: IpAddr, places: usize) {
        let half_open = |own| matches!(self.sas.get(&own), Some(Sa::HalfOpen(_)));
        let forgotten = [self.answered.make_room(newcomer, places, half_open), self.answered.make_room(newcomer, 4 * places, |_| true)];
        for own in forgotten.into_iter().flatten() {
            if let Some(sa) = self.sas.remove(&own).filter(|sa| !matches!(sa, Sa::HalfOpen(_))) {
                self.put(sa);
            }
        }
    }

    /// Gives a message to its SA, which was taken out, and puts back what becomes of it.
    fn message(&mut self, sa: Sa, message: Message<'_>, bytes: &[u8], from: Path, now: Instant) {
        if half_open::is_unknown_spi(&message) {
            return self.hint(sa, now);
        }
        let mut t = Turn { core: &mut self.core, now };
        match sa {
            Sa::Opening(opening) => match opening.receive(message, bytes, from, &mut t) {
                Opened::Waiting(opening) => self.put(Sa::Opening(opening)),
                Opened::Answered(authenticating) => self.put(Sa::Authenticating(authenticating)),
            },
            Sa::HalfOpen(half_open) => {
                let outcome = half_open.receive(&message, from, &mut t);
                self.half_opened(outcome, now);
            }
            Sa::Authenticating(authenticating) => {
                let outcome = authenticating.receive(&message, from, &mut t);
                self.authenticated(outcome, now);
            }
            Sa::Established(established) => {
                let parent = established.successor_of.and_then(|spi| match self.sas.get_mut(&spi) {
                    Some(Sa::Established(parent)) => Some(parent.as_mut()),
                    _ => None,
                });
                let after = established.receive(&message, from, parent, &mut t);
                self.after(after);
            }
            Sa::Closing(closing) => {
                if let Closed::Waiting(closing) = closing.receive(&message, from, &mut t) {
                    self.put(Sa::Closing(closing));
                }
            }
        }
    }

    /// Signatures have come: whoever waited for one goes on. The others ask for theirs again and wait.
    pub(super) fn signed(&mut self, now: Instant) {
        let waiting: Vec<u64> =
            self.sas.iter().filter(|(_, sa)| matches!(sa, Sa::HalfOpen(_) | Sa::Authenticating(_))).map(|(spi, _)| *spi).collect();
        for spi in waiting {
            let mut t = Turn { core: &mut self.core, now };
            match self.sas.remove(&spi) {
                Some(Sa::HalfOpen(half_open)) => {
                    let outcome = half_open.sign(&mut t);
                    self.half_opened(outcome, now);
                }
                Some(Sa::Authenticating(mut authenticating)) => {
                    authenticating.sign(&mut t);
                    self.put(Sa::Authenticating(authenticating));
                }
                Some(other) => self.put(other),
                None => {}
            }
        }
    }

    fn half_opened(&mut self, outcome: HalfOpened, now: Instant) {
        match outcome {
            HalfOpened::Waiting(half_open) => self.put(Sa::HalfOpen(half_open)),
            HalfOpened::Closing(closing) => self.put(Sa::Closing(closing)),
            HalfOpened::Admitted(admission) => self.admit(admission, now),
        }
    }

    fn hint(&mut self, mut sa: Sa, now: Instant) {
        if let Sa::Established(established) = &mut sa {
            established.doubt(&mut Turn { core: &mut self.core, now });
        }
        self.put(sa);
    }

    pub(super) fn put(&mut self, sa: Sa) {
        let spi = match &sa {
            Sa::Opening(opening) => opening.own_spi(),
            Sa::HalfOpen(half_open) => half_open.own_spi(),
            Sa::Authenticating(authenticating) => authenticating.own_spi(),
            Sa::Established(established) => established.own_spi(),
            Sa::Closing(closing) => closing.own_spi(),
        };
        self.sas.insert(spi, sa);
    }

    pub(super) fn after(&mut self, after: After) {
        match after {
            After::Stays(established) => self.put(Sa::Established(established)),
            After::Closing(closing) => self.put(Sa::Closing(closing)),
        }
    }

    pub(super) fn authenticated(&mut self, outcome: Authenticated, now: Instant) {
        match outcome {
            Authenticated::Waiting(authenticating) => self.put(Sa::Authenticating(authenticating)),
            Authenticated::Closing(closing) => self.put(Sa::Closing(closing)),
            Authenticated::Admitted(established) => self.come_in(established, now),
            Authenticated::Failed => {}
        }
    }
}
