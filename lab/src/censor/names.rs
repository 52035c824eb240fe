//! A list of sites that a policy looks for: a name on it stands for all names below it too. It knows
//! no patterns; real lists have them, and nothing here needs them.

use std::collections::BTreeSet;

/// Names of sites.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// A list of these.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(str::to_ascii_lowercase).collect())
    }

    /// Whether a name, or one above it, is on the list.
    pub fn has(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let mut rest = name.as_str();
        loop {
            if self.0.contains(rest) {
                return true;
            }
            match rest.split_once('.') {
                Some((_, above)) => rest = above,
                None => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_those_below_it() {
        let names = Names::new(["News.example"]);
        assert!(names.has("news.example") && names.has("www.NEWS.example."));
        assert!(!names.has("badnews.example") && !names.has("example"));
    }
}
