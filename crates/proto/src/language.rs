//! In which language a page is asked for whose site has it in several.
//!
//! A site that chooses by `Accept-Language` says so (`Vary`). Of such a page there is a copy for each
//! language, asked for in one form for all who read it: who asks is told by one language of a few,
//! not by the list that a browser sends. Of all other pages there is one copy.

use http::header::{self, HeaderMap, HeaderValue};

use crate::page::Variant;

/// The languages in which copies are made: those of the readers that Busel is for, and those that are
/// read by most beside.
const LANGUAGES: [&str; 24] = [
    "ar", "az", "be", "de", "en", "es", "et", "fa", "fr", "hy", "it", "ka", "kk", "ky", "lt", "lv",
    "pl", "pt", "ro", "ru", "tr", "uk", "uz", "zh",
];

/// The language that a program wants most, if copies are made in it.
pub fn wanted(asked: &HeaderMap) -> Option<Variant> {
    let lines = asked.get_all(header::ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
    let mut best: Option<(&str, f32)> = None;
    for item in lines.flat_map(|line| line.split(',')) {
        let (range, weight) = weighed(item);
        if weight > best.map_or(0.0, |(_, weight)| weight) {
            best = Some((range, weight));
        }
    }
    let main = best?.0.split('-').next()?.to_ascii_lowercase();
    let language = LANGUAGES.iter().find(|language| **language == main)?;
    Variant::parse(language)
}

/// A language range and its weight (RFC 9110 §12.5.4); one that makes no sense weighs nothing.
fn weighed(item: &str) -> (&str, f32) {
    let (range, parameter) = item.split_once(';').unwrap_or((item, "q=1"));
    let weight = parameter.trim().strip_prefix("q=").and_then(|weight| weight.parse().ok());
    (range.trim(), weight.filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(0.0))
}

/// How a page is asked for in this form; `None` if there is no such form.
pub fn accepted(variant: &Variant) -> Option<HeaderValue> {
    let language = LANGUAGES.iter().find(|language| **language == variant.as_str())?;
    Some(HeaderValue::from_static(language))
}

/// Whether the site has this page in several languages.
pub fn varies(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let mut names = lines.flat_map(|line| line.split(','));
    names.any(|name| name.trim().eq_ignore_ascii_case("accept-language"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(text: &str) -> Option<String> {
        let mut asked = HeaderMap::new();
        asked.insert(header::ACCEPT_LANGUAGE, text.parse().unwrap());
        wanted(&asked).map(|variant| variant.as_str().to_owned())
    }

    #[test]
    fn the_most_wanted_language_is_one_of_a_few() {
        assert_eq!(most("be-BY,be;q=0.9,ru;q=0.8").as_deref(), Some("be"));
        assert_eq!(most("en;q=0.5, RU").as_deref(), Some("ru"));
        assert_eq!(most("uk;q=0.7,pl;q=0.7").as_deref(), Some("uk"));
        for none in ["", "*", "tlh", "be;q=0", "be;q=2", "be;q=x", "be;v=1", "xx-be,be;q=0.1"] {
            assert_eq!(most(none), None, "{none}");
        }
        assert_eq!(wanted(&HeaderMap::new()), None);
    }

    #[test]
    fn each_has_one_form() {
        for language in LANGUAGES {
            let variant = Variant::parse(language).expect("a variant");
            assert_eq!(accepted(&variant).expect("a form"), language);
        }
        assert_eq!(accepted(&Variant::default()), None);
        assert_eq!(accepted(&Variant::parse("be-by").unwrap()), None);
    }

    #[test]
    fn a_site_says_whether_it_has_several() {
        let vary = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
            headers.append(header::VARY, HeaderValue::from_static(text));
            varies(&headers)
        };
        assert!(vary("Origin, Accept-Language"));
        assert!(!vary("accept"));
        assert!(!vary("x-accept-language"));
    }
}
