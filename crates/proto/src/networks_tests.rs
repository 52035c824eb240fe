//! Networks told apart, moves between them, and what is kept of each.

use std::time::Duration;

use super::*;
use crate::failure::{Failure, Route};
use crate::page::HostName;

const KEY: [u8; 32] = [3; 32];
const NOW: Tick = Tick(1_700_000_000_000_000);
const MOVED: Seen = Seen { moved: true, forgotten: None };
const SAME: Seen = Seen { moved: false, forgotten: None };

fn site() -> HostName {
    HostName::parse("news.example").unwrap()
}

/// A network behind the n-th router, of which the card is known.
fn home(n: u8) -> Sight {
    Sight {
        line: "wlan0".into(),
        gateways: vec![IpAddr::from([192, 168, n, 1])],
        card: Some([2, 0, 0, 0, 0, n]),
        addrs: vec![(IpAddr::from([192, 168, n, 77]), 24)],
    }
}

fn without_card(sight: &Sight) -> Sight {
    Sight { card: None, ..sight.clone() }
}

fn fresh() -> Networks {
    Networks::new(KEY, &[], NOW)
}

fn breaks(networks: &mut Networks) {
    networks.memory().failed(&site(), Route::Direct, &Failure::Reset, NOW);
}

fn is_broken(networks: &Networks) -> bool {
    networks.here().is_broken(&site(), Route::Direct, NOW)
}

#[test]
fn each_network_has_a_memory_of_its_own() {
    let mut networks = fresh();
    assert_eq!(networks.see(Some(&home(1))), MOVED);
    breaks(&mut networks);
    assert_eq!(networks.see(Some(&home(1))), SAME);
    assert!(is_broken(&networks));
    assert_eq!(networks.see(Some(&home(2))), MOVED);
    assert!(!is_broken(&networks));
    assert_eq!(networks.see(None), MOVED);
    assert!(!is_broken(&networks));
    assert_eq!(networks.see(Some(&home(1))), MOVED);
    assert!(is_broken(&networks));
}

#[test]
fn what_changes_within_a_network_makes_no_other() {
    let mut networks = fresh();
    let mut sight = home(1);
    networks.see(Some(&sight));
    sight.addrs = vec![
        ("2001:db8:7::9".parse().unwrap(), 64),
        ("fe80::9".parse().unwrap(), 64),
        (IpAddr::from([192, 168, 1, 200]), 24),
    ];
    sight.gateways.push("fe80::1".parse().unwrap());
    sight.line = "eth0".into();
    assert_eq!(networks.see(Some(&sight)), SAME, "another address, and IPv6 came");
    assert_eq!(networks.see(Some(&without_card(&sight))), SAME, "the card is not known now");
    let another = Sight { card: Some([9; 6]), ..sight };
    assert_eq!(networks.see(Some(&another)), MOVED, "the same numbers in another house");
}

#[test]
fn a_line_without_a_gateway_is_told_roughly() {
    let line = |line: &str, ip: [u8; 4]| Sight {
        line: line.into(),
        addrs: vec![(IpAddr::from(ip), 32), ("fe80::5".parse().unwrap(), 64)],
        ..Sight::default()
    };
    let mut networks = fresh();
    assert_eq!(networks.see(Some(&line("wwan0", [10, 7, 1, 2]))), MOVED);
    assert_eq!(networks.see(Some(&line("wwan0", [10, 7, 200, 9]))), SAME);
    assert_eq!(networks.see(Some(&line("tun0", [10, 7, 1, 2]))), MOVED);
    assert!(!networks.is_unsure());
}

/// What it is to see which network this is, after it was seen without the card.
fn named(networks: &Networks) -> Seen {
    Seen { moved: false, forgotten: Some(networks.row(NOW).0) }
}

#[test]
fn a_new_network_has_its_name_once_the_card_is_known() {
    let mut networks = fresh();
    assert_eq!(networks.see(Some(&without_card(&home(1)))), MOVED);
    assert!(networks.is_unsure());
    breaks(&mut networks);
    let expected = named(&networks);
    assert_eq!(networks.see(Some(&home(1))), expected, "nobody moved");
    assert!(!networks.is_unsure() && is_broken(&networks));
    assert_eq!(networks.names().count(), 2, "it and nowhere");
}

#[test]
fn a_known_network_is_guessed_until_its_card_is_seen() {
    let mut networks = fresh();
    networks.see(Some(&home(1)));
    breaks(&mut networks);
    networks.see(Some(&home(2)));
    assert_eq!(networks.see(Some(&without_card(&home(1)))), MOVED);
    assert!(is_broken(&networks), "it looks like the one where this was learnt");
    assert_eq!(networks.see(Some(&home(1))), SAME);
    // One that looks alike and is another.
    let other = Sight { card: Some([9; 6]), ..home(1) };
    assert_eq!(networks.see(Some(&home(2))), MOVED);
    assert_eq!(networks.see(Some(&without_card(&other))), MOVED);
    assert_eq!(networks.see(Some(&other)), MOVED);
    assert!(!is_broken(&networks));
}

#[test]
fn where_no_card_is_ever_seen_a_network_is_known_without_it() {
    let mut networks = fresh();
    assert_eq!(networks.see(Some(&without_card(&home(1)))), MOVED);
    for _ in 0..DOUBTS {
        assert!(networks.is_unsure());
        assert_eq!(networks.see(Some(&without_card(&home(1)))), SAME);
    }
    assert!(!networks.is_unsure(), "and looked at no more often than others");
    breaks(&mut networks);
    networks.see(None);
    assert_eq!(networks.see(Some(&without_card(&home(1)))), MOVED);
    assert!(is_broken(&networks));
}

#[test]
fn of_two_memories_of_one_network_the_one_with_its_name_stays() {
    let mut networks = fresh();
    networks.see(Some(&without_card(&home(1))));
    breaks(&mut networks);
    let loose = named(&networks);
    networks.see(Some(&home(2)));
    assert_eq!(networks.see(Some(&home(1))), MOVED, "it may be another than that one");
    assert!(!is_broken(&networks));
    networks.see(Some(&home(2)));
    // Then the one without a name is used again, and turns out to be this one.
    networks.known[1..].rotate_left(1);
    assert_eq!(networks.see(Some(&home(1))), loose);
    assert!(!is_broken(&networks));
    assert_eq!(networks.known.len(), 3);
}

#[test]
fn the_least_lately_used_is_forgotten() {
    let mut networks = fresh();
    let mut names = Vec::new();
    for n in 0..u8::try_from(MAX).unwrap() {
        networks.see(Some(&home(n)));
        assert_eq!(networks.known.len(), MAX.min(usize::from(n) + 2));
        breaks(&mut networks);
        names.push(networks.row(NOW).0);
    }
    networks.see(Some(&home(0)));
    assert_eq!(networks.see(Some(&home(100))), Seen { moved: true, forgotten: Some(names[1]) });
    assert_eq!(networks.known.len(), MAX);
    networks.see(Some(&home(0)));
    assert!(is_broken(&networks));
    networks.see(Some(&home(1)));
    assert!(!is_broken(&networks));
}

#[test]
fn networks_survive_a_restart() {
    let mut networks = fresh();
    let mut rows = Vec::new();
    for n in [1, 2] {
        networks.see(Some(&home(n)));
        breaks(&mut networks);
        rows.push(networks.row(NOW).1);
    }
    rows.push(b"junk".to_vec());
    let later = NOW + Duration::from_secs(60);
    let mut again = Networks::new(KEY, &rows, later);
    assert!(!is_broken(&again), "it does not know where it is");
    assert_eq!(again.see(Some(&without_card(&home(1)))), MOVED);
    assert!(is_broken(&again));
    let mut stolen = Networks::new([4; 32], &rows, later);
    stolen.see(Some(&home(1)));
    assert!(!is_broken(&stolen), "without the key nobody knows which network it was");
}
