//! Drills: what happens to the devices and nodes, and which messages are expected of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use domain::alert::Rule;
use domain::notification::coordinator_shard;
use hyper::Method;
use serde_json::json;
use tokio::time::sleep;

use super::fleets::Fleets;
use super::messages::{about, copies, until_about, until_settled};
use super::setup::{AlertTimes, DISCORD, MAIL, Sinks, WEBHOOK, alert_env};
use super::{APK, AlertDrill, AlertDrillArgs};
use crate::deployment_api::Api;
use crate::faults::{Fault, Faults};
use crate::harness::{Cluster, ClusterOptions, nexmdm_path};
use crate::model::MONITORED_PACKAGE;
use crate::oracle::{self, Check, History, judge};
use crate::sink::{Arrival, SinkMode};

/// Settings that make hashes cheap, as their cost is not under test.
const CHEAP: [(&str, &str); 2] = [("NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "4"), ("NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST", "4")];
/// Name of the devices that stay.
const STAYING: &str = "staying";
/// Name of the devices that fall silent.
const SILENT: &str = "silent";
/// Time in which nothing more must come.
const WATCHED: Duration = Duration::from_secs(12);
/// Time beyond the configured waits within which a message has to come.
const SLACK: Duration = Duration::from_secs(60);
/// Time within which everything has to be settled in the end.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// Distance of a planted duplicate.
const FAR_LATER_US: i64 = 3_600_000_000;
/// How long a killed node stays away.
const AWAY: Duration = Duration::from_secs(10);

/// A drill under way.
struct Drill {
    cluster: Cluster,
    api: Api,
    faults: Faults,
    sinks: Sinks,
    fleets: Fleets,
    times: AlertTimes,
    staying: usize,
    silent: usize,
}

/// Runs a drill; a description of its outcome, and the check of P9.
pub(super) async fn run_drill(args: &AlertDrillArgs, drill: AlertDrill) -> Result<(String, Check)> {
    let mut running = Drill::begin(args).await?;
    let outcome = async {
        let shown = match drill {
            AlertDrill::Storm => running.storm(false).await?,
            AlertDrill::CoordinatorKilled => running.storm(true).await?,
            AlertDrill::AllKilled => running.all_killed().await?,
            AlertDrill::ChannelDown => running.channel_down().await?,
            AlertDrill::AppDown => running.app_down().await?,
            AlertDrill::CanaryFailure => running.canary_failure().await?,
        };
        anyhow::Ok((shown, running.end().await?))
    };
    let outcome = Box::pin(outcome).await;
    if !matches!(&outcome, Ok((_, check)) if check.violations.is_empty()) {
        for arrival in running.sinks.sinks.arrivals() {
            println!("  {} {:?} {:?} {}", arrival.sink, arrival.kind, arrival.count, arrival.title);
        }
        println!("logs and database stay in {}", running.cluster.folder().display());
        running.cluster.keep_folder();
    }
    outcome
}

impl Drill {
    /// Starts a cluster with its channels.
    async fn begin(args: &AlertDrillArgs) -> Result<Self> {
        let times = AlertTimes::drill();
        let mut options = ClusterOptions::new(args.nexmdm.clone().map_or_else(nexmdm_path, Ok)?, args.nodes);
        options.parent_dir.clone_from(&args.work_dir);
        options.env.extend(alert_env(times));
        for (name, value) in CHEAP {
            options = options.env(name, value);
        }
        let cluster = Cluster::start(options).await?;
        let api = Api::new(cluster.members().iter().map(|member| member.url()).collect(), cluster.admin_password())?;
        let sinks = Sinks::set_up(&api, cluster.services_address()).await?;
        let fleets = Fleets::of(&cluster, &cluster.folder().join("fleets"), args.seed);
        let (silent, staying) = (args.silent, args.devices - args.silent);
        Ok(Self { cluster, api, faults: Faults::new(), sinks, fleets, times, staying, silent })
    }

    /// Starts devices and waits until each is heard.
    async fn start(&mut self, name: &str, devices: usize, more: &[&str]) -> Result<()> {
        let since = self.database_now().await?;
        self.fleets.start(name, devices, more)?;
        self.fleets.until_heard(&self.cluster.psql(), name, devices, &since).await
    }

    async fn database_now(&self) -> Result<String> {
        Ok(self.cluster.psql().run("SELECT statement_timestamp()", &[]).await?.trim().to_owned())
    }

    /// Starts both fleets, and waits until silence means something.
    async fn start_both(&mut self) -> Result<()> {
        let quiet = ["--app-crashes-per-hour", "0"];
        self.start(STAYING, self.staying, &quiet).await?;
        self.start(SILENT, self.silent, &quiet).await?;
        sleep(self.times.settle()).await;
        Ok(())
    }

    /// Kills the node that coordinates, and starts it again later; its name.
    async fn kill_coordinator(&mut self) -> Result<String> {
        let sql =
            format!("SELECT n.name FROM shard s JOIN cluster_node n ON n.node_id = s.owner WHERE s.shard_id = {}", coordinator_shard().0);
        let node = self.cluster.psql().run(&sql, &[]).await?.trim().to_owned();
        ensure!(!node.is_empty(), "no node coordinates");
        let number = self.faults.inject(&mut self.cluster, Fault::Kill { node: node.clone() }).await?;
        sleep(AWAY).await;
        self.faults.heal(&mut self.cluster, number).await?;
        Ok(node)
    }

    /// Waits until the database has alerts about a rule in this state.
    async fn until_rows(&self, rule: Rule, open: bool, least: usize, within: Duration) -> Result<()> {
        let state = if open { "<>" } else { "=" };
        let sql = format!("SELECT count(*) FROM alert WHERE rule = '{}' AND state {state} 'resolved'", rule.as_str());
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let rows: usize = self.cluster.psql().run(&sql, &[]).await?.trim().parse()?;
            if rows >= least {
                return Ok(());
            }
            ensure!(tokio::time::Instant::now() < deadline, "only {rows} of {least} alerts ({}) within {within:?}", rule.as_str());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Longest time from a condition to its message.
    fn notified_within(&self) -> Duration {
        self.times.group_wait + self.times.group_interval + SLACK
    }

    /// Devices fall silent and return.
    async fn storm(&mut self, kills: bool) -> Result<String> {
        let (rule, silent) = (Rule::DeviceOffline, self.silent);
        self.start_both().await?;
        let mut killed = Vec::new();

        self.fleets.stop(SILENT).await?;
        self.until_rows(rule, true, 1, self.times.offline_after + SLACK).await?;
        if kills {
            killed.push(self.kill_coordinator().await?);
        }
        // A lost node inhibits: what it held comes when that is over.
        let held = if kills { self.times.inhibition_tail + SLACK } else { Duration::ZERO };
        let raised = until_about(&self.sinks.sinks, WEBHOOK, "raised", rule, silent, self.notified_within() + held).await?;
        sleep(WATCHED).await;

        self.fleets.start(SILENT, silent, &["--app-crashes-per-hour", "0"])?;
        self.until_rows(rule, false, 1, SLACK).await?;
        if kills {
            killed.push(self.kill_coordinator().await?);
        }
        let resolved = until_about(&self.sinks.sinks, WEBHOOK, "resolved", rule, silent, self.notified_within() + held).await?;
        sleep(WATCHED).await;

        let (raised, resolved) = (self.all_of(raised, "raised", rule)?, self.all_of(resolved, "resolved", rule)?);
        if !kills {
            ensure!(raised.len() == 1, "{} messages that devices are offline, expected one: {}", raised.len(), titles(&raised));
            ensure!(resolved.len() == 1, "{} messages that devices are back, expected one: {}", resolved.len(), titles(&resolved));
        }
        let count = |arrivals: &[Arrival]| arrivals.iter().map(|arrival| arrival.count.unwrap_or_default()).sum::<usize>();
        ensure!(
            count(&raised) == silent && count(&resolved) == silent,
            "{} raises and {} resolves of {silent}",
            count(&raised),
            count(&resolved)
        );
        let after = if killed.is_empty() { String::new() } else { format!("; killed: {}", killed.join(", ")) };
        Ok(format!("{silent} of {} devices: {}; {}{after}", self.staying + silent, titles(&raised), titles(&resolved)))
    }

    /// All messages of a kind about a rule by now, which every sink has to have received as often.
    fn all_of(&self, found: Vec<Arrival>, kind: &str, rule: Rule) -> Result<Vec<Arrival>> {
        let sinks = &self.sinks.sinks;
        let all = about(sinks, WEBHOOK, kind, rule);
        ensure!(all.len() >= found.len(), "messages vanished");
        let accepted: Vec<Arrival> = all.into_iter().filter(Arrival::is_acknowledged).collect();
        let copied = copies(sinks, DISCORD, &accepted);
        ensure!(copied >= accepted.len(), "Discord received {copied} of {} messages ({kind})", accepted.len());
        Ok(accepted)
    }

    /// All nodes die and start again.
    async fn all_killed(&mut self) -> Result<String> {
        self.start_both().await?;
        let before = self.sinks.sinks.arrivals().len();
        let names: Vec<String> = self.cluster.members().iter().map(|member| member.name().to_owned()).collect();
        let mut numbers = Vec::new();
        for node in names {
            numbers.push(self.faults.inject(&mut self.cluster, Fault::Kill { node }).await?);
        }
        // Longer than the limit: when the nodes come back, every device has been silent for too long.
        sleep(self.times.offline_after + AWAY).await;
        for number in numbers {
            self.faults.heal(&mut self.cluster, number).await?;
        }
        sleep(self.times.settle() + self.times.offline_after + self.times.group_wait + WATCHED).await;
        let since = self.sinks.sinks.arrivals().split_off(before);
        let since: Vec<Arrival> = since.into_iter().filter(|arrival| arrival.sink == WEBHOOK).collect();
        let offline: Vec<Arrival> = since.iter().filter(|arrival| arrival.is_about(Rule::DeviceOffline)).cloned().collect();
        ensure!(offline.is_empty(), "a storm after a start: {}", titles(&offline));
        ensure!(since.len() <= 5, "{} messages after a start: {}", since.len(), titles(&since));
        Ok(format!("{} messages after all nodes were killed and started: {}", since.len(), titles(&since)))
    }

    /// A channel fails in several ways while the others go on.
    async fn channel_down(&mut self) -> Result<String> {
        let (rule, silent) = (Rule::DeviceOffline, self.silent);
        self.start_both().await?;
        self.sinks.set_mode(WEBHOOK, SinkMode::Status { status: 500 });
        self.fleets.stop(SILENT).await?;
        self.until_rows(rule, true, 1, self.times.offline_after + SLACK).await?;
        let failed = until_about(&self.sinks.sinks, WEBHOOK, "raised", rule, silent, self.notified_within()).await?;
        // Then it hangs, for longer than an attempt may take, and asks to wait.
        self.sinks.set_mode(WEBHOOK, SinkMode::Hang);
        let others = |running: &Self| copies(&running.sinks.sinks, DISCORD, &failed);
        let deadline = tokio::time::Instant::now() + SLACK;
        while others(self) < failed.len() {
            ensure!(tokio::time::Instant::now() < deadline, "Discord waits for the webhook that is down");
            sleep(Duration::from_millis(100)).await;
        }
        sleep(Duration::from_secs(5)).await;
        self.sinks.set_mode(WEBHOOK, SinkMode::Accept);
        self.sinks.sinks.set_mode(WEBHOOK, SinkMode::TooMany { retry_after_ms: 2_000 }, Some(1));
        if let Some(left) = until_settled(&self.cluster.psql(), SETTLED_WITHIN).await? {
            anyhow::bail!("{left}");
        }
        let attempts = copies(&self.sinks.sinks, WEBHOOK, &failed);
        let mail = self.sinks.sinks.arrivals().iter().filter(|arrival| arrival.sink == MAIL).count();
        ensure!(attempts >= 2, "{attempts} attempts");
        Ok(format!(
            "{attempts} attempts until the webhook had accepted {}; meanwhile Discord had it, and {mail} mails were sent",
            titles(&failed)
        ))
    }

    /// Apps die, and are launched again by remediation.
    async fn app_down(&mut self) -> Result<String> {
        let devices = self.silent.min(40);
        self.start(STAYING, devices, &["--app-crashes-per-hour", "60"]).await?;
        // Remediation launches the app that is set for a device.
        let monitored = json!({"fleet": true, "action": "set_monitored_app", "monitored_app": {"package": MONITORED_PACKAGE}});
        self.api.json(Method::POST, "/v1/devices/bulk", Some(&monitored), &[200]).await?;
        let mended = json!({"enabled": true});
        self.api.json(Method::PUT, "/v1/alert-remediation/app_down", Some(&mended), &[200, 201, 204]).await?;
        let wait = Duration::from_secs(180);
        until_about(&self.sinks.sinks, WEBHOOK, "raised", Rule::AppDown, 1, wait).await?;
        let sql =
            "SELECT count(*) FROM alert_transition t JOIN alert a USING (alert_id) WHERE a.rule = 'app_down' AND t.kind = 'remediated'";
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let launched: usize = self.cluster.psql().run(sql, &[]).await?.trim().parse()?;
            if launched > 0 {
                break;
            }
            ensure!(tokio::time::Instant::now() < deadline, "no app was launched by remediation within {wait:?}");
            sleep(Duration::from_millis(200)).await;
        }
        let resolved = until_about(&self.sinks.sinks, WEBHOOK, "resolved", Rule::AppDown, 1, wait).await?;
        let detail = "SELECT t.detail FROM alert_transition t JOIN alert a USING (alert_id) WHERE a.rule = 'app_down' AND t.kind = 'remediated' LIMIT 1";
        let words = self.cluster.psql().run(detail, &[]).await?;
        Ok(format!("{}; the alert says: {}", titles(&resolved), words.trim()))
    }

    /// A canary fails.
    async fn canary_failure(&mut self) -> Result<String> {
        let apk_file: PathBuf = Path::new(APK).to_owned();
        let apk = self.api.prepare(&apk_file, "com.example.till").await?;
        self.start(STAYING, self.silent.min(40), &["--deploy-fail", "install_failed=1"]).await?;
        let canary = json!({"size": 3, "success_threshold_pct": 90, "min_count": 3, "timeout_minutes": 5});
        let options = json!({"canary": canary, "rate_per_minute": 0, "concurrency": 5, "wifi_only": false, "min_battery_pct": 0,
            "retries": {"max": 0, "backoff_seconds": 1}});
        let made = self.api.deploy(&apk, "canary", &json!({"tags": [STAYING]}), &options).await?;
        let id = made["id"].as_str().context("a deployment without id")?.to_owned();
        let found = until_about(&self.sinks.sinks, WEBHOOK, "raised", Rule::DeploymentCanaryFailed, 1, Duration::from_secs(180)).await?;
        let link = format!("/deployments/{id}");
        let linked = found.iter().flat_map(|arrival| &arrival.alerts).any(|alert| alert.link.ends_with(&link));
        ensure!(linked, "no message leads to {link}: {found:?}");
        self.api.transition(0, &id, "cancel").await?;
        Ok(format!("{}, with the link {link}", titles(&found)))
    }

    /// Waits until everything is settled, and judges.
    async fn end(&mut self) -> Result<Check> {
        self.faults.heal_all(&mut self.cluster).await?;
        let left = until_settled(&self.cluster.psql(), SETTLED_WITHIN).await?;
        self.fleets.stop_all().await?;
        let mut history = History { alerts: self.sinks.facts(self.times), ..History::default() };
        history.add_faults(self.faults.spans());
        oracle::read_rows(&mut history, &self.cluster.psql()).await?;
        let mut check = p9(&history)?;
        check.notes.extend(left);
        if check.violations.is_empty() {
            check.notes.extend(planted(&mut history)?);
        }
        Ok(check)
    }
}

fn p9(history: &History) -> Result<Check> {
    judge(history).checks.into_iter().find(|check| check.promise == "P9").context("P9 was not judged")
}

/// Plants a duplicate and a loss into the record of a run that kept the promise: the judge has to see both.
fn planted(history: &mut History) -> Result<Option<String>> {
    let arrivals = history.alerts.arrivals.clone();
    let is_message = |arrival: &&Arrival| arrival.sink == WEBHOOK && arrival.is_acknowledged() && arrival.kind.as_deref() == Some("raised");
    let Some(first) = arrivals.iter().find(is_message) else { return Ok(None) };
    // Long after every fault, so that none explains it.
    let again = Arrival { at_us: first.at_us + FAR_LATER_US, answered_us: Some(first.at_us + FAR_LATER_US), ..first.clone() };
    history.alerts.arrivals.push(again);
    let duplicate = p9(history)?.violations.len();
    history.alerts.arrivals.retain(|arrival| arrival.sink != WEBHOOK || arrival.notification != first.notification);
    let loss = p9(history)?.violations.len();
    history.alerts.arrivals = arrivals;
    ensure!(duplicate > 0, "the judge does not see a planted duplicate");
    ensure!(loss > 0, "the judge does not see a planted loss");
    Ok(Some(format!("planted in this record, a duplicate is {duplicate} and a loss {loss} violations")))
}

fn titles(arrivals: &[Arrival]) -> String {
    let titles: Vec<_> = arrivals.iter().map(|arrival| format!("\"{}\"", arrival.title)).collect();
    if titles.is_empty() { "no message".into() } else { titles.join(", ") }
}
