//! The library in an app's hands: the example `embed` of `busel-node` fetches a blocked page.

use std::path::Path;
use std::process::Command;

use crate::support::{HOST, Nginx, People, Run, put};

#[test]
fn an_app_fetches_a_blocked_page_through_the_library() {
    // Built with the tests of the workspace, beside the program.
    let embed = Path::new(env!("CARGO_BIN_EXE_busel")).with_file_name("examples").join("embed");
    assert!(
        embed.exists(),
        "{} is not there: test the whole workspace, or build it by \
         `cargo build --profile ci -p busel-node --example embed`",
        embed.display()
    );
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "site/news.html", "the news");
    let nginx = Nginx::start(&dir.path().join("site"), false);
    let people = People::around(&nginx);
    let run = Run::of(
        Command::new(embed)
            .current_dir(dir.path())
            .arg(&people.invite)
            .arg(format!("https://{HOST}/news.html")),
    );
    let run = run.ok();
    assert_eq!(run.out, "the news");
    assert_eq!(run.err, "200 OK by injector, true by injector \"Newsroom\"\n");
}
