//! `busel doctor`: what stands between this device and some sites, by the running node or by one that
//! lives only as long. It shows the report; who measures is `busel_node::doctor`, and who judges is
//! `busel_proto::doctor`.

use std::process::ExitCode;

use busel_node::Node;
use busel_node::control::client::Client;
use busel_node::control::{Control, ControlError};
use busel_node::doctor::{Ask, Progress, Report, Told};
use busel_proto::doctor::Verdict;
use busel_proto::page::{PageError, PageUrl};
use tokio::sync::mpsc;

use super::{config, data_dir, unlock};
use crate::args::{Doctor, NodeFlags, Setup};
use crate::screen::{Style, line, note};

/// Something was named.
const NAMED: u8 = 3;
/// Something is wrong that could not be named.
const UNCLEAR: u8 = 4;
/// Steps that may wait to be shown.
const WAITING: usize = 64;

pub(crate) async fn run(setup: &Setup, doctor: Doctor) -> anyhow::Result<ExitCode> {
    let ask =
        Ask { urls: pages(&doctor.urls)?, home: pages(&doctor.home)?, guarded: doctor.guarded };
    let client = Client::of(&data_dir(setup)?);
    let report = if client.is_running().await {
        // They would be without effect.
        anyhow::ensure!(
            doctor.node == NodeFlags::default(),
            "a node runs already, with settings of its own; end it (busel stop) to use others"
        );
        watched(&client, ask).await?
    } else {
        let node = Node::start_with(config(setup, &doctor.node)?, unlock(setup)?).await?;
        let report = watched(&node, ask).await;
        node.stop().await;
        report?
    };
    if doctor.json {
        line(&serde_json::to_string_pretty(&report)?);
    } else {
        show(&report);
    }
    Ok(exit_code(&report))
}

fn pages(urls: &[String]) -> Result<Vec<PageUrl>, PageError> {
    urls.iter().map(|url| PageUrl::parse(url)).collect()
}

/// The report, with each step shown on standard error while it is waited for.
async fn watched(control: &dyn Control, ask: Ask) -> Result<Report, ControlError> {
    let (tell, mut steps) = mpsc::channel::<Progress>(WAITING);
    let examining = control.doctor(ask, tell);
    tokio::pin!(examining);
    loop {
        tokio::select! {
            report = &mut examining => return report,
            Some(step) = steps.recv() => note(&format!("{}: {} …", step.about, step.doing)),
        }
    }
}

fn exit_code(report: &Report) -> ExitCode {
    let well = |told: &Told| told.is(Verdict::Open) || told.is(Verdict::NotAsked);
    let mut ill = report.all().filter(|told| !well(told)).peekable();
    if ill.peek().is_none() {
        return ExitCode::SUCCESS;
    }
    let named = ill.any(|told| told.verdict != Verdict::Unclear.name() || !told.also.is_empty());
    ExitCode::from(if named { NAMED } else { UNCLEAR })
}

fn show(report: &Report) {
    let style = Style::of_stdout();
    for told in report.all() {
        show_one(told, style);
    }
    if report.sites.is_empty() {
        line("No site was looked at: name one, or join an invite that lists some.");
    }
    let seconds = report.seconds;
    line(&style.dim(&format!("It took {seconds:.0} s. What was seen is no proof of who does it.")));
}

fn show_one(told: &Told, style: Style) {
    let verdict =
        if told.is(Verdict::Open) { style.good(&told.verdict) } else { style.bad(&told.verdict) };
    line(&format!("{}: {verdict}: {}", style.bold(&told.subject), told.says));
    if !told.also.is_empty() {
        line(&format!("  also: {}", told.also.join(", ")));
    }
    for seen in &told.evidence {
        line(&format!("  - {seen}"));
    }
    if !told.is(Verdict::Open) {
        line(&format!("  {}", told.advice));
    }
    line("");
}
