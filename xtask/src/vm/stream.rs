//! The VM's output, passed on as it comes, until the mark that ends it.
use std::io::{self, Read, Write};

use anyhow::{Context, Result};

/// Copies `from` to `to` until `\0MARK:CODE\n`, which is not copied. Answers the code, or none when the stream ended without the mark.
pub fn copy_until_mark(mut from: impl Read, mut to: impl Write, mark: &str) -> Result<Option<i32>> {
    let mark = format!("\0{mark}:").into_bytes();
    let mut held: Vec<u8> = Vec::new();
    let mut chunk = [0u8; 65536];
    loop {
        let count = match from.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading the VM's output"),
        };
        held.extend_from_slice(&chunk[..count]);
        if let Some(at) = held.windows(mark.len()).position(|window| window == mark) {
            let code = &held[at + mark.len()..];
            if let Some(end) = code.iter().position(|byte| *byte == b'\n') {
                let code = String::from_utf8_lossy(&code[..end]).into_owned();
                write_all(&mut to, &held[..at])?;
                return Ok(Some(code.trim().parse().with_context(|| format!("exit code {code:?} of the VM's command"))?));
            }
            write_all(&mut to, &held[..at])?;
            held.drain(..at);
        } else {
            // What may still become the mark is held back.
            let keep = (0..mark.len().min(held.len() + 1)).rev().find(|n| held.ends_with(&mark[..*n])).unwrap_or(0);
            let give = held.len() - keep;
            write_all(&mut to, &held[..give])?;
            held.drain(..give);
        }
        if count == 0 {
            write_all(&mut to, &held)?;
            return Ok(None);
        }
    }
}

/// A reader that went away (a closed pipe) must not hang the VM: what cannot be written is dropped.
fn write_all(to: &mut impl Write, bytes: &[u8]) -> Result<()> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("passing the VM's output on"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes in pieces of a fixed size.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn the_mark_is_found_however_the_stream_is_cut() {
        let stream = b"one\0two\0m\nthree\0mark:42\nnot ours";
        for size in 1..stream.len() {
            let mut out = Vec::new();
            let code = copy_until_mark(Dribble(stream, size), &mut out, "mark").expect("reads");
            assert_eq!((code, out.as_slice()), (Some(42), &b"one\0two\0m\nthree"[..]), "pieces of {size}");
        }
    }

    #[test]
    fn a_stream_without_the_mark_gives_all_and_no_code() {
        let mut out = Vec::new();
        assert_eq!(copy_until_mark(&b"text\0mar"[..], &mut out, "mark").expect("reads"), None);
        assert_eq!(out, b"text\0mar");
    }
}
