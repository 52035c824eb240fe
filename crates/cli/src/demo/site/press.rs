//! Prints the newspaper: chooses headlines and sentences, lays out pages and links them, so that
//! every page is reached from the front page. Pages are plain HTML with one style sheet and one
//! small script, and read well without either.

use std::fmt::Write as _;

use super::words::{Both, COMMON, OPENINGS, PEOPLE, PLACES, SECTIONS, Section};
use super::{Dice, Site, content_type, day, film, picture};

/// Articles of one section, in each language.
const ARTICLES: usize = 26;
const PICTURES: usize = 36;
/// 14 May 2026, noon: the day of the edition.
const EDITION: u64 = 1_778_760_000;

const STYLE: &str = include_str!("press.css");
const SCRIPT: &str = include_str!("press.js");

/// Puts all pages of the edition into the site.
pub(super) fn print(seed: u64, site: &mut Site) {
    let mut dice = Dice(seed);
    let edition = Edition::write(&mut dice);
    for tongue in [Tongue::En, Tongue::Be] {
        page(site, &tongue.front(), &edition.front(tongue), EDITION);
        page(site, &film_path(tongue), &edition.film(tongue), EDITION);
        page(site, &about_path(tongue), &edition.about(tongue), EDITION);
        for section in 0..SECTIONS.len() {
            let html = edition.section(tongue, section);
            page(site, &section_path(tongue, section), &html, EDITION);
        }
        for at in 0..edition.articles.len() {
            let html = edition.article(tongue, at);
            page(site, &edition.path(tongue, at), &html, edition.articles[at].at);
        }
    }
    page(site, "/", &edition.gate(), EDITION);
    asset(site, "/style.css", STYLE.into());
    asset(site, "/script.js", SCRIPT.into());
    asset(site, "/pictures/logo.svg", picture::LOGO.into());
    for section in 0..SECTIONS.len() {
        asset(site, &emblem_path(section), picture::emblem(section).into());
    }
    for number in 0..PICTURES {
        let drawn = picture::landscape(dice.next());
        asset(site, &picture_path(number), drawn);
    }
    asset(site, "/media/valley.mp4", film::film(dice.next()));
}

fn page(site: &mut Site, path: &str, html: &str, at: u64) {
    site.add(path, content_type("page.html"), html.into(), at);
}

fn asset(site: &mut Site, path: &str, body: Vec<u8>) {
    site.add(path, content_type(path), body, EDITION - 30 * day::DAY);
}

#[derive(Clone, Copy, PartialEq)]
enum Tongue {
    En,
    Be,
}

impl Tongue {
    fn code(self) -> &'static str {
        self.of(&Both { en: "en", be: "be" })
    }

    fn other(self) -> Self {
        match self {
            Self::En => Self::Be,
            Self::Be => Self::En,
        }
    }

    fn of(self, text: &Both) -> &'static str {
        match self {
            Self::En => text.en,
            Self::Be => text.be,
        }
    }

    fn say(self, en: &'static str, be: &'static str) -> &'static str {
        self.of(&Both { en, be })
    }

    fn title(self) -> &'static str {
        self.say("The Valley Courier", "Кур'ер даліны")
    }

    fn date(self, at: u64) -> String {
        match self {
            Self::En => day::english(at),
            Self::Be => day::belarusian(at),
        }
    }

    fn front(self) -> String {
        format!("/{}/", self.code())
    }
}

fn section_path(tongue: Tongue, section: usize) -> String {
    format!("/{}/{}/", tongue.code(), SECTIONS[section].slug)
}

fn film_path(tongue: Tongue) -> String {
    format!("/{}/film.html", tongue.code())
}

fn about_path(tongue: Tongue) -> String {
    format!("/{}/about.html", tongue.code())
}

fn emblem_path(section: usize) -> String {
    format!("/pictures/{}.svg", SECTIONS[section].slug)
}

fn picture_path(number: usize) -> String {
    format!("/pictures/{:02}.png", number + 1)
}

/// What an article says, in no language yet.
struct Article {
    section: usize,
    headline: usize,
    place: usize,
    author: usize,
    opening: usize,
    /// Four paragraphs, each of one detail and some common sentences.
    paragraphs: Vec<(usize, Vec<usize>)>,
    tens: usize,
    hundreds: usize,
    witness: usize,
    picture: usize,
    at: u64,
}

impl Article {
    fn section(&self) -> &'static Section {
        &SECTIONS[self.section]
    }

    fn title(&self, tongue: Tongue) -> String {
        self.fill(tongue, &self.section().headlines[self.headline], 0)
    }

    /// Fills a text's slots. `turn` makes numbers and people differ within an article.
    fn fill(&self, tongue: Tongue, text: &Both, turn: usize) -> String {
        let place = &PLACES[self.place];
        let who = &PEOPLE[(self.witness + turn) % PEOPLE.len()];
        let tens = 15 + (self.tens + turn * 3) % 17 * 5;
        let hundreds = 110 + (self.hundreds + turn * 5) % 38 * 10;
        tongue
            .of(text)
            .replace("{p}", place.en)
            .replace("{loc}", place.loc)
            .replace("{gen}", place.gen_)
            .replace("{who}", tongue.of(who))
            .replace("{n}", &tens.to_string())
            .replace("{m}", &hundreds.to_string())
    }
}

/// All articles, section by section, each section's newest first.
struct Edition {
    articles: Vec<Article>,
}

impl Edition {
    fn write(dice: &mut Dice) -> Self {
        let mut articles = Vec::with_capacity(SECTIONS.len() * ARTICLES);
        for (section, it) in SECTIONS.iter().enumerate() {
            let mut subjects: Vec<(usize, usize)> = (0..it.headlines.len())
                .flat_map(|h| (0..PLACES.len()).map(move |p| (h, p)))
                .collect();
            dice.shuffle(&mut subjects);
            for (number, (headline, place)) in subjects.into_iter().take(ARTICLES).enumerate() {
                let hours = number as u64 * 9 + dice.below(6) as u64;
                articles.push(Article {
                    section,
                    headline,
                    place,
                    author: dice.below(PEOPLE.len()),
                    opening: dice.below(OPENINGS.len()),
                    paragraphs: paragraphs(dice, it.details.len()),
                    tens: dice.below(17),
                    hundreds: dice.below(38),
                    witness: dice.below(PEOPLE.len()),
                    picture: dice.below(PICTURES),
                    at: EDITION - hours * 3600,
                });
            }
        }
        // Every picture is used, whatever the dice said.
        for (number, article) in articles.iter_mut().take(PICTURES).enumerate() {
            article.picture = number;
        }
        Self { articles }
    }

    fn path(&self, tongue: Tongue, at: usize) -> String {
        let number = at % ARTICLES + 1;
        let section = self.articles[at].section;
        format!("{}{number:02}.html", section_path(tongue, section))
    }

    fn of_section(section: usize) -> std::ops::Range<usize> {
        section * ARTICLES..(section + 1) * ARTICLES
    }

    /// The page at `/`, for who has not said which language they read.
    fn gate(&self) -> String {
        let mut body = String::from("<main class=\"gate\">\n");
        for tongue in [Tongue::Be, Tongue::En] {
            write_to(
                &mut body,
                format_args!(
                    "<section lang=\"{}\"><h1><a href=\"{}\">{}</a></h1>\n",
                    tongue.code(),
                    tongue.front(),
                    tongue.title()
                ),
            );
            for section in 0..SECTIONS.len() {
                let first = section * ARTICLES;
                body.push_str(&self.card(tongue, first, false));
            }
            body.push_str("</section>\n");
        }
        body.push_str("</main>\n");
        let title = format!("{} · {}", Tongue::Be.title(), Tongue::En.title());
        document(Tongue::En, &title, &Tongue::Be.front(), &body)
    }

    fn front(&self, tongue: Tongue) -> String {
        let mut body = String::from("<main>\n<div class=\"lead\">\n");
        body.push_str(&self.card(tongue, 0, true));
        write_to(
            &mut body,
            format_args!(
                "<article class=\"card\"><a href=\"{film}\"><img src=\"{still}\" width=\"480\" \
                 height=\"270\" alt=\"\"></a><h3><a href=\"{film}\">{title}</a></h3></article>\n</div>\n",
                film = film_path(tongue),
                still = picture_path(3),
                title = tongue.say("Film: a day over the valley", "Фільм: дзень над далінай"),
            ),
        );
        for (section, it) in SECTIONS.iter().enumerate() {
            write_to(
                &mut body,
                format_args!(
                    "<section><h2><img src=\"{}\" width=\"28\" height=\"28\" alt=\"\"> \
                     <a href=\"{}\">{}</a></h2>\n<div class=\"grid\">\n",
                    emblem_path(section),
                    section_path(tongue, section),
                    tongue.of(&it.name)
                ),
            );
            // The lead story stands above already.
            let skip = usize::from(section == 0);
            for at in Self::of_section(section).skip(skip).take(4) {
                body.push_str(&self.card(tongue, at, true));
            }
            body.push_str("</div></section>\n");
        }
        body.push_str("</main>\n");
        document(tongue, tongue.title(), &tongue.other().front(), &body)
    }

    fn section(&self, tongue: Tongue, section: usize) -> String {
        let name = tongue.of(&SECTIONS[section].name);
        let mut body = format!("<main>\n<h1>{name}</h1>\n<div class=\"grid\">\n");
        for at in Self::of_section(section) {
            body.push_str(&self.card(tongue, at, true));
        }
        body.push_str("</div>\n</main>\n");
        let title = format!("{name} · {}", tongue.title());
        document(tongue, &title, &section_path(tongue.other(), section), &body)
    }

    fn article(&self, tongue: Tongue, at: usize) -> String {
        let article = &self.articles[at];
        let section = article.section();
        let title = article.title(tongue);
        let mut body = String::from("<main class=\"story\">\n<article>\n");
        write_to(
            &mut body,
            format_args!(
                "<p class=\"kicker\"><a href=\"{}\">{}</a></p>\n<h1>{title}</h1>\n\
                 <p class=\"by\">{} · <time datetime=\"{}\">{}</time></p>\n\
                 <figure><img src=\"{}\" width=\"480\" height=\"270\" alt=\"\">\
                 <figcaption>{}</figcaption></figure>\n<p class=\"first\">{} ",
                section_path(tongue, article.section),
                tongue.of(&section.name),
                tongue.of(&PEOPLE[article.author]),
                day::iso(article.at),
                tongue.date(article.at),
                picture_path(article.picture),
                tongue.say("Drawing: the editors", "Малюнак рэдакцыі"),
                article.fill(tongue, &OPENINGS[article.opening], 0),
            ),
        );
        let mut turn = 0;
        for (number, (detail, common)) in article.paragraphs.iter().enumerate() {
            if number > 0 {
                body.push_str("<p>");
            }
            body.push_str(&article.fill(tongue, &section.details[*detail], turn));
            for sentence in common {
                turn += 1;
                body.push(' ');
                body.push_str(&article.fill(tongue, &COMMON[*sentence], turn));
            }
            body.push_str("</p>\n");
        }
        body.push_str("</article>\n");
        body.push_str(&self.ways_on(tongue, at));
        body.push_str("</main>\n");
        let title = format!("{title} · {} · {}", tongue.of(&section.name), tongue.title());
        document(tongue, &title, &self.path(tongue.other(), at), &body)
    }

    /// The neighbours in the section, and what else may interest.
    fn ways_on(&self, tongue: Tongue, at: usize) -> String {
        let all = Self::of_section(self.articles[at].section);
        let before = if at == all.start { all.end - 1 } else { at - 1 };
        let after = if at + 1 == all.end { all.start } else { at + 1 };
        let mut out = String::from("<nav class=\"turn\">");
        let words = tongue.say("Newer|Older", "Навейшае|Старэйшае");
        for (word, (to, rel)) in words.split('|').zip([(before, "prev"), (after, "next")]) {
            write_to(
                &mut out,
                format_args!(
                    "<a rel=\"{rel}\" href=\"{}\"><small>{word}</small> {}</a>",
                    self.path(tongue, to),
                    self.articles[to].title(tongue)
                ),
            );
        }
        write_to(
            &mut out,
            format_args!(
                "</nav>\n<aside><h2>{}</h2><div class=\"grid\">\n",
                tongue.say("Read also", "Чытайце таксама")
            ),
        );
        for step in 1..=4 {
            let other = (at + step * (ARTICLES + 3)) % self.articles.len();
            out.push_str(&self.card(tongue, other, true));
        }
        out.push_str("</div></aside>\n");
        out
    }

    /// A link to an article, with its picture if asked.
    fn card(&self, tongue: Tongue, at: usize, pictured: bool) -> String {
        let article = &self.articles[at];
        let path = self.path(tongue, at);
        let mut out = String::from("<article class=\"card\">");
        if pictured {
            write_to(
                &mut out,
                format_args!(
                    "<a href=\"{path}\"><img src=\"{}\" width=\"480\" height=\"270\" \
                     loading=\"lazy\" alt=\"\"></a>",
                    picture_path(article.picture)
                ),
            );
        }
        write_to(
            &mut out,
            format_args!(
                "<h3><a href=\"{path}\">{}</a></h3><p>{}</p><time datetime=\"{}\">{}</time></article>\n",
                article.title(tongue),
                article.fill(tongue, &OPENINGS[article.opening], 0),
                day::iso(article.at),
                tongue.date(article.at),
            ),
        );
        out
    }

    fn film(&self, tongue: Tongue) -> String {
        let title = tongue.say("Film: a day over the valley", "Фільм: дзень над далінай");
        let text = tongue.say(
            "A stork crosses the valley while the day goes by. Drawn frame by frame, without sound.",
            "Бусел ляціць над далінай, пакуль мінае дзень. Намалявана кадр за кадрам, без гуку.",
        );
        let body = format!(
            "<main class=\"story\">\n<h1>{title}</h1>\n<video src=\"/media/valley.mp4\" poster=\"{}\" \
             width=\"640\" height=\"384\" controls loop muted playsinline></video>\n<p>{text} \
             <a href=\"/media/valley.mp4\">MP4</a></p>\n</main>\n",
            picture_path(3)
        );
        let title = format!("{title} · {}", tongue.title());
        document(tongue, &title, &film_path(tongue.other()), &body)
    }

    fn about(&self, tongue: Tongue) -> String {
        let title = tongue.say("About this newspaper", "Пра газету");
        let text = tongue.say(
            "This newspaper is invented. Its places, people and events do not exist: it was made \
             by the demonstration of Busel, to have something to read that can be blocked.",
            "Гэтая газета прыдуманая. Яе мясцін, людзей і падзей не існуе: яе зрабіла праграма \
             Busel для паказу, каб было што чытаць і што блакаваць.",
        );
        let count = self.articles.len();
        let tally = tongue.say("Articles in this edition:", "Артыкулаў у выпуску:");
        let body = format!(
            "<main class=\"story\">\n<h1>{title}</h1>\n<p class=\"first\">{text}</p>\n\
             <p>{tally} {count}.</p>\n</main>\n"
        );
        let title = format!("{title} · {}", tongue.title());
        document(tongue, &title, &about_path(tongue.other()), &body)
    }
}

/// Deals details and common sentences out, none twice.
fn paragraphs(dice: &mut Dice, details: usize) -> Vec<(usize, Vec<usize>)> {
    let mut first: Vec<usize> = (0..details).collect();
    let mut common: Vec<usize> = (0..COMMON.len()).collect();
    dice.shuffle(&mut first);
    dice.shuffle(&mut common);
    let mut common = common.into_iter();
    let deal = |detail| {
        let count = 2 + dice.below(3);
        (detail, common.by_ref().take(count).collect())
    };
    first.into_iter().map(deal).collect()
}

/// A whole page: head, masthead, sections, the body and a foot. `other` is the same page in the
/// other language.
fn document(tongue: Tongue, title: &str, other: &str, body: &str) -> String {
    let mut sections = String::new();
    for (number, section) in SECTIONS.iter().enumerate() {
        write_to(
            &mut sections,
            format_args!(
                "<a href=\"{}\">{}</a>\n",
                section_path(tongue, number),
                tongue.of(&section.name)
            ),
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"{code}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"icon\" href=\"/pictures/logo.svg\">\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n<script src=\"/script.js\" defer></script>\n\
         </head>\n<body>\n<header>\n<p class=\"dateline\">{date} · <a href=\"{other}\" \
         hreflang=\"{other_code}\">{switch}</a></p>\n<p class=\"masthead\"><a href=\"{front}\">\
         <img src=\"/pictures/logo.svg\" width=\"72\" height=\"48\" alt=\"\"> {name}</a></p>\n\
         <nav>\n{sections}<a href=\"{film}\">{film_word}</a>\n</nav>\n</header>\n{body}\
         <footer><a href=\"{about}\">{about_word}</a> · <a href=\"/\">{all}</a></footer>\n\
         </body>\n</html>\n",
        code = tongue.code(),
        date = tongue.date(EDITION),
        other_code = tongue.other().code(),
        switch = tongue.say("Па-беларуску", "In English"),
        front = tongue.front(),
        name = tongue.title(),
        film = film_path(tongue),
        film_word = tongue.say("Film", "Фільм"),
        about = about_path(tongue),
        about_word = tongue.say("About this newspaper", "Пра газету"),
        all = tongue.say("All editions", "Усе выданні"),
    )
}

fn write_to(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a string does not fail");
}
