//! The route `Injector`: a node that fetches and signs is asked, with the request sealed to it.
//!
//! The answer's channel is the injector's, so what it says may be shown at once; it is kept and
//! shared only once the root is signed and fits what came. Of what many ask for it says who holds it, and the body
//! comes from those ([`super::many`]).

use std::time::Duration;

use busel_net::endpoint::Stream;
use busel_net::frame::{self, FrameError};
use busel_proto::cert::Standing as KeyStanding;
use busel_proto::failure::Failure;
use busel_proto::favour::Standing;
use busel_proto::id::PeerId;
use busel_proto::message::{Answer, Ask};
use busel_proto::plan::Manner;
use busel_proto::sealed::{
    ChunkCipher, InjectRequest, MAX_CHUNK, Part, Preview, ResponseKey, seal_request,
};
use busel_proto::snapshot::{SignedSnapshot, Snapshot, Wanted, header_map};
use busel_proto::time::UnixTime;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::Method;

use super::beside::{Miss, in_turn, patiences};
use super::{Head, Item, Items, Lost, Started, Want, many, voice};
use crate::clock;
use crate::config::Exposure;
use crate::joined::Injector;
use crate::node::Node;
use crate::request::Authority;
use crate::say::say;

/// An injector's first word is waited for this long; it has to ask the origin.
const ANSWER_LIMIT: Duration = Duration::from_secs(25);
/// Hops by which a request is tried before it goes by our own connections.
const FIRST_HOPS: usize = 2;
/// A quiet node waits so long for the last of them, unless it fails: the injector is not to meet it.
const OWN_AFTER: Duration = Duration::from_secs(5);
/// Injectors asked for one page, one beside the other.
const MAX_ASKED: usize = 4;

/// Asks the injectors that are trusted for the page's host; the first that answers it is.
pub(crate) async fn start(node: &Node, want: &Want) -> Result<Started, Lost> {
    let view = node.joined.view();
    let injectors = view.injectors_for(&want.page.url.host(), clock::now());
    let good = |injector: &Injector| {
        let standing = view.trust.standing(&injector.cert.root, &injector.cert.subkey);
        standing == KeyStanding::Good
    };
    let (mut injectors, revoked): (Vec<_>, Vec<_>) = injectors.into_iter().partition(good);
    if injectors.is_empty() && !revoked.is_empty() {
        return Err(Failure::NotAuthentic("the injector's key was revoked".into()).into());
    }
    let now = node.clock.tick();
    injectors.sort_by_key(|injector| node.favour().standing(&injector.peer, now));
    injectors.truncate(MAX_ASKED);
    let paths = paths(node, &injectors);
    let peers: Vec<_> = paths.iter().map(Path::first).collect();
    let mut patiences = patiences(node, &peers);
    let last_hop =
        paths.iter().position(|path| path.hop.is_none()).and_then(|own| own.checked_sub(1));
    let is_good = |peer: &PeerId| node.favour().standing(peer, now) == Standing::Good;
    if let Some(last_hop) = last_hop.filter(|hop| is_good(&peers[*hop]))
        && node.config.exposure == Exposure::Quiet
    {
        patiences[last_hop] = OWN_AFTER;
    }
    Ok(in_turn(node, &peers, patiences, |at| ask(node, paths[at], want)).await?)
}

/// How a request goes to an injector.
#[derive(Clone, Copy)]
struct Path<'a> {
    /// Through this node, so that the injector does not learn whose request it is.
    hop: Option<PeerId>,
    injector: &'a Injector,
}

impl Path<'_> {
    fn first(&self) -> PeerId {
        self.hop.unwrap_or(self.injector.peer)
    }
}

/// Through hops first; then, if none passes it on, by our own connections; then through any hop.
fn paths<'a>(node: &Node, injectors: &'a [Injector]) -> Vec<Path<'a>> {
    let hops = node.hops_to_ask();
    let through = |hops: &[PeerId]| -> Vec<_> {
        let paths = hops.iter().zip(injectors.first().into_iter().cycle());
        paths.map(|(hop, injector)| Path { hop: Some(*hop), injector }).collect()
    };
    let (first, others) = hops.split_at(hops.len().min(FIRST_HOPS));
    let own = injectors.iter().map(|injector| Path { hop: None, injector });
    through(first).into_iter().chain(own).chain(through(others)).collect()
}

async fn ask(node: &Node, path: Path<'_>, want: &Want) -> Result<Started, Miss> {
    match ask_at(node, path, want, clock::now()).await? {
        Asked::Started(started) => Ok(*started),
        // The reader's clock is off; requests carry the injector's time from here on.
        Asked::Clock(time) => match ask_at(node, path, want, time).await? {
            Asked::Started(started) => Ok(*started),
            Asked::Clock(_) => Err(Failure::Protocol("the injector's clock jumps".into()).into()),
        },
    }
}

enum Asked {
    Started(Box<Started>),
    Clock(UnixTime),
}

async fn ask_at(node: &Node, path: Path<'_>, want: &Want, at: UnixTime) -> Result<Asked, Miss> {
    let injector = path.injector;
    let request = InjectRequest {
        url: want.page.url.as_str().to_owned(),
        variant: want.page.variant.clone(),
        at,
        nonce: rand::random(),
        from: (want.method != Method::HEAD).then_some(want.from),
        root: want.resume.as_ref().and_then(|resume| resume.root),
        new: insists_on_new(want),
        held: (want.method == Method::GET && voice::can_ask_strangers(node))
            .then_some(want.asked_before),
    };
    let (envelope, key) =
        seal_request(&request, &injector.cert.subkey, &injector.cert.hpke, rand::random())
            .map_err(|e| Failure::Protocol(e.to_string()))?;
    let asking = async {
        let mut response = Sealed::open(node, path, envelope, key).await?;
        let first = response.next().await?;
        Ok::<_, Failure>((first, response))
    };
    let asked = tokio::time::timeout(ANSWER_LIMIT, asking).await;
    let (first, response) = asked.unwrap_or(Err(Failure::Silent))?;
    let Some(first) = first else { return Err(Failure::CutOff.into()) };
    let head = match Part::from_bytes(&first).map_err(|e| Failure::Protocol(e.to_string()))? {
        Part::Clock(time) => return Ok(Asked::Clock(time)),
        Part::Declined(failure) => return Err(Miss::said(failure)),
        Part::Data(_) | Part::Held(_) => {
            return Err(Failure::Protocol("a body before a head".into()).into());
        }
        Part::Preview(preview) => preview_head(node, injector, preview, want),
        Part::Signed(signed) => signed_head(verify(node, &want.page, *signed)?, node, want),
    };
    if let Some(resume) = &want.resume
        && !resume.fits(&head)
    {
        return Err(Failure::CannotResume.into());
    }
    let items = match want.method {
        Method::HEAD => stream::empty().boxed(),
        _ => {
            let (node, page) = (node.clone(), want.page.clone());
            let signed = head.snapshot.clone();
            parts(Parts {
                node,
                page,
                teller: injector.peer,
                begin: (want.from, want.manner),
                begun: false,
                response,
                signed,
                over: false,
            })
        }
    };
    Ok(Asked::Started(Box::new(Started { head, items })))
}

fn insists_on_new(want: &Want) -> bool {
    let control = want.headers.get(http::header::CACHE_CONTROL).and_then(|v| v.to_str().ok());
    control.is_some_and(|v| v.contains("no-cache") || v.contains("max-age=0"))
}

fn verify(node: &Node, page: &Wanted, signed: SignedSnapshot) -> Result<Snapshot, Failure> {
    let verified = signed.verify(page, &node.joined.view().trust);
    let snapshot = verified.map_err(|e| Failure::NotAuthentic(e.to_string()))?;
    node.certified(snapshot.cert());
    Ok(snapshot)
}

fn label(node: &Node, root: &busel_proto::id::PublicKey) -> String {
    node.joined.view().trust.root(root).map(|r| r.label.clone()).unwrap_or_default()
}

fn preview_head(node: &Node, injector: &Injector, preview: Preview, want: &Want) -> Head {
    Head {
        status: preview.status,
        headers: header_map(&preview.headers),
        len: preview.len,
        offset: want.from,
        authority: Authority::Injector {
            label: label(node, &injector.cert.root),
            tls: preview.tls,
        },
        fetched_at: Some(preview.fetched_at),
        snapshot: None,
        peer: None,
        shaped: false,
    }
}

fn signed_head(snapshot: Snapshot, node: &Node, want: &Want) -> Head {
    let head = snapshot.head();
    Head {
        status: head.status,
        headers: snapshot.headers(),
        len: Some(head.len),
        offset: want.from,
        authority: Authority::Injector { label: label(node, &snapshot.cert().root), tls: head.tls },
        fetched_at: Some(head.fetched_at),
        snapshot: Some(snapshot.clone()),
        peer: None,
        shaped: false,
    }
}

/// A response after its head.
struct Parts {
    node: Node,
    page: Wanted,
    /// Whose response it is.
    teller: PeerId,
    /// The first byte that is wanted, in which order the others are, and whether any has come.
    begin: (u64, Manner),
    begun: bool,
    response: Sealed,
    /// The signature, if it has come.
    signed: Option<Snapshot>,
    over: bool,
}

/// The body, and the signature if it comes last. Bytes under a signature that came first are
/// hashed by whoever keeps them; the channel vouches for them until then.
fn parts(parts: Parts) -> Items {
    let items = stream::unfold(parts, |mut parts| async move {
        if parts.over {
            return None;
        }
        let next = parts.next().await.transpose()?;
        parts.over = !matches!(next, Ok(Next::Item(_)));
        let items = match next {
            Ok(Next::Item(item)) => stream::once(async { Ok(item) }).boxed(),
            Ok(Next::Elsewhere(items)) => items,
            Err(failure) => stream::once(async { Err(failure) }).boxed(),
        };
        Some((items, parts))
    });
    items.flatten().boxed()
}

/// What a part brings.
enum Next {
    Item(Item),
    /// All that is left, from others.
    Elsewhere(Items),
}

impl Parts {
    /// `None` after the last.
    async fn next(&mut self) -> Result<Option<Next>, Failure> {
        // A response without a signature is one that may not be kept.
        let Some(bytes) = self.response.next().await? else { return Ok(None) };
        let part =
            Part::from_bytes(&bytes).map_err(|error| Failure::Protocol(error.to_string()))?;
        let item = match (part, &self.signed) {
            (Part::Data(_), _) => {
                self.begun = true;
                Item::Data(Bytes::from(bytes).slice(1..))
            }
            (Part::Signed(signed), None) => {
                let snapshot = verify(&self.node, &self.page, *signed)?;
                self.signed = Some(snapshot.clone());
                Item::Signed(Box::new(snapshot))
            }
            (Part::Held(cards), Some(snapshot)) if !self.begun => {
                let ways = voice::ways_to_strangers(&self.node, self.teller, cards).await;
                if ways.is_empty() {
                    return Err(Failure::NobodyHasIt);
                }
                let items = many::body(&self.node, snapshot, self.begin, None, ways);
                // Whatever they lack or do is no fault of the injector's, which is asked again.
                let items = items.map_err(|_| Failure::NobodyHasIt);
                return Ok(Some(Next::Elsewhere(items.boxed())));
            }
            (Part::Declined(failure), _) => return Err(failure.cleaned()),
            _ => return Err(Failure::Protocol("a part out of order".into())),
        };
        Ok(Some(Next::Item(item)))
    }
}

/// A sealed response being read.
struct Sealed {
    stream: Stream,
    cipher: ChunkCipher,
    over: bool,
}

impl Sealed {
    async fn open(
        node: &Node,
        path: Path<'_>,
        envelope: Vec<u8>,
        key: ResponseKey,
    ) -> Result<Self, Failure> {
        let ask = match path.hop {
            Some(_) => Ask::Pass { to: path.injector.peer, envelope },
            None => Ask::Inject { envelope },
        };
        let (answer, mut stream) = say(node, path.first(), &ask).await?;
        match answer {
            Answer::Open => {}
            Answer::Declined { failure } if path.hop.is_some() => {
                node.hops().failed(&path.first(), node.clock.tick());
                return Err(Failure::declined(&failure));
            }
            Answer::Declined { failure } => return Err(Failure::declined(&failure)),
            _ => return Err(Failure::Declined("it is no injector".into())),
        }
        let mut nonce = [0; 32];
        stream.recv.read_exact(&mut nonce).await.map_err(|_| Failure::CutOff)?;
        Ok(Self { stream, cipher: key.cipher(&nonce), over: false })
    }

    /// The next part's bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        if self.over {
            return Ok(None);
        }
        let chunk = match frame::read(&mut self.stream.recv, MAX_CHUNK).await {
            Ok(chunk) => chunk,
            Err(FrameError::Bad(error)) => return Err(Failure::Protocol(error.to_string())),
            Err(FrameError::Io(_) | FrameError::End) => return Err(Failure::CutOff),
        };
        let (bytes, last) =
            self.cipher.open(&chunk).map_err(|e| Failure::NotAuthentic(e.to_string()))?;
        self.over = last;
        Ok(Some(bytes))
    }
}
