//! What a page under the [`Gateway`] may load: the policy (Content Security Policy Level 3) that keeps it from
//! asking anything outside, and its site's own, as far as that can be said here.

use super::Gateway;

/// Of these nothing is kept: they would tell outsiders, or mean nothing here.
const DROPPED: [&str; 10] = [
    "block-all-mixed-content",
    "plugin-types",
    "referrer",
    "reflected-xss",
    "report-to",
    "report-uri",
    "require-sri-for",
    "require-trusted-types-for",
    "trusted-types",
    "upgrade-insecure-requests",
];
/// By these a browser decides whether a script element is run.
const SCRIPTS: [&str; 3] = ["default-src", "script-src", "script-src-elem"];

/// Nothing but what is here, whatever the site allows. A browser heeds this beside the site's own policy.
pub fn closed(gateway: Gateway) -> String {
    let Gateway { port } = gateway;
    let here = format!("http://*.localhost:{port}");
    format!(
        "default-src {here} data: blob: 'unsafe-inline' 'unsafe-eval'; \
         connect-src {here} ws://*.localhost:{port} data: blob:; object-src 'none'; base-uri {here}; \
         form-action {here}; frame-ancestors {here}; webrtc 'block'"
    )
}

/// Nothing but the node's own style, and a form that leads to a site here.
pub fn form(gateway: Gateway) -> String {
    let Gateway { port } = gateway;
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'; \
         form-action 'self' http://*.localhost:{port}"
    )
}

/// A site's policy as it is said here: of its sources those on the net become all that is here, since what pages
/// name by patterns of hosts has no such pattern here; hashes, nonces and keywords stay. `script` is the node's own
/// script that is to run beside the site's: its address and nonce.
pub fn mapped(gateway: Gateway, policies: &str, script: Option<(&str, &str)>) -> String {
    let policies = policies.split(',').map(|policy| one(gateway, policy, script));
    policies.filter(|policy| !policy.is_empty()).collect::<Vec<_>>().join(", ")
}

fn one(gateway: Gateway, policy: &str, script: Option<(&str, &str)>) -> String {
    let directives = policy.split(';').filter_map(|directive| {
        let mut words = directive.split_ascii_whitespace();
        let name = words.next()?.to_ascii_lowercase();
        if DROPPED.contains(&name.as_str()) {
            return None;
        }
        if name == "sandbox" {
            return Some(directive.trim().to_owned());
        }
        let mut sources = Vec::new();
        for source in words.flat_map(|word| source(gateway, word)) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        if let Some((address, nonce)) = script.filter(|_| SCRIPTS.contains(&name.as_str())) {
            sources.retain(|source| !source.eq_ignore_ascii_case("'none'"));
            sources.push(address.to_owned());
            // A nonce switches off what is inline, so it comes only where addresses count for nothing.
            if sources.iter().any(|source| source.eq_ignore_ascii_case("'strict-dynamic'")) {
                sources.push(format!("'nonce-{nonce}'"));
            }
        }
        Some(format!("{name} {}", sources.join(" ")).trim_end().to_owned())
    });
    directives.collect::<Vec<_>>().join("; ")
}

/// The sources here for one of the net.
fn source(gateway: Gateway, word: &str) -> Vec<String> {
    let Gateway { port } = gateway;
    let on_the_net = ["http:", "https:", "ws:", "wss:"];
    let scheme =
        word.ends_with(':') && !on_the_net.iter().any(|net| word.eq_ignore_ascii_case(net));
    if word.starts_with('\'') || scheme {
        return vec![word.to_owned()];
    }
    vec![format!("http://*.localhost:{port}"), format!("ws://*.localhost:{port}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "http://*.localhost:8118 ws://*.localhost:8118";

    fn map(policy: &str, script: Option<(&str, &str)>) -> String {
        mapped(Gateway::at(8118), policy, script)
    }

    #[test]
    fn sources_on_the_net_become_those_here() {
        let policy = "default-src 'self' https://cdn.example *.example wss:; img-src * data:; \
                      upgrade-insecure-requests; report-uri https://spy.example/; sandbox allow-scripts";
        let expected =
            format!("default-src 'self' {HERE}; img-src {HERE} data:; sandbox allow-scripts");
        assert_eq!(map(policy, None), expected);
        assert_eq!(map("report-to x, img-src 'none', ;", None), "img-src 'none'");
    }

    #[test]
    fn the_own_script_runs_under_any_policy() {
        let script = Some(("http://here/x", "abc"));
        assert_eq!(map("script-src 'none'", script), "script-src http://here/x");
        assert_eq!(
            map("script-src 'strict-dynamic' 'nonce-q'", script),
            "script-src 'strict-dynamic' 'nonce-q' http://here/x 'nonce-abc'"
        );
        assert_eq!(
            map("default-src 'unsafe-inline'; img-src 'self'", script),
            "default-src 'unsafe-inline' http://here/x; img-src 'self'"
        );
    }
}
