//! Confirmation of reported successes, unmet requirements, and what ends by itself at the deadline.

use super::*;

#[test]
fn a_reported_success_waits_for_a_heartbeat_and_holds_no_slot() {
    let mut table = Table::new(4);
    table.options.concurrency = 1;
    table.busy(0, TaskState::Installing, 10);
    (table.tasks[0].state, table.tasks[0].reported_at) = (TaskState::Confirming, Some(at(50)));
    let heartbeat = |installed, second| {
        let (heartbeat_at, composed_at) = (Some(at(second)), Some(at(second)));
        DeviceSnapshot { installed, heartbeat_at, composed_at, ..fit(at(100)) }
    };
    let decide = |table: &Table, installed, second| table.decide(|n| if n == 0 { heartbeat(installed, second) } else { fit(at(100)) });
    let plan = decide(&table, InstalledVersion::Code(1), 5);
    assert_eq!((plan.starts, plan.deployment), (vec![1], None), "the next one starts meanwhile");
    for (installed, change, detail) in [
        (InstalledVersion::Code(2), TaskChange::Finish(TaskState::Succeeded, TaskReason::Confirmed.into()), None),
        (InstalledVersion::Unknown, TaskChange::Finish(TaskState::Succeeded, TaskReason::NotInHeartbeat.into()), None),
        (
            InstalledVersion::Code(1),
            TaskChange::Finish(TaskState::Failed, ErrorCode::Reverted.into()),
            Some("heartbeat shows version code 1, 2 was installed"),
        ),
        (
            InstalledVersion::Absent,
            TaskChange::Finish(TaskState::Failed, ErrorCode::Reverted.into()),
            Some("heartbeat shows that the app is not installed, version code 2 was"),
        ),
    ] {
        let plan = decide(&table, installed, 61);
        assert_eq!((plan.changes[0], plan.details.get(&0).map(String::as_str)), ((0, change), detail));
    }
    // Whatever becomes of the deployment, the report is judged.
    table.run.state = DeploymentState::Canceled;
    let plan = decide(&table, InstalledVersion::Code(2), 61);
    assert_eq!(plan.changes[0].1, TaskChange::Finish(TaskState::Succeeded, TaskReason::Confirmed.into()));
    table.run.state = DeploymentState::Running;
    table.now = at(950);
    let plan = table.decide(|_| DeviceSnapshot { online: false, ..heartbeat(InstalledVersion::Code(1), 5) });
    assert_eq!(plan.changes[0], (0, TaskChange::Finish(TaskState::Failed, ErrorCode::Unconfirmed.into())));
    assert_eq!(plan.details[&0], "last heartbeat 2026-11-18T11:06:45Z, one within 900 s of the report required");
}

#[test]
fn a_success_that_is_taken_back_counts_for_the_canary() {
    let mut table = Table::new(3);
    table.options.canary = Some(CanaryOptions { size: 1, min_count: 1, ..CanaryOptions::conservative(3) });
    table.run.phase = Phase::Canary;
    table.tasks[0].canary = true;
    let old = |second: i64| {
        let (heartbeat_at, composed_at) = (Some(at(second)), Some(at(second)));
        DeviceSnapshot { heartbeat_at, composed_at, ..fit(at(100)) }
    };
    table.busy(0, TaskState::Installing, 10);
    (table.tasks[0].state, table.tasks[0].reported_at) = (TaskState::Confirming, Some(at(50)));
    assert_eq!(table.decide(|_| old(5)).deployment, None, "a report alone opens no gate");
    let paused = Some(DeploymentChange::Pause(PauseReason::CanaryFailed));
    assert_eq!(table.decide(|_| old(61)).deployment, paused);
    // The same after a heartbeat had confirmed it, but only for a while.
    (table.tasks[0].state, table.tasks[0].finished_at) = (TaskState::Succeeded, Some(at(55)));
    assert_eq!(table.decide(|_| old(70)).deployment, paused);
    table.now = at(955);
    assert_eq!(table.decide(|_| old(950)).deployment, Some(DeploymentChange::OpenGate));
}

#[test]
fn a_device_that_lacks_a_requirement_waits_for_it_or_is_skipped_for_it() {
    let mut table = Table::new(5);
    let snapshot = |n: usize| match n {
        0 => DeviceSnapshot { battery_pct: Some(10), ..fit(at(100)) },
        1 => DeviceSnapshot { online: false, battery_pct: Some(10), ..fit(at(100)) },
        2 => DeviceSnapshot { in_call: Some(true), ..fit(at(100)) },
        3 => DeviceSnapshot { in_call: Some(true), transport: Some(Transport::Cellular), ..fit(at(100)) },
        _ => fit(at(100)),
    };
    let change = |plan: &Plan, n: usize| plan.changes.iter().find(|(index, _)| *index == n).map(|(_, change)| *change);
    let (wait, skip) = (
        |reason: Reason| Some(TaskChange::Wait(TaskState::Queued, reason)),
        |reason: Reason| Some(TaskChange::Finish(TaskState::Skipped, reason)),
    );
    let plan = table.decide(snapshot);
    assert_eq!((plan.starts.as_slice(), change(&plan, 0)), (&[4][..], wait(ErrorCode::LowBattery.into())));
    assert_eq!(plan.details[&0], "battery 10 % < 40 %");
    // Known already, so nothing is written; another value is.
    (table.tasks[0].reason, table.tasks[0].detail) = (Some(ErrorCode::LowBattery.into()), Some("battery 10 % < 40 %".into()));
    assert_eq!(change(&table.decide(snapshot), 0), None);
    table.tasks[0].detail = Some("battery 9 % < 40 %".into());
    assert_eq!(change(&table.decide(snapshot), 0), wait(ErrorCode::LowBattery.into()));

    table.options.on_unmet = OnUnmet::Skip;
    let plan = table.decide(snapshot);
    assert_eq!((change(&plan, 0), plan.details[&0].as_str()), (skip(ErrorCode::LowBattery.into()), "battery 10 % < 40 %"));
    assert_eq!(change(&plan, 1), wait(TaskReason::Offline.into()), "what it lacks when it is back is not known");
    assert_eq!(change(&plan, 2), wait(ErrorCode::InCall.into()), "a call ends");
    assert_eq!(change(&plan, 3), skip(ErrorCode::NoWifi.into()));
    assert_eq!(plan.starts, [4]);
    // In its turn only: the canary is first.
    (table.run.phase, table.options.canary) = (Phase::Canary, Some(CanaryOptions::conservative(5)));
    table.tasks[4].canary = true;
    assert_eq!(change(&table.decide(snapshot), 0), wait(TaskReason::Canary.into()));
}

#[test]
fn at_the_deadline_and_after_the_window_the_reason_is_what_was_missing() {
    let mut table = Table::new(4);
    let snapshot = |n: usize| match n {
        0 => DeviceSnapshot { battery_pct: Some(10), ..fit(at(100)) },
        1 => DeviceSnapshot { online: false, ..fit(at(100)) },
        _ => fit(at(100)),
    };
    table.run.expires_at = at(100);
    let skipped = |reason: Reason| TaskChange::Finish(TaskState::Skipped, reason);
    let plan = table.decide(snapshot);
    assert_eq!(
        plan.changes,
        [
            (0, skipped(ErrorCode::LowBattery.into())),
            (1, skipped(TaskReason::Offline.into())),
            (2, skipped(TaskReason::Deadline.into())),
            (3, skipped(TaskReason::Deadline.into())),
        ]
    );
    assert_eq!(plan.details[&0], "battery 10 % < 40 %");
    table.options.window = Some(MaintenanceWindow::parse("22:00", "05:00", "UTC").unwrap());
    assert_eq!(table.decide(snapshot).changes[2], (2, skipped(ErrorCode::OutsideWindow.into())));
    // A period that is over opens no more: nobody waits for the deadline.
    table.run.expires_at = at(100_000);
    table.options.window = Some(MaintenanceWindow::period("2026-11-18T11:00:00Z", "2026-11-18T11:08:20Z").unwrap());
    let plan = table.decide(snapshot);
    assert!(plan.starts.is_empty() && plan.changes.iter().all(|(_, change)| *change == skipped(ErrorCode::OutsideWindow.into())));
    assert_eq!(plan.details[&3], "maintenance window 2026-11-18T11:00:00Z to 2026-11-18T11:08:20Z is over");
    table.now = at(99);
    assert_eq!(table.decide(snapshot).starts, [2, 3]);
}
