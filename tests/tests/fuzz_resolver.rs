//! Hostile bytes at the stub: it never panics, never answers twice, and what it says is well formed.

use std::time::{Duration, Instant};

use bolero::check;
use btmmd::resolver::{Asker, Command, Config, Input, Stub, Table};
use hickory_proto::op::{Message, MessageType};

fn stub() -> Stub {
    let mut stub = Stub::new(Config { held: 8, ..Config::default() });
    let table = Table {
        zone: "a.b".parse().unwrap(),
        own: "c".parse().unwrap(),
        prefix: "fd12:3456:789a::".parse().unwrap(),
        machines: [("c", "fd12:3456:789a::1"), ("d", "fd12:3456:789a::2")]
            .into_iter()
            .map(|(name, inner)| (name.parse().unwrap(), inner.parse().unwrap()))
            .collect(),
    };
    stub.handle(Input::Table(Some(table)), Instant::now());
    stub
}

fn well_formed(query: &[u8], answer: &[u8]) {
    assert!(answer.len() <= 1232);
    assert_eq!(answer.get(..2), query.get(..2), "the id comes back");
    let answer = Message::from_vec(answer).expect("an answer that parses");
    assert_eq!(answer.metadata.message_type, MessageType::Response);
}

/// Either `bytes` as they are, or made more likely to be a question for machine `d`.
fn shaped(bytes: &[u8]) -> Vec<u8> {
    let mut shaped = bytes.to_vec();
    if let [first, ..] = bytes
        && first % 2 == 0
    {
        let question = b"\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01d\x01a\x01b\x00\x00\x1c\x00\x01";
        shaped = question.to_vec();
        for pair in bytes.chunks_exact(2).take(4) {
            let at = usize::from(pair[0]) % shaped.len();
            shaped[at] = pair[1];
        }
        shaped.extend_from_slice(bytes.get(8..).unwrap_or_default());
    }
    shaped
}

#[test]
fn any_bytes_get_at_most_one_well_formed_answer() {
    check!().with_iterations(20_000).for_each(|bytes: &[u8]| {
        let (mut stub, start) = (stub(), Instant::now());
        let query = shaped(bytes);
        let from = Asker::Tcp(1);
        stub.handle(Input::Query { bytes: query.clone(), from }, start);
        let mut answers = 0;
        let mut wanted = false;
        while let Some(command) = stub.poll_command() {
            match command {
                Command::Answer { bytes, .. } => {
                    well_formed(&query, &bytes);
                    answers += 1;
                }
                Command::WantTunnel(_) => wanted = true,
            }
        }
        assert!(answers + usize::from(wanted) <= 1);
        stub.handle(Input::Timeout, start + Duration::from_secs(5));
        while let Some(Command::Answer { bytes, .. }) = stub.poll_command() {
            well_formed(&query, &bytes);
            answers += 1;
        }
        assert!(answers == 1 || (answers == 0 && !wanted), "what was held is answered in the end");
        assert_eq!(stub.poll_timeout(), None);
    });
}
