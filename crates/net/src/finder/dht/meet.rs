//! Asking an address for a card, and answering there (`busel_proto::meeting`).
//!
//! A question goes twice at most. An answer goes only to a question that all of Busel could have
//! asked, and is no longer than that; all else gets silence.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use busel_proto::card::Card;
use busel_proto::daily::MAX_BOX;
use busel_proto::meeting::{Hello, Porch};
use busel_proto::signed::Signed;
use busel_proto::time::Tick;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tracing::debug;

use crate::finder::lan::today;

/// How long an answer is waited for, each time.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
/// After a failure of the socket.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum MeetError {
    /// The question can't be sent.
    #[error("it can't be asked: {0}")]
    Io(#[from] io::Error),
    /// Nobody there knows the question.
    #[error("no answer")]
    Silent,
}

/// Asks an address for the card of the node there.
pub async fn ask(addr: SocketAddr) -> Result<Signed<Card>, MeetError> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(addr).await?;
    let hello = Hello(rand::random());
    for _ in 0..TRIES {
        let asked = hello.seal(today(), &rand::random()).ok_or(MeetError::Silent)?;
        socket.send(&asked).await?;
        if let Ok(Some(card)) = timeout(PATIENCE, answer_to(&hello, &socket)).await {
            return Ok(card);
        }
    }
    Err(MeetError::Silent)
}

async fn answer_to(hello: &Hello, socket: &UdpSocket) -> Option<Signed<Card>> {
    let mut buf = vec![0; MAX_BOX + 1];
    loop {
        let len = socket.recv(&mut buf).await.ok()?;
        if let Some(card) = hello.answered(&buf[..len], today()) {
            return Some(card);
        }
    }
}

/// Answers who asks on `socket` with what `card` says at the time. Runs until it is dropped.
pub async fn answer(socket: UdpSocket, card: impl Fn() -> Option<Signed<Card>>) {
    let (began, mut porch) = (Instant::now(), Porch::default());
    let mut buf = vec![0; MAX_BOX + 1];
    loop {
        let (len, from) = match socket.recv_from(&mut buf).await {
            Ok(received) => received,
            Err(error) => {
                debug!(%error, "where open nodes meet, nothing can be received");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(card) = card() else { continue };
        let now = Tick(0) + began.elapsed();
        let answer = porch.answer(&buf[..len], &card, now, today(), rand::random());
        if let Some(answer) = answer {
            // Lost as any datagram may be.
            let _ = socket.try_send_to(&answer, from);
        }
    }
}
