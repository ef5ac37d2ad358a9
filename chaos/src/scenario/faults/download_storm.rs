//! Download storm: one deployment to the whole fleet without a rate, a canary or a limit of concurrency, so that all devices
//! download its APK at once.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Fault, Healing, InForce, OutOfLimits, Scene, within};
use crate::deployment_api::Api;

/// Signed APK of the package `com.example.shelf`.
const SMALL_APK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/testdata/apks/shelf-1.apk");
/// Most devices of a deployment by ids.
const DEVICES_MAX: usize = 10_000;
/// Least share of devices that have installed it in the end; some of a fleet fail by themselves.
const SUCCEEDED_SHARE: f64 = 0.8;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Deployment to all devices at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DownloadStorm {
    /// APK to deploy [default: a small one of the tests]
    pub apk: Option<PathBuf>,
    /// Its package
    pub package: String,
    /// Time within which all devices have installed it, 1 to 3,600 s; the fault ends earlier when they have
    pub within_s: u64,
}

impl Default for DownloadStorm {
    fn default() -> Self {
        Self { apk: None, package: "com.example.shelf".into(), within_s: 180 }
    }
}

impl fmt::Display for DownloadStorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "deploy {} to all devices at once", self.package)
    }
}

impl Fault for DownloadStorm {
    fn check(&self) -> Result<(), OutOfLimits> {
        within("within_s", self.within_s, 1, 3_600)
    }

    fn begin<'a>(&'a self, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<InForce>> {
        async move {
            let servers = scene.cluster.members().iter().map(|member| member.url()).collect();
            let api = Api::new(servers, scene.cluster.admin_password())?;
            let apk = api.prepare(self.apk.as_deref().unwrap_or(Path::new(SMALL_APK)), &self.package).await?;
            // By their ids: a deployment to the fleet takes a canary.
            let listed = scene.cluster.psql().run("SELECT device_id FROM device WHERE deleted_at IS NULL", &[]).await?;
            let devices: Vec<&str> = listed.lines().map(str::trim).filter(|id| !id.is_empty()).take(DEVICES_MAX).collect();
            let options = json!({"canary": {"size": 0}, "rate_per_minute": 0, "concurrency": 10_000, "wifi_only": false, "min_battery_pct": 0,
                "retries": {"max": 3, "backoff_seconds": 1}, "failure_pause": {"threshold_pct": 100, "min_count": 10_000}});
            let made = api.deploy(&apk, "download storm", &json!({"ids": devices}), &options).await?;
            let id = made["id"].as_str().context("a deployment without id")?.to_owned();
            let until = Instant::now() + Duration::from_secs(self.within_s);
            Ok(InForce::until(Storm { api, id, began: Instant::now(), until }))
        }
        .boxed()
    }
}

struct Storm {
    api: Api,
    id: String,
    began: Instant,
    until: Instant,
}

impl Healing for Storm {
    /// Waits for its end.
    fn heal<'a>(self: Box<Self>, scene: &'a mut Scene<'_>) -> BoxFuture<'a, Result<()>> {
        async move {
            loop {
                let deployment = self.api.deployment(&self.id).await?;
                let (counts, is_over) = (&deployment["counts"], !deployment["finished_at"].is_null());
                if !is_over && Instant::now() < self.until {
                    sleep(LOOK_EVERY).await;
                    continue;
                }
                let seconds = self.began.elapsed().as_secs_f64();
                scene.note(format!("{} after {seconds:.1} s: {counts}", deployment["state"].as_str().unwrap_or_default()));
                if share_succeeded(counts) < SUCCEEDED_SHARE {
                    scene.broken.push(format!("too few devices have installed it after {seconds:.1} s: {}, {counts}", deployment["state"]));
                }
                if !is_over {
                    self.api.transition(0, &self.id, "cancel").await?;
                }
                return Ok(());
            }
        }
        .boxed()
    }
}

/// Share of the devices of a deployment that have installed it.
fn share_succeeded(counts: &Value) -> f64 {
    let of = |state: &str| counts[state].as_u64().unwrap_or(0);
    let all: u64 = counts.as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    // Numbers of devices are far below what a float holds.
    of("succeeded") as f64 / all.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_counted_in_all_states() {
        assert_eq!(share_succeeded(&json!({"succeeded": 3, "failed": 1, "queued": 0})), 0.75);
        assert_eq!(share_succeeded(&json!({})), 0.0);
    }
}
