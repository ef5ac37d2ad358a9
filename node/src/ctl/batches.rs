//! `ctl batches`: the same to many devices, and how far it got.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::api::{Api, encoded};
use super::args::Format;
use super::command_args::{BatchCommand, NewBatch};
use super::commands::{body, confirm_action, text};
use super::devices::{devices_of, id_of};
use super::filter_args::Filter;
use super::output::{self, Column};
use super::{Ctl, confirm};

/// How often a batch is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

const LIST: &[Column] = &[
    ("ID", "/id"),
    ("ACTION", "/action"),
    ("DEVICES", "/devices"),
    ("SKIPPED", "/refused_count"),
    ("SUCCEEDED", "/counts/succeeded"),
    ("FAILED", "/counts/failed"),
    ("BY", "/created_by"),
    ("CREATED", "/created_at"),
];

const ONE: &[Column] = &[
    ("Id", "/id"),
    ("Action", "/action"),
    ("Parameters", "/params"),
    ("Requested by", "/created_by"),
    ("Created", "/created_at"),
    ("Expires", "/expires_at"),
    ("Canceled at", "/canceled_at"),
    ("Commands/s", "/rate_per_second"),
    ("Devices", "/devices"),
    ("Queued", "/counts/queued"),
    ("Sent", "/counts/sent"),
    ("Delivered", "/counts/delivered"),
    ("Succeeded", "/counts/succeeded"),
    ("Failed", "/counts/failed"),
    ("Expired", "/counts/expired"),
    ("Canceled", "/counts/canceled"),
    ("Paths", "/paths"),
    ("Skipped", "/refused_count"),
];

const ITEMS: &[Column] = &[
    ("ALIAS", "/alias"),
    ("STATE", "/state"),
    ("OUTCOME", "/outcome"),
    ("PATH", "/path"),
    ("ATTEMPTS", "/attempts"),
    ("MESSAGE", "/message"),
    ("FINISHED", "/finished_at"),
    ("ID", "/request_id"),
];

/// `ctl batches ...`.
pub(super) async fn run(ctl: &mut Ctl, command: BatchCommand) -> anyhow::Result<()> {
    match command {
        BatchCommand::Create(new) => {
            let NewBatch { command, devices, all, filter, rate, dry_run, idempotency_key } = *new;
            let yes = command.yes;
            let mut body = body(command)?;
            body.insert("target".into(), target(&mut ctl.api, &devices, all, &filter).await?);
            body.extend(rate.map(|rate| ("rate_per_second".to_owned(), json!(rate))));
            body.insert("dry_run".into(), json!(true));
            // What it would come to is known before anybody is asked, and before anything is sent.
            let plan = ctl.api.call_once("/v1/command-batches", &body, None).await?;
            if dry_run {
                return planned(ctl.format, &plan);
            }
            confirm_action(&body, &devices_of(&plan), yes)?;
            body.remove("dry_run");
            let made = ctl.api.call_once("/v1/command-batches", &body, idempotency_key.as_deref()).await?;
            let said = format!("Sending {} to {}: {}", text(&made, "action"), devices_of(&made), text(&made, "id"));
            output::done(ctl.format, &made, &said)
        }
        BatchCommand::List { limit } => {
            let batches = ctl.api.list("/v1/command-batches", &[], limit).await?;
            output::rows(ctl.format, &batches, LIST)
        }
        BatchCommand::Show { id, watch } => {
            let path = format!("/v1/command-batches/{}", encoded(&id));
            let mut batch = ctl.api.get(&path, &[]).await?;
            let mut shown = String::new();
            while watch && open(&batch) > 0 {
                let line = progress(&batch);
                if line != shown {
                    eprintln!("{line}");
                    shown = line;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
                batch = ctl.api.get(&path, &[]).await?;
            }
            output::one(ctl.format, &batch, ONE)?;
            let refused = batch["refused"].as_array().map_or(&[][..], Vec::as_slice);
            if ctl.format == Format::Table && !refused.is_empty() {
                println!();
                output::rows(ctl.format, refused, &[("SKIPPED", "/alias"), ("REASON", "/reason"), ("ID", "/id")])?;
            }
            Ok(())
        }
        BatchCommand::Items { id, state, limit } => {
            let query: Vec<_> = state.into_iter().map(|state| ("state", state)).collect();
            let items = ctl.api.list(&format!("/v1/command-batches/{}/items", encoded(&id)), &query, limit).await?;
            output::rows(ctl.format, &items, ITEMS)
        }
        BatchCommand::Cancel { id, yes } => {
            confirm(&format!("Cancel the pending commands of batch {id}?"), yes)?;
            let answer = ctl.api.call(Method::POST, &format!("/v1/command-batches/{}/cancel", encoded(&id)), None).await?;
            output::done(ctl.format, &answer, &format!("Canceled: {}.", progress(&answer)))
        }
        BatchCommand::Csv { id, file } => csv(&mut ctl.api, &id, file.as_deref()).await,
    }
}

/// Which devices: those that are named, or those that match. None at all takes a word of its own.
pub(super) async fn target(api: &mut Api, devices: &[String], all: bool, filter: &Filter) -> anyhow::Result<Value> {
    ensure!(devices.is_empty() || filter.is_empty(), "give either --device or a filter");
    ensure!(filter.is_empty() || !all, "give either --all or a filter");
    ensure!(!devices.is_empty() || !filter.is_empty() || all, "give devices with --device, a filter, or --all");
    if devices.is_empty() && filter.is_empty() {
        return Ok(json!({"fleet": true}));
    }
    if devices.is_empty() {
        return Ok(json!({"filter": filter.body()}));
    }
    let mut ids = Vec::new();
    for device in devices {
        ids.push(id_of(api, device).await?);
    }
    Ok(json!({"ids": ids}))
}

/// Preview of a batch.
fn planned(format: Format, plan: &Value) -> anyhow::Result<()> {
    let fields: &[Column] = &[
        ("To send", "/devices"),
        ("Offline among these", "/offline"),
        ("Immediately (connected)", "/paths/socket"),
        ("Via push", "/paths/push"),
        ("On next check-in", "/paths/heartbeat"),
        ("Skipped", "/refused"),
    ];
    output::one(format, plan, fields)?;
    let refused: Vec<Value> = plan["outcomes"].as_array().into_iter().flatten().filter(|one| !one["reason"].is_null()).cloned().collect();
    if format == Format::Table && !refused.is_empty() {
        println!();
        output::rows(format, &refused, &[("SKIPPED", "/alias"), ("REASON", "/reason"), ("ID", "/id")])?;
    }
    Ok(())
}

fn count(batch: &Value, state: &str) -> i64 {
    batch["counts"][state].as_i64().unwrap_or_default()
}

/// Commands that are not over.
fn open(batch: &Value) -> i64 {
    ["queued", "sent", "delivered"].into_iter().map(|state| count(batch, state)).sum()
}

/// Progress of a batch, in a line.
fn progress(batch: &Value) -> String {
    let states = ["queued", "sent", "delivered", "succeeded", "failed", "expired", "canceled"];
    let said = states.into_iter().filter(|state| count(batch, state) > 0).map(|state| format!("{} {state}", count(batch, state)));
    said.collect::<Vec<_>>().join(", ")
}

async fn csv(api: &mut Api, id: &str, file: Option<&Path>) -> anyhow::Result<()> {
    let path = format!("/v1/command-batches/{}/export.csv", encoded(id));
    let mut answer = api.send(Method::GET, &path, &[], None).await?;
    let mut out: Box<dyn Write> = match file {
        Some(path) => Box::new(std::fs::File::create(path).with_context(|| path.display().to_string())?),
        None => Box::new(std::io::stdout().lock()),
    };
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url).context("the response was interrupted")? {
        out.write_all(&chunk)?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_names_the_states_that_there_are() {
        let batch = json!({"counts": {"queued": 2, "sent": 1, "delivered": 0, "succeeded": 7}});
        assert_eq!((open(&batch), progress(&batch).as_str()), (3, "2 queued, 1 sent, 7 succeeded"));
    }
}
