use super::*;

struct Bench {
    engine: Engine,
    now: Instant,
}

fn imac() -> MachineName {
    "imac".parse().unwrap()
}

fn inner() -> Ipv6Addr {
    "fd00:1:2::9".parse().unwrap()
}

fn outer(port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::from(([203, 0, 113, 2], port))
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { engine: Engine::new(Settings::default(), true), now: Instant::now() };
        let said = bench.give(Input::Roster(vec![Member { name: imac(), inner: inner() }]));
        assert_eq!(said, [Command::AddPeer { peer: imac(), inner: inner(), number: 1 }]);
        bench
    }

    fn give(&mut self, input: Input) -> Vec<Command> {
        self.engine.handle(input, self.now);
        std::iter::from_fn(|| self.engine.poll_command()).collect()
    }

    fn wait(&mut self, time: Duration) -> Vec<Command> {
        let end = self.now + time;
        let mut said = Vec::new();
        while let Some((at, _)) = self.engine.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = at.max(self.now);
            said.extend(self.give(Input::Timeout));
        }
        self.now = end;
        said
    }

    fn advertise(&mut self, ports: &[u16]) -> Vec<Command> {
        let candidates = ports.iter().map(|p| outer(*p)).collect();
        self.give(Input::Advertised { peer: imac(), candidates })
    }

    fn want(&mut self) -> Vec<Command> {
        self.give(Input::Want { peer: imac() })
    }

    fn bring_up(&mut self) -> Vec<Command> {
        self.give(Input::TunnelUp { peer: imac() })
    }
}

fn initiate(ports: &[u16]) -> Command {
    Command::Initiate { peer: imac(), inner: inner(), candidates: ports.iter().map(|p| outer(*p)).collect() }
}

fn ready(ready: bool) -> Command {
    Command::Ready { inner: inner(), ready }
}

fn close() -> Command {
    Command::Close { peer: imac() }
}

#[test]
fn a_lookup_of_a_known_peer_begins_ike_at_once_and_only_once() {
    let mut bench = Bench::new();
    bench.advertise(&[1]);
    assert_eq!(bench.want(), [initiate(&[1])]);
    assert_eq!(bench.want(), []);
    let up = bench.bring_up();
    assert_eq!(
        up,
        [ready(true), Command::ReleaseHeld { inner: inner() }, Command::NameUp { peer: imac() }, Command::Places { peer: imac() }]
    );
}

#[test]
fn who_wants_a_tunnel_that_is_up_has_it_at_once_and_ike_makes_sure_of_it() {
    let mut bench = Bench::new();
    bench.bring_up();
    let released = [Command::ReleaseHeld { inner: inner() }, Command::NameUp { peer: imac() }];
    assert_eq!(bench.want(), [&released[..], &[Command::Confirm { peer: imac() }]].concat());
}

#[test]
fn a_packet_to_a_peer_begins_ike_too() {
    let mut bench = Bench::new();
    bench.advertise(&[1]);
    assert_eq!(bench.give(Input::Packet { destination: inner() }), [initiate(&[1])]);
}

#[test]
fn a_packet_to_nobody_is_given_up() {
    let mut bench = Bench::new();
    let nobody = "fd00:1:2::77".parse().unwrap();
    let said = bench.give(Input::Packet { destination: nobody });
    assert_eq!(said, [Command::DiscardHeld { inner: nobody, cause: Cause::NoSuchMachine }]);
}

#[test]
fn an_unadvertised_peer_is_asked_for_and_then_given_up_by_name() {
    let mut bench = Bench::new();
    assert_eq!(bench.want(), [Command::RefreshDirectory]);
    let said = bench.wait(Duration::from_secs(4));
    let (last, asked) = (said.len() - 2, [Command::RefreshDirectory, Command::RefreshDirectory]);
    assert_eq!(said[..last], asked, "who appears meanwhile is found without waiting for the next look of all");
    assert_eq!(said[last], Command::NameFailed { peer: imac(), cause: Cause::NotAdvertised });
}

#[test]
fn an_address_that_arrives_while_finding_is_used() {
    let mut bench = Bench::new();
    bench.want();
    assert_eq!(bench.advertise(&[7]), [initiate(&[7])]);
}

#[test]
fn silence_asks_the_rendezvous_and_follows_a_moved_peer() {
    let mut bench = Bench::new();
    bench.advertise(&[1]);
    bench.want();
    assert_eq!(bench.wait(Duration::from_millis(3500)), vec![Command::RefreshDirectory; 3], "it may move at any time");
    assert_eq!(bench.advertise(&[2]), [initiate(&[2])]);
}

#[test]
fn silence_for_long_names_the_addresses_tried() {
    let mut bench = Bench::new();
    bench.advertise(&[1]);
    bench.want();
    let said = bench.wait(Duration::from_secs(20));
    let said: Vec<_> = said.into_iter().filter(|command| *command != Command::RefreshDirectory).collect();
    assert_eq!(said[0], close());
    assert_eq!(said[1], Command::NameFailed { peer: imac(), cause: Cause::NoAnswer(vec![outer(1)]) });
    assert_eq!(bench.engine.peer(&imac()).unwrap().tunnel(), &Tunnel::Down);
}

#[test]
fn a_busy_tunnel_stays_and_an_idle_one_is_torn_down_not_ready_first() {
    let mut bench = Bench::new();
    bench.bring_up();
    for packets in 1..40 {
        let said = bench.wait(Duration::from_secs(30));
        assert_eq!(said, [Command::MeasureUsage { peer: imac() }]);
        assert_eq!(bench.give(Input::Usage { peer: imac(), packets }), []);
    }
    let mut closed = Vec::new();
    let began = bench.now;
    while closed.is_empty() {
        bench.wait(Duration::from_secs(30));
        closed = bench.give(Input::Usage { peer: imac(), packets: 39 });
    }
    assert_eq!(closed, [ready(false), close()]);
    assert_eq!(bench.now - began, Duration::from_secs(600));
}

#[test]
fn a_tunnel_wanted_while_it_closes_is_raised_again_afterwards() {
    let mut bench = Bench::new();
    bench.advertise(&[1]);
    bench.bring_up();
    bench.now += Duration::from_secs(601);
    bench.give(Input::Usage { peer: imac(), packets: 0 });
    assert_eq!(bench.want(), []);
    assert_eq!(bench.give(Input::TunnelDown { peer: imac(), cause: Cause::Idle }), [initiate(&[1])]);
}

#[test]
fn off_closes_what_is_up_and_refuses_what_is_asked() {
    let mut bench = Bench::new();
    bench.advertise(&[1]);
    bench.bring_up();
    assert_eq!(bench.give(Input::Switch(false)), [ready(false), close()]);
    bench.give(Input::TunnelDown { peer: imac(), cause: Cause::SwitchedOff });
    let refused = bench.want();
    assert_eq!(refused[0], Command::NameFailed { peer: imac(), cause: Cause::SwitchedOff });
    bench.give(Input::Switch(true));
    assert_eq!(bench.want(), [initiate(&[1])]);
}

#[test]
fn a_machine_taken_off_the_roster_loses_its_tunnel_and_policies() {
    let mut bench = Bench::new();
    bench.bring_up();
    let said = bench.give(Input::Roster(vec![]));
    assert_eq!(said, [ready(false), close(), Command::RemovePeer { peer: imac(), inner: inner() }]);
}

#[test]
fn a_peer_that_comes_to_us_needs_no_wish_of_ours() {
    let mut bench = Bench::new();
    bench.bring_up();
    assert!(matches!(bench.engine.peer(&imac()).unwrap().tunnel(), Tunnel::Up { .. }));
}

#[test]
fn an_unconfirmed_goodbye_does_not_hold_the_next_tunnel_for_ever() {
    let mut bench = Bench::new();
    bench.advertise(&[1]);
    bench.bring_up();
    bench.give(Input::Switch(false));
    bench.give(Input::Switch(true));
    assert_eq!(bench.want(), []);
    assert_eq!(bench.wait(Duration::from_secs(5)), [initiate(&[1])]);
}

#[test]
fn an_introduced_peer_is_added_once_and_leaves_with_a_roster_that_does_not_know_it() {
    let mut bench = Bench::new();
    let laptop = Member { name: "laptop".parse().unwrap(), inner: "fd00:1:2::a".parse().unwrap() };
    let said = bench.give(Input::Introduced(laptop.clone()));
    assert_eq!(said, [Command::AddPeer { peer: laptop.name.clone(), inner: laptop.inner, number: 2 }]);
    assert_eq!(bench.give(Input::Introduced(laptop.clone())), []);
    let said = bench.give(Input::Roster(vec![Member { name: imac(), inner: inner() }]));
    assert_eq!(said, [Command::RemovePeer { peer: laptop.name, inner: laptop.inner }]);
}

#[test]
fn ike_is_told_where_a_peer_that_is_up_may_be_now() {
    let mut bench = Bench::new();
    assert_eq!(bench.advertise(&[1]), [], "nobody looks for a peer that nobody wants");
    bench.bring_up();
    assert_eq!(bench.advertise(&[1]), []);
    assert_eq!(bench.advertise(&[2, 3]), [Command::Places { peer: imac() }]);
    assert_eq!(bench.engine.peer(&imac()).unwrap().candidates(), [outer(2), outer(3)]);
}
