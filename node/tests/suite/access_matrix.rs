//! P10: every route with every kind of credential, against a table of what it answers.
//!
//! The routes come from the API's own description and, for what that cannot describe, from the
//! source of the routers: one that is not in the table fails the test.

use std::collections::BTreeSet;

use chaos::client::Client;
use chaos::http::{Answer, Call};
use domain::access::{Permission, Role, Scopes};
use serde_json::Value;
use uuid::Uuid;

use crate::common::{Bench, PASSWORD, options};

/// Callers, in the order of a row's statuses.
const CALLERS: [&str; 12] = [
    "nobody",
    "forged token",
    "viewer",
    "operator",
    "admin",
    "device token",
    "device session",
    "enrollment token",
    "revoked API token",
    "expired API token",
    "API token of an admin, devices:read only",
    "API token of an admin, every scope",
];

type Statuses = [u16; CALLERS.len()];

/// A route that looks at no credentials.
const fn open(status: u16) -> Statuses {
    [status; CALLERS.len()]
}

/// A route for people and scripts: viewer, operator, admin; narrow and wide API token.
const fn people(viewer: u16, operator: u16, admin: u16, narrow: u16, wide: u16) -> Statuses {
    [401, 401, viewer, operator, admin, 401, 401, 401, 401, 401, narrow, wide]
}

/// A route for devices: device token, session token.
const fn devices(token: u16, session: u16) -> Statuses {
    [401, 401, 401, 401, 401, token, session, 401, 401, 401, 401, 401]
}

const ENROLLING: Statuses = [401, 401, 401, 401, 401, 401, 401, 200, 401, 401, 401, 401];

/// Method, path, body, and what each caller is answered. Ids in paths do not exist, so whoever is
/// allowed gets 404. `#` is another number for each caller.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, Statuses)] = &[
    // Signals, documentation, and what leads to credentials: the short list that is open.
    ("GET",    "/healthz",                          "",   open(200)),
    ("GET",    "/readyz",                           "",   open(200)),
    ("GET",    "/metrics",                          "",   open(200)),
    ("GET",    "/openapi.json",                     "",   open(200)),
    ("GET",    "/docs/",                            "",   open(200)),
    ("POST",   "/v1/auth/login",                    "{}", open(422)),
    ("POST",   "/v1/auth/refresh",                  "{}", open(401)),
    ("ANY",    "/v1/{*unknown}",                    "",   open(404)),
    // The dashboard knows cookies only: a bearer token is nothing to it.
    ("GET",    "/login",                            "",   open(200)),
    ("POST",   "/login",                            "",   open(400)),
    ("GET",    "/password/forgot",                  "",   open(200)),
    ("POST",   "/password/forgot",                  "",   open(400)),
    ("GET",    "/password/new",                     "",   open(404)),
    ("POST",   "/password/new",                     "",   open(400)),
    ("POST",   "/logout",                           "",   open(303)),
    ("GET",    "/live/check",                       "",   open(401)),
    ("POST",   "/live/refresh",                     "",   open(401)),
    ("GET",    "/live/ws",                          "",   open(403)),
    ("POST",   "/live/upload",                      "",   open(401)),
    ("GET",    "/export/devices.csv",               "",   open(303)),
    ("GET",    "/export/command-batches/{file}",    "",   open(303)),
    ("GET",    "/export/alerts.csv",                "",   open(303)),
    ("GET",    "/export/audit.csv",                 "",   open(303)),
    ("GET",    "/export/deployments/{file}",        "",   open(303)),
    ("GET",    "/live/apk-icons/{id}",              "",   open(401)),
    ("POST",   "/live/apk-uploads/{id}",            "",   open(401)),
    ("GET",    "/assets/{name}",                    "",   open(404)),
    ("GET",    "/favicon.svg",                      "",   open(200)),
    ("GET",    "/favicon.ico",                      "",   open(200)),
    ("GET",    "/any/page",                         "",   open(303)),
    // The address itself is signed and ends; without its signature there is nothing to answer.
    ("GET",    "/v1/agent/apk",                     "",   open(422)),
    ("GET",    "/v1/apks/{id}/file",                "",   open(422)),
    // Devices.
    ("POST",   "/v1/register",                      r#"{"alias":"matrix-#"}"#, ENROLLING),
    ("GET",    "/v1/enroll-tokens/self",            "",   ENROLLING),
    ("POST",   "/v1/agent/session",                 "{}", devices(200, 401)),
    ("GET",    "/v1/agent/socket",                  "",   devices(426, 426)),
    ("POST",   "/v1/heartbeat",                     "{}", devices(200, 200)),
    ("POST",   "/v1/heartbeats",                    "[{}]", devices(200, 200)),
    ("POST",   "/v1/devices/fcm-token",             r#"{"fcm_token":"x"}"#, devices(200, 200)),
    ("POST",   "/v1/action-result",                 r#"{"request_id":"00000000-0000-7000-8000-000000000000","outcome":"success"}"#, devices(404, 404)),
    ("POST",   "/v1/devices/{id}/ack",              r#"{"type":"PING_ACK"}"#, devices(403, 403)),
    // People and scripts.
    ("GET",    "/v1/devices",                       "",   people(200, 200, 200, 200, 200)),
    ("GET",    "/v1/devices/{id}",                  "",   people(404, 404, 404, 404, 404)),
    ("DELETE", "/v1/devices/{id}",                  "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/devices/{id}/revoke",           "",   people(403, 404, 404, 403, 404)),
    ("PATCH",  "/v1/devices/{id}",                  r#"{"tags":[]}"#, people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/devices/{id}/restore",          "{}", people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/devices/{id}/replace",          r#"{"replaces":"00000000-0000-0000-0000-000000000007"}"#,
                                                          people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/devices/{id}/identity-conflict/dismiss", "", people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/devices/{id}/history",          "",   people(404, 404, 404, 404, 404)),
    ("GET",    "/v1/devices/{id}/events",           "",   people(404, 404, 404, 404, 404)),
    ("POST",   "/v1/devices/bulk",                  r#"{"action":"delete","ids":["00000000-0000-0000-0000-000000000007"]}"#,
                                                          people(403, 200, 200, 403, 200)),
    ("GET",    "/v1/devices/export.csv",            "",   people(200, 200, 200, 200, 200)),
    ("POST",   "/v1/devices/import.csv",            "alias,tags\nnobody,x\n", people(403, 200, 200, 403, 200)),
    // One's own, so whoever sees devices may keep them; a token that may only look may not.
    ("GET",    "/v1/filters",                       "",   people(200, 200, 200, 200, 200)),
    ("POST",   "/v1/filters",                       r#"{"name":"matrix-#","filter":{}}"#, people(201, 201, 201, 403, 201)),
    ("GET",    "/v1/filters/{id}",                  "",   people(404, 404, 404, 404, 404)),
    ("PATCH",  "/v1/filters/{id}",                  "{}", people(404, 404, 404, 403, 404)),
    ("DELETE", "/v1/filters/{id}",                  "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/fleet/history",                 "",   people(200, 200, 200, 200, 200)),
    ("GET",    "/v1/fleet/distributions",           "",   people(200, 200, 200, 200, 200)),
    ("GET",    "/v1/fleet/stats",                   "",   people(200, 200, 200, 200, 200)),
    ("GET",    "/v1/legacy-push/devices",           "",   people(200, 200, 200, 200, 200)),
    ("GET",    "/v1/enroll-tokens",                 "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/enroll-tokens",                 "{}", people(403, 201, 201, 403, 201)),
    ("POST",   "/v1/enroll-tokens/scripts",         r#"{"tokens":["x"],"shell":"bash"}"#, people(403, 422, 422, 403, 422)),
    ("POST",   "/v1/enroll-tokens/qr",              r#"{"token":"x"}"#, people(403, 422, 422, 403, 422)),
    ("DELETE", "/v1/enroll-tokens/{id}",            "",   people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/agent/apk/info",                "",   people(200, 200, 200, 403, 200)),
    // Commands. Operators send them; what destroys, runs programs or changes keys takes an admin.
    ("POST",   "/v1/devices/{id}/commands",         r#"{"action":"ping"}"#, people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/devices/{id}/commands",         "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/commands",                      "",   people(200, 200, 200, 403, 200)),
    ("GET",    "/v1/commands/{id}",                 "",   people(404, 404, 404, 403, 404)),
    ("POST",   "/v1/commands/{id}/cancel",          "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/command-batches",               r#"{"action":"ping","target":{"ids":[]}}"#, people(403, 422, 422, 403, 422)),
    ("GET",    "/v1/command-batches",               "",   people(200, 200, 200, 403, 200)),
    ("GET",    "/v1/command-batches/{id}",          "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/command-batches/{id}/items",    "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/command-batches/{id}/export.csv", "", people(404, 404, 404, 403, 404)),
    ("POST",   "/v1/command-batches/{id}/cancel",   "",   people(403, 404, 404, 403, 404)),
    // Updates of the agent: whoever looks at deployments sees them, admins decide.
    ("GET",    "/v1/agent/update",                  "",   devices(422, 422)),
    ("POST",   "/v1/agent/update/report",           r#"{"build_id":"00000000-0000-7000-8000-000000000000","event":"installed"}"#, devices(404, 404)),
    ("GET",    "/v1/agent-builds",                  "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/agent-builds",                  r#"{"apk_id":"00000000-0000-7000-8000-000000000000"}"#, people(403, 403, 422, 403, 422)),
    ("GET",    "/v1/agent-builds/{id}",             "",   people(404, 404, 404, 403, 404)),
    ("POST",   "/v1/agent-builds/{id}/promote",     r#"{"rollout_percent":5}"#, people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/agent-builds/{id}/rollout",     r#"{"rollout_percent":5}"#, people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/agent-builds/{id}/rollback",    "",   people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/agent-builds/{id}/nudge",       "",   people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/agent-builds/{id}/stats",       "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/exec-commands",                 "",   people(200, 200, 200, 403, 200)),
    ("PUT",    "/v1/exec-commands/{name}",          r#"{"argv":["/system/bin/id"]}"#, people(403, 403, 204, 403, 204)),
    ("DELETE", "/v1/exec-commands/{name}",          "",   people(403, 403, 404, 403, 404)),
    // APKs. Operators upload them; what may be deployed at all, and what goes, admins decide.
    ("GET",    "/v1/apks",                          "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/apks",                          "x",  people(403, 422, 422, 403, 422)),
    ("GET",    "/v1/apks/{id}",                     "",   people(404, 404, 404, 403, 404)),
    ("DELETE", "/v1/apks/{id}",                     "",   people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/apks/{id}/icon",                "",   people(404, 404, 404, 403, 404)),
    ("POST",   "/v1/apks/{id}/download-url",        "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/apk-uploads",                   "",   people(403, 200, 200, 403, 200)),
    ("POST",   "/v1/apk-uploads",                   "{}", people(403, 422, 422, 403, 422)),
    ("GET",    "/v1/apk-uploads/{id}",              "",   people(403, 404, 404, 403, 404)),
    ("PATCH",  "/v1/apk-uploads/{id}",              "x",  people(403, 422, 422, 403, 422)),
    ("DELETE", "/v1/apk-uploads/{id}",              "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/apk-uploads/{id}/complete",     "",   people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/packages",                      "",   people(200, 200, 200, 403, 200)),
    ("PUT",    "/v1/packages/{package}",            r#"{"signers_sha256":[]}"#, people(403, 403, 422, 403, 422)),
    ("DELETE", "/v1/packages/{package}",            "",   people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/deployments",                   r#"{"apk_id":"x","target":{"fleet":true}}"#, people(403, 422, 422, 403, 422)),
    ("GET",    "/v1/deployments",                   "",   people(200, 200, 200, 403, 200)),
    ("GET",    "/v1/deployments/{id}",              "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/deployments/{id}/tasks",        "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/deployments/{id}/events",       "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/deployments/{id}/export.csv",   "",   people(404, 404, 404, 403, 404)),
    ("POST",   "/v1/deployments/{id}/pause",        "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/deployments/{id}/resume",       "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/deployments/{id}/cancel",       "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/deployments/{id}/rollback",     "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/agent/deployments/{deployment_id}/devices/{device_id}/status", r#"{"status":"accepted"}"#, devices(403, 403)),
    ("GET",    "/v1/flags",                         "",   people(200, 200, 200, 403, 200)),
    ("PUT",    "/v1/flags/{id}",                    r#"{"enabled":true}"#, people(403, 422, 422, 403, 422)),
    // Alerts: everybody sees them, operators look after them, admins decide where notifications go.
    ("GET",    "/v1/alerts",                        "",   people(200, 200, 200, 403, 200)),
    ("GET",    "/v1/alerts/export.csv",             "",   people(200, 200, 200, 403, 200)),
    ("GET",    "/v1/alerts/counts",                 "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/alerts/acknowledge",            r#"{"ids":["00000000-0000-7000-8000-000000000000"]}"#, people(403, 200, 200, 403, 200)),
    ("GET",    "/v1/alerts/{id}",                   "",   people(404, 404, 404, 403, 404)),
    ("POST",   "/v1/alerts/{id}/acknowledge",       "",   people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/alert-rules",                   "",   people(200, 200, 200, 403, 200)),
    ("GET",    "/v1/alert-rules/{rule}",            "",   people(404, 404, 404, 403, 404)),
    ("PUT",    "/v1/alert-rules/{rule}",            r#"{"enabled":true}"#, people(403, 404, 404, 403, 404)),
    ("DELETE", "/v1/alert-rules/{rule}",            "",   people(403, 404, 404, 403, 404)),
    ("POST",   "/v1/alert-rules/{rule}/preview",    "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/devices/{id}/alert-rules",      "",   people(404, 404, 404, 403, 404)),
    ("GET",    "/v1/alert-remediation",             "",   people(200, 200, 200, 403, 200)),
    ("PUT",    "/v1/alert-remediation/{rule}",      r#"{"enabled":false}"#, people(403, 404, 404, 403, 404)),
    ("DELETE", "/v1/alert-remediation/{rule}",      "",   people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/silences",                      "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/silences",                      r#"{"matcher":{"groups":["x"]},"reason":"matrix","duration_seconds":60}"#,
                                                          people(403, 201, 201, 403, 201)),
    ("DELETE", "/v1/silences/{id}",                 "",   people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/alert-windows",                 "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/alert-windows",                 r#"{"matcher":{"groups":["x"]},"reason":"matrix","weekdays":["mon"],"start":"01:00","end":"02:00","tz":"UTC"}"#,
                                                          people(403, 201, 201, 403, 201)),
    ("DELETE", "/v1/alert-windows/{id}",            "",   people(403, 404, 404, 403, 404)),
    ("GET",    "/v1/alert-channel-kinds",           "",   people(403, 403, 200, 403, 200)),
    ("GET",    "/v1/alert-channels",                "",   people(403, 403, 200, 403, 200)),
    ("POST",   "/v1/alert-channels",                r#"{"name":"matrix-#","kind":"discord","url":"https://example.org/x"}"#,
                                                          people(403, 403, 201, 403, 201)),
    ("GET",    "/v1/alert-channels/{id}",           "",   people(403, 403, 404, 403, 404)),
    ("PATCH",  "/v1/alert-channels/{id}",           r#"{"enabled":false}"#, people(403, 403, 404, 403, 404)),
    ("DELETE", "/v1/alert-channels/{id}",           "",   people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/alert-channels/{id}/test",      "",   people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/alert-channels/{id}/deliveries", "",  people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/alert-channels/{id}/deliveries/{notification_id}/resend", "", people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/alert-routes",                  "",   people(403, 403, 200, 403, 200)),
    ("POST",   "/v1/alert-routes",                  r#"{"channel_id":"00000000-0000-7000-8000-000000000000"}"#, people(403, 403, 422, 403, 422)),
    ("GET",    "/v1/alert-routes/{id}",             "",   people(403, 403, 404, 403, 404)),
    ("PUT",    "/v1/alert-routes/{id}",             r#"{"channel_id":"00000000-0000-7000-8000-000000000000"}"#, people(403, 403, 404, 403, 404)),
    ("DELETE", "/v1/alert-routes/{id}",             "",   people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/event-subscriptions",           "",   people(403, 403, 200, 403, 200)),
    ("POST",   "/v1/event-subscriptions",           r#"{"channel_id":"00000000-0000-7000-8000-000000000000","actions":["device.*"]}"#,
                                                          people(403, 403, 422, 403, 422)),
    ("DELETE", "/v1/event-subscriptions/{id}",      "",   people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/audit",                         "",   people(403, 403, 200, 403, 200)),
    ("GET",    "/v1/audit.csv",                     "",   people(403, 403, 200, 403, 200)),
    ("GET",    "/v1/audit/head",                    "",   people(403, 403, 200, 403, 200)),
    ("GET",    "/v1/cluster",                       "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/cluster/nodes/{name}/drain",    "",   people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/cluster/nodes/{name}/resume",   "",   people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/users",                         "",   people(403, 403, 200, 403, 200)),
    ("POST",   "/v1/users",                         r#"{"username":"matrix-#"}"#, people(403, 403, 201, 403, 201)),
    ("GET",    "/v1/users/{id}",                    "",   people(403, 403, 404, 403, 404)),
    ("PATCH",  "/v1/users/{id}",                    r#"{"role":"viewer"}"#, people(403, 403, 404, 403, 404)),
    ("POST",   "/v1/users/{id}/invitation",         "",   people(403, 403, 409, 403, 409)),
    ("POST",   "/v1/users/{id}/reset-password",     "{}", people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/users/{id}/sessions",           "",   people(403, 403, 404, 403, 404)),
    ("DELETE", "/v1/users/{id}/sessions",           "",   people(403, 403, 404, 403, 404)),
    ("DELETE", "/v1/users/{id}/sessions/{session_id}", "", people(403, 403, 404, 403, 404)),
    ("GET",    "/v1/me",                            "",   people(200, 200, 200, 200, 200)),
    ("GET",    "/v1/me/sessions",                   "",   people(200, 200, 200, 403, 403)),
    ("DELETE", "/v1/me/sessions",                   "",   people(200, 200, 200, 403, 403)),
    ("DELETE", "/v1/me/sessions/{id}",              "",   people(404, 404, 404, 403, 403)),
    ("POST",   "/v1/me/password",                   r#"{"current_password":"wrong","new_password":"quite a long one"}"#,
                                                          people(422, 422, 422, 403, 403)),
    ("GET",    "/v1/api-tokens",                    "",   people(200, 200, 200, 403, 200)),
    ("POST",   "/v1/api-tokens",                    r#"{"name":"m","scopes":["devices:read"]}"#, people(201, 201, 201, 403, 201)),
    ("DELETE", "/v1/api-tokens/{id}",               "",   people(404, 404, 404, 403, 404)),
    // Last, since it ends the sign-ins that the others need.
    ("POST",   "/v1/auth/logout",                   "",   people(204, 204, 204, 403, 403)),
];

/// Routes of the API description.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))).collect()
}

/// Routes that routers add without describing them: `.route("path", method(handler))`, one a line.
fn undescribed(source: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for line in source.lines() {
        let Some((_, rest)) = line.split_once(".route(\"") else { continue };
        let (path, handlers) = rest.split_once('"').unwrap();
        let methods: Vec<_> = ["get", "post", "put", "patch", "delete", "any"]
            .into_iter()
            .filter(|method| [", ", ".", "::"].iter().any(|before| handlers.contains(&format!("{before}{method}("))))
            .collect();
        assert!(!methods.is_empty(), "no method to be read in: {line}");
        found.extend(methods.into_iter().map(|method| (method.to_uppercase(), path.to_owned())));
    }
    found
}

/// Where a token needs more than the operation names, or less: a saved filter is one's own, and another flag takes another permission.
const OTHER_THAN_DECLARED: [&str; 4] = ["POST /v1/filters", "PATCH /v1/filters/{id}", "DELETE /v1/filters/{id}", "PUT /v1/flags/{id}"];

/// The permission that an operation names is the one that it takes: whoever lacks it, and nobody else, is refused.
fn declared_wrongly(document: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for (method, path, _, statuses) in TABLE {
        let security = &document["paths"][*path][method.to_lowercase()]["security"][0];
        let scope = security["person"][0].as_str().and_then(|scope| Scopes::parse("scopes", &[scope]).ok()?.iter().next());
        let name = format!("{method} {path}");
        let expected = match (scope, security["sign_in"].is_array()) {
            (Some(scope), _) => [
                !Role::Viewer.allows(scope),
                !Role::Operator.allows(scope),
                !Role::Admin.allows(scope),
                scope != Permission::ViewDevices,
                false,
            ],
            (None, true) => [false, false, false, true, true],
            _ => continue,
        };
        let refused = [2, 3, 4, 10, 11].map(|caller| statuses[caller] == 403);
        if refused != expected && !OTHER_THAN_DECLARED.contains(&name.as_str()) && path != &"/metrics" {
            wrong.push(format!("{name}: {refused:?} instead of {expected:?}"));
        }
    }
    wrong
}

#[test]
fn routes_are_read_from_the_source() {
    let source = r#"
        .route("/a", get(x).post(y))
        .route("/b/{*c}", axum::routing::any(z));"#;
    let want = [("ANY", "/b/{*c}"), ("GET", "/a"), ("POST", "/a")].map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(undescribed(source), want.into());
}

/// An API token with these scopes, and its id.
async fn api_token(client: &Client, bearer: &str, scopes: &[&str]) -> (String, String) {
    let made = crate::common::api_token(client, bearer, scopes).await;
    (made["id"].as_str().unwrap().to_owned(), made["token"].as_str().unwrap().to_owned())
}

/// A bearer token for each of [`CALLERS`], the first and the enrollment token aside.
async fn bearers(bench: &Bench) -> Vec<String> {
    let client = &bench.client;
    for role in ["operator", "viewer"] {
        bench.add_user(role, role);
    }
    let device = bench.enroll("the-device").await;
    let every: Value = client.get_json("/v1/me", &bench.admin).await.unwrap();
    let every: Vec<&str> = every["scopes"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let (revoked_id, revoked) = api_token(client, &bench.admin, &every).await;
    assert_eq!(client.delete(&format!("/v1/api-tokens/{revoked_id}"), &bench.admin).await.unwrap().status, 204);
    let (expired_id, expired) = api_token(client, &bench.admin, &every).await;
    bench.sql(&format!(
        "UPDATE api_token SET created_at = now() - interval '2 days', expires_at = now() - interval '1 second' WHERE api_token_id = '{expired_id}'"
    ));
    vec![
        String::new(),
        format!("nxm_{}", "x".repeat(43)),
        client.access_token("viewer", PASSWORD).await.unwrap(),
        client.access_token("operator", PASSWORD).await.unwrap(),
        client.access_token("admin", bench.node.admin_password()).await.unwrap(),
        device.device_token,
        device.session_token,
        client.tokens(&bench.admin, 1).await.unwrap().remove(0).token,
        revoked,
        expired,
        api_token(client, &bench.admin, &["devices:read"]).await.1,
        api_token(client, &bench.admin, &every).await.1,
    ]
}

/// What an answer lacks of the headers that all have.
fn unprotected(path: &str, answer: &Answer) -> Option<String> {
    let is_kept = path.starts_with("/assets/") || path.starts_with("/favicon") || path.ends_with("/file") || path.ends_with("/apk");
    let wanted = [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-security-policy", "frame-ancestors 'none'"),
        ("referrer-policy", ""),
        ("x-request-id", ""),
        ("cache-control", if is_kept { "" } else { "no-store" }),
    ];
    let lacks = |(name, value): &(&str, &str)| !answer.header(name).is_some_and(|told| told.contains(value));
    wanted.into_iter().find(lacks).map(|(name, value)| format!("no header {name}: {value}, but {:?}", answer.header(name)))
}

#[tokio::test]
async fn every_route_answers_every_caller_as_the_table_says() {
    // Every route is called with tokens that hold no more, from one address.
    let bench = Bench::with(options().env("NEXMDM__AUTH__TOKEN_FAILURE_BURST", "100000")).await;
    let document: Value = bench.client.get("/openapi.json", None).await.unwrap().json();
    let mut routes = described(&document);
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for file in ["node/src/http/mod.rs", "web-dioxus/src/lib.rs"] {
        routes.extend(undescribed(&std::fs::read_to_string(format!("{sources}/{file}")).unwrap()));
    }
    let named: BTreeSet<_> = TABLE.iter().map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(named.len(), TABLE.len(), "a route stands in the table twice");
    let missing: Vec<_> = routes.difference(&named).collect();
    assert!(missing.is_empty(), "not in the table, so nobody has said who may call them: {missing:?}");
    let gone: Vec<_> =
        named.difference(&routes).filter(|(_, path)| !["/openapi.json", "/docs/", "/any/page"].contains(&path.as_str())).collect();
    assert!(gone.is_empty(), "in the table, but no routes: {gone:?}");

    assert_eq!(declared_wrongly(&document), Vec::<String>::new());

    let bearers = bearers(&bench).await;
    let mut wrong = Vec::new();
    for (method, path, body, statuses) in TABLE {
        for (n, (caller, want)) in CALLERS.iter().zip(statuses).enumerate() {
            let id = Uuid::now_v7().to_string();
            let concrete = path.split('/').map(|part| if part.starts_with('{') { id.as_str() } else { part }).collect::<Vec<_>>().join("/");
            let method = if *method == "ANY" { "GET" } else { method };
            let body = body.replace('#', &n.to_string());
            let mut call = match body.is_empty() {
                true => Call::new(method.parse().unwrap(), &concrete),
                false => Call::post(&concrete, body).method(method.parse().unwrap()),
            };
            if n > 0 {
                call = call.bearer(&bearers[n]);
            }
            let answer = bench.client.send(call).await.unwrap();
            if let Some(problem) = unprotected(path, &answer) {
                wrong.push(format!("{method} {path} as {caller}: {problem}"));
            }
            if answer.status != *want {
                wrong.push(format!("{method} {path} as {caller}: {} instead of {want}: {}", answer.status, answer.detail()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ from the table:\n{}", wrong.len(), wrong.join("\n"));
}
