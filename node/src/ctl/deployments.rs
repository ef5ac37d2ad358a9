//! `ctl deployments` and `ctl flags`: deploy an APK, watch it, pause, resume, cancel and roll it back.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::api::encoded;
use super::args::Format;
use super::batches::target;
use super::commands::text;
use super::deployment_args::{DeploymentCommand, FlagCommand, NewDeployment, OnOff};
use super::devices::devices_of;
use super::output::{self, Column};
use super::{Ctl, confirm};

/// How often a deployment is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Reasons of single devices that a dry run prints.
const EXCLUDED_SHOWN_MAX: usize = 100;

const LIST: &[Column] = &[
    ("ID", "/id"),
    ("NAME", "/name"),
    ("STATE", "/state"),
    ("PHASE", "/phase"),
    ("DEVICES", "/devices"),
    ("SUCCEEDED", "/counts/succeeded"),
    ("FAILED", "/counts/failed"),
    ("BY", "/created_by"),
    ("CREATED", "/created_at"),
];

const ONE: &[Column] = &[
    ("Id", "/id"),
    ("Name", "/name"),
    ("Package", "/package"),
    ("Version", "/version_name"),
    ("Version code", "/version_code"),
    ("State", "/state"),
    ("Pause reason", "/pause_reason"),
    ("Blocked by", "/blocked_by"),
    ("Phase", "/phase"),
    ("Devices", "/devices"),
    ("Canary size", "/canary_size"),
    ("Queued", "/counts/queued"),
    ("Outside window", "/counts/waiting_window"),
    ("Throttled", "/counts/throttled"),
    ("Sending", "/counts/sending"),
    ("Installing", "/counts/installing"),
    ("Confirming", "/counts/confirming"),
    ("Succeeded", "/counts/succeeded"),
    ("Failed", "/counts/failed"),
    ("Skipped", "/counts/skipped"),
    ("Canceled", "/counts/canceled"),
    ("Rollback offered", "/rollback/offered"),
    ("Rollback available", "/rollback/possible"),
    ("Rollback unavailable", "/rollback/why_not"),
    ("Created by", "/created_by"),
    ("Created", "/created_at"),
    ("Finished", "/finished_at"),
];

const TASKS: &[Column] = &[
    ("ALIAS", "/alias"),
    ("CANARY", "/canary"),
    ("STATE", "/state"),
    ("REASON", "/reason"),
    ("DETAIL", "/reason_detail"),
    ("STAGE", "/stage"),
    ("ATTEMPTS", "/attempts"),
    ("MESSAGE", "/message"),
    ("DEVICE", "/device_id"),
];

const EVENTS: &[Column] = &[("AT", "/at"), ("EVENT", "/kind"), ("DEVICE", "/device_id"), ("DETAIL", "/detail"), ("BY", "/by")];

/// `ctl deployments ...`.
pub(super) async fn run(ctl: &mut Ctl, command: DeploymentCommand) -> anyhow::Result<()> {
    match command {
        DeploymentCommand::Create(new) => create(ctl, *new).await,
        DeploymentCommand::List { state, package, limit } => {
            let query: Vec<_> =
                [("state", state), ("package", package)].into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let deployments = ctl.api.list("/v1/deployments", &query, limit).await?;
            output::rows(ctl.format, &deployments, LIST)
        }
        DeploymentCommand::Show { id, watch } => show(ctl, &id, watch).await,
        DeploymentCommand::Tasks { id, state, reason, limit } => {
            let query: Vec<_> =
                [("state", state), ("reason", reason)].into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let tasks = ctl.api.list(&format!("{}/tasks", path(&id)), &query, limit).await?;
            output::rows(ctl.format, &tasks, TASKS)
        }
        DeploymentCommand::Events { id, limit } => {
            let events = ctl.api.list(&format!("{}/events", path(&id)), &[], limit).await?;
            output::rows(ctl.format, &events, EVENTS)
        }
        DeploymentCommand::Pause { id } => transition(ctl, &id, "pause", "Paused").await,
        DeploymentCommand::Resume { id } => transition(ctl, &id, "resume", "Resumed").await,
        DeploymentCommand::Cancel { id, yes } => {
            confirm(&format!("Cancel deployment {id}?"), yes)?;
            transition(ctl, &id, "cancel", "Canceled").await
        }
        DeploymentCommand::Rollback { id, yes } => {
            let offer = ctl.api.get(&path(&id), &[]).await?["rollback"].clone();
            ensure!(offer["possible"] == true, "rollback unavailable: {}", text(&offer, "why_not"));
            confirm(&format!("Deploy {} to {} and cancel {id}?", text(&offer, "version_name"), devices_of(&offer)), yes)?;
            let made = ctl.api.call(Method::POST, &format!("{}/rollback", path(&id)), None).await?;
            output::done(ctl.format, &made, &format!("Rollback started: {}", text(&made, "id")))
        }
        DeploymentCommand::Csv { id, file } => {
            let mut answer = ctl.api.send(Method::GET, &format!("{}/export.csv", path(&id)), &[], None).await?;
            let mut out: Box<dyn Write> = match file {
                Some(path) => Box::new(std::fs::File::create(&path).with_context(|| path.display().to_string())?),
                None => Box::new(std::io::stdout().lock()),
            };
            while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url).context("the response was interrupted")? {
                out.write_all(&chunk)?;
            }
            Ok(out.flush()?)
        }
    }
}

/// `ctl flags ...`.
pub(super) async fn flags(ctl: &mut Ctl, command: FlagCommand) -> anyhow::Result<()> {
    let columns: &[Column] =
        &[("FLAG", "/name"), ("ON", "/enabled"), ("DESCRIPTION", "/description"), ("BY", "/updated_by"), ("SET", "/updated_at")];
    match command {
        FlagCommand::List => {
            let flags = ctl.api.get("/v1/flags", &[]).await?;
            output::rows(ctl.format, flags["items"].as_array().map_or(&[][..], Vec::as_slice), columns)
        }
        FlagCommand::Set { name, to } => {
            let body = json!({"enabled": to == OnOff::On});
            let answer = ctl.api.call(Method::PUT, &format!("/v1/flags/{}", encoded(&name)), Some(&body)).await?;
            output::done(ctl.format, &answer, &format!("{name} is {}.", if to == OnOff::On { "on" } else { "off" }))
        }
    }
}

fn path(id: &str) -> String {
    format!("/v1/deployments/{}", encoded(id))
}

async fn create(ctl: &mut Ctl, new: NewDeployment) -> anyhow::Result<()> {
    let target = if new.fleet {
        ensure!(new.devices.is_empty() && new.filter.is_empty(), "give either --fleet, --device or a filter");
        json!({"fleet": true})
    } else {
        target(&mut ctl.api, &new.devices, false, &new.filter).await.context("or give --fleet")?
    };
    let mut body = Map::from_iter([("apk_id".to_owned(), json!(new.apk)), ("target".to_owned(), target)]);
    body.insert("options".into(), options(&new)?);
    body.extend(new.name.map(|name| ("name".to_owned(), json!(name))));
    if new.supersede {
        body.insert("conflict".into(), json!("supersede"));
    }
    body.insert("dry_run".into(), json!(true));
    // What it would come to is known before anybody is asked, and before anything is done.
    let plan = ctl.api.call_once("/v1/deployments", &body, None).await?;
    if new.dry_run {
        return planned(ctl.format, &plan);
    }
    confirm(&format!("Deploy to {} with a canary of {}?", devices_of(&plan), plan["canary_size"]), new.yes)?;
    body.remove("dry_run");
    let made = ctl.api.call_once("/v1/deployments", &body, new.idempotency_key.as_deref()).await?;
    let said = format!("Deploying {} to {}: {}", text(&made, "name"), devices_of(&made), text(&made, "id"));
    output::done(ctl.format, &made, &said)
}

/// The options that were given.
fn options(new: &NewDeployment) -> anyhow::Result<Value> {
    let mut options: Map<String, Value> = match &new.options {
        Some(text) => serde_json::from_str(text).context("--options: not a JSON object")?,
        None => Map::new(),
    };
    for (spec, value) in &new.flags.0 {
        match spec.param.name.split_once('.') {
            None => drop(options.insert(spec.param.name.to_owned(), value.clone())),
            Some((group, name)) => {
                let group = options.entry(group).or_insert_with(|| Map::new().into());
                let fields = group.as_object_mut().with_context(|| format!("--options: {} is not an object", spec.param.name))?;
                fields.insert(name.to_owned(), value.clone());
            }
        }
    }
    if let Some(text) = &new.window {
        let read = || {
            let (times, tz) = text.split_once('@')?;
            let (start, end) = times.split_once('-')?;
            Some(json!({"start": start, "end": end, "tz": tz}))
        };
        options.insert("window".into(), read().context("--window: not HH:MM-HH:MM@ZONE, such as 22:00-05:00@Europe/Berlin")?);
    }
    Ok(options.into())
}

fn planned(format: Format, plan: &Value) -> anyhow::Result<()> {
    if format == Format::Json {
        return output::one(format, plan, &[]);
    }
    output::one(format, plan, &[("Devices", "/devices"), ("Qualify", "/qualifying"), ("Canary size", "/canary_size")])?;
    println!();
    let excluded = plan["excluded"].as_array().map_or(&[][..], Vec::as_slice);
    if !excluded.is_empty() {
        output::rows(format, excluded, &[("DO NOT QUALIFY", "/reason"), ("DEVICES", "/devices")])?;
        println!();
        let devices: Vec<Value> = plan["items"].as_array().into_iter().flatten().flat_map(own_reasons).take(EXCLUDED_SHOWN_MAX).collect();
        output::rows(format, &devices, &[("ALIAS", "/alias"), ("REASON", "/reason"), ("DETAIL", "/detail")])?;
        println!();
    }
    let counts = plan["counts"].as_array().map_or(&[][..], Vec::as_slice);
    output::rows(format, counts, &[("STATE", "/state"), ("REASON", "/reason"), ("DEVICES", "/devices")])
}

/// The reasons why a device of a plan does not qualify, each with its alias.
fn own_reasons(item: &Value) -> Vec<Value> {
    let reasons = item["exclusions"].as_array().into_iter().flatten();
    reasons.map(|own| json!({"alias": item["alias"], "reason": own["reason"], "detail": own["detail"]})).collect()
}

async fn show(ctl: &mut Ctl, id: &str, watch: bool) -> anyhow::Result<()> {
    let mut deployment = ctl.api.get(&path(id), &[]).await?;
    let mut shown = String::new();
    while watch && deployment["finished_at"].is_null() && deployment["state"] != "paused" {
        let line = progress(&deployment);
        if line != shown {
            eprintln!("{line}");
            shown = line;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        deployment = ctl.api.get(&path(id), &[]).await?;
    }
    output::one(ctl.format, &deployment, ONE)?;
    ensure!(
        !watch || (deployment["state"] == "finished" && deployment["counts"]["failed"] == 0),
        "the deployment did not finish without failures"
    );
    Ok(())
}

async fn transition(ctl: &mut Ctl, id: &str, how: &str, said: &str) -> anyhow::Result<()> {
    let answer = ctl.api.call(Method::POST, &format!("{}/{how}", path(id)), None).await?;
    output::done(ctl.format, &answer, &format!("{said}: {}.", progress(&answer)))
}

/// Progress of a deployment, in a line.
fn progress(deployment: &Value) -> String {
    let states =
        ["queued", "waiting_window", "throttled", "sending", "installing", "confirming", "succeeded", "failed", "skipped", "canceled"];
    let count = |state: &str| deployment["counts"][state].as_i64().unwrap_or_default();
    let said = states.into_iter().filter(|state| count(state) > 0).map(|state| format!("{} {state}", count(state)));
    format!("{}: {}", text(deployment, "phase"), said.collect::<Vec<_>>().join(", "))
}
