//! Conversion of domain types to wire types, and errors of paths and queries.

use std::str::FromStr;

use axum::extract::rejection::QueryRejection;
use chrono::SecondsFormat;
use domain::access::Principal;
use domain::account::{Account, SignIn};
use domain::api_token::ApiToken;
use domain::device::{DeviceView, LastStatus};
use domain::replacement::SameHardware;
use domain::{Invalid, ServiceError, Timestamp};
use services::DeviceDetails;
use wire::{admin, people};

use crate::api_error::ApiError;

/// RFC 3339, UTC, to the millisecond.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Nobody decided as the owner: the node that was reached persisted the heartbeat by itself.
pub(crate) const NO_OWNER: &str = "-";

/// Node that decided about a heartbeat, and the epoch of the shard.
pub(crate) fn owner(acknowledged: &actors::router::Acknowledged) -> String {
    acknowledged.owner.as_ref().map_or_else(|| NO_OWNER.to_owned(), |(name, epoch)| format!("{name};epoch={}", epoch.0))
}

/// A command as a device gets it.
pub(crate) fn command(signed: &link::messages::SignedCommand) -> wire::agent::Command {
    wire::agent::Command {
        request_id: signed.id.to_string(),
        device_id: signed.device_id.to_string(),
        action: signed.action.clone(),
        ts: signed.ts.clone(),
        expires_at: signed.expires_at.clone(),
        params: signed.params.clone(),
        signature: signed.signature.clone(),
        v: "1".to_owned(),
    }
}

/// An id in a path; one that does not read cannot exist.
pub(crate) fn id<T: FromStr>(what: &'static str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_| ServiceError::NotFound(what).into())
}

/// A query string that does not fit.
pub(crate) fn query_refused(rejection: QueryRejection) -> ApiError {
    let problem: String = rejection.body_text().chars().take(200).collect();
    Invalid::new("query", problem).into()
}

/// A token as lists show it.
pub(crate) fn enroll_token(token: &domain::enrollment::EnrollToken, now: Timestamp) -> admin::EnrollToken {
    admin::EnrollToken {
        id: token.id.to_string(),
        status: token.status(now).as_str().to_owned(),
        alias: token.alias.clone(),
        tags: token.tags.clone(),
        groups: token.groups.clone(),
        created_at: time(token.created_at),
        created_by: token.created_by_name.clone(),
        expires_at: time(token.expires_at),
        used_at: token.used_at.map(time),
        device_id: token.device_id.map(|id| id.to_string()),
        revoked_at: token.revoked_at.map(time),
    }
}

/// An account as lists show it.
pub(crate) fn user(account: Account) -> people::User {
    people::User {
        id: account.id.to_string(),
        username: account.username,
        role: account.role.as_str().to_owned(),
        disabled: account.disabled_at.is_some(),
        disabled_at: account.disabled_at.map(time),
        created_at: time(account.created_at),
        password_changed_at: time(account.password_changed_at),
        last_seen_at: account.last_seen_at.map(time),
        email: account.email,
    }
}

/// Sign-ins as lists show them; which is the one that asks, the principal tells.
pub(crate) fn sessions(sign_ins: Vec<SignIn>, principal: &Principal) -> admin::Page<people::Session> {
    let own = match principal {
        Principal::User { session_id, .. } => Some(*session_id),
        _ => None,
    };
    let items = sign_ins.into_iter().map(|sign_in| people::Session {
        id: sign_in.id.to_string(),
        current: Some(sign_in.id) == own,
        created_at: time(sign_in.created_at),
        last_seen_at: time(sign_in.last_seen_at),
        expires_at: time(sign_in.expires_at),
        address: sign_in.address,
        user_agent: sign_in.user_agent,
    });
    admin::Page { items: items.collect(), next_cursor: None }
}

/// The caller.
pub(crate) fn me(principal: &Principal) -> Result<people::Me, ServiceError> {
    let user_id = principal.user_id().ok_or(ServiceError::NotFound("account"))?;
    let (session_id, api_token_id) = match principal {
        Principal::User { session_id, .. } => (Some(session_id.to_string()), None),
        Principal::Token { token_id, .. } => (None, Some(token_id.to_string())),
        Principal::Console { .. } | Principal::System { .. } => (None, None),
    };
    Ok(people::Me {
        user_id: user_id.to_string(),
        username: principal.username().to_owned(),
        role: principal.role().as_str().to_owned(),
        scopes: principal.permissions().names(),
        session_id,
        api_token_id,
    })
}

/// An API token as lists show it.
pub(crate) fn api_token(token: ApiToken, now: Timestamp) -> people::ApiToken {
    people::ApiToken {
        id: token.id.to_string(),
        status: token.status(now).as_str().to_owned(),
        name: token.name,
        prefix: token.prefix,
        owner: token.username,
        owner_id: token.user_id.to_string(),
        role: token.role.as_str().to_owned(),
        scopes: token.scopes.names(),
        created_at: time(token.created_at),
        expires_at: time(token.expires_at),
        last_used_at: token.last_used_at.map(time),
        last_used_address: token.last_used_address,
        revoked_at: token.revoked_at.map(time),
    }
}

/// A device as lists and its own page show it.
pub(crate) fn device(view: &DeviceView) -> admin::Device {
    let identity = &view.identity;
    admin::Device {
        id: identity.id.to_string(),
        alias: identity.alias.clone(),
        status: view.connectivity.as_str().to_owned(),
        app_status: view.app_status.as_str().to_owned(),
        identity: view.identity_status().as_str().to_owned(),
        identity_conflict_at: view.conflict_at.map(time),
        alerts: view.open_alerts.names(),
        tags: identity.tags.clone(),
        groups: identity.groups.clone(),
        hardware_id: identity.hardware_id.clone(),
        model: view.model().map(str::to_owned),
        manufacturer: identity.manufacturer.clone(),
        enrolled_at: time(identity.enrolled_at),
        last_seen_at: view.last_seen_at.map(time),
        last: view.last.as_deref().map(last_status),
    }
}

/// A device with what is watched of it.
pub(crate) fn device_details(details: &DeviceDetails) -> wire::devices::DeviceDetails {
    wire::devices::DeviceDetails {
        device: device(&details.view),
        monitored_app: details
            .monitored
            .as_ref()
            .map(|app| wire::devices::MonitoredApp { package: app.package.clone(), stale_after_s: app.stale_after_s }),
        deleted_at: details.deleted_at.map(time),
        restorable_until: details.restorable_until.map(time),
        same_hardware: details.same_hardware.iter().map(same_hardware).collect(),
        warnings: Vec::new(),
    }
}

fn same_hardware(other: &SameHardware) -> wire::devices::SameHardware {
    wire::devices::SameHardware {
        device_id: other.id.to_string(),
        alias: other.alias.clone(),
        enrolled_at: time(other.enrolled_at),
        last_seen_at: other.last_seen_at.map(time),
    }
}

/// Parses a time.
pub(crate) fn parse_time(field: &str, text: &str) -> Result<Timestamp, Invalid> {
    domain::time::parse(text).ok_or_else(|| Invalid::new(field, "not a time as in 2026-11-21T15:36:17Z"))
}

fn last_status(last: &LastStatus) -> admin::LastStatus {
    admin::LastStatus {
        bucket_at: time(last.bucket_at),
        device_time: last.device_time.map(time),
        clock_rejected: last.clock_rejected,
        ..admin::LastStatus::of(&last.telemetry)
    }
}
