//! `btmm0`, our routing table and our rules, over rtnetlink.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use futures::{Stream, TryStreamExt};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoXfrm, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use nix::errno::Errno;
use rtnetlink::{AddressMessageBuilder, Handle, IpVersion, LinkMessageBuilder, LinkUnspec, LinkXfrm, RouteMessageBuilder};

use crate::xfrm::error::{Object, XfrmError};
use crate::xfrm::link::{Link, LinkStep, REFUSE_PRIORITY, Route, Rule, UNREACHABLE_METRIC, differences};
use crate::xfrm::policy::Prefix;
use crate::xfrm::port::{IF_ID, INTERFACE, RULE_PRIORITY, TABLE};

/// Requests to rtnetlink.
#[derive(Clone)]
pub(super) struct Routes(Handle);

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Routes")
    }
}

impl Routes {
    /// Opens the socket in the network namespace of the calling thread; its task ends with the last clone.
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// `btmm0`, if it is there.
    pub(super) async fn link(&self) -> Result<Option<Link>, XfrmError> {
        let found = self.0.link().get().match_name(INTERFACE).execute().try_collect::<Vec<_>>().await;
        let message = match found {
            Ok(found) => found.into_iter().next(),
            Err(error) if errno(&error) == Some(Errno::ENODEV) => None,
            Err(error) => return Err(refused("look up", interface(), error)),
        };
        let Some(message) = message else { return Ok(None) };
        let addresses = self.0.address().get().set_link_index_filter(message.header.index).execute();
        let addresses = collect(addresses, "addresses of btmm0").await?;
        let addresses = addresses.iter().filter_map(inner_address).collect();
        let mtu = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        let up = message.header.flags.contains(LinkFlags::Up);
        Ok(Some(Link { index: message.header.index, if_id: if_id(&message), mtu: mtu.unwrap_or(0), up, addresses }))
    }

    /// Takes the steps and answers the interface's index.
    pub(super) async fn carry_out(&self, index: Option<u32>, steps: &[LinkStep]) -> Result<u32, XfrmError> {
        let mut index = index;
        for step in steps {
            let step = match (step, index) {
                (LinkStep::Create, _) => {
                    index = Some(self.create().await?);
                    continue;
                }
                (_, None) => return Err(XfrmError::Misuse { object: interface(), why: "a step precedes its creation" }),
                (step, Some(index)) => self.step(index, *step).await,
            };
            step.map_err(|(action, error)| refused(action, interface(), error))?;
        }
        index.ok_or(XfrmError::Misuse { object: interface(), why: "it was not created" })
    }

    async fn create(&self) -> Result<u32, XfrmError> {
        let message = LinkMessageBuilder::<LinkXfrm>::new(INTERFACE).if_id(IF_ID).build();
        self.0.link().add(message).execute().await.map_err(|error| refused("create", interface(), error))?;
        let link = self.link().await?.ok_or(XfrmError::Misuse { object: interface(), why: "it vanished while being made" })?;
        // Where IPv6 is off by default it must be on here. If that is not ours to write, the refusal of the address says what to do.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6"), "0");
        // Without this the kernel gives it a random link-local address and announces it to nobody.
        let none = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let message = LinkUnspec::new_with_index(link.index).append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![none])).build();
        self.0.link().set(message).execute().await.map_err(|error| refused("keep link-local addresses off", interface(), error))?;
        Ok(link.index)
    }

    async fn step(&self, index: u32, step: LinkStep) -> Result<(), (&'static str, rtnetlink::Error)> {
        let address = |address| {
            let mut message = AddressMessageBuilder::<Ipv6Addr>::new().index(index).address(address, 128).build();
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Permanent));
            message
        };
        match step {
            LinkStep::Create => Ok(()),
            LinkStep::Mtu(mtu) => {
                let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
                self.0.link().set(message).execute().await.map_err(|error| ("set the MTU of", error))
            }
            LinkStep::Up => {
                let message = LinkUnspec::new_with_index(index).up().build();
                self.0.link().set(message).execute().await.map_err(|error| ("bring up", error))
            }
            LinkStep::AddAddress(inner) => {
                let request = self.0.address().add(index, inner.into(), 128);
                let mut request = request.replace();
                *request.message_mut() = address(inner);
                request.execute().await.map_err(|error| ("give the inner address to", error))
            }
            LinkStep::RemoveAddress(inner) => {
                self.0.address().del(address(inner)).execute().await.map_err(|error| ("take an old inner address from", error))
            }
        }
    }

    /// Changes the MTU of `btmm0`.
    pub(super) async fn set_mtu(&self, mtu: u32) -> Result<(), XfrmError> {
        let message = LinkUnspec::new_with_name(INTERFACE).mtu(mtu).build();
        self.0.link().set(message).execute().await.map_err(|error| refused("set the MTU of", interface(), error))
    }

    /// Removes `btmm0` with its address and route; `false` when it was not there or is not ours.
    pub(super) async fn remove_link(&self) -> Result<bool, XfrmError> {
        let Some(link) = self.link().await?.filter(|link| link.if_id == Some(IF_ID)) else { return Ok(false) };
        self.0.link().del(link.index).execute().await.map_err(|error| refused("remove", interface(), error))?;
        Ok(true)
    }

    /// Makes the unreachable routes of our table be these.
    pub(super) async fn set_unreachable(&self, wanted: &[Route]) -> Result<(), XfrmError> {
        let present: Vec<_> = self.routes().await?.into_iter().filter(|route| matches!(route, Route::Unreachable(_))).collect();
        self.replace_routes(&present, wanted).await
    }

    /// Makes the routes of our table be these.
    pub(super) async fn set_routes(&self, wanted: &[Route]) -> Result<(), XfrmError> {
        self.replace_routes(&self.routes().await?, wanted).await
    }

    async fn replace_routes(&self, present: &[Route], wanted: &[Route]) -> Result<(), XfrmError> {
        let (add, remove) = differences(present, wanted);
        for route in remove {
            // A route with another source is the same to the kernel: remove it before its successor is added. The refusal behind it holds.
            self.remove_route(&route).await?;
        }
        for route in add {
            self.0.route().add(route_message(&route)).execute().await.map_err(|error| refused("add", route_object(&route), error))?;
        }
        Ok(())
    }

    /// Makes our rules be these, adding before removing.
    pub(super) async fn set_rules(&self, wanted: &[Rule]) -> Result<(), XfrmError> {
        let (add, remove) = differences(&self.rules().await?, wanted);
        for rule in add {
            let mut request = self.0.rule().add();
            *request.message_mut() = rule_message(&rule);
            request.execute().await.map_err(|error| refused("add", rule_object(&rule), error))?;
        }
        for rule in remove {
            self.remove_rule(&rule).await?;
        }
        Ok(())
    }

    /// Removes every route of our table and our rules; answers how many.
    pub(super) async fn remove_all(&self) -> Result<usize, XfrmError> {
        let (routes, rules) = (self.routes().await?, self.rules().await?);
        for route in &routes {
            self.remove_route(route).await?;
        }
        for rule in &rules {
            self.remove_rule(rule).await?;
        }
        Ok(routes.len() + rules.len())
    }

    async fn remove_route(&self, route: &Route) -> Result<(), XfrmError> {
        self.0.route().del(route_message(route)).execute().await.map_err(|error| refused("remove", route_object(route), error))
    }

    async fn remove_rule(&self, rule: &Rule) -> Result<(), XfrmError> {
        self.0.rule().del(rule_message(rule)).execute().await.map_err(|error| refused("remove", rule_object(rule), error))
    }

    async fn routes(&self) -> Result<Vec<Route>, XfrmError> {
        let all = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let found = collect(self.0.route().get(all).execute(), "IPv6 routes").await?;
        Ok(found.iter().filter_map(route).collect())
    }

    async fn rules(&self) -> Result<Vec<Rule>, XfrmError> {
        let found = collect(self.0.rule().get(IpVersion::V6).execute(), "IPv6 rules").await?;
        Ok(found.iter().filter_map(rule).collect())
    }
}

async fn collect<T>(found: impl Stream<Item = Result<T, rtnetlink::Error>>, what: &'static str) -> Result<Vec<T>, XfrmError> {
    found.try_collect().await.map_err(|error| refused("list", Object::Table(what), error))
}

fn inner_address(message: &AddressMessage) -> Option<Ipv6Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) if !address.is_unicast_link_local() => Some(*address),
        _ => None,
    })
}

fn if_id(message: &LinkMessage) -> Option<u32> {
    let info = message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(info) => Some(info),
        _ => None,
    })?;
    info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Xfrm(data)) => data.iter().find_map(|data| match data {
            InfoXfrm::IfId(id) => Some(*id),
            _ => None,
        }),
        _ => None,
    })
}

fn route_message(route: &Route) -> RouteMessage {
    let builder = RouteMessageBuilder::<Ipv6Addr>::new().table_id(TABLE).protocol(RouteProtocol::Static);
    match route {
        Route::Device { prefix, index, source } => {
            let builder = builder.destination_prefix(prefix.address, prefix.length).output_interface(*index);
            source.map_or(builder.clone(), |source| builder.pref_source(source)).build()
        }
        Route::Unreachable(prefix) => {
            builder.destination_prefix(prefix.address, prefix.length).kind(RouteType::Unreachable).priority(UNREACHABLE_METRIC).build()
        }
    }
}

fn route(message: &RouteMessage) -> Option<Route> {
    let attribute = |pick: fn(&RouteAttribute) -> Option<u32>| message.attributes.iter().find_map(pick);
    let address = |pick: fn(&RouteAttribute) -> Option<Ipv6Addr>| message.attributes.iter().find_map(pick);
    let table = attribute(|attribute| if let RouteAttribute::Table(table) = attribute { Some(*table) } else { None });
    if table != Some(TABLE) {
        return None;
    }
    let destination = address(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(destination)) => Some(*destination),
        _ => None,
    })?;
    let prefix = Prefix { address: destination, length: message.header.destination_prefix_length };
    match message.header.kind {
        RouteType::Unreachable => Some(Route::Unreachable(prefix)),
        RouteType::Unicast => Some(Route::Device {
            prefix,
            index: attribute(|attribute| if let RouteAttribute::Oif(index) = attribute { Some(*index) } else { None })?,
            source: address(|attribute| match attribute {
                RouteAttribute::PrefSource(RouteAddress::Inet6(source)) => Some(*source),
                _ => None,
            }),
        }),
        _ => None,
    }
}

fn rule_message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet6;
    let (prefix, priority) = match rule {
        Rule::Lookup(prefix) => {
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(TABLE));
            (prefix, RULE_PRIORITY)
        }
        Rule::Refuse(prefix) => {
            message.header.action = RuleAction::Unreachable;
            (prefix, REFUSE_PRIORITY)
        }
    };
    message.header.dst_len = prefix.length;
    message.attributes.push(RuleAttribute::Destination(prefix.address.into()));
    message.attributes.push(RuleAttribute::Priority(priority));
    message
}

fn rule(message: &RuleMessage) -> Option<Rule> {
    let attributes = &message.attributes;
    let priority =
        attributes.iter().find_map(|attribute| if let RuleAttribute::Priority(priority) = attribute { Some(*priority) } else { None })?;
    let address = attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Destination(IpAddr::V6(address)) => Some(*address),
        _ => None,
    })?;
    let prefix = Prefix { address, length: message.header.dst_len };
    let table = attributes.iter().find_map(|attribute| if let RuleAttribute::Table(table) = attribute { Some(*table) } else { None });
    match (message.header.action, priority) {
        (RuleAction::ToTable, RULE_PRIORITY) if table == Some(TABLE) => Some(Rule::Lookup(prefix)),
        (RuleAction::Unreachable, REFUSE_PRIORITY) if prefix.length == 48 => Some(Rule::Refuse(prefix)),
        _ => None,
    }
}

fn interface() -> Object {
    Object::Interface(INTERFACE.into())
}

fn route_object(route: &Route) -> Object {
    Object::Route(match route {
        Route::Device { prefix, .. } => format!("the route {}/{} dev {INTERFACE} table {TABLE}", prefix.address, prefix.length),
        Route::Unreachable(prefix) => format!("the route unreachable {}/{} table {TABLE}", prefix.address, prefix.length),
    })
}

fn rule_object(rule: &Rule) -> Object {
    Object::Route(match rule {
        Rule::Lookup(prefix) => format!("the rule {RULE_PRIORITY} to {}/{} lookup {TABLE}", prefix.address, prefix.length),
        Rule::Refuse(prefix) => format!("the rule {REFUSE_PRIORITY} to {}/{} unreachable", prefix.address, prefix.length),
    })
}

fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| Errno::from_raw(code.get().saturating_abs())),
        _ => None,
    }
}

fn refused(action: &'static str, object: Object, error: rtnetlink::Error) -> XfrmError {
    match errno(&error) {
        Some(errno) => XfrmError::refused(action, object, errno as i32, ""),
        None => XfrmError::Socket { action, object, source: io::Error::other(error.to_string()) },
    }
}
