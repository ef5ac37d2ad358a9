//! `chaos accept`: the acceptance criteria of the customer's documents against any installation, by devices and tokens of its own. It changes
//! no setting, touches no device but its own, and removes what it made.

mod deploy;
mod site;
mod system;
mod visit;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use crate::duration;
use crate::identity::Credentials;
use crate::signals::{Stop, unless_stopped};
use crate::verdict::Outcome;
use deploy::Rollout;
use site::Site;
use visit::{NotAllowed, Visit};

/// Arguments of `chaos accept`.
#[derive(Debug, Clone, Args)]
pub struct AcceptArgs {
    /// Address of the installation: http[s]://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    pub server: String,
    /// API token, or NAME:PASSWORD of somebody who may enroll devices, command them and deploy to them
    #[arg(long, value_name = "TOKEN", env = "NEXMDM_TOKEN", hide_env_values = true)]
    pub token: Credentials,
    /// Time within which each request has to be answered
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub timeout: Duration,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What was seen of a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "seen", rename_all = "snake_case")]
pub enum Seen {
    /// It holds.
    Pass(String),
    /// It does not.
    Fail(String),
    /// It cannot be told of this installation, or with this token.
    NotChecked(String),
}

impl Seen {
    /// What was seen, and whether that is as it should be.
    fn of(holds: bool, words: String) -> Result<Self> {
        Ok(if holds { Self::Pass(words) } else { Self::Fail(words) })
    }

    /// What a request that was not answered as it should be shows.
    fn of_error(error: &anyhow::Error) -> Self {
        let words = format!("{error:#}");
        if error.is::<NotAllowed>() { Self::NotChecked(words) } else { Self::Fail(words) }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "FAIL",
            Self::NotChecked(_) => "not checked",
        }
    }

    fn text(&self) -> &str {
        let (Self::Pass(text) | Self::Fail(text) | Self::NotChecked(text)) = self;
        text
    }
}

/// Criterion with what was seen of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Criterion {
    /// What the documents demand.
    pub demanded: &'static str,
    /// What was seen.
    #[serde(flatten)]
    pub seen: Seen,
}

/// All criteria, and what could not be removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Acceptance {
    /// Criteria in the order of the documents.
    pub criteria: Vec<Criterion>,
    /// Devices, tokens and deployments that are left.
    pub left: Vec<String>,
}

impl Acceptance {
    /// What it comes to: a criterion that could not be checked does not fail it.
    pub fn outcome(&self) -> Outcome {
        let any = |what: fn(&Seen) -> bool| self.criteria.iter().any(|criterion| what(&criterion.seen));
        match (any(|seen| matches!(seen, Seen::Fail(_))), any(|seen| matches!(seen, Seen::Pass(_)))) {
            (true, _) => Outcome::Failed,
            (false, true) => Outcome::Passed,
            (false, false) => Outcome::NotRun,
        }
    }

    fn add(&mut self, demanded: &'static str, seen: Result<Seen>, print: bool) {
        let seen = seen.unwrap_or_else(|error| Seen::of_error(&error));
        if print {
            println!("{:<12} {demanded}\n             {}", seen.word(), seen.text());
        }
        self.criteria.push(Criterion { demanded, seen });
    }
}

/// Checks an installation and prints what was seen.
///
/// # Errors
/// The installation cannot be reached, or the credentials are refused.
pub async fn run(args: AcceptArgs, stop: Stop) -> Result<Outcome> {
    let acceptance = accept(&args, &stop, !args.json).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&acceptance)?);
    } else {
        let count = |what: fn(&Seen) -> bool| acceptance.criteria.iter().filter(|criterion| what(&criterion.seen)).count();
        println!(
            "\n{} pass, {} fail, {} not checked",
            count(|seen| matches!(seen, Seen::Pass(_))),
            count(|seen| matches!(seen, Seen::Fail(_))),
            count(|seen| matches!(seen, Seen::NotChecked(_)))
        );
        acceptance.left.iter().for_each(|left| println!("could not be removed: {left}"));
    }
    Ok(acceptance.outcome())
}

/// Checks an installation; `print`: as it goes on.
///
/// # Errors
/// The installation cannot be reached, or the credentials are refused.
pub async fn accept(args: &AcceptArgs, stop: &Stop, print: bool) -> Result<Acceptance> {
    let site = Site::new(&args.server, args.timeout)?;
    let ready = site.call(Method::GET, "/readyz", None, None).await.with_context(|| format!("{} cannot be reached", site.url()))?;
    anyhow::ensure!(ready.status == 200, "{} is not ready: {}", site.url(), ready.detail());
    let bearer = sign_in(&site, &args.token).await?;
    let me = site.call(Method::GET, "/v1/me", Some(&bearer), None).await?;
    anyhow::ensure!(me.status == 200, "the token was answered {}", me.detail());
    let mut visit = Visit::new(site, bearer);
    let mut acceptance = Acceptance::default();
    // What was made is removed also when this is interrupted.
    let _ = unless_stopped(stop, Box::pin(criteria(&mut visit, &mut acceptance, print))).await;
    acceptance.left = visit.clean_up().await;
    Ok(acceptance)
}

async fn sign_in(site: &Site, credentials: &Credentials) -> Result<String> {
    match credentials {
        Credentials::AccessToken(token) => Ok(token.clone()),
        Credentials::Password { username, password } => {
            let body = json!({"username": username, "password": password});
            let reply = site.call(Method::POST, "/v1/auth/login", None, Some(&body)).await?;
            anyhow::ensure!(reply.status == 200, "signing in as {username} was answered {}", reply.detail());
            Ok(reply.json()["access_token"].as_str().context("the answer to signing in has no access_token")?.to_owned())
        }
    }
}

/// One criterion after the other; each makes what it needs.
async fn criteria(visit: &mut Visit, acceptance: &mut Acceptance, print: bool) {
    macro_rules! check {
        ($demanded:literal, $check:expr) => {
            let seen = Box::pin($check).await;
            acceptance.add($demanded, seen, print);
        };
    }
    check!("Secure provisioning via single-use tokens", system::single_use_tokens(visit));
    check!("server-generated ADB scripts", system::adb_scripts(visit));
    check!("Real-time heartbeat monitoring, battery/memory tracking", system::telemetry(visit));
    check!("10s deduplication bucketing prevents duplicate writes", system::one_row_per_bucket(visit));
    check!("bcrypt for device tokens: nothing else authenticates", system::credentials(visit));
    check!("JWT (sessions of devices)", system::sessions(visit));
    check!("WebSockets for live device updates and command execution; HMAC signature validation", system::command_over_socket(visit));
    check!("remote command execution, action result tracking", system::command_by_heartbeat(visit));
    check!("Automated alerting for offline devices (>12m), low battery (<15%), and Unity app down", system::alert_limits(visit));
    check!("Discord webhook integration, email notifications", system::discord(visit));
    check!("Prometheus-compatible metrics with latency histograms, connection pool monitoring", system::metrics(visit));
    check!("Devices poll /v1/agent/update; deterministic device cohorting", system::agent_update(visit));
    check!("Daily partitions; automated archival with SHA-256 checksums", system::partitions(visit));
    check!("audit tracking", system::audit(visit));
    check!("predictable performance (p95 <150ms, p99 <300ms)", system::response_times(visit));
    check!("revocation of a device", system::revocation(visit));
    const DEPLOY: [&str; 8] = [
        "\"Dry run\" shows device counts and exclusion reasons without sending installs",
        "Canary required for fleet deployments (cannot set to 0 on fleet)",
        "Starting a deployment creates tasks and begins with canary",
        "Download artifact: signed download_url + sha256, signer",
        "canary health gates the rollout",
        "Devices outside constraints (battery, Wi-Fi, window) show Skipped with reason",
        "rollup counters match per-device table totals",
        "Pause/Resume/Cancel works and is reflected within 10s",
    ];
    let mut rollout = match Box::pin(Rollout::prepare(visit)).await {
        Ok(Ok(rollout)) => rollout,
        Ok(Err(why)) => return DEPLOY.into_iter().for_each(|demanded| acceptance.add(demanded, Ok(Seen::NotChecked(why.clone())), print)),
        Err(error) => {
            let seen = Seen::of_error(&error.context("nothing could be prepared"));
            return DEPLOY.into_iter().for_each(|demanded| acceptance.add(demanded, Ok(seen.clone()), print));
        }
    };
    let [plan, canary, start, artifact, gate, constraints, counters, steering] = DEPLOY;
    let rollout = &mut rollout;
    let seen = [
        (plan, Box::pin(deploy::dry_run(visit, rollout)).await),
        (canary, Box::pin(deploy::canary_of_a_fleet(visit, rollout)).await),
        (start, Box::pin(deploy::canary_first(visit, rollout)).await),
        (artifact, Box::pin(deploy::artifact(visit, rollout)).await),
        (gate, Box::pin(deploy::gate(visit, rollout)).await),
        (constraints, Box::pin(deploy::skipped(visit, rollout)).await),
        (counters, Box::pin(deploy::counters(visit, rollout)).await),
        (steering, Box::pin(deploy::steering(visit, rollout)).await),
    ];
    seen.into_iter().for_each(|(demanded, seen)| acceptance.add(demanded, seen, print));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acceptance(seen: &[Seen]) -> Acceptance {
        let criteria = seen.iter().map(|seen| Criterion { demanded: "x", seen: seen.clone() }).collect();
        Acceptance { criteria, left: Vec::new() }
    }

    #[test]
    fn one_failure_fails_and_what_was_not_checked_does_not() {
        let (pass, fail, not) = (Seen::Pass("a".into()), Seen::Fail("b".into()), Seen::NotChecked("c".into()));
        for (seen, outcome) in [
            (vec![pass.clone(), not.clone()], Outcome::Passed),
            (vec![pass.clone(), fail, not.clone()], Outcome::Failed),
            (vec![not], Outcome::NotRun),
            (Vec::new(), Outcome::NotRun),
        ] {
            assert_eq!(acceptance(&seen).outcome(), outcome, "{seen:?}");
        }
        let json = serde_json::to_value(acceptance(&[pass])).unwrap();
        assert_eq!(json["criteria"][0], json!({"demanded": "x", "outcome": "pass", "seen": "a"}));
    }
}
