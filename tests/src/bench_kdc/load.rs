//! The load: requests made beforehand, sent to either KDC in the same way.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// Requests under way at a time, each from a port of its own.
const CLIENTS: usize = 32;
/// Requests under way at a time where they do not wait for answers. A socket's buffer has room for these, by default, but not for twice as
/// many: then what is lost when a host takes the processor away would come again after a second, as from any client, and be all of the result.
const UNANSWERED: usize = 64;
/// Clients that come over streams, one connection for each request, as `kinit` does.
const STREAMS: usize = 8;
/// A sleeping thread wakes up late by less than this.
const WAKE: Duration = Duration::from_micros(200);
/// No measurement takes this long.
const LIMIT: Duration = Duration::from_secs(60);
/// More than any reply here has.
const ROOM: usize = 8192;

/// First octet of a good answer.
#[derive(Clone, Copy, Debug)]
pub enum Good {
    /// AS-REP.
    As = 0x6b,
    /// TGS-REP.
    Tgs = 0x6d,
}

/// Requests that are all to be granted.
#[derive(Debug)]
pub struct Load {
    /// The requests.
    pub requests: Vec<Vec<u8>>,
    /// What grants them.
    pub good: Good,
}

impl Load {
    /// Requests per second by datagrams, with [`CLIENTS`] always waiting for an answer.
    pub fn rate(&self, server: SocketAddr) -> Result<f64> {
        self.timed(async |next| try_join_all((0..CLIENTS).map(|_| self.datagrams(server, next))).await)
    }

    /// Requests per second by streams.
    pub fn rate_of_streams(&self, server: SocketAddr) -> Result<f64> {
        self.timed(async |next| try_join_all((0..STREAMS).map(|_| self.streams(server, next))).await)
    }

    fn timed(&self, work: impl AsyncFnOnce(&AtomicUsize) -> Result<Vec<()>>) -> Result<f64> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        let ended = runtime.block_on(async { tokio::time::timeout(LIMIT, work(&next)).await });
        ended.with_context(|| format!("no answers for a minute ({})", lost_here()))??;
        Ok(self.requests.len() as f64 / begun.elapsed().as_secs_f64())
    }

    async fn datagrams(&self, server: SocketAddr, next: &AtomicUsize) -> Result<()> {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await?;
        socket.connect(server).await?;
        let mut reply = vec![0; ROOM];
        while let Some(request) = self.requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            socket.send(request).await?;
            let length = socket.recv(&mut reply).await?;
            self.check(reply.get(..length).unwrap_or_default())?;
        }
        Ok(())
    }

    async fn streams(&self, server: SocketAddr, next: &AtomicUsize) -> Result<()> {
        while let Some(request) = self.requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut stream = TcpStream::connect(server).await?;
            let length = u32::try_from(request.len())?;
            stream.write_all(&[&length.to_be_bytes(), request.as_slice()].concat()).await?;
            let mut reply = vec![0; stream.read_u32().await?.try_into()?];
            stream.read_exact(&mut reply).await?;
            self.check(&reply)?;
        }
        Ok(())
    }

    /// Milliseconds from when each request should have been sent to its answer, with `rate` requests per second at random moments, whether or
    /// not others are answered yet: whoever is late makes the next ones late too, and nobody gets less to do for being slow. Sleeps only
    /// while nothing is awaited, so it needs a core of its own.
    pub fn latencies(&self, server: SocketAddr, rate: f64) -> Result<Vec<f64>> {
        let mut clients = Clients::new(server)?;
        let mut latencies = Vec::with_capacity(self.requests.len());
        let (mut due, mut requests) = (Instant::now(), self.requests.iter());
        let mut waiting = requests.next();
        let mut random = 1u32;
        while latencies.len() < self.requests.len() {
            let now = Instant::now();
            if let (Some(request), true) = (waiting, now >= due)
                && clients.send(request, due)?
            {
                waiting = requests.next();
                due += gap(&mut random, rate);
            }
            while let Some((reply, late)) = clients.receive()? {
                self.check(&reply)?;
                latencies.push(late.as_secs_f64() * 1e3);
            }
            if now.duration_since(due) >= LIMIT {
                bail!("{server} left {} of {} requests without an answer ({})", clients.busy.len(), self.requests.len(), lost_here());
            }
            if clients.busy.is_empty()
                && let Some(pause) = due.checked_duration_since(Instant::now() + WAKE)
            {
                std::thread::sleep(pause);
            }
        }
        Ok(latencies)
    }

    fn check(&self, reply: &[u8]) -> Result<()> {
        if reply.first() == Some(&(self.good as u8)) {
            return Ok(());
        }
        bail!("the KDC refused: {}", String::from_utf8_lossy(reply))
    }
}

/// What this namespace's kernel has dropped of datagrams, for who looks for a lost one.
fn lost_here() -> String {
    let counters = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap_or_default();
    let lines = counters.lines().filter(|line| line.starts_with("Udp6") && line.contains("Errors"));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}

/// Time between two requests that know nothing of each other; `random` is the state of a linear congruence.
fn gap(random: &mut u32, rate: f64) -> Duration {
    *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let uniform = (f64::from(*random >> 8) + 1.0) / f64::from(1u32 << 24);
    Duration::from_secs_f64(-uniform.ln() / rate)
}

/// Sockets with at most one request each.
struct Clients {
    idle: Vec<std::net::UdpSocket>,
    busy: VecDeque<(std::net::UdpSocket, Instant)>,
    room: Vec<u8>,
}

impl Clients {
    fn new(server: SocketAddr) -> Result<Self> {
        let client = || -> Result<_> {
            let socket = std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0))?;
            socket.connect(server)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self { idle: (0..UNANSWERED).map(|_| client()).collect::<Result<_>>()?, busy: VecDeque::new(), room: vec![0; ROOM] })
    }

    /// `false` when all sockets wait for answers.
    fn send(&mut self, request: &[u8], due: Instant) -> Result<bool> {
        let Some(socket) = self.idle.pop() else { return Ok(false) };
        socket.send(request)?;
        self.busy.push_back((socket, due));
        Ok(true)
    }

    /// Looks at the socket that has not been looked at for longest.
    fn receive(&mut self) -> Result<Option<(Vec<u8>, Duration)>> {
        let Some((socket, due)) = self.busy.pop_front() else { return Ok(None) };
        match socket.recv(&mut self.room) {
            Ok(length) => {
                let late = due.elapsed();
                self.idle.push(socket);
                Ok(Some((self.room.get(..length).unwrap_or_default().to_vec(), late)))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.busy.push_back((socket, due));
                Ok(None)
            }
            Err(error) => Err(error).context("receiving"),
        }
    }
}
