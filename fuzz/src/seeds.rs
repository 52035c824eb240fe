//! The seed corpus, made by code: one good input or more for each target, from fixed keys.
//!
//! `bounded --write-seeds` writes it to `fuzz/seeds/`, where both fuzzers read it.

use busel_proto::card::Card;
use busel_proto::carrier::Frame;
use busel_proto::catalogue::{Compare, SignedListed};
use busel_proto::cbor;
use busel_proto::cert::{Checkpoint, Revocation, TrustedRoot};
use busel_proto::edition::{Edition, Item};
use busel_proto::failure::Failure;
use busel_proto::id::{Hash, PeerId, PublicKey, SnapshotKey};
use busel_proto::invite::{InjectorTicket, Invite, PeerTicket, RelayTicket, VeilTicket};
use busel_proto::message::{Answer, Ask};
use busel_proto::page::{HostName, HostPattern, PageUrl, Variant};
use busel_proto::sealed::{InjectRequest, Part, Preview, seal_request};
use busel_proto::signed::Signed;
use busel_proto::sites::{QueryRule, Site};
use busel_proto::snapshot::{Field, Head, SignedSnapshot};
use busel_proto::time::UnixTime;
use busel_proto::veil::hello::HelloKey;
use busel_proto::veil::{VeilSecret, text};

use crate::catalogue;
use crate::records::{cert, root, subkey};
use crate::sealed::{SUBKEY, keys};

/// The page that the seeds are about.
pub const PAGE: &str = "https://news.example/a?page=2";

/// A seed: the target it is for, its name and its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (target, inputs) in [
        ("answer", answers()),
        ("ask", asks()),
        ("blob_window", blobs()),
        ("carrier", carriers()),
        ("catalogue", comparisons()),
        ("cbor_head", records()),
        ("edition", editions()),
        ("flight", flights()),
        ("gateway", texts(GATEWAY)),
        ("invite", invites()),
        ("net_range", texts(&["127.0.0.0/8", "fd00::/8", "::1", "0.0.0.0/0", "1.2.3.4"])),
        ("page_url", texts(URLS)),
        ("race", races()),
        ("sealed", sealed()),
        ("shape", shapes()),
        ("veil", veiled()),
        ("veil_stream", streamed()),
    ] {
        for (n, bytes) in inputs.into_iter().enumerate() {
            seeds.push((target, format!("{n:02}"), bytes));
        }
    }
    seeds
}

const GATEWAY: &[&str] = &[
    "news-example",
    "http-8080---xn----80aswg-example",
    "https://cdn.example/a?b#c",
    "\\\\cdn.example\\a",
    "default-src 'self' https://*.example wss: data:; sandbox; report-uri /x, img-src *",
];

fn editions() -> Vec<Vec<u8>> {
    let page = PageUrl::parse(PAGE).expect("it is one");
    let item = |title: Option<&str>| Item {
        url: page.clone(),
        root: Hash::of(PAGE.as_bytes()),
        len: 7,
        title: title.map(str::to_owned),
    };
    let editions = [vec![], vec![item(Some("Навіны")), item(None)]];
    editions.map(|items| Edition { made_at: UnixTime(1_767_225_600), items }.to_bytes()).into()
}

const URLS: &[&str] = &[
    PAGE,
    "HTTPS://News.Example:443/a%7eb/%d0%bd?q=1#top",
    "http://навіны.бел/%%32%65/../x",
    "http://[::ffff:127.0.0.1]:8080/",
    "https://me:pw@a.example/",
    "https://a.example./?%zz%",
    "http://0x7f.1/%252e/%2E%2e/",
    "*.news.example",
];

/// Junk; then windows of each body, from the start and from within, with each kind of change.
fn blobs() -> Vec<Vec<u8>> {
    let mut inputs = vec![[&[0; 25][..], b"junk"].concat(), vec![1, 1, 3, 0, 0, 0, 0, 0, 0, 200]];
    for (n, from) in [0_u64, 20_000, 0, 262_144].into_iter().enumerate() {
        let kind = u8::try_from(n).expect("few");
        let numbers = [from, 5000, 97].map(u64::to_be_bytes);
        inputs.push([&[1, 0, 7 + kind][..], numbers.as_flattened(), &[kind, 7]].concat());
    }
    inputs
}

fn texts(inputs: &[&str]) -> Vec<Vec<u8>> {
    inputs.iter().map(|input| input.as_bytes().to_vec()).collect()
}

/// `kind` before the bytes, for targets that read several forms.
fn of_kind(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

fn head() -> Head {
    let field = |name: &str, value: &str| Field { name: name.into(), value: value.into() };
    Head {
        v: 1,
        url: PAGE.into(),
        variant: Variant::default(),
        status: 200,
        headers: vec![field("content-type", "text/html"), field("etag", "\"a\"")],
        root: Hash::of(b"stork"),
        len: 5,
        fetched_at: UnixTime(86_400),
        tls: true,
        injector: PublicKey::from(&subkey()),
        epoch: 4,
    }
}

fn card() -> Signed<Card> {
    let veil = VeilTicket { addrs: vec!["198.51.100.7:44443".into()], secret: VeilSecret([8; 32]) };
    let peer = PeerId(PublicKey::from(&root()).0);
    Signed::sign(&Card { v: 1, peer, veil, made_at: UnixTime(86_400) }, &root())
}

fn snapshot() -> SignedSnapshot {
    SignedSnapshot { head: Signed::sign(&head(), &subkey()), cert: cert() }
}

fn revocation() -> Revocation {
    let subkeys = vec![PublicKey::from(&subkey()), PublicKey([6; 32])];
    Revocation { v: 1, root: PublicKey::from(&root()), seq: 3, subkeys }
}

fn records() -> Vec<Vec<u8>> {
    let checkpoint = Checkpoint {
        v: 1,
        root: PublicKey::from(&root()),
        heads: vec![snapshot().head.hash(), Hash([255; 32])],
    };
    vec![
        of_kind(0, &snapshot().head.to_bytes()),
        of_kind(1, &cert().to_bytes()),
        of_kind(2, &Signed::sign(&revocation(), &root()).to_bytes()),
        of_kind(3, &Signed::sign(&checkpoint, &root()).to_bytes()),
        of_kind(4, &cbor::to_vec(&snapshot())),
        of_kind(5, &cbor::to_vec(&head())),
        of_kind(6, &cbor::to_vec(&revocation())),
        of_kind(7, &cbor::to_vec(&checkpoint)),
    ]
}

/// What one says who begins to compare, and what another answers.
fn comparisons() -> Vec<Vec<u8>> {
    let (own, other) = (catalogue::of(0..40), catalogue::of(30..60));
    let (_, asked) = Compare::begin(other.sketch()).expect("a sketch can be compared");
    let answer = own.sketch().answer(&asked).expect("it is our own");
    vec![asked, answer]
}

fn asks() -> Vec<Vec<u8>> {
    let host = HostName::parse("news.example").expect("a fixed host");
    let url = PageUrl::parse(PAGE).expect("a fixed URL");
    let key = url.key(&Variant::default());
    [
        Ask::Fetch { key, from: Some(20_000), root: Some(Hash([2; 32])) },
        Ask::Fetch { key: SnapshotKey([1; 32]), from: None, root: None },
        Ask::Blob { root: Hash([1; 32]), len: 1_000_000, from: 20_000, to: 700_000 },
        Ask::Any { root: Hash([1; 32]), len: 1_000_000, of: vec![0, 2, 3], most: 2 },
        Ask::Inject { envelope: vec![1, 2, 3] },
        Ask::Tunnel { host, port: 443 },
        Ask::Pass { to: PeerId([4; 32]), envelope: vec![1, 2, 3] },
        Ask::Assign,
        Ask::Forward { to: PeerId([4; 32]), envelope: vec![1, 2, 3], card: Some(card()) },
        Ask::Hold { snapshot: snapshot(), holders: vec![card()] },
        Ask::Question { envelope: vec![1, 2, 3] },
        Ask::Compare { root: PublicKey::from(&root()), message: comparisons().remove(0) },
        Ask::Listed { root: PublicKey::from(&root()), heads: vec![Hash([2; 32])] },
        Ask::Tell { root: PublicKey::from(&root()), pages: pages() },
        Ask::Seen,
        Ask::Punch { from: "192.0.2.1:7000".into() },
    ]
    .iter()
    .map(cbor::to_vec)
    .collect()
}

fn pages() -> Vec<SignedListed> {
    catalogue::of(0..2).all().cloned().collect()
}

fn answers() -> Vec<Vec<u8>> {
    [
        Answer::Found { snapshot: snapshot(), revocation: None },
        Answer::Found {
            snapshot: snapshot(),
            revocation: Some(Signed::sign(&revocation(), &root())),
        },
        Answer::Compared { message: comparisons().remove(1) },
        Answer::Listed { pages: pages() },
        Answer::Nothing,
        Answer::Open,
        Answer::Declined { failure: Failure::NotAllowed("no".into()) },
        Answer::Declined { failure: Failure::Reset },
    ]
    .iter()
    .map(cbor::to_vec)
    .collect()
}

fn invites() -> Vec<Vec<u8>> {
    let relay = RelayTicket {
        addr: "198.51.100.7:443".into(),
        sni: HostName::parse("www.example.org").expect("a fixed host"),
        pin: Hash([5; 32]),
        secret: [6; 16],
        also: vec![],
        spares: None,
    };
    let pattern = HostPattern::parse("*.news.example").expect("a fixed pattern");
    let mut site = Site::new(pattern.clone());
    site.query = QueryRule::Only(vec!["page".into()]);
    let invite = Invite {
        relays: vec![relay],
        peers: vec![PeerTicket {
            peer: PeerId([7; 32]),
            relay: Some(0),
            addrs: vec!["192.0.2.1:9".into()],
            veil: Some(VeilTicket {
                addrs: vec!["192.0.2.9:443".into()],
                secret: VeilSecret([8; 32]),
            }),
        }],
        roots: vec![TrustedRoot {
            key: PublicKey::from(&root()),
            label: "Newsroom".into(),
            hosts: vec![pattern],
        }],
        injectors: vec![InjectorTicket { peer: PeerId([7; 32]), cert: cert() }],
        sites: vec![site],
    };
    vec![
        invite.to_line().into_bytes(),
        Invite::default().to_line().into_bytes(),
        cbor::to_vec(&invite),
        cbor::to_vec(&Invite::default()),
    ]
}

/// QUIC packets with a short and a long header, in the lengths that matter to the veil.
fn veiled() -> Vec<Vec<u8>> {
    let packet = |first: u8, len: usize| [&[first][..], &vec![7; len - 1]].concat();
    let short = [21, 40, 998, 999, 1000, 1290, 1452].map(|len| packet(0x41, len));
    short.into_iter().chain([packet(0xc1, 1200), packet(0x41, 20)]).collect()
}

/// Hellos of the veil's, text of its kind, and what strangers say.
fn streamed() -> Vec<Vec<u8>> {
    let hello = |secret| {
        let made = HelloKey::of(&VeilSecret([secret; 32])).make(
            UnixTime(0),
            VeilSecret([2; 32]),
            &[7; 48],
        );
        made.expect("it fits").0
    };
    let mut text = Vec::new();
    text::write(&[5; 60], [1, 2, 3, 4], &mut text);
    vec![hello(8), hello(9), text, b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![7; 5000]]
}

/// What the seeds ask an injector for.
pub(crate) fn request() -> InjectRequest {
    InjectRequest {
        url: PAGE.into(),
        variant: Variant::default(),
        at: UnixTime(86_400),
        nonce: [4; 16],
        from: Some(0),
        root: Some(Hash([3; 32])),
        new: true,
        held: Some(1),
    }
}

fn sealed() -> Vec<Vec<u8>> {
    let (envelope, _) =
        seal_request(&request(), &SUBKEY, &keys().1, [1; 32]).expect("a short request");
    let bytes = cbor::to_vec(&request());
    let len = u16::try_from(bytes.len()).expect("a short request");
    let mut padded = [&len.to_be_bytes(), &bytes[..]].concat();
    padded.resize(512, 0);
    let preview = Preview {
        status: 200,
        headers: head().headers,
        fetched_at: UnixTime(86_400),
        tls: true,
        len: Some(5),
    };
    let parts = [
        Part::Preview(preview),
        Part::Data(b"stork"),
        Part::Signed(Box::new(snapshot())),
        Part::Declined(Failure::NotAllowed("no".into())),
        Part::Clock(UnixTime(86_400)),
        Part::Held(vec![card(), card()]),
    ];
    let parts = parts.iter().map(|part| of_kind(2, &part.to_bytes()));
    [of_kind(0, &envelope), of_kind(1, &padded), of_kind(3, b"stork"), of_kind(4, &bytes)]
        .into_iter()
        .chain(parts)
        .collect()
}

/// A TLS record around a ClientHello with these extensions.
fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let wide = |len: usize| u16::try_from(len).expect("short").to_be_bytes();
    let mut ext = Vec::new();
    for (kind, body) in extensions {
        ext.extend(kind.to_be_bytes());
        ext.extend(wide(body.len()));
        ext.extend_from_slice(body);
    }
    let fixed = [&[3, 3][..], &[9; 32], &[0, 0, 2, 0x13, 1, 1, 0], &wide(ext.len())].concat();
    let body = [fixed, ext].concat();
    let message = [&[1, 0][..], &wide(body.len()), &body].concat();
    [&[22, 3, 1][..], &wide(message.len()), &message].concat()
}

/// Frames, a leg's beginning, and lines that cut.
fn carriers() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for frame in [
        Frame::Open { number: 1, from: 0, budget: 0 },
        Frame::Ack { received: 0, limit: 524_288 },
        Frame::Data { offset: 0, bytes: (&b"hello"[..]).into() },
        Frame::Ping,
        Frame::Fin(5),
        Frame::Pad(3),
        Frame::End,
    ] {
        frame.put(&mut frames);
    }
    let with = |first: u8| [&[first], &frames[..]].concat();
    vec![with(0), with(1), vec![2], vec![2, 2, 3, 5, 4], vec![2, 9, 200, 1, 40]]
}

fn flights() -> Vec<Vec<u8>> {
    let name: (u16, &[u8]) = (0, b"\x00\x0f\x00\x00\x0cnews.example");
    let plain = hello(&[name, (43, &[2, 3, 4])]);
    vec![
        [&plain[..], &[20, 3, 3, 0, 1, 1]].concat(),
        plain,
        hello(&[name, (42, &[])]),
        [&hello(&[(42, &[])])[..], &[22, 3]].concat(),
        b"GET / HTTP/1.1\r\nHost: news.example\r\n\r\n".to_vec(),
    ]
}

fn races() -> Vec<Vec<u8>> {
    let of = |set_up: [u8; 4], events: &[[u8; 3]]| [&set_up, events.as_flattened()].concat();
    vec![
        // The first way wins and stalls; another goes on and ends.
        of([1, 3, 100, 50], &[[2, 0, 3], [7, 0, 1], [0, 0, 255], [2, 1, 9], [8, 0, 1], [9, 0, 1]]),
        // All fail; an old copy is at hand.
        of([3, 3, 1, 1], &[[4, 0, 2], [4, 11, 2], [6, 2, 2]]),
        // A request that may be made once: refused unsent by one way, cut by the next.
        of([0, 3, 9, 9], &[[4, 0, 2], [4, 131, 2]]),
        // Nobody answers.
        of([1, 4, 30, 0], &[[0, 0, 255], [0, 0, 255], [0, 0, 255]]),
    ]
}

fn shapes() -> Vec<Vec<u8>> {
    let of = |fields: &[(u8, &str)]| {
        let mut bytes = vec![0; 8];
        bytes.extend([1, 2]);
        bytes.extend(1000_u64.to_be_bytes());
        for (name, value) in fields {
            bytes.push(*name);
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    };
    const MONDAY: &str = "Mon, 04 Aug 2025 10:00:00 GMT";
    vec![
        of(&[(0, "bytes=10-19"), (1, "\"a\""), (6, "\"a\"")]),
        of(&[(0, "bytes=-5"), (1, MONDAY), (7, MONDAY), (8, "Tue, 05 Aug 2025 10:00:00 GMT")]),
        of(&[(0, "bytes=1000-")]),
        of(&[(2, "\"b\", W/\"a\""), (6, "\"a\"")]),
        of(&[(3, MONDAY), (7, MONDAY)]),
        of(&[(4, "br;q=0, gzip"), (9, "br"), (6, "\"a\""), (11, "cookie")]),
        of(&[(0, "bytes=0-99999999999999999999"), (10, "77")]),
    ]
}
