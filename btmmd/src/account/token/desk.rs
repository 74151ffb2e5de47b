//! The thread that has the token. A smart card takes its time, and one thing at a time: everybody else asks here and need not wait.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::session::{Opened, P256_SPKI};
use super::{TokenError, TokenUri};

/// Between two looks whether the token is there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Signatures that were asked for ahead and are kept until they are asked for again. More tunnels are not raised at one time.
const KEPT_MAX: usize = 64;

type Digest = [u8; 32];
type Made = Result<Vec<u8>, TokenError>;

/// A signature to make, and who waits for it.
struct Job {
    digest: Digest,
    answer: Box<dyn FnOnce(Made) + Send>,
}

/// An ECDSA P-256 key on a token.
pub struct Token {
    uri: TokenUri,
    spki: Vec<u8>,
    /// Begun when first needed.
    jobs: Mutex<Begin>,
    shared: Arc<Shared>,
}

enum Begin {
    Not(Option<Box<Opened>>),
    Begun(Sender<Job>),
}

#[derive(Default)]
struct Shared {
    told: Mutex<Told>,
    /// A signature that was asked for ahead has come.
    signed: Notify,
}

#[derive(Default)]
struct Told {
    trouble: Option<TokenError>,
    /// Asked for ahead, oldest first; `None` while it is being made.
    kept: VecDeque<(Digest, Option<Made>)>,
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Token {
    /// Opens the token and finds the key, or makes one of that name there. May take seconds.
    pub fn open(uri: &TokenUri) -> Result<Self, TokenError> {
        let opened = Opened::open(uri, true)?;
        let spki = opened.spki().to_vec();
        Ok(Self { uri: uri.clone(), spki, jobs: Mutex::new(Begin::Not(Some(Box::new(opened)))), shared: Arc::default() })
    }

    /// The key whose public half is known. The token is opened when it is first needed, and may be missing until then.
    pub fn known(uri: TokenUri, spki: Vec<u8>) -> Self {
        Self { uri, spki, jobs: Mutex::new(Begin::Not(None)), shared: Arc::default() }
    }

    /// Where the key is.
    pub fn uri(&self) -> &TokenUri {
        &self.uri
    }

    /// The public key, DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The public point, uncompressed.
    pub fn point(&self) -> &[u8] {
        self.spki.strip_prefix(&P256_SPKI).unwrap_or_default()
    }

    /// Begins to look after the token, so that what is wrong with it is known before it is needed.
    pub fn attend(&self) {
        if let Err(error) = self.desk() {
            self.shared.told().trouble = Some(error);
        }
    }

    /// What keeps the token from signing, as far as is known.
    pub fn trouble(&self) -> Option<TokenError> {
        self.shared.told().trouble.clone()
    }

    /// Signs `message`, and waits for it. Other tasks of a tokio worker go on meanwhile.
    pub fn sign(&self, message: &[u8]) -> Made {
        let (to, made) = mpsc::sync_channel(1);
        let answer = Box::new(move |result| drop(to.send(result)));
        self.desk()?.send(Job { digest: sha256(message), answer }).map_err(|_| self.ended())?;
        let wait = || made.recv().unwrap_or_else(|_| Err(self.ended()));
        match Handle::try_current().map(|handle| handle.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(wait),
            _ => wait(),
        }
    }

    /// The signature of `message` if it is made; else it is being made, and [`Token::signed`] tells when to ask again.
    pub fn sign_soon(&self, message: &[u8]) -> Option<Made> {
        let digest = sha256(message);
        {
            let mut told = self.shared.told();
            if let Some(place) = told.kept.iter().position(|(kept, _)| *kept == digest) {
                let made = told.kept.get_mut(place).and_then(|(_, made)| made.take());
                if made.is_some() {
                    told.kept.remove(place);
                }
                return made;
            }
            if told.kept.len() >= KEPT_MAX {
                told.kept.pop_front();
            }
            told.kept.push_back((digest, None));
        }
        let shared = Arc::clone(&self.shared);
        let answer = Box::new(move |result| {
            if let Some((_, made)) = shared.told().kept.iter_mut().find(|(kept, _)| *kept == digest) {
                *made = Some(result);
            }
            shared.signed.notify_one();
        });
        let asked = self.desk().and_then(|desk| desk.send(Job { digest, answer }).map_err(|_| self.ended()));
        asked.err().map(|error| {
            self.shared.told().kept.retain(|(kept, _)| *kept != digest);
            Err(error)
        })
    }

    /// Waits for a signature that was asked for ahead. Cancel safe.
    pub async fn signed(&self) {
        self.shared.signed.notified().await;
    }

    fn desk(&self) -> Result<Sender<Job>, TokenError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match &mut *jobs {
            Begin::Begun(sender) => return Ok(sender.clone()),
            Begin::Not(opened) => opened.take(),
        };
        let (sender, receiver) = mpsc::channel();
        let desk = Desk {
            uri: self.uri.clone(),
            spki: self.spki.clone(),
            opened: opened.map(|opened| *opened),
            last: None,
            shared: Arc::clone(&self.shared),
        };
        let failed = |cause: std::io::Error| self.refused(&cause.to_string());
        std::thread::Builder::new().name("token".to_owned()).spawn(move || desk.run(&receiver)).map_err(failed)?;
        *jobs = Begin::Begun(sender.clone());
        Ok(sender)
    }

    fn ended(&self) -> TokenError {
        self.refused("its thread has ended")
    }

    fn refused(&self, why: &str) -> TokenError {
        TokenError::Refused { token: self.uri.token_name(), action: "be asked", why: why.to_owned() }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("uri", &self.uri).finish_non_exhaustive()
    }
}

fn sha256(message: &[u8]) -> Digest {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, message).as_ref());
    octets
}

/// What the thread has.
struct Desk {
    uri: TokenUri,
    spki: Vec<u8>,
    opened: Option<Opened>,
    /// Why the token is not open.
    last: Option<TokenError>,
    shared: Arc<Shared>,
}

impl Desk {
    fn run(mut self, jobs: &Receiver<Job>) {
        self.look();
        loop {
            match jobs.recv_timeout(LOOK_EVERY) {
                Ok(job) => (job.answer)(self.sign(&job.digest)),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn sign(&mut self, digest: &Digest) -> Made {
        // The session of a token that was taken out is dead even when the token is back.
        if let Some(made) = self.opened.as_ref().and_then(|opened| opened.sign(digest).ok()) {
            self.tell(None);
            return Ok(made);
        }
        self.opened = None;
        let made = self.open().and_then(|opened| opened.sign(digest));
        self.tell(made.as_ref().err().cloned());
        made
    }

    fn look(&mut self) {
        if self.opened.as_ref().is_some_and(Opened::is_there) {
            return self.tell(None);
        }
        self.opened = None;
        let opened = self.open().map(drop);
        self.tell(opened.err());
    }

    fn open(&mut self) -> Result<&Opened, TokenError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.is_final()) {
            return Err(last.clone());
        }
        let opened = Opened::open(&self.uri, false)?;
        if opened.spki() != self.spki {
            return Err(TokenError::OtherKey { token: self.uri.token_name(), key: self.uri.key_name() });
        }
        Ok(self.opened.insert(opened))
    }

    /// Lets everybody know how the token is, and the journal when that is news.
    fn tell(&mut self, trouble: Option<TokenError>) {
        if self.last != trouble {
            match &trouble {
                Some(error) => warn!(%error, "this machine's key is out of reach"),
                None => info!("this machine's key is within reach again"),
            }
            self.shared.told().trouble.clone_from(&trouble);
            self.last = trouble;
        }
    }
}
