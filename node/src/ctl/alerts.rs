//! `ctl alerts`: alerts, acknowledgements, CSV, rules.

use std::io::Write;

use anyhow::Context;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Ctl;
use super::alert_args::{AlertCommand, AlertFilter, RuleCommand, RuleSetting, Scope};
use super::alert_setup;
use super::api::{Api, encoded};
use super::args::Format;
use super::devices::id_of;
use super::output::{self, Column};

const LIST: &[Column] = &[
    ("SINCE", "/since"),
    ("STATE", "/state"),
    ("SEVERITY", "/severity"),
    ("RULE", "/rule"),
    ("ABOUT", "/subject/name"),
    ("REASON", "/reason"),
    ("ACKNOWLEDGED BY", "/acknowledged/by"),
    ("RESOLVED", "/resolved_at"),
    ("ID", "/id"),
];

const ONE: &[Column] = &[
    ("Id", "/id"),
    ("Rule", "/rule"),
    ("State", "/state"),
    ("Severity", "/severity"),
    ("About", "/subject/name"),
    ("Kind", "/subject/kind"),
    ("Of id", "/subject/id"),
    ("Groups", "/subject/groups"),
    ("Tags", "/subject/tags"),
    ("Reason", "/reason"),
    ("Since", "/since"),
    ("Acknowledged by", "/acknowledged/by"),
    ("Note", "/acknowledged/note"),
    ("Resolved", "/resolved_at"),
    ("Resolve cause", "/resolve_cause"),
    ("Lasted, s", "/lasted_seconds"),
    ("Notified", "/notified"),
    ("Held by", "/held_by"),
];

const HISTORY: &[Column] = &[
    ("AT", "/at"),
    ("CHANGE", "/kind"),
    ("SEVERITY", "/severity"),
    ("BY", "/actor"),
    ("DETAIL", "/detail"),
    ("NOT NOTIFIED FOR", "/suppressed_by"),
    ("NOTIFICATION", "/notification_id"),
];

const COUNTS: &[Column] = &[("RULE", "/rule"), ("SEVERITY", "/severity"), ("STATE", "/state"), ("ALERTS", "/alerts")];

const OUTCOMES: &[Column] = &[("ID", "/id"), ("OUTCOME", "/outcome")];

const RULES: &[Column] = &[
    ("RULE", "/rule"),
    ("ON", "/enabled"),
    ("SEVERITY", "/severity"),
    ("ABOUT", "/subject"),
    ("OPEN", "/open"),
    ("FIRED IN 30 D", "/fired_30d"),
    ("THRESHOLDS", "/shown_thresholds"),
    ("MEANING", "/meaning"),
];

const RULE: &[Column] = &[
    ("Rule", "/rule"),
    ("Meaning", "/meaning"),
    ("Runbook", "/runbook"),
    ("On", "/enabled"),
    ("Set for", "/enabled_from"),
    ("Severity", "/severity"),
    ("Set for", "/severity_from"),
    ("Open", "/open"),
    ("Fired in 30 days", "/fired_30d"),
];

const THRESHOLDS: &[Column] =
    &[("THRESHOLD", "/name"), ("VALUE", "/value"), ("SET FOR", "/from"), ("DEFAULT", "/default"), ("MIN", "/min"), ("MAX", "/max")];

const SETTINGS: &[Column] =
    &[("SCOPE", "/scope/kind"), ("OF", "/scope/value"), ("ON", "/enabled"), ("SEVERITY", "/severity"), ("THRESHOLDS", "/thresholds")];

const PREVIEW: &[Column] =
    &[("Would fire", "/firing"), ("Fires now", "/firing_now"), ("Unknown", "/unknown"), ("Devices judged", "/judged")];

const PREVIEWED: &[Column] = &[("ALIAS", "/alias"), ("REASON", "/reason"), ("ID", "/device_id")];

/// `ctl alerts ...`.
pub(super) async fn run(ctl: &mut Ctl, command: AlertCommand) -> anyhow::Result<()> {
    match command {
        AlertCommand::List { filter, limit } => {
            let query = query(&mut ctl.api, filter).await?;
            let alerts = ctl.api.list("/v1/alerts", &query, limit).await?;
            output::rows(ctl.format, &alerts, LIST)
        }
        AlertCommand::Counts => {
            let counts = ctl.api.get("/v1/alerts/counts", &[]).await?;
            match ctl.format {
                Format::Json => output::done(ctl.format, &counts, ""),
                Format::Table => output::rows(ctl.format, &items(&counts), COUNTS),
            }
        }
        AlertCommand::Show { id } => {
            let alert = ctl.api.get(&format!("/v1/alerts/{}", encoded(&id)), &[]).await?;
            output::one(ctl.format, &alert, ONE)?;
            if matches!(ctl.format, Format::Table) {
                println!();
                output::rows(ctl.format, &list(&alert, "history"), HISTORY)?;
                println!();
                output::rows(ctl.format, &list(&alert, "deliveries"), alert_setup::DELIVERIES)?;
            }
            Ok(())
        }
        AlertCommand::Ack { ids, note } => {
            let body = json!({ "ids": ids, "note": note });
            let done = ctl.api.call(Method::POST, "/v1/alerts/acknowledge", Some(&body)).await?;
            output::rows(ctl.format, &items(&done), OUTCOMES)
        }
        AlertCommand::Export { filter, file } => {
            let query = query(&mut ctl.api, filter).await?;
            let mut answer = ctl.api.send(Method::GET, "/v1/alerts/export.csv", &query, None).await?;
            let mut out: Box<dyn Write> = match &file {
                Some(path) => Box::new(std::fs::File::create(path).with_context(|| path.display().to_string())?),
                None => Box::new(std::io::stdout().lock()),
            };
            while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url).context("the response was interrupted")? {
                out.write_all(&chunk)?;
            }
            Ok(out.flush()?)
        }
        AlertCommand::Rules { command } => rules(ctl, command).await,
        AlertCommand::Remediation { command } => alert_setup::remediation(ctl, command).await,
        AlertCommand::Silences { command } => alert_setup::silences(ctl, command).await,
        AlertCommand::Windows { command } => alert_setup::windows(ctl, command).await,
        AlertCommand::Channels { command } => alert_setup::channels(ctl, command).await,
        AlertCommand::Routes { command } => alert_setup::routes(ctl, command).await,
        AlertCommand::Subscriptions { command } => alert_setup::subscriptions(ctl, command).await,
    }
}

/// Rows of an answer.
pub(super) fn items(answer: &Value) -> Vec<Value> {
    list(answer, "items")
}

fn list(answer: &Value, name: &str) -> Vec<Value> {
    answer[name].as_array().cloned().unwrap_or_default()
}

async fn query(api: &mut Api, filter: AlertFilter) -> anyhow::Result<Vec<(&'static str, String)>> {
    let AlertFilter { state, rule, min_severity, device, deployment, group, tag, since, until } = filter;
    let device_id = match device {
        Some(device) => Some(id_of(api, &device).await?),
        None => None,
    };
    let given = [
        ("state", state),
        ("rule", rule),
        ("min_severity", min_severity),
        ("device_id", device_id),
        ("deployment_id", deployment),
        ("group", group),
        ("tag", tag),
        ("since", since),
        ("until", until),
    ];
    Ok(given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// A rule with its thresholds on one line.
fn shown(mut rule: Value) -> Value {
    let threshold = |threshold: &Value| format!("{}={}", threshold["name"].as_str().unwrap_or_default(), threshold["value"]);
    let shown: Vec<String> = list(&rule, "thresholds").iter().map(threshold).collect();
    rule["shown_thresholds"] = json!(shown);
    rule
}

async fn rules(ctl: &mut Ctl, command: RuleCommand) -> anyhow::Result<()> {
    let path = |rule: &str| format!("/v1/alert-rules/{}", encoded(rule));
    match command {
        RuleCommand::List => {
            let rules = items(&ctl.api.get("/v1/alert-rules", &[]).await?);
            match ctl.format {
                Format::Json => output::rows(ctl.format, &rules, RULES),
                Format::Table => output::rows(ctl.format, &rules.into_iter().map(shown).collect::<Vec<_>>(), RULES),
            }
        }
        RuleCommand::Show { rule } => {
            let answer = ctl.api.get(&path(&rule), &[]).await?;
            one_rule(ctl.format, &answer)
        }
        RuleCommand::Of { device } => {
            let id = id_of(&mut ctl.api, &device).await?;
            let rules = items(&ctl.api.get(&format!("/v1/devices/{}/alert-rules", encoded(&id)), &[]).await?);
            if matches!(ctl.format, Format::Json) {
                return output::rows(ctl.format, &rules, RULES);
            }
            let of = |rule: &Value| -> Vec<Value> {
                let mut rows = list(rule, "thresholds");
                for row in &mut rows {
                    row["rule"] = rule["rule"].clone();
                    row["enabled"] = rule["enabled"].clone();
                    row["severity"] = rule["severity"].clone();
                }
                rows
            };
            let columns: Vec<Column> =
                [("RULE", "/rule"), ("ON", "/enabled"), ("SEVERITY", "/severity")].into_iter().chain(THRESHOLDS.iter().copied()).collect();
            output::rows(ctl.format, &rules.iter().flat_map(of).collect::<Vec<_>>(), &columns)
        }
        RuleCommand::Set { setting, preview } => {
            let rule = path(&setting.rule);
            let body = body(&mut ctl.api, setting).await?;
            if preview {
                let answer = ctl.api.call(Method::POST, &format!("{rule}/preview"), Some(&body)).await?;
                output::one(ctl.format, &answer, PREVIEW)?;
                if matches!(ctl.format, Format::Table) {
                    println!();
                    output::rows(ctl.format, &list(&answer, "devices"), PREVIEWED)?;
                }
                return Ok(());
            }
            let answer = ctl.api.call(Method::PUT, &rule, Some(&body)).await?;
            one_rule(ctl.format, &answer)
        }
        RuleCommand::Reset { rule, scope } => {
            let scope = scope_of(&mut ctl.api, scope).await?;
            let query = match &scope {
                Some((kind, value)) => format!("?scope={kind}&scope_value={}", encoded(value)),
                None => String::new(),
            };
            let answer = ctl.api.call(Method::DELETE, &format!("{}{query}", path(&rule)), None::<&Value>).await?;
            one_rule(ctl.format, &answer)
        }
    }
}

fn one_rule(format: Format, rule: &Value) -> anyhow::Result<()> {
    output::one(format, rule, RULE)?;
    if matches!(format, Format::Table) {
        println!();
        output::rows(format, &list(rule, "thresholds"), THRESHOLDS)?;
        println!();
        output::rows(format, &list(rule, "settings"), SETTINGS)?;
    }
    Ok(())
}

/// Kind and value of a scope; `None`: all devices.
async fn scope_of(api: &mut Api, scope: Scope) -> anyhow::Result<Option<(&'static str, String)>> {
    let Scope { group, tag, device } = scope;
    Ok(match (group, tag, device) {
        (Some(group), _, _) => Some(("group", group)),
        (None, Some(tag), _) => Some(("tag", tag)),
        (None, None, Some(device)) => Some(("device", id_of(api, &device).await?)),
        (None, None, None) => None,
    })
}

async fn body(api: &mut Api, setting: RuleSetting) -> anyhow::Result<Value> {
    let RuleSetting { rule: _, scope, on, off, severity, thresholds } = setting;
    let mut body = Map::new();
    if let Some((kind, value)) = scope_of(api, scope).await? {
        body.insert("scope".into(), json!({ "kind": kind, "value": value }));
    }
    if on || off {
        body.insert("enabled".into(), json!(on));
    }
    if let Some(severity) = severity {
        body.insert("severity".into(), json!(severity));
    }
    let mut values = Map::new();
    for threshold in &thresholds {
        let (name, value) = pair(threshold)?;
        let value: i64 = value.parse().with_context(|| format!("{threshold}: not a whole number"))?;
        values.insert(name.to_owned(), json!(value));
    }
    body.insert("thresholds".into(), Value::Object(values));
    Ok(Value::Object(body))
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> anyhow::Result<(&str, &str)> {
    text.split_once('=').with_context(|| format!("{text}: write it as NAME=VALUE"))
}
