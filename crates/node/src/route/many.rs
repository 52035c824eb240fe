//! A body from several nodes at once: carries out what [`busel_proto::plan`] says.
//!
//! It is driven by whoever reads it: no task, and what is held in memory is bounded. Each window is verified
//! before it is taken in, whoever sent it. On an open node what came lies in a file, too, out of which others
//! have it at once ([`crate::partials`]); then the plan may look further ahead than memory reaches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use busel_net::frame;
use busel_proto::blob::{self, GROUP};
use busel_proto::failure::Failure;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask, read_news};
use busel_proto::plan::{Input, Manner, Order, Output, PIECE, Plan, Source};
use busel_proto::snapshot::Snapshot;
use busel_proto::time::Tick;
use bytes::Bytes;
use futures_util::future::FutureExt;
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt, TryStreamExt};

use super::beside::is_its_fault;
use super::swarm::{self, Blob};
use super::voice::{Voice, Way, hear};
use super::{Item, Items};
use crate::node::Node;
use crate::partials::Partial;

/// Nodes that send one body.
const MAX_SENDING: usize = 6;
/// Bytes that are held in memory and not passed on yet.
const HELD: u64 = 8 << 20;
/// How far it looks ahead where they lie in a file.
const AHEAD: u64 = 256 << 20;
/// A node that has nothing is asked again after this: it may have begun to load it, too …
const AGAIN: Duration = Duration::from_secs(2);
/// … but not more often than this.
const MOST_AGAIN: u32 = 15;
/// It answers within this.
const HAS_LIMIT: Duration = Duration::from_secs(9);
/// The longest frame of news of what it has got since.
const MAX_NEWS: usize = 64 * 1024;

/// A body on its way.
struct Many {
    node: Node,
    blob: Blob,
    partial: Option<Arc<Partial>>,
    manner: Manner,
    /// Whether the disk has lost something that the plan knows to be there: another one is needed.
    lost: bool,
    /// Whether something came since it was last told.
    came: bool,
    /// The first byte that was not passed on.
    at: u64,
    plan: Plan,
    /// Who sends, by the plan's numbers, and who may take the place of one of them.
    ways: Vec<Way>,
    spare: VecDeque<Way>,
    replaced: usize,
    orders: Vec<Under>,
    news: SelectAll<BoxStream<'static, (Source, Vec<Input>)>>,
    /// Who has not said yet what it has.
    unheard: BTreeSet<Source>,
    /// What came, by where it begins.
    there: BTreeMap<u64, Bytes>,
    /// Who sent what is not so: what they have does not matter any more.
    liars: BTreeSet<Source>,
    /// When nobody wanted more.
    left: Option<Tick>,
    /// Why the last order broke off.
    why: Failure,
}

/// An order under way.
struct Under {
    order: Order,
    source: Source,
    bytes: Range<u64>,
    /// Up to where it came.
    at: u64,
    items: Items,
}

/// The body of a snapshot from `from` on: the first of these nodes brings the first part of it, and what comes
/// after that is asked of the first six, and of the next one if one that had something is asked no more. `voice`
/// brings that part already, as `fetch/1` says, if it was asked for so.
pub(crate) fn body(
    node: &Node,
    snapshot: &Snapshot,
    (from, manner): (u64, Manner),
    voice: Option<Voice>,
    mut ways: Vec<Way>,
) -> Items {
    let (root, len) = (snapshot.head().root, snapshot.head().len);
    let lead = blob::lead(from, len);
    let voice = match voice {
        Some(voice) if lead >= len => {
            return swarm::windows(voice, Blob { root, len, partial: None }, from..len);
        }
        None if from >= len => return stream::empty().boxed(),
        voice => voice,
    };
    let partials = node.partials.as_ref();
    let partial = partials.and_then(|partials| partials.begin(&node.store, snapshot));
    // Who gives on nothing has little room, and gets the earliest first.
    let (ahead, manner) = match &partial {
        Some(_) => (AHEAD, manner),
        None => (HELD, Manner::InOrder),
    };
    let spare = ways.split_off(ways.len().min(MAX_SENDING)).into();
    let mut plan = Plan::new(from..len, ahead, manner, rand::random());
    if partial.is_some() {
        let others = ways.iter().enumerate().map(|(source, way)| (source, number(&way.peer)));
        plan.divide(number(&node.id()), others);
    }
    let now = node.clock.tick();
    for piece in
        partial.iter().flat_map(|partial| partial.pieces().borrow().iter().collect::<Vec<_>>())
    {
        plan.handle(Input::There(piece), now);
    }
    let order = plan.begun(0, from..lead, now);
    if voice.is_none() {
        // Nobody has answered yet, and whoever reads waits from now on.
        plan.handle(Input::Passed(from), now);
    }
    let blob = Blob { root, len, partial: partial.clone() };
    let items = match voice {
        Some(voice) => swarm::windows(voice, blob.clone(), from..lead),
        None => part(node, &ways[0], &blob, from..lead),
    };
    let asked = ways.iter().enumerate();
    let news = asked.map(|(source, way)| news(node, way, source, &blob)).collect();
    let many = Many {
        node: node.clone(),
        blob,
        partial,
        manner,
        lost: false,
        came: false,
        at: from,
        plan,
        unheard: (0..ways.len()).collect(),
        ways,
        spare,
        replaced: 0,
        orders: vec![Under { order, source: 0, bytes: from..lead, at: from, items }],
        news,
        there: BTreeMap::new(),
        liars: BTreeSet::new(),
        left: None,
        why: Failure::CutOff,
    };
    stream::unfold(Some(many), |many| async {
        let mut many = many?;
        let item = many.next().await?;
        many.left = Some(many.node.clock.tick());
        let goes_on = item.is_ok();
        Some((item.map(Item::Data), goes_on.then_some(many)))
    })
    .boxed()
}

impl Many {
    async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        // That nothing was taken in while nobody read is no sign of a source that is slow.
        if let Some(left) = self.left.take() {
            let now = self.node.clock.tick();
            self.plan.handle(Input::Slept(now - left), now);
        }
        while let Some((at, item)) = next_of(&mut self.orders).now_or_never() {
            self.heard(at, item);
        }
        loop {
            if self.at >= self.blob.len {
                return None;
            }
            let next = self.carry_out();
            if self.replace() {
                continue;
            }
            if let Some(bytes) = self.take().await {
                self.at += bytes.len() as u64;
                self.came = false;
                self.plan.handle(Input::Passed(self.at), self.node.clock.tick());
                return Some(Ok(bytes));
            }
            if self.lost {
                return Some(Err(self.why.clone()));
            }
            // That the beginning of a file comes late is no sign that nothing comes.
            if self.manner == Manner::RarestFirst && std::mem::take(&mut self.came) {
                return Some(Ok(Bytes::new()));
            }
            match next {
                // Somebody else may have it, and whoever reads knows whom to ask.
                Output::Wait(None) if self.is_stuck() => return Some(Err(self.why.clone())),
                Output::Lost if self.unheard.is_empty() => return Some(Err(self.why.clone())),
                Output::Done => return Some(Err(self.why.clone())),
                Output::Lost => self.wait(None).await,
                Output::Wait(until) => self.wait(until).await,
                Output::Ask(..) | Output::Cancel(_) => {}
            }
        }
    }

    /// Asks who is to be asked now; what the plan says then.
    fn carry_out(&mut self) -> Output {
        loop {
            match self.plan.poll(self.node.clock.tick()) {
                Output::Ask(order, source, bytes) => self.ask(order, source, bytes),
                Output::Cancel(order) => self.cancel(order),
                other => return other,
            }
        }
    }

    /// Whether somebody takes the place of one who is asked no more.
    fn replace(&mut self) -> bool {
        if self.replaced >= self.plan.gone() {
            return false;
        }
        let Some(way) = self.spare.pop_front() else { return false };
        self.replaced += 1;
        let source = self.ways.len();
        if self.partial.is_some() {
            self.plan.divide(number(&self.node.id()), [(source, number(&way.peer))]);
        }
        self.news.push(news(&self.node, &way, source, &self.blob));
        self.unheard.insert(source);
        self.ways.push(way);
        true
    }

    /// Waits for bytes, or news of who has which, or until then.
    async fn wait(&mut self, until: Option<Tick>) {
        tokio::select! {
            biased;
            (at, item) = next_of(&mut self.orders) => self.heard(at, item),
            Some((source, news)) = self.news.next() => {
                self.unheard.remove(&source);
                let now = self.node.clock.tick();
                for input in news.into_iter().filter(|_| !self.liars.contains(&source)) {
                    self.plan.handle(input, now);
                }
            }
            () = self.node.clock.alarm(until) => {
                self.plan.handle(Input::Timeout, self.node.clock.tick());
            }
        }
    }

    /// Whether nobody of these is going to send more.
    fn is_stuck(&self) -> bool {
        self.orders.is_empty() && self.unheard.is_empty() && !self.plan.hopes()
    }

    /// The next bytes, if they are there.
    async fn take(&mut self) -> Option<Bytes> {
        while let Some(first) = self.there.first_entry() {
            let (from, to) = (*first.key(), *first.key() + first.get().len() as u64);
            if from > self.at {
                break;
            }
            let bytes = first.remove();
            if to > self.at {
                return Some(bytes.slice(usize::try_from(self.at - from).ok()?..));
            }
        }
        self.read().await
    }

    /// The next bytes out of the file, if they are there.
    async fn read(&mut self) -> Option<Bytes> {
        let bytes = self.try_read().await?;
        if bytes.is_none() {
            // The disk has lost it. Others are not told that it is there, either.
            self.node.forget_partial(&self.blob.root);
            self.partial = None;
            self.lost = true;
        }
        bytes
    }

    /// `None` if it is not there, `Some(None)` if it is and can't be read.
    async fn try_read(&mut self) -> Option<Option<Bytes>> {
        let start = self.at / GROUP * GROUP;
        let piece = start..((start / PIECE + 1) * PIECE).min(self.blob.len);
        let partial = self.partial.clone().filter(|partial| partial.blob().has(&piece))?;
        let (root, len, range) = (self.blob.root, self.blob.len, piece.clone());
        let read = tokio::task::spawn_blocking(move || {
            let encoded = partial.blob().window(range.clone()).ok()??;
            blob::decode_window(root, len, range, &encoded).ok()
        });
        let bytes = read.await.ok().flatten();
        let skip = usize::try_from(self.at - start).ok()?;
        Some(bytes.map(|bytes| bytes.slice(skip..)))
    }

    fn ask(&mut self, order: Order, source: Source, bytes: Range<u64>) {
        let items = part(&self.node, &self.ways[source], &self.blob, bytes.clone());
        self.orders.push(Under { order, source, at: bytes.start, bytes, items });
    }

    /// An order is not waited for any more. It may have been who passed it on: the next one asks others first.
    fn cancel(&mut self, order: Order) {
        for under in self.orders.extract_if(.., |under| under.order == order) {
            pass_by_others(&mut self.ways[under.source]);
        }
    }

    /// Takes in what came next of the order at this place.
    fn heard(&mut self, at: usize, item: Option<Result<Item, Failure>>) {
        let now = self.node.clock.tick();
        let under = &mut self.orders[at];
        let (order, source) = (under.order, under.source);
        let failure = match item {
            Some(Ok(Item::Data(bytes))) => {
                let from = under.at;
                under.at += bytes.len() as u64;
                let to = under.at;
                if to >= under.bytes.end {
                    self.orders.swap_remove(at);
                }
                self.keep(from, bytes);
                self.came = true;
                return self.plan.handle(Input::Came(order, to), now);
            }
            Some(Ok(Item::Signed(_))) => return,
            Some(Err(failure)) => failure,
            None => Failure::CutOff,
        };
        self.orders.swap_remove(at);
        let way = &self.ways[source];
        if way.by.is_empty() && is_its_fault(&failure) {
            self.node.failed(&way.peer);
        }
        pass_by_others(&mut self.ways[source]);
        let lied = matches!(failure, Failure::NotAuthentic(_));
        if lied {
            self.liars.insert(source);
        }
        let gone = lied || failure == Failure::NobodyHasIt;
        let input = if gone { Input::Left(source) } else { Input::Broke(order) };
        self.plan.handle(input, now);
        if failure != Failure::NobodyHasIt {
            self.why = failure;
        }
    }

    fn keep(&mut self, from: u64, bytes: Bytes) {
        let to = from + bytes.len() as u64;
        let known = self.there.get(&from).is_some_and(|known| known.len() >= bytes.len());
        let filed = |partial: &Arc<Partial>| partial.blob().has(&(from / GROUP * GROUP..to));
        let far = from > self.at + HELD && self.partial.as_ref().is_some_and(filed);
        if !known && !far && to > self.at {
            self.there.insert(from, bytes);
        }
    }
}

/// What who fetch the same know a node by; only neighbours in the LAN know it by another.
fn number(peer: &PeerId) -> u64 {
    peer.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// These bytes, as a node sends them that is asked for them now.
fn part(node: &Node, way: &Way, blob: &Blob, bytes: Range<u64>) -> Items {
    let (node, way, blob) = (node.clone(), way.clone(), blob.clone());
    let asked = async move {
        let (root, len) = (blob.root, blob.len);
        let ask = Ask::Blob { root, len, from: bytes.start, to: bytes.end };
        match hear(&node, &way, &ask).await? {
            (Answer::Open, voice) => Ok(swarm::windows(voice, blob, bytes)),
            (Answer::Nothing, _) => Err(Failure::NobodyHasIt),
            (Answer::Declined { failure }, _) => Err(Failure::declined(&failure)),
            _ => Err(Failure::Protocol("an unexpected answer".into())),
        }
    };
    stream::once(asked).try_flatten().boxed()
}

fn pass_by_others(way: &mut Way) {
    if !way.by.is_empty() {
        way.by.rotate_left(1);
    }
}

/// What comes next, and of which order.
async fn next_of(orders: &mut [Under]) -> (usize, Option<Result<Item, Failure>>) {
    poll_fn(|cx| {
        for (at, under) in orders.iter_mut().enumerate() {
            if let Poll::Ready(item) = under.items.poll_next_unpin(cx) {
                return Poll::Ready((at, item));
            }
        }
        Poll::Pending
    })
    .await
}

/// Where the talk with a node about its pieces stands.
enum Talk {
    /// It is asked for this time.
    Ask(u32),
    /// It says what comes, since it was asked for this time.
    Listen(u32, Voice),
    Over,
}

/// Which pieces a node has, and gets: what is to be told to the plan, if anything.
fn news(
    node: &Node,
    way: &Way,
    source: Source,
    blob: &Blob,
) -> BoxStream<'static, (Source, Vec<Input>)> {
    let (node, way) = (node.clone(), way.clone());
    let ask = Ask::Has { root: blob.root, len: blob.len };
    let talk = stream::unfold(Talk::Ask(0), move |talk| {
        let (node, way, ask) = (node.clone(), way.clone(), ask.clone());
        async move {
            match talk {
                Talk::Ask(nth) => {
                    if nth > 0 {
                        tokio::time::sleep(AGAIN).await;
                    }
                    let again = if nth < MOST_AGAIN { Talk::Ask(nth + 1) } else { Talk::Over };
                    let heard = tokio::time::timeout(HAS_LIMIT, hear(&node, &way, &ask)).await;
                    Some(match heard {
                        Ok(Ok((Answer::Has { pieces: None }, _))) => {
                            (vec![Input::Joined(source, None)], Talk::Over)
                        }
                        Ok(Ok((Answer::Has { pieces }, voice))) => {
                            (vec![Input::Joined(source, pieces)], Talk::Listen(nth, voice))
                        }
                        // It may send something all the same.
                        _ => (vec![Input::Settled(source)], again),
                    })
                }
                Talk::Listen(nth, mut voice) => {
                    let frame = frame::read(&mut voice, MAX_NEWS).await.ok();
                    let pieces = frame.and_then(|frame| read_news(&frame).ok());
                    Some(match pieces {
                        Some(pieces) => {
                            let has = pieces.into_iter().map(|piece| Input::Has(source, piece));
                            (has.collect(), Talk::Listen(nth, voice))
                        }
                        None if nth < MOST_AGAIN => (Vec::new(), Talk::Ask(nth + 1)),
                        None => (vec![Input::Settled(source)], Talk::Over),
                    })
                }
                Talk::Over => None,
            }
        }
    });
    talk.map(move |inputs| (source, inputs)).boxed()
}
