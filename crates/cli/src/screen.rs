//! What people see: colours where a terminal shows them, errors in one line, sizes and times in
//! human form.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Writes a line to standard output. A closed pipe ends the program quietly, as it should.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a line to standard error.
pub(crate) fn note(text: &str) {
    // If even that fails, there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Reports an error and gives the exit code for it.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    note(&format!("busel: {}", causes(error)));
    ExitCode::FAILURE
}

/// An error and its causes; some errors name their cause themselves, and then it is said once.
fn causes(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.ends_with(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// Starts to log to standard error, by this filter.
pub(crate) fn log(filter: &str) {
    let filter = tracing_subscriber::EnvFilter::try_new(directives(filter));
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(directives("error")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(Style::of(&std::io::stderr()).on)
        .with_writer(std::io::stderr)
        .init();
}

/// Below `debug` only our own lines are shown, which name nobody: those of the libraries may.
fn directives(filter: &str) -> String {
    match filter.trim().to_ascii_lowercase().as_str() {
        level @ ("error" | "warn" | "info") => format!("busel={level}"),
        // This library would name the door's password.
        _ => format!("{filter},fast_socks5=off"),
    }
}

/// Styles, empty where they would only be noise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    on: bool,
}

impl Style {
    /// For standard output.
    pub(crate) fn of_stdout() -> Self {
        Self::of(&std::io::stdout())
    }

    fn of(out: &impl IsTerminal) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Self { on: out.is_terminal() && !plain }
    }

    /// Whether a line may be drawn over.
    pub(crate) fn is_live(self) -> bool {
        self.on
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(crate) fn name(self, text: &str) -> String {
        self.paint("36", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Milliseconds below ten seconds, else seconds.
pub(crate) fn time(took: Duration) -> String {
    match took.as_secs_f64() {
        s if s < 0.01 => format!("{:.1} ms", s * 1000.0),
        s if s < 10.0 => format!("{:.0} ms", s * 1000.0),
        s => format!("{s:.0} s"),
    }
}

/// How old something is.
pub(crate) fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Bytes in binary units.
pub(crate) fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let n = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", n / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n / 1_048_576.0),
        _ => format!("{:.1} GiB", n / 1_073_741_824.0),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[derive(Debug)]
    struct Named(std::io::Error);

    impl std::fmt::Display for Named {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "the store can't be opened: {}", self.0)
        }
    }

    impl std::error::Error for Named {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_cause_is_said_once() {
        let full = || std::io::Error::other("disk full");
        let named = anyhow::Error::from(Named(full())).context("at the start");
        assert_eq!(causes(&named), "at the start: the store can't be opened: disk full");
        let plain = Err::<(), _>(full()).context("a.txt").unwrap_err();
        assert_eq!(causes(&plain), "a.txt: disk full");
    }
}
