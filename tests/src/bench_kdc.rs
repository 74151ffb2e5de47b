//! `cargo xtask bench kdc`: tickets per second of our KDC and of MIT's krb5kdc, under the same load on the same cores.
//!
//! Everything runs on one machine of the lab, over its loopback interface. With one core, that core has the KDC and another one the
//! load; with two, they share both. Each pair measures ours, then krb5kdc with one worker and with two, and the better of these counts
//! as the baseline. All long-term and session keys are aes256-cts-hmac-sha1-96; both write a line of log for each request; krb5kdc does
//! not write to its database. A headline is the worse of the ratios with one core and with two.
//!
//! Rates come from clients that ask again as soon as they are answered. Latencies do not: such clients ask a slow KDC less often than a fast
//! one, and with all of them always waiting, latency only says the rate again. So both get the same requests at the same random moments,
//! half as many as krb5kdc can answer with one core, and each one counts from when it was due. The KDC has one core, the load the other,
//! and both come before everything else there: what else the machine does would be most of what is seen of the slowest in a hundred.
//!
//! Flatness is the rate with a crowd of principals over the rate with a handful, each asked for in turn, pair by pair.

pub mod load;
pub mod requests;
pub mod served;
pub mod subject;

use anyhow::{Result, ensure};
use btmmd::lkdc::pkinit::Signatory;

use crate::figures::{self, Figure, median};
use crate::lab::kerberos::{FOLDER, Machine, MitKdc, Pair};
use subject::{Subject, on_cores, start_mit, start_ours, undisturbed};

/// Pairs of ours and baseline, in turn; the medians count.
const PAIRS: usize = 5;
/// Requests in one measurement.
const REQUESTS: usize = 5000;
/// Of those with a signature.
const SIGNED: usize = 300;
/// Pairs and requests where the slowest in a hundred or less than a tenth is looked for. A host that takes a processor away for a moment
/// spoils whatever measurement that falls into, so there are many short ones: most stay whole, and the median is one of those.
const CLOSE_PAIRS: usize = 45;
const CLOSE_REQUESTS: usize = 1000;
/// Size of the crowds that must make no difference.
const FEW: u32 = 10;
const MANY: u32 = 100_000;
/// Load under which latency is measured, of what krb5kdc can do with one core.
const OFFERED: f64 = 0.5;
/// The first of the ports.
const PORT: u16 = 8800;

/// Which cores do what.
struct Cores {
    kdc: &'static [usize],
    load: &'static [usize],
}

const ONE: Cores = Cores { kdc: &[0], load: &[1] };
const TWO: Cores = Cores { kdc: &[0, 1], load: &[0, 1] };

/// Measures, and prints a table, or one line of JSON.
///
/// # Errors
/// Without root, with fewer than two cores, or when a KDC refuses a request.
pub fn run(json: bool) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "this needs two cores, one for the KDC and one for the load");
    let pair = Pair::new()?;
    let mit = subject::mit(&pair.imac)?;
    let client = served::signatory(&pair.laptop.node.path(FOLDER))?;
    let bench = Bench { machine: &pair.imac, mit: &mit, realm: pair.imac.realm(), client };
    let (one, two) = (bench.rates(&ONE)?, bench.rates(&TWO)?);
    let mut results = Vec::new();
    for (one, two) in one.iter().zip(&two) {
        let worse = if one.1.ratio() < two.1.ratio() { &one.1 } else { &two.1 };
        results.push(worse.figure(format!("{}-rate-vs-krb5kdc", one.0), "1/s"));
        results.push(one.1.figure(format!("{}-rate-1-core", one.0), "1/s"));
        results.push(two.1.figure(format!("{}-rate-2-cores", one.0), "1/s"));
    }
    let offered = one.first().map_or(0.0, |(_, rate)| rate.theirs) * OFFERED;
    eprintln!("latency at {offered:.0} requests per second");
    results.push(bench.latency(offered)?.figure("as-p99-vs-krb5kdc".to_owned(), "ms"));
    results.push(bench.flatness()?);
    figures::tell("kdc", &results, json)
}

/// What is measured, and against what.
struct Bench<'a> {
    machine: &'a Machine,
    mit: &'a MitKdc,
    realm: String,
    /// Who asks with a certificate.
    client: Signatory,
}

/// The KDCs while they are measured.
struct Subjects {
    ours: Subject,
    theirs: Vec<Subject>,
}

/// Medians over the pairs; of krb5kdc, the better of one worker and two.
struct Medians {
    ours: f64,
    theirs: f64,
    better: Better,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    More,
    Less,
}

impl Medians {
    fn ratio(&self) -> f64 {
        match self.better {
            Better::More => self.ours / self.theirs,
            Better::Less => self.theirs / self.ours,
        }
    }

    fn figure(&self, name: String, unit: &'static str) -> Figure {
        Figure { name, value: self.ours, unit, baseline: self.theirs, ratio: self.ratio() }
    }
}

impl Bench<'_> {
    /// With this number of threads of ours, and one worker and two of theirs.
    fn start(&self, threads: usize) -> Result<Subjects> {
        let theirs = [1, 2].map(|workers| start_mit(self.mit, self.machine, workers, PORT + u16::try_from(workers)?));
        Ok(Subjects { ours: start_ours(self.machine, threads, 0, PORT)?, theirs: theirs.into_iter().collect::<Result<_>>()? })
    }

    /// Rates of each kind of request.
    fn rates(&self, cores: &Cores) -> Result<Vec<(&'static str, Medians)>> {
        let subjects = on_cores(cores.kdc, || self.start(cores.kdc.len()))?;
        let password = |subject: &Subject| {
            let load = requests::by_password(&self.realm, REQUESTS)?;
            self.load(cores, || load.rate(subject.address))
        };
        let ticket = |subject: &Subject| {
            let tickets = self.load(cores, || requests::tickets(&self.realm, subject.address))?;
            let load = requests::by_ticket(&self.realm, &tickets, REQUESTS)?;
            self.load(cores, || load.rate(subject.address))
        };
        let certificate = |may_reuse| {
            move |subject: &Subject| {
                let load = requests::by_certificate(&self.realm, &self.client, may_reuse, SIGNED)?;
                self.load(cores, || load.rate_of_streams(subject.address))
            }
        };
        Ok(vec![
            ("as", compare(&subjects, PAIRS, Better::More, password)?),
            ("pkinit", compare(&subjects, PAIRS, Better::More, certificate(false))?),
            ("pkinit-reuse", compare(&subjects, PAIRS, Better::More, certificate(true))?),
            ("tgs", compare(&subjects, PAIRS, Better::More, ticket)?),
        ])
    }

    /// 99th percentile of the time to a ticket, with one core, at `rate` requests per second.
    fn latency(&self, rate: f64) -> Result<Medians> {
        let subjects = undisturbed(ONE.kdc, || self.start(1))?;
        compare(&subjects, CLOSE_PAIRS, Better::Less, |subject| {
            let load = requests::by_password(&self.realm, CLOSE_REQUESTS)?;
            let mut latencies = undisturbed(ONE.load, || self.machine.node.enter(|| load.latencies(subject.address, rate))?)?;
            latencies.sort_by(f64::total_cmp);
            Ok(latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(f64::NAN))
        })
    }

    /// Rate with many principals over the rate with few.
    fn flatness(&self) -> Result<Figure> {
        let start = |crowd, port| undisturbed(ONE.kdc, || start_ours(self.machine, 1, crowd, port));
        let (few, many) = (start(FEW, PORT)?, start(MANY, PORT + 1)?);
        let rate = |subject: &Subject, crowd, round| {
            // No member of the large crowd is asked for twice.
            let load = requests::by_member(&self.realm, crowd, CLOSE_REQUESTS, round)?;
            undisturbed(ONE.load, || self.machine.node.enter(|| load.rate(subject.address))?)
        };
        let (mut with_few, mut with_many) = (Vec::new(), Vec::new());
        // The first round warms up.
        for round in 0..=CLOSE_PAIRS {
            let (one, other) = (rate(&few, FEW, round)?, rate(&many, MANY, round)?);
            if round > 0 {
                with_few.push(one);
                with_many.push(other);
            }
        }
        let ratio = median(with_many.iter().zip(&with_few).map(|(many, few)| many / few).collect());
        Ok(Figure { ratio, ..Figure::more("principals-flatness", median(with_many), "1/s", median(with_few)) })
    }

    /// In the machine, on the cores of the load.
    fn load<T: Send>(&self, cores: &Cores, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_cores(cores.load, || self.machine.node.enter(work)?)
    }
}

fn compare(subjects: &Subjects, pairs: usize, better: Better, measure: impl Fn(&Subject) -> Result<f64>) -> Result<Medians> {
    let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); subjects.theirs.len()]);
    for round in 0..=pairs {
        let own = measure(&subjects.ours)?;
        let others = subjects.theirs.iter().map(&measure).collect::<Result<Vec<f64>>>()?;
        // The first round warms up.
        if round > 0 {
            ours.push(own);
            theirs.iter_mut().zip(others).for_each(|(samples, sample)| samples.push(sample));
        }
    }
    let best = |one: f64, other: f64| if better == Better::More { one.max(other) } else { one.min(other) };
    let theirs: Vec<f64> = theirs.into_iter().map(median).collect();
    let ours = median(ours);
    // Progress is no result.
    eprintln!("ours {ours:.2}, krb5kdc with one worker and with two {theirs:.2?}");
    Ok(Medians { ours, theirs: theirs.into_iter().reduce(best).unwrap_or(f64::NAN), better })
}
