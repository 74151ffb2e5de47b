//! Bodies of enrolment: JSON, in memory that is wiped, for they carry invitation secrets and DNS keys. hyper's own buffers are beyond reach.

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes};
use serde::Serialize;
use zeroize::{Zeroize, Zeroizing};

type Unspecific = Box<dyn std::error::Error + Send + Sync>;

/// `message` as JSON. Up to `capacity` octets it is written once, so that no reallocation leaves a copy behind.
pub(super) fn json(message: &impl Serialize, capacity: usize) -> Bytes {
    let mut octets = Zeroizing::new(Vec::with_capacity(capacity));
    serde_json::to_writer(&mut *octets, message).expect("enrolment messages always make JSON");
    Bytes::from_owner(octets)
}

/// Reads a body of at most `limit` octets.
pub(super) async fn read<B>(body: B, limit: usize) -> Result<Zeroizing<Vec<u8>>, Unspecific>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Unspecific>,
{
    let expected = body.size_hint().upper().and_then(|octets| usize::try_from(octets).ok());
    let mut octets = Zeroizing::new(Vec::with_capacity(expected.map_or(limit, |expected| expected.min(limit))));
    let mut body = Limited::new(body, limit);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        octets.extend_from_slice(&data);
        if let Ok(mut ours) = data.try_into_mut() {
            ours.zeroize();
        }
    }
    Ok(octets)
}
