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
use futures_util::future::{AbortHandle, FutureExt};
use futures_util::stream::{self, BoxStream, SelectAll, StreamExt, TryStreamExt};
use rand::seq::SliceRandom as _;

use super::beside::is_its_fault;
use super::swarm::{self, Blob};
use super::voice::{Voice, Way, hear};
use super::{Item, Items};
use crate::node::Node;
use crate::partials::Partial;

/// Nodes that send one body, and with those who asked for it themselves while it came.
const MAX_SENDING: usize = 6;
const MAX_WITH_ASKERS: usize = 12;
/// Bytes that are held in memory and not passed on yet.
const HELD: u64 = 8 << 20;
/// How far it looks ahead where they lie in a file.
const AHEAD: u64 = 256 << 20;
/// A node that has nothing is asked again after this: it may have begun to load it, too …
const AGAIN: Duration = Duration::from_secs(2);
/// … but not more often than this, unless it had something new to say.
const MOST_AGAIN: u32 = 15;
/// It answers within this.
const HAS_LIMIT: Duration = Duration::from_secs(4);
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
    /// Who asks for it, too, while it comes: they are asked in return, so that who knows others gives to them, be it that
    /// nobody knew it before.
    askers: BoxStream<'static, PeerId>,
    orders: Vec<Under>,
    news: SelectAll<BoxStream<'static, (Source, Vec<Input>)>>,
    /// The talks that bring them: each is ended when another one takes that place.
    talks: BTreeMap<Source, AbortHandle>,
    /// Who has not said yet what it has; and who has something.
    unheard: BTreeSet<Source>,
    joined: BTreeSet<Source>,
    /// What came, by where it begins.
    there: BTreeMap<u64, Bytes>,
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
    words: BoxStream<'static, Result<Word, Failure>>,
}

/// What comes of an order.
enum Word {
    /// Its source has chosen these bytes.
    Chosen(Range<u64>),
    /// The next ones.
    Data(Bytes),
}

/// The body of a snapshot from `from` on: the first of these nodes brings the first part of it, and what comes
/// after that is asked of the first six, and of the next one in the place of one that has nothing, or fails. `voice`
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
    // Who gives on what it gets asks any of them. Did each ask those that it likes best, they would fall into groups, to
    // each of which the first one would have to send all of it.
    if let (Some(_), Some((_, others))) = (&partial, ways.split_first_mut()) {
        others.shuffle(&mut rand::rng());
    }
    let spare = ways.split_off(ways.len().min(MAX_SENDING)).into();
    let mut plan = Plan::new(from..len, ahead, manner, rand::random());
    let now = node.clock.tick();
    for piece in
        partial.iter().flat_map(|partial| partial.pieces().borrow().iter().collect::<Vec<_>>())
    {
        plan.handle(Input::There(piece), now);
    }
    if partial.is_some() {
        plan.gives_on();
    }
    let order = plan.begun(0, from..lead, now);
    if voice.is_none() {
        // Nobody has answered yet, and whoever reads waits from now on.
        plan.handle(Input::Passed(from), now);
    }
    let blob = Blob { root, len, partial: partial.clone() };
    let words = match voice {
        Some(voice) => words(swarm::windows(voice, blob.clone(), from..lead)),
        None => part(node, &ways[0], &blob, from..lead),
    };
    let askers = partial.as_deref().map_or_else(|| stream::pending().boxed(), askers);
    let mut many = Many {
        node: node.clone(),
        blob,
        partial,
        askers,
        manner,
        lost: false,
        came: false,
        at: from,
        plan,
        unheard: BTreeSet::new(),
        joined: [0].into(),
        talks: BTreeMap::new(),
        ways: Vec::new(),
        spare,
        orders: vec![Under { order, source: 0, bytes: from..lead, at: from, words }],
        news: SelectAll::new(),
        there: BTreeMap::new(),
        left: None,
        why: Failure::CutOff,
    };
    ways.into_iter().for_each(|way| many.talk_to(way));
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
        while let Some((at, word)) = next_of(&mut self.orders).now_or_never() {
            self.heard(at, word);
        }
        loop {
            if self.at >= self.blob.len {
                return None;
            }
            let next = self.carry_out();
            if let Some(gone) = self.joined.iter().copied().find(|of| !self.plan.knows(*of)) {
                self.joined.remove(&gone);
                self.replace(gone);
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
                Output::Ask(..) | Output::Choose(..) | Output::Cancel(_) | Output::Late(_) => {}
            }
        }
    }

    /// Asks who is to be asked now; what the plan says then.
    fn carry_out(&mut self) -> Output {
        loop {
            match self.plan.poll(self.node.clock.tick()) {
                Output::Ask(order, source, bytes) => self.ask(order, source, bytes),
                Output::Choose(order, source, of, most) => self.let_choose(order, source, of, most),
                Output::Cancel(order) => self.orders.retain(|under| under.order != order),
                Output::Late(source) => pass_by_others(&mut self.ways[source]),
                other => return other,
            }
        }
    }

    /// Somebody else takes the place of one that has nothing, or is asked no more; if there is nobody, it may have something
    /// later.
    fn replace(&mut self, source: Source) {
        if let Some(way) = self.spare.pop_front() {
            self.hang_up(source);
            self.talk_to(way);
        }
    }

    fn ask_in_return(&mut self, asker: PeerId) {
        let known = self.ways.iter().any(|way| way.peer == asker);
        if !known && self.talks.len() < MAX_WITH_ASKERS {
            self.spare.retain(|way| way.peer != asker);
            self.talk_to(Way::to(asker));
        }
    }

    /// A node is asked which pieces it has, and gets.
    fn talk_to(&mut self, way: Way) {
        let source = self.ways.len();
        let (news, talk) = stream::abortable(news(&self.node, &way, source, &self.blob));
        self.news.push(news.boxed());
        self.talks.insert(source, talk);
        self.unheard.insert(source);
        self.ways.push(way);
    }

    /// What it has does not matter any more.
    fn hang_up(&mut self, source: Source) {
        self.talks.remove(&source).into_iter().for_each(|talk| talk.abort());
        self.unheard.remove(&source);
    }

    /// Waits for bytes, or news of who has which, or until then.
    async fn wait(&mut self, until: Option<Tick>) {
        tokio::select! {
            biased;
            (at, word) = next_of(&mut self.orders) => self.heard(at, word),
            Some((source, news)) = self.news.next() => {
                self.unheard.remove(&source);
                let now = self.node.clock.tick();
                let has_nothing = news == [Input::Settled(source)] && !self.plan.knows(source);
                for input in news {
                    if matches!(input, Input::Joined(..)) {
                        self.joined.insert(source);
                    }
                    self.plan.handle(input, now);
                }
                if has_nothing {
                    self.replace(source);
                }
            }
            Some(asker) = self.askers.next() => self.ask_in_return(asker),
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
        let words = part(&self.node, &self.ways[source], &self.blob, bytes.clone());
        self.orders.push(Under { order, source, at: bytes.start, bytes, words });
    }

    fn let_choose(&mut self, order: Order, source: Source, of: Vec<u64>, most: u64) {
        let words = choice(&self.node, &self.ways[source], &self.blob, of, most);
        self.orders.push(Under { order, source, at: 0, bytes: 0..0, words });
    }

    /// Takes in what came next of the order at this place.
    fn heard(&mut self, at: usize, word: Option<Result<Word, Failure>>) {
        let now = self.node.clock.tick();
        let under = &mut self.orders[at];
        let (order, source) = (under.order, under.source);
        let failure = match word {
            Some(Ok(Word::Chosen(bytes))) => {
                (under.at, under.bytes) = (bytes.start, bytes.clone());
                return self.plan.handle(Input::Chose(order, bytes), now);
            }
            Some(Ok(Word::Data(bytes))) => {
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
            self.hang_up(source);
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

/// These bytes, as a node sends them that is asked for them now.
fn part(
    node: &Node,
    way: &Way,
    blob: &Blob,
    bytes: Range<u64>,
) -> BoxStream<'static, Result<Word, Failure>> {
    let (node, way, blob) = (node.clone(), way.clone(), blob.clone());
    let asked = async move {
        let (root, len) = (blob.root, blob.len);
        let ask = Ask::Blob { root, len, from: bytes.start, to: bytes.end };
        match hear(&node, &way, &ask).await? {
            (Answer::Open, voice) => Ok(words(swarm::windows(voice, blob, bytes))),
            (answer, _) => Err(refused(answer)),
        }
    };
    stream::once(asked).try_flatten().boxed()
}

/// What a node chooses of these pieces, and then sends.
fn choice(
    node: &Node,
    way: &Way,
    blob: &Blob,
    of: Vec<u64>,
    most: u64,
) -> BoxStream<'static, Result<Word, Failure>> {
    let (node, way, blob) = (node.clone(), way.clone(), blob.clone());
    let asked = async move {
        let (root, len) = (blob.root, blob.len);
        let ask = Ask::Any { root, len, of, most };
        match hear(&node, &way, &ask).await? {
            (Answer::Chosen { from, to }, voice) if from < to && to <= len => {
                let chosen = stream::once(async move { Ok(Word::Chosen(from..to)) });
                Ok(chosen.chain(words(swarm::windows(voice, blob, from..to))))
            }
            (answer, _) => Err(refused(answer)),
        }
    };
    stream::once(asked).try_flatten().boxed()
}

fn refused(answer: Answer) -> Failure {
    match answer {
        Answer::Nothing => Failure::NobodyHasIt,
        Answer::Declined { failure } => Failure::declined(&failure),
        _ => Failure::Protocol("an unexpected answer".into()),
    }
}

fn words(items: Items) -> BoxStream<'static, Result<Word, Failure>> {
    let data = |item| async move {
        match item {
            Item::Data(bytes) => Ok(Some(Word::Data(bytes))),
            Item::Signed(_) => Ok(None),
        }
    };
    items.try_filter_map(data).boxed()
}

/// Whoever passes it on may be why nothing comes: the next question goes to others first.
fn pass_by_others(way: &mut Way) {
    if !way.by.is_empty() {
        way.by.rotate_left(1);
    }
}

/// What comes next, and of which order.
async fn next_of(orders: &mut [Under]) -> (usize, Option<Result<Word, Failure>>) {
    poll_fn(|cx| {
        for (at, under) in orders.iter_mut().enumerate() {
            if let Poll::Ready(word) = under.words.poll_next_unpin(cx) {
                return Poll::Ready((at, word));
            }
        }
        Poll::Pending
    })
    .await
}

/// Who asks for what is on its way here.
fn askers(partial: &Partial) -> BoxStream<'static, PeerId> {
    let begin = (partial.askers(), 0);
    let askers = stream::unfold(begin, |(mut askers, at)| async move {
        let asker = askers.wait_for(|askers| askers.len() > at).await.ok()?[at];
        Some((asker, (askers, at + 1)))
    });
    askers.fuse().boxed()
}

/// Where the talk with a node about its pieces stands.
enum Talk {
    /// It is asked, after it had nothing new so often.
    Ask(u32),
    /// It says what comes.
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
                            (has.collect(), Talk::Listen(0, voice))
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
