//! The Update Lease option (RFC 9664): how long a registration lives.

use hickory_proto::op::Edns;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};

/// The option's code.
pub const OPTION: u16 = 2;
/// What a machine asks for, in seconds.
pub const ASKED: u32 = 7200;

/// Seconds asked or granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateLease {
    /// For the records.
    pub lease: u32,
    /// For the name's KEY record, in the 8-octet form. We have no KEY records; the answer mirrors the form.
    pub key_lease: Option<u32>,
}

/// The option is neither 4 nor 8 octets long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the update lease option has neither 4 nor 8 octets")]
pub struct BadLease;

impl UpdateLease {
    /// Reads it, if it is there.
    pub fn from_edns(edns: &Edns) -> Result<Option<Self>, BadLease> {
        let Some(EdnsOption::Unknown(_, octets)) = edns.option(EdnsCode::from(OPTION)) else { return Ok(None) };
        match *octets.as_slice() {
            [a, b, c, d] => Ok(Some(Self { lease: u32::from_be_bytes([a, b, c, d]), key_lease: None })),
            [a, b, c, d, e, f, g, h] => {
                Ok(Some(Self { lease: u32::from_be_bytes([a, b, c, d]), key_lease: Some(u32::from_be_bytes([e, f, g, h])) }))
            }
            _ => Err(BadLease),
        }
    }

    /// Writes it.
    pub fn add_to(self, edns: &mut Edns) {
        let mut octets = self.lease.to_be_bytes().to_vec();
        octets.extend(self.key_lease.into_iter().flat_map(u32::to_be_bytes));
        edns.options_mut().insert(EdnsOption::Unknown(OPTION, octets));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_survive_the_wire_and_others_do_not() {
        for lease in [UpdateLease { lease: 7200, key_lease: None }, UpdateLease { lease: 1, key_lease: Some(u32::MAX) }] {
            let mut edns = Edns::new();
            lease.add_to(&mut edns);
            assert_eq!(UpdateLease::from_edns(&edns), Ok(Some(lease)));
        }
        let mut edns = Edns::new();
        assert_eq!(UpdateLease::from_edns(&edns), Ok(None));
        edns.options_mut().insert(EdnsOption::Unknown(OPTION, vec![0; 5]));
        assert_eq!(UpdateLease::from_edns(&edns), Err(BadLease));
    }
}
