//! The other end of an examination: reads its lines, passes its steps on, and returns the report.

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::server::{Doctor, Step};
use super::{Client, ControlError, MAX_ANSWER, refused, whole};
use crate::doctor::{Ask, Progress, Report};

/// Asks for an examination and hears it to its end.
pub(super) async fn hear(
    client: &Client,
    ask: Ask,
    tell: mpsc::Sender<Progress>,
) -> Result<Report, ControlError> {
    let text = |urls: &[busel_proto::page::PageUrl]| urls.iter().map(ToString::to_string).collect();
    let asked = Doctor { urls: text(&ask.urls), home: text(&ask.home), guarded: ask.guarded };
    let response = client.send(Method::POST, "/v1/doctor", Some(&asked)).await?;
    let status = response.status();
    if status != StatusCode::OK {
        return Err(refused(status, &whole(response).await?));
    }
    let protocol = |why: &str| ControlError::Protocol(why.to_owned());
    let (mut body, mut held) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ControlError::Protocol(error.to_string()))?;
        held.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if held.len() > MAX_ANSWER {
            return Err(protocol("too long"));
        }
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            let heard = serde_json::from_slice(&line);
            match heard.map_err(|error| ControlError::Protocol(error.to_string()))? {
                // Nobody may be listening any more.
                Step::Progress(step) => drop(tell.try_send(step)),
                Step::Report(report) => return Ok(report),
                Step::Error(why) => return Err(ControlError::Failed(why)),
            }
        }
    }
    Err(protocol("the examination broke off"))
}
