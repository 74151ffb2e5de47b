//! The exchange with a ticket-granting service (RFC 4120 §3.3): a ticket for a service, from a ticket.

use std::time::SystemTime;

use super::Next;
use super::clock::ClockOffset;
use super::error::ClientError;
use super::grant::Grant;
use super::refusal::Refusal;
use super::reply::{self, Expected, KRB_ERROR, ReplyError};
use super::request::{TgsRequest, TgsWish, tgs_request};
use crate::entropy::Entropy;
use crate::lkdc::asn1;
use crate::lkdc::crypto::usage;
use crate::lkdc::kdc::error::ErrorCode;

/// One ticket being got with another.
pub struct TgsExchange {
    wish: TgsWish,
    tgt: Grant,
    offset: ClockOffset,
    sent: Option<TgsRequest>,
    /// The clock was set after the KDC's once.
    adjusted: bool,
}

impl TgsExchange {
    /// Asks for `wish` with `tgt` (to renew or validate: with the ticket itself). `offset` is what is known of the KDC's clock.
    pub fn new(wish: TgsWish, tgt: Grant, offset: ClockOffset) -> Self {
        Self { wish, tgt, offset, sent: None, adjusted: false }
    }

    /// What is known of the KDC's clock.
    pub fn offset(&self) -> ClockOffset {
        self.offset
    }

    /// The request.
    pub fn start(&mut self, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ClientError> {
        let request = tgs_request(&self.wish, &self.tgt, self.offset.kdc_time(now), entropy)?;
        let bytes = request.bytes.clone();
        self.sent = Some(request);
        Ok(bytes)
    }

    /// Takes the KDC's answer.
    pub fn receive(&mut self, answer: &[u8], now: SystemTime, entropy: &mut dyn Entropy) -> Result<Next, ClientError> {
        if asn1::raw::tag(answer) == Some(KRB_ERROR) {
            return self.refused(Refusal::read(answer)?, now, entropy);
        }
        let rep = reply::tgs_rep(answer)?;
        let sent = self.sent.as_ref().ok_or(ReplyError::Differs("order"))?;
        let part = reply::open(&rep, &sent.subkey, usage::TGS_REP_SUBKEY)?;
        let expected = Expected { server: &self.wish.server, nonce: sent.nonce, etypes: &self.wish.etypes, now: self.offset.kdc_time(now) };
        let mut grant = reply::accept(&rep, &part, &expected)?;
        if grant.client != self.tgt.client {
            return Err(ReplyError::Differs("client").into());
        }
        grant.second = self.wish.second.clone().unwrap_or_default();
        Ok(Next::Done(Box::new(grant)))
    }

    fn refused(&mut self, refusal: Refusal, now: SystemTime, entropy: &mut dyn Entropy) -> Result<Next, ClientError> {
        let offset = ClockOffset::between(refusal.kdc_time, now);
        if ErrorCode(refusal.code) == ErrorCode::KRB_AP_ERR_SKEW && !self.adjusted && offset != self.offset {
            self.adjusted = true;
            self.offset = offset;
            return self.start(now, entropy).map(Next::Send);
        }
        Err(ClientError::Refused { realm: self.wish.server.realm.clone(), refusal: Box::new(refusal) })
    }
}
