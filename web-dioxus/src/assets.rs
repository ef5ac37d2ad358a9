//! The files that pages load: style, theme, glue, icon; cached for as long as they do not change.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::Dashboard;

const FAVICON: &str = include_str!("../assets/favicon.svg");
/// The style sheet, a file for each part of the dashboard. Later ones may build upon earlier ones.
const STYLE: &str = concat!(
    include_str!("../assets/css/tokens.css"),
    include_str!("../assets/css/foundation.css"),
    include_str!("../assets/css/frame.css"),
    include_str!("../assets/css/parts.css"),
    include_str!("../assets/css/forms.css"),
    include_str!("../assets/css/dialogs.css"),
    include_str!("../assets/css/chart.css"),
    include_str!("../assets/css/overview.css"),
    include_str!("../assets/css/devices.css"),
    include_str!("../assets/css/device.css"),
    include_str!("../assets/css/commands.css"),
    include_str!("../assets/css/apks.css"),
    include_str!("../assets/css/deployments.css"),
    include_str!("../assets/css/agent_builds.css"),
    include_str!("../assets/css/enrollment.css"),
    include_str!("../assets/css/enrollment_kit.css"),
    include_str!("../assets/css/settings.css"),
    include_str!("../assets/css/cluster.css"),
    include_str!("../assets/css/storage.css"),
    include_str!("../assets/css/audit.css"),
    include_str!("../assets/css/alerts.css"),
    include_str!("../assets/css/reports.css"),
);
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

struct Asset {
    name: &'static str,
    content_type: &'static str,
    body: String,
    version: String,
}

/// Every asset, with its version.
pub(crate) struct Assets(Vec<Asset>);

impl Assets {
    pub(crate) fn new() -> Self {
        let asset = |name, content_type, body: String| {
            let version = hex::encode(&Sha256::digest(&body)[..8]);
            Asset { name, content_type, body, version }
        };
        Self(vec![
            asset("app.css", "text/css; charset=utf-8", STYLE.to_owned()),
            asset("theme.js", "text/javascript; charset=utf-8", include_str!("../assets/theme.js").to_owned()),
            asset("login.js", "text/javascript; charset=utf-8", include_str!("../assets/login.js").to_owned()),
            asset("live.js", "text/javascript; charset=utf-8", live_script()),
        ])
    }

    /// Address of an asset; changes whenever the asset does.
    pub(crate) fn url(&self, name: &str) -> String {
        match self.find(name) {
            Some(asset) => format!("/assets/{name}?v={}", asset.version),
            None => format!("/assets/{name}"),
        }
    }

    fn find(&self, name: &str) -> Option<&Asset> {
        self.0.iter().find(|asset| asset.name == name)
    }
}

/// Dioxus' interpreter, which applies changes to the document, and our end of the socket.
fn live_script() -> String {
    use dioxus_interpreter_js::{NATIVE_JS, unified_bindings::SLEDGEHAMMER_JS};
    // Both are written as modules; together they are one classic script.
    let mut script = format!("{SLEDGEHAMMER_JS}\n{NATIVE_JS}").replace("export", "");
    while let Some(start) = script.find("import") {
        let end = script[start..].find([';', '\n']).map_or(script.len(), |length| start + length);
        script.replace_range(start..end, "");
    }
    let ours = [
        include_str!("../assets/live.js"),
        include_str!("../assets/kept.js"),
        include_str!("../assets/menus.js"),
        include_str!("../assets/chart.js"),
        include_str!("../assets/apk_upload.js"),
        include_str!("../assets/deployment_form.js"),
    ];
    format!("{script}\n{}", ours.join("\n"))
}

/// `GET /assets/{name}`
pub(crate) async fn serve(
    State(dashboard): State<Arc<Dashboard>>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(asset) = dashboard.assets.find(&name) else { return StatusCode::NOT_FOUND.into_response() };
    let current = query.as_deref().and_then(|query| query.strip_prefix("v=")) == Some(asset.version.as_str());
    let cache = if current { IMMUTABLE } else { "no-cache" };
    let etag = format!("\"{}\"", asset.version);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, asset.content_type)], asset.body.clone()).into_response(),
    };
    let answer = response.headers_mut();
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        answer.insert(header::ETAG, etag);
    }
    response
}

/// `GET /favicon.svg`
pub(crate) async fn favicon() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "public, max-age=86400"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, FAVICON).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_glue_is_one_classic_script_that_evaluates_nothing() {
        let script = live_script();
        assert!(script.contains("NativeInterpreter"));
        assert!(!script.contains("import "), "no module syntax is left");
        assert!(!script.contains("eval("));
    }

    #[test]
    fn an_asset_url_names_its_version() {
        let assets = Assets::new();
        let url = assets.url("app.css");
        assert!(url.starts_with("/assets/app.css?v=") && url.len() == "/assets/app.css?v=".len() + 16, "{url}");
    }
}
