//! `btmm` against a daemon of the test's own on a real socket: shapes of JSON, exit codes, who may do what.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use btmmd::control::driver::Server;
use btmmd::control::error::ControlError;
use btmmd::control::messages::{Invitation, Machines, Pong, Status, Switched};
use btmmd::control::request::{Call, ControlRequest};
use btmmd::control::secrets::{Passwd, PasswordChange, PasswordChanged};
use btmmd::control::services::{Require, Service, Services};
use serde_json::{Value, json};
use tokio::sync::mpsc;

const SAMPLE: &str = include_str!("../../btmmd/src/control/status.sample.json");
/// An invitation by a base at 198.51.100.1, long expired.
const CODE: &str = "btmm1-042cccv4040020g30g2gc1r81450p30d1r7h048j2c0020g30g2gc1r81450p30d1r7pnca9j3j2kk8";
/// What an authenticator reads.
const URI: &str = "otpauth://totp/imac:carol?secret=GEZDGNBVGY3TQOJQ";
/// A user and a group that own nothing.
const NOBODY: u32 = 65_534;

fn sample() -> Status {
    serde_json::from_str(SAMPLE).unwrap()
}

/// A daemon that tells of the sample, in a runtime and a folder of its own.
struct Daemon {
    folder: PathBuf,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Daemon {
    fn start(group: Option<u32>) -> Self {
        let folder = new_folder();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (requests, received) = mpsc::channel(8);
        let socket = folder.join("btmmd.sock");
        let server = runtime.block_on(async { Server::bind(&socket, group) }).unwrap();
        runtime.spawn(server.run(requests));
        runtime.spawn(answer(received));
        Self { folder, runtime: Some(runtime) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.folder, arguments)
    }

    fn btmm(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = std::env::temp_dir().join(format!("btmm-daemon-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_btmm-as-tested"));
    command.args(arguments).env("BTMM_RUNTIME_DIR", folder).stdin(Stdio::null());
    command
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn answer(mut requests: mpsc::Receiver<ControlRequest>) {
    let mut on = true;
    let any = |service: &str| Service { service: service.to_owned(), strength: Vec::new() };
    let mut services = Services { services: vec![any("cifs"), any("host")] };
    while let Some(request) = requests.recv().await {
        // An answer that nobody waits for any more is none of this daemon's business.
        match request.call {
            Call::Status(answer) => drop(answer.send(Ok(Status { on, ..sample() }))),
            Call::Machines(answer) => {
                let machines = Machines { zone: "alice.btmm.internal".to_owned(), this: "laptop".to_owned(), machines: sample().peers };
                drop(answer.send(Ok(machines)));
            }
            Call::Ping(name, answer) => drop(answer.send(pong(name))),
            Call::On(answer) => drop(answer.send(Ok(Switched { on: true, changed: !std::mem::replace(&mut on, true) }))),
            Call::Off(answer) => drop(answer.send(Ok(Switched { on: false, changed: std::mem::replace(&mut on, false) }))),
            Call::Invite(answer) => drop(answer.send(Ok(Invitation { code: CODE.to_owned().into(), expires: 1_790_003_600 }))),
            Call::Join(wanted, answer) if wanted.code.reveal() == CODE => {
                drop(answer.send(sample().account.ok_or(ControlError::NoAccount {})));
            }
            Call::Join(_, answer) => drop(answer.send(Err(ControlError::failed("invitation", "used already")))),
            Call::AccountCreate(wanted, answer) => {
                drop(answer.send(Err(ControlError::AccountExists { account: "alice".to_owned(), machine: wanted.name })));
            }
            Call::Services(answer) => drop(answer.send(Ok(services.clone()))),
            Call::Require(wanted, answer) => drop(answer.send(require(&mut services, wanted))),
            Call::Passwd(wanted, answer) => drop(answer.send(passwd(wanted))),
            other => panic!("{other:?}"),
        }
    }
}

fn require(services: &mut Services, wanted: Require) -> Result<Services, ControlError> {
    let unknown = || ControlError::BadArgument { argument: "SERVICE".to_owned(), message: "there is no such service".to_owned() };
    services.services.iter_mut().find(|service| service.service == wanted.service).ok_or_else(unknown)?.strength = wanted.strength;
    Ok(services.clone())
}

/// Carol's authenticator shows 123456 and nothing else.
fn passwd(wanted: Passwd) -> Result<PasswordChanged, ControlError> {
    let changed = wanted.change != PasswordChange::Totp;
    if wanted.change == PasswordChange::TotpConfirm && wanted.code.as_ref().map(|code| code.reveal()) != Some("123456") {
        return Err(ControlError::BadArgument {
            argument: "code".to_owned(),
            message: "this is not the code; nothing was changed".to_owned(),
        });
    }
    let uri = (!changed).then(|| URI.to_owned().into());
    Ok(PasswordChanged { user: "carol".to_owned(), principal: "carol@R".to_owned(), changed, uri })
}

fn pong(name: String) -> Result<Pong, ControlError> {
    let peers = sample().peers;
    match peers.iter().find(|peer| peer.name == name) {
        None => Err(ControlError::NoSuchMachine {
            machine: name,
            zone: "alice.btmm.internal".to_owned(),
            known: peers.into_iter().map(|peer| peer.name).collect(),
        }),
        Some(peer) if !peer.online => Err(ControlError::Unreachable { machine: name, message: "timed out".to_owned() }),
        Some(peer) => Ok(Pong {
            machine: name,
            inner: peer.inner,
            remote: "198.51.100.7:4500".parse().unwrap(),
            via: "direct".to_owned(),
            rtt_us: 23_400,
            connect_us: None,
        }),
    }
}

#[test]
fn status_prints_as_json_exactly_what_the_daemon_tells() {
    let daemon = Daemon::start(None);
    for arguments in [&["status", "--json"][..], &["--json"]] {
        assert_eq!(printed(&daemon.btmm(arguments)), SAMPLE, "names and their order are stable");
    }
}

#[test]
fn btmm_alone_is_status_for_people_without_colour_in_a_pipe() {
    let daemon = Daemon::start(None);
    let page = printed(&daemon.btmm(&[]));
    assert_eq!(page, printed(&daemon.btmm(&["status"])));
    assert!(page.starts_with("laptop.alice.btmm.internal is on\n") && page.contains("warning: no port mapping"), "{page}");
    assert!(!page.contains('\u{1b}'));
}

#[test]
fn every_reply_has_its_json_shape() {
    let daemon = Daemon::start(None);
    let sample: Value = serde_json::from_str(SAMPLE).unwrap();
    let machines = json!({"zone": "alice.btmm.internal", "this": "laptop", "machines": sample["peers"]});
    assert_eq!(daemon.json(&["machines"]), machines);
    assert_eq!(daemon.json(&["off"]), json!({"on": false, "changed": true}));
    assert_eq!(daemon.json(&["off"]), json!({"on": false, "changed": false}));
    assert_eq!(daemon.json(&["on"]), json!({"on": true, "changed": true}));
    assert_eq!(daemon.json(&["account", "show"]), sample["account"]);
    assert_eq!(daemon.json(&["join", CODE]), sample["account"]);
    assert_eq!(daemon.json(&["invite"]), json!({"code": CODE, "expires": 1_790_003_600}));
    assert_eq!(daemon.json(&["version"]), json!({"btmm": env!("CARGO_PKG_VERSION"), "btmmd": "0.1.0"}));
    let pong = json!({
        "machine": "imac", "inner": "fd7a:1b2c:3d4e::1", "remote": "198.51.100.7:4500", "via": "direct", "rtt_us": 23400, "connect_us": null
    });
    assert_eq!(daemon.json(&["ping", "imac", "-c", "1"]), json!({"sequence": 1, "pong": pong, "lost": null}));
}

#[test]
fn the_code_alone_goes_to_standard_output() {
    let daemon = Daemon::start(None);
    let output = daemon.btmm(&["invite"]);
    assert_eq!(printed(&output), format!("{CODE}\n"));
    assert!(told(&output).starts_with("for one machine, once; it ends "), "{}", told(&output));
}

#[test]
fn a_code_is_taken_from_the_argument_or_from_standard_input() {
    let daemon = Daemon::start(None);
    let spaced = format!(" {CODE}\n");
    for arguments in [&["join"][..], &["join", "-"], &["join", CODE], &["join", spaced.as_str()]] {
        let mut child = daemon.command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // With the code as its argument it does not read.
        let _ = child.stdin.take().unwrap().write_all(format!("  {CODE} \nrest").as_bytes());
        let output = child.wait_with_output().unwrap();
        let expected = "joined account alice; this machine is laptop.alice.btmm.internal (fd7a:1b2c:3d4e:0:89ab:cdef:123:4567)\n";
        assert_eq!((output.status.code(), printed(&output).as_str()), (Some(0), expected), "{arguments:?}");
    }
}

#[test]
fn refusals_are_one_line_naming_the_object_with_their_exit_code() {
    let daemon = Daemon::start(None);
    let upper = CODE.to_uppercase();
    for (arguments, code, expected) in [
        (&["ping", "x", "-c", "1"][..], 2, "btmm: no machine \"x\" in alice.btmm.internal; you have: imac, mini, server\n"),
        (&["join", upper.as_str()], 1, "btmm: invitation: used already\n"),
        (&["account", "create", "bob", "--serve"], 1, "btmm: this machine is already bob in account alice\n"),
    ] {
        let output = daemon.btmm(arguments);
        assert_eq!((output.status.code(), told(&output).as_str()), (Some(code), expected), "{arguments:?}");
        assert!(output.stdout.is_empty());
    }
    let output = daemon.btmm(&["--json", "ping", "x"]);
    let failure: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!((&failure["error"], &failure["exit_code"]), (&"org.btmm.Control.NoSuchMachine".into(), &2.into()));
}

#[test]
fn a_machine_that_does_not_answer_gives_exit_code_5_and_a_tally() {
    let daemon = Daemon::start(None);
    let output = daemon.btmm(&["ping", "mini", "-c", "2", "-i", "0.2"]);
    let expected = "nothing from mini: seq=1: timed out\nnothing from mini: seq=2: timed out\n--- mini: 2 sent, 0 answered, 100% lost\n";
    assert_eq!((output.status.code(), printed(&output).as_str()), (Some(5), expected));
}

#[test]
fn an_endless_ping_prints_as_it_goes_and_sums_up_when_interrupted() {
    let daemon = Daemon::start(None);
    let mut child = daemon.command(&["ping", "imac"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    lines.read_line(&mut first).unwrap();
    assert_eq!(first, "pong from imac (fd7a:1b2c:3d4e::1): seq=1 through 198.51.100.7:4500 direct time=23.4 ms\n");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id().try_into().unwrap()), nix::sys::signal::SIGINT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("answered, 0% lost, min/avg/max 23.4 ms / 23.4 ms / 23.4 ms"), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn members_of_the_group_may_look_only_root_may_change_and_others_are_kept_out() {
    assert!(nix::unistd::geteuid().is_root(), "this test takes on other users and so needs root");
    let daemon = Daemon::start(Some(NOBODY));
    let program = daemon.folder.join("btmm");
    std::fs::copy(env!("CARGO_BIN_EXE_btmm-as-tested"), &program).unwrap();
    let run = |gid: u32, arguments: &[&str]| {
        Command::new(&program).args(arguments).env("BTMM_RUNTIME_DIR", &daemon.folder).uid(NOBODY).gid(gid).output().unwrap()
    };
    for looking in [&["status"][..], &["machines"], &["services"], &["ping", "imac", "-c", "1"]] {
        assert_eq!(run(NOBODY, looking).status.code(), Some(0), "{looking:?}");
    }
    for (changing, method) in [
        (&["off"][..], "Off"),
        (&["on"], "On"),
        (&["invite"], "Invite"),
        (&["join", CODE], "Join"),
        (&["account", "create", "bob", "--serve"], "AccountCreate"),
        (&["keytab", "--output", "/nonexistent/keytab"], "Keytab"),
        (&["services", "require", "host", "otp"], "Require"),
    ] {
        let output = run(NOBODY, changing);
        let expected = format!("btmm: {method} is not permitted to user {NOBODY}: be root, for example with sudo\n");
        assert_eq!((output.status.code(), told(&output)), (Some(4), expected), "{changing:?}");
    }
    let outsider = run(NOBODY - 1, &["status"]);
    assert_eq!(outsider.status.code(), Some(4));
    assert!(
        told(&outsider).ends_with("be root or a member of group btmm (a new member logs out and in again first)\n"),
        "{}",
        told(&outsider)
    );
    assert_eq!(daemon.json(&["status"])["on"], true, "nothing was changed");
}

#[test]
fn the_firewall_is_shown_to_members_by_the_daemon_and_turned_by_root_alone() {
    assert!(nix::unistd::geteuid().is_root(), "this test takes on other users and so needs root");
    let daemon = Daemon::start(Some(NOBODY));
    let program = daemon.folder.join("btmm");
    std::fs::copy(env!("CARGO_BIN_EXE_btmm-as-tested"), &program).unwrap();
    let run = |runtime: &Path, arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).env("BTMM_RUNTIME_DIR", runtime).uid(NOBODY).gid(NOBODY);
        command.env("BTMM_STATE_DIR", daemon.folder.join("state")).env("BTMM_BPFFS", daemon.folder.join("bpf")).output().unwrap()
    };
    let report: Value = serde_json::from_slice(&run(&daemon.folder, &["firewall", "status", "--json"]).stdout).unwrap();
    let expected = json!({"blocked": false, "enforced_on": ["eth0"], "not_enforced_on": [], "counters": null, "warning": null});
    assert_eq!(report, expected);
    let alone = run(Path::new("/nonexistent"), &["firewall", "status"]);
    assert_eq!(alone.status.code(), Some(4));
    assert_eq!(told(&alone), "btmm: firewall: btmmd is not running, and without it only root can read the switch\n");
    for action in ["block", "allow"] {
        let output = run(&daemon.folder, &["firewall", action]);
        assert_eq!(output.status.code(), Some(4), "{}", told(&output));
        assert!(told(&output).ends_with(": be root, for example with sudo\n"), "{}", told(&output));
    }
    assert!(!daemon.folder.join("state").exists());
}

#[test]
fn what_a_service_asks_is_set_and_shown() {
    let daemon = Daemon::start(None);
    let heading = "SERVICE  TICKETS FOR THOSE WITH\n";
    assert_eq!(printed(&daemon.btmm(&["services"])), format!("{heading}cifs     any proof\nhost     any proof\n"));
    let set = daemon.btmm(&["services", "require", "host", "certificate", "otp"]);
    assert_eq!(printed(&set), format!("{heading}cifs     any proof\nhost     certificate or otp\n"));
    let expected = json!({"services": [{"service": "cifs", "strength": []}, {"service": "host", "strength": ["certificate", "otp"]}]});
    assert_eq!(daemon.json(&["services", "list"]), expected);
    assert_eq!(daemon.json(&["services", "require", "host", "any"])["services"][1]["strength"], json!([]));
    for (wrong, said) in [
        (&["services", "require", "ftp", "otp"][..], "btmm: SERVICE: there is no such service\n"),
        (&["services", "require", "host", "any", "otp"], "btmm: STRENGTH: any does not go with another\n"),
    ] {
        let output = daemon.btmm(wrong);
        assert_eq!((output.status.code(), told(&output).as_str()), (Some(2), said));
    }
    assert_eq!(daemon.btmm(&["services", "require", "host", "strong"]).status.code(), Some(2));
}

#[test]
fn a_second_factor_is_confirmed_by_a_code_that_is_read_after_its_line_was_printed() {
    let daemon = Daemon::start(None);
    let run = |arguments: &[&str], code: &str| {
        let mut child = daemon.command(arguments);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
        let rest: Vec<String> = lines.map(Result::unwrap).collect();
        (first, rest.join("\n"), child.wait_with_output().unwrap())
    };
    let totp = ["passwd", "carol", "--totp", "--code-file", "-"];
    let (first, rest, output) = run(&totp, "123456\n");
    assert_eq!((first.as_str(), rest.as_str()), (URI, "carol now gets tickets with the password and a one-time code"));
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let (first, rest, output) = run(&totp, "654321\n");
    assert_eq!((first.as_str(), rest.as_str(), output.status.code()), (URI, "", Some(2)));
    assert!(told(&output).ends_with("btmm: code: this is not the code; nothing was changed\n"), "{}", told(&output));
    let lone = daemon.btmm(&["passwd", "carol", "--password-file", "/dev/null", "--code-file", "/dev/null"]);
    assert_eq!((lone.status.code(), told(&lone).as_str()), (Some(2), "btmm: code: a code goes with --totp\n"));
    let (first, rest, _) = run(&[&totp[..], &["--json"]].concat(), "123456\n");
    let [first, rest]: [Value; 2] = [first, rest].map(|line| serde_json::from_str(&line).unwrap());
    assert_eq!((&first["uri"], &first["changed"], &rest["changed"]), (&json!(URI), &json!(false), &json!(true)));
}

#[test]
fn a_second_factor_is_confirmed_also_when_the_daemon_has_hung_up_on_the_silence_before_the_code() {
    let folder = new_folder();
    let listener = UnixListener::bind(folder.join("btmmd.sock")).unwrap();
    let reply = |changed: bool| json!({"parameters": {"user": "carol", "principal": "carol@R", "changed": changed, "uri": (!changed).then_some(URI)}});
    let impatient = std::thread::spawn(move || {
        for changed in [false, true] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = [0; 1024];
            let _ = stream.read(&mut call).unwrap();
            stream.write_all(format!("{}\0", reply(changed)).as_bytes()).unwrap();
        }
    });
    let code = folder.join("code");
    std::fs::write(&code, "123456\n").unwrap();
    let output = command(&folder, &["passwd", "carol", "--totp", "--code-file"]).arg(&code).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    assert!(printed(&output).ends_with("carol now gets tickets with the password and a one-time code\n"));
    impatient.join().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_daemon_that_talks_nonsense_or_hangs_up_is_told_as_such() {
    for (reply, expected) in [
        (&b""[..], "btmmd did not answer: "),
        (b"{\"parameters\":", "btmmd did not answer: "),
        (b"SSH-2.0-x\r\n\0", "is it of the same version as btmm?"),
        (b"{\"parameters\":{\"on\":1}}\0", "is it of the same version as btmm?"),
    ] {
        let folder = new_folder();
        let listener = UnixListener::bind(folder.join("btmmd.sock")).unwrap();
        let impostor = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut call = [0; 256];
            let _ = stream.read(&mut call).unwrap();
            stream.write_all(reply).unwrap();
        });
        let output = command(&folder, &["off"]).output().unwrap();
        impostor.join().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(told(&output).contains(expected), "{}", told(&output));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
