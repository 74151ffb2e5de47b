//! Ten thousand histories of two machines, each from a seed: set-up, rekey, delete, switching off, crash and moving house over a network that
//! loses up to 30 %, doubles and reorders. When the network heals, both ends agree on exactly one IKE SA and one child; when one end closes,
//! nothing is left at either.
//!
//! One history alone: `BTMM_SEED=4711 cargo test -p btmm-tests --test chaos_ike`.

use std::time::{Duration, Instant};

use btmm_tests::sim::Sim;
use btmm_tests::sim::node::Told;
use btmm_tests::sim::random::Random;
use btmmd::ike::{IkeConfig, Input};

const RUNS: u64 = 10_000;
const SECOND: Duration = Duration::from_secs(1);

/// What happened in one history.
#[derive(Default)]
struct Story {
    actions: u64,
    datagrams: u64,
    lost: u64,
    ups: u64,
    downs: u64,
    converged_after: Duration,
}

/// Lifetimes short enough that a history of a minute sees them all.
fn config(random: &mut Random) -> IkeConfig {
    IkeConfig {
        child_lifetime: Duration::from_secs(10 + random.below(60)),
        ike_lifetime: Duration::from_secs(15 + random.below(90)),
        liveness: Duration::from_secs(5 + random.below(10)),
        linger: Duration::from_secs(2),
        cookie_threshold: if random.chance(20) { 0 } else { 8 },
        ..IkeConfig::default()
    }
}

fn act(sim: &mut Sim, random: &mut Random) {
    let node = usize::from(random.chance(50));
    let peer = sim.nodes[node].peer();
    let child = sim.nodes[node].kernel.inbound().first().copied();
    match random.below(100) {
        0..20 => sim.want(node),
        20..30 => {
            sim.want(0);
            sim.run_for(Duration::from_millis(random.below(60)));
            sim.want(1);
        }
        30..40 => child.into_iter().for_each(|spi_in| sim.input(node, Input::RekeyChild { spi_in })),
        40..50 => {
            for each in [node, 1 - node] {
                sim.nodes[each].kernel.inbound().into_iter().for_each(|spi_in| sim.input(each, Input::RekeyChild { spi_in }));
            }
        }
        50..57 => sim.input(node, Input::RekeyIke { peer }),
        57..65 => {
            for each in [node, 1 - node] {
                let peer = sim.nodes[each].peer();
                sim.input(each, Input::RekeyIke { peer });
            }
        }
        65..72 => {
            sim.nodes[node].wanted = random.chance(50);
            sim.input(node, Input::Close { peer });
        }
        72..80 => sim.crash(node),
        80..88 => {
            let address = format!("203.0.113.{}:{}", 1 + random.below(250), 1024 + random.below(60000)).parse().expect("an address");
            sim.move_to(node, address, random.chance(70));
            if random.chance(50) {
                let (other, places) = (1 - node, vec![address, sim.nodes[node].local]);
                let peer = sim.nodes[other].peer();
                sim.input(other, Input::Places { peer, places });
            }
        }
        88..92 => child.into_iter().for_each(|spi_in| sim.input(node, Input::ChildExpired { spi_in })),
        92..96 => sim.input(node, Input::Confirm { peer }),
        96..98 => {
            sim.input(node, Input::Admit(false));
            sim.run_for(Duration::from_millis(random.below(6000)));
            sim.input(node, Input::Admit(true));
        }
        _ => sim.input(node, Input::Probe { peer }),
    }
}

fn history(seed: u64) -> Result<Story, String> {
    let mut random = Random::new(seed);
    let mut sim = Sim::new(random.next(), &config(&mut random));
    sim.network.loss = random.below(31);
    sim.network.duplication = random.below(21);
    sim.network.latency = Duration::from_millis(1 + random.below(100));
    sim.network.jitter = Duration::from_millis(random.below(150));
    let mut story = Story::default();
    for _ in 0..4 + random.below(8) {
        story.actions += 1;
        act(&mut sim, &mut random);
        sim.run_for(Duration::from_millis(random.below(6000)));
    }
    sim.network.heal();
    let healed = sim.now;
    let wanting = usize::from(random.chance(50));
    sim.want(wanting);
    story.converged_after = settled(&mut sim, healed)?;
    let wanted: Vec<_> = (0..2).filter(|index| sim.nodes[*index].is_dialling()).collect();
    if !wanted.is_empty() {
        return Err(format!("machines {wanted:?} never heard what became of their Initiate"));
    }
    finish(&mut sim, &mut random)?;
    story.datagrams = sim.network.sent;
    story.lost = sim.network.lost;
    let told = || sim.nodes.iter().flat_map(|node| &node.told);
    story.ups = told().filter(|told| matches!(told, Told::Up)).count() as u64;
    story.downs = told().filter(|told| matches!(told, Told::Down(_))).count() as u64;
    Ok(story)
}

/// Waits for agreement that lasts: a rekey may be under way at the moment of looking.
fn settled(sim: &mut Sim, healed: Instant) -> Result<Duration, String> {
    let mut agreed = None;
    let mut last = Ok(());
    for _ in 0..600 {
        sim.run_for(SECOND / 2);
        last = sim.converged();
        match (&last, agreed) {
            (Ok(()), None) => agreed = Some(sim.now),
            (Ok(()), Some(_)) if sim.now - healed >= 150 * SECOND => return Ok(agreed.unwrap_or(sim.now) - healed),
            (Err(_), _) | (Ok(()), Some(_)) => {}
        }
    }
    Err(format!("{} s after the network healed: {}", (sim.now - healed).as_secs(), last.err().unwrap_or_default()))
}

/// One end, or both at once, close; nothing may be left.
fn finish(sim: &mut Sim, random: &mut Random) -> Result<(), String> {
    let both = random.chance(30);
    let first = usize::from(random.chance(50));
    sim.nodes.iter_mut().for_each(|node| node.wanted = false);
    for node in [first, 1 - first].into_iter().take(if both { 2 } else { 1 }) {
        let peer = sim.nodes[node].peer();
        sim.input(node, Input::Close { peer });
    }
    sim.run_for(180 * SECOND);
    sim.empty()
}

#[test]
fn ten_thousand_histories_end_in_agreement_and_leave_nothing() {
    let seeds = match std::env::var("BTMM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..RUNS,
    };
    let (runs, began) = (seeds.end - seeds.start, Instant::now());
    let (mut total, mut slowest, mut failures) = (Story::default(), (Duration::ZERO, 0), Vec::new());
    for seed in seeds {
        match std::panic::catch_unwind(|| history(seed)).unwrap_or_else(|_| Err("panicked".to_owned())) {
            Ok(story) => {
                total.actions += story.actions;
                total.datagrams += story.datagrams;
                total.lost += story.lost;
                total.ups += story.ups;
                total.downs += story.downs;
                total.converged_after += story.converged_after;
                slowest = slowest.max((story.converged_after, seed));
            }
            Err(why) => failures.push(format!("seed {seed}: {why}")),
        }
    }
    println!(
        "ike simulation: {runs} runs, {} converged, {} failed; {} actions, {} datagrams, {} lost, {} ups, {} downs; first agreement {:.1} s after the \
         network healed on average, at most {:.1} s (seed {}); {:.0} s of real time",
        runs - failures.len() as u64,
        failures.len(),
        total.actions,
        total.datagrams,
        total.lost,
        total.ups,
        total.downs,
        total.converged_after.as_secs_f64() / runs as f64,
        slowest.0.as_secs_f64(),
        slowest.1,
        began.elapsed().as_secs_f64(),
    );
    assert!(failures.is_empty(), "{} of {runs} failed, the first:\n{}", failures.len(), failures[..failures.len().min(10)].join("\n"));
}
