//! The news of a site, taken before a cut by one neighbour and after it by another from that one, is
//! there whole with no line at all.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use busel_lab::censor::{Blackout, LanOnly};
use busel_lab::map::Point;
use busel_lab::program::{Busel, Chromium, DOOR, Exposure, Gallery, LISTED, Reader, Stage, Way};
use busel_lab::sandbox::inside;

/// The injector has made its edition within this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Takes the edition, and says what that said.
fn take(busel: &Busel) -> anyhow::Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        match busel.tell(&["get", "--edition", LISTED]) {
            Err(error) if Instant::now() > until => bail!("no edition was to be had: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(500)),
            taken => return taken,
        }
    }
}

#[test]
fn an_edition_that_a_neighbour_has_is_read_whole_with_no_line_at_all() {
    inside(|| {
        let mut stage = Stage::set()?;
        Gallery::open(&stage)?;
        let feed = format!("https://{LISTED}{}", Gallery::FEED);
        stage.network.follow(&stage.scene, &feed)?;
        let neighbour = Reader::start(&stage, "home-a2", Way::Injector, Exposure::Open)?;
        let taken = take(&neighbour.busel)?;
        ensure!(taken.contains("1 pages in 101 files") && taken.contains("0 could not"), "{taken}");

        let house = ["isp-a", "home-a", "home-a2"].map(|name| stage.host(name).addrs());
        stage.at(Point::IspA).only(LanOnly::new(house.concat()));
        let reader = Reader::start(&stage, "home-a", Way::Swarm, Exposure::Open)?;
        reader.busel.until("it hears its neighbour", Busel::hears)?;
        let taken = take(&reader.busel)?;
        ensure!(taken.contains("1 pages in 101 files") && taken.contains("0 could not"), "{taken}");

        drop(neighbour);
        stage.at(Point::IspA).only(Blackout);
        let browser = Chromium::new(stage.host("home-a"), &stage.scene.ca)?;
        let here = format!("{DOOR}/https://{LISTED}{}", Gallery::PAGE);
        Gallery::loaded(&browser.show(&here)?)?;
        // What the page's label is made from, which a browser keeps to itself.
        let fields =
            ["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"];
        let asking = stage.scene.curl("home-a").arg("-L");
        let asking = fields.iter().fold(asking, |asking, field| asking.arg("-H").arg(*field));
        let page = asking.get(&here)?;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        ensure!(page.contains("data-age="), "it does not say how old it is: {page}");
        Ok(())
    });
}
