//! What was really sent: a capture on the internet, and the questions asked of it.
use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::last_frame::LastFrame;
use super::packet::{Kind, Packet, read_pcap};
use super::{Node, Running};

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Running,
    file: PathBuf,
    last: LastFrame,
}

impl Capture {
    /// Starts to capture whole frames at an interface of a node, and waits until it really does.
    pub fn start(node: &Node, interface: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("btmm-lab-{}-{number}.pcap", std::process::id()));
        let mut command = node.command("tcpdump");
        command.args(["-i", interface, "-n", "-s", "0", "-B", "65536", "-U", "-Z", "root", "-w"]).arg(&file);
        let mut tcpdump = node.spawn(command)?;
        tcpdump.wait_for("listening on", Duration::from_secs(30))?;
        let last = node.enter(|| LastFrame::new(interface))??;
        Ok(Self { tcpdump, file, last })
    }

    /// What was captured so far, while it goes on. A frame of the last moments may be missing.
    pub fn so_far(&self) -> Result<Seen> {
        Seen::read(&self.file)
    }

    /// Ends the capture.
    ///
    /// The kernel hands frames over in blocks, up to a second or two late, and what it still holds is lost when tcpdump ends. A frame of
    /// our own goes last: once that one is in the file, so is everything before it.
    pub fn stop(mut self) -> Result<Seen> {
        self.last.send()?;
        let until = Instant::now() + Duration::from_secs(60);
        while !self.ends_with_last()? {
            ensure!(self.tcpdump.is_running(), "tcpdump ended by itself:\n{}", self.tcpdump.log());
            ensure!(Instant::now() < until, "the capture does not see its own frame:\n{}", self.tcpdump.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.tcpdump.signal(Signal::SIGINT)?;
        self.tcpdump.wait(Duration::from_secs(30))?;
        let log = self.tcpdump.log();
        ensure!(log.contains("\n0 packets dropped by kernel"), "the capture is not whole:\n{log}");
        Seen::read(&self.file)
    }

    fn ends_with_last(&self) -> Result<bool> {
        const ENOUGH: u64 = 256 * 1024;
        let mut file = std::fs::File::open(&self.file).with_context(|| format!("opening {}", self.file.display()))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(tail.windows(self.last.mark().len()).any(|window| window == self.last.mark()))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.signal(Signal::SIGKILL);
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A capture that can be questioned.
#[derive(Debug)]
pub struct Seen {
    /// Every frame in order.
    pub packets: Vec<Packet>,
}

impl Seen {
    fn read(file: &PathBuf) -> Result<Self> {
        let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        let mut packets = read_pcap(&bytes)?;
        packets.retain(|packet| !LastFrame::is_one(&packet.bytes));
        Ok(Self { packets })
    }

    /// Frames that are neither UDP or TCP with `port` at one end, nor what makes addresses work (ARP, neighbour discovery, IGMP).
    #[must_use]
    pub fn beside_port(&self, port: u16) -> Vec<&Packet> {
        let expected = |kind: Kind| match kind {
            Kind::Udp(from, to) | Kind::Tcp(from, to) => from == port || to == port,
            Kind::Arp | Kind::Neighbour | Kind::Igmp => true,
            Kind::Icmp(_) | Kind::Fragment(_) | Kind::Ip(_) | Kind::Other(_) => false,
        };
        self.packets.iter().filter(|packet| !expected(packet.kind())).collect()
    }

    /// Frames in which the bytes occur.
    #[must_use]
    pub fn containing(&self, needle: &[u8]) -> Vec<&Packet> {
        self.packets.iter().filter(|packet| packet.contains(needle)).collect()
    }

    /// Frames in which the first 48 bits of an inner address occur: an inner packet, or a look-up of one, in clear.
    #[must_use]
    pub fn naming_prefix(&self, prefix: Ipv6Addr) -> Vec<&Packet> {
        self.containing(&prefix.octets()[..6])
    }

    /// How many frames and bytes of each kind.
    #[must_use]
    pub fn summary(&self) -> BTreeMap<String, (usize, usize)> {
        let mut counts = BTreeMap::new();
        for packet in &self.packets {
            let entry: &mut (usize, usize) = counts.entry(format!("{:?}", packet.kind())).or_default();
            entry.0 += 1;
            entry.1 += packet.bytes.len();
        }
        counts
    }
}
