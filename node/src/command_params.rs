//! Commands at the edge: an action and its parameters from JSON, and the outcomes that devices report.

use std::collections::BTreeMap;

use domain::action::{Action, ActionKind};
use domain::command::{CommandOutcome, Report, ResultPayload};
use domain::param::{ParamKind, ParamSpec, ParamValue};
use domain::text::fit;
use domain::{CommandId, DeviceId, Invalid};
use serde_json::Value;
use services::CommandResult;
use wire::command::{ActionResult, LegacyAck};
use wire::device_body::UnusableFields;

use crate::api_error::ApiError;
use crate::present;

/// An action by name with its parameters; absent ones are an empty object.
///
/// # Errors
/// Names the action or the parameter, as `params.<name>`, and the problem. A value is never repeated: it may be secret.
pub(crate) fn action(name: &str, params: Option<Value>) -> Result<Action, Invalid> {
    let kind = ActionKind::parse("action", name)?;
    let params = match params {
        None => serde_json::Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(Invalid::new("params", "not an object")),
    };
    let mut given = BTreeMap::new();
    for (name, value) in params {
        let value = match kind.spec().param(&name) {
            Some(spec) => param_value(spec, value)?,
            // It is refused by its name.
            None => Some(ParamValue::Flag(true)),
        };
        given.extend(value.map(|value| (name, value)));
    }
    Action::parse(kind, given)
}

/// Value of a parameter from JSON; `None` for null.
///
/// # Errors
/// It is of another kind.
pub(crate) fn param_value(spec: &ParamSpec, value: Value) -> Result<Option<ParamValue>, Invalid> {
    match (spec.kind, value) {
        (_, Value::Null) => Ok(None),
        (ParamKind::Integer { .. }, Value::Number(number)) => match (number.as_i64(), number.is_u64()) {
            (Some(number), _) => Ok(Some(ParamValue::Integer(number))),
            (None, true) => Ok(Some(ParamValue::Integer(i64::MAX))),
            (None, false) => Err(spec.wrong_type()),
        },
        (ParamKind::Flag, Value::Bool(on)) => Ok(Some(ParamValue::Flag(on))),
        (ParamKind::Texts { .. }, Value::Object(fields)) => {
            let text = |(name, value)| if let Value::String(text) = value { Ok((name, text)) } else { Err(spec.wrong_type()) };
            fields.into_iter().map(text).collect::<Result<_, _>>().map(|texts| Some(ParamValue::Texts(texts)))
        }
        (ParamKind::Integer { .. } | ParamKind::Flag | ParamKind::Texts { .. }, _) => Err(spec.wrong_type()),
        (_, Value::String(text)) => Ok(Some(ParamValue::Text(text))),
        _ => Err(spec.wrong_type()),
    }
}

/// A device's report about a command. What is unusable beside the command and its outcome does not cost the result.
///
/// # Errors
/// Names the field; 404 for an id that is none; 403 when it is another device's.
pub(crate) fn result(device_id: DeviceId, reported: ActionResult, unusable: &mut UnusableFields) -> Result<CommandResult, ApiError> {
    let ActionResult { request_id, action, outcome, message, code, data, finished_at, device_id: claimed } = reported;
    if let Some(claimed) = claimed.filter(|claimed| !claimed.is_empty()) {
        match claimed.parse::<DeviceId>() {
            Ok(claimed) if claimed != device_id => return Err(domain::ServiceError::ForeignDevice.into()),
            Ok(_) => {}
            Err(_) => unusable.note("device_id"),
        }
    }
    if request_id.is_empty() {
        return Err(Invalid::new("request_id", "missing").into());
    }
    let report = match outcome.trim().to_ascii_lowercase().as_str() {
        "received" => Report::Received,
        name => match CommandOutcome::parse(name) {
            Some(ending) => Report::Ended(ending),
            None => return Err(Invalid::new("outcome", "not one of received, success, failed, skipped, timeout").into()),
        },
    };
    let data = data.filter(|data| !data.is_null()).and_then(|mut data| {
        if !data.is_object() || drop_hidden(&mut data) {
            unusable.note("data");
        }
        data.is_object().then(|| data.to_string())
    });
    let finished_at = finished_at.filter(|text| !text.is_empty()).and_then(|text| {
        let time = present::parse_time("finished_at", &text);
        time.map_err(|invalid| unusable.note(invalid.field)).ok()
    });
    // Agents of the earlier server have other names for the same.
    let action = action.filter(|action| ActionKind::parse("action", action).is_ok());
    let id: CommandId = present::id("command of this device", &request_id)?;
    let mut payload = ResultPayload { action, message, code, data, finished_at };
    unusable.note_all(payload.fit());
    Ok(CommandResult { id, report, payload })
}

/// Removes characters that nobody would see, NUL among them, which the database does not take in JSON. Whether there were any.
fn drop_hidden(value: &mut Value) -> bool {
    match value {
        Value::String(text) => fit(text, usize::MAX),
        Value::Array(items) => items.iter_mut().fold(false, |dropped, item| drop_hidden(item) | dropped),
        Value::Object(fields) => {
            let in_keys = fields.keys().any(|key| fit(&mut key.clone(), usize::MAX));
            if in_keys {
                let fitted = |(mut key, value): (String, Value)| {
                    fit(&mut key, usize::MAX);
                    (key, value)
                };
                *fields = std::mem::take(fields).into_iter().map(fitted).collect();
            }
            fields.values_mut().fold(in_keys, |dropped, value| drop_hidden(value) | dropped)
        }
        _ => false,
    }
}

/// The same in the words of agents in the field.
///
/// # Errors
/// Names the field.
pub(crate) fn legacy_ack(ack: LegacyAck) -> Result<ActionResult, Invalid> {
    let LegacyAck { kind, correlation_id, request_id, status, message } = ack;
    let named = |id: Option<String>| id.filter(|id| !id.is_empty());
    let request_id = match (named(request_id), named(correlation_id)) {
        (Some(one), Some(other)) if one != other => return Err(Invalid::new("correlation_id", "names another command than request_id")),
        (one, other) => one.or(other).unwrap_or_default(),
    };
    let outcome = match (kind.trim().to_ascii_uppercase().as_str(), status.as_deref().unwrap_or("OK").trim().to_ascii_uppercase().as_str())
    {
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
        assert_eq!(field("launch_app", json!({})), "params.package");
        assert_eq!(field("ring", json!({"duration_s": 2.5})), "params.duration_s");
        assert_eq!(field("ring", json!({"duration_s": u64::MAX})), "params.duration_s");
        assert_eq!(field("ring", json!("loud")), "params");
        assert_eq!(field("explode", json!({})), "action");
        assert_eq!(field("deploy_apk", json!({})), "action");
        let refused = action("wifi_connect", Some(json!({"ssid": "s", "security": "wpa2", "password": 12345678}))).unwrap_err();
        assert!(refused.field == "params.password" && !refused.problem.contains("12345678"), "{refused}");
    }

    #[test]
    fn limits_are_those_that_agents_check() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../actors/wire/fixtures/actions.json")).unwrap();
        for case in &cases {
            let mut params = case["params"].clone();
            // The program is the server's own, by the name.
            params.as_object_mut().unwrap().remove("argv");
            let read = action(case["action"].as_str().unwrap(), Some(params));
            assert_eq!(read.is_ok(), case["valid"] == true, "{case}: {read:?}");
        }
        for kind in ActionKind::ALL {
            let of_kind = |valid: bool| cases.iter().any(|case| case["action"] == kind.as_str() && case["valid"] == valid);
            assert!(of_kind(true) && (of_kind(false) || kind.spec().params.is_empty()), "{}", kind.as_str());
        }
    }

    #[test]
    fn results_are_read_field_by_field() {
        let me = DeviceId(uuid::Uuid::from_u128(7));
        let said = |reported: Value| {
            result(me, serde_json::from_value(reported).unwrap(), &mut UnusableFields::default())
                .map_err(|error| (error.status().as_u16(), error.detail()))
        };
        let id = "00000000-0000-0000-0000-000000000009";
        assert_eq!(said(json!({"request_id": id, "outcome": "received"})).unwrap().report, Report::Received);
        let of = |action: &str| said(json!({"request_id": id, "outcome": "success", "action": action})).unwrap().payload.action;
        assert_eq!((of("ping").as_deref(), of("LAUNCH_APP"), of("")), (Some("ping"), None, None));
        let done = said(json!({"request_id": id, "outcome": "success", "message": "ok", "data": {"a": 1}})).unwrap();
        assert_eq!((done.report, done.payload.data.as_deref()), (Report::Ended(CommandOutcome::Success), Some(r#"{"a":1}"#)));
        for (reported, status) in [
            (json!({"request_id": id, "outcome": "done"}), 422),
            (json!({"outcome": "success"}), 422),
            (json!({"request_id": "7", "outcome": "success"}), 404),
            (json!({"request_id": id, "outcome": "success", "device_id": id}), 403),
        ] {
            assert_eq!(said(reported.clone()).unwrap_err().0, status, "{reported}");
        }
    }

    #[test]
    fn what_is_unusable_beside_the_outcome_does_not_cost_the_result() {
        let me = DeviceId(uuid::Uuid::from_u128(7));
        let id = "00000000-0000-0000-0000-000000000009";
        let nul = json!({"a\0": ["x\0\u{202e}", {"b": "\\u0000"}]});
        for (field, value) in [
            ("message", json!("x".repeat(1_001))),
            ("code", json!("a\0b")),
            ("data", json!([1])),
            ("data", nul),
            ("finished_at", json!("today")),
            ("device_id", json!("kiosk-17")),
        ] {
            let mut reported = json!({"request_id": id, "outcome": "SUCCESS"});
            reported[field] = value;
            let mut unusable = UnusableFields::default();
            let read = result(me, serde_json::from_value(reported.clone()).unwrap(), &mut unusable).unwrap();
            assert_eq!(read.report, Report::Ended(CommandOutcome::Success), "{reported}");
            assert_eq!(unusable.iter().collect::<Vec<_>>(), [field], "{reported}");
            assert!(read.payload.checked().is_ok());
            let data = read.payload.data.unwrap_or_default();
            assert!(data.is_empty() || data == r#"{"a":["x",{"b":"\\u0000"}]}"#, "{data}");
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
        let both = |one: &str, other: &str| {
            let (request_id, correlation_id) = (Some(one.to_owned()), Some(other.to_owned()));
            legacy_ack(LegacyAck { kind: "PING_ACK".into(), request_id, correlation_id, ..Default::default() })
        };
        assert_eq!(both("a", "a").unwrap().request_id, "a");
        assert_eq!(both("", "a").unwrap().request_id, "a");
        assert_eq!(both("a", "b").unwrap_err().field, "correlation_id");
    }
}
