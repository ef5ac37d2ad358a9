//! `nexmdm doctor`: whether what a node stands on holds, and what to do where it does not. The checks of the configuration are those of every
//! start ([`crate::preflight`]); the rest is reached for. Webhooks and other channels are not called: whoever gets a message there would
//! have to know that it is a try, which is what the Channels page is for.

mod finding;
mod judge;
mod probe;

use std::io::Write;
use std::path::Path;

use anyhow::bail;
use clock::Clock;
use serde::Serialize;

use self::finding::{Finding, Verdict};
use crate::cli::Output;
use crate::config::Config;

/// What is printed for scripts.
#[derive(Serialize)]
struct Report<'a> {
    /// Whether nothing failed.
    ok: bool,
    findings: &'a [Finding],
}

/// Examines, prints and judges.
///
/// # Errors
/// Something failed.
pub(crate) async fn run(file: Option<&Path>, output: Output) -> anyhow::Result<()> {
    let findings = match Config::load(file) {
        Ok(config) => examine(&config).await,
        Err(error) => vec![judge::configuration("configuration", Err(error))],
    };
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Failed).count();
    let mut out = std::io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&Report { ok: failed == 0, findings: &findings })?)?,
        Output::Table => findings.iter().try_for_each(|finding| out.write_all(lines(finding).as_bytes()))?,
    }
    out.flush()?;
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} of {} checks failed", findings.len()),
    }
}

async fn examine(config: &Config) -> Vec<Finding> {
    let mut found = probe::here(config, Clock::system().now());
    found.extend(probe::database(config).await);
    found.extend(probe::archives(config).await);
    found.extend(probe::push(config).await);
    found.extend(probe::mail(config).await);
    found.extend(probe::collector(config).await);
    found
}

/// A finding for people, with what to do in a line of its own.
fn lines(finding: &Finding) -> String {
    let word = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
    };
    let line = format!("{word:<8} {:<26} {}\n", finding.check, finding.found);
    match &finding.remedy {
        Some(remedy) => format!("{line}{:<35} -> {remedy}\n", ""),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_what_to_do_below_what_is_so() {
        assert_eq!(lines(&Finding::ok("clock", "right")), "ok       clock                      right\n");
        let text = lines(&Finding::failed("clock", "wrong", "set it"));
        assert!(text.starts_with("FAILED   clock") && text.lines().nth(1).unwrap().ends_with("-> set it"), "{text}");
    }
}
