//! Frames between nodes: asks and answers.

use std::net::SocketAddr;

use busel_proto::blob::{GROUP, MAX_WINDOW, window_after};
use busel_proto::catalogue::{MAX_MESSAGE, MAX_WANTED};
use busel_proto::holders::NAMED;
use busel_proto::message::{Answer, Ask, MAX_FRAME, frame_len, news, read_news};
use busel_proto::page::HostName;
use busel_proto::plan::PIECE;

/// What is read is written again the same; what is sane has windows that fit.
pub fn ask(data: &[u8]) {
    header(data);
    let Ok(ask) = Ask::from_frame(data) else { return };
    same(&ask.to_frame(), data);
    if !ask.is_sane() {
        return;
    }
    match ask {
        Ask::Blob { len, from, to, .. } => windows(from, to, len),
        Ask::Any { len, of, .. } => {
            assert!(of.iter().all(|piece| *piece < len.div_ceil(PIECE)), "a sane one has such");
        }
        Ask::Tunnel { host, .. } => {
            assert_eq!(HostName::parse(host.as_str()).as_ref(), Ok(&host), "a host has one form");
        }
        Ask::Fetch { .. }
        | Ask::Has { .. }
        | Ask::Inject { .. }
        | Ask::Pass { .. }
        | Ask::Nodes { .. }
        | Ask::Assign
        | Ask::Forward { .. }
        | Ask::Question { .. }
        | Ask::Seen => {}
        Ask::Compare { message, .. } => assert!(message.len() <= MAX_MESSAGE),
        Ask::Listed { heads, .. } => assert!(heads.len() <= MAX_WANTED),
        Ask::Tell { pages, .. } => assert!(pages.len() <= MAX_WANTED),
        Ask::Hold { holders, .. } => assert!(holders.len() <= NAMED, "a sane one names few"),
        Ask::Punch { from } => {
            let from: SocketAddr = from.parse().expect("a sane one names an address");
            assert_ne!(from.port(), 0, "and a port");
        }
    }
}

/// What is read is written again the same, also the news that follow an answer.
pub fn answer(data: &[u8]) {
    header(data);
    if let Ok(pieces) = read_news(data) {
        assert_eq!(news(&pieces), data, "news have one form");
    }
    let Ok(answer) = Answer::from_frame(data) else { return };
    same(&answer.to_frame(), data);
}

fn same(frame: &[u8], data: &[u8]) {
    let (header, body) = frame.split_first_chunk::<4>().expect("a frame has a header");
    assert_eq!(body, data, "a frame has one form");
    assert_eq!(frame_len(*header, MAX_FRAME), Ok(body.len()));
}

fn header(data: &[u8]) {
    let Some(header) = data.first_chunk::<4>() else { return };
    match frame_len(*header, MAX_FRAME) {
        Ok(len) => assert!(len <= MAX_FRAME),
        Err(_) => assert!(u32::from_be_bytes(*header) as usize > MAX_FRAME),
    }
}

/// The windows of a transfer lie one behind the other, in whole groups, up to the end.
fn windows(from: u64, to: u64, len: u64) {
    let mut at = from;
    for first in std::iter::once(true).chain(std::iter::repeat(false)).take(40) {
        let Some(window) = window_after(from, at, to) else {
            assert!(at >= to);
            return;
        };
        assert!(window.start % GROUP == 0 && window.start <= at && at < window.end);
        assert!(first || window.start == at, "a gap between windows");
        let end = window.end.next_multiple_of(GROUP).min(len);
        assert!(window.end <= to && end - window.start <= MAX_WINDOW);
        at = window.end;
    }
}
