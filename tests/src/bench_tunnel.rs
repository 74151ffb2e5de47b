//! Throughput of TCP over our tunnel, over the same states set up by hand with `ip xfrm`, and over kernel WireGuard.
//!
//! Each of the three has two machines of its own on a wire of its own; rounds go through all three in turn, so that whatever else
//! the host does falls on all of them alike. Needs a kernel with ESP and WireGuard: `cargo xtask bench tunnel` brings one, in a machine whose
//! clock counts instructions, so that the figures are of the code and not of the host's load.
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::account::{Couple, inner};
use crate::figures::{self, Figure, median};
use crate::lab::{Node, finish};
use crate::pair::{Outer, Pair};

/// Rounds that count; one more goes before them, to warm up.
const ROUNDS: usize = 9;
/// How long one stream runs.
const STREAM: Duration = Duration::from_millis(600);
/// How long connecting or the last octets may take.
const LIMIT: Duration = Duration::from_secs(30);

/// A way from one machine to another that a stream can take.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// Where the stream starts.
    pub sender: &'a Node,
    /// Where it ends.
    pub receiver: &'a Node,
    /// The receiver's address on this path.
    pub address: Ipv6Addr,
}

/// Runs the benchmark: ours is the tunnel between two daemons, gate, guard and waiting room included.
pub fn run(json: bool) -> Result<()> {
    load_fast_ciphers();
    let couple = Couple::new()?;
    let address = inner(&couple.base)?;
    compare(Path { sender: &couple.machine, receiver: &couple.base, address }, json)
}

/// Loads what udev loads on any machine whose processor has AES: without it the kernel does AES-GCM in plain C. The lab has no udev.
fn load_fast_ciphers() {
    // Elsewhere than on x86 there is none of that name, and nothing to do.
    let _ = Command::new("modprobe").args(["-qa", "aesni_intel", "ghash_clmulni_intel"]).stderr(Stdio::null()).status();
}

/// Compares a tunnel that is up with both baselines and prints the figures: one line of JSON, after a table unless only `json` is asked for.
pub fn compare(ours: Path<'_>, json: bool) -> Result<()> {
    let (by_hand, wireguard) = (Pair::new(Outer::V4)?, Pair::new(Outer::V4)?);
    let by_hand_address = set_up_by_hand(&by_hand)?;
    let wireguard_address = set_up_wireguard(&wireguard)?;
    let paths = [
        ours,
        Path { sender: &by_hand.left.node, receiver: &by_hand.right.node, address: by_hand_address },
        Path { sender: &wireguard.left.node, receiver: &wireguard.right.node, address: wireguard_address },
    ];
    let mut samples = [vec![], vec![], vec![]];
    for round in 0..=ROUNDS {
        // Each round begins with another path, so that none always follows the same one.
        for turn in 0..paths.len() {
            let index = (round + turn) % paths.len();
            let rate = stream(&paths[index])?;
            if round > 0 {
                samples[index].push(rate);
            }
        }
    }
    if !json {
        spread(&samples);
    }
    let [ours, by_hand, wireguard] = samples.map(|rates| median(rates) / 1e6);
    let results = [("throughput-vs-handmade", by_hand), ("throughput-vs-wireguard", wireguard)];
    figures::tell("tunnel", &results.map(|(name, theirs)| Figure::more(name, ours, "Mbit/s", theirs)), json)
}

/// Says how far the rounds lie apart, for the reader to judge what a ratio is worth.
fn spread(samples: &[Vec<f64>; 3]) {
    for (name, samples) in ["ours", "by hand", "WireGuard"].iter().zip(samples) {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |quarter: usize| sorted.get(quarter * sorted.len().saturating_sub(1) / 4).map_or(0.0, |rate| rate / 1e6);
        println!("{name:10} quartiles of the rounds: {:.1} {:.1} {:.1} {:.1} {:.1} Mbit/s", at(0), at(1), at(2), at(3), at(4));
    }
}

/// Bits per second of one TCP stream, by the receiver's clock from its first octet to its last.
fn stream(path: &Path<'_>) -> Result<f64> {
    let listener = path.receiver.enter(|| TcpListener::bind((path.address, 0)))?.context("listening")?;
    let to = listener.local_addr()?;
    let mut sender = path.sender.enter(|| TcpStream::connect_timeout(&to, LIMIT))?.with_context(|| format!("connecting to {to}"))?;
    sender.set_write_timeout(Some(LIMIT))?;
    let (mut receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(LIMIT))?;
    let sending = std::thread::spawn(move || -> std::io::Result<()> {
        let (begin, chunk) = (Instant::now(), vec![0x42; 128 << 10]);
        while begin.elapsed() < STREAM {
            sender.write_all(&chunk)?;
        }
        Ok(())
    });
    let mut chunk = vec![0; 256 << 10];
    let mut total = receiver.read(&mut chunk)?;
    let begin = Instant::now();
    loop {
        match receiver.read(&mut chunk)? {
            0 => break,
            count => total += count,
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    sending.join().map_err(|_| anyhow!("the sender panicked"))??;
    ensure!(total > 0, "nothing arrived");
    Ok(total as f64 * 8.0 / seconds)
}

/// The same interface, policies and states as ours, by `ip` alone: no guard, no daemon. The encapsulation sockets are the pair's.
fn set_up_by_hand(pair: &Pair) -> Result<Ipv6Addr> {
    let key = format!("0x{}", "5a".repeat(36));
    let (left, right) = (&pair.left, &pair.right);
    for (end, peer, spi_in, spi_out) in [(left, right, 1, 2), (right, left, 2, 1)] {
        let (inner, far, near_outer, far_outer) = (end.network.address, peer.network.address, end.outer, peer.outer);
        let state = |from, to, spi, inner_from, inner_to| {
            format!(
                "xfrm state add src {from} dst {to} proto esp spi 0x1000000{spi} reqid 1 mode tunnel if_id 0x62746d6d flag af-unspec \
                 flag esn replay-window 1024 aead rfc4106(gcm(aes)) {key} 128 encap espinudp 4500 4500 0.0.0.0 \
                 sel src {inner_from}/128 dst {inner_to}/128"
            )
        };
        let (out, into) = (state(near_outer, far_outer, spi_out, inner, far), state(far_outer, near_outer, spi_in, far, inner));
        end.node.ip(&format!(
            "link add byhand0 type xfrm if_id 0x62746d6d\nlink set byhand0 mtu {mtu} up\naddress add {inner}/128 dev byhand0 nodad\n\
             route add {far}/128 dev byhand0 src {inner}\n\
             xfrm policy add src {inner}/128 dst {far}/128 dir out if_id 0x62746d6d tmpl src {near_outer} dst {far_outer} proto esp reqid 1 mode tunnel\n\
             xfrm policy add src {far}/128 dst {inner}/128 dir in if_id 0x62746d6d tmpl proto esp reqid 1 mode tunnel\n{out}\n{into}",
            mtu = end.network.mtu
        ))?;
    }
    Ok(right.network.address)
}

/// WireGuard between the same addresses; its own MTU for this wire.
fn set_up_wireguard(pair: &Pair) -> Result<Ipv6Addr> {
    let script = |node: &Node, script: &str| {
        let mut command = node.foreign("sh");
        command.args(["-ec", script]);
        finish(command).map(|finished| finished.out.trim().to_owned())
    };
    let public = |node: &Node| script(node, "umask 077; wg genkey > /run/wg.key; wg pubkey < /run/wg.key");
    let (left, right) = (&pair.left, &pair.right);
    let (left_key, right_key) = (public(&left.node)?, public(&right.node)?);
    for (end, peer, key) in [(left, right, right_key), (right, left, left_key)] {
        let (inner, far, outer) = (end.network.address, peer.network.address, peer.outer);
        end.node.ip(&format!("link add wg0 type wireguard\naddress add {inner}/128 dev wg0 nodad"))?;
        let peer = format!("wg set wg0 private-key /run/wg.key listen-port 51820 peer {key} allowed-ips {far}/128 endpoint {outer}:51820");
        script(&end.node, &peer)?;
        end.node.ip(&format!("link set wg0 mtu 1420 up\nroute add {far}/128 dev wg0 src {inner}"))?;
    }
    Ok(right.network.address)
}
