//! The API described by itself (OpenAPI 3.1): `/openapi.json`, and `/docs` to read it in a browser.

use std::collections::BTreeMap;

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};
use utoipa_swagger_ui::{Config, SwaggerUi};
use wire::problem::Problem;

/// The parts of the API description that routes share; each route is described where it is handled.
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
        (name = "deployments", description = "Deployments of APKs to devices"),
        (name = "flags", description = "Cluster-wide feature flags"),
        (name = "enrollment", description = "Single-use enrollment tokens, scripts and QR codes"),
        (name = "alerts", description = "Alerts, their rules, silences, channels and routes"),
        (name = "reports", description = "Reports of the fleet, and their schedules"),
        (name = "audit", description = "Audit trail"),
        (name = "cluster", description = "Nodes and shards"),
        (name = "storage", description = "Days of heartbeats, their archives, and what they take"),
        (name = "agent", description = "Agent API"),
        (name = "signals", description = "Health and metrics"),
    ),
    components(schemas(Problem)),
    modifiers(&Credentials),
)]
pub(crate) struct Description;

/// The kinds of bearer tokens.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, description) in [
            (
                "person",
                "An access token of `POST /v1/auth/login`, or an API token of `POST /v1/api-tokens`; the permission that the operation names is \
                 one of the role, and a scope of the token",
            ),
            ("sign_in", "An access token of `POST /v1/auth/login`; API tokens are refused"),
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
            (415, "The body has a Content-Encoding other than gzip and deflate"),
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use utoipa::OpenApi;
    use utoipa_axum::router::OpenApiRouter;

    use super::*;

    fn description() -> serde_json::Value {
        let empty = OpenApiRouter::with_openapi(Description::openapi());
        let routes = super::super::api_routes().into_iter().fold(empty, |all, (_, routes)| all.merge(routes));
        serde_json::to_value(routes.into_openapi()).unwrap()
    }

    #[test]
    fn every_tag_of_a_route_is_described_and_every_described_one_has_routes() {
        let description = description();
        let operations = description["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
        let mut used = BTreeSet::new();
        for operation in operations {
            let tags: Vec<_> = operation["tags"].as_array().into_iter().flatten().filter_map(|tag| tag.as_str()).collect();
            assert_eq!(tags.len(), 1, "{operation}");
            used.extend(tags);
        }
        let described: Vec<_> = description["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
        assert_eq!(described.iter().copied().collect::<BTreeSet<_>>(), used);
        assert_eq!(described.len(), used.len(), "each is described once");
    }

    /// What nothing can be called is not found, whatever the route would do with it.
    #[test]
    fn every_route_with_a_parameter_in_its_path_describes_404() {
        let description = description();
        for (path, operations) in description["paths"].as_object().unwrap().iter().filter(|(path, _)| path.contains('{')) {
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["responses"].get("404").is_some(), "{method} {path}");
            }
        }
    }

    #[test]
    fn the_document_of_the_api_names_every_resource() {
        let named: BTreeSet<_> = include_str!("../../../docs/api.md")
            .split(['`', ' ', ',', '|'])
            .filter_map(|word| word.strip_prefix('/'))
            .map(resource)
            .collect();
        let description = description();
        let missing: Vec<_> =
            description["paths"].as_object().unwrap().keys().filter(|path| !named.contains(&resource(&path[1..]))).collect();
        assert_eq!(missing, Vec::<&String>::new());
    }

    /// The first part of a path, after the version.
    fn resource(path: &str) -> String {
        path.trim_start_matches("v1/").split('/').next().unwrap_or_default().to_owned()
    }
}
