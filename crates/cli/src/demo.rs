//! `busel demo`: the main job on real input, told as it happens. On loopback with real sockets, a
//! news site, an injector, a relay and three readers; between the readers and the world a provider,
//! a process of its own, which turns censor.
//!
//! Needs no root, no set-up and no internet, and leaves nothing behind.

mod hostile;
pub(crate) mod isp;
mod site;
mod stage;
mod story;

use std::process::ExitCode;

use crate::args::Demo;
use crate::command::told_to_end;
use crate::screen::{Style, line};

use stage::Stage;
use story::Story;

/// Tells the story. The exit code says whether every step was as told.
pub(crate) async fn run(demo: Demo) -> anyhow::Result<ExitCode> {
    let style = Style::of_stdout();
    line(&style.bold("Busel: how a blocked page reaches a reader"));
    line(&style.dim("Everything runs on this machine, over real sockets, by a provider who reads"));
    line(&style.dim("every name that is looked up and the first bytes of every connection."));
    let stage = Stage::set(demo.site.as_deref()).await?;
    line(&style.dim(&format!(
        "The site: https://{}/ with {} files. The injector may connect to 127.0.0.0/8 (--allow-net).",
        stage::HOST,
        stage.site.paths().count()
    )));
    let mut story = Story::new(stage, style);
    let told = story.tell().await;
    let as_told = story.summary();
    if let Err(error) = told {
        story.end().await;
        return Err(error);
    }
    if demo.keep {
        keep(&story).await;
    }
    story.end().await;
    Ok(if as_told { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn keep(story: &Story) {
    line("");
    if let Some(addr) = story.stage.b.http_addr() {
        line("Reader B is still there, cut off from the site and the injector. Try:");
        line(&format!("  curl --proxy http://{addr} http://{}/", stage::HOST));
        line(&format!(
            "or set http://{addr} as a browser's HTTP proxy and open http://{}/",
            stage::HOST
        ));
        line("Ctrl-C ends it.");
    }
    told_to_end().await;
}
