//! How a request gets to a KDC (RFC 4120 §7.2): datagrams first, again and again; a stream where the answer does not fit, or where
//! datagrams get none. One server after the other.
//!
//! ```text
//!        request ≤ LARGEST_DATAGRAM            too big │ no answer to the last datagram
//!  start ───────────────────────────► UDP ──────────────────────────────────────────────► TCP ──► next server
//!    └── larger ───────────────────────────────────────────────────────────────────────────▲  failed │ silent
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::refusal::Refusal;
use super::reply::{AS_REP, KRB_ERROR, TGS_REP};
use crate::lkdc::asn1;

/// The port of KDCs.
pub const PORT: u16 = 88;
/// Larger requests go over TCP: they would not fit into one packet of a tunnel (1,280 octets, less IPv6 and UDP headers).
pub const LARGEST_DATAGRAM: usize = 1232;
/// Waits after each datagram.
const WAITS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(3)];
/// How long a stream may take, from connecting to the last octet.
const STREAM_TIME: Duration = Duration::from_secs(10);

/// Which transports may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transports {
    /// As above.
    #[default]
    Both,
    /// Only datagrams.
    Udp,
    /// Only streams.
    Tcp,
}

/// What the driver shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Send the request as a datagram to this address, and wait until the time for an answer.
    Datagram(SocketAddr, Instant),
    /// Send it over a stream, which must have answered by the time.
    Stream(SocketAddr, Instant),
    /// Nobody answers.
    GiveUp,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened<'a> {
    /// An answer.
    Answer(&'a [u8]),
    /// None in time, or an ICMP error, or a stream that failed.
    Silence,
}

/// What the driver shall do about what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// These octets are the answer.
    Done,
    /// They are not; wait on.
    Ignore,
    /// Go on with this.
    Do(Act),
}

/// One request on its way.
#[derive(Debug)]
pub struct Delivery {
    servers: Vec<SocketAddr>,
    transports: Transports,
    place: usize,
    way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// So many were sent.
    Datagrams(usize),
    Stream,
}

impl Delivery {
    /// A request of `length` octets for the first of `servers` to answer.
    pub fn new(servers: &[SocketAddr], transports: Transports, length: usize) -> Self {
        let transports = if length > LARGEST_DATAGRAM && transports == Transports::Both { Transports::Tcp } else { transports };
        let way = if transports == Transports::Tcp { Way::Stream } else { Way::Datagrams(0) };
        Self { servers: servers.to_vec(), transports, place: 0, way }
    }

    /// What to do now: at the start, and after each [`Happened`] that asks for it.
    pub fn act(&mut self, now: Instant) -> Act {
        let Some(server) = self.servers.get(self.place).copied() else { return Act::GiveUp };
        match &mut self.way {
            Way::Datagrams(sent) => {
                if let Some(wait) = WAITS.get(*sent) {
                    *sent += 1;
                    return Act::Datagram(server, now + *wait);
                }
                if self.transports == Transports::Udp {
                    self.next_server();
                } else {
                    self.way = Way::Stream;
                }
                self.act(now)
            }
            Way::Stream => Act::Stream(server, now + STREAM_TIME),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, happened: Happened<'_>, now: Instant) -> Then {
        match (happened, self.way) {
            (Happened::Answer(bytes), Way::Datagrams(_)) if !is_kerberos(bytes) => Then::Ignore,
            (Happened::Answer(bytes), Way::Datagrams(_)) if self.transports != Transports::Udp && Refusal::is_too_big(bytes) => {
                self.way = Way::Stream;
                Then::Do(self.act(now))
            }
            (Happened::Answer(_), _) => Then::Done,
            (Happened::Silence, Way::Datagrams(_)) => Then::Do(self.act(now)),
            (Happened::Silence, Way::Stream) => {
                self.next_server();
                Then::Do(self.act(now))
            }
        }
    }

    fn next_server(&mut self) {
        self.place += 1;
        self.way = if self.transports == Transports::Tcp { Way::Stream } else { Way::Datagrams(0) };
    }
}

fn is_kerberos(bytes: &[u8]) -> bool {
    matches!(asn1::raw::tag(bytes), Some(AS_REP | TGS_REP | KRB_ERROR))
}

#[cfg(test)]
mod tests {
    use rasn_kerberos::KrbError;

    use super::*;

    fn servers() -> Vec<SocketAddr> {
        ["[fd00::1]:88", "192.0.2.1:88"].map(|address| address.parse().unwrap()).to_vec()
    }

    fn too_big() -> Vec<u8> {
        let time = asn1::time(std::time::UNIX_EPOCH);
        asn1::encode(&KrbError {
            pvno: 5.into(),
            msg_type: 30.into(),
            ctime: None,
            cusec: None,
            stime: time,
            susec: 0.into(),
            error_code: 52,
            crealm: None,
            cname: None,
            realm: asn1::string("R"),
            sname: crate::lkdc::name::Principal::krbtgt("R").to_message(),
            e_text: None,
            e_data: None,
        })
    }

    #[test]
    fn silence_leads_over_all_ways_to_all_servers() {
        let [first, second] = servers().try_into().unwrap();
        let now = Instant::now();
        let mut delivery = Delivery::new(&servers(), Transports::Both, 100);
        let mut seen = vec![delivery.act(now)];
        while *seen.last().unwrap() != Act::GiveUp {
            match delivery.handle(Happened::Silence, now) {
                Then::Do(act) => seen.push(act),
                other => panic!("{other:?}"),
            }
        }
        let at = |seconds| now + Duration::from_secs(seconds);
        let of = |server| {
            [
                Act::Datagram(server, at(1)),
                Act::Datagram(server, at(2)),
                Act::Datagram(server, at(3)),
                Act::Stream(server, now + STREAM_TIME),
            ]
        };
        assert_eq!(seen, [of(first).as_slice(), &of(second), &[Act::GiveUp]].concat());
    }

    #[test]
    fn what_does_not_fit_comes_over_a_stream() {
        let now = Instant::now();
        let mut delivery = Delivery::new(&servers(), Transports::Both, 100);
        assert!(matches!(delivery.act(now), Act::Datagram(..)));
        let then = delivery.handle(Happened::Answer(&too_big()), now);
        assert!(matches!(then, Then::Do(Act::Stream(server, _)) if server == servers()[0]), "{then:?}");
        assert_eq!(delivery.handle(Happened::Answer(&too_big()), now), Then::Done);
        let mut large = Delivery::new(&servers(), Transports::Both, LARGEST_DATAGRAM + 1);
        assert!(matches!(large.act(now), Act::Stream(..)));
    }

    #[test]
    fn a_datagram_of_nonsense_is_ignored() {
        let now = Instant::now();
        let mut delivery = Delivery::new(&servers(), Transports::Both, 100);
        delivery.act(now);
        assert_eq!(delivery.handle(Happened::Answer(b"hello"), now), Then::Ignore);
        assert_eq!(delivery.handle(Happened::Answer(&[AS_REP]), now), Then::Done);
    }
}
