//! The reconcilers of a node, all of them.

mod clock_offset;

use std::sync::Arc;

use apk::ApkLibrary;
use tokio::sync::watch;

use super::runtime::Core;
use super::start::StartError;
use crate::agent_updates::{self, CheckCounters, Offers};
use crate::apk_retention;
use crate::history::{self, RetentionPeriods};
use crate::housekeeping;
use crate::partition;
use crate::settings::Settings;

/// State from which a node answers agent updates.
pub(super) struct AgentBuilds {
    pub(super) offers: Arc<Offers>,
    pub(super) counters: Arc<CheckCounters>,
}

/// Starts every reconciler. The builds that are offered are known when this returns.
pub(super) async fn start_reconcilers(
    core: &Core,
    library: &Arc<ApkLibrary>,
    caught_up: &watch::Receiver<bool>,
    settings: &Settings,
) -> Result<AgentBuilds, StartError> {
    let (store, updates) = (&core.store, &settings.agent_updates);
    let builds = AgentBuilds {
        offers: Arc::new(Offers::new(core.clock.clone(), updates.stale_after, core.metrics.agent_builds_halted.clone())),
        counters: Arc::default(),
    };
    // Known before the first device asks.
    builds.offers.refresh(store).await?;
    let mut reconcilers = vec![
        partition::reconciler(store, &core.metrics, settings.partition_interval),
        clock_offset::reconciler(store, &core.clock, &core.metrics, settings.clock_offset_max),
    ];
    let interval = settings.history.interval;
    reconcilers.extend(history::reconcilers(store, &core.view, caught_up, settings.device, interval, periods(settings)));
    reconcilers.extend(apk_retention::reconcilers(store, library, interval));
    reconcilers.extend(housekeeping::reconcilers(store, settings.sign_in_failures));
    reconcilers.extend(agent_updates::reconcilers(store, &builds.offers, &builds.counters, updates));
    for reconciler in reconcilers {
        core.reconcilers.start(reconciler).await?;
    }
    Ok(builds)
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
    }
}
