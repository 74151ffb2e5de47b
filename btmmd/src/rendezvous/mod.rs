//! The zone of the account: DNS rendezvous (design: RFC 2136, 8945, 9664, 7858).
