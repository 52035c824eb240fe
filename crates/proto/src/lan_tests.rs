//! Neighbours in simulated time: who is heard, how often, and what is dropped.

use super::*;

const TODAY: Day = Day(20_500);
const NOW: Tick = Tick(1_000_000_000);

fn addr(n: u16) -> SocketAddr {
    let [a, b] = n.to_be_bytes();
    SocketAddr::from(([10, 0, a, b], 4000))
}

fn beacon(id: u16, from: SocketAddr) -> Vec<u8> {
    let mut peer = [0; 32];
    peer[..2].copy_from_slice(&id.to_be_bytes());
    let beacon = Beacon {
        id: PeerId(peer),
        port: 999,
        addr: addr_bytes(from.ip()),
        asks: false,
        veil: None,
    };
    beacon.seal(TODAY, &[7; CHANCE]).unwrap()
}

#[test]
fn a_neighbour_is_heard_once_anew_and_is_gone_after_a_while() {
    let mut neighbours = Neighbours::default();
    let said = beacon(1, addr(1));
    let heard = neighbours.hear(addr(1), &said, NOW, TODAY).unwrap();
    assert!(heard.is_new);
    assert_eq!(heard.neighbour.addr, SocketAddr::from(([10, 0, 0, 1], 999)));
    assert!(!neighbours.hear(addr(1), &said, NOW, TODAY).unwrap().is_new);
    assert_eq!(neighbours.list(NOW), [heard.neighbour]);
    assert_eq!(neighbours.find(&heard.neighbour.id, NOW), Some(heard.neighbour));
    assert!(neighbours.list(NOW + GONE).is_empty());
    assert_eq!(neighbours.find(&heard.neighbour.id, NOW + GONE), None);
}

#[test]
fn a_link_local_neighbour_keeps_its_link() {
    let link: Ipv6Addr = "fe80::1".parse().unwrap();
    let from = SocketAddr::from(SocketAddrV6::new(link, 4000, 0, 3));
    let heard = Neighbours::default().hear(from, &beacon(1, from), NOW, TODAY).unwrap();
    assert_eq!(heard.neighbour.addr, SocketAddr::from(SocketAddrV6::new(link, 999, 0, 3)));
}

#[test]
fn junk_copies_and_other_days_bring_nobody() {
    let mut neighbours = Neighbours::default();
    let mut hear = |datagram: &[u8], today| neighbours.hear(addr(1), datagram, NOW, today);
    assert_eq!(hear(b"junk", TODAY), Err(Unheard::Unreadable));
    assert_eq!(hear(&[3; 300], TODAY), Err(Unheard::Unreadable));
    assert_eq!(hear(&beacon(1, addr(2)), TODAY), Err(Unheard::Copied));
    assert_eq!(hear(&beacon(1, addr(1)), Day(TODAY.0 + 2)), Err(Unheard::Unreadable));
    assert!(neighbours.list(NOW).is_empty());
}

#[test]
fn a_host_with_a_thousand_ids_has_two() {
    let mut neighbours = Neighbours::default();
    let mut now = NOW;
    for id in 0..1000 {
        let _ = neighbours.hear(addr(1), &beacon(id, addr(1)), now, TODAY);
        now = now + HOST.span;
    }
    assert_eq!(neighbours.list(now).len(), MAX_IDS);
}

#[test]
fn a_flood_of_one_host_is_dropped_unread_and_others_are_heard() {
    let mut neighbours = Neighbours::default();
    neighbours.hear(addr(1), &beacon(1, addr(1)), NOW, TODAY).unwrap();
    neighbours.hear(addr(2), &beacon(2, addr(2)), NOW, TODAY).unwrap();
    let read = (0..10_000)
        .filter(|_| neighbours.hear(addr(1), b"junk", NOW, TODAY) != Err(Unheard::TooMany));
    assert_eq!(read.count(), usize::try_from(HOST.burst).unwrap() - 1);
    assert!(neighbours.hear(addr(2), &beacon(2, addr(2)), NOW, TODAY).is_ok());
}

#[test]
fn strangers_without_number_drive_nobody_out() {
    let mut neighbours = Neighbours::default();
    let (mut now, mut told) = (NOW, 0);
    for n in 0..5000 {
        // The one who was first goes on.
        if now - NOW >= Duration::from_secs(30) * told {
            assert!(neighbours.hear(addr(0), &beacon(0, addr(0)), now, TODAY).is_ok());
            told += 1;
        }
        let _ = neighbours.hear(addr(1 + n), &beacon(1 + n, addr(1 + n)), now, TODAY);
        now = now + STRANGERS.span;
    }
    assert_eq!(neighbours.hosts.len(), MAX_HOSTS);
    assert!(neighbours.list(now).iter().any(|n| n.addr.ip() == addr(0).ip()));
    let full = neighbours.hear(addr(9000), &beacon(9000, addr(9000)), now, TODAY);
    assert_eq!(full, Err(Unheard::Full));
    now = now + QUIET + Duration::from_secs(1);
    assert!(neighbours.hear(addr(9000), &beacon(9000, addr(9000)), now, TODAY).is_ok());
}

#[test]
fn beacons_are_eager_at_first_then_seldom_and_answers_are_limited() {
    let mut pace = Pace::new(NOW, u32::MAX / 2);
    assert!(pace.asks() && pace.due() > NOW);
    let mut gaps = Vec::new();
    for _ in 0..4 {
        let at = pace.due();
        pace.sent(at, 0, u32::MAX / 2);
        assert!(!pace.asks());
        gaps.push(pace.due() - at);
    }
    assert!(gaps[..2].iter().all(|gap| *gap < ANSWER_GAP), "{gaps:?}");
    assert!(gaps[2..].iter().all(|gap| *gap >= SELDOM), "{gaps:?}");
    let last = pace.due();
    pace.sent(last, 0, 0);
    pace.asked(last + Duration::from_secs(1), 0);
    assert_eq!(pace.due(), last + ANSWER_GAP);
    pace.asked(last + Duration::from_secs(9), 0);
    assert_eq!(pace.due(), last + ANSWER_GAP, "a later one does not put it off");
    pace.moved(last + Duration::from_secs(20), 0);
    assert!(pace.asks());
    assert_eq!(pace.due(), last + Duration::from_secs(20));
}

#[test]
fn each_of_a_crowd_beacons_more_seldom_but_is_not_taken_to_have_gone() {
    for (neighbours, times) in [(0, 1), (8, 1), (9, 2), (32, 4), (usize::MAX, 4)] {
        let mut pace = Pace { next: NOW, last: None, eager: 0 };
        pace.sent(NOW, neighbours, 0);
        assert_eq!(pace.due(), NOW + SELDOM * times, "{neighbours}");
        pace.sent(NOW, neighbours, u32::MAX);
        assert!(pace.due() - NOW <= QUIET);
    }
}

#[test]
fn a_daily_id_says_nothing_of_the_next() {
    let secret = [5; 32];
    assert_ne!(daily_identity(&secret, TODAY), daily_identity(&secret, Day(TODAY.0 + 1)));
    assert_ne!(daily_identity(&secret, TODAY), daily_identity(&[6; 32], TODAY));
}
