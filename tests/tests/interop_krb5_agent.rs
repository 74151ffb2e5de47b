//! `btmm agent` between a daemon's tickets and stock programs: what it puts into collections, klist, kvno and ssh find there and use.
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use btmm_tests::lab::kerberos::{Conf, FOLDER, Machine, Pair};
use btmm_tests::lab::{Finished, Running, feed};
use btmmd::account::key::MachineKey;
use btmmd::control::driver::Server;
use btmmd::control::error::ControlError;
use btmmd::control::request::Call;
use btmmd::control::secrets::{HeldTickets, RealmTickets};
use btmmd::lkdc::ccache::place::{CachePlace, Whose};
use btmmd::lkdc::ccache::{self, CredentialCache, format};
use btmmd::lkdc::client::delivery::PORT;
use btmmd::lkdc::client::driver::Kdcs;
use btmmd::lkdc::client::keeper::{Command, Input, Keeper, Outcome, Peer, What};
use btmmd::lkdc::client::{AsExchange, Certificate, Secrets, TgsExchange, TgsWish, Wish};
use btmmd::lkdc::full_name::FullName;
use btmmd::lkdc::name::Principal;
use btmmd::lkdc::pkinit::Signatory;
use tokio::sync::{mpsc, watch};

const PASSWORD: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_secs(20);
/// A user who has no keys: those of real ones are not to be touched.
const NOBODY_S_KEYS: &str = "KEYRING:persistent:54322";
const NOBODY_ELSE_S_KEYS: &str = "KEYRING:persistent:54323";

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Tickets of alice in the realm of `server`, got by the keeper with the certificate of `client`.
fn got(pair: &Pair, client: &Machine, server: &Machine) -> CredentialCache {
    let key = MachineKey::from_pem(client.key.to_pem().expect("PEM").as_bytes()).expect("the same key");
    let signatory = Signatory::new(Arc::new(key), client.certificate.clone()).expect("of this key");
    let certificate = Certificate::of_machine(signatory, pair.authority.trust());
    let kdc = SocketAddr::from((server.inner, PORT));
    let peer = Peer { realm: server.realm().parse().expect("a realm"), host: server.fqdn(), kdc };
    let mut keeper = Keeper::new(Principal::user("alice"), vec!["host".to_owned(), "nonsense".to_owned()]);
    keeper.handle(Input::Reachable(vec![peer.clone()]), SystemTime::now());
    while let Some(command) = keeper.poll_command() {
        let Command::Get(order) = command else { continue };
        let kdcs = Kdcs::at(vec![kdc]);
        let carried = client.node.enter(|| {
            runtime().block_on(async {
                match &order.what {
                    What::Service { service, tgt, offset } => {
                        let wish = TgsWish::service(FullName::new(service.clone(), peer.realm.as_str()), tgt);
                        kdcs.ticket(TgsExchange::new(wish, (**tgt).clone(), *offset)).await
                    }
                    _ => kdcs.initial(AsExchange::new(Wish::tgt(order.client.clone()), Secrets::certificate(certificate.clone()))).await,
                }
            })
        });
        let outcome = match carried.expect("inside the machine") {
            Ok(ticket) => Outcome::Granted(Box::new(ticket.grant), ticket.offset, ticket.notes),
            Err(error) => Outcome::Refused(error.to_string()),
        };
        keeper.handle(Input::Done(Box::new(order), outcome), SystemTime::now());
    }
    keeper.cache(&peer.realm).expect("tickets")
}

fn told(machine: &Machine, cache: &CredentialCache) -> RealmTickets {
    let cache = data_encoding::BASE64.encode(&format::emit(cache)).into();
    RealmTickets { realm: machine.realm(), machine: machine.fqdn(), own: machine.name.as_str() == "laptop", cache }
}

/// What a daemon does for those who listen to its tickets, on the laptop.
struct Daemon {
    held: watch::Sender<Arc<HeldTickets>>,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start(pair: &Pair) -> Self {
        pair.laptop.write_realms(&[&pair.imac, &pair.laptop]).expect("the daemon's folder");
        let runtime = runtime();
        let (requests, mut received) = mpsc::channel(8);
        let socket = pair.laptop.node.path("/run/btmm/btmmd.sock");
        runtime.spawn(runtime.block_on(async { Server::bind(&socket, None) }).expect("a socket").run(requests));
        let held = watch::Sender::new(Arc::default());
        let listened = held.clone();
        runtime.spawn(async move {
            while let Some(request) = received.recv().await {
                match request.call {
                    Call::Tickets(answer) => drop(answer.send(Ok(listened.subscribe()))),
                    Call::Ticket(wanted, answer) if wanted.service.as_deref() == Some("nonsense") => {
                        let message = "the KDC says no".to_owned();
                        drop(answer.send(Err(ControlError::TicketRefused { ticket: "nonsense@imac".to_owned(), message })));
                    }
                    Call::Ticket(wanted, answer) if wanted.service.as_deref() == Some("late") => {
                        drop(answer.send(Err(ControlError::failed("late@imac", "the clocks differ too much"))));
                    }
                    Call::Ticket(wanted, answer) => {
                        let held = listened.borrow().clone();
                        let of = |tickets: &&RealmTickets| tickets.machine.starts_with(&format!("{}.", wanted.machine));
                        drop(answer.send(Ok(held.tickets.iter().find(of).expect("held").clone())));
                    }
                    _ => panic!("nobody asks for anything else"),
                }
            }
        });
        Self { held, _runtime: runtime }
    }

    fn tell(&self, realms: &[&Machine], tickets: Vec<RealmTickets>) {
        self.held.send_replace(Arc::new(HeldTickets { realms: realms.iter().map(|machine| machine.realm()).collect(), tickets }));
    }
}

/// A collection that is removed at the end, as all programs of the laptop see it.
struct Collection<'a> {
    laptop: &'a Machine,
    name: String,
}

impl Drop for Collection<'_> {
    fn drop(&mut self) {
        let _ = self.caches_with(|member| drop(ccache::destroy(member)));
    }
}

impl Collection<'_> {
    fn caches_with(&self, mut each: impl FnMut(&CachePlace) + Send) -> Vec<CredentialCache> {
        let place = CachePlace::parse(&self.name, &Whose { uid: 0, user: "root".to_owned() }).expect("a place");
        let read = self.laptop.node.enter(|| {
            let mut caches = Vec::new();
            for member in ccache::members(&place).expect("members") {
                caches.extend(ccache::load(&member).expect("read"));
                each(&member);
            }
            caches
        });
        read.expect("inside the machine")
    }

    /// The cache of a machine's realm.
    fn cache_of(&self, machine: &Machine) -> Option<CredentialCache> {
        self.caches_with(|_| {}).into_iter().find(|cache| cache.client.realm == machine.realm())
    }

    fn stock(&self, program: &str, arguments: &[&str], input: &str) -> anyhow::Result<Finished> {
        let mut command = self.laptop.program(program, arguments);
        command.env("KRB5CCNAME", &self.name);
        feed(command, input)
    }

    fn btmm(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.laptop.node.command(env!("CARGO_BIN_EXE_btmm-as-tested"));
        command.args(arguments).env("KRB5CCNAME", &self.name).env("BTMM_RUNTIME_DIR", "/run/btmm");
        command
    }

    fn agent(&self) -> Running {
        self.laptop.node.spawn(self.btmm(&["agent"])).expect("the agent")
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn tickets_that_come_by_themselves_log_in_from_folders_and_from_the_kernel_s_keys() {
    let pair = Pair::new().expect("two machines");
    let Pair { imac, laptop, .. } = &pair;
    let keytab = imac.foreign_path("/etc/krb5.keytab");
    let password = format!("alice={PASSWORD}");
    let kdc = imac.start_kdc(&["--password", &password, "--keytab", &keytab]).expect("imac's KDC");
    let own_kdc = laptop.start_kdc(&["--password", &password]).expect("laptop's KDC");
    imac.configure(&Conf::new().set(&format!("default_realm = {}", imac.realm())).realm_of(imac)).expect("a krb5.conf");
    let conf = Conf::new().set(&format!("default_realm = {}", laptop.realm())).realm_of(imac).realm_of(laptop);
    laptop.configure(&conf).expect("a krb5.conf");
    imac.add_person("alice").expect("a person");
    let sshd = imac.start_sshd().expect("sshd");
    for name in [format!("DIR:{FOLDER}/agent"), NOBODY_S_KEYS.to_owned()] {
        let collection = Collection { laptop, name };
        log_in_with_what_comes(&pair, &collection, &[&kdc, &own_kdc, &sshd]);
    }
}

#[test]
fn tickets_that_the_user_removes_stay_away_until_the_user_asks_or_the_agent_starts_anew() {
    let pair = Pair::new().expect("two machines");
    let Pair { imac, laptop, .. } = &pair;
    let _kdc = imac.start_kdc(&["--password", &format!("alice={PASSWORD}")]).expect("imac's KDC");
    laptop.configure(&Conf::new().realm_of(imac)).expect("a krb5.conf");
    for name in [format!("DIR:{FOLDER}/removed"), NOBODY_ELSE_S_KEYS.to_owned(), format!("FILE:{FOLDER}/removed.cc")] {
        removed_and_asked_for(&pair, &Collection { laptop, name });
    }
}

#[test]
fn a_password_is_asked_for_only_where_it_can_help_and_not_without_the_cause() {
    let pair = Pair::new().expect("two machines");
    let Pair { imac, laptop, .. } = &pair;
    let _kdc = imac.start_kdc(&["--password", &format!("alice={PASSWORD}")]).expect("imac's KDC");
    laptop.configure(&Conf::new().realm_of(imac)).expect("a krb5.conf");
    let collection = Collection { laptop, name: format!("DIR:{FOLDER}/certified") };
    let daemon = Daemon::start(&pair);
    daemon.tell(&[imac], vec![told(imac, &got(&pair, laptop, imac))]);
    let get = |arguments: &[&str]| {
        let output = collection.btmm(&[&["tickets", "get"], arguments].concat()).output().expect("run");
        String::from_utf8(output.stderr).expect("text")
    };
    let late = get(&["late@imac", "--user", "alice"]);
    let [cause, nobody] = late.lines().collect::<Vec<_>>().try_into().expect("two lines");
    assert_eq!(cause, "late@imac: the clocks differ too much");
    assert!(nobody.contains("wants the password of alice, and there is no terminal to ask at"), "{nobody}");
    let json = get(&["late@imac", "--user", "alice", "--json"]);
    assert!(json.lines().count() == 1 && json.starts_with('{'), "{json}");
    let unknown = get(&["nonsense@imac"]);
    assert!(unknown.lines().count() == 1 && unknown.contains("it does not know this service"), "{unknown}");
}

fn removed_and_asked_for(pair: &Pair, collection: &Collection<'_>) {
    let imac = &pair.imac;
    let daemon = Daemon::start(pair);
    // New tickets of imac, and what cannot be read behind them: once the agent has said so, it has dealt with both.
    let renewed = |agent: &mut Running, mark: &str| {
        let unreadable = RealmTickets { realm: String::new(), machine: mark.to_owned(), own: false, cache: "?".to_owned().into() };
        daemon.tell(&[imac], vec![told(imac, &got(pair, &pair.laptop, imac)), unreadable]);
        agent.wait_for(&format!("{mark}: tickets: btmmd's answer is not understood"), PATIENCE).expect("dealt with");
    };
    let destroy = || collection.stock("kdestroy", &["-A"], "").map(drop).expect("removed");
    let noticed = |agent: &Running| agent.log().matches("the tickets were removed, and stay away").count();
    let mut agent = collection.agent();
    renewed(&mut agent, "first");
    assert!(collection.cache_of(imac).is_some());

    destroy();
    renewed(&mut agent, "second");
    renewed(&mut agent, "third");
    assert_eq!((collection.cache_of(imac), noticed(&agent)), (None, 1));

    feed(collection.btmm(&["tickets", "get", "host@imac"]), "").expect("what the daemon has");
    let before = collection.cache_of(imac).expect("asked for");
    renewed(&mut agent, "fourth");
    assert!(collection.cache_of(imac).is_some_and(|now| now != before), "kept in step again");

    collection.stock("kinit", &[&format!("alice@{}", imac.realm())], &format!("{PASSWORD}\n")).expect("a ticket by password");
    renewed(&mut agent, "fifth");
    destroy();
    renewed(&mut agent, "sixth");
    assert_eq!((collection.cache_of(imac), noticed(&agent)), (None, 2), "what a password got is missed as well");
    agent.stop(PATIENCE).expect("stopped");
    renewed(&mut collection.agent(), "seventh");
    assert!(collection.cache_of(imac).is_some(), "an agent that starts knows of nothing that was removed");
}

fn log_in_with_what_comes(pair: &Pair, collection: &Collection<'_>, logs: &[&Running]) {
    let Pair { imac, laptop, .. } = pair;
    let daemon = Daemon::start(pair);
    let mut agent = collection.agent();
    // The laptop's own realm comes first, and gives way all the same: only GSSAPI takes a cache by the service's realm.
    let own = told(laptop, &got(pair, laptop, laptop));
    daemon.tell(&[imac, laptop], vec![own.clone()]);
    agent.wait_for("laptop.alice.btmm.internal: tickets are in", PATIENCE).expect("written");
    daemon.tell(&[imac, laptop], vec![own, told(imac, &got(pair, laptop, imac))]);
    agent.wait_for("imac.alice.btmm.internal: tickets are in", PATIENCE).expect("written");
    let list = collection.stock("klist", &["-A"], "").expect("a list").out;
    assert_eq!(list.matches("Default principal: alice@LKDC:SHA256.").count(), 2, "{list}");
    let own_service = format!("host/{}@{}", laptop.fqdn(), laptop.realm());
    collection.stock("kvno", &["--cached-only", &own_service], "").expect_err("kvno looks into the primary cache only");
    collection.stock("kvno", &["--cached-only", "-S", "host", &imac.fqdn()], "").expect("another machine's is the primary one");
    collection.stock("kvno", &[&format!("host/{}", imac.fqdn())], "").expect_err("without a realm it is of the laptop's own");
    let ssh = ["-o", "GSSAPIAuthentication=yes", "-o", "PreferredAuthentications=gssapi-with-mic", "-o", "StrictHostKeyChecking=no"];
    let target = format!("alice@{}", imac.fqdn());
    let logged_in = collection.stock("ssh", &[&ssh[..], &[&target, "id -un"]].concat(), "");
    let told_by = || logs.iter().map(|running| running.log()).collect::<Vec<_>>().join("\n---\n");
    assert_eq!(logged_in.unwrap_or_else(|error| panic!("{error:#}\n{}\n{}", agent.log(), told_by())).out, "alice\n");
    collection.stock("kswitch", &["-p", &format!("alice@{}", laptop.realm())], "").expect("the laptop's cache is the primary one");
    collection.stock("kvno", &["--cached-only", &own_service], "").expect("the ticket that is there");
    collection.stock("kvno", &["-S", "host", &imac.fqdn()], "").expect_err("a ticket of one realm is worth nothing in another");

    // What alice earns herself stays, and the rest follows the daemon.
    collection.stock("kinit", &[&format!("alice@{}", imac.realm())], &format!("{PASSWORD}\n")).expect("a ticket by password");
    let earned = collection.cache_of(imac).expect("her cache");
    let before = collection.cache_of(laptop).expect("the laptop's");
    daemon.tell(&[imac, laptop], vec![told(imac, &got(pair, laptop, imac)), told(laptop, &got(pair, laptop, laptop))]);
    eventually("new tickets of the laptop's realm", || collection.cache_of(laptop).as_ref() != Some(&before));
    assert_eq!(collection.cache_of(imac), Some(earned.clone()));

    // A machine that left: what the agent wrote goes, what alice has is hers.
    daemon.tell(&[imac], Vec::new());
    eventually("no tickets of a machine that left", || collection.cache_of(laptop).is_none());
    assert_eq!(collection.cache_of(imac), Some(earned));
    drop(daemon);
    agent.wait_for("asking again", PATIENCE).expect("a daemon that stops is waited for");
    let again = Daemon::start(pair);
    again.tell(&[imac, laptop], vec![told(laptop, &got(pair, laptop, laptop))]);
    eventually("tickets of the daemon that started again", || collection.cache_of(laptop).is_some());
}
