//! The runbook of a rule: what to look at and what to do when it fires, as `docs/runbooks` has it.

use dioxus::prelude::*;
use domain::alert::Rule;

macro_rules! runbooks {
    ($($Rule:ident $name:literal)*) => {
        /// Text of the runbook of a rule.
        fn text_of(rule: Rule) -> &'static str {
            match rule {
                $(Rule::$Rule => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbooks/", $name, ".md")),)*
            }
        }

        /// Rules with the names of their runbooks.
        #[cfg(test)]
        const NAMES: &[(Rule, &str)] = &[$((Rule::$Rule, $name)),*];
    };
}

runbooks! {
    DeviceOffline "device_offline"
    LowBattery "low_battery"
    AppDown "app_down"
    StorageLow "storage_low"
    AgentOutdated "agent_outdated"
    ClockWrong "clock_wrong"
    CommandFailures "command_failures"
    NeverSeen "never_seen"
    DeploymentCanaryFailed "deployment_canary_failed"
    DeploymentFailureRate "deployment_failure_rate"
    DeploymentReportErrors "deployment_report_errors"
    DeploymentBacklog "deployment_backlog"
    DeploymentPaused "deployment_paused"
    NodeLost "node_lost"
    ClusterStarted "cluster_started"
    FleetSilent "fleet_silent"
    DatabaseAway "database_away"
    DatabaseSlow "database_slow"
    PoolSaturated "pool_saturated"
    DiskLow "disk_low"
    PushRefused "push_refused"
    PushQuota "push_quota"
    AgentRolloutHalted "agent_rollout_halted"
    ArchiveFailed "archive_failed"
    DefaultPartitionNotEmpty "default_partition_not_empty"
    ReconciliationDrift "reconciliation_drift"
    CertificateExpiring "certificate_expiring"
    BackupOld "backup_old"
    AuditChainBroken "audit_chain_broken"
}

/// How the items of a part stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Paragraphs,
    Points,
    Steps,
}

/// Part of a runbook, under a heading.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    title: &'static str,
    shape: Shape,
    items: Vec<&'static str>,
}

/// Parts of a runbook; its title is that of the page.
fn parts(text: &'static str) -> Vec<Part> {
    text.split("\n## ")
        .skip(1)
        .map(|part| {
            let mut lines = part.lines().map(str::trim).filter(|line| !line.is_empty());
            let mut part = Part { title: lines.next().unwrap_or_default(), shape: Shape::Paragraphs, items: Vec::new() };
            for line in lines {
                let step = line.split_once(". ").filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
                let item = match (line.strip_prefix("- "), step) {
                    (Some(point), _) => {
                        part.shape = Shape::Points;
                        point
                    }
                    (None, Some((_, step))) => {
                        part.shape = Shape::Steps;
                        step
                    }
                    (None, None) => line,
                };
                part.items.push(item);
            }
            part
        })
        .collect()
}

/// Words of an item, and whether they are code. Of a link only its words are left: it leads to another document.
fn words(item: &str) -> Vec<(bool, String)> {
    let mut plain = String::with_capacity(item.len());
    let mut rest = item;
    while let Some((before, after)) = rest.split_once('[') {
        match after.split_once("](").and_then(|(label, target)| Some((label, target.split_once(')')?.1))) {
            Some((label, after)) => {
                plain.push_str(before);
                plain.push_str(label);
                rest = after;
            }
            None => {
                plain.push_str(before);
                plain.push('[');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain.split('`').enumerate().map(|(at, words)| (at % 2 == 1, words.to_owned())).filter(|(_, words)| !words.is_empty()).collect()
}

fn shown(item: &str) -> Element {
    rsx! {
        for (is_code, words) in words(item) {
            if is_code { code { {words} } } else { {words} }
        }
    }
}

/// The runbook of a rule.
#[component]
pub(super) fn Runbook(rule: Rule) -> Element {
    rsx! {
        section { class: "card runbook", aria_labelledby: "runbook-title", "data-testid": "runbook",
            h2 { id: "runbook-title", "Runbook" }
            for part in parts(text_of(rule)) {
                h3 { {part.title} }
                match part.shape {
                    Shape::Paragraphs => rsx! { for item in part.items { p { {shown(item)} } } },
                    Shape::Points => rsx! { ul { for item in part.items { li { {shown(item)} } } } },
                    Shape::Steps => rsx! { ol { for item in part.items { li { {shown(item)} } } } },
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_its_runbook_in_four_parts() {
        assert_eq!(NAMES.len(), Rule::ALL.len());
        for (rule, name) in NAMES {
            assert_eq!(rule.as_str(), *name);
            let shown = parts(text_of(*rule));
            let shapes: Vec<_> = shown.iter().map(|part| part.shape).collect();
            assert_eq!(shapes, [Shape::Paragraphs, Shape::Points, Shape::Steps, Shape::Paragraphs], "{name}");
            for item in shown.iter().flat_map(|part| &part.items) {
                let words = words(item);
                assert!(
                    !words.is_empty() && words.iter().all(|(_, words)| !words.contains("](") && !words.contains('`')),
                    "{name}: {item}"
                );
            }
        }
    }

    #[test]
    fn code_and_links_are_words() {
        let read = words("Ask `a[0]`, see [the [first] one](x.md#y) and `b`.");
        let plain: Vec<_> = read.iter().map(|(code, words)| (*code, words.as_str())).collect();
        assert_eq!(plain[0], (false, "Ask "));
        assert!(plain.contains(&(true, "b")), "{plain:?}");
    }
}
