//! Secrets from people: typed without echo, or from a file or descriptor; never from an argument.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::Failure;

/// Longest line that is read.
const MAX_LINE: usize = 4096;
/// Ctrl-C, as a terminal sends it.
const INTERRUPT: u8 = 3;

/// What a file or a descriptor has, whichever was named.
pub fn given(file: Option<&Path>, descriptor: Option<u32>) -> Option<Result<Zeroizing<String>, Failure>> {
    file.map(from_file).or_else(|| descriptor.map(from_descriptor))
}

/// The first line of a file, without its end; "-" is standard input, whose next line is left for who reads next.
fn from_file(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let opened = if path == Path::new("-") { io::stdin().as_fd().try_clone_to_owned().map(File::from) } else { File::open(path) };
    opened.and_then(first_line).map_err(|cause| Failure::File { path: path.to_owned(), cause })
}

/// The first line from an open descriptor.
fn from_descriptor(number: u32) -> Result<Zeroizing<String>, Failure> {
    let path = PathBuf::from(format!("/dev/fd/{number}"));
    File::open(&path).and_then(first_line).map_err(|cause| Failure::File { path, cause })
}

/// Whether somebody can be asked.
pub fn can_ask() -> bool {
    terminal().is_ok()
}

/// Asks at the terminal, without echo.
pub fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |cause| Failure::File { path: "/dev/tty".into(), cause };
    let terminal = terminal().map_err(failed)?;
    let mut screen = &terminal;
    let mute = Mute::begin(&terminal).map_err(failed)?;
    let typed = write!(screen, "{prompt}").and_then(|()| first_line(&terminal));
    drop(mute);
    let ended = writeln!(screen);
    let typed = typed.map_err(failed)?;
    ended.map_err(failed)?;
    if typed.contains(char::from(INTERRUPT)) {
        return Err(failed(io::ErrorKind::Interrupted.into()));
    }
    Ok(typed)
}

fn terminal() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/tty")
}

/// A terminal that shows nothing of what is typed, until this is dropped. Ctrl-C ends the line instead of the process, which would leave
/// the terminal mute.
struct Mute<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Mute<'a> {
    fn begin(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut mute = before.clone();
        mute.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
        if let Some(ends) = mute.control_chars.get_mut(SpecialCharacterIndices::VEOL as usize) {
            *ends = INTERRUPT;
        }
        tcsetattr(terminal, SetArg::TCSAFLUSH, &mute)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Mute<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

fn first_line(mut from: impl Read) -> io::Result<Zeroizing<String>> {
    // Octet by octet: what follows the line is somebody else's to read.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    let mut octet = [0];
    while line.len() < MAX_LINE {
        match from.read(&mut octet) {
            Ok(0) => break,
            Ok(_) if octet == *b"\n" => break,
            Ok(_) => line.push(octet[0]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if octet == [INTERRUPT] {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    let text = std::str::from_utf8(&line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the line is not UTF-8"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_line_is_taken() {
        let mut input: &[u8] = b"secret word\r\nrest";
        assert_eq!(*first_line(&mut input).unwrap(), "secret word");
        assert_eq!(input, b"rest");
        assert_eq!(*first_line(b"no end".as_slice()).unwrap(), "no end");
        assert_eq!(*first_line(b"".as_slice()).unwrap(), "");
        assert!(first_line(b"\xff\n".as_slice()).is_err());
        assert_eq!(first_line(vec![b'a'; MAX_LINE + 1].as_slice()).unwrap().len(), MAX_LINE);
    }
}
