//! `cargo xtask bench gate`: nanoseconds of `gate` per packet, by BPF_PROG_TEST_RUN, against an empty XDP program in the same run.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::{Program, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use btmmd::datapath::{Datapath, Settings, object};

use crate::figures::{self, Figure, median};
use crate::frames::{IPV4, UDP, esp, ethernet, ike, ipv4, to_4500, udp};
use crate::lab::Node;

/// Repetitions the kernel averages over for one figure.
const REPEAT: u32 = 1_000_000;
/// Pairs of ours and baseline, in turn; the medians count.
const PAIRS: usize = 7;
/// SPIs looked up in turn, spread over the table.
const PROBES: u32 = 8;
const FEW: u32 = 16;
const MANY: u32 = 65_536;

/// Measures, and prints a table, or one line of JSON.
///
/// # Errors
/// Without root, or in a build without the eBPF programs.
pub fn run(json: bool) -> Result<()> {
    let node = Node::new("bench")?;
    let results = node.enter(measure)??;
    figures::tell("gate", &results, json)
}

fn measure() -> Result<Vec<Figure>> {
    let settings = Settings { ike_per_second: 1_000_000_000, ike_burst: 1_000_000_000, ..Settings::new("/var/lib/btmm") };
    let mut small = Datapath::open(Path::new("/sys/fs/bpf/small"), &settings)?;
    let mut large = Datapath::open(Path::new("/sys/fs/bpf/large"), &settings)?;
    fill(&mut small, FEW)?;
    fill(&mut large, MANY)?;
    let mut bare = EbpfLoader::new().load(object::bytes()?)?;
    let empty: &mut Xdp = bare.program_mut("empty").context("the object has an empty program")?.try_into()?;
    empty.load()?;

    let other = ethernet(&[], IPV4, &ipv4(&[], 0, UDP, &udp(53, 5353, &esp(1))));
    let of = |frame: Vec<u8>| pairs(&bare, &large, &[frame]);
    let (drops, ikes, others) = (of(to_4500(&esp(0x0fff_ffff)))?, of(to_4500(&ike()))?, of(other)?);
    let accept = pairs(&bare, &large, &accepted(MANY))?;
    let flatness = flatness(&small, &large)?;
    Ok(vec![
        accept.figure("esp-accept-ns"),
        drops.figure("esp-drop-ns"),
        ikes.figure("ike-ns"),
        others.figure("other-ns"),
        Figure {
            name: "esp-accept-over-empty-ns".to_owned(),
            value: accept.ours - accept.empty,
            unit: "ns",
            baseline: accept.empty,
            ratio: accept.empty / accept.ours,
        },
        Figure::less("esp-accept-flatness", flatness, "ratio", 1.0),
    ])
}

/// SPI number `n`: no pattern that a hash could favour.
fn spi(n: u32) -> u32 {
    0x1000_0000 | (n.wrapping_mul(2_654_435_761) >> 4)
}

fn fill(datapath: &mut Datapath, count: u32) -> Result<()> {
    (0..count).try_for_each(|n| datapath.set_inbound_sa(spi(n), true)).context("filling the map of SPIs")
}

/// ESP of SPIs spread over a table of `count`.
fn accepted(count: u32) -> Vec<Vec<u8>> {
    (0..PROBES).map(|probe| to_4500(&esp(spi(probe * (count / PROBES))))).collect()
}

/// Medians over the pairs, nanoseconds per packet.
struct Pairs {
    ours: f64,
    empty: f64,
}

impl Pairs {
    fn figure(&self, name: &'static str) -> Figure {
        Figure::less(name, self.ours, "ns", self.empty)
    }
}

fn pairs(bare: &Ebpf, datapath: &Datapath, frames: &[Vec<u8>]) -> Result<Pairs> {
    let (mut ours, mut empty) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        empty.push(nanoseconds(bare, "empty", frames)?);
        ours.push(nanoseconds(datapath.programs(), "gate", frames)?);
    }
    Ok(Pairs { ours: median(ours), empty: median(empty) })
}

/// Time with many SPIs over time with few, the two in turn: what else the machine does falls on both.
fn flatness(small: &Datapath, large: &Datapath) -> Result<f64> {
    let (mut few, mut many) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        few.push(nanoseconds(small.programs(), "gate", &accepted(FEW))?);
        many.push(nanoseconds(large.programs(), "gate", &accepted(MANY))?);
    }
    Ok(median(many) / median(few))
}

fn nanoseconds(programs: &Ebpf, name: &str, frames: &[Vec<u8>]) -> Result<f64> {
    let Some(Program::Xdp(program)) = programs.program(name) else { anyhow::bail!("the object has no XDP program {name}") };
    let repeat = REPEAT / frames.len() as u32;
    let mut sum = 0.0;
    for frame in frames {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        sum += program.test_run(options)?.duration.as_nanos() as f64;
    }
    Ok(sum / frames.len() as f64)
}
