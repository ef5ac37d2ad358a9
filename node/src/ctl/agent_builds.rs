//! `ctl agent-builds`: builds of the agent, and who is offered them.

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::agent_build_args::{AgentBuildCommand, PromotionArgs};
use super::agent_build_publish::{Publish, publish};
use super::api::encoded;
use super::args::Format;
use super::devices::devices_of;
use super::output::{self, Column};
use super::{Ctl, confirm};

const LIST: &[Column] = &[
    ("ID", "/id"),
    ("CODE", "/version_code"),
    ("VERSION", "/version_name"),
    ("STATE", "/state"),
    ("PERCENT", "/rollout_percent"),
    ("COHORT", "/cohort/devices"),
    ("BEHIND", "/cohort/behind"),
    ("INSTALLED", "/running"),
    ("HALT REASON", "/halt_reason"),
    ("CHANGED", "/changed_at"),
];

const STATS: &[Column] = &[
    ("Id", "/id"),
    ("Version", "/version_name"),
    ("Version code", "/version_code"),
    ("State", "/state"),
    ("Percent", "/rollout_percent"),
    ("Halt reason", "/halt_reason"),
    ("Cohort", "/cohort/devices"),
    ("Online", "/cohort/online"),
    ("Behind", "/cohort/behind"),
    ("Installed", "/running"),
    ("Checks", "/counts/checks"),
    ("Offered", "/counts/eligible"),
    ("Downloads", "/counts/downloads"),
    ("Installs", "/counts/installs"),
    ("Failures", "/counts/failures"),
    ("Signature failures", "/counts/verify_failures"),
];

const LEGACY_PUSH: &[Column] = &[("DEVICE", "/device_id"), ("ALIAS", "/alias"), ("LAST RESULT", "/last_result_at")];

const ENROLLMENT: &[Column] = &[
    ("State", "/state"),
    ("Problem", "/problem"),
    ("Package", "/package"),
    ("Version", "/version_name"),
    ("Version code", "/version_code"),
    ("Debug build", "/debuggable"),
    ("Signed by", "/signer_sha256"),
    ("SHA-256", "/sha256"),
    ("Bytes", "/size_bytes"),
    ("Source", "/source"),
    ("File", "/file"),
    ("Updates to", "/updates"),
];

/// `ctl agent-builds ...`.
pub(super) async fn run(ctl: &mut Ctl, command: AgentBuildCommand) -> anyhow::Result<()> {
    match command {
        AgentBuildCommand::List => {
            let page = ctl.api.get("/v1/agent-builds", &[]).await?;
            output::rows(ctl.format, page["items"].as_array().map_or(&[][..], Vec::as_slice), LIST)
        }
        AgentBuildCommand::Add { apk, notes } => {
            let body = json!({"apk_id": apk, "release_notes": notes});
            let build = ctl.api.call(Method::POST, "/v1/agent-builds", Some(&body)).await?;
            output::done(ctl.format, &build, &format!("Added {}: {}", named(&build), text(&build, "id")))
        }
        AgentBuildCommand::Publish { file, promotion, notes, allow_package, package } => {
            publish(ctl, Publish { file, package, notes, allow_package, promotion }).await
        }
        AgentBuildCommand::LegacyPush { after } => {
            let query: Vec<_> = after.iter().map(|after| ("after", after.clone())).collect();
            let page = ctl.api.get("/v1/legacy-push/devices", &query).await?;
            output::rows(ctl.format, page["items"].as_array().map_or(&[][..], Vec::as_slice), LEGACY_PUSH)?;
            if let (Format::Table, Some(next)) = (ctl.format, page["next"].as_str()) {
                println!("More: --after {next}");
            }
            Ok(())
        }
        AgentBuildCommand::Enrollment => {
            let agent = ctl.api.get("/v1/agent/apk/info", &[]).await?;
            output::one(ctl.format, &agent, ENROLLMENT)
        }
        AgentBuildCommand::Promote { id, promotion } => {
            let PromotionArgs { percent, mobile_data, must_install, min_battery, yes } = promotion;
            let known = ctl.api.get(&path(&id, ""), &[]).await?;
            confirm(&format!("Offer {} to {percent} % of the devices?", named(&known)), yes)?;
            let body = json!({
                "rollout_percent": percent, "wifi_only": !mobile_data, "must_install": must_install, "min_battery": min_battery
            });
            let build = ctl.api.call(Method::POST, &path(&id, "/promote"), Some(&body)).await?;
            output::done(ctl.format, &build, &offered(&build))
        }
        AgentBuildCommand::Rollout { id, percent, yes } => {
            let known = ctl.api.get(&path(&id, ""), &[]).await?;
            // Less does no harm; more may.
            if known["rollout_percent"].as_i64().is_none_or(|now| percent > now) {
                confirm(&format!("Offer {} to {percent} % of the devices, {} % until now?", named(&known), known["rollout_percent"]), yes)?;
            }
            let build = ctl.api.call(Method::POST, &path(&id, "/rollout"), Some(&json!({"rollout_percent": percent}))).await?;
            output::done(ctl.format, &build, &offered(&build))
        }
        AgentBuildCommand::Rollback { id, yes } => {
            let known = ctl.api.get(&path(&id, ""), &[]).await?;
            confirm(&format!("Roll back {}? Devices that have installed it keep it.", named(&known)), yes)?;
            let build = ctl.api.call(Method::POST, &path(&id, "/rollback"), None).await?;
            output::done(ctl.format, &build, &format!("Rolled back {}.", named(&build)))
        }
        AgentBuildCommand::Nudge { id, rate, dry_run, yes, idempotency_key } => {
            let mut body = Map::from_iter([("dry_run".to_owned(), json!(true))]);
            body.extend(rate.map(|rate| ("rate_per_second".to_owned(), json!(rate))));
            // How many they are is known before anybody is asked.
            let plan = ctl.api.call_once(&path(&id, "/nudge"), &body, None).await?;
            let said = format!("{} behind, {} of them online.", devices_of(&plan), plan["online"]);
            if dry_run {
                return output::done(ctl.format, &plan, &said);
            }
            confirm(&format!("{said} Notify them now?"), yes)?;
            body.remove("dry_run");
            let batch = ctl.api.call_once(&path(&id, "/nudge"), &body, idempotency_key.as_deref()).await?;
            output::done(ctl.format, &batch, &format!("Notified {}: {}", devices_of(&batch), text(&batch, "id")))
        }
        AgentBuildCommand::Stats { id, hours } => {
            let stats = ctl.api.get(&path(&id, "/stats"), &[("hours", hours.to_string())]).await?;
            if ctl.format == Format::Json {
                return output::one(ctl.format, &stats, &[]);
            }
            output::one(ctl.format, &stats["build"], STATS)?;
            let errors = stats["errors"].as_array().map_or(&[][..], Vec::as_slice);
            if errors.is_empty() { Ok(()) } else { output::rows(ctl.format, errors, &[("ERROR", "/error"), ("DEVICES", "/devices")]) }
        }
    }
}

/// Path of a build, and of what can be done with it.
pub(super) fn path(id: &str, rest: &str) -> String {
    format!("/v1/agent-builds/{}{rest}", encoded(id))
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn named(build: &Value) -> String {
    format!("{} ({})", text(build, "version_name"), build["version_code"])
}

/// Whom a promoted build is offered to.
pub(super) fn offered(build: &Value) -> String {
    let cohort = &build["cohort"];
    format!(
        "{} is offered to {} % of the devices: {}, {} of them behind.",
        named(build),
        build["rollout_percent"],
        cohort["devices"],
        cohort["behind"]
    )
}
