//! `Idempotency-Key` of calls that create something: the same call again gets the same answer, and creates nothing.

use std::sync::Arc;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::access::Permission;
use services::{CallEnd, RequestKey, run_detached};
use utoipa::IntoResponses;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr, Type};

use super::commands::{IDEMPOTENCY_KEY, idempotency_key};
use super::extract::Person;
use super::openapi::ConflictRefusal;
use super::{ApiError, App, body};

/// Longest answer that is kept.
const ANSWER_MAX_BYTES: u64 = 65_536;
/// Header of an answer that was given before.
const REPEATED: &str = "idempotency-replayed";

/// Calls that create something with a body of the usual size, the permission that each requires, and whether its answer is kept: one with a secret is not. Commands, batches and deployments
/// keep the key with what they create.
const CREATIONS: [(&str, Permission, bool); 12] = [
    ("/v1/agent-builds", Permission::ManageAgentBuilds, true),
    ("/v1/alert-channels", Permission::ManageAlertChannels, true),
    ("/v1/alert-routes", Permission::ManageAlertChannels, true),
    ("/v1/alert-windows", Permission::ManageAlerts, true),
    ("/v1/api-tokens", Permission::ManageTokens, false),
    ("/v1/apk-uploads", Permission::UploadApks, true),
    ("/v1/enroll-tokens", Permission::ManageEnrollment, false),
    ("/v1/event-subscriptions", Permission::ManageAlertChannels, true),
    ("/v1/filters", Permission::ViewDevices, true),
    ("/v1/report-schedules", Permission::ManageAlertChannels, true),
    ("/v1/silences", Permission::ManageAlerts, true),
    ("/v1/users", Permission::ManageUsers, false),
];

/// The permission that a call that creates something requires, and whether its answer is kept; `None`: it is no such call.
fn creation(method: &Method, path: &str) -> Option<(Permission, bool)> {
    let of_path = CREATIONS.iter().find(|(known, ..)| method == Method::POST && *known == path);
    of_path.map(|(_, permission, keeps)| (*permission, *keeps))
}

/// Carries a call out once, if it comes with a key.
pub(crate) async fn once(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match creation(request.method(), request.uri().path()) {
        Some(of_path) if request.headers().contains_key(IDEMPOTENCY_KEY) => {
            carried_out_once(app, request, next, of_path).await.unwrap_or_else(IntoResponse::into_response)
        }
        _ => next.run(request).await,
    }
}

async fn carried_out_once(
    app: Arc<App>,
    request: Request,
    next: Next,
    (permission, keeps): (Permission, bool),
) -> Result<Response, ApiError> {
    let (mut parts, arriving) = request.into_parts();
    // Nobody's body is read, and no answer given again, before it is known whose it is and that they may.
    let Person(principal) = Person::from_request_parts(&mut parts, &app).await?;
    app.system.request_keys.authorize(&principal, permission)?;
    let bytes = body::read(&app, &parts.headers, arriving, app.config.http.body_limit_bytes).await?;
    let Some(key) = idempotency_key(&parts.headers, parts.uri.path(), &bytes)? else {
        return Ok(next.run(Request::from_parts(parts, Body::from(bytes))).await);
    };
    // It was read as it is meant.
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let request = Request::from_parts(parts, Body::from(bytes));
    let taken = match app.system.request_keys.take(&principal, key).await? {
        RequestKey::Taken(key) => key,
        RequestKey::Done(status, answer) => return Ok(repeated(status, answer)),
    };
    // To its end, also when the caller hangs up: the key tells how it ended.
    let response = run_detached(async move {
        let (response, end) = told(next.run(request).await, keeps).await;
        app.system.request_keys.ended(&taken, &end).await;
        Ok(response)
    });
    Ok(response.await?)
}

/// The answer of a call, and how the call has ended.
async fn told(response: Response, keeps: bool) -> (Response, CallEnd) {
    if response.status().is_server_error() {
        // A commit whose answer was lost ends like this, too.
        return (response, CallEnd::Unclear);
    }
    if !response.status().is_success() {
        return (response, CallEnd::Refused);
    }
    let status = response.status().as_u16();
    let is_short = response.body().size_hint().exact().is_some_and(|bytes| bytes <= ANSWER_MAX_BYTES);
    if !keeps || !is_short {
        return (response, CallEnd::CarriedOut(status, None));
    }
    let (parts, answer) = response.into_parts();
    match to_bytes(answer, ANSWER_MAX_BYTES as usize).await {
        Ok(bytes) => {
            let kept = bytes.to_vec();
            (Response::from_parts(parts, Body::from(bytes)), CallEnd::CarriedOut(status, Some(kept)))
        }
        // A body in memory does not fail.
        Err(_) => (Response::from_parts(parts, Body::empty()), CallEnd::CarriedOut(status, None)),
    }
}

fn repeated(status: u16, answer: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let json = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::HeaderName::from_static(REPEATED), HeaderValue::from_static("true")),
    ];
    (status, json, answer).into_response()
}

/// Describes the header where it is taken.
pub(crate) fn describe(description: &mut OpenApi) {
    for (path, _, keeps) in CREATIONS {
        let Some(operation) = description.paths.paths.get_mut(path).and_then(|item| item.post.as_mut()) else { continue };
        let again = match keeps {
            true => "The same call again under it gets the same answer, with `Idempotency-Replayed: true`, and creates nothing.",
            false => {
                "The same call again under it creates nothing, and is answered with 409: its answer has a secret, which is shown once."
            }
        };
        let parameter = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some(format!("1..200 printable characters. {again}")))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .build();
        operation.parameters.get_or_insert_default().push(RefOr::T(parameter));
        for (status, refusal) in ConflictRefusal::responses() {
            operation.responses.responses.entry(status).or_insert(refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use utoipa_axum::router::OpenApiRouter;

    use super::super::api_routes;
    use super::*;

    #[test]
    fn only_what_creates_something_keeps_keys() {
        assert_eq!(creation(&Method::POST, "/v1/silences"), Some((Permission::ManageAlerts, true)));
        assert_eq!(creation(&Method::POST, "/v1/api-tokens"), Some((Permission::ManageTokens, false)));
        assert_eq!(creation(&Method::GET, "/v1/silences"), None);
        assert_eq!(creation(&Method::POST, "/v1/deployments"), None, "it keeps the key with the deployment");
    }

    /// Each call that answers with 201 takes a key, here or in its handler, but for those that create once by what they name: a file, an upload, a deployment.
    #[test]
    fn whatever_creates_something_takes_a_key() {
        let in_handler = ["/v1/command-batches", "/v1/deployments", "/v1/devices/{id}/commands", "/v1/agent-builds/{id}/nudge"];
        let by_name = ["/v1/apks", "/v1/apk-uploads/{id}/complete", "/v1/deployments/{id}/rollback"];
        let all = api_routes().into_iter().fold(OpenApiRouter::new(), |all, (_, routes)| all.merge(routes));
        let mut description = all.split_for_parts().1;
        describe(&mut description);
        for (path, item) in &description.paths.paths {
            let Some(post) = item.post.as_ref().filter(|_| !by_name.contains(&path.as_str())) else { continue };
            let is_device = path == "/v1/register";
            if post.responses.responses.contains_key("201") && !is_device && !in_handler.contains(&path.as_str()) {
                assert!(creation(&Method::POST, path).is_some(), "{path}");
                let is_key =
                    |one: &RefOr<_>| matches!(one, RefOr::T(utoipa::openapi::path::Parameter { name, .. }) if name == "Idempotency-Key");
                let named = post.parameters.iter().flatten().any(is_key);
                assert!(named, "{path}");
                assert!(post.responses.responses.contains_key("409"), "{path}");
            }
        }
        let described = serde_json::to_value(&description).unwrap();
        for (path, permission, _) in CREATIONS {
            let security = &described["paths"][path]["post"]["security"];
            assert_eq!(*security, serde_json::json!([{ "person": [permission.as_str()] }]), "{path}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_not_kept_and_a_secret_neither() {
        let of = |status: StatusCode| (status, "{}").into_response();
        assert_eq!(told(of(StatusCode::CONFLICT), true).await.1, CallEnd::Refused);
        assert_eq!(told(of(StatusCode::CREATED), false).await.1, CallEnd::CarriedOut(201, None));
        let (response, kept) = told(of(StatusCode::CREATED), true).await;
        assert_eq!(kept, CallEnd::CarriedOut(201, Some(b"{}".to_vec())));
        assert_eq!(to_bytes(response.into_body(), 9).await.unwrap(), "{}");
        let long = (StatusCode::CREATED, "x".repeat(ANSWER_MAX_BYTES as usize + 1)).into_response();
        assert_eq!(told(long, true).await.1, CallEnd::CarriedOut(201, None));
    }

    #[tokio::test]
    async fn a_call_whose_end_nobody_knows_does_not_free_its_key() {
        for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT] {
            assert_eq!(told((status, "{}").into_response(), true).await.1, CallEnd::Unclear, "{status}");
        }
    }
}
