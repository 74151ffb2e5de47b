//! A request on its way, sent again until the router answers (RFC 6886 §3.1).

use std::time::{Duration, Instant};

use super::{Method, Request};

/// A question by UPnP always comes back, with an answer or without; this is for one that does not.
const UPNP_WAIT: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Sends before it is given up.
const SENDS: u32 = 9;
/// Sends before silence is reported, some four seconds after the first.
const SENDS_BEFORE_REPORT: u32 = 4;

/// Sent, and unanswered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub request: Request,
    /// When to call [`InFlight::again`].
    pub resend: Instant,
    sends: u32,
}

/// What to do about silence.
pub(super) enum Again {
    Wait,
    Send {
        /// It has lasted long enough to be said.
        silent: bool,
    },
    GiveUp,
}

impl InFlight {
    pub fn new(request: Request, method: Method, now: Instant) -> Self {
        match method {
            Method::NatPmp => Self { request, resend: now + FIRST_WAIT, sends: 1 },
            Method::Upnp => Self { request, resend: now + UPNP_WAIT, sends: SENDS },
        }
    }

    pub fn again(&mut self, now: Instant) -> Again {
        if now < self.resend {
            return Again::Wait;
        }
        if self.sends >= SENDS {
            return Again::GiveUp;
        }
        self.resend = now + FIRST_WAIT * 2_u32.pow(self.sends);
        self.sends += 1;
        Again::Send { silent: self.sends > SENDS_BEFORE_REPORT }
    }
}
