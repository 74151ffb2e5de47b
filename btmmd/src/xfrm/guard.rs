//! The never-in-clear guard: what holds when no daemon runs, and why each piece is needed.
//!
//! *Promise*: no packet for an address of the account's /48 leaves this machine unencrypted, and none that arrives
//! unencrypted for our inner address is taken in, whether the daemon is starting, stopped, crashed or being upgraded.
//!
//! | leg | piece | without it |
//! |---|---|---|
//! | sent by this machine | rule 450, `to /48 lookup 4500` | the main table's default route would carry it |
//! | … while `btmm0` is missing | `unreachable /48` in table 4500 | the lookup would fall through to the main table |
//! | … by a socket bound to another interface (`SO_BINDTODEVICE`, `IPV6_PKTINFO`) | rule 451, `to /48 unreachable` | the routes of table 4500 do not match the bound interface, the lookup falls through, and the packet leaves in clear: seen on Linux 6.1 |
//! | sent over `btmm0` with no state | the XFRM interface itself | it sends nothing without a policy and a state of its if_id; the sender gets ICMPv6 address unreachable |
//! | arriving in clear for our inner address | `in` policy: block any → own /128, if_id 0 | IPv6 hosts accept packets for any of their addresses on any interface, so a neighbour on the LAN could talk to inner services |
//! | this machine to itself | `in` policy: allow own → own on `lo` | the block above would cut it off from its own inner address |
//! | forwarded, to or from the /48 | two `fwd` policies: block, if_id 0 | a machine that routes (containers, VMs) would pass packets between the LAN and the inner network in clear |
//! | out of a tunnel, not for us | nothing of ours | states select exactly two /128s, and the kernel drops decrypted packets that meet no policy |
//!
//! There is **no `out` block policy**, though it looks like the obvious piece: the kernel consults the policies of
//! if_id 0 when a packet is routed to `btmm0`, before the interface's own, so it refuses the tunnel's traffic too
//! (`connect` gives EPERM). The selector's interface does not help, for the flow of an unbound socket has none yet.
//!
//! Not covered, and not meant to be: a process with CAP_NET_RAW or CAP_NET_ADMIN, which can write to the wire or change
//! the rules; and a rule of a number below 450 that someone else adds for the same addresses.
//!
//! Rules, the unreachable route and the policies belong to no process and stay when the daemon dies, at
//! [`cleanup`](super::Xfrm::cleanup) too; [`purge`](super::Xfrm::purge) takes them away, and so does a reboot, after
//! which no `btmm0` and no inner address exists until the daemon has put the guard up again.
