//! An account on the lab's machines, made as an owner makes one: by the commands of the README.

use std::net::Ipv6Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::lab::{Node, Running, TwoHomes, binary, finish};

/// How long a daemon may take to be ready, and a record to spread. Generous: emulation is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The account's zone.
pub const ZONE: &str = "alice.btmm.internal";

/// `btmm` on a machine.
pub fn btmm(node: &Node, words: &[&str]) -> Command {
    let mut command = node.command(binary("btmm"));
    command.args(words);
    command
}

/// What `btmm … --json` says.
pub fn ask(node: &Node, words: &[&str]) -> Result<Value> {
    let mut words = words.to_vec();
    words.push("--json");
    let said = finish(btmm(node, &words)).with_context(|| format!("btmm {} on {}", words.join(" "), node.name()))?;
    serde_json::from_str(said.out.trim()).with_context(|| format!("btmm {} on {} printed {:?}", words.join(" "), node.name(), said.out))
}

/// A daemon, ready.
pub fn start(node: &Node) -> Result<Running> {
    start_with(node, "")
}

/// A daemon with more in its configuration, ready.
pub fn start_with(node: &Node, configuration: &str) -> Result<Running> {
    // A story should not wait half a minute for a poll.
    node.write("/etc/btmm/btmmd.toml", format!("poll_interval = 3\n{configuration}"))?;
    let mut command = node.command(binary("btmmd"));
    command.env("NO_COLOR", "1");
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "btmmd=debug");
    }
    let mut daemon = node.spawn(command)?;
    daemon.wait_for("ready", PATIENCE).with_context(|| format!("btmmd on {}", node.name()))?;
    Ok(daemon)
}

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition()? {
            return Ok(value);
        }
        ensure!(begun.elapsed() < PATIENCE, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The daemons of an account's three machines.
pub struct Account {
    /// On the home base.
    pub base: Running,
    /// On `imac`.
    pub imac: Running,
    /// On `laptop`.
    pub laptop: Running,
}

impl Account {
    /// Founds the account on the base and joins the two others.
    pub fn found(homes: &TwoHomes) -> Result<Self> {
        let daemons = Self { base: start(&homes.base)?, imac: start(&homes.imac)?, laptop: start(&homes.laptop)? };
        ask(&homes.base, &["account", "create", "alice", "--machine", "base", "--serve"])?;
        for node in [&homes.imac, &homes.laptop] {
            invite_and_join(&homes.base, node)?;
        }
        for node in [&homes.imac, &homes.laptop] {
            resolve_by_stub(node)?;
        }
        wait_online(&homes.laptop, "imac")?;
        wait_online(&homes.imac, "laptop")?;
        Ok(daemons)
    }
}

/// A base and one machine on a wire of their own, in one account, with the tunnel between them up.
pub struct Couple {
    /// The home base.
    pub base: Node,
    /// The other machine.
    pub machine: Node,
    _daemons: [Running; 2],
}

impl Couple {
    /// Makes them and raises their tunnel.
    pub fn new() -> Result<Self> {
        Self::with(&[], |_| Ok(()))
    }

    /// The same with more words for `btmm join`, on a machine that was prepared for them.
    pub fn with(join: &[&str], prepare: impl FnOnce(&Node) -> Result<()>) -> Result<Self> {
        let (base, machine) = (Node::new("base")?, Node::new("machine")?);
        base.ip(&format!("link add wire type veth peer name wire netns {}", machine.pid()))?;
        base.ip("addr add 198.18.0.1/24 dev wire\nlink set wire up")?;
        machine.ip("addr add 198.18.0.2/24 dev wire\nlink set wire up")?;
        prepare(&machine)?;
        let daemons = [start(&base)?, start(&machine)?];
        ask(&base, &["account", "create", "alice", "--machine", "base", "--serve"])?;
        invite_and_join_with(&base, &machine, join)?;
        wait_online(&machine, "base")?;
        ask(&machine, &["ping", "base", "-c", "1"])?;
        ensure!(is_up(&machine, "base")?, "no tunnel after a ping");
        Ok(Self { base, machine, _daemons: daemons })
    }
}

/// An invitation made on the base and used by `node` under its own name.
pub fn invite_and_join(base: &Node, node: &Node) -> Result<Value> {
    invite_and_join_with(base, node, &[])
}

/// The same with more words for `btmm join`.
pub fn invite_and_join_with(base: &Node, node: &Node, more: &[&str]) -> Result<Value> {
    let invitation = ask(base, &["invite"])?;
    let code = invitation["code"].as_str().context("the invitation has no code")?;
    ask(node, &[&["join", code, "--machine", node.name()], more].concat())
}

/// What the owner does on a machine without systemd-resolved, as `btmm status` says.
pub fn resolve_by_stub(node: &Node) -> Result<()> {
    node.write("/etc/resolv.conf", "nameserver 127.45.0.1\noptions timeout:10 attempts:1\n")
}

/// Waits until `btmm machines` shows `machine` online.
pub fn wait_online(node: &Node, machine: &str) -> Result<()> {
    eventually(&format!("{machine} online, seen from {}", node.name()), || {
        Ok(peer(node, machine)?.filter(|peer| peer["online"] == true).map(drop))
    })
}

/// One machine of `btmm machines`.
pub fn peer(node: &Node, machine: &str) -> Result<Option<Value>> {
    let machines = ask(node, &["machines"])?;
    let list = machines["machines"].as_array().context("no list of machines")?;
    Ok(list.iter().find(|peer| peer["name"] == machine).cloned())
}

/// Whether the tunnel from `node` to `machine` is up.
pub fn is_up(node: &Node, machine: &str) -> Result<bool> {
    Ok(peer(node, machine)?.is_some_and(|peer| peer["tunnel"]["state"] == "up"))
}

/// A machine's own inner address.
pub fn inner(node: &Node) -> Result<Ipv6Addr> {
    let status = ask(node, &["status"])?;
    let text = status["account"]["inner"].as_str().with_context(|| format!("{} is in no account: {status}", node.name()))?;
    text.parse().with_context(|| text.to_owned())
}

/// Waits until no state of IPsec is left on `node`.
pub fn wait_no_states(node: &Node) -> Result<()> {
    eventually(&format!("no IPsec states on {}", node.name()), || Ok(node.run("ip xfrm state")?.out.is_empty().then_some(())))
}

/// TCP segments that a machine has sent again since it was made.
pub fn retransmitted(node: &Node) -> Result<u64> {
    let snmp = node.run("cat /proc/net/snmp")?.out;
    let mut lines = snmp.lines().filter(|line| line.starts_with("Tcp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { bail!("no TCP counters in {snmp:?}") };
    let at = names.split_whitespace().position(|name| name == "RetransSegs").context("no RetransSegs")?;
    values.split_whitespace().nth(at).context("no value")?.parse().context("RetransSegs")
}
