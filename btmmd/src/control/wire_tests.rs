use super::*;
use crate::control::messages::{InvitationCode, PingReply, Status};

fn call(text: &str) -> Method {
    decode_call(text.as_bytes()).unwrap().method
}

fn framed(input: &[u8], chunk: usize, limit: usize) -> Result<Vec<Vec<u8>>, WireError> {
    let (mut frames, mut buffer, mut out) = (Frames::new(limit), BytesMut::new(), Vec::new());
    for piece in input.chunks(chunk) {
        buffer.extend_from_slice(piece);
        while let Some(frame) = frames.decode(&mut buffer)? {
            out.push(frame.to_vec());
        }
    }
    Ok(out)
}

#[test]
fn frames_do_not_depend_on_how_the_stream_is_cut() {
    let input = b"first\0\0third\0unfinished";
    for chunk in 1..input.len() {
        assert_eq!(framed(input, chunk, 10).unwrap(), [b"first".to_vec(), vec![], b"third".to_vec()], "{chunk}");
    }
}

#[test]
fn a_frame_longer_than_the_limit_is_refused_before_it_is_whole() {
    assert_eq!(framed(&[b'x'; 10], 3, 10).unwrap(), Vec::<Vec<u8>>::new());
    assert!(matches!(framed(&[b'x'; 11], 3, 10), Err(WireError::TooLong(10))));
    assert!(matches!(framed(b"xxxxxxxxxxx\0", 12, 10), Err(WireError::TooLong(10))));
}

#[test]
fn calls_are_decoded_with_their_parameters_in_any_order() {
    assert_eq!(call(r#"{"method":"org.btmm.Control.Status"}"#), Method::Status);
    assert_eq!(call(r#"{"parameters":{},"method":"org.btmm.Control.Off"}"#), Method::Off);
    let ping = Ping { machine: "imac".to_owned(), count: Some(3), interval_ms: None };
    assert_eq!(call(r#"{"parameters":{"count":3,"machine":"imac"},"method":"org.btmm.Control.Ping"}"#), Method::Ping(ping));
    let incoming = decode_call(br#"{"method":"org.btmm.Control.Ping","parameters":{"machine":"a"},"more":true,"oneway":true}"#).unwrap();
    assert!(incoming.more && incoming.oneway);
}

#[test]
fn what_the_client_encodes_the_server_decodes() {
    let join = Join { code: InvitationCode::from("btmm1-\"é\\u0000".to_owned()), machine: Some("imac".to_owned()), key: None };
    let bytes = encode_call("Join", &join, false).unwrap();
    let frame = bytes.strip_suffix(&[0]).unwrap();
    assert!(!frame.contains(&0));
    assert_eq!(decode_call(frame).unwrap(), Incoming { method: Method::Join(join), more: false, oneway: false });
}

#[test]
fn wrong_parameters_are_told_apart_from_wrong_methods() {
    for (text, told) in [
        (r#"{"method":"org.btmm.Control.Join"}"#, "parameters are missing"),
        (r#"{"method":"org.btmm.Control.Join","parameters":{}}"#, "missing field `code`"),
        (r#"{"method":"org.btmm.Control.Join","parameters":{"code":"c","cod":1}}"#, "unknown field `cod`"),
        (r#"{"method":"org.btmm.Control.Ping","parameters":{"machine":"a","count":-1}}"#, "invalid value: integer `-1`"),
    ] {
        let Method::Malformed { message, .. } = call(text) else { panic!("{text}") };
        assert!(message.starts_with(told), "{message}");
    }
    for unknown in ["org.btmm.Control.Nothing", "org.btmm.control.Status", "Status", "", "org.varlink.service.Nothing"] {
        assert_eq!(call(&format!(r#"{{"method":"{unknown}"}}"#)), Method::Unknown(unknown.to_owned()));
    }
}

#[test]
fn what_is_not_varlink_is_an_error() {
    for text in ["", "null", "[]", "{}", r#"{"method":1}"#, r#"{"method":"x","more":"yes"}"#, r#"{"method":"x"}{"#, "\u{1}"] {
        assert!(decode_call(text.as_bytes()).is_err(), "{text}");
    }
    assert!(decode_call(&b"[".repeat(100_000)).is_err(), "deep nesting does not overflow the stack");
}

#[test]
fn a_code_never_shows_in_debug_output() {
    let shown = format!("{:?}", call(r#"{"method":"org.btmm.Control.Join","parameters":{"code":"SECRET"}}"#));
    assert!(shown.contains("Join") && !shown.contains("SECRET"), "{shown}");
}

/// One of each.
pub(in super::super) fn every_error() -> [ControlError; 10] {
    let name = || "x".to_owned();
    [
        ControlError::NotPermitted { method: name(), uid: 7, message: name() },
        ControlError::BadArgument { argument: name(), message: name() },
        ControlError::NoSuchMachine { machine: name(), zone: name(), known: vec![name()] },
        ControlError::NoAccount {},
        ControlError::AccountExists { account: name(), machine: name() },
        ControlError::NotBase { method: name(), account: name() },
        ControlError::SwitchedOff {},
        ControlError::TicketRefused { ticket: name(), message: name() },
        ControlError::Unreachable { machine: name(), message: name() },
        ControlError::failed("x", "y"),
    ]
}

#[test]
fn every_error_survives_the_wire_with_its_exit_class() {
    for error in every_error() {
        let bytes = encode_error(&error).unwrap();
        let back = decode_reply::<PingReply>(bytes.strip_suffix(&[0]).unwrap()).unwrap().unwrap_err();
        assert_eq!(back, error);
    }
}

#[test]
fn an_error_of_a_newer_daemon_keeps_its_name_and_message() {
    let frame = br#"{"error":"org.btmm.Control.Newer","parameters":{"message":"too new","extra":[1]}}"#;
    let error = decode_reply::<PingReply>(frame).unwrap().unwrap_err();
    assert_eq!(error.to_string(), "org.btmm.Control.Newer: too new");
    let bare = decode_reply::<PingReply>(br#"{"error":"org.example.Odd"}"#).unwrap().unwrap_err();
    assert!(bare.to_string().starts_with("org.example.Odd: "), "{bare}");
}

#[test]
fn a_status_of_a_newer_daemon_is_still_understood() {
    let mut sample: serde_json::Value = serde_json::from_str(include_str!("status.sample.json")).unwrap();
    sample["novelty"] = 1.into();
    sample["peers"][0]["tunnel"]["novelty"] = 1.into();
    assert!(serde_json::from_value::<Status>(sample).is_ok());
}
