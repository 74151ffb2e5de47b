use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use super::*;
use crate::control::messages::{Machines, Pong, Switched};
use crate::control::secrets::{HeldTickets, RealmTickets};

const ROOT: Caller = Caller { uid: 0, gid: 0, pid: None, may_change: true };
const MEMBER: Caller = Caller { uid: 1000, gid: 1000, pid: None, may_change: false };

struct Line {
    stream: DuplexStream,
    frames: Frames,
    buffer: BytesMut,
}

impl Line {
    fn open(caller: Caller) -> (Self, Receiver<ControlRequest>) {
        Self::open_with(caller, Deadlines::default())
    }

    fn open_with(caller: Caller, deadlines: Deadlines) -> (Self, Receiver<ControlRequest>) {
        let (ours, theirs) = duplex(256 * 1024);
        let (requests, received) = mpsc::channel(8);
        tokio::spawn(serve(theirs, caller, requests, deadlines));
        (Self { stream: ours, frames: Frames::new(wire::MAX_REPLY), buffer: BytesMut::new() }, received)
    }

    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.write_all(&[0]).await.unwrap();
    }

    async fn reply(&mut self) -> serde_json::Value {
        use tokio_util::codec::Decoder;
        loop {
            if let Some(frame) = self.frames.decode(&mut self.buffer).unwrap() {
                return serde_json::from_slice(&frame).unwrap();
            }
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "the server hung up");
        }
    }

    async fn hung_up(&mut self) -> bool {
        self.stream.read_buf(&mut self.buffer).await.unwrap() == 0 && self.buffer.is_empty()
    }
}

fn machines() -> Machines {
    Machines { zone: "alice.btmm.internal".to_owned(), this: "laptop".to_owned(), machines: vec![] }
}

fn pong(name: &str) -> Pong {
    let (inner, remote) = ("fd00::1".parse().unwrap(), "192.0.2.1:4500".parse().unwrap());
    Pong { machine: name.to_owned(), inner, remote, via: "direct".to_owned(), rtt_us: 5, connect_us: None }
}

async fn answer_pings(mut requests: Receiver<ControlRequest>) {
    while let Some(request) = requests.recv().await {
        let Call::Ping(name, answer) = request.call else { panic!("only pings are expected") };
        let reply = match name.as_str() {
            "gone" => Err(ControlError::Unreachable { machine: name, message: "timed out".to_owned() }),
            "odd" => Err(ControlError::NoSuchMachine { machine: name, zone: "z.z".to_owned(), known: vec![] }),
            _ => Ok(pong(&name)),
        };
        let _ = answer.send(reply);
    }
}

#[tokio::test]
async fn a_member_may_look_but_not_change() {
    let (mut line, mut requests) = Line::open(MEMBER);
    for method in ["On", "Off", "Invite", "Reload"] {
        line.send(&format!(r#"{{"method":"org.btmm.Control.{method}"}}"#)).await;
        let reply = line.reply().await;
        assert_eq!(reply["error"], "org.btmm.Control.NotPermitted");
        assert_eq!((&reply["parameters"]["method"], &reply["parameters"]["uid"]), (&method.into(), &1000.into()));
    }
    for call in [r#"Join","parameters":{"code":"c"}"#, r#"AccountCreate","parameters":{"name":"a","serve":true}"#] {
        line.send(&format!(r#"{{"method":"org.btmm.Control.{call}}}"#)).await;
        assert_eq!(line.reply().await["error"], "org.btmm.Control.NotPermitted");
    }
    assert!(requests.try_recv().is_err(), "the event loop hears of none of these");
    line.send(r#"{"method":"org.btmm.Control.Machines"}"#).await;
    let Call::Machines(answer) = requests.recv().await.unwrap().call else { panic!() };
    answer.send(Ok(machines())).unwrap();
    assert_eq!(line.reply().await["parameters"]["this"], "laptop");
}

#[tokio::test]
async fn root_may_change_and_the_event_loop_learns_who_it_was() {
    let (mut line, mut requests) = Line::open(ROOT);
    line.send(r#"{"method":"org.btmm.Control.Off"}"#).await;
    let request = requests.recv().await.unwrap();
    assert_eq!(request.caller, ROOT);
    let Call::Off(answer) = request.call else { panic!() };
    answer.send(Ok(Switched { on: false, changed: true })).unwrap();
    assert_eq!(line.reply().await, serde_json::json!({"parameters": {"on": false, "changed": true}}));
}

#[tokio::test]
async fn calls_sent_together_are_answered_in_order() {
    let (mut line, mut requests) = Line::open(MEMBER);
    for call in ["org.btmm.Control.Machines", "org.varlink.service.GetInfo", "org.btmm.Control.Nothing"] {
        line.send(&format!(r#"{{"method":"{call}"}}"#)).await;
    }
    let Call::Machines(answer) = requests.recv().await.unwrap().call else { panic!() };
    tokio::task::yield_now().await;
    answer.send(Ok(machines())).unwrap();
    assert_eq!(line.reply().await["parameters"]["zone"], "alice.btmm.internal");
    assert_eq!(line.reply().await["parameters"]["product"], "btmmd");
    assert_eq!(line.reply().await["error"], "org.varlink.service.MethodNotFound");
}

#[tokio::test]
async fn a_oneway_call_is_made_and_not_answered() {
    let (mut line, mut requests) = Line::open(ROOT);
    line.send(r#"{"method":"org.btmm.Control.On","oneway":true}"#).await;
    line.send(r#"{"method":"org.varlink.service.GetInfo"}"#).await;
    let Call::On(answer) = requests.recv().await.unwrap().call else { panic!() };
    answer.send(Ok(Switched { on: true, changed: true })).unwrap();
    assert_eq!(line.reply().await["parameters"]["product"], "btmmd");
}

#[tokio::test]
async fn the_event_loop_sees_that_the_caller_hung_up() {
    let (mut line, mut requests) = Line::open(ROOT);
    line.send(r#"{"method":"org.btmm.Control.Join","parameters":{"code":"c"}}"#).await;
    let Call::Join(_, mut answer) = requests.recv().await.unwrap().call else { panic!() };
    assert!(!answer.is_closed());
    drop(line);
    tokio::time::timeout(Duration::from_secs(5), answer.closed()).await.expect("closed without an answer");
}

#[tokio::test]
async fn an_answer_that_is_dropped_is_told_as_a_failure() {
    let (mut line, mut requests) = Line::open(ROOT);
    line.send(r#"{"method":"org.btmm.Control.Status"}"#).await;
    drop(requests.recv().await.unwrap());
    assert_eq!(line.reply().await["error"], "org.btmm.Control.Failed");
}

#[tokio::test]
async fn a_ping_without_more_is_one_probe() {
    let (mut line, requests) = Line::open(MEMBER);
    tokio::spawn(answer_pings(requests));
    line.send(r#"{"method":"org.btmm.Control.Ping","parameters":{"machine":"imac"}}"#).await;
    let reply = line.reply().await;
    assert_eq!((&reply["parameters"]["pong"]["machine"], &reply["continues"]), (&"imac".into(), &serde_json::Value::Null));
    line.send(r#"{"method":"org.btmm.Control.Ping","parameters":{"machine":"imac","count":2}}"#).await;
    assert_eq!(line.reply().await["error"], "org.varlink.service.ExpectedMore");
}

#[tokio::test]
async fn probes_are_numbered_and_a_lost_one_does_not_end_the_stream() {
    let (mut line, requests) = Line::open(MEMBER);
    tokio::spawn(answer_pings(requests));
    line.send(r#"{"method":"org.btmm.Control.Ping","more":true,"parameters":{"machine":"gone","count":2,"interval_ms":200}}"#).await;
    for (sequence, continues) in [(1, true), (2, false)] {
        let reply = line.reply().await;
        assert_eq!(reply["parameters"], serde_json::json!({"sequence": sequence, "pong": null, "lost": "timed out"}));
        assert_eq!(reply["continues"].as_bool().unwrap_or(false), continues);
    }
    line.send(r#"{"method":"org.btmm.Control.Ping","more":true,"parameters":{"machine":"odd"}}"#).await;
    assert_eq!(line.reply().await["error"], "org.btmm.Control.NoSuchMachine");
}

#[tokio::test]
async fn what_the_event_loop_does_not_answer_in_time_is_told() {
    let short = Duration::from_millis(100);
    let (mut line, mut requests) = Line::open_with(ROOT, Deadlines { read: short, change: short, probe: short });
    let unanswered = tokio::spawn(async move {
        let mut unanswered = Vec::new();
        while let Some(request) = requests.recv().await {
            unanswered.push(request);
        }
        unanswered.len()
    });
    for method in ["Status", "On"] {
        line.send(&format!(r#"{{"method":"org.btmm.Control.{method}"}}"#)).await;
        let reply = line.reply().await;
        assert_eq!(reply["parameters"], serde_json::json!({"object": "btmmd", "message": "no answer within 0.1 s"}));
    }
    line.send(r#"{"method":"org.btmm.Control.Ping","more":true,"parameters":{"machine":"imac","count":2,"interval_ms":200}}"#).await;
    for _ in 0..2 {
        assert_eq!(line.reply().await["parameters"]["lost"], "no answer within 0.1 s", "a late probe is a lost one");
    }
    drop(line);
    assert_eq!(unanswered.await.unwrap(), 4);
}

#[tokio::test]
async fn probes_cannot_be_asked_for_in_a_flood() {
    let (mut line, _requests) = Line::open(MEMBER);
    for (parameters, argument) in
        [(r#""interval_ms":0"#, "interval_ms"), (r#""interval_ms":60001"#, "interval_ms"), (r#""count":0"#, "count")]
    {
        line.send(&format!(r#"{{"method":"org.btmm.Control.Ping","more":true,"parameters":{{"machine":"a",{parameters}}}}}"#)).await;
        let reply = line.reply().await;
        assert_eq!((&reply["error"], &reply["parameters"]["argument"]), (&"org.btmm.Control.BadArgument".into(), &argument.into()));
    }
}

#[tokio::test]
async fn who_does_not_speak_varlink_is_hung_up_on() {
    for noise in ["GET / HTTP/1.0\r\n\r\n\0".to_owned(), "x".repeat(wire::MAX_CALL + 1), "{}\0".to_owned()] {
        let (mut line, mut requests) = Line::open(ROOT);
        line.stream.write_all(noise.as_bytes()).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(5), line.hung_up()).await.unwrap());
        assert!(requests.recv().await.is_none());
    }
}

fn tickets(machine: &str) -> RealmTickets {
    RealmTickets { realm: "A".to_owned(), machine: machine.to_owned(), own: false, cache: "BQQ=".to_owned().into() }
}

#[tokio::test]
async fn a_ticket_is_asked_of_the_event_loop_which_learns_who_asks() {
    let (mut line, mut requests) = Line::open(MEMBER);
    line.send(r#"{"method":"org.btmm.Control.Ticket","parameters":{"service":"host","machine":"imac"}}"#).await;
    let request = requests.recv().await.unwrap();
    assert_eq!(request.caller, MEMBER);
    let Call::Ticket(wanted, answer) = request.call else { panic!() };
    assert_eq!((wanted.service.as_deref(), wanted.machine.as_str(), wanted.user), (Some("host"), "imac", None));
    answer.send(Ok(tickets("imac"))).unwrap();
    assert_eq!(line.reply().await["parameters"]["cache"], "BQQ=");
}

#[tokio::test]
async fn who_listens_to_tickets_is_told_at_once_and_at_every_change_until_the_session_ends() {
    let (mut line, mut requests) = Line::open(MEMBER);
    let held = watch::Sender::new(Arc::new(HeldTickets::default()));
    line.send(r#"{"method":"org.btmm.Control.Tickets","more":true}"#).await;
    let Call::Tickets(answer) = requests.recv().await.unwrap().call else { panic!() };
    answer.send(Ok(held.subscribe())).unwrap();
    let first = line.reply().await;
    assert_eq!((&first["parameters"]["tickets"], &first["continues"]), (&serde_json::json!([]), &true.into()));
    held.send_replace(Arc::new(HeldTickets { realms: vec!["A".to_owned()], tickets: vec![tickets("imac")] }));
    let second = line.reply().await;
    assert_eq!((&second["parameters"]["tickets"][0]["machine"], &second["continues"]), (&"imac".into(), &true.into()));
    drop(held);
    assert_eq!(line.reply().await["error"], "org.btmm.Control.Failed");
}

#[tokio::test]
async fn who_does_not_listen_is_told_once_what_tickets_there_are() {
    let (mut line, mut requests) = Line::open(ROOT);
    let held = watch::Sender::new(Arc::new(HeldTickets { realms: vec![], tickets: vec![tickets("imac")] }));
    line.send(r#"{"method":"org.btmm.Control.Tickets"}"#).await;
    let Call::Tickets(answer) = requests.recv().await.unwrap().call else { panic!() };
    answer.send(Ok(held.subscribe())).unwrap();
    let only = line.reply().await;
    assert_eq!((&only["parameters"]["tickets"][0]["realm"], &only["continues"]), (&"A".into(), &serde_json::Value::Null));
}
