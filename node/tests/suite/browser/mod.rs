//! The dashboard in a real headless Chromium, against real processes.

mod agent_builds;
mod alert_dialogs;
mod alerts;
mod apks;
mod audit;
mod chromium;
mod cluster;
mod commands;
mod deployments;
mod devices;
mod enrollment;
mod fleet;
mod guide;
mod identity;
mod kept;
mod live;
mod pages;
mod reports;
mod settings;
mod storage;
mod verdicts;

use std::time::Duration;

/// A device's state changes once in 10 seconds, and the battery not every time.
const SOME_BUCKETS: Duration = Duration::from_secs(60);
