//! `ctl devices` and `ctl stats`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use domain::name::same;
use domain::quantity::count;
use domain::text::label_set;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::api::{Api, encoded};
use super::args::{DeviceCommand, Format};
use super::output::{self, Column};
use super::{Ctl, confirm};

const LIST: &[Column] = &[
    ("ALIAS", "/alias"),
    ("STATUS", "/status"),
    ("BATTERY", "/last/battery_pct"),
    ("APP", "/app_status"),
    ("IDENTITY", "/identity"),
    ("ALERTS", "/alerts"),
    ("NETWORK", "/last/transport"),
    ("AGENT", "/last/app_version"),
    ("MODEL", "/model"),
    ("TAGS", "/tags"),
    ("LAST SEEN", "/last_seen_at"),
    ("ID", "/id"),
];

const ONE: &[Column] = &[
    ("Alias", "/alias"),
    ("Id", "/id"),
    ("Status", "/status"),
    ("Last seen", "/last_seen_at"),
    ("Monitored app", "/app_status"),
    ("Identity", "/identity"),
    ("Identity conflict since", "/identity_conflict_at"),
    ("Open alerts", "/alerts"),
    ("Same hardware", "/same_hardware"),
    ("Tags", "/tags"),
    ("Groups", "/groups"),
    ("Model", "/model"),
    ("Manufacturer", "/manufacturer"),
    ("Hardware id", "/hardware_id"),
    ("Android", "/last/android_version"),
    ("Agent", "/last/app_version"),
    ("Battery %", "/last/battery_pct"),
    ("Charging", "/last/charging"),
    ("Memory free MiB", "/last/ram_available_mb"),
    ("Storage free MiB", "/last/storage_free_mb"),
    ("Network", "/last/transport"),
    ("Wi-Fi", "/last/ssid"),
    ("Address", "/last/ip"),
    ("Unusable values", "/last/unusable"),
    ("Enrolled", "/enrolled_at"),
];

/// `ctl stats`.
pub(super) async fn stats(ctl: &mut Ctl) -> anyhow::Result<()> {
    let stats = ctl.api.get("/v1/fleet/stats", &[]).await?;
    let fields: &[Column] = &[
        ("Devices", "/devices"),
        ("Online", "/online"),
        ("Offline", "/offline"),
        ("Never seen", "/never_seen"),
        ("Low battery", "/low_battery"),
        ("App down", "/app_down"),
        ("Identity conflicts", "/identity_conflicts"),
        ("Heartbeats/s", "/heartbeats_per_second"),
    ];
    output::one(ctl.format, &stats, fields)
}

/// `ctl devices ...`.
pub(super) async fn run(ctl: &mut Ctl, command: DeviceCommand) -> anyhow::Result<()> {
    match command {
        DeviceCommand::List { filter, sort, deleted, limit } => {
            let mut query = filter.query();
            query.extend(deleted.then(|| ("deleted", "true".to_owned())));
            query.extend(sort.map(|sort| ("sort", sort)));
            let devices = ctl.api.list("/v1/devices", &query, limit).await?;
            output::rows(ctl.format, &devices, LIST)
        }
        DeviceCommand::Show { device } => {
            let device = find_device(&mut ctl.api, &device).await?;
            output::one(ctl.format, &device, ONE)
        }
        DeviceCommand::Events { device, limit } => {
            let id = id_of(&mut ctl.api, &device).await?;
            let events = ctl.api.list(&format!("/v1/devices/{id}/events"), &[], limit).await?;
            output::rows(ctl.format, &events, &[("AT", "/at"), ("EVENT", "/kind"), ("DETAIL", "/detail")])
        }
        DeviceCommand::Edit { device, alias, add_tag, remove_tag, add_group, remove_group } => {
            let known = find_device(&mut ctl.api, &device).await?;
            let mut change = Map::new();
            change.extend(alias.map(|alias| ("alias".to_owned(), json!(alias))));
            for (name, add, remove) in [("tags", add_tag, remove_tag), ("groups", add_group, remove_group)] {
                if !add.is_empty() || !remove.is_empty() {
                    change.insert(name.to_owned(), json!(changed(&known[name], add, &remove)));
                }
            }
            anyhow::ensure!(!change.is_empty(), "nothing to change: give --alias, --add-tag, --remove-tag, --add-group or --remove-group");
            let path = format!("/v1/devices/{}", known["id"].as_str().unwrap_or_default());
            let answer = ctl.api.call(Method::PATCH, &path, Some(&Value::Object(change))).await?;
            output::warnings(&answer);
            output::done(ctl.format, &answer, &format!("Changed {device}."))
        }
        DeviceCommand::DismissConflict { devices, yes } => {
            confirm(&format!("Dismiss the identity conflict of {}? Held commands are sent.", named(&devices)), yes)?;
            for_each_device(ctl, &devices, Method::POST, "/identity-conflict/dismiss", "Dismissed the identity conflict of").await
        }
        DeviceCommand::Replace { device, older, yes } => {
            let (id, replaces) = (id_of(&mut ctl.api, &device).await?, id_of(&mut ctl.api, &older).await?);
            confirm(&format!("Delete {older} and put {device} in its place?"), yes)?;
            let answer = ctl.api.call(Method::POST, &format!("/v1/devices/{id}/replace"), Some(&json!({ "replaces": replaces }))).await?;
            output::done(ctl.format, &answer, &format!("{device} ({id}) is {} now.", answer["alias"].as_str().unwrap_or(&older)))
        }
        DeviceCommand::Revoke { devices, yes } => {
            confirm(&format!("Revoke all credentials of {}?", named(&devices)), yes)?;
            for_each_device(ctl, &devices, Method::POST, "/revoke", "Revoked").await
        }
        DeviceCommand::Delete { devices, yes } => {
            confirm(&format!("Delete {}?", named(&devices)), yes)?;
            for_each_device(ctl, &devices, Method::DELETE, "", "Deleted").await
        }
        DeviceCommand::Restore { devices } => {
            for device in devices {
                let id = id_among(&mut ctl.api, &device, true).await?;
                let answer = ctl.api.call(Method::POST, &format!("/v1/devices/{}/restore", encoded(&id)), Some(&json!({}))).await?;
                output::done(ctl.format, &answer, &format!("Restored {device}."))?;
            }
            Ok(())
        }
        DeviceCommand::Export { filter, file } => {
            let answer = ctl.api.send(Method::GET, "/v1/devices/export.csv", &filter.query(), None).await?;
            saved(answer, file.as_deref()).await
        }
        DeviceCommand::Heartbeats { device, from, to, file } => {
            let id = id_of(&mut ctl.api, &device).await?;
            let query: Vec<_> = [("from", from), ("to", to)].into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let answer = ctl.api.send(Method::GET, &format!("/v1/devices/{id}/heartbeats.csv"), &query, None).await?;
            saved(answer, file.as_deref()).await
        }
        DeviceCommand::Import { file, apply } => {
            let text = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let query = [("dry_run", (!apply).to_string())];
            let answer = ctl.api.send(Method::POST, "/v1/devices/import.csv", &query, Some(("text/csv", text))).await?;
            let answer: Value = answer.json().await.map_err(reqwest::Error::without_url)?;
            imported(ctl.format, &answer)
        }
    }
}

/// Writes a table to a file or standard output, while it comes.
async fn saved(mut answer: reqwest::Response, file: Option<&Path>) -> anyhow::Result<()> {
    let mut out: Box<dyn Write> = match file {
        Some(path) => Box::new(std::fs::File::create(path).with_context(|| path.display().to_string())?),
        None => Box::new(std::io::stdout().lock()),
    };
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url).context("the response was interrupted")? {
        out.write_all(&chunk)?;
    }
    Ok(out.flush()?)
}

/// Changes of an import, planned or made, and the rows with errors.
fn imported(format: Format, report: &Value) -> anyhow::Result<()> {
    let problems = report["problems_total"].as_u64().unwrap_or_default();
    match format {
        Format::Json => output::one(format, report, &[])?,
        Format::Table if problems > 0 => {
            let rows = report["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
            output::rows(format, rows, &[("LINE", "/line"), ("FIELD", "/field"), ("PROBLEM", "/problem")])?;
        }
        Format::Table => {
            let changes = report["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let fields = |change: &Value| change["fields"].as_array().cloned().unwrap_or_default();
            let row = |change: &Value, field: Value| json!({"line": change["line"], "device": change["alias"], "change": field});
            let rows: Vec<Value> =
                changes.iter().flat_map(|change| fields(change).into_iter().map(move |field| row(change, field))).collect();
            if !rows.is_empty() {
                let columns: &[Column] = &[
                    ("LINE", "/line"),
                    ("DEVICE", "/device"),
                    ("FIELD", "/change/field"),
                    ("BEFORE", "/change/before"),
                    ("AFTER", "/change/after"),
                ];
                output::rows(format, &rows, columns)?;
            }
            match report["applied"] == true {
                true => println!("{} changed.", devices_text(changes.len() as u64)),
                false => println!("{} would change; apply with --apply.", devices_text(changes.len() as u64)),
            }
        }
    }
    anyhow::ensure!(problems == 0, "{}: no changes applied", count(problems, "problem", "problems"));
    Ok(())
}

/// Calls the API for each device in turn, up to the first failure.
async fn for_each_device(ctl: &mut Ctl, devices: &[String], method: Method, what: &str, done: &str) -> anyhow::Result<()> {
    for device in devices {
        let id = id_of(&mut ctl.api, device).await?;
        let answer = ctl.api.call(method.clone(), &format!("/v1/devices/{id}{what}"), None).await.with_context(|| device.clone())?;
        output::done(ctl.format, &answer, &format!("{done} {device} ({id})."))?;
    }
    Ok(())
}

/// Number of devices as text.
pub(super) fn devices_text(devices: u64) -> String {
    count(devices, "device", "devices")
}

/// Number of devices that an answer names, as text.
pub(super) fn devices_of(answer: &Value) -> String {
    devices_text(answer["devices"].as_u64().unwrap_or_default())
}

fn named(devices: &[String]) -> String {
    match devices {
        [one] => one.clone(),
        many => devices_text(many.len() as u64),
    }
}

/// Finds a device by id or alias.
async fn find_device(api: &mut Api, device: &str) -> anyhow::Result<Value> {
    let id = id_of(api, device).await?;
    api.get(&format!("/v1/devices/{id}"), &[]).await
}

/// The id of a device by its id or its alias.
pub(super) async fn id_of(api: &mut Api, device: &str) -> anyhow::Result<String> {
    id_among(api, device, false).await
}

/// The same among the devices of the fleet, or among those that were deleted.
async fn id_among(api: &mut Api, device: &str, deleted: bool) -> anyhow::Result<String> {
    if uuid::Uuid::parse_str(device).is_ok() {
        return Ok(device.to_owned());
    }
    let query = [("text", device.to_owned()), ("deleted", deleted.to_string())];
    let listed = api.list("/v1/devices", &query, 0).await?;
    let named = |is: &dyn Fn(&str) -> bool| listed.iter().find(|listed| listed["alias"].as_str().is_some_and(is));
    let found = named(&|alias| alias == device).or_else(|| named(&|alias| same(alias, device)));
    match found.and_then(|listed| listed["id"].as_str()) {
        Some(id) => Ok(id.to_owned()),
        None if deleted => bail!("there is no deleted device {device}"),
        None => bail!("there is no device {device}"),
    }
}

/// A list with these added and those taken away.
fn changed(known: &Value, add: Vec<String>, remove: &[String]) -> Vec<String> {
    let known = known.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    label_set(known.chain(add).filter(|one| !remove.iter().any(|removed| same(one, removed))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_and_taken_away() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(changed(&json!(["b", "a"]), words(&["c", "a"]), &words(&["b"])), words(&["a", "c"]));
        assert_eq!(changed(&json!(["Café", "Till"]), words(&["till"]), &words(&["cafe\u{301}"])), words(&["Till"]));
    }
}
