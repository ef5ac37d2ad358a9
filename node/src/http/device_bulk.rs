//! `POST /v1/devices/bulk`: the same with many devices, each with an outcome of its own.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use domain::bulk::{BulkAction, Decision, Refusal};
use domain::bulk_target::{BulkTarget, GivenTarget};
use domain::edit::{DevicePatch, LabelChange};
use domain::{DeviceId, Invalid};
use services::BulkRequest;
use wire::devices::{BulkOutcome, BulkResponse};

use super::extract::Person;
use super::openapi::{BodyRefusals, PersonRefusals};
use super::{ApiError, App, body};
use crate::convert;

/// Applies one action to many devices, or returns the plan with `dry_run`.
///
/// Devices that are refused do not affect the others. Takes effect on all nodes within about a second.
#[utoipa::path(
    post, path = "/v1/devices/bulk", tag = "devices", security(("person" = ["devices:write"])),
    request_body = wire::devices::BulkRequest,
    responses((status = 200, body = BulkResponse), BodyRefusals, PersonRefusals)
)]
pub(crate) async fn bulk(
    State(app): State<Arc<App>>,
    Person(principal): Person,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BulkResponse>, ApiError> {
    app.system.devices.authorize_changes(&principal)?;
    let bytes = body::read(&app, &headers, body, app.config.http.bulk_body_limit_bytes).await?;
    let request = parse(body::parse_object(&bytes)?)?;
    let dry_run = request.dry_run;
    let outcomes: Vec<_> = app.system.devices.bulk(&principal, request).await?.into_iter().map(outcome).collect();
    let count = |kind: &str| outcomes.iter().filter(|outcome| outcome.outcome == kind).count();
    Ok(Json(BulkResponse { dry_run, changed: count("changed"), unchanged: count("unchanged"), refused: count("refused"), outcomes }))
}

fn parse(request: wire::devices::BulkRequest) -> Result<BulkRequest, Invalid> {
    let wire::devices::BulkRequest { fleet, ids, filter, action, tags, groups, monitored_app, dry_run } = request;
    let given = GivenTarget { fleet, ids: ids.as_deref().map(parse_ids).transpose()?, filter: filter.map(convert::filter).transpose()? };
    let target = BulkTarget::of(given, "")?;
    let mut tags = tags;
    let mut groups = groups;
    let mut take = |field: &str| {
        let taken = if field == "tags" { tags.take() } else { groups.take() };
        taken.ok_or_else(|| Invalid::new(field, format!("required by {action}")))
    };
    let tagged = |change| DevicePatch { tags: Some(change), ..DevicePatch::default() };
    let grouped = |change| DevicePatch { groups: Some(change), ..DevicePatch::default() };
    let mut monitored_app = monitored_app;
    let act = match action.as_str() {
        "set_tags" => BulkAction::Edit(tagged(LabelChange::Set(take("tags")?))),
        "add_tags" => BulkAction::Edit(tagged(LabelChange::Add(take("tags")?))),
        "remove_tags" => BulkAction::Edit(tagged(LabelChange::Remove(take("tags")?))),
        "set_groups" => BulkAction::Edit(grouped(LabelChange::Set(take("groups")?))),
        "add_groups" => BulkAction::Edit(grouped(LabelChange::Add(take("groups")?))),
        "remove_groups" => BulkAction::Edit(grouped(LabelChange::Remove(take("groups")?))),
        "set_monitored_app" => {
            let app = monitored_app.take().ok_or_else(|| Invalid::new("monitored_app", "required by set_monitored_app; null clears it"))?;
            BulkAction::Edit(DevicePatch { monitored: Some(app.map(convert::monitored_app)), ..DevicePatch::default() })
        }
        "revoke" => BulkAction::RevokeCredentials,
        "delete" => BulkAction::Delete,
        "restore" => BulkAction::Restore(None),
        _ => {
            let known =
                "set_tags, add_tags, remove_tags, set_groups, add_groups, remove_groups, set_monitored_app, revoke, delete, restore";
            return Err(Invalid::new("action", format!("not one of {known}")));
        }
    };
    // What an action does not use was meant for another one.
    let unused = [("tags", tags.is_some()), ("groups", groups.is_some()), ("monitored_app", monitored_app.is_some())];
    match unused.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(Invalid::new(field, format!("not used by {action}"))),
        None => Ok(BulkRequest { target, action: act, dry_run }),
    }
}

pub(super) fn parse_ids(ids: &[String]) -> Result<Vec<DeviceId>, Invalid> {
    let read = |(at, id): (usize, &String)| id.parse().map_err(|_| Invalid::new(format!("ids[{at}]"), "not a device id"));
    ids.iter().enumerate().map(read).collect()
}

fn outcome(outcome: services::BulkOutcome) -> BulkOutcome {
    let (kind, reason, detail) = match &outcome.decision {
        Decision::Unchanged => ("unchanged", None, None),
        Decision::Refused(refusal) => {
            let reason = match refusal {
                Refusal::NotFound => "not_found",
                Refusal::Deleted => "deleted",
                Refusal::TooLate(_) => "too_late",
                Refusal::AliasInUse(_) => "alias_in_use",
                Refusal::Invalid(_) => "invalid_value",
            };
            ("refused", Some(reason.to_owned()), Some(refusal.to_string()))
        }
        Decision::Edit(_) | Decision::RevokeCredentials | Decision::Delete | Decision::Restore(_) => ("changed", None, None),
    };
    BulkOutcome { id: outcome.id.to_string(), alias: outcome.alias, outcome: kind.to_owned(), reason, detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn field(request: serde_json::Value) -> String {
        parse(serde_json::from_value(request).unwrap()).unwrap_err().field
    }

    #[test]
    fn a_request_names_what_is_missing_or_too_much() {
        let id = "00000000-0000-0000-0000-000000000007";
        assert_eq!(field(json!({"action": "delete"})), "ids");
        assert_eq!(field(json!({"action": "delete", "ids": [id], "filter": {}})), "filter");
        for empty in [json!({}), json!({"tag": null}), json!({"tag": null, "status": null})] {
            assert_eq!(field(json!({"action": "delete", "filter": empty})), "filter", "{empty}");
        }
        assert_eq!(field(json!({"action": "delete", "filter": null})), "ids");
        assert_eq!(field(json!({"action": "delete", "filter": {"text": " "}})), "filter.text");
        assert_eq!(field(json!({"action": "delete", "fleet": true, "filter": {"tag": "till"}})), "fleet");
        assert_eq!(field(json!({"action": "delete", "ids": [id, "7"]})), "ids[1]");
        assert_eq!(field(json!({"action": "delete", "filter": {"status": "gone"}})), "status");
        assert_eq!(field(json!({"action": "explode", "ids": [id]})), "action");
        assert_eq!(field(json!({"action": "add_tags", "ids": [id]})), "tags");
        assert_eq!(field(json!({"action": "add_tags", "ids": [id], "tags": ["a"], "groups": ["b"]})), "groups");
        assert_eq!(field(json!({"action": "set_monitored_app", "ids": [id]})), "monitored_app");
        let clear = json!({"action": "set_monitored_app", "ids": [id], "monitored_app": null});
        let read = parse(serde_json::from_value(clear).unwrap()).unwrap();
        assert_eq!(read.action, BulkAction::Edit(DevicePatch { monitored: Some(None), ..Default::default() }));
    }
}
