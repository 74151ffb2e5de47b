//! The table of realms, read back.

use super::{Place, Realms};

/// Most machines that are believed to be in an account.
const MAX_PLACES: usize = 4096;

impl Realms {
    /// Those of a table that [`Realms::table`] wrote. Lines that say something else are passed over.
    pub fn of_table(table: &str) -> Self {
        Self { places: table.lines().filter_map(place).take(MAX_PLACES).collect() }
    }
}

fn place(line: &str) -> Option<Place> {
    let mut words = line.split(' ');
    let (realm, inner, fqdn) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    let machine = fqdn.split('.').next()?.parse().ok()?;
    words.next().is_none().then(|| Place { machine, fqdn: fqdn.to_owned(), inner, realm })
}

#[cfg(test)]
mod tests {
    use super::super::tests::realms;
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        assert_eq!(Realms::of_table(&realms().table()), realms());
    }

    #[test]
    fn lines_that_are_something_else_are_passed_over() {
        let table = format!("\n# note\nLKDC:SHA256.00 fd00::1 a.b\n{}x y z\n{}", "a ".repeat(9), realms().table());
        assert_eq!(Realms::of_table(&table), realms());
    }
}
