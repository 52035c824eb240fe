//! One request: who may see it, which routes it may take, and our own copy if that is fresh.
//!
//! Public requests may be answered by any route, are raced, resumed and kept. Private ones go to
//! the site itself, directly or through a tunnel, and leave no trace here; where that fails, one with cookies
//! may be answered by a copy of what the site has for everybody. The race is driven in
//! [`crate::drive`].

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use busel_proto::edition;
use busel_proto::failure::{Failure, Route};
use busel_proto::freshness;
use busel_proto::language;
use busel_proto::memory::{self, Step};
use busel_proto::shape::{self, Begin, Span};
use busel_proto::sites::{Class, SiteList, Why};
use busel_proto::snapshot::Wanted;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use tokio::time::timeout;

use crate::clock;
use crate::decode;
use crate::drive::{Drive, Tries};
use crate::hot::Page;
use crate::node::Node;
use crate::request::{Body, Request, RequestBody, Response, Timeline, Unanswered, full};
use crate::route::{Item, Started, Want, local};

/// What is asked for beside a page is not waited for any longer: the one for this reader, or in their language, and how
/// long it is.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);

/// Answers a request.
pub(crate) async fn fetch(node: &Node, request: Request) -> Result<Response, Unanswered> {
    let view = node.joined.view();
    match view.sites.classify(&request.method, &request.url, &request.headers) {
        Class::Private(why) if edition::is_address(&request.url) => Err(not_asked(request, why)),
        Class::Private(why) => match as_a_stranger(&view.sites, &request) {
            Some(bare) => {
                let (method, url, headers) = (bare.method, bare.url, bare.headers);
                let manner = bare.manner;
                let bare = || {
                    let (method, url, headers) = (method.clone(), url.clone(), headers.clone());
                    Request { method, url, headers, body: RequestBody::empty(), manner }
                };
                known_or_not(node, request, bare, &view.sites).await
            }
            None => private(node, request).await.map_err(|mut unanswered| {
                unanswered.private = Some(why);
                unanswered
            }),
        },
        // What a request says in its body is not in its URL.
        Class::Public if !request.body.is_end_stream() => private(node, request).await,
        Class::Public => {
            let plan = node.public_plan(&view.sites, &request.url);
            public(node, request, &view.sites, &plan, Copies::Any).await
        }
    }
}

/// A public page as somebody signed it, which is kept here then.
pub(crate) async fn signed(node: &Node, request: Request) -> Result<Response, Unanswered> {
    let view = node.joined.view();
    if let Class::Private(why) =
        view.sites.classify(&request.method, &request.url, &request.headers)
    {
        return Err(not_asked(request, why));
    }
    let plan = node.networks.plan(&request.url.host(), &[Route::Swarm, Route::Injector]);
    public(node, request, &view.sites, &plan, Copies::Any).await
}

fn not_asked(request: Request, why: Why) -> Unanswered {
    let (tried, timeline) = (Vec::new(), Timeline::default());
    Unanswered { url: request.url, tried, private: Some(why), timeline }
}

/// The same request without the cookies, if it could be shared then.
fn as_a_stranger(sites: &SiteList, request: &Request) -> Option<Request> {
    let mut headers = request.headers.clone();
    headers.remove(header::COOKIE);
    let class = sites.classify(&request.method, &request.url, &headers);
    let shared = class == Class::Public && request.body.is_end_stream();
    let (method, url, manner) = (request.method.clone(), request.url.clone(), request.manner);
    shared.then(|| Request { method, url, headers, body: RequestBody::empty(), manner })
}

/// A request for a public page with the reader's cookies: the page that the site has for this reader, or if it
/// can't be had, or not soon, a copy of the one that it has for everybody; an old one only once there is no hope
/// for the other. No injector is asked for that: whoever reaches one reaches the site, and such an address may
/// be the reader's alone.
async fn known_or_not(
    node: &Node,
    request: Request,
    bare: impl Fn() -> Request,
    sites: &Arc<SiteList>,
) -> Result<Response, Unanswered> {
    let plan = node.networks.plan(&request.url.host(), &[Route::Swarm]);
    let mut known = pin!(private(node, request));
    let why = match timeout(KNOWN_WITHIN, known.as_mut()).await {
        Ok(Ok(response)) => return Ok(response),
        Ok(Err(why)) => why,
        Err(_) => {
            let fresh = pin!(public(node, bare(), sites, &plan, Copies::Fresh));
            match select(known, fresh).await {
                Either::Left((Ok(response), _)) => return Ok(response),
                Either::Right((Ok(response), _)) => return Ok(for_everybody(response)),
                Either::Left((Err(why), _)) => why,
                Either::Right((Err(_), known)) => match known.await {
                    Ok(response) => return Ok(response),
                    Err(why) => why,
                },
            }
        }
    };
    let any = public(node, bare(), sites, &plan, Copies::Any).await;
    any.map(for_everybody).map_err(|everybodys| {
        let tried = why.tried.into_iter().chain(everybodys.tried).collect();
        Unanswered { tried, private: Some(Why::Credentials), ..everybodys }
    })
}

/// Which own copies may be shown for want of anything newer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copies {
    Fresh,
    Any,
}

/// An answer that is not the one for this reader: its program must not take it for that later.
fn for_everybody(mut response: Response) -> Response {
    response.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A request that may be shared. Of a page that its site has in several languages, the copy in the reader's;
/// if that can't be had, or not soon, the one for everybody.
async fn public(
    node: &Node,
    mut request: Request,
    sites: &Arc<SiteList>,
    plan: &[Step],
    copies: Copies,
) -> Result<Response, Unanswered> {
    if sites.find(&request.url.host()).is_some_and(|site| site.https) {
        request.url = request.url.upgraded();
    }
    let page = Wanted::page(request.url.clone());
    let Some(variant) = language::wanted(&request.headers) else {
        return in_form(node, request, page, sites, plan, copies).await;
    };
    let known = local::find(node, &page).await.is_some_and(|page| language::varies(&page.headers));
    let own = Wanted { variant, ..page.clone() };
    let (method, url, headers) = (&request.method, &request.url, &request.headers);
    let (method, url, headers) = (method.clone(), url.clone(), headers.clone());
    let manner = request.manner;
    let in_own = async || {
        let body = RequestBody::empty();
        let (method, url, headers) = (method.clone(), url.clone(), headers.clone());
        let request = Request { method, url, headers, body, manner };
        let asking = in_form(node, request, own.clone(), sites, plan, copies);
        timeout(KNOWN_WITHIN, asking).await.ok()?.ok()
    };
    if known && let Some(response) = in_own().await {
        return Ok(response);
    }
    let response = in_form(node, request, page, sites, plan, copies).await?;
    let is_copy = matches!(response.route, Route::Local | Route::Swarm | Route::Injector);
    if known || !is_copy || !language::varies(&response.headers) {
        return Ok(response);
    }
    Ok(in_own().await.unwrap_or(response))
}

/// A request that may be shared, for one form of a page.
async fn in_form(
    node: &Node,
    request: Request,
    wanted: Wanted,
    sites: &Arc<SiteList>,
    plan: &[Step],
    copies: Copies,
) -> Result<Response, Unanswered> {
    let copy = local::find(node, &wanted).await.map(|page| local::renewed(node, &wanted, page));
    if let Some((page, true)) = &copy {
        let standing = freshness::judge(&page.snapshot, &request.headers, clock::now());
        if standing.fresh {
            node.store.touch(&wanted.key(), clock::now());
            return Ok(of_copy(node, page, &request, false).await);
        }
    }
    let copy = copy.map(|(page, _)| page).filter(|_| copies == Copies::Any);
    node.look_around().await;
    let from = match shape::begin(&request.method, &request.headers) {
        Begin::At(first) => first,
        Begin::BeforeEnd(count) => {
            let len = match &copy {
                Some(page) => Some(page.snapshot.head().len),
                None => whole_len(node, &request, &wanted, sites, plan).await,
            };
            len.map_or(0, |len| len.saturating_sub(count))
        }
    };
    let plan = match node.knows_fresh(&wanted, &request.headers) {
        true => memory::copies_first(plan),
        false => plan.to_vec(),
    };
    let want = Want { page: wanted, from, ..want(&request) };
    let tries = Tries { sites: Some(sites.clone()), request: Arc::new(request), want };
    Drive::start(node, tries, &plan, true, copy).await
}

/// How long a page is of which the end is wanted: no way over other nodes can begin there otherwise. Where
/// that can't be found out soon, it begins at the first byte.
async fn whole_len(
    node: &Node,
    request: &Request,
    page: &Wanted,
    sites: &Arc<SiteList>,
    plan: &[Step],
) -> Option<u64> {
    let (url, mut headers) = (request.url.clone(), request.headers.clone());
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
    let bare = Request { method: Method::HEAD, headers, ..Request::get(url) };
    let want = Want { page: page.clone(), ..want(&bare) };
    let tries = Tries { sites: Some(sites.clone()), request: Arc::new(bare), want };
    let asking = Drive::start(node, tries, plan, true, None);
    let response = timeout(KNOWN_WITHIN, asking).await.ok()?.ok()?;
    let len = response.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    len.filter(|_| response.status == StatusCode::OK)
}

fn want(request: &Request) -> Want {
    Want {
        method: request.method.clone(),
        page: Wanted::page(request.url.clone()),
        headers: request.headers.clone(),
        manner: request.manner,
        from: 0,
        resume: None,
        asked_before: 0,
    }
}

/// A request that may not be shared.
async fn private(node: &Node, request: Request) -> Result<Response, Unanswered> {
    node.look_around().await;
    let routes = node.private_routes(&request.url.host());
    let plan = node.networks.plan(&request.url.host(), &routes);
    let bare = request.body.is_end_stream();
    let hedged = bare && matches!(request.method, Method::GET | Method::HEAD);
    let want = want(&request);
    let tries = Tries { sites: None, request: Arc::new(request), want };
    Drive::start(node, tries, &plan, hedged, None).await
}

/// A copy of our own as the answer.
pub(crate) async fn of_copy(
    node: &Node,
    page: &Arc<Page>,
    request: &Request,
    stale: bool,
) -> Response {
    let head = local::head(page, 0);
    let shape =
        shape::shape(&request.method, &request.headers, head.status, &head.headers, head.len);
    let body = match (&shape.span, local::whole(page)) {
        (Span::Nothing, _) => empty(),
        (Span::Whole, Some(body)) => full(body),
        (Span::Part(range), Some(body)) => {
            let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(body.len());
            full(body.slice(at(range.start)..at(range.end)))
        }
        (span, None) => {
            let (from, to) = match span {
                Span::Part(range) => (range.start, range.end),
                Span::Whole | Span::Nothing => (0, u64::MAX),
            };
            match local::start(node, page, from).await {
                Ok(started) => limited(started, to - from),
                Err(failure) => cut(failure),
            }
        }
    };
    let mut headers = head.headers.clone();
    shape.apply(&mut headers);
    let body = match shape.decode {
        Some(coding) => decode::decoded(body, coding),
        None => body,
    };
    Response {
        status: StatusCode::from_u16(shape.status).unwrap_or(StatusCode::OK),
        headers,
        body,
        route: Route::Local,
        authority: head.authority,
        age: head.fetched_at.map(|at| clock::now().since(at)),
        stale,
        timeline: Timeline::default(),
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn cut(failure: Failure) -> Body {
    StreamBody::new(futures_util::stream::iter([Err(failure)])).boxed_unsync()
}

/// At most `left` bytes of what a route brings.
fn limited(started: Started, left: u64) -> Body {
    let frames = started.items.scan(left, |left, item| {
        let frame = match item {
            Ok(Item::Data(bytes)) if *left > 0 => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= size as u64;
                Some(Ok(Frame::data(bytes.slice(..size))))
            }
            Ok(_) => None,
            Err(failure) => Some(Err(failure)),
        };
        std::future::ready(frame)
    });
    StreamBody::new(frames).boxed_unsync()
}
