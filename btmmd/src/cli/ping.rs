//! `btmm ping`: lines and the tally.

use super::words::{printable, round_trip};
use crate::control::messages::PingReply;

/// What has been seen so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    sent: u64,
    times_us: Vec<u64>,
}

impl Tally {
    /// Takes note of one reply.
    pub fn note(&mut self, reply: &PingReply) {
        self.sent = self.sent.saturating_add(1);
        self.times_us.extend(reply.pong.as_ref().map(|pong| pong.rtt_us));
    }

    /// Whether anything was answered.
    pub fn answered(&self) -> bool {
        !self.times_us.is_empty()
    }

    /// The line at the end.
    pub fn summary(&self, machine: &str) -> String {
        let answers = self.times_us.len() as u64;
        let lost = self.sent.saturating_sub(answers);
        let percent = lost.saturating_mul(100).checked_div(self.sent).unwrap_or(0);
        let mut text = format!("--- {machine}: {} sent, {answers} answered, {percent}% lost", self.sent);
        if let (Some(least), Some(most)) = (self.times_us.iter().min(), self.times_us.iter().max()) {
            let mean = self.times_us.iter().sum::<u64>().checked_div(answers).unwrap_or(0);
            text.push_str(&format!(", min/avg/max {} / {} / {}", round_trip(*least), round_trip(mean), round_trip(*most)));
        }
        text + "\n"
    }
}

/// One reply for people.
pub fn line(machine: &str, reply: &PingReply) -> String {
    match &reply.pong {
        Some(pong) => {
            let made = pong.connect_us.map(|us| format!(" (tunnel made in {})", round_trip(us))).unwrap_or_default();
            format!(
                "pong from {} ({}): seq={} through {} {} time={}{made}\n",
                printable(&pong.machine),
                pong.inner,
                reply.sequence,
                pong.remote,
                printable(&pong.via),
                round_trip(pong.rtt_us)
            )
        }
        None => {
            let cause = reply.lost.as_deref().unwrap_or("no answer");
            format!("nothing from {machine}: seq={}: {}\n", reply.sequence, printable(cause))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::messages::Pong;

    fn reply(sequence: u32, rtt_us: Option<u64>) -> PingReply {
        let pong = rtt_us.map(|rtt_us| Pong {
            machine: "imac".to_owned(),
            inner: "fd00::1".parse().unwrap(),
            remote: "203.0.113.7:4500".parse().unwrap(),
            via: "direct".to_owned(),
            rtt_us,
            connect_us: (sequence == 1).then_some(61_000),
        });
        let lost = pong.is_none().then(|| "timed out".to_owned());
        PingReply { sequence, pong, lost }
    }

    #[test]
    fn a_reply_tells_path_and_time_and_what_the_tunnel_took() {
        assert_eq!(
            line("imac", &reply(1, Some(23_412))),
            "pong from imac (fd00::1): seq=1 through 203.0.113.7:4500 direct time=23.4 ms (tunnel made in 61.0 ms)\n"
        );
        assert_eq!(line("imac", &reply(2, None)), "nothing from imac: seq=2: timed out\n");
    }

    #[test]
    fn the_tally_counts_what_was_lost() {
        let mut tally = Tally::default();
        assert_eq!(tally.summary("imac"), "--- imac: 0 sent, 0 answered, 0% lost\n");
        for (sequence, rtt) in [(1, Some(10_000)), (2, None), (3, Some(30_000))] {
            tally.note(&reply(sequence, rtt));
        }
        assert!(tally.answered());
        assert_eq!(tally.summary("imac"), "--- imac: 3 sent, 2 answered, 33% lost, min/avg/max 10.0 ms / 20.0 ms / 30.0 ms\n");
    }
}
