//! From a name look-up to the first octet that TCP can carry, where no tunnel is up: what a person waits for.
//!
//! Two homes behind routers, at no delay and at 50 ms one way between any two places. The bound is two and a half IKE round trips,
//! one round trip of TCP, and 50 ms of work of our own. Measured to the moment the caller may send its first octet; the first octet of
//! a server that speaks first takes one more round trip, and is told beside it. Needs a kernel with ESP and netem.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::account::{self, Account, ZONE, btmm, inner, retransmitted};
use crate::figures::{self, Figure, median};
use crate::lab::{Options, TwoHomes, finish};

/// Rounds that count at each delay; one more goes before them.
const ROUNDS: usize = 5;
/// One-way delays.
const DELAYS: [Duration; 2] = [Duration::ZERO, Duration::from_millis(50)];
/// Round trips allowed: IKE and then TCP.
const ROUND_TRIPS: f64 = 2.5 + 1.0;
/// Work of our own that is allowed beside them, in milliseconds.
const OWN_WORK: f64 = 50.0;
/// Port of the server that speaks first.
const PORT: u16 = 7;

/// Runs the benchmark.
pub fn run(json: bool) -> Result<()> {
    let mut results = Vec::new();
    for delay in DELAYS {
        results.extend(measure(delay)?);
    }
    figures::tell("connect", &results, json)
}

fn measure(delay: Duration) -> Result<Vec<Figure>> {
    let homes = TwoHomes::with(&Options { delay, ..Options::default() })?;
    let _daemons = Account::found(&homes)?;
    let address = inner(&homes.imac)?;
    serve(&homes, address)?;
    let (mut waits, mut spoken, mut trips, mut again) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..=ROUNDS {
        // The goodbyes of the round before: cut off, they would raise the tunnel again by themselves.
        std::thread::sleep(4 * delay + Duration::from_millis(200));
        no_tunnel(&homes)?;
        // Counted around the connection only: the goodbyes of the round before may have been cut off with its tunnel.
        let before = retransmitted(&homes.laptop)?;
        let wait = connect(&homes)?;
        again += retransmitted(&homes.laptop)? - before;
        let trip = connect_again(&homes, address)?;
        if round > 0 {
            waits.push(wait.connected);
            spoken.push(wait.spoken);
            trips.push(trip.connected);
        }
    }
    let (wait, spoken, trip) = (median(waits), median(spoken), median(trips));
    let travel = delay.as_secs_f64() * 2e3;
    let work = wait - 3.0 * travel;
    let bound = ROUND_TRIPS * travel + OWN_WORK;
    let name = |what: &str| format!("connect-{}ms{what}", delay.as_millis());
    Ok(vec![
        Figure::less(name(""), wait, "ms", bound),
        Figure::less(name("-own-work-ms"), work, "ms", OWN_WORK),
        Figure::less(name("-tunnel-up-ms"), trip, "ms", wait),
        Figure::less(name("-server-speaks-ms"), spoken, "ms", bound + travel),
        // None is allowed.
        Figure { name: name("-segments-sent-again"), value: again as f64, unit: "segments", baseline: 0.0, ratio: f64::from(again == 0) },
    ])
}

/// Answers every connection with one octet, until the process ends.
fn serve(homes: &TwoHomes, address: Ipv6Addr) -> Result<()> {
    let listener = homes.imac.enter(|| TcpListener::bind((address, PORT)))??;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that has gone needs no octet.
            let _ = stream.and_then(|mut stream| stream.write_all(b"!"));
        }
    });
    Ok(())
}

fn no_tunnel(homes: &TwoHomes) -> Result<()> {
    finish(btmm(&homes.laptop, &["off"]))?;
    account::wait_no_states(&homes.laptop)?;
    account::wait_no_states(&homes.imac)?;
    finish(btmm(&homes.laptop, &["on"]))?;
    // The switch publishes and looks again: that is not what is measured.
    account::wait_online(&homes.laptop, "imac")?;
    std::thread::sleep(Duration::from_secs(2));
    for machine in [&homes.laptop, &homes.imac] {
        let states = machine.run("ip xfrm state")?.out;
        ensure!(states.is_empty(), "something else has raised the tunnel of {}:\n{states}", machine.name());
    }
    Ok(())
}

/// Milliseconds since the look-up began.
struct Wait {
    /// The caller may send.
    connected: f64,
    /// The server was heard.
    spoken: f64,
}

fn connect(homes: &TwoHomes) -> Result<Wait> {
    let target = format!("imac.{ZONE}:{PORT}");
    homes.laptop.enter(|| wait_for(|| TcpStream::connect(target.as_str())))?
}

/// With the tunnel up and no look-up: the path's own time.
fn connect_again(homes: &TwoHomes, address: Ipv6Addr) -> Result<Wait> {
    homes.laptop.enter(|| wait_for(|| TcpStream::connect((address, PORT))))?
}

fn wait_for(connect: impl FnOnce() -> std::io::Result<TcpStream>) -> Result<Wait> {
    let begun = Instant::now();
    let since = || begun.elapsed().as_secs_f64() * 1e3;
    let mut stream = connect().context("connecting")?;
    let connected = since();
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut octet = [0];
    stream.read_exact(&mut octet)?;
    let spoken = since();
    ensure!(octet == *b"!", "the server said {octet:?}");
    ensure!(stream.read(&mut octet)? == 0, "the server said more");
    Ok(Wait { connected, spoken })
}
