//! `busel get`: one page, or all of an edition, by the running node or by one that lives only as long.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use busel_node::control::client::Client;
use busel_node::control::{Control, Line, lines};
use busel_node::edition::Taken;
use busel_node::{Node, Request, Response};
use busel_proto::page::PageUrl;
use busel_proto::plan::Manner;
use http_body_util::BodyExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::{config, data_dir, unlock};
use crate::args::{Get, NodeFlags, Setup};
use crate::screen::{self, line, note, span};

pub(crate) async fn run(setup: &Setup, get: Get) -> anyhow::Result<ExitCode> {
    let client = Client::of(&data_dir(setup)?);
    if client.is_running().await {
        // They would be without effect, and some are there for the reader's safety.
        anyhow::ensure!(
            get.node == NodeFlags::default(),
            "a node runs already, with settings of its own; end it (busel stop) to use others"
        );
        return by(&client, &get, |url| by_running(&client, url, &get)).await;
    }
    let node = Node::start_with(config(setup, &get.node)?, unlock(setup)?).await?;
    let done = by(&node, &get, |url| by_own(&node, url, &get)).await;
    node.stop().await;
    done
}

/// The page that is asked for, or the edition.
async fn by<F: Future<Output = anyhow::Result<ExitCode>>>(
    control: &dyn Control,
    get: &Get,
    page: impl FnOnce(PageUrl) -> F,
) -> anyhow::Result<ExitCode> {
    let Some(host) = &get.edition else {
        return page(PageUrl::parse(get.url.as_deref().unwrap_or_default())?).await;
    };
    let taken = control.take_edition(host.clone()).await?;
    let Taken { pages, files, known, missing, bytes, old, .. } = taken;
    if old {
        note("Nobody could be asked for a newer one.");
    }
    line(&format!(
        "The edition of {host} made {} ago: {pages} pages in {files} files, {:.1} MiB; {known} were here \
         already, {missing} could not be had.",
        span(taken.age()),
        bytes as f64 / f64::from(1 << 20),
    ));
    Ok(if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn by_running(client: &Client, url: PageUrl, get: &Get) -> anyhow::Result<ExitCode> {
    match client.page(url, manner(get)).await? {
        Ok(page) => {
            let told = format_authority(&page.response);
            let written = write(page.response, get).await;
            if get.explain {
                explain(&page.timeline.await.unwrap_or_default(), Some(&told));
            }
            written.map(|()| ExitCode::SUCCESS)
        }
        Err(problem) => {
            if get.explain {
                explain(&problem.timeline, None);
            }
            let tried = problem.tried.iter().map(|(route, why)| (route.as_str(), why.clone()));
            unanswered(&problem.url, tried, problem.private.as_deref());
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn by_own(node: &Node, url: PageUrl, get: &Get) -> anyhow::Result<ExitCode> {
    match node.fetch(Request { manner: manner(get), ..Request::get(url) }).await {
        Ok(response) => {
            let timeline = response.timeline.clone();
            let told = format_authority(&response);
            let written = write(response, get).await;
            if get.explain {
                explain(&lines(&timeline), Some(&told));
            }
            written.map(|()| ExitCode::SUCCESS)
        }
        Err(why) => {
            if get.explain {
                explain(&lines(&why.timeline), None);
            }
            let private = why.private.map(|why| why.to_string());
            let tried = why.tried.iter().map(|(r, f)| (r.name(), f.to_string()));
            unanswered(why.url.as_str(), tried, private.as_deref());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Who has it written into a file does not read it while it comes.
fn manner(get: &Get) -> Manner {
    if get.output.is_some() { Manner::RarestFirst } else { Manner::InOrder }
}

fn format_authority(response: &Response) -> String {
    let age = response.age.map(|age| format!(", {} s old", age.as_secs())).unwrap_or_default();
    let stale = if response.stale { ", older than its publisher allows" } else { "" };
    format!("by {}, true by: {}{age}{stale}", response.route, response.authority)
}

async fn write(response: Response, get: &Get) -> anyhow::Result<()> {
    match &get.output {
        None => write_to(response, get.include, &mut tokio::io::stdout()).await,
        Some(path) => write_file(response, get.include, path).await,
    }
}

/// Written beside it first, so that a page that is cut never stands under the file's name.
async fn write_file(response: Response, include: bool, path: &PathBuf) -> anyhow::Result<()> {
    let mut part = path.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let context = || format!("{}", part.display());
    let mut file = tokio::fs::File::create(&part).await.with_context(context)?;
    let written = write_to(response, include, &mut file).await;
    if let Err(error) = written {
        let _ = tokio::fs::remove_file(&part).await;
        return Err(error);
    }
    tokio::fs::rename(&part, path).await.with_context(context)
}

async fn write_to(
    response: Response,
    include: bool,
    out: &mut (impl AsyncWrite + Unpin),
) -> anyhow::Result<()> {
    if include {
        let mut head = format!("HTTP/1.1 {}\r\n", response.status).into_bytes();
        for (name, value) in &response.headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        out.write_all(&head).await?;
    }
    let mut body = response.body;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|failure| anyhow::anyhow!("the page was cut: {failure}"))?;
        if let Ok(bytes) = frame.into_data() {
            out.write_all(&bytes).await?;
        }
    }
    out.flush().await?;
    Ok(())
}

fn explain(timeline: &[Line], told: Option<&str>) {
    if timeline.is_empty() {
        note("  no race: the copy on this device is fresh");
    }
    for line in timeline {
        note(&format!("  {:>9.1} ms  {:<9} {}", line.at_ms, line.route, line.what));
    }
    if let Some(told) = told {
        note(&format!("  {told}"));
    }
}

fn unanswered<'a>(
    url: &str,
    tried: impl Iterator<Item = (&'a str, String)>,
    private: Option<&str>,
) {
    screen::note(&format!("busel: {url} can't be had"));
    for (route, why) in tried {
        note(&format!("  {route:<9} {why}"));
    }
    if let Some(why) = private {
        note(&format!("  It could not be asked for in public: {why}."));
    }
}
