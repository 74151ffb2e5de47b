//! The wire format of IKEv2 (RFC 7296 §3), read and written with named bounds.
//!
//! Unknown payloads are skipped unless they are marked critical. Unknown exchange, notify, transform and attribute numbers are carried as
//! numbers, so that later extensions (IKE_INTERMEDIATE, SKF fragments, additional key exchanges) and foreign proposals pass through unharmed.
pub mod header;
pub mod number;
pub mod payload;
pub mod proposal;
pub mod selector;
#[cfg(test)]
pub(crate) mod tests;

pub use header::{Exchange, HEADER_LEN, Header};
pub use payload::{Delete, Identity, Notify, Payload, Protected};
pub use proposal::{Attribute, Proposal, Transform};
pub use selector::Selector;

use crate::wire::{Reader, WireError, Writer, at_most};

/// Longest IKE message accepted: far above RFC 7296 §2's 3000 octets, far below what UDP could carry.
pub const MESSAGE_MAX: usize = 16 * 1024;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// IKE of another major version.
    #[error("IKE version {0} is not 2")]
    Version(u8),
    /// A payload we do not know whose sender insists that we do (UNSUPPORTED_CRITICAL_PAYLOAD).
    #[error("payload type {0} is unknown and critical")]
    Critical(u8),
}

/// A message as it came in: payloads in clear, and the encrypted payload unopened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The fixed header.
    pub header: Header,
    /// Payloads before the encrypted one; of protected exchanges there should be none.
    pub clear: Vec<Payload>,
    /// The encrypted payload, which is always last.
    pub protected: Option<Protected<'a>>,
}

impl<'a> Message<'a> {
    /// Reads a whole datagram.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        at_most(bytes.len(), MESSAGE_MAX, "IKE message")?;
        let mut reader = Reader::new(bytes);
        let (header, first) = Header::read(&mut reader, bytes.len())?;
        let (clear, protected) = payload::read_chain(first, &mut reader, bytes)?;
        Ok(Self { header, clear, protected })
    }

    /// The initiator's SPI when `bytes` begin like an IKE_SA_INIT request, whatever follows.
    pub fn init_request(bytes: &[u8]) -> Option<u64> {
        let (header, _) = Header::read(&mut Reader::new(bytes), bytes.len()).ok()?;
        let first = header.exchange == Exchange::SA_INIT && header.initiator && !header.response && header.spi_r == 0;
        first.then_some(header.spi_i)
    }

    /// Writes a message without an encrypted payload.
    pub fn encode(header: &Header, payloads: &[Payload]) -> Vec<u8> {
        let mut writer = Writer::new();
        header.write(&mut writer, payloads.first().map_or(0, Payload::kind));
        payload::write_chain(payloads, &mut writer);
        let length = writer.len();
        writer.patch_u32(header::LENGTH_AT, length);
        writer.into_bytes()
    }
}
