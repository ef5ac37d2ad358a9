//! Acceptance criteria of the Deploy milestone: one deployment to devices of the visit alone, by a version that the library has.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};
use wire::agent::Command;

use super::Seen;
use super::visit::{Device, Told, Visit};

/// Time within which a change has to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Largest file that is fetched to compare it.
const FILE_BYTES_MAX: usize = 128 << 20;
/// Devices that are fit; one more has a low battery.
const FIT: usize = 3;

/// What is deployed, and to whom.
pub(super) struct Rollout {
    apk: String,
    package: String,
    version_code: i64,
    sha256: String,
    fit: Vec<Device>,
    low: Device,
    id: Option<String>,
}

impl Rollout {
    /// Devices with the version before the newest of the library; or why there is nothing to deploy.
    pub(super) async fn prepare(visit: &mut Visit) -> Result<Result<Self, String>> {
        let flags = visit.get("/v1/flags").await?;
        let is_on =
            |name: &str| flags["items"].as_array().into_iter().flatten().any(|flag| flag["name"] == name && flag["enabled"] == true);
        if !is_on("deployments.enabled") || is_on("deployments.kill_switch") {
            return Ok(Err("deployments are off here: turn deployments.enabled on, and the kill switch off".into()));
        }
        let library = visit.get("/v1/apks").await?;
        let Some(apk) = library["items"].as_array().and_then(|items| items.first()).cloned() else {
            return Ok(Err("the library has no APK: upload one".into()));
        };
        let text = |field: &str| apk[field].as_str().map(str::to_owned).with_context(|| format!("no {field} of the APK"));
        let (id, package, sha256) = (text("id")?, text("package")?, text("sha256")?);
        let version_code = apk["version_code"].as_i64().context("no version_code of the APK")?;
        let mut fit = Vec::new();
        for number in 0..FIT {
            fit.push(visit.enroll(&format!("fit-{number}")).await?);
        }
        let low = visit.enroll("low-battery").await?;
        let rollout = Self { apk: id, package, version_code, sha256, fit, low, id: None };
        for device in rollout.fit.clone() {
            visit.beat(&device, &rollout.told(90, version_code - 1)).await?;
        }
        visit.beat(&rollout.low.clone(), &rollout.told(10, version_code - 1)).await?;
        Ok(Ok(rollout))
    }

    fn told(&self, battery_pct: i64, version_code: i64) -> Told {
        Told { battery_pct, app: Some((self.package.clone(), version_code)) }
    }

    fn order(&self, dry_run: bool) -> Value {
        let ids: Vec<&str> = self.fit.iter().chain([&self.low]).map(|device| device.id.as_str()).collect();
        let options = json!({"canary": 1, "rate": 0, "concurrency": 10, "wifi_only": true, "min_battery": 40});
        json!({"apk_version_id": self.apk, "target": {"type": "selection", "device_ids": ids}, "options": options, "dry_run": dry_run})
    }

    fn path(&self) -> Result<String> {
        Ok(format!("/v1/deployments/{}", self.id.as_ref().context("there is no deployment: it could not be started")?))
    }

    /// Waits until what is shown of the deployment fits; what is shown, and how long it took.
    async fn until(&self, visit: &Visit, fits: impl Fn(&Value) -> bool) -> Result<(Value, Duration)> {
        let (began, path) = (Instant::now(), self.path()?);
        loop {
            let shown = visit.get(&path).await?;
            if fits(&shown) || began.elapsed() > SEEN_WITHIN {
                return Ok((shown, began.elapsed()));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn tasks(&self, visit: &Visit) -> Result<Vec<Value>> {
        let page = visit.get(&format!("{}/tasks?limit=100", self.path()?)).await?;
        Ok(page["items"].as_array().cloned().unwrap_or_default())
    }
}

/// Dry run: counts and reasons, and nothing is sent.
pub(super) async fn dry_run(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    let reply = visit.ask(Method::POST, "/v1/deployments", Some(&rollout.order(true))).await?;
    ensure!(reply.status == 200, "the dry run was answered {}", reply.detail());
    let plan = reply.json();
    let low = plan["excluded"].as_array().into_iter().flatten().any(|reason| reason["reason"] == "low_battery");
    let mut sent = 0;
    for device in rollout.fit.clone() {
        let told = rollout.told(90, rollout.version_code - 1);
        sent += visit.beat(&device, &told).await?["commands"].as_array().map_or(0, Vec::len);
    }
    let qualifying = plan["qualifying"].as_u64();
    Seen::of(
        qualifying == Some(FIT as u64) && low && sent == 0,
        format!("{FIT} devices are fit, {} qualify; low battery is a reason: {low}; commands sent: {sent}", qualifying.unwrap_or(0)),
    )
}

/// A fleet has a canary.
pub(super) async fn canary_of_a_fleet(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    let body = json!({"apk_version_id": rollout.apk, "target": {"type": "fleet"}, "options": {"canary": 0}, "dry_run": true});
    let reply = visit.ask(Method::POST, "/v1/deployments", Some(&body)).await?;
    Seen::of(
        reply.status == 422 && reply.json()["field"] == "options.canary",
        format!("a dry run without a canary was answered {}", reply.detail()),
    )
}

/// Start: tasks, the canary first.
pub(super) async fn canary_first(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    let reply = visit.ask(Method::POST, "/v1/deployments", Some(&rollout.order(false))).await?;
    ensure!(reply.status == 201, "POST /v1/deployments was answered {}", reply.detail());
    let id = reply.json()["deployment_id"].as_str().context("no deployment_id")?.to_owned();
    visit.remember_deployment(&id);
    rollout.id = Some(id);
    let (shown, _) = rollout.until(visit, |shown| shown["counts"]["sending"] == 1).await?;
    let (phase, sending) = (&shown["phase"], &shown["counts"]["sending"]);
    let tasks = rollout.tasks(visit).await?;
    Seen::of(
        tasks.len() == FIT + 1 && sending == 1 && phase == "canary",
        format!("{} tasks; phase {phase}; {sending} device is told", tasks.len()),
    )
}

/// Constraints: a reason that a person reads, when it is the device's turn.
pub(super) async fn skipped(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    rollout.until(visit, |shown| shown["counts"]["skipped"] == 1).await?;
    let tasks = rollout.tasks(visit).await?;
    let task =
        tasks.iter().find(|task| task["device_id"] == rollout.low.id.as_str()).context("no task of the device with a low battery")?;
    let words = format!("{} because of {}: {}", task["state"], task["reason"], task["reason_detail"]);
    Seen::of(task["state"] == "skipped" && task["reason"] == "low_battery", words)
}

/// The artifact: a signed command, a signed address, the announced bytes.
pub(super) async fn artifact(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    let device = sending(visit, rollout).await?;
    let answer = visit.beat(&device, &rollout.told(90, rollout.version_code - 1)).await?;
    let commands = answer["commands"].as_array().cloned().unwrap_or_default();
    let command = commands.into_iter().find(|command| command["action"] == "deploy_apk").context("the canary was told nothing")?;
    let command: Command = serde_json::from_value(command)?;
    let signed = device.would_run(&command)?;
    let params: Value = serde_json::from_str(&command.params)?;
    let announced = params["apk"]["sha256"] == rollout.sha256.as_str();
    let signers = params["apk"]["signer_sha256"].as_array().map_or(0, Vec::len);
    let url = params["apk"]["url"].as_str().context("no address of the APK")?;
    // The public address may be another than the one that is asked here.
    let path = url.find("/v1/").map(|at| &url[at..]).context("the address of the APK is none of this API")?;
    let file = visit.site.fetch(Method::GET, &format!("{}{path}", visit.site.url()), None, None, FILE_BYTES_MAX).await?;
    ensure!(file.status == 200, "the file was answered {}", file.detail());
    let same = hex::encode(Sha256::digest(&file.bytes)) == rollout.sha256;
    let cut = path.split_once('?').map_or(path, |(path, _)| path);
    let unsigned = visit.site.fetch(Method::GET, &format!("{}{cut}", visit.site.url()), None, None, FILE_BYTES_MAX).await?.status;
    Seen::of(
        signed && announced && signers > 0 && same && unsigned != 200,
        format!(
            "the command is signed: {signed}; the file has the announced SHA-256: {same}; {signers} signers are named; without its signature the address is answered {unsigned}"
        ),
    )
}

async fn sending(visit: &Visit, rollout: &Rollout) -> Result<Device> {
    let tasks = rollout.tasks(visit).await?;
    let id =
        tasks.iter().find(|task| task["state"] == "sending").and_then(|task| task["device_id"].as_str()).context("no device is told")?;
    rollout.fit.iter().find(|device| device.id == id).cloned().context("another device is told")
}

/// The canary's success opens the rollout.
pub(super) async fn gate(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    let device = sending(visit, rollout).await?;
    let path = format!("/v1/agent/deployments/{}/devices/{}/status", rollout.id.as_deref().unwrap_or_default(), device.id);
    for status in ["accepted", "downloading", "verifying", "installing", "succeeded"] {
        let reply = visit.device_posts(&device, &path, &json!({ "status": status })).await?;
        ensure!(reply.status == 200, "the status {status} was answered {}", reply.detail());
    }
    visit.beat(&device, &rollout.told(90, rollout.version_code)).await?;
    let (shown, took) = rollout.until(visit, |shown| shown["phase"] == "rollout").await?;
    Seen::of(shown["phase"] == "rollout", format!("after its success the phase is {} within {:.1} s", shown["phase"], took.as_secs_f64()))
}

/// Counters equal the tasks.
pub(super) async fn counters(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    let counted = |tasks: &[Value], state: &str| tasks.iter().filter(|task| task["state"] == state).count() as u64;
    let began = Instant::now();
    loop {
        // Both may change in between: they have to agree once.
        let (shown, tasks) = (visit.get(&rollout.path()?).await?, rollout.tasks(visit).await?);
        let counts = shown["counts"].as_object().cloned().unwrap_or_default();
        let agree = counts.iter().all(|(state, count)| count.as_u64() == Some(counted(&tasks, state)));
        if agree || began.elapsed() > SEEN_WITHIN {
            let words: Vec<String> =
                counts.iter().filter(|(_, count)| count.as_u64() != Some(0)).map(|(state, count)| format!("{count} {state}")).collect();
            return Seen::of(agree && !counts.is_empty(), format!("counters: {}; {} tasks", words.join(", "), tasks.len()));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Pause, resume and cancel are seen within ten seconds.
pub(super) async fn steering(visit: &mut Visit, rollout: &mut Rollout) -> Result<Seen> {
    let mut words = Vec::new();
    let mut all = true;
    for (act, state) in [("pause", "paused"), ("resume", "running"), ("cancel", "canceled")] {
        let reply = visit.ask(Method::POST, &format!("{}/{act}", rollout.path()?), Some(&json!({}))).await?;
        ensure!(reply.status == 200, "{act} was answered {}", reply.detail());
        let (shown, took) = rollout.until(visit, |shown| shown["state"] == state).await?;
        all &= shown["state"] == state;
        words.push(format!("{act}: {} after {:.1} s", shown["state"].as_str().unwrap_or("?"), took.as_secs_f64()));
    }
    Seen::of(all, words.join(", "))
}
