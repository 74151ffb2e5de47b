//! A machine whose key is on a token joins, uses its account as others do, says whose fault it is while the token is out, and goes on when
//! it is back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use btmm_tests::account::{Couple, ask, btmm, eventually, is_up, wait_no_states};
use btmm_tests::lab::kerberos::STATE;
use btmm_tests::lab::{Node, feed, finish};

const PIN: &str = "123456";
const KEY: &str = "pkcs11:token=card;object=btmm?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/btmm/pin";
/// Where SoftHSM2 looks for tokens, as Debian configures it, and where it does not.
const SLOT: &str = "/var/lib/softhsm/tokens";
const POCKET: &str = "/var/lib/softhsm/pocket";
const ABSENT: &str = "there is no token \"card\"";

#[test]
fn a_token_that_is_taken_out_is_named_at_both_ends_and_one_that_is_back_does_again() {
    let begun = Instant::now();
    let couple = Couple::with(&["--key", KEY], make_token).unwrap_or_else(|error| panic!("{error:#}"));
    if let Err(error) = story(&couple, begun) {
        // Now, while the daemons live: their logs are shown.
        panic!("{error:#}");
    }
}

fn story(couple: &Couple, begun: Instant) -> Result<()> {
    let tell = |line: &str| println!("{:7.2} s  {line}", begun.elapsed().as_secs_f64());
    let Couple { base, machine, .. } = couple;
    let kept = fs::read_to_string(machine.path(format!("{STATE}/machine.key")))?;
    ensure!(kept == format!("{KEY}\n"), "not the place of the key alone: {kept}");
    tell("a machine has joined with a key that is on a token, and its tunnel is up");
    let got = feed(tickets(machine, &["get", "host@base"]), "")?.out;
    ensure!(got.starts_with("host on base.alice.btmm.internal: good for "), "{got}");
    tell("btmm tickets get host@base");

    carry(machine, SLOT, POCKET)?;
    eventually("a word of the token in btmm status", || Ok(finding(machine)?.filter(|cause| cause.contains(ABSENT)).map(drop)))?;
    let page = finish(btmm(machine, &["status"]))?.out;
    ensure!(page.contains("this machine's key is out of reach") && page.contains(ABSENT), "{page}");
    ask(machine, &["ping", "base", "-c", "1"]).context("a tunnel that is up needs no key")?;
    tell("the token is out: btmm status says so, and the tunnel goes on");
    down(machine)?;
    unreachable(machine, "base", &format!("cannot sign for machine.alice.btmm.internal: {ABSENT}"))?;
    unreachable(base, "machine", "machine.alice.btmm.internal cannot sign now: its own key is out of reach")?;
    tell("no new tunnel in either direction, and btmm ping says why at both ends");

    carry(machine, POCKET, SLOT)?;
    eventually("the token is found again", || Ok(finding(machine)?.is_none().then_some(())))?;
    ask(machine, &["ping", "base", "-c", "1"])?;
    down(machine)?;
    // Where it is may have to spread again first.
    eventually("the base reaches the machine", || {
        Ok(btmm(base, &["ping", "machine", "-c", "1"]).output()?.status.success().then_some(()))
    })?;
    ensure!(is_up(base, "machine")?, "no tunnel");
    finish(tickets(machine, &["rm", "--all"]))?;
    feed(tickets(machine, &["get", "host@base"]), "")?;
    tell("the token is back: tunnels come up in both directions, with the daemon that was there all the time");
    Ok(())
}

/// A token with its PIN and nothing on it.
fn make_token(node: &Node) -> Result<()> {
    node.write("/etc/btmm/pin", format!("{PIN}\n"))?;
    fs::set_permissions(node.path("/etc/btmm/pin"), fs::Permissions::from_mode(0o600))?;
    fs::create_dir_all(node.path(POCKET))?;
    let mut softhsm = node.foreign("softhsm2-util");
    softhsm.args(["--init-token", "--free", "--label", "card", "--so-pin", "12345678", "--pin", PIN]);
    finish(softhsm).map(drop)
}

/// Takes every token from one folder to another.
fn carry(node: &Node, from: &str, to: &str) -> Result<()> {
    for token in fs::read_dir(node.path(from))? {
        let token = token?;
        fs::rename(token.path(), node.path(to).join(token.file_name())).context("moving a token")?;
    }
    Ok(())
}

/// `btmm tickets …`, with a cache of its own.
fn tickets(node: &Node, words: &[&str]) -> Command {
    let mut command = btmm(node, &[&["tickets"], words].concat());
    command.env("KRB5CCNAME", "FILE:/run/tickets");
    command
}

/// What `btmm status` says of the key, if anything.
fn finding(node: &Node) -> Result<Option<String>> {
    let status = ask(node, &["status"])?;
    let health = status["health"].as_array().context("no findings")?;
    let found = health.iter().find(|finding| finding["what"] == "this machine's key is out of reach");
    Ok(found.and_then(|finding| finding["cause"].as_str()).map(str::to_owned))
}

/// Ends all tunnels of a machine.
fn down(node: &Node) -> Result<()> {
    ask(node, &["off"])?;
    wait_no_states(node)?;
    ask(node, &["on"]).map(drop)
}

/// Nothing comes from the other machine, for this reason.
fn unreachable(node: &Node, machine: &str, why: &str) -> Result<()> {
    // Where it is may have to spread again first.
    eventually(&format!("{} says {why:?}", node.name()), || {
        let output = btmm(node, &["ping", machine, "-c", "1"]).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.code() == super::UNREACHABLE, "{}: {said}", output.status);
        Ok(said.contains(why).then_some(()))
    })
}
