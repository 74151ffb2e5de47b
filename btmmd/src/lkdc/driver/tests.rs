use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::Mutex;
use std::time::Duration;

use rasn_kerberos::KrbError;

use super::*;
use crate::lkdc::asn1;
use crate::lkdc::kdc::tests::{as_request, kdc, large_request};

fn start() -> (Driver, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let kept = events.clone();
    let audit: Audit = Arc::new(move |event| kept.lock().unwrap().push(event.clone()));
    let driver = Driver::start(Arc::new(kdc()), &["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()], 2, audit).unwrap();
    (driver, events)
}

fn ask_by_tcp(address: SocketAddr, message: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(message).unwrap();
    read_message(&mut stream)
}

fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply).unwrap();
    reply
}

#[test]
fn both_transports_and_both_families_answer() {
    let (driver, events) = start();
    for address in driver.addresses() {
        let local = if address.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(local).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.send_to(&as_request("nobody"), address).unwrap();
        let mut reply = [0; 2048];
        let (length, from) = socket.recv_from(&mut reply).unwrap();
        assert_eq!(from, *address);
        assert_eq!(asn1::decode::<KrbError>(&reply[..length]).unwrap().error_code, 6);
        let reply = ask_by_tcp(*address, &as_request("nobody"));
        assert_eq!(asn1::decode::<KrbError>(&reply).unwrap().error_code, 6);
    }
    assert_eq!(events.lock().unwrap().len(), 4);
}

#[test]
fn a_reply_too_big_for_a_datagram_is_asked_for_by_tcp() {
    let (driver, _) = start();
    let address = driver.addresses()[0];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket.send_to(&large_request(), address).unwrap();
    let mut reply = [0; 8192];
    let length = socket.recv(&mut reply).unwrap();
    assert_eq!(asn1::decode::<KrbError>(&reply[..length]).unwrap().error_code, 52);
    let whole = ask_by_tcp(address, &large_request());
    assert!(whole.len() > MAX_DATAGRAM, "{}", whole.len());
    assert_eq!(asn1::decode::<KrbError>(&whole).unwrap().error_code, 6);
}

#[test]
fn a_promise_of_too_many_octets_is_refused_at_once() {
    let (driver, _) = start();
    for length in [0x8000_0000_u32, 65_537] {
        let mut stream = TcpStream::connect(driver.addresses()[0]).unwrap();
        stream.write_all(&length.to_be_bytes()).unwrap();
        assert_eq!(asn1::decode::<KrbError>(&read_message(&mut stream)).unwrap().error_code, 61);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "closed");
    }
}

#[test]
fn several_requests_may_share_a_stream() {
    let (driver, _) = start();
    let mut stream = TcpStream::connect(driver.addresses()[0]).unwrap();
    for _ in 0..3 {
        let request = as_request("nobody");
        stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&request).unwrap();
        assert_eq!(asn1::decode::<KrbError>(&read_message(&mut stream)).unwrap().error_code, 6);
    }
}

#[test]
fn one_machine_with_many_silent_connections_is_still_answered() {
    let (driver, _) = start();
    let address = driver.addresses()[0];
    // More than all threads together let one address have.
    let mut silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    for _ in 0..10 {
        let reply = ask_by_tcp(address, &as_request("nobody"));
        assert_eq!(asn1::decode::<KrbError>(&reply).unwrap().error_code, 6);
    }
    let mut closed = 0;
    for stream in &mut silent {
        stream.set_nonblocking(true).unwrap();
        // An end like any other, not a reset.
        closed += usize::from(stream.read(&mut [0; 1]).is_ok_and(|octets| octets == 0));
    }
    assert!(closed >= 36, "{closed}");
}

#[test]
fn a_stopped_driver_gives_its_addresses_back() {
    // An address that no other test has: as soon as its port is free, anybody may get it.
    let driver = Driver::start(Arc::new(kdc()), &["127.0.0.88:0".parse().unwrap()], 2, Arc::new(|_| {})).unwrap();
    let address = driver.addresses()[0];
    drop(driver);
    assert!(TcpStream::connect(address).is_err());
    UdpSocket::bind(address).unwrap();
}

#[test]
fn wildcard_addresses_are_refused() {
    let refused = Driver::start(Arc::new(kdc()), &["[::]:0".parse().unwrap()], 1, Arc::new(|_| {}));
    assert!(matches!(refused, Err(DriverError::Wildcard(_))));
}
