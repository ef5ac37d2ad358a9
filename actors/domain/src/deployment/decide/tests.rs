//! P5, over thousands of random fleets, outcomes and clocks; and tables of single decisions.

use proptest::prelude::*;

use super::super::{
    CanaryOptions, FailurePause, InstalledVersion, MaintenanceWindow, Retries, Stage, TaskStatus, TaskUpdate, apply_report, ineligibility,
};
use super::*;
use crate::heartbeat::Transport;

mod ends;

fn at(second: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_795_000_000 + second, 0).unwrap()
}

fn device(n: usize) -> DeviceId {
    DeviceId(uuid::Uuid::from_u128(n as u128))
}

fn run() -> Run {
    Run {
        state: DeploymentState::Running,
        phase: Phase::Canary,
        canary_ran: TimeDelta::zero(),
        judged_since: at(0),
        expires_at: at(1_000_000),
        version_code: 2,
        min_sdk: Some(26),
        target_sdk: Some(30),
        native_abis: AbiSet::default(),
    }
}

fn fit(now: Timestamp) -> DeviceSnapshot {
    DeviceSnapshot {
        online: true,
        received_at: Some(now),
        battery_pct: Some(90),
        transport: Some(Transport::Wifi),
        sdk_int: Some(33),
        installed: InstalledVersion::Code(1),
        heartbeat_at: Some(now),
        composed_at: Some(now),
        ..DeviceSnapshot::default()
    }
}

struct Table {
    options: Options,
    run: Run,
    tasks: Vec<Task>,
    blocked: Option<BlockReason>,
    now: Timestamp,
}

impl Table {
    fn new(devices: usize) -> Self {
        let options = Options { rate_per_minute: 0, concurrency: 100, canary: None, ..Options::conservative(devices) };
        let tasks = (0..devices).map(|n| Task::new(device(n), false)).collect();
        Self { options, run: Run { phase: Phase::Rollout, ..run() }, tasks, blocked: None, now: at(100) }
    }

    fn decide(&self, snapshot: impl Fn(usize) -> DeviceSnapshot) -> Plan {
        decide(&PlanInput {
            options: &self.options,
            run: self.run,
            blocked: self.blocked,
            accept_within: TimeDelta::seconds(120),
            silent_within: TimeDelta::seconds(1_800),
            confirm_within: TimeDelta::seconds(900),
            tasks: &self.tasks,
            starts: &[],
            snapshot: &|id| Some(snapshot(id.0.as_u128() as usize)),
            elsewhere: &|id| id.0.as_u128() == 99,
            now: self.now,
        })
    }

    fn busy(&mut self, n: usize, state: TaskState, started: i64) {
        let task = &mut self.tasks[n];
        (task.state, task.attempts, task.started_at) = (state, 1, Some(at(started)));
        task.stage = (state == TaskState::Installing).then_some(Stage::Accepted);
    }
}

#[test]
fn what_is_over_by_itself_ends_with_its_reason() {
    let now = at(100);
    let mut table = Table::new(6);
    let snapshot = |n: usize| match n {
        0 => DeviceSnapshot { installed: InstalledVersion::Code(2), ..fit(now) },
        1 => DeviceSnapshot { installed: InstalledVersion::Code(7), ..fit(now) },
        2 => DeviceSnapshot { deleted: true, ..fit(now) },
        3 => DeviceSnapshot { sdk_int: Some(25), ..fit(now) },
        _ => fit(now),
    };
    let plan = table.decide(snapshot);
    let over = |reason: TaskReason| TaskChange::Finish(TaskState::Skipped, reason.into());
    assert_eq!(plan.starts, [4, 5]);
    assert_eq!(
        plan.changes,
        [
            (0, over(TaskReason::AlreadyInstalled)),
            (1, over(TaskReason::AlreadyInstalled)),
            (2, over(TaskReason::DeviceDeleted)),
            (3, over(TaskReason::SdkTooOld))
        ]
    );
    table.run.expires_at = now;
    assert!(table.decide(snapshot).changes.contains(&(4, over(TaskReason::Deadline))));
}

#[test]
fn devices_that_would_refuse_the_app_are_skipped() {
    let refusal = |target, app: &[&str], sdk, device: Option<&str>| {
        let run = Run { target_sdk: target, native_abis: AbiSet::of(app.iter().copied()), ..run() };
        run.refusal(sdk, device.and_then(AbiSet::reported))
    };
    for (n, (target, app, sdk, device, want)) in [
        (Some(33), &[][..], Some(33), Some("arm64-v8a"), None),
        (Some(33), &[], Some(25), Some("arm64-v8a"), Some(TaskReason::SdkTooOld)),
        (Some(33), &[], None, None, None),
        (Some(22), &[], Some(33), None, None),
        (Some(22), &[], Some(34), None, Some(TaskReason::TargetSdkTooOld)),
        (Some(23), &[], Some(34), None, None),
        (Some(23), &[], Some(35), None, Some(TaskReason::TargetSdkTooOld)),
        (Some(24), &[], Some(36), None, None),
        (None, &[], Some(36), None, None),
        (Some(33), &["x86"], Some(33), Some("arm64-v8a,armeabi-v7a"), Some(TaskReason::NoMatchingAbi)),
        (Some(33), &["x86", "armeabi-v7a"], Some(33), Some("arm64-v8a,armeabi-v7a"), None),
        (Some(33), &["x86"], Some(33), None, None),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(refusal(target, app, sdk, device), want, "row {n}");
    }
    let mut table = Table::new(2);
    table.run.native_abis = AbiSet::of(["arm64-v8a"]);
    let snapshot = |n: usize| DeviceSnapshot { abis: AbiSet::reported(if n == 0 { "armeabi-v7a" } else { "arm64-v8a" }), ..fit(at(100)) };
    let plan = table.decide(snapshot);
    let skipped = TaskChange::Finish(TaskState::Skipped, TaskReason::NoMatchingAbi.into());
    assert_eq!((plan.starts, plan.changes), (vec![1], vec![(0, skipped)]));
}

#[test]
fn a_heartbeat_tells_what_the_device_forgot_to_say() {
    let mut table = Table::new(2);
    table.busy(0, TaskState::Installing, 50);
    table.busy(1, TaskState::Sending, 50);
    let newer = |received| DeviceSnapshot { installed: InstalledVersion::Code(2), received_at: Some(received), ..fit(at(100)) };
    assert_eq!(table.decide(|_| newer(at(50))).changes, [], "told before it was started");
    let seen = TaskChange::Finish(TaskState::Succeeded, TaskReason::SeenInHeartbeat.into());
    let plan = table.decide(|_| newer(at(51)));
    assert_eq!((plan.changes, plan.deployment), (vec![(0, seen), (1, seen)], Some(DeploymentChange::Finish)));
}

#[test]
fn who_does_not_answer_is_tried_again_and_given_up_in_the_end() {
    let mut table = Table::new(2);
    table.busy(0, TaskState::Sending, -20);
    table.busy(1, TaskState::Installing, -1_700);
    let plan = table.decide(|_| fit(at(100)));
    assert_eq!(plan.changes[0], (0, TaskChange::Retry(TaskReason::NoAnswer.into(), Some(at(160)))));
    assert_eq!(plan.changes[1], (1, TaskChange::Retry(ErrorCode::Timeout.into(), Some(at(160)))));
    table.tasks.iter_mut().for_each(|task| task.attempts = 3);
    let plan = table.decide(|_| fit(at(100)));
    assert_eq!(plan.changes[0], (0, TaskChange::Finish(TaskState::Failed, ErrorCode::Timeout.into())));
    table.tasks[1].reported_at = Some(at(99));
    assert_eq!(table.decide(|_| fit(at(100))).changes.len(), 1, "it was heard of a second ago");
}

#[test]
fn a_pause_takes_back_what_no_device_has_and_leaves_the_rest_to_finish() {
    for (state, blocked) in [
        (DeploymentState::Paused, None),
        (DeploymentState::Running, Some(BlockReason::KillSwitch)),
        (DeploymentState::Running, Some(BlockReason::FlagOff)),
    ] {
        let mut table = Table::new(3);
        table.busy(0, TaskState::Sending, 90);
        table.busy(1, TaskState::Installing, 90);
        (table.run.state, table.blocked) = (state, blocked);
        let plan = table.decide(|_| fit(at(100)));
        assert_eq!((plan.starts, plan.changes), (vec![], vec![(0, TaskChange::Retry(TaskReason::Paused.into(), None))]));
    }
    let mut table = Table::new(3);
    table.busy(0, TaskState::Sending, 90);
    table.busy(1, TaskState::Installing, 90);
    table.run.state = DeploymentState::Canceled;
    let canceled = TaskChange::Finish(TaskState::Canceled, TaskReason::Canceled.into());
    let plan = table.decide(|_| fit(at(100)));
    assert_eq!((plan.starts, plan.changes, plan.deployment), (vec![], vec![(0, canceled), (2, canceled)], None));
    table.tasks.iter_mut().for_each(|task| task.state = TaskState::Canceled);
    assert_eq!(table.decide(|_| fit(at(100))).deployment, Some(DeploymentChange::Finish));
}

#[test]
fn each_task_says_why_it_waits() {
    let now = at(100);
    let mut table = Table::new(100);
    table.options.concurrency = 1;
    table.tasks[1].not_before = Some(at(130));
    let plan = table.decide(|n| DeviceSnapshot { online: n != 2, battery_pct: Some(if n == 3 { 10 } else { 90 }), ..fit(now) });
    let waits = |n: usize| plan.changes.iter().find(|(index, _)| *index == n).map(|(_, change)| *change);
    let says = |state, reason: Reason| Some(TaskChange::Wait(state, reason));
    assert_eq!(plan.starts, [0]);
    assert_eq!(waits(1), says(TaskState::Queued, TaskReason::Backoff.into()));
    assert_eq!(waits(2), says(TaskState::Queued, TaskReason::Offline.into()));
    assert_eq!(waits(3), says(TaskState::Queued, ErrorCode::LowBattery.into()));
    assert_eq!(waits(4), says(TaskState::Throttled, TaskReason::Concurrency.into()));
    assert_eq!(waits(99), says(TaskState::Queued, TaskReason::OtherDeployment.into()));
    assert_eq!(plan.next_wakeup, at(105));

    table.options = Options { rate_per_minute: 6, concurrency: 50, ..table.options };
    table.options.window = Some(MaintenanceWindow::parse("00:00", "23:59", "UTC").unwrap());
    let plan = table.decide(|_| fit(now));
    assert_eq!(plan.starts, [0], "one in ten seconds");
    assert!(plan.changes.contains(&(4, TaskChange::Wait(TaskState::Throttled, TaskReason::Rate.into()))));
    table.now = "2026-11-22T23:59:10Z".parse().unwrap();
    let plan = table.decide(|_| fit(table.now));
    let outside = TaskChange::Wait(TaskState::WaitingWindow, ErrorCode::OutsideWindow.into());
    assert!(plan.starts.is_empty() && plan.changes.contains(&(4, outside)));
    assert_eq!(plan.next_wakeup, table.now + TimeDelta::seconds(5));
}

/// How long a heartbeat has to confirm a success.
const CONFIRM_WITHIN_S: i64 = 45;

/// A fleet that does what dice say, and a record of what was done with it.
struct Fleet {
    options: Options,
    run: Run,
    tasks: Vec<Task>,
    snapshot: Vec<DeviceSnapshot>,
    starts: Vec<(Timestamp, usize)>,
    blocked: Option<BlockReason>,
    now: Timestamp,
    running_since: Option<Timestamp>,
    /// Attempts that a pause took back.
    taken_back: Vec<u32>,
}

impl Fleet {
    fn step(&mut self, dice: &mut impl FnMut(u32) -> u32) -> Result<(), TestCaseError> {
        self.now += TimeDelta::milliseconds(i64::from(dice(4_000)) + 1);
        let count = self.tasks.len();
        // Things happen to devices.
        for _ in 0..1 + count / 8 {
            let n = dice(count as u32) as usize;
            let snapshot = &mut self.snapshot[n];
            match dice(12) {
                0 => snapshot.online = !snapshot.online,
                1 => snapshot.battery_pct = Some(dice(101) as i16),
                2 => snapshot.transport = Some(if dice(3) == 0 { Transport::Cellular } else { Transport::Wifi }),
                3 if dice(20) == 0 => snapshot.deleted = true,
                4 if dice(10) == 0 => snapshot.installed = InstalledVersion::Code(2),
                // It fell back, or was installed by hand.
                5 if dice(6) == 0 => snapshot.installed = InstalledVersion::Code(1),
                _ => {
                    snapshot.received_at = Some(self.now);
                    (snapshot.heartbeat_at, snapshot.composed_at) = (Some(self.now), Some(self.now));
                }
            }
        }
        // Devices say something.
        for n in 0..count {
            if self.tasks[n].state.is_busy() && dice(3) == 0 {
                let status = match dice(10) {
                    0 => TaskStatus::Failed(ErrorCode::ALL[dice(ErrorCode::ALL.len() as u32) as usize]),
                    1..=3 => TaskStatus::Succeeded,
                    word => TaskStatus::InProgress(Stage::ALL[word as usize % 4]),
                };
                if let Ok(super::super::ReportEffect::Changed(update)) =
                    apply_report(&self.options, &self.run, self.blocked, &self.tasks[n], status, None, self.now)
                {
                    if self.tasks[n].state == TaskState::Sending && update.state == TaskState::Installing {
                        prop_assert!(self.run.state == DeploymentState::Running && self.blocked.is_none(), "let through a closed gate");
                        prop_assert!(self.options.window.as_ref().is_none_or(|window| window.is_open(self.now)));
                    }
                    self.reported(n, update);
                }
            }
        }
        // People do something.
        match dice(60) {
            0 if self.run.state == DeploymentState::Running => self.set(DeploymentState::Paused),
            1..=6 if self.run.state == DeploymentState::Paused => {
                (self.run.judged_since, self.run.canary_ran) = (self.now, TimeDelta::zero());
                for task in self.tasks.iter_mut().filter(|task| task.state == TaskState::Failed && self.run.phase == Phase::Canary) {
                    *task = Task::new(task.device, task.canary);
                    self.taken_back[task.device.0.as_u128() as usize] = 0;
                }
                self.set(DeploymentState::Running);
            }
            7 => self.blocked = self.blocked.is_none().then_some(BlockReason::KillSwitch),
            8 if dice(4) == 0 => self.set(DeploymentState::Canceled),
            _ => {}
        }
        if let Some(since) = self.running_since.replace(self.now).filter(|_| self.run.state == DeploymentState::Running) {
            self.run.canary_ran += self.now - since;
        }
        self.decide()
    }

    fn set(&mut self, state: DeploymentState) {
        if !matches!(self.run.state, DeploymentState::Canceled | DeploymentState::Finished) {
            self.run.state = state;
        }
    }

    fn reported(&mut self, n: usize, update: TaskUpdate) {
        let task = &mut self.tasks[n];
        (task.state, task.reason, task.stage, task.error) = (update.state, update.reason, update.stage, update.error);
        (task.not_before, task.reported_at) = (update.not_before, Some(self.now));
        task.finished_at = update.state.is_finished().then_some(self.now);
        if update.state == TaskState::Confirming {
            self.snapshot[n].installed = InstalledVersion::Code(2);
        }
    }

    fn decide(&mut self) -> Result<(), TestCaseError> {
        let recent: Vec<_> =
            self.starts.iter().map(|(start, _)| *start).filter(|start| *start > self.now - TimeDelta::seconds(60)).collect();
        let snapshot = self.snapshot.clone();
        let plan = decide(&PlanInput {
            options: &self.options,
            run: self.run,
            blocked: self.blocked,
            accept_within: TimeDelta::seconds(20),
            silent_within: TimeDelta::seconds(60),
            confirm_within: TimeDelta::seconds(CONFIRM_WITHIN_S),
            tasks: &self.tasks,
            starts: &recent,
            snapshot: &|id| Some(snapshot[id.0.as_u128() as usize]),
            elsewhere: &|_| false,
            now: self.now,
        });
        for (index, change) in &plan.changes {
            let (task, reverted) = (&self.tasks[*index], TaskChange::Finish(TaskState::Failed, ErrorCode::Reverted.into()));
            if task.state.is_finished() {
                // Only a success is taken back, by a heartbeat, and not for long.
                let since = task.finished_at.unwrap_or_default();
                prop_assert!(task.state == TaskState::Succeeded && *change == reverted, "what is over stays over");
                prop_assert!(self.now - since < TimeDelta::seconds(CONFIRM_WITHIN_S));
            }
            if let TaskChange::Finish(TaskState::Succeeded, reason) = *change {
                let shown = snapshot[task.device.0.as_u128() as usize].installed.code() >= Some(2);
                prop_assert!(shown && reason != TaskReason::NotInHeartbeat.into(), "a success without a heartbeat that shows it");
            }
            self.taken_back[*index] += u32::from(*change == TaskChange::Retry(TaskReason::Paused.into(), None));
            apply(&mut self.tasks[*index], *change, self.now);
        }
        for index in plan.starts {
            let (snapshot, task) = (self.snapshot[index], &self.tasks[index]);
            prop_assert!(task.state.is_waiting() && task.not_before.is_none_or(|at| at <= self.now));
            prop_assert!(task.attempts - self.taken_back[index] < self.options.attempts_max());
            prop_assert!(self.run.state == DeploymentState::Running && self.blocked.is_none());
            prop_assert!(task.canary || self.run.phase == Phase::Rollout, "it left its canary");
            prop_assert_eq!(ineligibility(&self.options, &snapshot, self.now), None);
            prop_assert!(self.options.window.as_ref().is_none_or(|window| window.is_open(self.now)));
            prop_assert!(snapshot.installed.code() < Some(2) && !snapshot.deleted);
            let task = &mut self.tasks[index];
            (task.state, task.started_at, task.reported_at, task.attempts) = (TaskState::Sending, Some(self.now), None, task.attempts + 1);
            self.starts.push((self.now, index));
        }
        prop_assert!(self.tasks.iter().filter(|task| task.state.is_busy()).count() <= self.options.concurrency as usize);
        match plan.deployment {
            Some(DeploymentChange::OpenGate) => {
                if let Some(canary) = self.options.canary {
                    let done = |state| self.tasks.iter().filter(|task| task.canary && task.state == state).count() as u32;
                    let (succeeded, counted) = (done(TaskState::Succeeded), done(TaskState::Succeeded) + done(TaskState::Failed));
                    prop_assert!(counted >= canary.min_count);
                    prop_assert!(succeeded * 100 >= u32::from(canary.success_threshold_pct) * counted, "{succeeded} of {counted}");
                }
                self.run.phase = Phase::Rollout;
            }
            Some(DeploymentChange::Pause(_)) => self.set(DeploymentState::Paused),
            Some(DeploymentChange::Finish) => {
                prop_assert!(self.tasks.iter().all(|task| task.state.is_finished()));
                self.set(DeploymentState::Finished);
            }
            None => {}
        }
        prop_assert!(plan.next_wakeup >= self.now);
        Ok(())
    }

    /// Rate over every window of a minute.
    fn judged(&self) -> Result<(), TestCaseError> {
        let rate = self.options.rate_per_minute as usize;
        for (n, (start, _)) in self.starts.iter().enumerate().filter(|_| rate > 0) {
            let within = self.starts[n..].iter().take_while(|(other, _)| *other < *start + TimeDelta::seconds(60)).count();
            prop_assert!(within <= rate, "{within} starts in the minute from {start}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// P5: never above rate or concurrency, never beyond a canary below its threshold, never outside window or conditions.
    #[test]
    fn a_deployment_keeps_its_promises(
        seed in any::<u64>(),
        devices in 1_usize..40,
        canary in prop::option::of((1_u32..6, 1_u8..=100, 1_u32..6)),
        rate in 0_u32..40,
        concurrency in 1_u32..8,
        retries in 0_u32..3,
        window in any::<bool>(),
    ) {
        let mut state = seed | 1;
        // xorshift64: dice that shrink with their seed.
        let mut dice = |sides: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 33) % u64::from(sides.max(1))) as u32
        };
        let canary = canary.map(|(size, success_threshold_pct, min_count)| {
            let size = size.min(devices as u32);
            CanaryOptions { size, success_threshold_pct, min_count: min_count.min(size), timeout_minutes: 2 }
        });
        let options = Options {
            canary,
            rate_per_minute: rate,
            concurrency,
            retries: Retries { max: retries, backoff_s: 5 },
            window: window.then(|| MaintenanceWindow::parse("13:04", "13:08", "UTC").unwrap()),
            failure_pause: FailurePause { threshold_pct: 50, min_count: 3 },
            ..Options::conservative(devices)
        }.checked(devices, false).unwrap();
        // 2026-11-18T13:06:40Z: the window is open and closes on the way.
        let now = chrono::DateTime::from_timestamp(1_795_007_200, 0).unwrap();
        let tasks = (0..devices).map(|n| Task::new(device(n), canary.is_some_and(|canary| n < canary.size as usize))).collect();
        let mut fleet = Fleet {
            run: Run { judged_since: now, expires_at: now + TimeDelta::hours(1), ..run() },
            options,
            tasks,
            snapshot: vec![fit(now); devices],
            starts: Vec::new(),
            blocked: None,
            now,
            running_since: None,
            taken_back: vec![0; devices],
        };
        for _ in 0..150 {
            fleet.step(&mut dice)?;
        }
        fleet.judged()?;
    }

    /// With devices that do what they should, every deployment ends, with every device served.
    #[test]
    fn a_healthy_fleet_is_served_to_the_end(devices in 1_usize..60, canary in 1_u32..6, concurrency in 1_u32..10) {
        let size = canary.min(devices as u32);
        let canary = CanaryOptions { size, min_count: size, ..CanaryOptions::conservative(devices) };
        let options = Options { canary: Some(canary), rate_per_minute: 0, concurrency, ..Options::conservative(devices) };
        let tasks = (0..devices).map(|n| Task::new(device(n), n < size as usize)).collect();
        let mut fleet = Fleet { run: run(), options, tasks, snapshot: vec![fit(at(0)); devices], starts: Vec::new(), blocked: None, now: at(0), running_since: None, taken_back: vec![0; devices] };
        for _ in 0..200 {
            fleet.now += TimeDelta::seconds(1);
            for n in 0..devices {
                if fleet.tasks[n].state == TaskState::Sending {
                    let Ok(super::super::ReportEffect::Changed(update)) = apply_report(&fleet.options, &fleet.run, None, &fleet.tasks[n], TaskStatus::Succeeded, None, fleet.now) else {
                        return Err(TestCaseError::fail("a device's word was refused"));
                    };
                    fleet.reported(n, update);
                } else if fleet.tasks[n].state == TaskState::Confirming {
                    (fleet.snapshot[n].heartbeat_at, fleet.snapshot[n].composed_at) = (Some(fleet.now), Some(fleet.now));
                }
            }
            fleet.decide()?;
        }
        prop_assert_eq!(fleet.run.state, DeploymentState::Finished);
        prop_assert!(fleet.tasks.iter().all(|task| task.state == TaskState::Succeeded && task.attempts == 1));
    }
}
