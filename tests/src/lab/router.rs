//! A home router: masquerade, and the real miniupnpd with NAT-PMP.
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use super::{Node, Running};

/// How a router is set up. Its interfaces are `wan` and `lan`.
#[derive(Debug, Clone)]
pub struct RouterPlan {
    /// Its address on the internet, and that network's length.
    pub wan: (Ipv4Addr, u8),
    /// Its address at home, /24.
    pub lan: Ipv4Addr,
    /// Whether it answers NAT-PMP.
    pub nat_pmp: bool,
    /// Whether it lets IPv6 in from outside unasked.
    pub ipv6_open: bool,
}

/// A home router in a node of its own.
#[derive(Debug)]
pub struct Router {
    daemon: Option<Running>,
    plan: RouterPlan,
    /// The machine it is.
    pub node: Node,
}

impl Router {
    /// Takes a node which has the interfaces `wan` and `lan`, both up and with their addresses.
    pub fn new(node: Node, plan: RouterPlan) -> Result<Self> {
        for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
            node.sysctl(key, "1")?;
        }
        node.nft(&ruleset(&plan))?;
        let mut router = Self { daemon: None, plan, node };
        if router.plan.nat_pmp {
            router.start_nat_pmp()?;
        }
        Ok(router)
    }

    /// Starts miniupnpd, whose epoch then begins anew.
    pub fn start_nat_pmp(&mut self) -> Result<()> {
        self.daemon = None;
        self.node.write("/run/miniupnpd.conf", configuration(self.plan.lan))?;
        let mut command = self.node.foreign("miniupnpd");
        command.args(["-d", "-f", "/run/miniupnpd.conf", "-P", "/run/miniupnpd.pid"]);
        let mut daemon = self.node.spawn(command)?;
        daemon.wait_for("Listening for NAT-PMP", Duration::from_secs(30))?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Kills miniupnpd, as a power cut would; its mappings stay in the packet filter.
    pub fn stop_nat_pmp(&mut self) {
        self.daemon = None;
    }

    /// The external ports now mapped to a machine at home, as nftables rules.
    pub fn mappings(&self) -> Result<Vec<String>> {
        let rules = self.node.run("nft list chain inet router upnp_prerouting")?.out;
        Ok(rules.lines().filter(|line| line.contains("dnat")).map(|line| line.trim().to_owned()).collect())
    }

    /// Forgets every flow and mapping, as a reboot does, and starts again.
    pub fn reboot(&mut self) -> Result<()> {
        self.daemon = None;
        self.node.run("nft flush ruleset")?;
        self.node.ip("link set wan down\nlink set lan down\nlink set wan up\nlink set lan up")?;
        self.node.nft(&ruleset(&self.plan))?;
        if self.plan.nat_pmp { self.start_nat_pmp() } else { Ok(()) }
    }

    /// What miniupnpd wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Running::log).unwrap_or_default()
    }
}

/// The chains `upnp_*` belong to miniupnpd.
fn ruleset(plan: &RouterPlan) -> String {
    let ipv6 = if plan.ipv6_open { "meta nfproto ipv6 accept" } else { "" };
    format!(
        "table inet router {{
    chain upnp_forward {{
    }}
    chain upnp_prerouting {{
    }}
    chain upnp_postrouting {{
    }}
    chain forward {{
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname \"lan\" accept
        jump upnp_forward
        {ipv6}
    }}
    chain prerouting {{
        type nat hook prerouting priority -100; policy accept;
        jump upnp_prerouting
    }}
    chain postrouting {{
        type nat hook postrouting priority 100; policy accept;
        jump upnp_postrouting
        oifname \"wan\" meta nfproto ipv4 masquerade
    }}
}}
"
    )
}

fn configuration(lan: Ipv4Addr) -> String {
    let [a, b, c, _] = lan.octets();
    format!(
        "ext_ifname=wan
listening_ip=lan
enable_natpmp=yes
enable_upnp=no
secure_mode=yes
system_uptime=no
min_lifetime=2
max_lifetime=86400
upnp_table_name=router
upnp_nat_table_name=router
upnp_forward_chain=upnp_forward
upnp_nat_chain=upnp_prerouting
upnp_nat_postrouting_chain=upnp_postrouting
uuid=00000000-0000-0000-0000-000000000001
allow 1024-65535 {a}.{b}.{c}.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"
    )
}
