//! Body of `POST /v1/deployments`: two forms, which become one request. Options have a name in each form, and both names work; what is
//! wrong is named as the caller wrote it.

use std::collections::BTreeMap;

use domain::deployment::{ConflictRule, OnUnmet, OptionSpec, OptionsRequest, option_spec, option_specs};
use domain::param::ParamValue;
use domain::{ApkId, DeviceId, Invalid, ServiceError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use services::{DeploymentRequest, DeploymentScope, DeploymentSelection};
use wire::deployment as wired;
use wire::deployment_flat::{FlatDeploymentRequest, TypedTarget};

use crate::command_params::param_value;
use crate::convert;

/// Names of options in the flat form, and those of their declarations.
const FLAT_NAMES: [(&str, &str); 10] = [
    ("canary", "canary.size"),
    ("rate", "rate_per_minute"),
    ("min_battery", "min_battery_pct"),
    ("window.start_iso", "window.from"),
    ("window.end_iso", "window.until"),
    ("retry.max", "retries.max"),
    ("retry.backoff_sec", "retries.backoff_seconds"),
    ("post_install.restart_intent.action", "restart_intent.action"),
    ("post_install.restart_intent.extras", "restart_intent.extras"),
    ("allow_rollback", "rollback_allowed"),
];

/// Requested deployment.
#[derive(Debug)]
pub(crate) struct DeploymentBody {
    /// The request.
    pub(crate) request: DeploymentRequest,
    /// Whether only a plan is wanted.
    pub(crate) dry_run: bool,
    /// Names of its fields.
    pub(crate) names: FieldNames,
}

/// Fields by their declared names, as the caller wrote them.
#[derive(Debug, Default)]
pub(crate) struct FieldNames {
    /// Options that were given: declared path and the caller's.
    given: BTreeMap<&'static str, String>,
    /// Whether the body has the flat form.
    flat: bool,
}

impl FieldNames {
    /// The refusal with the field as the caller wrote it.
    fn restored(&self, invalid: Invalid) -> Invalid {
        let Invalid { field, problem } = invalid;
        let flat_name = |own: &str| FLAT_NAMES.iter().find(|(_, path)| *path == own).map(|(name, _)| *name).filter(|_| self.flat);
        let field = match field.strip_prefix("options.") {
            Some(own) => match self.given.get(own).map(String::as_str).or_else(|| flat_name(own)) {
                Some(name) => format!("options.{name}"),
                None => field,
            },
            None if self.flat && field == "apk_id" => "apk_version_id".to_owned(),
            None => field,
        };
        Invalid { field, problem }
    }

    /// The error with the field as the caller wrote it.
    pub(crate) fn restore(&self, error: ServiceError) -> ServiceError {
        match error {
            ServiceError::Invalid(invalid) => self.restored(invalid).into(),
            other => other,
        }
    }
}

/// Tells the forms apart.
#[derive(Deserialize)]
pub(crate) struct Form {
    apk_version_id: Option<IgnoredAny>,
}

impl Form {
    /// Whether it is the flat one.
    pub(crate) fn is_flat(&self) -> bool {
        self.apk_version_id.is_some()
    }
}

/// Request of a body with the options in groups.
///
/// # Errors
/// Names the field.
pub(crate) fn grouped(requested: wired::DeploymentRequest) -> Result<DeploymentBody, Invalid> {
    let (options, names) = options(requested.options, false)?;
    let request = DeploymentRequest {
        apk: apk("apk_id", &requested.apk_id)?,
        name: requested.name,
        scope: scope(requested.target)?,
        options,
        conflict: conflict(requested.conflict)?,
    };
    Ok(DeploymentBody { request, dry_run: requested.dry_run, names })
}

/// Request of a body with flat options.
///
/// # Errors
/// Names the field.
pub(crate) fn flat(requested: FlatDeploymentRequest) -> Result<DeploymentBody, Invalid> {
    let (mut options, names) = options(requested.options, true)?;
    // Who asks in this form is promised devices that are skipped, and has no deadline to wait for.
    if let Some(spec) = option_spec("on_unmet").filter(|spec| !names.given.contains_key(spec.param.name)) {
        options.set(spec, ParamValue::Text(OnUnmet::Skip.as_str().to_owned()));
    }
    let request = DeploymentRequest {
        apk: apk("apk_version_id", &requested.apk_version_id)?,
        name: requested.name,
        scope: typed_scope(requested.target)?,
        options,
        conflict: conflict(requested.conflict)?,
    };
    Ok(DeploymentBody { request, dry_run: requested.dry_run, names })
}

fn apk(field: &str, id: &str) -> Result<ApkId, Invalid> {
    id.parse().map(ApkId).map_err(|_| Invalid::new(field, "not the id of an APK"))
}

fn conflict(name: Option<String>) -> Result<ConflictRule, Invalid> {
    let Some(name) = name else { return Ok(ConflictRule::Wait) };
    ConflictRule::parse(&name).ok_or_else(|| Invalid::new("conflict", "not one of wait, supersede"))
}

fn device_ids(field: &str, ids: &[String]) -> Result<Vec<DeviceId>, Invalid> {
    let read = |(at, id): (usize, &String)| id.parse().map_err(|_| Invalid::new(format!("{field}[{at}]"), "not a device id"));
    ids.iter().enumerate().map(read).collect()
}

fn scope(target: wired::DeploymentTarget) -> Result<DeploymentScope, Invalid> {
    let given = [target.fleet, target.ids.is_some(), target.tags.is_some(), target.groups.is_some(), target.filter.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        return Err(Invalid::new("target", "requires exactly one of fleet, ids, tags, groups, filter"));
    }
    if let Some(ids) = target.ids {
        return Ok(DeploymentScope::Ids(device_ids("target.ids", &ids)?));
    }
    if let Some(tags) = target.tags {
        return Ok(DeploymentScope::Tags(tags));
    }
    if let Some(groups) = target.groups {
        return Ok(DeploymentScope::Groups(groups));
    }
    if let Some(filter) = target.filter {
        let filter =
            convert::filter(filter).map_err(|invalid| Invalid::new(format!("target.filter.{}", invalid.field), invalid.problem))?;
        return Ok(DeploymentScope::Filter(filter));
    }
    Ok(DeploymentScope::Fleet)
}

fn typed_scope(target: TypedTarget) -> Result<DeploymentScope, Invalid> {
    let TypedTarget { kind, device_ids: ids, filters } = target;
    let filters = filters.unwrap_or_default();
    // An empty list asks for nothing.
    let ids = ids.filter(|ids| !ids.is_empty());
    let (tags, groups) = (filters.tags.unwrap_or_default(), filters.groups.unwrap_or_default());
    let text = filters.query.filter(|text| !text.trim().is_empty());
    let given = [
        ("target.device_ids", ids.is_some()),
        ("target.filters.tags", !tags.is_empty()),
        ("target.filters.groups", !groups.is_empty()),
        ("target.filters.query", text.is_some()),
    ];
    let first = given.into_iter().find(|(_, given)| *given);
    match (kind.as_str(), first) {
        ("fleet", None) => Ok(DeploymentScope::Fleet),
        ("fleet", Some((field, _))) => Err(Invalid::new(field, "given, but the type is fleet")),
        ("selection", None) => Err(Invalid::new("target", "a selection requires device_ids, or tags, groups or a query in filters")),
        ("selection", Some(_)) => {
            let ids = ids.map(|ids| device_ids("target.device_ids", &ids)).transpose()?;
            Ok(DeploymentScope::Selection(DeploymentSelection { ids, tags, groups, text }))
        }
        _ => Err(Invalid::new("target.type", "not one of fleet, selection")),
    }
}

fn options(requested: wired::DeploymentOptions, flat: bool) -> Result<(OptionsRequest, FieldNames), Invalid> {
    let (mut request, mut names) = (OptionsRequest::default(), FieldNames { flat, ..FieldNames::default() });
    for (path, value) in requested.0 {
        option(path, value, &mut request, &mut names)?;
    }
    Ok((request, names))
}

/// The option of this name in either form.
fn named(path: &str) -> Option<&'static OptionSpec> {
    let declared = FLAT_NAMES.iter().find(|(name, _)| *name == path).map(|(_, declared)| *declared);
    option_spec(declared.unwrap_or(path))
}

/// Reads the option at `path`, or the values of one that has several.
fn option(path: String, value: Value, request: &mut OptionsRequest, names: &mut FieldNames) -> Result<(), Invalid> {
    let group = format!("{path}.");
    let declared = option_specs().map(|spec| spec.param.name).chain(FLAT_NAMES.iter().map(|(name, _)| *name));
    let is_group = declared.into_iter().any(|name| name.starts_with(&group));
    match (named(&path), value) {
        (_, Value::Null) => Ok(()),
        (_, Value::Object(fields)) if is_group => {
            fields.into_iter().try_for_each(|(name, value)| option(format!("{group}{name}"), value, request, names))
        }
        (Some(spec), value) => {
            if let Some(other) = names.given.insert(spec.param.name, path.clone()) {
                return Err(Invalid::new(format!("options.{path}"), format!("given already, as {other}")));
            }
            if let Some(value) = param_value(&spec.param, value).map_err(|invalid| names.restored(invalid))? {
                request.set(spec, value);
            }
            Ok(())
        }
        (None, _) if is_group => Err(Invalid::new(format!("options.{path}"), "not an object")),
        (None, _) => Err(Invalid::new(format!("options.{path}"), "unknown option")),
    }
}

#[cfg(test)]
mod tests {
    use domain::deployment::{MaintenanceWindow, Options};
    use serde_json::json;

    use super::*;
    use crate::deployment_params::present_options;

    #[test]
    fn options_go_from_json_to_values_and_back() {
        let read = |value: serde_json::Value| {
            let requested = serde_json::from_value(value).unwrap();
            let read = options(requested, false);
            read.and_then(|(request, names)| request.over(100, false).map_err(|invalid| names.restored(invalid)))
                .map_err(|invalid| invalid.field)
        };
        let given = serde_json::json!({
            "canary": {"size": 4, "success_threshold_pct": 75, "min_count": 2, "timeout_minutes": 30}, "rate_per_minute": 7, "concurrency": 9,
            "wifi_only": false, "min_battery_pct": 15, "charging_only": true, "min_storage_free_mb": 300, "heartbeat_max_age_seconds": 60,
            "doze_exempt_only": true, "window": {"start": "22:00", "end": "05:00", "tz": "Europe/Berlin"},
            "retries": {"max": 4, "backoff_seconds": 30}, "restart_intent": {"action": "a.b.START", "extras": {"a": "1"}},
            "rollback_allowed": false, "on_unmet": "skip", "failure_pause": {"threshold_pct": 33, "min_count": 8}, "deadline_hours": 12
        });
        let options = read(given.clone()).unwrap();
        assert_eq!(serde_json::to_value(present_options(&options)).unwrap(), given);
        // Rows from before an option came have its default.
        let stored = serde_json::from_str::<Options>(r#"{"rate_per_minute":7,"retries":{"max":1}}"#).unwrap();
        assert_eq!((stored.rate_per_minute, stored.retries.max, stored.retries.backoff_s, stored.deadline_h), (7, 1, 60, 168));
        // No canary is a canary of no devices.
        let none = Options { canary: None, ..options };
        assert_eq!(serde_json::to_value(present_options(&none)).unwrap()["canary"], serde_json::json!({"size": 0}));
        assert_eq!(read(serde_json::json!({"window": null, "concurrency": null})), read(serde_json::json!({})));
        for (bad, field) in [
            (serde_json::json!({"concurency": 1}), "options.concurency"),
            (serde_json::json!({"canary": {"sise": 1}}), "options.canary.sise"),
            (serde_json::json!({"canary": "three"}), "options.canary"),
            (serde_json::json!({"wifi_only": "yes"}), "options.wifi_only"),
            (serde_json::json!({"restart_intent": {"action": "a", "extras": {"a": 1}}}), "options.restart_intent.extras"),
            (serde_json::json!({"restart_intent": {"extras": {}}}), "options.restart_intent.action"),
            (serde_json::json!({"window": {"start": "22:00", "end": "05:00"}}), "options.window.tz"),
            (serde_json::json!({"on_unmet": "later"}), "options.on_unmet"),
            (serde_json::json!({"rate": 1_000_001}), "options.rate"),
            (serde_json::json!({"rate": 1, "rate_per_minute": 2}), "options.rate_per_minute"),
        ] {
            assert_eq!(read(bad.clone()), Err(field.to_owned()), "{bad}");
        }
    }

    #[test]
    fn a_target_is_exactly_one_thing() {
        let read = |text: &str| scope(serde_json::from_str(text).unwrap()).map_err(|invalid| invalid.field);
        assert_eq!(read(r#"{"fleet":true}"#), Ok(DeploymentScope::Fleet));
        assert_eq!(read(r#"{"tags":["till"]}"#), Ok(DeploymentScope::Tags(vec!["till".into()])));
        for bad in ["{}", r#"{"fleet":false}"#, r#"{"fleet":true,"ids":[]}"#, r#"{"tags":[],"groups":[]}"#] {
            assert_eq!(read(bad), Err("target".into()), "{bad}");
        }
        assert_eq!(read(r#"{"ids":["x"]}"#), Err("target.ids[0]".into()));
    }

    #[test]
    fn a_window_of_one_period_is_stored_beside_daily_ones() {
        let of = |window: MaintenanceWindow| {
            let stored = serde_json::to_string(&Options { window: Some(window.clone()), ..Options::conservative(1) }).unwrap();
            assert_eq!(serde_json::from_str::<Options>(&stored).unwrap().window, Some(window));
        };
        of(MaintenanceWindow::period("2026-12-01T22:00:00+01:00", "2026-12-02T05:00:30.5+01:00").unwrap());
        of(MaintenanceWindow::parse("22:00", "05:00", "Europe/Berlin").unwrap());
        // As it was stored before there were periods.
        let stored = r#"{"window":{"start_minute":1320,"end_minute":300,"tz":"Europe/Berlin"}}"#;
        let daily = MaintenanceWindow::parse("22:00", "05:00", "Europe/Berlin").unwrap();
        assert_eq!(serde_json::from_str::<Options>(stored).unwrap().window, Some(daily));
    }

    const APK: &str = "019320ab-0000-7000-8000-000000000001";

    fn body(target: Value, options: Value) -> Result<DeploymentBody, Invalid> {
        let requested = json!({"apk_version_id": APK, "target": target, "options": options});
        flat(serde_json::from_value(requested).unwrap())
    }

    #[test]
    fn flat_options_are_those_of_the_other_form() {
        let given = json!({
            "canary": 4, "rate": 7, "concurrency": 9, "wifi_only": false, "min_battery": 15, "charging_only": true,
            "window": {"start_iso": "2026-12-01T22:00:00+01:00", "end_iso": "2026-12-02T05:00:00+01:00"},
            "retry": {"max": 4, "backoff_sec": 30}, "post_install": {"restart_intent": {"action": "a.b.START", "extras": {"a": "1"}}},
            "allow_rollback": false,
        });
        let other = json!({
            "canary": {"size": 4}, "rate_per_minute": 7, "concurrency": 9, "wifi_only": false, "min_battery_pct": 15, "charging_only": true,
            "window": {"from": "2026-12-01T21:00:00Z", "until": "2026-12-02T04:00:00Z"}, "on_unmet": "skip",
            "retries": {"max": 4, "backoff_seconds": 30}, "restart_intent": {"action": "a.b.START", "extras": {"a": "1"}},
            "rollback_allowed": false,
        });
        let flat = body(json!({"type": "fleet"}), given.clone()).unwrap().request;
        let requested = json!({"apk_id": APK, "target": {"fleet": true}, "options": other});
        let grouped = grouped(serde_json::from_value(requested).unwrap()).unwrap().request;
        let over = |request: DeploymentRequest| request.options.over(100, true).unwrap();
        assert_eq!((flat.apk, &flat.scope), (grouped.apk, &grouped.scope));
        assert_eq!(over(flat), over(grouped));
        // Every flat name is that of an option, and was tried.
        for (name, declared) in FLAT_NAMES {
            assert!(option_spec(declared).is_some(), "{declared}");
            assert!(given.pointer(&format!("/{}", name.replace('.', "/"))).is_some(), "{name}");
        }
        let waits = body(json!({"type": "fleet"}), json!({"on_unmet": "wait"})).unwrap().request;
        assert_eq!(over(waits).on_unmet, OnUnmet::Wait);
    }

    #[test]
    fn a_typed_target_says_what_is_wrong_with_it() {
        let read = |target: Value| body(target, json!({})).map(|body| body.request.scope).map_err(|invalid| invalid.field);
        let id = APK;
        let selection = |selection| Ok(DeploymentScope::Selection(selection));
        let of = DeploymentSelection::default();
        assert_eq!(read(json!({"type": "fleet", "device_ids": [], "filters": {}})), Ok(DeploymentScope::Fleet));
        let named = DeploymentSelection { ids: Some(vec![id.parse().unwrap()]), ..of.clone() };
        assert_eq!(read(json!({"type": "selection", "device_ids": [id]})), selection(named));
        let tagged = DeploymentSelection { tags: vec!["till".into()], text: Some("berlin".into()), ..of };
        assert_eq!(read(json!({"type": "selection", "filters": {"tags": ["till"], "groups": [], "query": "berlin"}})), selection(tagged));
        for (bad, field) in [
            (json!({"type": "all"}), "target.type"),
            (json!({"type": "selection"}), "target"),
            (json!({"type": "selection", "filters": {"query": " "}}), "target"),
            (json!({"type": "selection", "device_ids": [id, "x"]}), "target.device_ids[1]"),
            (json!({"type": "fleet", "device_ids": [id]}), "target.device_ids"),
            (json!({"type": "fleet", "filters": {"groups": ["berlin"]}}), "target.filters.groups"),
        ] {
            assert_eq!(read(bad.clone()), Err(field.to_owned()), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_as_it_was_written() {
        let refused = |options: Value| {
            let body = body(json!({"type": "fleet"}), options).map_err(|invalid| invalid.field)?;
            body.request.options.over(10, true).map(drop).map_err(|invalid| body.names.restored(invalid).field)
        };
        for (bad, field) in [
            (json!({"canary": 0}), "options.canary"),
            (json!({"canary": 11}), "options.canary"),
            (json!({"canary": [1]}), "options.canary"),
            (json!({"rate": -1}), "options.rate"),
            (json!({"rate": "10"}), "options.rate"),
            (json!({"min_battery": 101}), "options.min_battery"),
            (json!({"window": "22:00"}), "options.window"),
            (json!({"window": {"start_iso": "22:00", "end_iso": "2026-12-02T05:00:00Z"}}), "options.window.start_iso"),
            (json!({"window": {"start_iso": "2026-12-02T05:00:00Z"}}), "options.window.end_iso"),
            (json!({"retry": {"max": 21}}), "options.retry.max"),
            (json!({"retry": {"backoff_sec": 0}}), "options.retry.backoff_sec"),
            (json!({"retry": {"backof_sec": 1}}), "options.retry.backof_sec"),
            (json!({"post_install": {"restart_intent": {"extras": {}}}}), "options.post_install.restart_intent.action"),
            (
                json!({"post_install": {"restart_intent": {"action": "a", "extras": {"a": 1}}}}),
                "options.post_install.restart_intent.extras",
            ),
            (json!({"post_install": {"reboot": true}}), "options.post_install.reboot"),
            (json!({"allow_rollback": 1}), "options.allow_rollback"),
            (json!({"concurency": 1}), "options.concurency"),
        ] {
            assert_eq!(refused(bad.clone()), Err(field.to_owned()), "{bad}");
        }
        let names = body(json!({"type": "fleet"}), json!({})).unwrap().names;
        assert_eq!(names.restored(Invalid::new("apk_id", "there is no such APK")).field, "apk_version_id");
    }
}
