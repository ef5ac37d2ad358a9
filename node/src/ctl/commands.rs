//! `ctl commands` and `ctl exec-commands`: telling a device to do something, and what may be run on it.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use domain::action::ActionKind;
use domain::param::ParamValue;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::api::encoded;
use super::args::Format;
use super::command_args::{CommandArgs, CommandCommand, ExecCommand};
use super::devices::id_of;
use super::output::{self, Column};
use super::session::line;
use super::{Ctl, confirm};

/// How often the outcome is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Columns of a list of commands.
pub(super) const LIST: &[Column] = &[
    ("ALIAS", "/alias"),
    ("ACTION", "/action"),
    ("STATE", "/state"),
    ("PATH", "/path"),
    ("ATTEMPTS", "/attempts"),
    ("MESSAGE", "/message"),
    ("BY", "/created_by"),
    ("CREATED", "/created_at"),
    ("ID", "/request_id"),
];

const ONE: &[Column] = &[
    ("Id", "/request_id"),
    ("Device", "/alias"),
    ("Action", "/action"),
    ("Parameters", "/params"),
    ("State", "/state"),
    ("Outcome", "/outcome"),
    ("Message", "/message"),
    ("Code", "/code"),
    ("Data", "/data"),
    ("Path", "/path"),
    ("Attempts", "/attempts"),
    ("Requested by", "/created_by"),
    ("Created", "/created_at"),
    ("Sent", "/sent_at"),
    ("Delivered", "/delivered_at"),
    ("Finished", "/finished_at"),
    ("Expires", "/expires_at"),
    ("Held", "/held"),
    ("Canceled by", "/canceled_by"),
    ("Batch", "/batch_id"),
];

/// `ctl commands ...`.
pub(super) async fn run(ctl: &mut Ctl, command: CommandCommand) -> anyhow::Result<()> {
    match command {
        CommandCommand::Send { device, command, wait, wait_at_most, idempotency_key } => {
            let id = id_of(&mut ctl.api, &device).await?;
            let yes = command.yes;
            let body = body(command)?;
            confirm_action(&body, &device, yes)?;
            let planned = planned(ctl, &id, &body).await;
            let sent = ctl.api.call_once(&format!("/v1/devices/{}/commands", encoded(&id)), &body, idempotency_key.as_deref()).await?;
            if let Some(note) = planned.as_ref().and_then(|planned| delivery_note(&device, planned, text(&sent, "expires_at"))) {
                // Beside the answer, so that a script reads the answer alone.
                eprintln!("{note}");
            }
            if !wait {
                let said = format!("{} is {} for {device}: {}", text(&sent, "action"), text(&sent, "state"), text(&sent, "request_id"));
                return output::done(ctl.format, &sent, &said);
            }
            let over = outcome(ctl, sent, Duration::from_secs(wait_at_most)).await?;
            output::one(ctl.format, &over, ONE)?;
            match text(&over, "state") {
                "succeeded" => Ok(()),
                state if is_open(state) => bail!("not finished after {wait_at_most} s: the command is {state} and still pending"),
                state => bail!("{} {state}", text(&over, "action")),
            }
        }
        CommandCommand::List { device, state, action, by, limit } => {
            let path = match device {
                Some(device) => format!("/v1/devices/{}/commands", encoded(&id_of(&mut ctl.api, &device).await?)),
                None => "/v1/commands".to_owned(),
            };
            let query: Vec<_> = [("state", state), ("action", action), ("created_by", by)]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let commands = ctl.api.list(&path, &query, limit).await?;
            output::rows(ctl.format, &commands, LIST)
        }
        CommandCommand::Show { id } => {
            let command = ctl.api.get(&format!("/v1/commands/{}", encoded(&id)), &[]).await?;
            output::one(ctl.format, &command, ONE)
        }
        CommandCommand::Cancel { id } => {
            let answer = ctl.api.call(Method::POST, &format!("/v1/commands/{}/cancel", encoded(&id)), None).await?;
            output::done(ctl.format, &answer, &format!("Canceled {id}."))
        }
    }
}

/// Plan for one device: whether it is online, and the path of the command. Without an answer the command is sent all the same.
async fn planned(ctl: &mut Ctl, device: &str, command: &Map<String, Value>) -> Option<Value> {
    let mut body = command.clone();
    body.insert("target".into(), json!({"ids": [device]}));
    body.insert("dry_run".into(), json!(true));
    let plan = ctl.api.call_once("/v1/command-batches", &body, None).await.ok()?;
    plan["outcomes"].get(0).cloned()
}

/// How a command reaches a device that is offline; `None` for one that is online.
fn delivery_note(device: &str, planned: &Value, expires_at: &str) -> Option<String> {
    if planned["online"] != false {
        return None;
    }
    let how = match text(planned, "path") {
        "socket" => "through its open connection",
        "push" => "by a push message, or with its next check-in",
        _ => "with its next check-in",
    };
    Some(format!("{device} is offline. The command is delivered {how}, and expires at {expires_at} if it is not."))
}

/// The command once it is over, or as it is after this long.
async fn outcome(ctl: &mut Ctl, mut command: Value, at_most: Duration) -> anyhow::Result<Value> {
    let path = format!("/v1/commands/{}", encoded(text(&command, "request_id")));
    let (until, mut shown) = (Instant::now() + at_most, String::new());
    loop {
        let state = text(&command, "state");
        if ctl.format == Format::Table && shown != state {
            shown = state.to_owned();
            // Beside the answer, so that a script reads the answer alone.
            eprintln!("{state}");
        }
        if !is_open(state) || Instant::now() >= until {
            return Ok(command);
        }
        tokio::time::sleep(LOOK_INTERVAL.min(until.saturating_duration_since(Instant::now()))).await;
        command = ctl.api.get(&path, &[]).await?;
    }
}

/// Whether a command in this state is under way.
pub(super) fn is_open(state: &str) -> bool {
    matches!(state, "queued" | "sent" | "delivered")
}

/// A field of an answer that is text.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Body of the request to the API.
pub(super) fn body(command: CommandArgs) -> anyhow::Result<Map<String, Value>> {
    let secret = command.param_stdin.map(|key| anyhow::Ok((key, line()?))).transpose()?;
    let mut params = Map::new();
    for param in &command.params {
        let (key, value) = param.split_once('=').with_context(|| format!("--param {param}: not KEY=VALUE"))?;
        ensure!(!key.is_empty(), "--param {param}: not KEY=VALUE");
        params.insert(key.to_owned(), value_of(&command.action, key, value)?);
    }
    params.extend(secret.map(|(key, value)| (key, Value::String(value))));
    let mut body = Map::new();
    body.insert("action".into(), json!(command.action));
    if !params.is_empty() {
        body.insert("params".into(), Value::Object(params));
    }
    body.extend(command.expires_in.map(|seconds| ("expires_in_s".to_owned(), json!(seconds))));
    Ok(body)
}

/// A parameter as the API takes it: by the action's declaration. What is unknown here, a later server may know; there, names that end in
/// a unit are numbers.
fn value_of(action: &str, key: &str, value: &str) -> anyhow::Result<Value> {
    let spec = ActionKind::parse("action", action).ok().and_then(|kind| kind.spec().param(key));
    if let Some(spec) = spec {
        let value = spec.parse(value).map_err(|invalid| anyhow!("--param {key}: {}", invalid.problem))?;
        return Ok(match value {
            Some(ParamValue::Integer(number)) => json!(number),
            Some(ParamValue::Flag(on)) => json!(on),
            Some(ParamValue::Text(text)) => json!(text),
            Some(ParamValue::Texts(texts)) => json!(texts),
            None => json!(""),
        });
    }
    Ok(match value.parse::<i64>() {
        Ok(number) if ["_s", "_ms", "_pct", "_mb"].iter().any(|unit| key.ends_with(unit)) => json!(number),
        _ => json!(value),
    })
}

/// Asks before an action that may cost something on a device.
pub(super) fn confirm_action(body: &Map<String, Value>, whom: &str, yes: bool) -> anyhow::Result<()> {
    let action = body.get("action").and_then(Value::as_str).unwrap_or_default();
    match ActionKind::parse("action", action) {
        Ok(kind) if kind.asks_first() => confirm(&format!("Send {action} to {whom}?"), yes),
        // A name that is not known here, the server refuses or knows.
        _ => Ok(()),
    }
}

/// `ctl exec-commands ...`.
pub(super) async fn exec(ctl: &mut Ctl, command: ExecCommand) -> anyhow::Result<()> {
    match command {
        ExecCommand::List => {
            let allowed = ctl.api.get("/v1/exec-commands", &[]).await?;
            let columns: &[Column] =
                &[("NAME", "/name"), ("ARGV", "/argv"), ("DESCRIPTION", "/description"), ("BY", "/updated_by"), ("CHANGED", "/updated_at")];
            output::rows(ctl.format, allowed.as_array().map_or(&[], Vec::as_slice), columns)
        }
        ExecCommand::Set { name, description, argv } => {
            let body = json!({"argv": argv, "description": description});
            let answer = ctl.api.call(Method::PUT, &format!("/v1/exec-commands/{}", encoded(&name)), Some(&body)).await?;
            output::done(ctl.format, &answer, &format!("Allowed {name}."))
        }
        ExecCommand::Remove { name, yes } => {
            confirm(&format!("Remove {name} from the allowed commands?"), yes)?;
            let answer = ctl.api.call(Method::DELETE, &format!("/v1/exec-commands/{}", encoded(&name)), None).await?;
            output::done(ctl.format, &answer, &format!("Removed {name}."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(params: &[&str]) -> CommandArgs {
        let params = params.iter().map(|param| (*param).to_owned()).collect();
        CommandArgs { action: "ring".into(), params, param_stdin: None, expires_in: Some(60), yes: false }
    }

    #[test]
    fn parameters_become_what_the_api_takes() {
        let read = body(command(&["duration_s=10", "package=a=b", "password=12345678"])).unwrap();
        let want = json!({"action": "ring", "expires_in_s": 60, "params": {"duration_s": 10, "package": "a=b", "password": "12345678"}});
        assert_eq!(Value::Object(read), want);
        assert!(!body(command(&[])).unwrap().contains_key("params"));
        let later = CommandArgs { action: "not_yet_known".into(), ..command(&["level_pct=5", "name=5"]) };
        assert_eq!(body(later).unwrap()["params"], json!({"level_pct": 5, "name": "5"}));
        let refused = body(command(&["duration_s=soon"])).unwrap_err().to_string();
        assert!(refused.contains("duration_s") && refused.contains("whole number"), "{refused}");
        for bad in ["duration_s", "=10"] {
            assert!(body(command(&[bad])).unwrap_err().to_string().contains("KEY=VALUE"), "{bad}");
        }
    }

    #[test]
    fn a_device_that_is_offline_is_named_with_the_way_to_it() {
        let note = |online: Value, path: &str| delivery_note("till-1", &json!({"online": online, "path": path}), "2026-05-28T20:26:40Z");
        let heartbeat = note(json!(false), "heartbeat").unwrap();
        assert!(
            heartbeat.starts_with("till-1 is offline.") && heartbeat.contains("with its next check-in, and expires at 2026"),
            "{heartbeat}"
        );
        assert!(note(json!(false), "push").unwrap().contains("by a push message"));
        assert_eq!([note(json!(true), "socket"), note(Value::Null, "")], [None, None]);
    }

    #[test]
    fn only_what_may_cost_something_is_asked_about() {
        let of = |action: &str| body(CommandArgs { action: action.into(), ..command(&[]) }).unwrap();
        assert!(confirm_action(&of("ring"), "kiosk-1", false).is_ok());
        assert!(confirm_action(&of("reboot"), "kiosk-1", true).is_ok());
    }
}
