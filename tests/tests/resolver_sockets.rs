//! The stub behind real sockets, on a loopback address of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use btmmd::resolver::driver::{BindError, Driver};
use btmmd::resolver::{Command, Config, Input, Stub, Table};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// A stub whose tunnels come up `delay` after they are wanted.
async fn serve(delay: Duration) -> SocketAddr {
    let mut driver = Driver::bind("127.45.0.77:0".parse().unwrap()).await.unwrap();
    let address = driver.address().unwrap();
    let mut stub = Stub::new(Config::default());
    let table = Table {
        zone: "alice.btmm.internal".parse().unwrap(),
        own: "imac".parse().unwrap(),
        prefix: "fd12:3456:789a::".parse().unwrap(),
        machines: [("imac", "fd12:3456:789a::1"), ("laptop", "fd12:3456:789a::2")]
            .into_iter()
            .map(|(name, inner)| (name.parse().unwrap(), inner.parse().unwrap()))
            .collect(),
    };
    stub.handle(Input::Table(Some(table)), Instant::now());
    tokio::spawn(async move {
        let mut wanted = Vec::new();
        loop {
            let input = match wanted.first().cloned() {
                Some((at, machine)) => tokio::select! {
                    input = driver.next() => input,
                    () = tokio::time::sleep_until(at) => {
                        wanted.remove(0);
                        Input::TunnelUp(machine)
                    }
                },
                None => driver.next().await,
            };
            stub.handle(input, Instant::now());
            while let Some(command) = stub.poll_command() {
                match command {
                    Command::Answer { to, bytes } => driver.answer(to, bytes),
                    Command::WantTunnel(machine) => wanted.push((tokio::time::Instant::now() + delay, machine)),
                }
            }
        }
    });
    address
}

fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = id;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::AAAA));
    message.to_vec().unwrap()
}

async fn read_framed(stream: &mut TcpStream) -> Message {
    let length = stream.read_u16().await.unwrap();
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

#[tokio::test]
async fn an_answer_waits_for_the_tunnel_and_comes_from_the_address_asked() {
    let delay = Duration::from_millis(300);
    let stub = serve(delay).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(stub).await.unwrap();
    let start = Instant::now();
    socket.send(&query(1, "laptop.alice.btmm.internal.")).await.unwrap();
    let mut bytes = [0; 512];
    let length = socket.recv(&mut bytes).await.unwrap();
    assert!(start.elapsed() >= delay);
    let answer = Message::from_vec(&bytes[..length]).unwrap();
    assert_eq!(answer.answers[0].data.to_string(), "fd12:3456:789a::2");
}

#[tokio::test]
async fn one_tcp_connection_carries_many_queries_and_answers_out_of_order() {
    let stub = serve(Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(stub).await.unwrap();
    let mut both = Vec::new();
    for (id, name) in [(1, "laptop.alice.btmm.internal."), (2, "ghost.alice.btmm.internal.")] {
        let query = query(id, name);
        both.extend_from_slice(&u16::try_from(query.len()).unwrap().to_be_bytes());
        both.extend_from_slice(&query);
    }
    // One octet at a time: framing must not depend on segments.
    for octet in both {
        stream.write_all(&[octet]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let first = read_framed(&mut stream).await;
    let second = read_framed(&mut stream).await;
    assert_eq!((first.metadata.id, first.metadata.response_code), (2, ResponseCode::NXDomain), "what waits holds up nobody");
    assert_eq!((second.metadata.id, second.answers.len()), (1, 1));
}

#[tokio::test]
async fn an_asker_that_leaves_does_not_stop_the_others() {
    let stub = serve(Duration::from_millis(200)).await;
    for _ in 0..40 {
        let mut stream = TcpStream::connect(stub).await.unwrap();
        let query = query(1, "laptop.alice.btmm.internal.");
        stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
        stream.write_all(&query).await.unwrap();
    }
    let mut stream = TcpStream::connect(stub).await.unwrap();
    let query = query(9, "imac.alice.btmm.internal.");
    stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
    stream.write_all(&query).await.unwrap();
    assert_eq!(read_framed(&mut stream).await.metadata.id, 9);
}

#[tokio::test]
async fn a_bad_address_is_named() {
    let open = Driver::bind("0.0.0.0:0".parse().unwrap()).await.err().expect("refused");
    assert_eq!(open.to_string(), "the resolver address 0.0.0.0:0 is not a loopback address");
    let taken = UdpSocket::bind("127.45.0.78:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Driver::bind(address).await.err().expect("refused");
    assert!(matches!(&error, BindError::System { transport: "UDP", .. }));
    assert!(error.to_string().starts_with(&format!("the resolver cannot listen on {address} (UDP): ")), "{error}");
}
