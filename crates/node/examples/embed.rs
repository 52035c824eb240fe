//! An app that fetches a blocked page through the library: `embed INVITE URL`. The page goes to
//! standard output; what is worth knowing of it, to standard error.

use std::error::Error;

use busel_node::{Config, Node, Request};
use busel_proto::{invite::Invite, page::PageUrl};
use http_body_util::BodyExt;
use tokio::io::AsyncWriteExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [invite, url] = <[String; 2]>::try_from(std::env::args().skip(1).collect::<Vec<_>>())
        .map_err(|_| "embed INVITE URL")?;
    // The store is ./busel-data. The site is blocked, so its provider need not see it asked for.
    let node = Node::start(Config { direct: false, ..Config::default() }).await?;
    node.join(&Invite::from_line(&invite)?, true).await?;
    let page = node.fetch(Request::get(PageUrl::parse(&url)?)).await?;
    let told = format!("{} by {}, true by {}\n", page.status, page.route, page.authority);
    let body = page.body.collect().await?.to_bytes();
    node.stop().await;
    tokio::io::stderr().write_all(told.as_bytes()).await?;
    Ok(tokio::io::stdout().write_all(&body).await?)
}
