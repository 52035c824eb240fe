//! An examination over the local socket: a line of JSON for each step, the last one the report. It ends
//! with the connection of whoever asked for it.

use std::sync::Arc;

use busel_proto::page::{PageError, PageUrl};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::{Control, failed};
use crate::doctor::{Ask, Progress, Report};
use crate::request::Body;

/// Steps that may wait for a slow listener; more are not told.
const WAITING: usize = 64;

/// Asks for an examination.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Doctor {
    /// Pages.
    pub urls: Vec<String>,
    /// Pages in the home country.
    pub home: Vec<String>,
    /// Whether guarded sites are asked too.
    pub guarded: bool,
}

/// What is heard of an examination.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// How it goes.
    Progress(Progress),
    /// What was found; nothing comes after it.
    Report(Report),
    /// It could not be made; nothing comes after it.
    Error(String),
}

/// Makes an examination.
pub(super) fn answer(control: Arc<dyn Control>, body: &Bytes) -> Response<Body> {
    let asked: Doctor = match serde_json::from_slice(body) {
        Ok(asked) => asked,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let ask = match read(&asked) {
        Ok(ask) => ask,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (tell, steps) = mpsc::channel(WAITING);
    let steps = stream::unfold(steps, |mut steps| async {
        Some((Step::Progress(steps.recv().await?), steps))
    });
    let end = stream::once(async move {
        match control.doctor(ask, tell).await {
            Ok(report) => Step::Report(report),
            Err(error) => Step::Error(error.to_string()),
        }
    });
    let lines = stream::select(steps, end).map(|heard| {
        let mut line = serde_json::to_vec(&heard).unwrap_or_default();
        line.push(b'\n');
        Ok(Frame::data(Bytes::from(line)))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    let kind = HeaderValue::from_static("application/jsonl");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn read(asked: &Doctor) -> Result<Ask, PageError> {
    let pages =
        |all: &[String]| all.iter().map(|url| PageUrl::parse(url)).collect::<Result<Vec<_>, _>>();
    Ok(Ask { urls: pages(&asked.urls)?, home: pages(&asked.home)?, guarded: asked.guarded })
}
