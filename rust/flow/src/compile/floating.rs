//! A floating address: a port's address outside, translated one to one on the host of its router's gateway.

use core::net::IpAddr;

use super::network::answer_arp;
use super::router::{answer_arp_outside, known, neighbour, new};
use super::{numbered, rank};
use crate::field::Field;
use crate::ledger::Sink;
use crate::matches::Match;
use crate::program::{Nat, Program};
use crate::tables::{Table, register};
use crate::view::View;
use crate::wish::Id;

pub fn flows(view: &View, id: &Id, sink: &mut Sink) {
    let Some(floating) = view.floatings.get(id) else { return };
    let Some(router) = view.routers.get(&floating.router_id).filter(|router| router.admin_up) else { return };
    let (Some(gateway), Some(zone)) = (router.gateway_here(), view.numbers.zone_of(&router.id)) else { return };
    let Some((network, net)) = numbered(view, &gateway.face.network_id) else { return };
    let (outer, inner, mac) = (floating.floating_ip, floating.fixed_ip, gateway.face.mac);
    answer_arp(sink, net, outer, mac);
    answer_arp_outside(view, network, net, outer, mac, sink);
    neighbour(net, IpAddr::V4(outer), mac, sink);

    let had = || Match::new().u32(register::ROUTER, zone).ipv4();
    let look_up = Program::new().track_nat(register::ROUTER, Table::RouteIn, Nat::Restore);
    let ours = had().u32(register::NETWORK, net).v4(Field::Ipv4Dst, outer);
    sink.flow(Table::RouteLocal, rank::USUAL, &ours, &look_up);

    let opened = new(had()).v4(Field::Ipv4Dst, outer);
    let inward = Program::new().commit_nat(register::ROUTER, Table::Route, Nat::Destination(inner));
    sink.flow(Table::RouteIn, rank::USUAL, &opened, &inward);
    let going_on = known(had(), false).v4(Field::CtIpv4Dst, outer).v4(Field::Ipv4Dst, inner);
    sink.flow(Table::RouteIn, rank::USUAL, &going_on, &Program::new().goto(Table::Route));

    let opens = new(had()).v4(Field::Ipv4Src, inner);
    let outward = Program::new().commit_nat(register::ROUTER, Table::NextHop, Nat::Source(outer, None));
    sink.flow(Table::Translate, rank::USUAL, &opens, &outward);
    let goes_on = known(had(), false).v4(Field::CtIpv4Src, inner).v4(Field::Ipv4Src, outer);
    sink.flow(Table::Translate, rank::USUAL, &goes_on, &Program::new().goto(Table::NextHop));
    let answers = known(had(), true).v4(Field::CtIpv4Dst, outer).v4(Field::Ipv4Src, outer);
    sink.flow(Table::Translate, rank::USUAL, &answers, &Program::new().goto(Table::NextHop));
}
