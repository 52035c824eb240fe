//! The one binary, `busel`: reads what was typed and calls the command. Decides nothing itself.

mod args;
mod command;
mod demo;
mod qr;
mod screen;
mod secret_file;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    open_files();
    screen::log(if args.verbose { "info" } else { &args.log });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return screen::failed(&anyhow::Error::new(error)),
    };
    match runtime.block_on(run(args)) {
        Ok(code) => code,
        Err(error) => screen::failed(&error),
    }
}

/// A door and a relay hold many connections: as many files may be open as the system lets us.
fn open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // If not, fewer are served at once, and the others wait.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let setup = args.setup;
    match args.command {
        Command::Demo(demo) => demo::run(demo).await,
        Command::DemoIsp => demo::isp::run_stdio().await.map(|()| ExitCode::SUCCESS),
        Command::Up(up) => command::up::run(&setup, up).await,
        Command::Get(get) => command::get::run(&setup, get).await,
        Command::Find(find) => command::find::run(&setup, find).await,
        Command::Injector(injector) => command::injector::run(&setup, injector).await,
        Command::Root(root) => command::root::run(root),
        Command::Relay(relay) => command::relay::run(&setup, relay).await,
        Command::Invite(invite) => command::invite::run(&setup, invite).await,
        Command::Join(join) => command::join::run(&setup, join).await,
        Command::Heed(heed) => command::heed::run(&setup, heed).await,
        Command::Browse(browse) => command::browse::run(&setup, browse).await,
        Command::Ca(ca) => command::ca::run(&setup, ca).await,
        Command::Status(status) => command::status::run(&setup, status).await,
        Command::Doctor(doctor) => command::doctor::run(&setup, doctor).await,
        Command::Stop => command::stop::run(&setup).await,
        Command::Completions { shell } => command::generate::completions(shell),
        Command::Man => command::generate::man(),
    }
}
