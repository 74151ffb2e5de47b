//! A daemon dies, certificates grow old, and a machine leaves the account, while the others go on.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use btmm_tests::account::{Account, PATIENCE, ask, btmm, eventually, is_up, start, start_with, wait_no_states, wait_online};
use btmm_tests::lab::kerberos::{Conf, FOLDER, STATE};
use btmm_tests::lab::{Node, TwoHomes, feed};
use btmmd::account::Identity;
use btmmd::account::authority::CERTIFICATE_LIFE;
use btmmd::account::base::Base;
use btmmd::account::certificate::{Purpose, verify};
use btmmd::account::enrol::RenewRequest;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Lab, PASSWORD, PORT, UNREACHABLE, answers, question};

/// What is left of the life of an aged certificate. Long enough for a start under emulation.
const LEFT: Duration = Duration::from_secs(60);
/// From a daemon that is ready to the use of the tunnel that it had before it was killed. The other end by itself would ask after half a
/// minute (`IkeConfig::liveness`) whether anybody is there.
const RAISED_WITHIN: Duration = Duration::from_secs(20);
const LAN: &str = "[lkdc]\nlan = true\n";

fn state(node: &Node) -> PathBuf {
    node.path(STATE)
}

fn edit(path: PathBuf, change: impl FnOnce(&mut Value) -> Result<()>) -> Result<()> {
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    change(&mut json)?;
    Ok(std::fs::write(&path, serde_json::to_vec_pretty(&json)?)?)
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Strikes a machine out of the base's book, while its daemon is off.
fn remove_from_book(base: &Node, machine: &str) -> Result<()> {
    edit(state(base).join("base/state.json"), |book| {
        let members = book["members"].as_array_mut().context("the book has no members")?;
        members.retain(|member| member["name"] != machine);
        book["serial"] = json!(book["serial"].as_u64().context("the book has no serial")? + 1);
        book["changed_at"] = json!(now());
        Ok(())
    })
}

/// Gives a machine, while its daemon is off, the certificate that the base would have issued long ago. Answers when it runs out.
fn age(base: &Node, machine: &Node) -> Result<SystemTime> {
    let end = SystemTime::now() + LEFT;
    let (account, identity) = (Base::open(&state(base))?, Identity::load(&state(machine))?);
    if identity.is_base() {
        account.renew_own(&identity, end - CERTIFICATE_LIFE)?;
    } else {
        let peer = verify(identity.certificate(), identity.trust(), Purpose::TlsClient, SystemTime::now())?;
        let request = RenewRequest { request: identity.key().certificate_request()? };
        let old = serde_json::to_value(account.renew(&peer, &request, end - CERTIFICATE_LIFE)?)?;
        edit(state(machine).join("identity.json"), |identity| {
            identity["certificate"] = old["certificate"].clone();
            Ok(())
        })?;
    }
    let aged = Identity::load(&state(machine))?;
    ensure!(aged.renew_at() < SystemTime::now() && aged.expires_at() <= end, "the certificate of {} is not old", machine.name());
    Ok(aged.expires_at())
}

/// Waits until the daemon shows a certificate of nearly a whole life.
fn wait_renewed(node: &Node) -> Result<()> {
    let whole = now() + CERTIFICATE_LIFE.as_secs() - 600;
    eventually(&format!("a new certificate on {}", node.name()), || {
        let status = ask(node, &["status"])?;
        Ok(status["account"]["certificate_expires"].as_u64().filter(|end| *end >= whole).map(drop))
    })
}

/// imac's daemon is killed and comes back, with an ear for the LAN.
pub(super) fn killed(lab: &Lab, daemons: &mut Account) -> Result<()> {
    let Lab { imac, laptop, router, internet, .. } = lab;
    ensure!(is_up(&laptop.node, "imac")?, "no tunnel to be raised again");
    daemons.imac.signal(Signal::SIGKILL)?;
    daemons.imac.wait(PATIENCE)?;
    daemons.imac = start_with(&imac.node, LAN)?;
    let back = Instant::now();
    eventually("a ticket by password again", || Ok(laptop.kinit(&[&lab.user()], Some(PASSWORD)).ok()))?;
    let took = back.elapsed();
    ensure!(took < RAISED_WITHIN, "{took:?} until the laptop got a ticket of the daemon that had been killed");
    let took = took.as_secs_f64();
    lab.tell(&format!("imac: btmmd killed (-9) and started again; the password is known, a ticket comes {took:.1} s after it is ready"));
    let question = question(lab);
    let to = |address: std::net::Ipv4Addr| (address, PORT).into();
    ensure!(answers(&router.node, to(imac.lan), &question)? == [true, true], "silent in the LAN");
    ensure!(answers(internet, to(TwoHomes::ROUTER_A), &question)? == [false, false], "answers on the internet");
    lab.tell("with lan = true the KDC answers in the LAN, and still not on the internet");
    Ok(())
}

/// imac's daemon comes back with the last minute of its certificate.
pub(super) fn renewed(lab: &Lab, daemons: &mut Account) -> Result<()> {
    let Lab { imac, laptop, base, .. } = lab;
    daemons.imac.signal(Signal::SIGTERM)?;
    daemons.imac.wait(PATIENCE)?;
    age(base, &imac.node)?;
    daemons.imac = start_with(&imac.node, LAN)?;
    wait_renewed(&imac.node)?;
    lab.tell("imac: btmmd started again with an old certificate, and it has a new one from the base");
    // A certificate that is new takes a new session: the first tunnel of the daemon may be cut for it.
    eventually("a ticket by certificate", || Ok(laptop.kinit_by_certificate(&[&lab.user()]).ok()))?;
    lab.tell("the new certificate is believed");
    // The kernel tells of a clock that was set and of one that stood still in sleep by the same word.
    imac.node.run("date --set +1second")?;
    daemons.imac.wait_for("the clock was set", Duration::from_secs(10))?;
    lab.tell("imac: the clock was set, and btmmd heard of it");
    Ok(())
}

/// The laptop leaves the account while its tunnel to imac is up, and the base comes back with the last minute of its certificate.
pub(super) fn removed(lab: &Lab, daemons: &mut Account) -> Result<()> {
    let Lab { imac, laptop, base, .. } = lab;
    ensure!(is_up(&imac.node, "laptop")? && is_up(&laptop.node, "imac")?, "no tunnel to be cut");
    daemons.base.signal(Signal::SIGTERM)?;
    daemons.base.wait(PATIENCE)?;
    remove_from_book(base, "laptop")?;
    let end = age(base, base)?;
    daemons.base = start(base)?;
    wait_no_states(&imac.node)?;
    wait_no_states(&laptop.node)?;
    lab.tell("the laptop is struck out of the base's book, and neither end has states");
    cut_off(lab, daemons)?;
    refused_by_the_kdc(lab, daemons)?;
    after_the_old_ones_ended(lab, end)
}

/// No way in either direction.
fn cut_off(lab: &Lab, daemons: &mut Account) -> Result<()> {
    let Lab { imac, laptop, .. } = lab;
    let policies = imac.node.run("ip xfrm policy")?.out;
    ensure!(!policies.contains(&format!("{}/128", laptop.inner)), "imac keeps policies for {}:\n{policies}", laptop.inner);
    let machines = ask(&imac.node, &["machines"])?;
    ensure!(!machines.to_string().contains("laptop"), "imac still knows the laptop: {machines}");
    let again = btmm(&laptop.node, &["ping", "imac", "-c", "1"]).output()?;
    let said = String::from_utf8_lossy(&again.stdout).into_owned() + &String::from_utf8_lossy(&again.stderr);
    ensure!(again.status.code() == UNREACHABLE, "the laptop reached imac: {said}");
    daemons.imac.wait_for("laptop.alice.btmm.internal is not in the account any more", Duration::from_secs(10))?;
    ensure!(imac.node.ping(&laptop.inner.to_string(), 1).is_err(), "imac reached the laptop");
    ensure!(answers(&laptop.node, (imac.inner, PORT).into(), &question(lab))? == [false, false], "imac's KDC answered the laptop");
    ensure!(imac.node.run("ip xfrm state")?.out.is_empty(), "imac has states for the laptop again");
    lab.tell("the laptop came again and was refused; imac does not reach it either");
    Ok(())
}

/// The laptop's key and certificate, carried to where imac's KDC can be asked without a tunnel.
fn refused_by_the_kdc(lab: &Lab, daemons: &Account) -> Result<()> {
    let Lab { imac, laptop, router, .. } = lab;
    for file in ["machine.key", "machine.pem", "account.pem"].map(|name| format!("{FOLDER}/{name}")) {
        router.node.write(&file, std::fs::read(laptop.node.path(&file))?)?;
    }
    let conf = Conf::new().realm_with(&imac.realm(), &format!("kdc = {}", imac.lan));
    router.node.write(&format!("{FOLDER}/conf"), conf.text())?;
    let mut kinit: Command = router.node.foreign("kinit");
    kinit.args(["-X", &format!("X509_user_identity={}", laptop.identity()), &lab.user()]);
    kinit.env("KRB5_CONFIG", format!("{FOLDER}/conf")).env("KRB5CCNAME", format!("FILE:{FOLDER}/cc"));
    let said = format!("{:#}", feed(kinit, "").err().context("the laptop's certificate still gets tickets")?);
    ensure!(said.contains("Revoked certificate"), "refused otherwise: {said}");
    let log = daemons.imac.log();
    let told = log.lines().any(|line| line.contains("ticket refused") && line.contains("from=192.168.1.1 "));
    ensure!(told, "imac's log does not tell that it refused a ticket");
    lab.tell("the laptop's certificate gets no ticket in the LAN either: revoked");
    Ok(())
}

/// Whoever still showed an old certificate now would not be believed.
fn after_the_old_ones_ended(lab: &Lab, end: SystemTime) -> Result<()> {
    let Lab { imac, base, .. } = lab;
    wait_renewed(base)?;
    std::thread::sleep(end.duration_since(SystemTime::now()).unwrap_or_default() + Duration::from_secs(1));
    wait_online(&imac.node, "base")?;
    ask(&imac.node, &["ping", "base", "-c", "1"])?;
    ensure!(is_up(&imac.node, "base")?, "no tunnel with the new certificates");
    lab.tell("the old certificates of imac and the base are over, and a tunnel between them comes up");
    Ok(())
}
