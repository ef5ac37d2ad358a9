//! Commands at the edge: an action and its parameters from JSON, and what devices say of how they ended.

use actors::services::CommandResult;
use domain::action::{Action, ActionKind, RING_DEFAULT_S, WifiSecurity};
use domain::command::{CommandOutcome, Report};
use domain::text::bounded;
use domain::{CommandId, DeviceId, Invalid};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::ResultPayload;
use wire::command::{ActionResult, LegacyAck};

use crate::api_error::ApiError;
use crate::present;

/// Longest message of a device, in characters.
const MESSAGE_MAX_CHARS: usize = 1_000;
/// Longest code of a device, in characters.
const CODE_MAX_CHARS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParams {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ring {
    #[serde(default = "ring_default_s")]
    duration_s: u32,
}

fn ring_default_s() -> u32 {
    RING_DEFAULT_S
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Launch {
    package: String,
    #[serde(default)]
    intent: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Package {
    package: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wifi {
    ssid: String,
    security: String,
    #[serde(default)]
    password: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    name: String,
}

/// An action by name with its parameters; absent ones are an empty object.
///
/// # Errors
/// Names the action or the parameter, as `params.<name>`, and the problem. A value is never repeated: it may be secret.
pub(crate) fn action(name: &str, params: Option<Value>) -> Result<Action, Invalid> {
    let params = params.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    if !params.is_object() {
        return Err(Invalid::new("params", "not an object"));
    }
    let action = match ActionKind::parse("action", name)? {
        ActionKind::Ping => none(params, Action::Ping)?,
        ActionKind::Reboot => none(params, Action::Reboot)?,
        ActionKind::Wake => none(params, Action::Wake)?,
        ActionKind::Lock => none(params, Action::Lock)?,
        ActionKind::Update => none(params, Action::Update)?,
        ActionKind::RotateKey => none(params, Action::RotateKey)?,
        ActionKind::Sync => none(params, Action::Sync)?,
        ActionKind::Ring => Action::Ring { duration_s: parse_params::<Ring>(params)?.duration_s },
        ActionKind::LaunchApp => {
            let Launch { package, intent } = parse_params(params)?;
            Action::LaunchApp { package, intent }
        }
        ActionKind::RestartApp => Action::RestartApp { package: parse_params::<Package>(params)?.package },
        ActionKind::ClearAppData => Action::ClearAppData { package: parse_params::<Package>(params)?.package },
        ActionKind::SetMonitoredApp => Action::SetMonitoredApp { package: parse_params::<Package>(params)?.package },
        ActionKind::WifiConnect => {
            let Wifi { ssid, security, password } = parse_params(params)?;
            Action::WifiConnect { ssid, security: WifiSecurity::parse("params.security", &security)?, password }
        }
        ActionKind::Exec => Action::Exec { name: parse_params::<Exec>(params)?.name },
    };
    action.checked()
}

fn none(params: Value, action: Action) -> Result<Action, Invalid> {
    parse_params::<NoParams>(params).map(|_| action)
}

fn parse_params<T: DeserializeOwned>(params: Value) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(params).map_err(|error| {
        let path = error.path().to_string();
        let told = error.into_inner().to_string();
        let problem = match told.split_once(':') {
            // The library goes on with the value.
            Some(("invalid type" | "invalid value", rest)) => {
                format!("not {}", rest.rsplit_once("expected ").map_or("a valid value", |(_, wanted)| wanted))
            }
            _ => told.chars().take(160).collect(),
        };
        Invalid::new(if path == "." { "params".to_owned() } else { format!("params.{path}") }, problem)
    })
}

/// What a device says of a command.
///
/// # Errors
/// Names the field; 404 for an id that is none; 403 when it is another device's.
pub(crate) fn result(device_id: DeviceId, told: ActionResult) -> Result<CommandResult, ApiError> {
    let ActionResult { request_id, action: _, outcome, message, code, data, finished_at, device_id: claimed } = told;
    if let Some(claimed) = claimed.filter(|claimed| !claimed.is_empty()) {
        let claimed: DeviceId = claimed.parse().map_err(|_| Invalid::new("device_id", "not a UUID"))?;
        if claimed != device_id {
            return Err(domain::ServiceError::ForeignDevice.into());
        }
    }
    if request_id.is_empty() {
        return Err(Invalid::new("request_id", "missing").into());
    }
    let report = match outcome.as_str() {
        "received" => Report::Received,
        name => match CommandOutcome::parse(name) {
            Some(ending) => Report::Ended(ending),
            None => return Err(Invalid::new("outcome", "not one of received, success, failed, skipped, timeout").into()),
        },
    };
    for (field, value, most) in [("message", &message, MESSAGE_MAX_CHARS), ("code", &code, CODE_MAX_CHARS)] {
        if let Some(value) = value {
            bounded(field, value, most)?;
        }
    }
    let data = match data {
        None | Some(Value::Null) => None,
        Some(object @ Value::Object(_)) if !object.to_string().contains("\\u0000") => Some(object.to_string()),
        Some(_) => return Err(Invalid::new("data", "not an object, or with a NUL in it").into()),
    };
    let finished_at = finished_at.map(|text| present::parse_time("finished_at", &text)).transpose()?;
    let id: CommandId = present::id("command of this device", &request_id)?;
    Ok(CommandResult { id, report, payload: ResultPayload { message, code, data, finished_at } })
}

/// The same in the words of agents in the field.
///
/// # Errors
/// Names the field.
pub(crate) fn legacy_ack(ack: LegacyAck) -> Result<ActionResult, Invalid> {
    let LegacyAck { kind, correlation_id, request_id, status, message } = ack;
    let request_id = request_id.or(correlation_id).unwrap_or_default();
    let outcome = match (kind.as_str(), status.as_deref().unwrap_or("OK").to_ascii_uppercase().as_str()) {
        ("RING_STARTED", "OK") => "received",
        ("LAUNCH_APP_ACK" | "WIFI_CONNECT_ACK" | "PING_ACK" | "RING_STOPPED", "OK") => "success",
        ("LAUNCH_APP_ACK" | "WIFI_CONNECT_ACK" | "PING_ACK" | "RING_STARTED" | "RING_STOPPED", "FAILED" | "ERROR") => "failed",
        ("LAUNCH_APP_ACK" | "WIFI_CONNECT_ACK" | "PING_ACK" | "RING_STARTED" | "RING_STOPPED", "TIMEOUT") => "timeout",
        ("LAUNCH_APP_ACK" | "WIFI_CONNECT_ACK" | "PING_ACK" | "RING_STARTED" | "RING_STOPPED", _) => {
            return Err(Invalid::new("status", "not one of OK, FAILED, TIMEOUT, ERROR"));
        }
        _ => return Err(Invalid::new("type", "not one of LAUNCH_APP_ACK, WIFI_CONNECT_ACK, PING_ACK, RING_STARTED, RING_STOPPED")),
    };
    Ok(ActionResult { request_id, outcome: outcome.to_owned(), message, ..ActionResult::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_are_read_strictly_and_errors_name_them_without_their_value() {
        assert_eq!(action("ring", None).unwrap(), Action::Ring { duration_s: 10 });
        assert_eq!(action("ring", Some(json!({"duration_s": 3}))).unwrap(), Action::Ring { duration_s: 3 });
        let field = |name: &str, params: Value| action(name, Some(params)).unwrap_err().field;
        assert_eq!(field("ring", json!({"duration_s": "loud"})), "params.duration_s");
        assert_eq!(field("ring", json!({"duration_s": 301})), "params.duration_s");
        assert_eq!(field("ping", json!({"loud": true})), "params.loud");
        assert_eq!(field("ping", json!([])), "params");
        assert_eq!(field("launch_app", json!({})), "params");
        assert_eq!(field("explode", json!({})), "action");
        assert_eq!(field("deploy_apk", json!({})), "action");
        let refused = action("wifi_connect", Some(json!({"ssid": "s", "security": "wpa2", "password": 12345678}))).unwrap_err();
        assert!(refused.field == "params.password" && !refused.problem.contains("12345678"), "{refused}");
    }

    #[test]
    fn results_are_read_with_their_limits() {
        let me = DeviceId(uuid::Uuid::from_u128(7));
        let said =
            |told: Value| result(me, serde_json::from_value(told).unwrap()).map_err(|error| (error.status().as_u16(), error.detail()));
        let id = "00000000-0000-0000-0000-000000000009";
        assert_eq!(said(json!({"request_id": id, "outcome": "received"})).unwrap().report, Report::Received);
        let done = said(json!({"request_id": id, "outcome": "success", "message": "ok", "data": {"a": 1}})).unwrap();
        assert_eq!((done.report, done.payload.data.as_deref()), (Report::Ended(CommandOutcome::Success), Some(r#"{"a":1}"#)));
        for (told, status) in [
            (json!({"request_id": id, "outcome": "done"}), 422),
            (json!({"outcome": "success"}), 422),
            (json!({"request_id": "7", "outcome": "success"}), 404),
            (json!({"request_id": id, "outcome": "success", "message": "x".repeat(1001)}), 422),
            (json!({"request_id": id, "outcome": "success", "data": [1]}), 422),
            (json!({"request_id": id, "outcome": "success", "finished_at": "today"}), 422),
            (json!({"request_id": id, "outcome": "success", "device_id": id}), 403),
        ] {
            assert_eq!(said(told.clone()).unwrap_err().0, status, "{told}");
        }
    }

    #[test]
    fn agents_in_the_field_are_understood() {
        let read = |kind: &str, status: &str| {
            legacy_ack(LegacyAck { kind: kind.into(), correlation_id: Some("c".into()), status: Some(status.into()), ..Default::default() })
        };
        assert_eq!(read("PING_ACK", "OK").unwrap().outcome, "success");
        assert_eq!(read("RING_STARTED", "ok").unwrap().outcome, "received");
        assert_eq!(read("RING_STOPPED", "OK").unwrap().outcome, "success");
        assert_eq!(read("LAUNCH_APP_ACK", "ERROR").unwrap().outcome, "failed");
        assert_eq!(read("WIFI_CONNECT_ACK", "TIMEOUT").unwrap().outcome, "timeout");
        assert_eq!(read("PING_ACK", "MAYBE").unwrap_err().field, "status");
        assert_eq!(read("HELLO", "OK").unwrap_err().field, "type");
    }
}
