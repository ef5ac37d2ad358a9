//! The agent that new devices get: its version, its signer, where it came from, and how to get one.

use dioxus::prelude::*;
use enrollment_kit::agent_apk::ApkVersion;
use enrollment_kit::location::ApkSource;
use services::{AgentUpdate, EnrollmentAgent, EnrollmentApk};

use crate::components::{CopyButton, EmptyState, Glyph, Problem, Skeleton, icon};
use crate::format;

/// Digits of a digest that are shown; all are in its title and copied.
const DIGEST_CHARS: usize = 12;

#[component]
pub(super) fn Agent(shown: Option<EnrollmentAgent>, problem: Option<String>, onretry: EventHandler<()>) -> Element {
    rsx! {
        section { class: "card agent-apk", aria_labelledby: "agent-title", "data-testid": "agent-apk",
            div { class: "card-head",
                h2 { id: "agent-title", "Agent for new devices" }
                if let Some(version) = shown.as_ref().filter(|agent| agent.problem.is_none()).and_then(version_of) {
                    {build_type(version)}
                }
            }
            if let Some(problem) = problem {
                Problem { text: problem, onretry: move |()| onretry.call(()) }
            }
            match &shown {
                None => rsx! { Skeleton {} },
                Some(EnrollmentAgent { apk: None, .. }) => rsx! { Missing {} },
                Some(agent @ EnrollmentAgent { apk: Some(apk), problem, .. }) => rsx! {
                    if let Some(problem) = problem {
                        p { class: "notice bad", role: "alert", "data-testid": "agent-problem", {icon(Glyph::Alert)} span { {format::sentence(problem)} } }
                    }
                    Facts { version: version_of(agent).cloned(), apk: apk.clone() }
                    if let Some(line) = updates_text(&agent.updates) {
                        p { class: "muted", "data-testid": "agent-updates", "{line}" }
                    }
                },
            }
        }
    }
}

/// Facts of the manifest, where the file could be verified.
fn version_of(agent: &EnrollmentAgent) -> Option<&ApkVersion> {
    agent.apk.as_ref()?.facts.as_ref()?.version.as_ref().ok()
}

fn build_type(version: &ApkVersion) -> Element {
    match version.debuggable {
        Some(true) => rsx! { span { class: "badge warn", "data-testid": "agent-build-type", "Debug build" } },
        Some(false) => rsx! { span { class: "badge good", "data-testid": "agent-build-type", "Release build" } },
        None => rsx! {},
    }
}

#[component]
fn Missing() -> Element {
    rsx! {
        EmptyState { glyph: Glyph::Package, title: "No agent APK on this node", text: "Scripts can enroll devices that already have the agent. To install it, and for QR codes, this node needs an agent APK. A new APK is detected within seconds.",
            ul { class: "agent-ways", "data-testid": "agent-ways",
                li { "Build the APK: " code { "make agent" } " or " code { "make agent-release" } " in the checkout that the node was started in." }
                li { "Or copy the APK to " code { "agent/nexmdm-agent.apk" } " in the data folder of the node." }
                li { "Or set " code { "NEXMDM__ENROLLMENT__AGENT_APK_FILE" } " to its path, and restart the node." }
            }
        }
    }
}

#[component]
fn Facts(version: Option<ApkVersion>, apk: EnrollmentApk) -> Element {
    let size = apk.facts.as_ref().map(|facts| i64::try_from(facts.size).unwrap_or(i64::MAX));
    let sha256 = apk.facts.as_ref().map(|facts| facts.sha256.clone());
    rsx! {
        dl { class: "facts wide",
            if let Some(version) = version {
                div { dt { "Version" }
                    dd { "data-testid": "agent-version", strong { "{version.version_name}" } " " span { class: "muted", "({version.version_code})" } }
                }
                div { dt { "Package" } dd { code { "{version.package}" } } }
            }
            if let Some(signer) = apk.signer_sha256 {
                div { dt { "Signer (SHA-256)" } dd { {digest(&hex::encode(signer), "agent-signer")} } }
            }
            if let Some(sha256) = sha256 {
                div { dt { "File (SHA-256)" } dd { {digest(&sha256, "agent-sha256")} } }
            }
            if let Some(size) = size {
                div { dt { "Size" } dd { "data-testid": "agent-size", {format::bytes(size)} } }
            }
            div { dt { "Source" }
                dd { "data-testid": "agent-source",
                    {source_text(apk.source)}
                    if let Some(file) = &apk.file {
                        span { class: "agent-file", code { "{file.display()}" } }
                    }
                }
            }
        }
    }
}

/// The beginning of a digest.
fn digest(hex: &str, testid: &str) -> Element {
    let short = hex.get(..DIGEST_CHARS).unwrap_or(hex);
    rsx! {
        span { class: "agent-digest",
            code { title: "{hex}", "data-testid": testid, "{short}…" }
            CopyButton { text: hex, label: "Copy the digest" }
        }
    }
}

fn source_text(source: ApkSource) -> &'static str {
    match source {
        ApkSource::Setting => "Setting enrollment.agent_apk_file",
        ApkSource::DataFolder => "Data folder of the node",
        ApkSource::ReleaseBuild => "Release build of the checkout",
        ApkSource::DebugBuild => "Debug build of the checkout",
    }
}

/// Builds that devices update to once they are enrolled: "1.4.2 (10 %) or 1.4.1 (100 %)".
fn updates_text(updates: &[AgentUpdate]) -> Option<String> {
    let versions: Vec<_> = updates.iter().map(|update| format!("{} ({} %)", update.version_name, update.rollout_percent)).collect();
    (!versions.is_empty()).then(|| format!("Devices update themselves to {} after enrollment.", versions.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_named_with_their_share_the_newest_first() {
        let update = |name: &str, rollout_percent| AgentUpdate { version_code: 1, version_name: name.into(), rollout_percent };
        assert_eq!(updates_text(&[]), None);
        assert_eq!(updates_text(&[update("1.4.2", 10)]).unwrap(), "Devices update themselves to 1.4.2 (10 %) after enrollment.");
        assert!(updates_text(&[update("1.4.2", 10), update("1.4.1", 100)]).unwrap().contains("1.4.2 (10 %) or 1.4.1 (100 %)"));
    }
}
