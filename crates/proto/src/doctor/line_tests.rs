//! The line, cut in every way.

use super::line::{Place, Point, judge};
use super::*;
use crate::failure::Failure;

fn provider(answers: bool) -> Point {
    let by_tcp = (!answers).then_some(false);
    Point { udp: Some(answers), dns_by_tcp: by_tcp, ..Point::new("resolver", Place::Provider) }
}

fn site(place: Place, tcp: Result<(), Failure>) -> Point {
    Point { tcp: Some(tcp), ..Point::new("site", place) }
}

fn abroad(up: bool, udp: bool, dns_by_tcp: Option<bool>) -> Point {
    let tcp = Some(if up { Ok(()) } else { Err(Failure::Silent) });
    Point { tcp, udp: Some(udp), dns_by_tcp, ..Point::new("doh", Place::World) }
}

fn found(points: &[Point]) -> Vec<Verdict> {
    judge(points).found
}

#[test]
fn an_open_line_is_open() {
    assert_eq!(found(&[provider(true), abroad(true, true, None)]), []);
    assert_eq!(found(&[]), []);
    // A server that speaks neither is no proof of anything.
    assert_eq!(found(&[provider(true), abroad(true, false, Some(false))]), []);
}

#[test]
fn one_blocked_site_is_no_cut() {
    let site = site(Place::World, Err(Failure::Silent));
    assert_eq!(found(&[provider(true), abroad(true, true, None), site]), []);
}

#[test]
fn udp_is_off_where_tcp_gets_the_same_answer() {
    assert_eq!(found(&[provider(false), abroad(true, false, Some(true))]), [Verdict::UdpOff]);
    assert_eq!(found(&[provider(true), abroad(true, false, Some(true))]), [Verdict::UdpOff]);
    let quic = Point { quic: Some(true), ..abroad(true, false, Some(true)) };
    assert_eq!(found(&[provider(false), quic]), []);
}

#[test]
fn the_country_alone() {
    let dark = || abroad(false, false, None);
    let home = |tcp| site(Place::Home, tcp);
    assert_eq!(found(&[provider(true), dark(), home(Ok(()))]), [Verdict::ForeignCut]);
    assert_eq!(found(&[provider(true), dark(), dark()]), [Verdict::ForeignCut]);
    assert_eq!(found(&[provider(true), dark()]), [Verdict::Unclear]);
    assert_eq!(found(&[provider(true), dark(), home(Err(Failure::Silent))]), [Verdict::DnsOnly]);
}

#[test]
fn nothing_at_all() {
    assert_eq!(found(&[provider(false), abroad(false, false, None)]), [Verdict::Blackout]);
    let no_way = site(Place::World, Err(Failure::Unreachable));
    assert_eq!(found(&[provider(false), no_way]), [Verdict::NoNetwork]);
}
