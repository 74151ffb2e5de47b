//! `btmm services`: what services ask of those who want tickets for them.

use super::args;
use super::table::{Paint, Table};
use crate::control::services::{Require, Services};
use crate::lkdc::principals::strength::listed;

/// The word for no demand.
pub const ANY: &str = "any";

/// What is to be set. `None` when the words contradict each other.
pub fn wanted(args: &args::Require) -> Option<Require> {
    let strength = match args.strength.as_slice() {
        [only] if only == ANY => Vec::new(),
        words => words.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?,
    };
    Some(Require { service: args.service.clone(), strength })
}

/// The list for people.
pub fn render(services: &Services, paint: Paint) -> String {
    let mut table = Table::new(["SERVICE", "TICKETS FOR THOSE WITH"]);
    for service in &services.services {
        let strength = if service.strength.is_empty() { "any proof".to_owned() } else { listed(&service.strength) };
        table.row([service.service.clone(), strength]);
    }
    table.render(paint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::services::Service;
    use crate::lkdc::principals::strength::Strength;

    fn typed(words: &[&str]) -> args::Require {
        args::Require { service: "host".to_owned(), strength: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    #[test]
    fn any_is_no_demand_and_does_not_go_with_one() {
        assert_eq!(wanted(&typed(&["any"])).unwrap().strength, []);
        assert_eq!(wanted(&typed(&["otp", "certificate"])).unwrap().strength, [Strength::Otp, Strength::Certificate]);
        assert_eq!(wanted(&typed(&["otp", "any"])), None);
    }

    #[test]
    fn the_list_says_what_will_do() {
        let service = |service: &str, strength: &[Strength]| Service { service: service.to_owned(), strength: strength.to_vec() };
        let services = Services { services: vec![service("cifs", &[]), service("host", &[Strength::Certificate, Strength::Otp])] };
        let expected = "SERVICE  TICKETS FOR THOSE WITH\ncifs     any proof\nhost     certificate or otp\n";
        assert_eq!(render(&services, Paint(false)), expected);
    }
}
