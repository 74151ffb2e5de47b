//! The local KDC as people have it: in the daemon, behind a tunnel, asked by the stock programs of another machine.
//!
//! One account, one story: each act goes on where the one before it ended.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use btmm_tests::account::{Account, eventually, is_up};
use btmm_tests::lab::kerberos::Machine;
use btmm_tests::lab::{Capture, Node, Router, Running, TwoHomes, binary};
use btmmd::entropy::SystemEntropy;
use btmmd::lkdc::client::Wish;
use btmmd::lkdc::client::request::{as_body, as_request, nonce};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::name::Principal;

#[path = "vm_lkdc/membership.rs"]
mod membership;
#[path = "vm_lkdc/proofs.rs"]
mod proofs;
#[path = "vm_lkdc/token.rs"]
mod token;

const PASSWORD: &str = "correct horse battery";
const TARGET: &str = "alice@imac.alice.btmm.internal";
const HOST: &str = "host/imac.alice.btmm.internal";
/// Of Kerberos.
const PORT: u16 = 88;
/// The exit code of `btmm` for a peer that does not answer.
const UNREACHABLE: Option<i32> = Some(5);
/// How long an answer may take that is not expected.
const SILENCE: Duration = Duration::from_secs(3);

#[test]
fn the_daemons_kdc_answers_through_the_tunnel_alone_and_no_machine_that_left() {
    if let Err(error) = story() {
        panic!("{error:#}");
    }
}

/// The machines once they are in their account.
struct Lab {
    imac: Machine,
    laptop: Machine,
    /// At imac's home: the neighbour in its LAN.
    router: Router,
    internet: Node,
    base: Node,
    _router_b: Router,
    begun: Instant,
}

impl Lab {
    fn new(homes: TwoHomes, begun: Instant) -> Result<Self> {
        let TwoHomes { imac, laptop, base, router_a, router_b, internet } = homes;
        let imac = Machine::joined(imac, TwoHomes::IMAC)?;
        let laptop = Machine::joined(laptop, TwoHomes::LAPTOP)?;
        Ok(Self { imac, laptop, router: router_a, internet, base, _router_b: router_b, begun })
    }

    fn tell(&self, line: &str) {
        println!("{:7.2} s  {line}", self.begun.elapsed().as_secs_f64());
    }

    /// Alice in imac's realm.
    fn user(&self) -> String {
        format!("alice@{}", self.imac.realm())
    }
}

fn story() -> Result<()> {
    let begun = Instant::now();
    let homes = TwoHomes::new()?;
    let mut daemons = Account::found(&homes)?;
    let lab = Lab::new(homes, begun)?;
    lab.tell("base, imac and laptop are in one account");
    let told = acts(&lab, &mut daemons);
    if told.is_err() {
        for (name, daemon) in [("base", &daemons.base), ("imac", &daemons.imac), ("laptop", &daemons.laptop)] {
            eprintln!("--- btmmd on {name}\n{}", daemon.log());
        }
    }
    told
}

fn acts(lab: &Lab, daemons: &mut Account) -> Result<()> {
    let _sshd = ten_lines(lab)?;
    by_themselves(lab, &daemons.imac)?;
    by_certificate(lab)?;
    refused(lab)?;
    audited(lab, &daemons.imac.log())?;
    nowhere_else(lab)?;
    proofs::demanded_and_taken_back(lab, &daemons.imac)?;
    membership::killed(lab, daemons)?;
    membership::renewed(lab, daemons)?;
    membership::removed(lab, daemons)
}

/// `("imac#", "command")` for each line of the first console block of `btmmd/docs/lkdc.md`.
fn lines() -> Result<Vec<(&'static str, &'static str)>> {
    let page = include_str!("../../btmmd/docs/lkdc.md");
    let block = page.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).context("a console block")?;
    let lines: Vec<_> = block.lines().filter_map(|line| line.split_once(' ')).collect();
    ensure!(lines.len() == 10 && lines.iter().all(|(prompt, _)| ["imac#", "laptop#", "laptop$"].contains(prompt)), "{block}");
    Ok(lines)
}

/// The page's ten lines, typed as they stand there, by somebody who answers what is asked. Only sshd is started without systemd.
fn ten_lines(lab: &Lab) -> Result<Running> {
    let Lab { imac, laptop, .. } = lab;
    symlink(binary("btmm"), "/usr/local/bin/btmm").context("installing btmm")?;
    for machine in [imac, laptop] {
        machine.install_package_files()?;
    }
    imac.add_person("alice")?;
    ensure!(!is_up(&laptop.node, "imac")?, "a tunnel that nobody asked for");
    let capture = Capture::start(&lab.internet, "internet0")?;
    let (mut sshd, mut screens) = (None, Vec::new());
    for (prompt, line) in lines()? {
        let machine = if prompt == "imac#" { imac } else { laptop };
        let answers: &[(&str, &str)] = match line.split(' ').next() {
            Some("systemctl") => {
                sshd = Some(imac.start_sshd_as_configured()?);
                continue;
            }
            Some("btmm") if line.contains("passwd") => &[("new password: ", PASSWORD), ("the same again: ", PASSWORD)],
            Some("kinit") => &[("Password for alice@LKDC:SHA256.", PASSWORD)],
            Some("ssh") => &[("continue connecting (yes/no", "yes")],
            _ => &[],
        };
        screens.push(machine.type_line(line, answers)?);
        lab.tell(&format!("{prompt} {line}"));
    }
    let [.., logged_in, listed] = screens.as_slice() else { anyhow::bail!("{screens:?}") };
    ensure!(logged_in.lines().any(|line| line.trim_end() == "alice"), "ssh ran no command as alice:\n{logged_in}");
    ensure!(listed.contains(&format!("{HOST}@{}", imac.realm())), "no ticket for imac:\n{listed}");
    ensure!(is_up(&laptop.node, "imac")?, "a way in without a tunnel");
    let seen = capture.stop()?;
    let (clear, beside) = (seen.containing(b"LKDC:").len() + seen.naming_prefix(imac.inner).len(), seen.beside_port(4500).len());
    ensure!(clear == 0 && beside == 0, "{clear} frames in clear, {beside} beside port 4500: {:?}", seen.summary());
    lab.tell(&format!("the internet saw {} frames, and nothing of Kerberos or of the inner network in them", seen.packets.len()));
    sshd.context("no line starts sshd")
}

/// While the tunnel is up, laptop's daemon gets tickets that nobody asked for, and hands them over.
fn by_themselves(lab: &Lab, imac: &Running) -> Result<()> {
    let laptop = &lab.laptop;
    let words = ["ticket given", "exchange=TGS", HOST, "strengths=[Certificate]", &format!("from={} ", laptop.inner)];
    eventually("a ticket that nobody asked for", || {
        Ok(imac.log().lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(()))
    })?;
    laptop.kdestroy()?;
    laptop.tell("btmm", &["tickets", "get", "host@imac"], "")?;
    ensure!(laptop.ssh(TARGET, "id -un")?.out == "alice\n", "not alice");
    lab.tell("laptop's daemon had a ticket by itself; btmm tickets get host@imac, and ssh, with no password");
    Ok(())
}

/// No password at all: the sharing certificate is the proof.
fn by_certificate(lab: &Lab) -> Result<()> {
    let Lab { imac, laptop, .. } = lab;
    laptop.kdestroy()?;
    let closed = format!("{:#}", laptop.ssh(TARGET, "id -un").err().context("let in without a ticket")?);
    ensure!(closed.contains("Permission denied (") && closed.contains("No Kerberos credentials"), "refused otherwise: {closed}");
    laptop.kinit_by_certificate(&[&lab.user()])?;
    let trace = laptop.trace();
    for step in ["PKINIT client verified DH reply", &format!("from stream {}", imac.inner)] {
        ensure!(trace.contains(step), "{step:?} is not in\n{trace}");
    }
    laptop.kvno(&["-S", "host", &imac.fqdn()])?;
    ensure!(laptop.ssh(TARGET, "id -un")?.out == "alice\n", "not alice");
    lab.tell("with laptop's certificate: kinit over TCP, kvno, ssh");
    Ok(())
}

fn refused(lab: &Lab) -> Result<()> {
    let wrong = lab.laptop.kinit(&["-c", "FILE:/run/krb5/none", &lab.user()], Some("not the password"));
    let said = format!("{:#}", wrong.err().context("any password is good")?);
    ensure!(said.contains("Password incorrect"), "refused otherwise: {said}");
    let trace = lab.laptop.trace();
    ensure!(trace.contains(&format!("from dgram {}", lab.imac.inner)), "not over UDP:\n{trace}");
    lab.tell("a wrong password is refused, over UDP");
    Ok(())
}

/// One line for every ticket given or refused.
fn audited(lab: &Lab, log: &str) -> Result<()> {
    let from = format!("from={} ", lab.laptop.inner);
    let krbtgt = format!("krbtgt/{}", lab.imac.realm());
    for words in [
        ["ticket given", "exchange=AS", krbtgt.as_str(), "strengths=[Password]"],
        ["ticket given", "exchange=TGS", HOST, "strengths=[Password]"],
        ["ticket given", "exchange=AS", krbtgt.as_str(), "strengths=[Certificate]"],
        ["ticket given", "exchange=TGS", HOST, "strengths=[Certificate]"],
        ["ticket refused", "exchange=AS", krbtgt.as_str(), "code="],
    ] {
        let all = [&words[..], &[from.as_str(), "client=\"alice\""]].concat();
        ensure!(log.lines().any(|line| all.iter().all(|word| line.contains(word))), "no line has {all:?}");
    }
    lab.tell("imac's log tells of each");
    Ok(())
}

/// The same question that is answered through the tunnel is not answered to a neighbour, nor to the internet.
fn nowhere_else(lab: &Lab) -> Result<()> {
    let Lab { imac, laptop, router, internet, .. } = lab;
    let question = question(lab);
    let asked = |node: &Node, to: SocketAddr| answers(node, to, &question);
    let inner = SocketAddr::new(imac.inner.into(), PORT);
    ensure!(asked(&laptop.node, inner)? == [true, true], "silent through the tunnel");
    ensure!(asked(&router.node, SocketAddr::new(imac.lan.into(), PORT))? == [false, false], "answers in the LAN");
    ensure!(asked(internet, SocketAddr::new(TwoHomes::ROUTER_A.into(), PORT))? == [false, false], "answers on the internet");
    router.node.ip(&format!("route add {}/128 via {} dev lan", imac.inner, link_local(&imac.node)?))?;
    ensure!(asked(&router.node, inner)? == [false, false], "answers at its inner address to a neighbour in clear");
    lab.tell("the KDC answers through the tunnel, and not in the LAN, on the internet, or in clear at the inner address");
    Ok(())
}

/// A request that a KDC of imac's realm answers, with a demand for proof.
fn question(lab: &Lab) -> Vec<u8> {
    let wish = Wish::tgt(FullName::new(Principal::user("alice"), lab.imac.realm()));
    as_request(Vec::new(), as_body(&wish, nonce(&mut SystemEntropy), SystemTime::now()))
}

/// Whether anything comes back to a machine that asks a KDC there, by UDP and by TCP.
fn answers(node: &Node, to: SocketAddr, question: &[u8]) -> Result<[bool; 2]> {
    node.enter(|| [by_udp(to, question).is_ok_and(|length| length > 0), by_tcp(to, question).is_ok_and(|length| length > 0)])
}

fn by_udp(to: SocketAddr, question: &[u8]) -> std::io::Result<usize> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.send(question)?;
    socket.recv(&mut [0; 4096])
}

fn by_tcp(to: SocketAddr, question: &[u8]) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect_timeout(&to, SILENCE)?;
    stream.set_read_timeout(Some(SILENCE))?;
    // With its length before it (RFC 4120 §7.2.2).
    let length = u32::try_from(question.len()).expect("not that long");
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    stream.read(&mut [0; 4096])
}

fn link_local(node: &Node) -> Result<Ipv6Addr> {
    let shown = node.run("ip -6 -brief address show dev eth0 scope link")?.out;
    let address = shown.split_whitespace().find_map(|word| word.split('/').next()?.parse().ok());
    address.with_context(|| format!("no link-local address: {shown}"))
}
