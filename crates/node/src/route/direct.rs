//! The route `Direct`: the origin itself.
//!
//! What a censor does on the way is told apart where it shows: a false address in the resolver, a
//! reset, silence or a false certificate in the connection, and here the page of a censor.

use busel_proto::failure::Failure;
use busel_proto::page::PageUrl;
use busel_proto::shape;
use busel_proto::sites::SiteList;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;

use super::{Head, Item, Lost, Started, Want};
use crate::origin::Origin;
use crate::request::{Authority, RequestBody};

/// Asks the origin.
pub(crate) async fn start(
    origin: &Origin,
    want: Want,
    body: RequestBody,
    sites: Option<&SiteList>,
) -> Result<Started, Lost> {
    let url = &want.page.url;
    let mut headers = want.headers;
    if let Some(resume) = &want.resume {
        // Without a strong validator the origin can't be asked for the rest of the same bytes.
        let etag = resume.etag.clone().ok_or(Failure::CannotResume)?;
        headers.insert(header::RANGE, range_from(want.from));
        headers.insert(header::IF_RANGE, etag);
    }
    let response = origin.send(want.method, url, headers, body).await?;
    let (parts, body) = response.into_parts();
    if let Some(sites) = sites
        && is_block_page(url, parts.status, &parts.headers, sites)
    {
        return Err(Lost { failure: Failure::BlockPage, sent: true, stale: None });
    }
    let mut head = Head {
        status: parts.status.as_u16(),
        len: length(&parts.headers),
        headers: parts.headers,
        offset: 0,
        authority: if url.is_https() { Authority::Site } else { Authority::Nobody },
        fetched_at: None,
        snapshot: None,
        peer: None,
        shaped: true,
    };
    let part = (parts.status == StatusCode::PARTIAL_CONTENT)
        .then(|| shape::content_range(&head.headers))
        .flatten();
    if let Some(part) = &part {
        (head.offset, head.len) = (part.bytes.start, part.whole);
    }
    if let Some(resume) = &want.resume
        && (part.is_none() || head.offset != want.from || !resume.fits(&head))
    {
        return Err(Failure::CannotResume.into());
    }
    let items = body.into_data_stream().map(|data| data.map(Item::Data)).boxed();
    Ok(Started { head, items })
}

fn range_from(from: u64) -> HeaderValue {
    HeaderValue::try_from(format!("bytes={from}-")).expect("digits are a header value")
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Plain http can be answered by anyone on the way. For a listed site, an answer that sends the
/// reader to a host that is no part of the site, or that says "unavailable for legal reasons"
/// (RFC 7725), is a censor's as far as can be told: other ways are tried first.
fn is_block_page(url: &PageUrl, status: StatusCode, headers: &HeaderMap, sites: &SiteList) -> bool {
    if url.is_https() || sites.find(&url.host()).is_none() {
        return false;
    }
    if status == StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS {
        return true;
    }
    let target = headers.get(header::LOCATION).and_then(|l| l.to_str().ok());
    let target = target.and_then(|t| url.as_url().join(t).ok());
    let target = target.and_then(|t| PageUrl::parse(t.as_str()).ok());
    status.is_redirection()
        && target.is_some_and(|t| t.host() != url.host() && sites.find(&t.host()).is_none())
}

#[cfg(test)]
mod tests {
    use busel_proto::page::HostPattern;
    use busel_proto::sites::Site;

    use super::*;

    #[test]
    fn a_redirect_out_of_the_site_over_plain_http_is_a_censors() {
        let sites = SiteList::new(vec![Site::new(HostPattern::parse("*.news.example").unwrap())]);
        let blocked = |url: &str, status: u16, location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::LOCATION, location.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            is_block_page(&PageUrl::parse(url).unwrap(), status, &headers, &sites)
        };
        assert!(blocked("http://news.example/", 302, "http://blocked.isp.example/"));
        assert!(blocked("http://news.example/", 451, "/"));
        assert!(!blocked("http://news.example/", 302, "/new"));
        assert!(!blocked("http://news.example/", 302, "https://www.news.example/"));
        assert!(!blocked("https://news.example/", 302, "http://blocked.isp.example/"));
        assert!(!blocked("http://other.example/", 302, "http://blocked.isp.example/"));
    }
}
