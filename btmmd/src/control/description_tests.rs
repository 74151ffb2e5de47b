//! The interface description against the Rust types, with zlink's parser as the judge.

use serde_json::{Value, json};
use zlink::idl::{CustomType, Field, Interface, Type};

use super::messages::*;
use super::secrets::{HeldTickets, Keytab, Passwd, PasswordChange, PasswordChanged, RealmTickets, ServiceKeys, TicketWanted};
use super::services::{Require, Service, Services};
use super::wire;
use super::wire::tests::every_error;
use crate::lkdc::principals::strength::Strength;

fn interface() -> Interface<'static> {
    wire::DESCRIPTION.try_into().expect("the description parses")
}

/// Whether `value` is of type `ty`: every field there is described, every field that is not optional is there.
fn conforms(value: &Value, ty: &Type<'_>, types: &Interface<'_>) -> Result<(), String> {
    match (ty, value) {
        (Type::Optional(_), Value::Null) | (Type::Bool, Value::Bool(_)) | (Type::String, Value::String(_)) => Ok(()),
        (Type::Optional(inner), value) => conforms(value, inner, types),
        (Type::Int, value) if value.is_i64() => Ok(()),
        (Type::Array(inner), Value::Array(items)) => items.iter().try_for_each(|item| conforms(item, inner, types)),
        (Type::Enum(variants), Value::String(text)) if variants.iter().any(|variant| variant.name().as_str() == text) => Ok(()),
        (Type::Custom(name), value) => match types.custom_types().find(|custom| custom.name().as_str() == name.as_str()) {
            Some(CustomType::Object(object)) => object_conforms(value, &object.fields().collect::<Vec<_>>(), types),
            _ => Err(format!("no object type {name:?}")),
        },
        _ => Err(format!("{value} is not {ty:?}")),
    }
}

fn object_conforms(value: &Value, fields: &[&Field<'_>], types: &Interface<'_>) -> Result<(), String> {
    let object = value.as_object().ok_or(format!("{value} is not an object"))?;
    for name in object.keys() {
        if !fields.iter().any(|field| field.name().as_str() == name) {
            return Err(format!("{name} is not described"));
        }
    }
    for field in fields {
        let name = field.name().as_str();
        match object.get(name) {
            Some(value) => conforms(value, field.ty(), types).map_err(|error| format!("{name}: {error}"))?,
            None if matches!(field.ty(), Type::Optional(_)) => {}
            None => return Err(format!("{name} is missing")),
        }
    }
    Ok(())
}

fn reply<T: serde::Serialize>(method: &str, reply: &T) {
    let interface = interface();
    let described = interface.methods().find(|m| m.name().as_str() == method).unwrap_or_else(|| panic!("{method} is described"));
    let value = serde_json::to_value(reply).unwrap();
    object_conforms(&value, &described.outputs().collect::<Vec<_>>(), &interface).unwrap_or_else(|error| panic!("{method}: {error}"));
}

fn parameters<T: serde::Serialize>(method: &str, parameters: &T) {
    let interface = interface();
    let described = interface.methods().find(|m| m.name().as_str() == method).unwrap_or_else(|| panic!("{method} is described"));
    let value = serde_json::to_value(parameters).unwrap();
    object_conforms(&value, &described.inputs().collect::<Vec<_>>(), &interface).unwrap_or_else(|error| panic!("{method}: {error}"));
    assert_eq!(described.inputs().count(), value.as_object().unwrap().len(), "{method} takes every field described");
}

fn status() -> Status {
    serde_json::from_str(include_str!("status.sample.json")).expect("the sample is a status")
}

#[test]
fn replies_are_what_the_description_says() {
    let status = status();
    reply("Status", &status);
    reply("Machines", &Machines { zone: "z.z".to_owned(), this: "a".to_owned(), machines: status.peers.clone() });
    let pong = Pong {
        machine: "a".to_owned(),
        inner: "fd00::1".parse().unwrap(),
        remote: "192.0.2.1:4500".parse().unwrap(),
        via: "direct".to_owned(),
        rtt_us: 1,
        connect_us: Some(1),
    };
    reply("Ping", &PingReply { sequence: 1, pong: Some(pong), lost: None });
    reply("On", &Switched { on: true, changed: false });
    reply("Off", &Switched { on: false, changed: true });
    reply("AccountCreate", status.account.as_ref().unwrap());
    reply("Join", status.account.as_ref().unwrap());
    reply("Invite", &Invitation { code: "c".to_owned().into(), expires: 1 });
    let changed = PasswordChanged { user: "a".to_owned(), principal: "a@A".to_owned(), changed: true, uri: Some("u".to_owned().into()) };
    reply("Passwd", &changed);
    reply("Keytab", &ServiceKeys { realm: "A".to_owned(), keytab: "BQI=".to_owned().into() });
    for method in ["Services", "Require"] {
        reply(method, &Services { services: vec![Service { service: "host".to_owned(), strength: Strength::ALL.to_vec() }] });
    }
    let tickets = RealmTickets { realm: "A".to_owned(), machine: "a.z.z".to_owned(), own: true, cache: "BQQ=".to_owned().into() };
    reply("Ticket", &tickets);
    reply("Tickets", &HeldTickets { realms: vec!["A".to_owned()], tickets: vec![tickets] });
    reply("Reload", &Reloaded { applied: vec!["port".to_owned()], restart_needed: vec![] });
    reply("Metrics", &Metrics { text: String::new() });
}

#[test]
fn parameters_are_what_the_description_says() {
    let some = || Some("x".to_owned());
    parameters("Ping", &wire::Ping { machine: "a".to_owned(), count: Some(1), interval_ms: Some(1) });
    parameters("AccountCreate", &AccountCreate { name: "a".to_owned(), zone: some(), machine: some(), serve: true, key: some() });
    use PasswordChange::{NoTotp, Remove, Set, Totp, TotpConfirm};
    for change in [Set, Remove, Totp, TotpConfirm, NoTotp] {
        let secret = || Some("s".to_owned().into());
        parameters("Passwd", &Passwd { user: some(), change, password: secret(), old: secret(), code: secret() });
    }
    parameters("Keytab", &Keytab { services: vec!["host".to_owned()], rotate: true });
    parameters("Require", &Require { service: "host".to_owned(), strength: Strength::ALL.to_vec() });
    parameters("Ticket", &TicketWanted { service: some(), machine: "a".to_owned(), user: some() });
    parameters("Join", &Join { code: "c".to_owned().into(), machine: some(), key: some() });
}

#[test]
fn every_described_method_is_decoded() {
    for method in interface().methods() {
        let name = method.name().as_str();
        let call = json!({ "method": format!("org.btmm.Control.{name}"), "parameters": {} }).to_string();
        let decoded = wire::decode_call(call.as_bytes()).unwrap().method;
        assert!(!matches!(decoded, wire::Method::Unknown(_)), "{name}");
    }
}

#[test]
fn errors_are_what_the_description_says() {
    let errors = every_error();
    let interface = interface();
    assert_eq!(interface.errors().count(), errors.len());
    for error in errors {
        let value = serde_json::to_value(&error).unwrap();
        let name = value["error"].as_str().unwrap().strip_prefix("org.btmm.Control.").unwrap();
        let described = interface.errors().find(|e| e.name().as_str() == name).unwrap_or_else(|| panic!("{name} is described"));
        object_conforms(&value["parameters"], &described.fields().collect::<Vec<_>>(), &interface).unwrap();
    }
}

#[test]
fn the_tunnel_s_fields_are_all_described() {
    let interface = interface();
    for tunnel in status().peers.into_iter().map(|peer| peer.tunnel) {
        let value = serde_json::to_value(&tunnel).unwrap();
        let tunnel = interface.custom_types().find(|custom| custom.name().as_str() == "Tunnel").unwrap();
        object_conforms(&value, &tunnel.as_object().unwrap().fields().collect::<Vec<_>>(), &interface).unwrap();
    }
}
