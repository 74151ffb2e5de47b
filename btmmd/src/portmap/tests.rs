use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::*;

const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const HOME: Gateway = Gateway { address: ROUTER, local: Ipv4Addr::new(192, 168, 1, 10) };
const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const IKE: Port = Port { transport: Transport::Udp, number: 4500 };
const BASE: Port = Port { transport: Transport::Tcp, number: 4500 };

/// A mapper in virtual time.
struct Bench {
    mapper: Mapper,
    now: Instant,
    boot: Instant,
    commands: Vec<Command>,
}

impl Bench {
    fn new(ports: &[Port]) -> Self {
        Self::by(&[Method::NatPmp], ports)
    }

    fn by(methods: &'static [Method], ports: &[Port]) -> Self {
        let now = Instant::now();
        let config = Config { methods, ..Config::new(ports.to_vec()) };
        Self { mapper: Mapper::new(config), now, boot: now, commands: Vec::new() }
    }

    fn give(&mut self, input: Input) {
        self.mapper.handle(input, self.now);
        while let Some(command) = self.mapper.poll_command() {
            self.commands.push(command);
        }
    }

    fn answer(&mut self, body: AnswerBody) {
        let epoch = u32::try_from(self.now.duration_since(self.boot).as_secs()).unwrap();
        let (router, method) = (ROUTER, Method::NatPmp);
        self.give(Input::Answer { router, method, answer: Answer { epoch: Some(epoch), body } });
    }

    fn external(&mut self, address: Ipv4Addr) {
        self.answer(AnswerBody::ExternalAddress(address));
    }

    fn mapped(&mut self, port: Port, external: u16, lifetime: u32) {
        self.answer(AnswerBody::Mapped { port, external, lifetime });
    }

    /// Goes to the next timer; says its name.
    fn tick(&mut self) -> &'static str {
        let (at, why) = self.mapper.poll_timeout().expect("a timer");
        assert!(at >= self.now, "{why} lies in the past");
        self.now = at;
        self.give(Input::Timeout);
        why
    }

    fn sent(&mut self) -> Vec<Request> {
        let taken = std::mem::take(&mut self.commands);
        taken
            .into_iter()
            .filter_map(|command| match command {
                Command::Send { request, .. } => Some(request),
                _ => None,
            })
            .collect()
    }

    fn at_home(ports: &[Port]) -> Self {
        let mut bench = Self::new(ports);
        bench.give(Input::Gateway(Some(HOME)));
        bench
    }

    fn mapped_at_home() -> Self {
        let mut bench = Self::at_home(&[IKE]);
        bench.external(PUBLIC);
        bench.mapped(IKE, 4500, 7200);
        bench.commands.clear();
        bench
    }
}

fn map(port: Port, external: u16) -> Request {
    Request::Map { port, external, lifetime: 7200 }
}

#[test]
fn one_request_at_a_time_and_then_the_router_forwards() {
    let mut bench = Bench::at_home(&[IKE, BASE]);
    assert_eq!(bench.mapper.mapping(IKE), Mapping::None(Cause::Asking(ROUTER)));
    assert_eq!(bench.sent(), [Request::ExternalAddress]);
    bench.external(PUBLIC);
    assert_eq!(bench.sent(), [map(IKE, 4500)]);
    bench.mapped(IKE, 4501, 3600);
    assert_eq!(bench.commands[0], Command::Send { gateway: HOME, method: Method::NatPmp, request: map(BASE, 4500) });
    let mapping =
        Mapping::Mapped { external: SocketAddrV4::new(PUBLIC, 4501), lifetime: Duration::from_secs(3600), method: Method::NatPmp };
    assert_eq!(bench.commands[1], Command::Changed { port: IKE, mapping });
    bench.mapped(BASE, 4500, 7200);
    assert_eq!(bench.mapper.mapping(BASE).external(), Some(SocketAddrV4::new(PUBLIC, 4500)));
}

#[test]
fn a_public_address_asks_nobody() {
    let mut bench = Bench::new(&[IKE]);
    bench.give(Input::Gateway(Some(Gateway { address: Ipv4Addr::new(203, 0, 113, 1), local: PUBLIC })));
    let address = SocketAddrV4::new(PUBLIC, 4500);
    assert_eq!(bench.commands, [Command::Changed { port: IKE, mapping: Mapping::Public(address) }]);
    assert_eq!(bench.mapper.poll_timeout(), None);
}

#[test]
fn no_default_route_is_said() {
    let mut bench = Bench::new(&[IKE]);
    bench.give(Input::Gateway(None));
    assert_eq!(bench.commands, [Command::Changed { port: IKE, mapping: Mapping::None(Cause::NoRoute) }]);
    assert_eq!(Cause::NoRoute.to_string(), "no default route");
}

#[test]
fn renewal_comes_at_half_life_and_asks_for_the_port_it_has() {
    let mut bench = Bench::at_home(&[IKE]);
    let start = bench.now;
    bench.external(PUBLIC);
    bench.mapped(IKE, 4777, 7200);
    bench.commands.clear();
    while bench.now - start < Duration::from_secs(3600) {
        assert_eq!(bench.tick(), "see whether the router restarted");
        assert_eq!(bench.sent(), [Request::ExternalAddress]);
        bench.external(PUBLIC);
    }
    assert_eq!(bench.now - start, Duration::from_secs(3600));
    assert_eq!(bench.sent(), [map(IKE, 4777)]);
}

#[test]
fn silence_is_asked_nine_times_reported_after_four_and_tried_again_later() {
    let mut bench = Bench::at_home(&[IKE]);
    let start = bench.now;
    let mut gaps = Vec::new();
    let mut reported = None;
    for _ in 0..8 {
        let before = bench.now;
        assert_eq!(bench.tick(), "ask the router again");
        gaps.push((bench.now - before).as_millis());
        if bench.mapper.mapping(IKE) == Mapping::None(Cause::NoAnswer(ROUTER)) {
            reported.get_or_insert(bench.now - start);
        }
    }
    assert_eq!(gaps, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000]);
    assert_eq!(reported, Some(Duration::from_millis(3750)));
    assert_eq!(bench.sent().len(), 9);
    assert_eq!(bench.tick(), "ask the router again");
    assert_eq!(bench.sent().len(), 0, "given up");
    assert_eq!(bench.tick(), "try port mapping again");
    assert_eq!(bench.sent(), [Request::ExternalAddress]);
    assert_eq!(Cause::NoAnswer(ROUTER).to_string(), "no answer: neither NAT-PMP nor UPnP is enabled on the router 192.168.1.1");
}

#[test]
fn a_closed_port_is_an_answer_and_backs_off_to_a_quarter_of_an_hour() {
    let mut bench = Bench::at_home(&[IKE]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        bench.give(Input::Unreachable { router: ROUTER, method: Method::NatPmp });
        assert_eq!(bench.mapper.mapping(IKE), Mapping::None(Cause::NoAnswer(ROUTER)));
        let before = bench.now;
        assert_eq!(bench.tick(), "try port mapping again");
        waits.push((bench.now - before).as_secs());
    }
    assert_eq!(waits, [15, 30, 60, 120, 240, 480, 900, 900]);
}

#[test]
fn a_private_outer_address_is_double_nat_and_maps_nothing() {
    let mut bench = Bench::at_home(&[IKE]);
    bench.commands.clear();
    bench.external(Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(bench.sent(), []);
    let Mapping::None(cause) = bench.mapper.mapping(IKE) else { panic!("mapped") };
    assert_eq!(cause.to_string(), "Double NAT: the router 192.168.1.1 itself has a private address (10.0.0.2)");
    assert_eq!(bench.tick(), "try port mapping again");
    bench.external(PUBLIC);
    bench.mapped(IKE, 4500, 7200);
    assert!(bench.mapper.mapping(IKE).external().is_some(), "the outer NAT went away");
}

#[test]
fn a_refusal_is_for_its_port_alone_and_named() {
    let mut bench = Bench::at_home(&[IKE, BASE]);
    bench.external(PUBLIC);
    bench.give(Input::Refused { router: ROUTER, method: Method::NatPmp, refusal: Refusal::OutOfResources });
    bench.mapped(BASE, 4500, 7200);
    let Mapping::None(cause) = bench.mapper.mapping(IKE) else { panic!("mapped") };
    assert_eq!(cause.to_string(), "the router 192.168.1.1 refused: out of resources: it can keep no more mappings");
    assert!(bench.mapper.mapping(BASE).external().is_some());
    bench.commands.clear();
    assert_eq!(bench.tick(), "try port mapping again");
}

#[test]
fn an_epoch_that_went_back_maps_again_at_once() {
    let mut bench = Bench::mapped_at_home();
    bench.now += Duration::from_secs(100);
    bench.boot = bench.now;
    bench.external(PUBLIC);
    assert_eq!(bench.sent(), [Request::ExternalAddress]);
    bench.external(PUBLIC);
    assert_eq!(bench.sent(), [map(IKE, 4500)]);
}

#[test]
fn a_new_outer_address_is_published_and_mapped_again() {
    let mut bench = Bench::mapped_at_home();
    let moved = Ipv4Addr::new(203, 0, 113, 99);
    bench.external(moved);
    assert_eq!(bench.mapper.mapping(IKE).external(), Some(SocketAddrV4::new(moved, 4500)));
    assert_eq!(bench.sent(), [map(IKE, 4500)]);
}

#[test]
fn a_new_router_gets_the_request_and_the_old_one_its_mapping_back() {
    let mut bench = Bench::mapped_at_home();
    let cafe = Gateway { address: Ipv4Addr::new(10, 9, 0, 1), local: Ipv4Addr::new(10, 9, 0, 23) };
    bench.give(Input::Gateway(Some(cafe)));
    let back = Request::Map { port: IKE, external: 0, lifetime: 0 };
    assert_eq!(bench.commands[0], Command::Send { gateway: HOME, method: Method::NatPmp, request: back });
    assert_eq!(bench.commands[1], Command::Send { gateway: cafe, method: Method::NatPmp, request: Request::ExternalAddress });
    bench.mapped(IKE, 4500, 7200);
    assert_eq!(bench.mapper.mapping(IKE), Mapping::None(Cause::Asking(cafe.address)), "an answer of the old router counts for nothing");
}

#[test]
fn the_same_route_again_changes_nothing_but_a_refresh_asks_again() {
    let mut bench = Bench::mapped_at_home();
    bench.give(Input::Gateway(Some(HOME)));
    assert_eq!(bench.commands, []);
    bench.give(Input::Refresh);
    assert_eq!(bench.sent(), [Request::ExternalAddress]);
    assert!(bench.mapper.mapping(IKE).external().is_some(), "until the router says otherwise");
}

#[test]
fn a_mapping_that_cannot_be_renewed_stands_until_it_ends() {
    let mut bench = Bench::at_home(&[IKE]);
    bench.external(PUBLIC);
    bench.mapped(IKE, 4500, 120);
    let end = bench.now + Duration::from_secs(120);
    while bench.mapper.mapping(IKE).external().is_some() {
        assert!(bench.now <= end);
        bench.tick();
    }
    assert_eq!(bench.now, end);
    assert_eq!(bench.mapper.mapping(IKE), Mapping::None(Cause::Ignored(ROUTER)), "its address was told before");
}

#[test]
fn stop_gives_every_mapping_back_and_is_released() {
    let mut bench = Bench::at_home(&[IKE, BASE]);
    bench.external(PUBLIC);
    bench.mapped(IKE, 4500, 7200);
    bench.mapped(BASE, 4600, 7200);
    bench.commands.clear();
    bench.give(Input::Stop);
    assert!(!bench.commands.contains(&Command::Released));
    assert_eq!(bench.sent(), [Request::Map { port: IKE, external: 0, lifetime: 0 }]);
    bench.mapped(IKE, 0, 0);
    assert_eq!(bench.sent(), [Request::Map { port: BASE, external: 0, lifetime: 0 }]);
    bench.mapped(BASE, 0, 0);
    assert!(bench.commands.contains(&Command::Released));
    assert_eq!(bench.mapper.poll_timeout(), None);
}

#[test]
fn stop_gives_back_what_was_asked_for_and_not_granted_yet() {
    let mut bench = Bench::at_home(&[IKE]);
    bench.external(PUBLIC);
    bench.commands.clear();
    bench.give(Input::Stop);
    assert_eq!(bench.sent(), [Request::Map { port: IKE, external: 0, lifetime: 0 }]);
}

#[test]
fn stop_does_not_wait_for_a_dead_router_for_more_than_a_second() {
    let mut bench = Bench::mapped_at_home();
    let start = bench.now;
    bench.give(Input::Stop);
    while !bench.commands.contains(&Command::Released) {
        bench.tick();
    }
    assert_eq!(bench.now - start, Duration::from_secs(1));
    assert_eq!(bench.mapper.poll_timeout(), None);
}

#[test]
fn stop_with_nothing_mapped_is_released_at_once() {
    let mut bench = Bench::at_home(&[IKE]);
    bench.give(Input::Stop);
    assert!(bench.commands.contains(&Command::Released));
}

#[test]
fn an_announcement_is_followed_by_a_question_once_a_second() {
    let mut bench = Bench::mapped_at_home();
    bench.give(Input::Announced { router: Ipv4Addr::new(192, 168, 1, 66) });
    assert_eq!(bench.sent(), [], "not our router");
    for _ in 0..5 {
        bench.give(Input::Announced { router: ROUTER });
        bench.external(PUBLIC);
    }
    assert_eq!(bench.sent(), [Request::ExternalAddress]);
    bench.now += Duration::from_secs(1);
    bench.give(Input::Announced { router: ROUTER });
    assert_eq!(bench.sent(), [Request::ExternalAddress]);
}

#[test]
fn an_announcement_ends_the_wait_of_a_failure() {
    let mut bench = Bench::at_home(&[IKE]);
    bench.give(Input::Unreachable { router: ROUTER, method: Method::NatPmp });
    bench.commands.clear();
    bench.give(Input::Announced { router: ROUTER });
    assert_eq!(bench.sent(), [Request::ExternalAddress]);
    bench.external(PUBLIC);
    bench.mapped(IKE, 4500, 7200);
    assert!(bench.mapper.mapping(IKE).external().is_some());
}

/// A mapper that may ask by UPnP as well.
fn by_any(ports: &[Port]) -> Bench {
    let mut bench = Bench::by(&[Method::NatPmp, Method::Upnp], ports);
    bench.give(Input::Gateway(Some(HOME)));
    bench
}

/// Who was asked what.
fn asked(bench: &mut Bench) -> Vec<(Method, Request)> {
    let taken = std::mem::take(&mut bench.commands).into_iter();
    let sent = |command| match command {
        Command::Send { method, request, .. } => Some((method, request)),
        _ => None,
    };
    taken.filter_map(sent).collect()
}

fn upnp(bench: &mut Bench, body: AnswerBody) {
    bench.give(Input::Answer { router: ROUTER, method: Method::Upnp, answer: Answer { epoch: None, body } });
}

fn nobody(bench: &mut Bench, method: Method) {
    bench.give(Input::Unreachable { router: ROUTER, method });
}

#[test]
fn a_router_that_does_not_speak_nat_pmp_is_asked_by_upnp() {
    let mut bench = by_any(&[IKE]);
    nobody(&mut bench, Method::NatPmp);
    assert_eq!(bench.mapper.mapping(IKE), Mapping::None(Cause::Asking(ROUTER)), "not the last word");
    assert_eq!(asked(&mut bench), [(Method::NatPmp, Request::ExternalAddress), (Method::Upnp, Request::ExternalAddress)]);
    upnp(&mut bench, AnswerBody::ExternalAddress(PUBLIC));
    assert_eq!(asked(&mut bench), [(Method::Upnp, map(IKE, 4500))]);
    upnp(&mut bench, AnswerBody::Mapped { port: IKE, external: 4777, lifetime: 7200 });
    let (external, lifetime) = (SocketAddrV4::new(PUBLIC, 4777), Duration::from_secs(7200));
    assert_eq!(bench.mapper.mapping(IKE), Mapping::Mapped { external, lifetime, method: Method::Upnp });
    assert_eq!(bench.mapper.mapping(IKE).to_string(), "203.0.113.7:4777 (mapped by UPnP)");
}

#[test]
fn silence_and_half_an_answer_are_tried_by_upnp_too_and_a_late_word_counts_for_nothing() {
    let mut silent = by_any(&[IKE]);
    let start = silent.now;
    while !asked(&mut silent).contains(&(Method::Upnp, Request::ExternalAddress)) {
        assert_eq!(silent.tick(), "ask the router again");
    }
    assert_eq!(silent.now - start, Duration::from_millis(3750));
    silent.external(PUBLIC);
    nobody(&mut silent, Method::NatPmp);
    assert_eq!(asked(&mut silent), []);

    let mut half = by_any(&[IKE]);
    half.external(PUBLIC);
    while !asked(&mut half).contains(&(Method::Upnp, Request::ExternalAddress)) {
        half.tick();
    }
    nobody(&mut half, Method::Upnp);
    assert_eq!(half.mapper.mapping(IKE), Mapping::None(Cause::Ignored(ROUTER)), "what was heard says more than nothing");
}

#[test]
fn a_router_that_speaks_neither_is_named_and_asked_by_both_again_later() {
    let mut bench = by_any(&[IKE]);
    for wait in [15, 30] {
        nobody(&mut bench, Method::NatPmp);
        nobody(&mut bench, Method::Upnp);
        assert_eq!(bench.mapper.mapping(IKE), Mapping::None(Cause::NoAnswer(ROUTER)));
        bench.commands.clear();
        let before = bench.now;
        assert_eq!(bench.tick(), "try port mapping again");
        assert_eq!((bench.now - before).as_secs(), wait);
        assert_eq!(asked(&mut bench), [(Method::NatPmp, Request::ExternalAddress)]);
    }
}

#[test]
fn what_is_refused_for_a_reason_is_not_asked_by_another_method() {
    let mut bench = by_any(&[IKE]);
    bench.external(PUBLIC);
    bench.commands.clear();
    bench.give(Input::Refused { router: ROUTER, method: Method::NatPmp, refusal: Refusal::NotAuthorized });
    assert_eq!(asked(&mut bench), []);
    let mut nested = by_any(&[IKE]);
    nested.commands.clear();
    nested.external(Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!(asked(&mut nested), [], "two NATs are two by any method");
}

/// A mapper whose router forwards by UPnP.
fn mapped_by_upnp() -> Bench {
    let mut bench = by_any(&[IKE]);
    nobody(&mut bench, Method::NatPmp);
    upnp(&mut bench, AnswerBody::ExternalAddress(PUBLIC));
    upnp(&mut bench, AnswerBody::Mapped { port: IKE, external: 4500, lifetime: 7200 });
    bench.commands.clear();
    bench
}

#[test]
fn a_router_without_an_epoch_is_told_its_mappings_again_every_five_minutes() {
    let mut bench = mapped_by_upnp();
    assert_eq!(bench.tick(), "see whether the router restarted");
    upnp(&mut bench, AnswerBody::ExternalAddress(PUBLIC));
    upnp(&mut bench, AnswerBody::Mapped { port: IKE, external: 4500, lifetime: 7200 });
    assert_eq!(asked(&mut bench), [(Method::Upnp, Request::ExternalAddress), (Method::Upnp, map(IKE, 4500))]);
}

#[test]
fn what_upnp_made_is_kept_up_and_given_back_by_upnp_but_never_to_a_router_that_was_left() {
    let mut bench = mapped_by_upnp();
    bench.give(Input::Refresh);
    assert_eq!(asked(&mut bench), [(Method::Upnp, Request::ExternalAddress)]);
    nobody(&mut bench, Method::Upnp);
    assert!(bench.mapper.mapping(IKE).external().is_some(), "until it ends");
    bench.commands.clear();
    bench.give(Input::Stop);
    assert_eq!(asked(&mut bench), [(Method::Upnp, Request::Map { port: IKE, external: 0, lifetime: 0 })]);

    let mut left = mapped_by_upnp();
    let cafe = Gateway { address: ROUTER, local: Ipv4Addr::new(192, 168, 1, 77) };
    left.give(Input::Gateway(Some(cafe)));
    assert_eq!(asked(&mut left), [(Method::NatPmp, Request::ExternalAddress)]);
}
