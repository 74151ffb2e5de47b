//! What we propose and accept: AES-256-GCM-16, PRF_HMAC_SHA2_256, X25519 or P-256, ESN.

use super::codec::number::{ATTRIBUTE_KEY_LENGTH, id, protocol, transform};
use super::codec::{Attribute, Proposal, Transform};
use super::crypto::Group;

/// Names of everything but the key exchange.
pub(super) const ALGORITHMS: &str = "AES_GCM_16_256/PRF_HMAC_SHA2_256";

/// What was chosen of somebody's proposals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// Number of the chosen proposal.
    pub number: u8,
    /// The proposer's SPI.
    pub spi: Vec<u8>,
    /// Key exchange, if there is to be one.
    pub group: Option<Group>,
}

/// Why proposals did not lead to a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing acceptable (NO_PROPOSAL_CHOSEN).
    None,
    /// Acceptable with another key exchange value (INVALID_KE_PAYLOAD).
    Group(Group),
}

fn encryption() -> Transform {
    Transform::keyed(transform::ENCR, id::ENCR_AES_GCM_16, 256)
}

/// Our proposal for an IKE SA. The SPI is empty in IKE_SA_INIT.
pub(super) fn ike_proposal(number: u8, groups: &[Group], spi: &[u8]) -> Proposal {
    let mut transforms = vec![encryption(), Transform::plain(transform::PRF, id::PRF_HMAC_SHA2_256)];
    transforms.extend(groups.iter().map(|group| Transform::plain(transform::KE, group.number())));
    Proposal { number, protocol: protocol::IKE, spi: spi.to_vec(), transforms }
}

/// Our proposal for a child. There is no key exchange in IKE_AUTH.
pub(super) fn esp_proposal(number: u8, group: Option<Group>, spi: u32) -> Proposal {
    let mut transforms = vec![encryption()];
    transforms.extend(group.map(|group| Transform::plain(transform::KE, group.number())));
    transforms.push(Transform::plain(transform::ESN, id::ESN));
    Proposal { number, protocol: protocol::ESP, spi: spi.to_be_bytes().to_vec(), transforms }
}

/// Chooses for an IKE SA, given the group of the KE payload that came along and the length an SPI must have.
pub(super) fn choose_ike(proposals: &[Proposal], groups: &[Group], offered: u16, spi_len: usize) -> Result<Choice, Refusal> {
    choose(proposals, protocol::IKE, spi_len, |proposal| {
        has(proposal, transform::PRF, id::PRF_HMAC_SHA2_256).then_some(())?;
        only_known(proposal, &[transform::ENCR, transform::PRF, transform::KE]).then_some(())?;
        pick_group(proposal, groups, Some(offered)).filter(|picked| !matches!(picked, Ok(None)))
    })
}

/// Chooses for a child; `offered` is the group of the KE payload, if one came along.
pub(super) fn choose_esp(proposals: &[Proposal], groups: &[Group], offered: Option<u16>) -> Result<Choice, Refusal> {
    choose(proposals, protocol::ESP, 4, |proposal| {
        has(proposal, transform::ESN, id::ESN).then_some(())?;
        only_known(proposal, &[transform::ENCR, transform::ESN, transform::KE]).then_some(())?;
        pick_group(proposal, groups, offered)
    })
}

fn choose(
    proposals: &[Proposal],
    protocol: u8,
    spi_len: usize,
    group: impl Fn(&Proposal) -> Option<Result<Option<Group>, Group>>,
) -> Result<Choice, Refusal> {
    let mut refusal = Refusal::None;
    for proposal in proposals {
        if proposal.protocol != protocol || proposal.spi.len() != spi_len || !encrypts(proposal) {
            continue;
        }
        match group(proposal) {
            Some(Ok(group)) => return Ok(Choice { number: proposal.number, spi: proposal.spi.clone(), group }),
            Some(Err(wanted)) if refusal == Refusal::None => refusal = Refusal::Group(wanted),
            _ => {}
        }
    }
    Err(refusal)
}

/// `None`: unacceptable. `Some(Err(group))`: acceptable, but with this group's KE payload.
fn pick_group(proposal: &Proposal, groups: &[Group], offered: Option<u16>) -> Option<Result<Option<Group>, Group>> {
    let listed: Vec<u16> = proposal.transforms.iter().filter(|t| t.kind == transform::KE).map(|t| t.id).collect();
    let preferred = groups.iter().copied().find(|group| listed.contains(&group.number()));
    let sent = offered.and_then(Group::from_number).filter(|group| groups.contains(group) && listed.contains(&group.number()));
    match (sent, preferred) {
        (Some(group), _) => Some(Ok(Some(group))),
        (None, _) if listed.is_empty() || (offered.is_none() && listed.contains(&id::NONE)) => Some(Ok(None)),
        (None, Some(group)) => Some(Err(group)),
        (None, None) => None,
    }
}

fn encrypts(proposal: &Proposal) -> bool {
    proposal
        .transforms
        .iter()
        .any(|t| t.kind == transform::ENCR && t.id == id::ENCR_AES_GCM_16 && t.attributes == [Attribute::Short(ATTRIBUTE_KEY_LENGTH, 256)])
}

fn has(proposal: &Proposal, kind: u8, id: u16) -> bool {
    proposal.transforms.iter().any(|t| t.kind == kind && t.id == id)
}

/// Every other transform type may be left out only where NONE is among its choices (RFC 7296 §3.3.3; RFC 9370 §2.2.1).
fn only_known(proposal: &Proposal, known: &[u8]) -> bool {
    proposal.transforms.iter().all(|t| known.contains(&t.kind) || has(proposal, t.kind, id::NONE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Group; 2] = [Group::X25519, Group::P256];

    #[test]
    fn our_own_proposals_are_acceptable() {
        let ours = [ike_proposal(1, &BOTH, &[])];
        assert_eq!(choose_ike(&ours, &BOTH, 19, 0).unwrap().group, Some(Group::P256));
        assert_eq!(choose_ike(&ours, &BOTH, 31, 8), Err(Refusal::None));
        let child = [esp_proposal(1, None, 0x1234_5678)];
        assert_eq!(choose_esp(&child, &BOTH, None).unwrap(), Choice { number: 1, spi: vec![0x12, 0x34, 0x56, 0x78], group: None });
    }

    #[test]
    fn the_wrong_guess_of_a_group_is_corrected_and_a_foreign_one_refused() {
        let offer = [ike_proposal(1, &BOTH, &[])];
        assert_eq!(choose_ike(&offer, &[Group::P256], 31, 0), Err(Refusal::Group(Group::P256)));
        let mut foreign = offer.to_vec();
        foreign[0].transforms.retain(|t| t.kind != transform::KE);
        foreign[0].transforms.push(Transform::plain(transform::KE, 14));
        assert_eq!(choose_ike(&foreign, &BOTH, 14, 0), Err(Refusal::None));
        foreign[0].transforms.retain(|t| t.kind != transform::KE);
        assert_eq!(choose_ike(&foreign, &BOTH, 31, 0), Err(Refusal::None));
    }

    #[test]
    fn a_second_proposal_is_found_and_unknown_transform_types_count_only_with_none() {
        let mut weak = ike_proposal(1, &BOTH, &[]);
        weak.transforms[0] = Transform::keyed(transform::ENCR, id::ENCR_AES_GCM_16, 128);
        let mut hybrid = ike_proposal(2, &BOTH, &[]);
        hybrid.transforms.push(Transform::plain(6, 36));
        let offers = [weak, hybrid.clone(), ike_proposal(3, &BOTH, &[])];
        assert_eq!(choose_ike(&offers, &BOTH, 31, 0).unwrap().number, 3);
        hybrid.transforms.push(Transform::plain(6, id::NONE));
        assert_eq!(choose_ike(&[hybrid], &BOTH, 31, 0).unwrap().number, 2);
    }

    #[test]
    fn a_child_without_esn_is_refused() {
        let mut child = esp_proposal(1, None, 0x1234_5678);
        child.transforms.retain(|t| t.kind != transform::ESN);
        child.transforms.push(Transform::plain(transform::ESN, 0));
        assert_eq!(choose_esp(&[child], &BOTH, None), Err(Refusal::None));
    }
}
