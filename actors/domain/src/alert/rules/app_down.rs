//! `app_down`: the monitored app is down in several heartbeats in a row.

use crate::alert::{DeviceFacts, Evaluation, Judging};
use crate::device::AppStatus;
use crate::quantity;

/// One heartbeat in which it is up clears.
pub(super) fn evaluate(device: &DeviceFacts<'_>, at: &Judging<'_>) -> Evaluation {
    let Some(last) = device.reported() else { return Evaluation::UNKNOWN };
    let needed = at.thresholds.get("heartbeats");
    match device.app_status {
        AppStatus::Unknown => Evaluation::UNKNOWN,
        AppStatus::Up => Evaluation::OK,
        AppStatus::Down if i64::from(device.streaks.app_down) < needed => Evaluation::UNKNOWN,
        AppStatus::Down => {
            let why = match (last.telemetry.app_running, last.telemetry.foreground_recent_s) {
                (Some(false), _) => "does not run".to_owned(),
                (_, Some(recent_s)) => format!("was last in the foreground {} ago", quantity::duration(recent_s.into())),
                _ => "is not installed".to_owned(),
            };
            let heartbeats = quantity::count(device.streaks.app_down.into(), "heartbeat", "heartbeats in a row");
            Evaluation::firing(format!("the app {why}, {heartbeats}, limit {needed}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::*;
    use crate::device::AppStatus;

    #[test]
    fn two_heartbeats_in_a_row_raise_and_one_clears() {
        let down = Device { app_status: AppStatus::Down, app_running: Some(false), ..Device::new() };
        for (status, in_a_row, firing, verdict) in [
            (AppStatus::Down, 1, false, "unknown"),
            (AppStatus::Down, 2, false, "the app does not run, 2 heartbeats in a row, limit 2"),
            // After a failover the count begins anew, and the alert stands.
            (AppStatus::Down, 1, true, "unknown"),
            (AppStatus::Unknown, 2, true, "unknown"),
            (AppStatus::Up, 0, true, "ok"),
        ] {
            let device = Device { app_status: status, app_down: in_a_row, ..down };
            let judged = At { firing, ..At::default() }.of_device(Rule::AppDown, &device);
            assert_eq!(judged.0, verdict, "{status:?} {in_a_row} {firing}");
        }
        let behind = Device { app_running: Some(true), foreground_recent_s: Some(660), app_down: 3, ..down };
        assert_eq!(
            At::default().of_device(Rule::AppDown, &behind).0,
            "the app was last in the foreground 11 min ago, 3 heartbeats in a row, limit 2"
        );
    }
}
