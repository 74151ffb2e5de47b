//! The payloads of a message, by role.

use super::codec::number::{self, notify, protocol};
use super::codec::{Delete, Identity, Notify, Payload, Proposal, Selector};

/// One message's payloads, taken apart. Of a payload that may appear once, the first counts.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub sa: Option<Vec<Proposal>>,
    pub ke: Option<(u16, Vec<u8>)>,
    pub nonce: Option<Vec<u8>>,
    pub id_i: Option<Identity>,
    pub id_r: Option<Identity>,
    pub certificates: Vec<Vec<u8>>,
    pub auth: Option<(u8, Vec<u8>)>,
    pub ts_i: Option<Vec<Selector>>,
    pub ts_r: Option<Vec<Selector>>,
    pub notifies: Vec<Notify>,
    pub deletes: Vec<Delete>,
}

impl Parts {
    /// Sorts the payloads.
    pub fn of(payloads: Vec<Payload>) -> Self {
        let mut parts = Self::default();
        for payload in payloads {
            match payload {
                Payload::Sa(proposals) => {
                    parts.sa.get_or_insert(proposals);
                }
                Payload::Ke { group, data } => {
                    parts.ke.get_or_insert((group, data));
                }
                Payload::Nonce(nonce) => {
                    parts.nonce.get_or_insert(nonce);
                }
                Payload::IdI(identity) => {
                    parts.id_i.get_or_insert(identity);
                }
                Payload::IdR(identity) => {
                    parts.id_r.get_or_insert(identity);
                }
                Payload::Cert { encoding: number::CERT_X509, data } => parts.certificates.push(data),
                Payload::Auth { method, data } => {
                    parts.auth.get_or_insert((method, data));
                }
                Payload::TsI(selectors) => {
                    parts.ts_i.get_or_insert(selectors);
                }
                Payload::TsR(selectors) => {
                    parts.ts_r.get_or_insert(selectors);
                }
                Payload::Notify(notify) => parts.notifies.push(notify),
                Payload::Delete(delete) => parts.deletes.push(delete),
                Payload::Cert { .. } | Payload::CertReq { .. } | Payload::Vendor(_) => {}
            }
        }
        parts
    }

    /// The first notification of this type.
    pub fn notify(&self, kind: u16) -> Option<&Notify> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// The first error notification.
    pub fn error(&self) -> Option<u16> {
        self.notifies.iter().map(|notify| notify.kind).find(|kind| *kind < notify::STATUS)
    }

    /// Whether the sender closes the IKE SA.
    pub fn closes_ike(&self) -> bool {
        self.deletes.iter().any(|delete| delete.protocol == protocol::IKE)
    }

    /// ESP SPIs the sender deletes: its inbound ones.
    pub fn deleted_children(&self) -> impl Iterator<Item = u32> + '_ {
        self.deletes.iter().filter(|delete| delete.protocol == protocol::ESP).flat_map(|delete| delete.spis.iter().copied())
    }
}
