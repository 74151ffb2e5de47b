//! The octets of a cache file, version 4 (MIT's documentation, "Credential cache file format").

use zeroize::Zeroizing;

use super::{Credential, CredentialCache, SessionKey, Times, Typed};
use crate::lkdc::full_name::FullName;
use crate::lkdc::name::Principal;
use crate::wire::{Reader, WireError, at_most};

/// The longest cache worth reading, in octets.
pub const MAX_FILE: usize = 16 * 1024 * 1024;
/// The first two octets.
const MAGIC: u16 = 0x0504;
/// Most credentials, configuration included.
const MAX_CREDENTIALS: usize = 16_384;
/// Longest ticket, address, or piece of authorization data.
const MAX_DATA: usize = 1024 * 1024;
/// Longest name component or realm.
const MAX_NAME: usize = 4096;
/// Most components of a name.
const MAX_COMPONENTS: usize = 32;
/// Most addresses or pieces of authorization data.
const MAX_LIST: usize = 1024;
/// Longest key.
const MAX_KEY: usize = 1024;
/// The header field that tells how far the KDC's clock is ahead of ours.
const TAG_TIME_OFFSET: u16 = 1;

/// Why a cache cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not `05 04`.
    #[error("it begins with {0:#06x}, not with 0x0504 as a cache of version 4 does")]
    Version(u16),
    /// Broken off, or with impossible lengths.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A name that is not text.
    #[error("{0} is not UTF-8")]
    Text(&'static str),
}

/// Reads a cache file.
pub fn parse(bytes: &[u8]) -> Result<CredentialCache, FormatError> {
    at_most(bytes.len(), MAX_FILE, "cache")?;
    let mut reader = Reader::new(bytes);
    let magic = reader.u16("cache")?;
    if magic != MAGIC {
        return Err(FormatError::Version(magic));
    }
    let time_offset = header(&mut reader)?;
    let mut cache = CredentialCache { time_offset, client: name(&mut reader)?, credentials: Vec::new() };
    while !reader.is_empty() {
        at_most(cache.credentials.len() + 1, MAX_CREDENTIALS, "number of credentials")?;
        let credential = credential(&mut reader)?;
        if !credential.is_removed() {
            cache.credentials.push(credential);
        }
    }
    Ok(cache)
}

fn header(reader: &mut Reader<'_>) -> Result<Option<(i32, i32)>, FormatError> {
    let length = usize::from(reader.u16("header length")?);
    let mut header = reader.sub(length, MAX_DATA, "header")?;
    let mut offset = None;
    while !header.is_empty() {
        let tag = header.u16("header field")?;
        let length = usize::from(header.u16("header field")?);
        let mut field = header.sub(length, MAX_DATA, "header field")?;
        if tag == TAG_TIME_OFFSET {
            offset = Some((field.u32("time offset")?.cast_signed(), field.u32("time offset")?.cast_signed()));
            field.finish("time offset")?;
        }
    }
    Ok(offset)
}

/// Reads one credential, as keyrings hold them, and nothing after it.
pub fn parse_credential(bytes: &[u8]) -> Result<Credential, FormatError> {
    at_most(bytes.len(), MAX_FILE, "credential")?;
    let mut reader = Reader::new(bytes);
    let credential = credential(&mut reader)?;
    reader.finish("credential")?;
    Ok(credential)
}

/// Reads one name, as keyrings hold it, and nothing after it.
pub fn parse_name(bytes: &[u8]) -> Result<FullName, FormatError> {
    let mut reader = Reader::new(bytes);
    let name = name(&mut reader)?;
    reader.finish("name")?;
    Ok(name)
}

fn credential(reader: &mut Reader<'_>) -> Result<Credential, FormatError> {
    Ok(Credential {
        client: name(reader)?,
        server: name(reader)?,
        key: SessionKey {
            etype: i32::from(reader.u16("key type")?.cast_signed()),
            octets: Zeroizing::new(data(reader, MAX_KEY, "session key")?.to_vec()),
        },
        times: Times {
            authenticated: reader.u32("authentication time")?,
            starts: reader.u32("start time")?,
            ends: reader.u32("end time")?,
            renew_till: reader.u32("renewal time")?,
        },
        is_session_key_of_second: reader.u8("second ticket flag")? != 0,
        flags: reader.u32("ticket flags")?,
        addresses: list(reader, "address")?,
        authorization: list(reader, "authorization data")?,
        ticket: data(reader, MAX_DATA, "ticket")?.to_vec(),
        second_ticket: data(reader, MAX_DATA, "second ticket")?.to_vec(),
    })
}

fn name(reader: &mut Reader<'_>) -> Result<FullName, FormatError> {
    let name_type = reader.u32("name type")?.cast_signed();
    let count = count(reader, MAX_COMPONENTS, "number of name components")?;
    let realm = text(reader, "realm")?;
    let components = (0..count).map(|_| text(reader, "name component")).collect::<Result<_, _>>()?;
    Ok(FullName::new(Principal { name_type, components }, realm))
}

fn text(reader: &mut Reader<'_>, what: &'static str) -> Result<String, FormatError> {
    std::str::from_utf8(data(reader, MAX_NAME, what)?).map(str::to_owned).map_err(|_| FormatError::Text(what))
}

fn list(reader: &mut Reader<'_>, what: &'static str) -> Result<Vec<Typed>, FormatError> {
    let count = count(reader, MAX_LIST, what)?;
    (0..count).map(|_| Ok(Typed { kind: reader.u16(what)?, octets: data(reader, MAX_DATA, what)?.to_vec() })).collect()
}

fn count(reader: &mut Reader<'_>, max: usize, what: &'static str) -> Result<usize, WireError> {
    let count = usize::try_from(reader.u32(what)?).unwrap_or(usize::MAX);
    at_most(count, max, what)?;
    Ok(count)
}

fn data<'a>(reader: &mut Reader<'a>, max: usize, what: &'static str) -> Result<&'a [u8], WireError> {
    let length = count(reader, max, what)?;
    reader.take(length, what)
}

/// Writes a cache file.
pub fn emit(cache: &CredentialCache) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(64 + name_size(&cache.client) + cache.credentials.iter().map(size).sum::<usize>()));
    out.extend_from_slice(&MAGIC.to_be_bytes());
    match cache.time_offset {
        None => out.extend_from_slice(&[0, 0]),
        Some((seconds, microseconds)) => {
            out.extend_from_slice(&[0, 12]);
            out.extend_from_slice(&TAG_TIME_OFFSET.to_be_bytes());
            out.extend_from_slice(&[0, 8]);
            out.extend_from_slice(&seconds.to_be_bytes());
            out.extend_from_slice(&microseconds.to_be_bytes());
        }
    }
    put_name(&mut out, &cache.client);
    for credential in &cache.credentials {
        put_credential(&mut out, credential);
    }
    out
}

/// Writes one credential.
pub fn emit_credential(credential: &Credential) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(size(credential)));
    put_credential(&mut out, credential);
    out
}

/// Writes one name.
pub fn emit_name(name: &FullName) -> Vec<u8> {
    let mut out = Vec::with_capacity(name_size(name));
    put_name(&mut out, name);
    out
}

/// Enough octets for a credential, so that the buffer never moves and leaves no copy of a key behind.
fn size(credential: &Credential) -> usize {
    let listed = |list: &[Typed]| list.iter().map(|typed| typed.octets.len() + 6).sum::<usize>();
    let lists = listed(&credential.addresses) + listed(&credential.authorization);
    let names = name_size(&credential.client) + name_size(&credential.server);
    64 + names + lists + credential.key.octets.len() + credential.ticket.len() + credential.second_ticket.len()
}

fn name_size(name: &FullName) -> usize {
    12 + name.realm.len() + name.principal.components.iter().map(|component| component.len() + 4).sum::<usize>()
}

fn put_credential(out: &mut Vec<u8>, credential: &Credential) {
    put_name(out, &credential.client);
    put_name(out, &credential.server);
    // Etypes are small numbers, in the file as on the wire; one that is not was not read from a file.
    let etype = i16::try_from(credential.key.etype).unwrap_or_default();
    out.extend_from_slice(&etype.to_be_bytes());
    put_data(out, &credential.key.octets);
    let Times { authenticated, starts, ends, renew_till } = credential.times;
    for time in [authenticated, starts, ends, renew_till] {
        put_u32(out, time);
    }
    out.push(u8::from(credential.is_session_key_of_second));
    put_u32(out, credential.flags);
    for list in [&credential.addresses, &credential.authorization] {
        put_length(out, list.len());
        for typed in list {
            out.extend_from_slice(&typed.kind.to_be_bytes());
            put_data(out, &typed.octets);
        }
    }
    put_data(out, &credential.ticket);
    put_data(out, &credential.second_ticket);
}

fn put_name(out: &mut Vec<u8>, name: &FullName) {
    out.extend_from_slice(&name.principal.name_type.to_be_bytes());
    put_length(out, name.principal.components.len());
    put_data(out, name.realm.as_bytes());
    for component in &name.principal.components {
        put_data(out, component.as_bytes());
    }
}

fn put_data(out: &mut Vec<u8>, octets: &[u8]) {
    put_length(out, octets.len());
    out.extend_from_slice(octets);
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    put_u32(out, u32::try_from(length).unwrap_or(u32::MAX));
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}
