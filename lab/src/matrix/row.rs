//! One row: what was measured once, and what was expected.

use serde::{Deserialize, Serialize};

/// A load and how it went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The technique in force.
    pub technique: String,
    /// `curl` or `busel`.
    pub program: String,
    /// What a reader by Busel may use.
    pub way: Option<String>,
    /// How much their node shows of itself.
    pub exposure: Option<String>,
    /// The route by which the page came.
    pub route: Option<String>,
    /// The wire, if other nodes carried it.
    pub wire: Option<String>,
    /// Whether curl was content.
    pub loaded: bool,
    /// Whether exactly the origin's bytes came.
    pub identical: bool,
    /// How long the first byte took.
    pub ttfb_ms: Option<u64>,
    /// How many bytes came.
    pub bytes: usize,
    /// Whether the page was expected to come.
    pub expected: bool,
    /// Why it does not come yet, where it ought to.
    pub gap: Option<String>,
    /// What was said instead of the page.
    pub told: Option<String>,
}

impl Row {
    /// Whether the page came, whole and true, and from elsewhere than the reader's own device.
    pub fn passed(&self) -> bool {
        self.loaded && self.identical && self.route.as_deref().is_some_and(|route| route != "local")
    }

    /// What is wrong with this row, if anything is.
    pub fn surprise(&self) -> Option<String> {
        let what = match (self.expected, self.passed()) {
            _ if self.loaded && !self.identical => "takes something else for the page",
            (true, false) => "does not get past it",
            (false, true) => "gets past it now: change the table of techniques",
            (true, true) | (false, false) => return None,
        };
        let told = self.told.as_deref().unwrap_or_default();
        Some(format!("{}: {} {what}; {told}", self.technique, self.who()))
    }

    /// Who loads.
    pub fn who(&self) -> String {
        let words = [Some(&self.program), self.way.as_ref(), self.exposure.as_ref()];
        words.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(expected: bool, loaded: bool, identical: bool, route: &str) -> Row {
        Row {
            technique: "sni_reset".into(),
            program: "busel".into(),
            way: Some("any".into()),
            exposure: Some("quiet".into()),
            route: Some(route.into()),
            wire: None,
            loaded,
            identical,
            ttfb_ms: None,
            bytes: 0,
            expected,
            gap: None,
            told: None,
        }
    }

    #[test]
    fn what_does_otherwise_is_a_surprise() {
        assert_eq!(row(true, true, true, "swarm").surprise(), None);
        assert_eq!(row(false, false, false, "").surprise(), None);
        for (expected, loaded, identical, route, word) in [
            (true, true, true, "local", "does not get past"),
            (true, false, false, "", "does not get past"),
            (false, true, true, "injector", "gets past it now"),
            (false, true, false, "direct", "something else"),
            (true, true, false, "direct", "something else"),
        ] {
            let surprise = row(expected, loaded, identical, route).surprise().expect("one");
            assert!(surprise.starts_with("sni_reset: busel any quiet"), "{surprise}");
            assert!(surprise.contains(word), "{surprise}");
        }
    }
}
