//! Asking one node a question: on a connection with it, or sealed, through a guard, so that it does not
//! learn who asks, nor the guard for what.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use busel_net::endpoint::{OpenError, Stream};
use busel_net::frame::{self, FrameError};
use busel_proto::card::Card;
use busel_proto::failure::Failure;
use busel_proto::favour::Standing;
use busel_proto::holders;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask, MAX_FRAME};
use busel_proto::question::{MAX_CHUNK, seal_question};
use busel_proto::sealed::ChunkCipher;
use busel_proto::signed::Signed;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::io::AsyncRead;
use tokio::time::timeout;
use tokio_util::io::StreamReader;

use super::beside::{Miss, first_good};
use crate::clock;
use crate::exchange;
use crate::node::Node;
use crate::origin::StreamIo;
use crate::say::{self, say};

/// A guard says within this time whether it passes a question on; it may have to connect first.
const PASS_LIMIT: Duration = Duration::from_secs(6);

/// … and one that failed a moment ago is connected to within this.
const FAILING_LIMIT: Duration = Duration::from_millis(1500);

/// What comes after an answer.
pub(crate) type Voice = Box<dyn AsyncRead + Send + Unpin>;

/// How a node is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    /// The node.
    pub(crate) peer: PeerId,
    /// Through the first of these that passes questions on to it, and does not learn for what.
    pub(crate) by: Vec<PeerId>,
    /// Whether it may be asked without, if all of them are gone or don't know it.
    pub(crate) may_meet: bool,
    /// Where it says that it is, for those who don't know it.
    pub(crate) card: Option<Signed<Card>>,
}

impl Way {
    /// On a connection with it.
    pub(crate) fn to(peer: PeerId) -> Self {
        Self { peer, by: Vec::new(), may_meet: true, card: None }
    }
}

/// Whether it can ask nodes of which it knows no more than a card, which says where their veil is.
pub(crate) fn can_ask_strangers(node: &Node) -> bool {
    match node.exchange {
        Some(_) => node.wires().contains(&"veil"),
        None => !node.guards().is_empty(),
    }
}

/// How to ask nodes that `teller` tells of. A quiet node never meets them. Each is asked through one guard, another one
/// for each: who is named could refuse one guard after the other to learn who they are, and who they are together
/// tells a guard what is read.
pub(crate) async fn ways_to_strangers(
    node: &Node,
    teller: PeerId,
    mut cards: Vec<Signed<Card>>,
) -> Vec<Way> {
    cards.truncate(holders::NAMED);
    let mut ways = Vec::new();
    if node.exchange.is_some() {
        for card in cards {
            ways.extend(exchange::told_of(node, teller, None, card).await.map(Way::to));
        }
        return ways;
    }
    let guards = node.guards();
    for (nth, card) in cards.into_iter().enumerate() {
        let checked = Card::check(&card, &node.own.reach, clock::now());
        let Ok(peer) = checked.map(|card| card.peer) else { continue };
        let others = guards.iter().filter(|guard| **guard != peer);
        let others: Vec<_> = others.copied().collect();
        let by = others.get(nth % others.len().max(1)).into_iter().copied().collect();
        let may_meet = guards.contains(&peer);
        ways.push(Way { peer, by, may_meet, card: Some(card) });
    }
    ways.retain(|way| way.may_meet || !way.by.is_empty());
    ways
}

/// Asks, and returns the answer and what follows it. A guard that is silent is not waited for: the next
/// one is asked beside it; one that failed a moment ago is asked last. The node itself is met only if each
/// of them can't be reached, makes no sense, does not know it or passes nothing on; not if it does not let
/// itself be reached by them.
pub(crate) async fn hear(node: &Node, way: &Way, ask: &Ask) -> Result<(Answer, Voice), Failure> {
    heard_through(node, way, ask).await.map(|(answer, voice, _)| (answer, voice))
}

/// As [`hear`], and who has passed it on.
pub(crate) async fn heard_through(
    node: &Node,
    way: &Way,
    ask: &Ask,
) -> Result<(Answer, Voice, Option<PeerId>), Failure> {
    let may_meet = &AtomicBool::new(way.may_meet);
    let by = node.favour().order(way.by.clone(), node.clock.tick());
    let heard = first_good(node, &by, |at| {
        let (guard, passed) = (by[at], through(node, by[at], way, ask));
        async move {
            let heard = passed.await.map(|(answer, voice)| (answer, voice, Some(guard)));
            heard.map_err(|passing| {
                let excused = matches!(passing, Passing::NotThere(_) | Passing::NotKnown(_));
                may_meet.fetch_and(excused, Ordering::Relaxed);
                match passing {
                    Passing::NotThere(failure) => failure.into(),
                    Passing::NotKnown(failure) | Passing::Refused(failure) => Miss::said(failure),
                    Passing::Lost(failure) => Miss::last(failure),
                }
            })
        }
    });
    match heard.await {
        Ok(heard) => Ok(heard),
        Err(_) if may_meet.load(Ordering::Relaxed) => {
            plain(node, way.peer, ask).await.map(|(answer, voice)| (answer, voice, None))
        }
        Err(why) => Err(why),
    }
}

async fn plain(node: &Node, peer: PeerId, ask: &Ask) -> Result<(Answer, Voice), Failure> {
    let _asking = node.asking(peer);
    let (answer, stream) = say(node, peer, ask).await?;
    Ok((answer, Box::new(StreamIo(stream))))
}

/// Why nothing came through a guard.
enum Passing {
    /// It can't be reached, or says nothing that makes sense.
    NotThere(Failure),
    /// It does not know the node, or passes nothing on now.
    NotKnown(Failure),
    /// It does not pass it on, for another reason: the other node may have brought that about.
    Refused(Failure),
    /// It broke off after it was passed on, or was changed. Nobody else is asked: that would tell more
    /// of them what is read.
    Lost(Failure),
}

impl From<Failure> for Passing {
    fn from(failure: Failure) -> Self {
        Self::Lost(failure)
    }
}

async fn through(
    node: &Node,
    guard: PeerId,
    way: &Way,
    ask: &Ask,
) -> Result<(Answer, Voice), Passing> {
    let _asking = node.asking(guard);
    let (envelope, key) = seal_question(ask, &way.peer, rand::random())
        .map_err(|error| Failure::Protocol(error.to_string()))?;
    let forward = Ask::Forward { to: way.peer, envelope, card: way.card.clone() };
    let is_good = node.favour().standing(&guard, node.clock.tick()) == Standing::Good;
    let limit = if is_good { PASS_LIMIT } else { FAILING_LIMIT };
    let connected = timeout(PASS_LIMIT, node.endpoint.open_within(&guard, limit)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(OpenError::Busy)) => return Err(Passing::Refused(OpenError::Busy.into())),
        Ok(Err(error)) => return Err(Passing::NotThere(error.into())),
        Err(_) => return Err(Passing::NotThere(Failure::Silent)),
    };
    let said = timeout(PASS_LIMIT, say::on(stream, &forward)).await;
    let (answer, mut stream) = said.unwrap_or(Err(Failure::Silent)).map_err(Passing::NotThere)?;
    let unexpected = || Failure::Protocol("an unexpected answer".into());
    match answer {
        Answer::Open => {}
        Answer::Declined { failure: Failure::NotAllowed(why) } => {
            return Err(Passing::NotKnown(Failure::declined(&Failure::NotAllowed(why))));
        }
        Answer::Declined { failure } => return Err(Passing::Refused(Failure::declined(&failure))),
        _ => return Err(Passing::NotThere(unexpected())),
    }
    // From here on the other node speaks: whatever it says, it is not asked in the clear.
    let body = frame::read(&mut stream.recv, MAX_FRAME).await.map_err(broken)?;
    match Answer::from_frame(&body).map_err(|e| Failure::Protocol(e.to_string()))? {
        Answer::Open => {}
        Answer::Declined { failure } => return Err(Failure::declined(&failure).into()),
        _ => return Err(unexpected().into()),
    }
    let mut nonce = [0; 32];
    stream.recv.read_exact(&mut nonce).await.map_err(|_| Failure::CutOff)?;
    let mut voice = opened(stream, key.cipher(&nonce));
    let body = frame::read(&mut voice, MAX_FRAME).await.map_err(broken)?;
    let answer = Answer::from_frame(&body).map_err(|e| Failure::Protocol(e.to_string()))?;
    Ok((answer, voice))
}

/// What a sealed answer says.
fn opened(stream: Stream, cipher: ChunkCipher) -> Voice {
    let chunks = stream::unfold(Some((stream, cipher)), |state| async move {
        let (mut stream, mut cipher) = state?;
        let bytes = match next(&mut stream, &mut cipher).await {
            Ok((bytes, last)) => return Some((Ok(bytes), (!last).then_some((stream, cipher)))),
            Err(error) => Err(error),
        };
        Some((bytes, None))
    });
    Box::new(StreamReader::new(chunks.boxed()))
}

async fn next(stream: &mut Stream, cipher: &mut ChunkCipher) -> io::Result<(Bytes, bool)> {
    let chunk = frame::read(&mut stream.recv, MAX_CHUNK).await;
    let chunk = chunk.map_err(|error| io::Error::new(io::ErrorKind::UnexpectedEof, error))?;
    let opened = cipher.open(&chunk);
    let (bytes, last) =
        opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok((bytes.into(), last))
}

/// What a stream that broke means.
pub(crate) fn broken(error: FrameError) -> Failure {
    match error {
        FrameError::Bad(error) => Failure::Protocol(error.to_string()),
        FrameError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            // By whoever passed it on: the node itself is not to be blamed.
            Failure::Protocol("a sealed answer was changed on the way".into())
        }
        FrameError::Io(_) | FrameError::End => Failure::CutOff,
    }
}
