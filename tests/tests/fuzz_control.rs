//! Hostile bytes on the control socket: the decoder never panics, and what it takes it takes whole.

use bolero::check;
use btmmd::control::messages::{PingReply, Status};
use btmmd::control::wire::{Frames, Method, decode_call, decode_reply};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::Decoder;

const METHODS: [&str; 6] = ["Status", "Ping", "Join", "AccountCreate", "Machines", "Nothing"];

#[test]
fn any_bytes_are_a_call_or_an_error() {
    check!().for_each(|bytes: &[u8]| {
        let _ = decode_call(bytes);
    });
}

#[test]
fn any_parameters_of_a_known_method_are_taken_or_told_to_be_malformed() {
    check!().with_type::<(u8, Vec<u8>)>().for_each(|(which, parameters)| {
        let name = METHODS[usize::from(*which) % METHODS.len()];
        let mut call = format!("{{\"method\":\"org.btmm.Control.{name}\",\"parameters\":").into_bytes();
        call.extend_from_slice(parameters);
        call.push(b'}');
        if let Ok(incoming) = decode_call(&call) {
            let unknown = matches!(incoming.method, Method::Unknown(_));
            assert_eq!(unknown, name == "Nothing");
            assert!(!format!("{:?}", incoming.method).is_empty());
        }
    });
}

#[test]
fn any_bytes_are_a_reply_or_an_error() {
    check!().for_each(|bytes: &[u8]| {
        let _ = decode_reply::<Status>(bytes);
        let _ = decode_reply::<PingReply>(bytes);
    });
}

#[test]
fn frames_are_the_stream_cut_at_each_nul_however_it_arrives() {
    check!().with_type::<(u8, Vec<u8>)>().for_each(|(chunk, stream)| {
        let (mut frames, mut buffer, mut cut) = (Frames::new(4096), BytesMut::new(), Vec::new());
        for piece in stream.chunks(usize::from(*chunk).max(1)) {
            buffer.extend_from_slice(piece);
            loop {
                match frames.decode(&mut buffer) {
                    Ok(Some(frame)) => cut.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(_) => return assert!(stream.len() > 4096),
                }
            }
        }
        let mut expected: Vec<Vec<u8>> = stream.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        let rest = expected.pop().unwrap_or_default();
        assert_eq!((cut, buffer.to_vec()), (expected, rest));
    });
}
