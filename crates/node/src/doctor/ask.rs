//! What the doctor is asked, and its report, in forms that every face can show.

use std::time::Duration;

use busel_proto::doctor::{Diagnosis, Verdict};
use busel_proto::page::PageUrl;
use busel_proto::sites::SiteList;
use serde::{Deserialize, Serialize};

/// So many entries of the site list are examined where nothing was named.
const FROM_LIST: usize = 3;

/// What to examine.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// These pages; if there are none, the first of the site list.
    pub urls: Vec<PageUrl>,
    /// These too, for comparison: by the person's word they are in the home country.
    pub home: Vec<PageUrl>,
    /// Ask guarded sites too, though the provider sees that they are asked for.
    pub guarded: bool,
}

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is about: a site, or the line.
    pub about: String,
    /// What is done.
    pub doing: String,
}

/// What the doctor found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The line as a whole.
    pub line: Told,
    /// Each site.
    pub sites: Vec<Told>,
    /// How long it took.
    pub seconds: f64,
}

/// A diagnosis in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What was examined.
    pub subject: String,
    /// The name of the verdict, for programs.
    pub verdict: String,
    /// Names of what else is at work.
    pub also: Vec<String>,
    /// The verdict in words.
    pub says: String,
    /// What was seen.
    pub evidence: Vec<String>,
    /// What can be done.
    pub advice: String,
}

impl Told {
    pub(super) fn new(subject: &str, diagnosis: &Diagnosis) -> Self {
        let verdict = diagnosis.verdict();
        let also = diagnosis.found.iter().skip(1);
        Self {
            subject: subject.to_owned(),
            verdict: verdict.name().to_owned(),
            also: also.map(|verdict| verdict.name().to_owned()).collect(),
            says: verdict.says().to_owned(),
            evidence: diagnosis.evidence.clone(),
            advice: verdict.advice().to_owned(),
        }
    }

    /// Whether this is the verdict, or among what else is at work.
    pub fn is(&self, verdict: Verdict) -> bool {
        self.verdict == verdict.name() || self.also.iter().any(|also| also == verdict.name())
    }
}

impl Report {
    pub(super) fn new(line: Told, sites: Vec<Told>, took: Duration) -> Self {
        Self { line, sites, seconds: took.as_secs_f64() }
    }

    /// The line, then each site.
    pub fn all(&self) -> impl Iterator<Item = &Told> {
        std::iter::once(&self.line).chain(&self.sites)
    }
}

/// The front pages of the first sites on the list; a pattern stands for its base.
pub(super) fn of_site_list(sites: &SiteList) -> Vec<PageUrl> {
    let page = |hosts: &str| {
        let host = hosts.trim_start_matches("*.");
        PageUrl::parse(&format!("https://{host}/")).ok()
    };
    let named = sites.iter().filter(|site| site.hosts.as_str() != "*");
    named.filter_map(|site| page(site.hosts.as_str())).take(FROM_LIST).collect()
}

#[cfg(test)]
mod tests {
    use busel_proto::page::HostPattern;
    use busel_proto::sites::Site;

    use super::*;

    #[test]
    fn the_first_sites_of_the_list_are_examined() {
        let hosts = ["*", "*.a.example", "b.example", "c.example", "d.example"];
        let sites = hosts.map(|hosts| Site::new(HostPattern::parse(hosts).unwrap()));
        let pages = of_site_list(&SiteList::new(sites.into()));
        let pages: Vec<_> = pages.iter().map(PageUrl::as_str).collect();
        assert_eq!(pages, ["https://a.example/", "https://b.example/", "https://c.example/"]);
    }
}
