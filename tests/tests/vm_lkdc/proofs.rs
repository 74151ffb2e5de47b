//! A second factor, and what services ask for, set by their owner while the daemon runs, and met by stock tools and by `btmm`.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use btmm_tests::lab::Running;
use btmm_tests::lab::kerberos::Machine;
use btmmd::lkdc::otp::totp;
use btmmd::lkdc::principals::TotpSecret;

use super::{Lab, PASSWORD};

const ARMOR: &str = "FILE:/run/krb5/armor";
/// A service of which nobody holds a ticket yet: those that were given before a demand stay good.
const SERVICE: &str = "HTTP@imac";
/// The exit codes of `btmm` for what was tried and failed, and for a value that is wrong.
const FAILED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);

/// What alice's authenticator shows.
struct Authenticator {
    secret: TotpSecret,
    /// The step of the code that was used last.
    used: u64,
}

impl Authenticator {
    /// Reads the line that `btmm passwd --totp` prints for it.
    fn reading(line: &str) -> Result<Self> {
        let secret = line.split("secret=").nth(1).and_then(|rest| rest.split('&').next()).with_context(|| line.to_owned())?;
        let secret = TotpSecret::from_bytes(&data_encoding::BASE32_NOPAD.decode(secret.as_bytes())?);
        Ok(Self { secret, used: 0 })
    }

    fn at(&self, step: u64) -> String {
        totp::code(self.secret.bytes(), step, TotpSecret::DIGITS).to_string()
    }

    /// A code that was not used yet and stays good for ten seconds at least. The window takes one from after now; for more it waits.
    fn code(&mut self) -> String {
        let now = || totp::step(SystemTime::now() + Duration::from_secs(10));
        self.used = (self.used + 1).max(now() - totp::WINDOW);
        while totp::step(SystemTime::now()) + totp::WINDOW < self.used {
            std::thread::sleep(Duration::from_millis(500));
        }
        self.at(self.used)
    }

    /// A code that is not good about now.
    fn wrong(&self) -> String {
        let now = totp::step(SystemTime::now());
        let good: Vec<String> = (now - 3..=now + 3).map(|step| self.at(step)).collect();
        let mut codes = (0..=good.len()).map(|digit| digit.to_string().repeat(6));
        codes.find(|code| !good.contains(code)).expect("one more than there are good ones")
    }
}

/// Alice gets a second factor, without which she gets no tickets, and a service asks for it, until both are taken back.
pub(super) fn demanded_and_taken_back(lab: &Lab, imac: &Running) -> Result<()> {
    let mut authenticator = second_factor(lab)?;
    by_kinit(lab, imac, &mut authenticator)?;
    by_btmm(lab, &mut authenticator)?;
    required(lab, &mut authenticator)?;
    taken_back(lab)
}

/// `btmm` with nobody at a terminal. Answers its exit code and all it wrote.
fn said(machine: &Machine, words: &[&str], input: &str) -> Result<(Option<i32>, String)> {
    let mut command = machine.program("setsid", &[&["--wait", "btmm"], words].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // It may end without having read it.
    let _ = child.stdin.take().context("its input")?.write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
}

#[track_caller]
fn tells(said: &(Option<i32>, String), code: Option<i32>, words: &[&str]) -> Result<()> {
    ensure!(said.0 == code && words.iter().all(|word| said.1.contains(word)), "not {code:?} with {words:?}: {said:?}");
    Ok(())
}

/// `btmm passwd alice --totp`, answered with a code that is made of what it printed.
fn enrol(imac: &Machine, code: impl FnOnce(&mut Authenticator) -> String) -> Result<(Authenticator, (Option<i32>, String))> {
    let mut command = imac.program("btmm", &["passwd", "alice", "--totp", "--code-file", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut line, mut rest) = (String::new(), String::new());
    let mut out = BufReader::new(child.stdout.take().context("its output")?);
    out.read_line(&mut line)?;
    let mut authenticator = Authenticator::reading(&line)?;
    writeln!(child.stdin.take().context("its input")?, "{}", code(&mut authenticator))?;
    out.read_to_string(&mut rest)?;
    let output = child.wait_with_output()?;
    Ok((authenticator, (output.status.code(), rest + &String::from_utf8_lossy(&output.stderr))))
}

/// In force with the first right code, and not before.
fn second_factor(lab: &Lab) -> Result<Authenticator> {
    let Lab { imac, laptop, .. } = lab;
    let (_, told) = enrol(imac, |authenticator| authenticator.wrong())?;
    tells(&told, USAGE, &["this is not the code that alice's authenticator should show now", "nothing was changed"])?;
    laptop.kinit(&[&lab.user()], Some(PASSWORD)).context("a wrong code changed something")?;
    let (authenticator, told) = enrol(imac, Authenticator::code)?;
    tells(&told, Some(0), &["alice now gets tickets with the password and a one-time code"])?;
    laptop.kinit(&[&lab.user()], Some(PASSWORD)).err().context("the password alone is still enough")?;
    lab.tell("imac# btmm passwd alice --totp: nothing changes with a wrong code, and with the right one the password is not enough");
    Ok(authenticator)
}

/// By MIT's kinit, in the armor of an anonymous ticket.
fn by_kinit(lab: &Lab, imac: &Running, authenticator: &mut Authenticator) -> Result<()> {
    let Lab { laptop, .. } = lab;
    laptop.kinit(&["-n", "-c", ARMOR, &format!("@{}", lab.imac.realm())], None)?;
    let with = |code: &str| laptop.kinit(&["-T", ARMOR, &lab.user()], Some(&format!("{code}\n{PASSWORD}")));
    let refused = |code: &str| with(code).err().map(|error| format!("{error:#}")).context("any code is good");
    let wrong = refused(&authenticator.wrong())?;
    let code = authenticator.code();
    with(&code)?;
    let again = refused(&code)?;
    ensure!([&wrong, &again].iter().all(|said| said.contains("Preauthentication failed")), "refused otherwise: {wrong}\n{again}");
    for reason in ["wrong one-time code", "one-time code used before"] {
        ensure!(imac.log().contains(reason), "imac's log does not tell of the {reason}");
    }
    lab.tell("kinit -T: a ticket with a code; a wrong one and the same one again are refused, each with its reason in imac's log");
    Ok(())
}

/// By `btmm tickets get`, which needs no armor made first.
fn by_btmm(lab: &Lab, authenticator: &mut Authenticator) -> Result<()> {
    let Lab { laptop, .. } = lab;
    let words = ["tickets", "get", "host@imac", "--user", "alice", "--password-file", "-", "--code-file", "-"];
    let with = |code: &str| {
        laptop.kdestroy()?;
        said(laptop, &words, &format!("{PASSWORD}\n{code}\n"))
    };
    // Which of the two was wrong is in imac's log only.
    let refused =
        "refuses: what was given to prove who asks is wrong (Kerberos error 24: wrong password or one-time code; a code is good once";
    tells(&with(&authenticator.wrong())?, FAILED, &[refused])?;
    let code = authenticator.code();
    tells(&with(&code)?, Some(0), &["host on imac.alice.btmm.internal: good for "])?;
    let listed = said(laptop, &["tickets"], "")?;
    ensure!(listed.1.matches(" otp ").count() == 2, "not by code: {listed:?}");
    tells(&with(&code)?, FAILED, &[refused])?;
    lab.tell("btmm tickets get --code-file: the same");
    Ok(())
}

/// A certificate does not do for a service that asks for a code, and whoever has that is asked for it.
fn required(lab: &Lab, authenticator: &mut Authenticator) -> Result<()> {
    let Lab { imac, laptop, .. } = lab;
    tells(&said(imac, &["services", "require", "HTTP", "otp"], "")?, Some(0), &["HTTP"])?;
    laptop.kinit_by_certificate(&[&lab.user()])?;
    let closed = format!("{:#}", laptop.kvno(&["-S", "HTTP", &imac.fqdn()]).err().context("a ticket by certificate")?);
    ensure!(closed.contains("KDC policy rejects request"), "refused otherwise: {closed}");
    laptop.kdestroy()?;
    let reason = "HTTP on imac.alice.btmm.internal asks for otp";
    let nobody = "imac.alice.btmm.internal wants the password of alice, and there is no terminal to ask at: give it with --password-file";
    tells(&said(laptop, &["tickets", "get", SERVICE, "--user", "alice"], "")?, FAILED, &[reason, nobody])?;
    let code = authenticator.code();
    let answers =
        [("password of alice on imac.alice.btmm.internal: ", PASSWORD), ("one-time code of alice on imac.alice.btmm.internal: ", &code)];
    let screen = laptop.type_line(&format!("btmm tickets get {SERVICE} --user alice"), &answers)?;
    ensure!(screen.contains(reason) && screen.contains("HTTP on imac.alice.btmm.internal: good for "), "{screen}");
    lab.tell("imac# btmm services require HTTP otp: no ticket by certificate; btmm tickets get says why, and asks for what is missing");
    Ok(())
}

/// Everything is as it was.
fn taken_back(lab: &Lab) -> Result<()> {
    let Lab { imac, laptop, .. } = lab;
    tells(&said(imac, &["services", "require", "HTTP", "any"], "")?, Some(0), &["HTTP"])?;
    laptop.kdestroy()?;
    tells(&said(laptop, &["tickets", "get", SERVICE], "")?, Some(0), &["HTTP on imac.alice.btmm.internal: good for "])?;
    let listed = said(laptop, &["tickets"], "")?;
    ensure!(listed.1.contains(" certificate "), "not by certificate: {listed:?}");
    tells(&said(imac, &["passwd", "alice", "--no-totp"], "")?, Some(0), &["alice now gets tickets with the password alone"])?;
    laptop.kinit(&[&lab.user()], Some(PASSWORD)).context("by the password alone again")?;
    lab.tell("both taken back: the certificate does again, and the password alone");
    Ok(())
}
