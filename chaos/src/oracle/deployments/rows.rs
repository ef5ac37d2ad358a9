//! Database rows of deployments.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::facts::{AttemptRow, DeploymentRow, Deployments, Limits, OperatorAction, StopEvent, TaskRow};
use crate::fleet::Window;
use crate::harness::Psql;
use crate::oracle::rows::columns;

const HAS_DEPLOYMENTS: &str = "SELECT count(*) FROM pg_class WHERE relname = 'deployment_attempt' AND relkind = 'r'";
const DEPLOYMENTS: &str = "SELECT deployment_id, version_code, state, package, options FROM deployment";
const TASKS: &str = "
    SELECT deployment_id, device_id, canary::int, state, coalesce((extract(epoch FROM accepted_at) * 1000000)::bigint::text, ''),
           coalesce((extract(epoch FROM finished_at) * 1000000)::bigint::text, ''), coalesce(reason, '')
      FROM deployment_task";
const ATTEMPTS: &str = "
    SELECT deployment_id, device_id, (extract(epoch FROM started_at) * 1000000)::bigint,
           coalesce((extract(epoch FROM finished_at) * 1000000)::bigint::text, '')
      FROM deployment_attempt";
const EVENTS: &str = "
    SELECT deployment_id, kind, (extract(epoch FROM at) * 1000000)::bigint
      FROM deployment_event WHERE kind IN ('paused', 'resumed', 'canceled') ORDER BY event_id";

/// Deployment options as stored in the database.
#[derive(Deserialize)]
struct StoredOptions {
    canary: Option<Canary>,
    rate_per_minute: u32,
    concurrency: u32,
    window: Option<Minutes>,
}

#[derive(Deserialize)]
struct Canary {
    size: u32,
    success_threshold_pct: u32,
    min_count: u32,
}

/// Window in minutes after midnight.
#[derive(Deserialize)]
struct Minutes {
    start_minute: u16,
    end_minute: u16,
    tz: String,
}

/// Parses the options of a row.
pub(super) fn limits(text: &str) -> Result<Limits> {
    let stored: StoredOptions = serde_json::from_str(text).with_context(|| format!("invalid options `{text}`"))?;
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    Ok(Limits {
        canary: stored.canary.filter(|canary| canary.size > 0).map(|canary| (canary.success_threshold_pct, canary.min_count)),
        rate_per_minute: stored.rate_per_minute,
        concurrency: stored.concurrency,
        window: stored.window.map(|window| Window::new(clock(window.start_minute), clock(window.end_minute), window.tz)),
    })
}

/// Reads all deployments with their tasks, attempts and stops; nothing from a server without deployments.
///
/// # Errors
/// The database cannot be read or parsed.
pub(in crate::oracle) async fn read(deployments: &mut Deployments, psql: &Psql) -> Result<()> {
    if psql.run(HAS_DEPLOYMENTS, &[]).await?.trim() == "0" {
        return Ok(());
    }
    for [id, version_code, state, package, options] in columns(&psql.run(DEPLOYMENTS, &[]).await?)? {
        let row = DeploymentRow {
            package: package.to_owned(),
            version_code: version_code.parse()?,
            state: state.to_owned(),
            options: limits(options)?,
        };
        deployments.rows.insert(id.to_owned(), row);
    }
    let time = |text: &str| if text.is_empty() { Ok(None) } else { text.parse().map(Some) };
    for [id, device_id, canary, state, accepted, finished, reason] in columns(&psql.run(TASKS, &[]).await?)? {
        deployments.tasks.push(TaskRow {
            deployment: id.to_owned(),
            device_id: device_id.to_owned(),
            canary: canary == "1",
            state: state.to_owned(),
            reason: reason.to_owned(),
            accepted_us: time(accepted)?,
            finished_us: time(finished)?,
        });
    }
    for [id, device_id, started, finished] in columns(&psql.run(ATTEMPTS, &[]).await?)? {
        let (deployment, device_id) = (id.to_owned(), device_id.to_owned());
        deployments.attempts.push(AttemptRow { deployment, device_id, started_us: started.parse()?, finished_us: time(finished)? });
    }
    for [id, kind, at] in columns(&psql.run(EVENTS, &[]).await?)? {
        let (stop, on) = match kind {
            "canceled" => (StopEvent::Cancel, true),
            kind => (StopEvent::Pause, kind == "paused"),
        };
        let at_us = at.parse()?;
        deployments.operator_actions.push(OperatorAction { deployment: Some(id.to_owned()), stop, on, sent_us: at_us, answered_us: at_us });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_the_server_stores_them() {
        let window = domain::deployment::MaintenanceWindow::parse("22:00", "05:30", "Europe/Berlin").unwrap();
        let options = domain::deployment::Options { window: Some(window), ..domain::deployment::Options::conservative(100) };
        let limits = limits(&serde_json::to_string(&options).unwrap()).unwrap();
        let want = Limits {
            canary: Some((90, 5)),
            rate_per_minute: 10,
            concurrency: 3,
            window: Some(Window::new("22:00".into(), "05:30".into(), "Europe/Berlin".into())),
        };
        assert_eq!(limits, want);
        let without = domain::deployment::Options { canary: None, ..domain::deployment::Options::conservative(1) };
        assert_eq!(super::limits(&serde_json::to_string(&without).unwrap()).unwrap().canary, None);
    }
}
