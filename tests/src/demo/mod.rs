//! `cargo xtask demo`: the main job end to end, told line by line as it happens. Any surprise is an error.

mod story;

use std::net::Ipv6Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use nix::sys::signal::Signal;

use crate::account::{self, Account, ask, btmm, eventually, inner, is_up, retransmitted, start};
use crate::lab::{Capture, Kind, Node, Packet, Running, Seen, TwoHomes, finish};
use story::Story;

/// Bytes that occur in the file and nowhere else: seen on the internet, they are cleartext.
const MARKER: &[u8] = b"btmm-demo-cleartext-marker";
/// UDP and TCP.
const PORT: u16 = 4500;

/// A tunnel whose peer does not answer is given up after 47 s: it must follow long before.
const ROAMING_MAX: Duration = Duration::from_secs(20);

/// What the demo moves.
pub struct Options {
    /// Size of the file, in MB.
    pub megabytes: usize,
}

/// Tells the whole story.
pub fn run(options: &Options) -> Result<()> {
    let mut story = Story::new();
    let homes = TwoHomes::new()?;
    story.tell("two homes behind routers that masquerade and speak NAT-PMP (miniupnpd), a base at 203.0.113.10, one internet");
    let capture = homes.capture()?;
    let mut cast = join(&mut story, &homes)?;
    let told = acts(&mut story, &homes, &mut cast, options);
    if told.is_err() {
        for (node, daemon) in [(&homes.base, &cast.base), (&homes.imac, &cast.imac), (&homes.laptop, &cast.laptop)] {
            eprintln!("─── btmmd on {}\n{}", node.name(), last_lines(&daemon.log(), 60));
            for words in [["status", "--json"], ["firewall", "status"]] {
                // A daemon that is dead at this point is part of the picture.
                eprintln!(
                    "─── btmm {}\n{}",
                    words.join(" "),
                    finish(btmm(node, &words)).map_or_else(|error| error.to_string(), |said| said.out)
                );
            }
        }
    }
    told?;
    judge(&mut story, &homes, capture)?;
    story.end();
    Ok(())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn acts(story: &mut Story, homes: &TwoHomes, cast: &mut Account, options: &Options) -> Result<()> {
    let file = publish_file(&homes.imac, options.megabytes)?;
    let _server = serve(&homes.imac)?;
    fetch_by_name(story, homes, &file)?;
    first_packet_to_bare_address(story, homes)?;
    block_and_allow(story, homes, cast)?;
    deaths(story, homes, cast, &file)?;
    roam(story, homes)?;
    switch_off(story, homes)
}

fn join(story: &mut Story, homes: &TwoHomes) -> Result<Account> {
    let cast = Account { base: start(&homes.base)?, imac: start(&homes.imac)?, laptop: start(&homes.laptop)? };
    story.tell("btmmd runs on base, imac and laptop; none is in an account");
    ask(&homes.base, &["account", "create", "alice", "--machine", "base", "--serve"])?;
    story.tell("base$ btmm account create alice --machine base --serve");
    for node in [&homes.imac, &homes.laptop] {
        account::invite_and_join(&homes.base, node)?;
        story.tell(&format!("base$ btmm invite   →   {}$ btmm join CODE", node.name()));
        account::resolve_by_stub(node)?;
    }
    account::wait_online(&homes.laptop, "imac")?;
    account::wait_online(&homes.imac, "laptop")?;
    story.tell("laptop$ btmm machines");
    story.show(&finish(btmm(&homes.laptop, &["machines"]))?.out);
    let mapped = homes.router_a.mappings()?;
    ensure!(!mapped.is_empty(), "the router of imac's home forwards nothing");
    ensure!(!is_up(&homes.laptop, "imac")?, "a tunnel is up that nobody asked for");
    story.tell("both routers forward UDP 4500; no tunnel is up, for nobody has asked for one");
    Ok(cast)
}

struct File {
    sha256: String,
    bytes: usize,
}

fn publish_file(imac: &Node, megabytes: usize) -> Result<File> {
    let bytes = megabytes * 1_000_000;
    let mut content = Vec::with_capacity(bytes);
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    while content.len() < bytes {
        if content.len() % 65_536 == 0 {
            content.extend_from_slice(MARKER);
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(bytes);
    imac.write("/run/www/file", &content)?;
    imac.write("/run/www/small", MARKER)?;
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    Ok(File { sha256: hex(sha256.as_ref()), bytes })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A real web server that listens on the inner address and no other.
fn serve(imac: &Node) -> Result<Running> {
    let address = inner(imac)?;
    let mut command = imac.foreign("python3");
    command.args(["-u", "-m", "http.server", "--bind", &address.to_string(), "--directory", "/run/www", "80"]);
    let mut server = imac.spawn(command)?;
    server.wait_for("Serving HTTP", account::PATIENCE)?;
    Ok(server)
}

fn curl(node: &Node, url: &str) -> Command {
    let mut command = node.foreign("curl");
    command.args(["--silent", "--show-error", "--fail", "--globoff", "--max-time", "120", url]);
    command
}

fn fetch_by_name(story: &mut Story, homes: &TwoHomes, file: &File) -> Result<()> {
    let url = format!("http://imac.{}/file", account::ZONE);
    let mut command = curl(&homes.laptop, &url);
    command.args(["--output", "/run/fetched", "--write-out", "%{time_namelookup} %{time_connect} %{time_starttransfer} %{time_total}"]);
    let before = retransmitted(&homes.laptop)?;
    let times = finish(command)?.out;
    let times: Vec<f64> = times.split_whitespace().map(str::parse).collect::<Result<_, _>>().context("curl's times")?;
    let [lookup, connect, first, total] = times[..] else { anyhow::bail!("curl told {times:?}") };
    check_fetched(homes, file)?;
    story.tell(&format!("laptop$ curl {url}   {} bytes, SHA-256 right", file.bytes));
    story.tell(&format!(
        "  name answered (tunnel made) after {:.0} ms, connected {:.0} ms, first byte {:.0} ms, all after {total:.1} s ({:.1} MB/s)",
        lookup * 1e3,
        connect * 1e3,
        first * 1e3,
        file.bytes as f64 / 1e6 / (total - first),
    ));
    let again = retransmitted(&homes.laptop)? - before;
    story.tell(&format!("  segments that laptop sent again: {again}"));
    ensure!(is_up(&homes.laptop, "imac")?, "the file came, but laptop shows no tunnel");
    let states = homes.laptop.run("ip -s xfrm state")?.out;
    for wanted in ["encap type espinudp", "rfc4106(gcm(aes))"] {
        ensure!(states.contains(wanted), "no {wanted:?} among the kernel's states:\n{states}");
    }
    story.tell("laptop$ ip xfrm state");
    story.show(&without_keys(&homes.laptop.run("ip xfrm state")?.out));
    Ok(())
}

fn check_fetched(homes: &TwoHomes, file: &File) -> Result<()> {
    let fetched = std::fs::read(homes.laptop.path("/run/fetched"))?;
    let sha256 = hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &fetched).as_ref());
    ensure!(fetched.len() == file.bytes && sha256 == file.sha256, "the file came with {} bytes and SHA-256 {sha256}", fetched.len());
    Ok(())
}

/// The states as shown, keys left out even though they are a demo's.
fn without_keys(states: &str) -> String {
    let line = |line: &str| match line.trim_start().strip_prefix("aead ") {
        Some(rest) => format!("\taead {} (key not shown)", rest.split_whitespace().next().unwrap_or_default()),
        None => line.to_owned(),
    };
    states.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// No name look-up: the first packet itself raises the tunnel, and is not lost.
fn first_packet_to_bare_address(story: &mut Story, homes: &TwoHomes) -> Result<()> {
    let target = inner(&homes.imac)?;
    finish(btmm(&homes.laptop, &["off"]))?;
    account::wait_no_states(&homes.laptop)?;
    account::wait_no_states(&homes.imac)?;
    finish(btmm(&homes.laptop, &["on"]))?;
    let before = retransmitted(&homes.laptop)?;
    let begun = Instant::now();
    let fetched = finish(curl(&homes.laptop, &format!("http://[{target}]/small")))?;
    let took = begun.elapsed();
    ensure!(fetched.out.as_bytes() == MARKER, "the small file came as {:?}", fetched.out);
    let again = retransmitted(&homes.laptop)? - before;
    ensure!(again == 0, "{again} segments had to be sent again: the first packet was lost");
    story.tell(&format!(
        "laptop$ curl http://[{target}]/small   by bare address, no tunnel: {} ms, no segment sent twice",
        took.as_millis()
    ));
    Ok(())
}

fn reachable(homes: &TwoHomes, target: Ipv6Addr) -> bool {
    homes.laptop.ping(&target.to_string(), 1).is_ok()
}

/// The switch is obeyed in the kernel: with the daemon stopped, and with the daemon dead.
fn block_and_allow(story: &mut Story, homes: &TwoHomes, cast: &mut Account) -> Result<()> {
    let target = inner(&homes.imac)?;
    cast.laptop.signal(Signal::SIGSTOP)?;
    ensure!(reachable(homes, target), "the tunnel needs its daemon for every packet");
    story.tell("laptop: btmmd stopped (SIGSTOP); the tunnel carries on in the kernel");
    finish(btmm(&homes.laptop, &["firewall", "block"]))?;
    ensure!(!passes(homes, target)?, "a packet passed a blocked firewall");
    story.tell("laptop$ btmm firewall block   → the next packet is dropped; none left the house");
    finish(btmm(&homes.laptop, &["firewall", "allow"]))?;
    ensure!(reachable(homes, target), "still blocked after `btmm firewall allow`");
    story.tell("laptop$ btmm firewall allow   → it flows again");
    finish(btmm(&homes.laptop, &["firewall", "block"]))?;
    kill(&mut cast.laptop)?;
    ensure!(!passes(homes, target)?, "a packet passed a blocked firewall after its daemon had died");
    cast.laptop = start(&homes.laptop)?;
    ensure!(!passes(homes, target)?, "a packet passed a blocked firewall after its daemon had come back");
    story.tell("laptop: blocked, btmmd killed (-9), started again: still nothing leaves the house");
    finish(btmm(&homes.laptop, &["firewall", "allow"]))?;
    Ok(())
}

/// Whether an echo request is answered, or anything of ours leaves home B while it is tried.
fn passes(homes: &TwoHomes, target: Ipv6Addr) -> Result<bool> {
    let capture = homes.capture()?;
    let answered = reachable(homes, target);
    let seen = capture.stop()?;
    Ok(answered || seen.packets.iter().any(from_home_b))
}

fn from_home_b(packet: &Packet) -> bool {
    let udp = matches!(packet.kind(), Kind::Udp(from, to) if from == PORT || to == PORT);
    udp && packet.addresses().is_some_and(|(from, _)| from == std::net::IpAddr::V4(TwoHomes::ROUTER_B))
}

fn kill(daemon: &mut Running) -> Result<()> {
    daemon.signal(Signal::SIGKILL)?;
    daemon.wait(account::PATIENCE)?;
    Ok(())
}

/// Deaths and resurrections of either daemon, with traffic going on.
fn deaths(story: &mut Story, homes: &TwoHomes, cast: &mut Account, file: &File) -> Result<()> {
    fetch_again(homes, file).context("after laptop's daemon came back")?;
    story.tell("laptop: allowed; a new tunnel, the file again, SHA-256 right");
    let mut talk = Talk::begin(homes)?;
    kill(&mut cast.imac)?;
    cast.imac = start(&homes.imac)?;
    let back = talk.goes_on().context("imac's daemon was killed and started")?.as_secs_f64();
    talk.end(homes)?;
    story
        .tell(&format!("imac: btmmd killed (-9) while two programs talk, and started again: the TCP connection goes on after {back:.1} s"));
    Ok(())
}

/// Says a line over one TCP connection ten times a second, for as long as every line comes back.
const TALKER: &str = "
import os, socket, sys, time
c = socket.create_connection((sys.argv[1], 7))
c.settimeout(60)
said = 0
while not os.path.exists('/run/enough'):
    c.sendall(b'x' * 100)
    heard = 0
    while heard < 100:
        got = c.recv(100 - heard)
        assert got, 'the other end has closed'
        heard += len(got)
    said += 1
    print(said, flush=True)
    time.sleep(0.1)
";
/// Says it back.
const ECHO: &str = "
import socket, sys
s = socket.create_server((sys.argv[1], 7), family=socket.AF_INET6)
print('listens', flush=True)
c, _ = s.accept()
while got := c.recv(4096):
    c.sendall(got)
";

/// Two programs that talk to each other over one TCP connection.
struct Talk {
    talker: Running,
    _echo: Running,
}

impl Talk {
    fn begin(homes: &TwoHomes) -> Result<Self> {
        homes.laptop.run("rm -f /run/enough")?;
        let address = inner(&homes.imac)?.to_string();
        let python = |node: &Node, script: &str| {
            let mut command = node.foreign("python3");
            command.args(["-u", "-c", script, &address]);
            node.spawn(command)
        };
        let mut echo = python(&homes.imac, ECHO)?;
        echo.wait_for("listens", account::PATIENCE)?;
        let mut talk = Self { talker: python(&homes.laptop, TALKER)?, _echo: echo };
        talk.goes_on()?;
        Ok(talk)
    }

    fn lines(&self) -> u64 {
        self.talker.log().lines().filter_map(|line| line.trim().parse().ok()).max().unwrap_or(0)
    }

    /// How long it takes until five more lines came back.
    fn goes_on(&mut self) -> Result<Duration> {
        let (begun, before) = (Instant::now(), self.lines());
        eventually("five more lines", || {
            ensure!(self.talker.is_running(), "the connection broke: {}", self.talker.log());
            Ok((self.lines() >= before + 5).then_some(()))
        })?;
        Ok(begun.elapsed())
    }

    fn end(mut self, homes: &TwoHomes) -> Result<u64> {
        homes.laptop.write("/run/enough", "")?;
        let status = self.talker.wait(account::PATIENCE)?;
        ensure!(status.success(), "the connection broke: {}", self.talker.log());
        Ok(self.lines())
    }
}

/// The laptop visits imac's home and goes home again, while two programs talk.
fn roam(story: &mut Story, homes: &TwoHomes) -> Result<()> {
    let mut talk = Talk::begin(homes)?;
    homes.visit()?;
    let (path, goes_on) = (leads_to(homes, TwoHomes::IMAC).context("in imac's own network")?, talk.goes_on()?);
    let path = path.as_secs_f64();
    story.tell(&format!("laptop: carried to imac's home; the tunnel leads through that network after {path:.1} s"));
    homes.return_home()?;
    let (path, back) = (leads_to(homes, TwoHomes::ROUTER_A).context("at home again")?, talk.goes_on()?);
    let path = path.as_secs_f64();
    story.tell(&format!("laptop: carried home; the tunnel leads through imac's router after {path:.1} s"));
    let lines = talk.end(homes)?;
    let [goes_on, back] = [goes_on, back].map(|time| time.as_secs_f64());
    story.tell(&format!(
        "  one TCP connection all the time: {lines} lines and their echoes, five more {goes_on:.1} s and {back:.1} s after that"
    ));
    Ok(())
}

/// How long it takes until the laptop sends its packets for imac there.
fn leads_to(homes: &TwoHomes, outer: std::net::Ipv4Addr) -> Result<Duration> {
    let begun = Instant::now();
    let wanted = format!("dst {outer}");
    eventually(&format!("states with {wanted}"), || Ok(homes.laptop.run("ip xfrm state")?.out.contains(&wanted).then_some(())))?;
    let took = begun.elapsed();
    ensure!(took < ROAMING_MAX, "it took {:.1} s, as if the tunnel had died and been made anew", took.as_secs_f64());
    let said = ask(&homes.laptop, &["ping", "imac", "-c", "1"])?;
    ensure!(said["pong"]["remote"].as_str().is_some_and(|at| at.starts_with(&format!("{outer}:"))), "btmm ping says otherwise: {said}");
    Ok(took)
}

fn fetch_again(homes: &TwoHomes, file: &File) -> Result<()> {
    let url = format!("http://imac.{}/file", account::ZONE);
    eventually("the file again", || {
        let mut command = curl(&homes.laptop, &url);
        command.args(["--output", "/run/fetched"]);
        Ok(finish(command).ok())
    })?;
    check_fetched(homes, file)
}

fn switch_off(story: &mut Story, homes: &TwoHomes) -> Result<()> {
    finish(btmm(&homes.laptop, &["off"]))?;
    account::wait_no_states(&homes.laptop)?;
    let target = inner(&homes.imac)?;
    ensure!(finish(curl(&homes.laptop, &format!("http://imac.{}/small", account::ZONE))).is_err(), "a name was answered while off");
    ensure!(!reachable(homes, target), "a packet got through while off");
    story.tell("laptop$ btmm off   → names fail, packets go nowhere, no states are left");
    Ok(())
}

fn judge(story: &mut Story, homes: &TwoHomes, capture: Capture) -> Result<()> {
    let prefix = inner(&homes.imac)?;
    let seen = capture.stop()?;
    let clear = seen.containing(MARKER).len() + seen.naming_prefix(prefix).len();
    // A machine whose daemon was killed says so to its peer (ICMP port unreachable): that is the kernel, and quotes ciphertext only.
    let (unreachable, beside): (Vec<_>, Vec<_>) = seen.beside_port(PORT).into_iter().partition(|packet| packet.kind() == Kind::Icmp(3));
    let beside: Vec<String> = beside.iter().map(|packet| format!("{:?} {:?}", packet.kind(), packet.addresses())).collect();
    story.tell(&format!("the internet saw {} packets: {}", seen.packets.len(), kinds(&seen)));
    ensure!(clear == 0, "{clear} packets in clear");
    ensure!(beside.is_empty(), "{} packets that are neither UDP nor TCP {PORT}: {:?}", beside.len(), beside.first());
    story.tell(&format!(
        "packets in clear, from first to last: 0; packets beside UDP and TCP 4500: 0 (and {} ICMP \"port unreachable\" of killed daemons)",
        unreachable.len()
    ));
    Ok(())
}

fn kinds(seen: &Seen) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for packet in &seen.packets {
        let kind = match packet.kind() {
            Kind::Udp(..) => "UDP 4500",
            Kind::Tcp(..) => "TCP 4500",
            Kind::Arp | Kind::Neighbour | Kind::Igmp => "ARP and neighbours",
            _ => "other",
        };
        *counts.entry(kind).or_insert(0) += 1;
    }
    counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect::<Vec<_>>().join(", ")
}
