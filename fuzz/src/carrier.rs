//! A carrier under any bytes on any leg, and both of its ends over a line that cuts at any byte.

use std::collections::BTreeMap;
use std::time::Duration;

use busel_proto::carrier::{Client, ClientOutput, Decoder, Habit, LegId, Server, ServerOutput};
use busel_proto::time::Tick;

use crate::feed::Feed;

/// What each end has to say.
const TEXT: &[u8] = &[7; 3000];

/// The first byte says what is tried: frames that decode encode to the same bytes; a server takes
/// anything; or, with the rest as a list of cuts, both ends come to the end of the stream with
/// nothing lost or doubled.
pub fn carrier(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    match which % 3 {
        0 => frames(rest),
        1 => stranger(rest),
        _ => line(&mut Feed(rest)),
    }
}

fn frames(data: &[u8]) {
    let (mut decoder, mut again, mut read) = (Decoder::default(), Vec::new(), 0);
    decoder.push(data);
    while let Ok(Some(frame)) = decoder.take() {
        again.clear();
        frame.put(&mut again);
        let was = &data[read..read + again.len()];
        // Padding may be anything.
        assert!(was[0] == 0 || was == again, "a frame changes when it is written again");
        read += again.len();
    }
}

fn stranger(data: &[u8]) {
    let mut server = Server::new([1; 32], Tick(0));
    let leg = server.opened(Tick(0));
    server.write(TEXT);
    for (n, part) in data.chunks(97).enumerate() {
        let now = Tick(n as u64 * 10_000);
        if server.received(leg, part, now).is_err() {
            return;
        }
        while server.read().is_some() {}
        for _ in 0..10 {
            if server.transmit(leg, now).is_none() {
                break;
            }
        }
    }
}

/// Each byte says how many writes pass before the connection is cut; zero is never.
fn line(cuts: &mut Feed<'_>) {
    let mut client = Client::new(Habit::default(), [1; 32], Tick(0));
    let mut server = Server::new([2; 32], Tick(0));
    let mut legs: BTreeMap<LegId, (LegId, u8)> = BTreeMap::new();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    client.write(TEXT);
    server.write(TEXT);
    for step in 0..2000u64 {
        let now = Tick(0) + Duration::from_millis(step * 20);
        loop {
            match client.poll(now) {
                ClientOutput::Open { leg, .. } => {
                    client.opened(leg, now);
                    legs.insert(leg, (server.opened(now), cuts.byte()));
                }
                ClientOutput::Drop(leg) => {
                    if let Some((other, _)) = legs.remove(&leg) {
                        server.lost(other, now);
                    }
                }
                ClientOutput::Wait(_) => break,
                ClientOutput::Over => return,
            }
        }
        while let ServerOutput::Drop(leg) = server.poll(now) {
            legs.retain(|near, (far, _)| {
                let kept = *far != leg;
                if !kept {
                    client.lost(*near, true, now);
                }
                kept
            });
        }
        legs.retain(|near, (far, cut)| {
            for from_client in [true, false] {
                let said = if from_client {
                    client.transmit(*near, now)
                } else {
                    server.transmit(*far, now)
                };
                let Some(said) = said else { continue };
                *cut = cut.saturating_sub(1);
                let part = if *cut == 1 { &said[..said.len() / 2] } else { &said[..] };
                let taken = match from_client {
                    true => server.received(*far, part, now),
                    false => client.received(*near, part, now),
                };
                assert!(taken.is_ok(), "an end does not take what the other one says");
                if *cut == 1 {
                    client.lost(*near, true, now);
                    server.lost(*far, now);
                    return false;
                }
            }
            true
        });
        up.extend(std::iter::from_fn(|| server.read()).flatten());
        down.extend(std::iter::from_fn(|| client.read()).flatten());
        assert!(TEXT.starts_with(&up) && TEXT.starts_with(&down));
    }
    // Cuts have come to an end, so that all has arrived.
    assert!(!cuts.is_empty() || (up == TEXT && down == TEXT));
}
