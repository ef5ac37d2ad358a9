//! Parameters of the command that deploys an APK: `deploy_apk` of the agent API.

use domain::apk::Apk;
use domain::deployment::{Deployment, MaintenanceWindow, Options};
use serde_json::{Value, json};

/// Stands where the address was.
const HIDDEN: &str = "***";

/// The parameters as they are sent, and as people are shown them: whoever has the address may fetch the file.
pub(super) fn params(row: &Deployment, apk: &Apk, url: &str, attempt: u32) -> (String, String) {
    let with = |url: &str| {
        json!({
            "deployment_id": row.id.to_string(),
            "attempt": attempt,
            "apk": {
                "package": apk.package,
                "version_code": apk.version_code,
                "version_name": apk.version_name,
                "url": url,
                "sha256": apk.sha256,
                // Older Androids and the oldest scheme of a rotated key show the certificates before.
                "signer_sha256": apk.signers_sha256.iter().chain(&apk.lineage_sha256).collect::<Vec<_>>(),
                "size": apk.size_bytes,
            },
            "constraints": constraints(&row.options),
            // The server tries again by itself.
            "retry": {"max": 0, "backoff_sec": row.options.retries.backoff_s},
            "post_install": {"restart_intent": row.options.restart_intent},
        })
        .to_string()
    };
    (with(url), with(HIDDEN))
}

fn constraints(options: &Options) -> Value {
    let window = options.window.as_ref().and_then(MaintenanceWindow::hours);
    let window = window.map(|hours| json!({"start": hours.start(), "end": hours.end(), "tz": hours.tz()}));
    json!({
        "wifi_only": options.wifi_only,
        "min_battery": options.min_battery_pct,
        "charging_only": options.charging_only,
        "window": window,
    })
}
