//! The reconcilers of a node, all of them.

mod alert_records;
mod clock_offset;
mod command_queues;

use std::collections::VecDeque;
use std::sync::Arc;

use apk::ApkLibrary;
use tokio::sync::watch;

use super::runtime::{Core, Members, Writers};
use super::start::StartError;
use crate::agent_updates::{self, CheckCounters};
use crate::alert::{self, AuditWatch, CountedTasks, DeploymentRules, HealthWatch, Outages, Remediation, SystemRules};
use crate::apk_retention;
use crate::audit_archive;
use crate::backups;
use crate::device::DeviceMsg;
use crate::digest;
use crate::event_subscriptions;
use crate::history::{self, RetentionPeriods};
use crate::housekeeping;
use crate::pace::Pacer;
use crate::partition;
use crate::reconcile::Reconciler;
use crate::reconciliation::{self, Records};
use crate::reports;
use crate::settings::Settings;
use crate::storage_samples;

/// Starts every reconciler. The builds that are offered are known when this returns; answers the counters of checks for updates.
pub(super) async fn start_reconcilers(
    core: &mut Core,
    writers: &Writers,
    members: &Members,
    library: &Arc<ApkLibrary>,
    partitions: &Arc<partition::Manager>,
    caught_up: &watch::Receiver<bool>,
    settings: &Settings,
) -> Result<Arc<CheckCounters>, StartError> {
    let (store, updates) = (&core.store.clone(), &settings.agent_updates);
    let counters = Arc::default();
    // Known before the first device asks.
    core.offers.refresh(store).await?;
    let mut reconcilers = vec![
        storage_samples::reconciler(store, &settings.storage_disk),
        clock_offset::reconciler(store, &core.clock, &core.metrics, settings.clock_offset_max),
    ];
    reconcilers.extend(partition::reconcilers(store, partitions, &core.metrics, settings.partition_interval));
    let interval = settings.history.interval;
    reconcilers.extend(history::reconcilers(store, &core.view, caught_up, settings.device, interval, periods(settings)));
    let pacer = Pacer::new(settings.pace, Some(core.metrics.write_times.clone()));
    let records = Records { clock: core.clock.clone(), store: store.clone(), metrics: core.metrics.clone(), pacer };
    reconcilers.push(reconciliation::reconciler(records.clone(), settings.reconciliation));
    reconcilers.push(command_queues::reconciler(
        records,
        members.name.clone(),
        Arc::clone(&core.ownership),
        Arc::clone(&members.parts.directory),
        settings.reconciliation,
    ));
    reconcilers.extend(reports::reconcilers(store, settings.device, interval, settings.reports));
    reconcilers.extend(apk_retention::reconcilers(store, library, interval));
    reconcilers.push(backups::reconciler(store, &core.clock, &core.metrics, &members.name, &settings.backup, &settings.apks));
    reconcilers.push(audit_archive::reconciler(store, partitions.archives(), settings.history.audit_kept));
    reconcilers.extend(housekeeping::reconcilers(store, settings.sign_in_failures));
    let outages = Outages::default();
    let woken = Arc::clone(&core.reconcilers);
    let on_return = Box::new(move || woken.wake(alert::ALERT_SYSTEM));
    core.tasks.spawn(outages.clone().keep_watching(store.clone(), core.clock.clone(), on_return, core.stopping.clone()));
    reconcilers.extend(alerts(core, writers, members, outages, settings));
    reconcilers.extend([digest::reconciler(store, &core.clock), event_subscriptions::reconciler(store, &core.clock)]);
    reconcilers.extend(agent_updates::reconcilers(store, &core.offers, &counters, updates));
    for reconciler in reconcilers {
        core.reconcilers.start(reconciler).await?;
    }
    Ok(counters)
}

/// The reconcilers of alerts.
fn alerts(core: &Core, writers: &Writers, members: &Members, outages: Outages, settings: &Settings) -> Vec<Reconciler> {
    let directory = Arc::clone(&members.parts.directory);
    let judge_anew = move || {
        for device in directory.iter() {
            // A device that stops is judged by its next owner.
            let _ = device.cast(DeviceMsg::JudgeAlerts);
        }
    };
    vec![
        alert::rules_reconciler(&core.rules, Box::new(judge_anew)),
        alert_records::reconciler(core, writers, members),
        DeploymentRules {
            clock: core.clock.clone(),
            store: core.store.clone(),
            ownership: Arc::clone(&core.ownership),
            rules: Arc::clone(&core.rules),
            writer: writers.alerts.clone(),
            counted: CountedTasks::default(),
        }
        .reconciler(),
        SystemRules {
            clock: core.clock.clone(),
            store: core.store.clone(),
            view: Arc::clone(&core.view),
            rules: Arc::clone(&core.rules),
            writer: writers.alerts.clone(),
            outages,
            metrics: core.metrics.clone(),
            since: None,
            audit: AuditWatch::default(),
            watches_backups: settings.backup.directory.is_some(),
        }
        .reconciler(),
        HealthWatch {
            name: members.name.clone(),
            store: core.store.clone(),
            push: writers.push.clone(),
            data_dir: settings.alerts.data_dir.clone(),
            certificates: settings.alerts.certificates.clone(),
            pool_full_since: None,
            write_times: core.metrics.write_times.clone(),
            minute: VecDeque::new(),
        }
        .reconciler(),
        Remediation {
            clock: core.clock.clone(),
            store: core.store.clone(),
            rules: Arc::clone(&core.rules),
            metrics: core.metrics.clone(),
            open_per_device_max: settings.alerts.open_commands_max,
            after: None,
        }
        .reconciler(),
        alert::retention(&core.store, settings.history.interval, settings.alerts.kept),
    ]
}

fn periods(settings: &Settings) -> RetentionPeriods {
    RetentionPeriods {
        deleted_devices: settings.history.restore_within,
        events: settings.history.events_kept,
        hours: settings.history.hours_kept,
        commands: settings.history.commands_kept,
        idempotency_keys: settings.history.idempotency_keys_kept,
        deployments: settings.deployments.kept,
        update_counters: settings.agent_updates.counters_kept,
        update_outcomes: settings.agent_updates.outcomes_kept,
        enroll_tokens: settings.history.enroll_tokens_kept,
        reconciliation_runs: settings.reconciliation.runs_kept,
    }
}
