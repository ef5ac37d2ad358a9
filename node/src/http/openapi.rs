//! The API described by itself (OpenAPI 3.1): `/openapi.json`, and `/docs` to read it in a browser.

use std::collections::BTreeMap;

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};
use wire::problem::Problem;

/// What routes have in common; they themselves are described where they are handled.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "NexMDM",
        description = "Admin API for users and scripts (devices, apps, enrollment, cluster), and the agent API.\n\n\
            Errors are problem documents (RFC 9457) that name the field, the problem and the limit. Times are RFC 3339 in UTC.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "sign-in", description = "Sessions of users"),
        (name = "people", description = "Accounts, sessions and API tokens"),
        (name = "devices", description = "Devices and fleet statistics"),
        (name = "commands", description = "Commands to devices and their outcome"),
        (name = "agent-builds", description = "Agent builds, their rollout and adoption"),
        (name = "apks", description = "APKs and managed packages"),
        (name = "enrollment", description = "Single-use enrollment tokens, scripts and QR codes"),
        (name = "audit", description = "Audit trail"),
        (name = "cluster", description = "Nodes and shards"),
        (name = "agent", description = "Agent API"),
        (name = "signals", description = "Health and metrics"),
    ),
    components(schemas(Problem)),
    modifiers(&Credentials),
)]
pub(crate) struct Description;

/// The two kinds of bearer tokens.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, description) in [
            ("person", "An access token of `POST /v1/auth/login`, or an API token of `POST /v1/api-tokens` within its scopes"),
            ("device", "A device token, or a session token of `POST /v1/agent/session`"),
            ("enrollment", "A single-use enrollment token"),
        ] {
            let mut scheme = Http::new(HttpAuthScheme::Bearer);
            scheme.description = Some(description.to_owned());
            components.add_security_scheme(name, SecurityScheme::Http(scheme));
        }
    }
}

/// Refusals with these statuses, each a problem document.
fn refusals(statuses: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let describe = |description: &str| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        RefOr::T(ResponseBuilder::new().description(description).content("application/problem+json", content).build())
    };
    statuses.iter().map(|(status, description)| (status.to_string(), describe(description))).collect()
}

/// Refusals of every call by a person or script.
pub(crate) struct PersonRefusals;

impl IntoResponses for PersonRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[
            (401, "The token is missing or invalid"),
            (403, "The role or scope does not allow it"),
            (429, "Too many requests; see `Retry-After`"),
            (503, "Overloaded, or without the database; see `Retry-After`"),
        ])
    }
}

/// Refusals of every call by a device.
pub(crate) struct DeviceRefusals;

impl IntoResponses for DeviceRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[
            (401, "The token is missing or invalid"),
            (403, "The token belongs to another device"),
            (410, "The device was deleted; the agent can delete its identity"),
            (429, "Too many requests; see `Retry-After`"),
            (503, "Nothing was stored; retry after `Retry-After`"),
        ])
    }
}

/// Refusals of calls with a body.
pub(crate) struct BodyRefusals;

impl IntoResponses for BodyRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[
            (400, "Malformed or truncated JSON"),
            (408, "The body did not arrive in time"),
            (413, "The body is too large; the limit is named"),
            (422, "Invalid value; field, problem and limit are named"),
        ])
    }
}

/// The refusal of a query that does not fit.
pub(crate) struct QueryRefusals;

impl IntoResponses for QueryRefusals {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[(422, "Invalid query parameter; field, problem and limit are named")])
    }
}

/// The refusal of what is not there.
pub(crate) struct NotFoundRefusal;

impl IntoResponses for NotFoundRefusal {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[(404, "Not found")])
    }
}

/// The refusal of what does not go together with what is there.
pub(crate) struct ConflictRefusal;

impl IntoResponses for ConflictRefusal {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[(409, "In use, or in a state that does not allow the operation")])
    }
}

/// The document and the page that shows it, all of it served from here.
pub(crate) fn pages(description: utoipa::openapi::OpenApi) -> SwaggerUi {
    // Without this the page would send the document to somebody else for validation.
    let config = Config::new(["/openapi.json"]).validator_url("none").try_it_out_enabled(true).display_request_duration(true);
    SwaggerUi::new("/docs").url("/openapi.json", description).config(config)
}
