//! The fixed header (RFC 7296 §3.1).

use super::CodecError;
use crate::wire::{Reader, WireError, Writer};

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 28;
/// Where the length field stands.
pub(super) const LENGTH_AT: usize = 24;

const VERSION_2_0: u8 = 0x20;
const FLAG_INITIATOR: u8 = 0x08;
const FLAG_RESPONSE: u8 = 0x20;

/// Exchange type; unknown numbers are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exchange(pub u8);

impl Exchange {
    /// The first exchange.
    pub const SA_INIT: Self = Self(34);
    /// Authentication and the first child.
    pub const AUTH: Self = Self(35);
    /// New children and new keys.
    pub const CREATE_CHILD_SA: Self = Self(36);
    /// DELETE, liveness, notifications.
    pub const INFORMATIONAL: Self = Self(37);
}

/// The fixed header, without the fields that follow from the rest of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// SPI chosen by the original initiator.
    pub spi_i: u64,
    /// SPI chosen by the original responder; zero in the first message.
    pub spi_r: u64,
    /// Exchange type.
    pub exchange: Exchange,
    /// The sender is the original initiator of the IKE SA.
    pub initiator: bool,
    /// The message answers a request.
    pub response: bool,
    /// Pairs requests with responses.
    pub message_id: u32,
}

impl Header {
    /// Reads the header of a message of `total` octets; the second value is the type of the first payload.
    pub(super) fn read(reader: &mut Reader<'_>, total: usize) -> Result<(Self, u8), CodecError> {
        let spi_i = reader.u64("initiator SPI")?;
        let spi_r = reader.u64("responder SPI")?;
        let first = reader.u8("next payload")?;
        let version = reader.u8("version")?;
        if version >> 4 != VERSION_2_0 >> 4 {
            return Err(CodecError::Version(version >> 4));
        }
        let exchange = Exchange(reader.u8("exchange type")?);
        let flags = reader.u8("flags")?;
        let message_id = reader.u32("message ID")?;
        let length = reader.u32("length")?;
        if usize::try_from(length) != Ok(total) {
            return Err(WireError::Invalid { what: "message length", got: u64::from(length) }.into());
        }
        let header =
            Self { spi_i, spi_r, exchange, initiator: flags & FLAG_INITIATOR != 0, response: flags & FLAG_RESPONSE != 0, message_id };
        Ok((header, first))
    }

    /// Writes the header with a length of zero, to be patched.
    pub(crate) fn write(&self, writer: &mut Writer, first: u8) {
        writer.u64(self.spi_i);
        writer.u64(self.spi_r);
        writer.u8(first);
        writer.u8(VERSION_2_0);
        writer.u8(self.exchange.0);
        writer.u8(if self.initiator { FLAG_INITIATOR } else { 0 } | if self.response { FLAG_RESPONSE } else { 0 });
        writer.u32(self.message_id);
        writer.u32(0);
    }
}
