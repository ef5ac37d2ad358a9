//! Figures of reports: made from what a day holds, kept by group and day; and reports that are put into the outbox once.

use chrono::{NaiveDate, TimeDelta};
use domain::audit::AuditAction;
use domain::event::EventKind;
use domain::notification::{DigestTime, NotificationKind};
use domain::report::{
    AlertTally, AlertsOfGroups, DayTally, DeviceDay, Measure, Period, PeriodKind, ReportSchedule, VersionCount, report_message,
    report_notification_id,
};
use domain::shard::ShardId;
use domain::{ChannelId, DeviceId, ReportScheduleId};
use test_database::TestDatabase;

use crate::alert_setup::add_channels;
use crate::common::{at, delete_devices, enroll_device, entry, heartbeat, lease, new_device, next_epoch, strings, uuid};

/// The day of second 0 is the first of June; it begins and ends 12 hours from it.
const HOUR: i64 = 3_600;
const DAY_BEGIN: i64 = -12 * HOUR;
const OFFLINE_AFTER_S: i32 = 720;
const SHARD: ShardId = ShardId(7);
const HELD: TimeDelta = TimeDelta::seconds(60);

fn june(day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, day).unwrap()
}

async fn days(db: &TestDatabase, behind: Option<DeviceId>, limit: i64) -> Vec<(DeviceId, DeviceDay)> {
    db.store().report_device_days(june(1), behind, 15, OFFLINE_AFTER_S, limit).await.unwrap()
}

/// A device that was enrolled before the day.
async fn enrolled(db: &TestDatabase, number: u32, groups: &[&str]) -> DeviceId {
    enroll_device(db, &new_device(number, &format!("d{number}")), &[], groups, at(-40 * HOUR)).await
}

async fn hour(db: &TestDatabase, id: DeviceId, hour: i64, last_s: i64, online_s: i64, battery: (i32, f64, f64, f64), charging: (i32, i32)) {
    let (n, least, sum, most) = battery;
    let at_hour = DAY_BEGIN + hour * HOUR;
    db.execute(&format!(
        "INSERT INTO history_hour (device_id, hour_at, heartbeats, first_at, last_at, online_s, battery_n, battery_min, battery_sum, battery_max,
             temperature_n, ram_available_n, ram_pressure_n, storage_free_n, charging_n, charging_yes, net_validated_n, net_validated_yes,
             wifi, cellular, ethernet, no_network, other_network)
         VALUES ('{}', '{}', 2, '{}', '{}', {online_s}, {n}, {least}, {sum}, {most}, 0, 0, 0, 0, {}, {}, 0, 0, 0, 0, 0, 0, 0)",
        id.0,
        at(at_hour),
        at(at_hour),
        at(at_hour + last_s),
        charging.0,
        charging.1
    ))
    .await;
}

async fn event(db: &TestDatabase, id: DeviceId, second: i64, kind: EventKind) {
    db.execute(&format!("INSERT INTO device_event (device_id, at, kind) VALUES ('{}', '{}', '{}')", id.0, at(second), kind.as_str())).await;
}

#[tokio::test]
async fn a_day_holds_the_hours_and_events_of_each_device() {
    let db = TestDatabase::new().await;
    let one = enrolled(&db, 1, &["north", "tills"]).await;
    let deleted = enrolled(&db, 2, &[]).await;
    let quiet = enrolled(&db, 3, &[]).await;
    // Deleted before the day's end, and enrolled after it: neither is of the day.
    delete_devices(&db, &[deleted], at(HOUR)).await;
    enroll_device(&db, &new_device(4, "d4"), &[], &[], at(13 * HOUR)).await;
    db.store()
        .write_heartbeats(&mut [heartbeat(one, 0, domain::heartbeat::Telemetry { app_version: Some("1.4".into()), ..Default::default() })])
        .await
        .unwrap();
    // Last seen 100 s before midnight: online for the rest of the 720 s.
    hour(&db, one, -1, 3_500, 3_500, (2, 1.0, 2.0, 1.0), (2, 0)).await;
    // 3,500 s of the hour, and on until the next one's first heartbeat; then as long as a silent device counts as online.
    hour(&db, one, 3, 3_500, 3_500, (10, 40.0, 450.0, 50.0), (10, 0)).await;
    hour(&db, one, 4, 1_000, 1_000, (10, 10.0, 120.0, 20.0), (10, 0)).await;
    hour(&db, one, 9, 0, 0, (2, 90.0, 190.0, 100.0), (2, 1)).await;
    hour(&db, one, 24, 0, 0, (2, 1.0, 2.0, 1.0), (2, 0)).await;
    for (second, kind) in [
        (DAY_BEGIN - 1, EventKind::Rebooted),
        (DAY_BEGIN, EventKind::Rebooted),
        (-HOUR, EventKind::WentOffline),
        (0, EventKind::AppDownBegan),
        (60, EventKind::AppDownEnded),
        (13 * HOUR, EventKind::AppDownBegan),
        (13 * HOUR, EventKind::Rebooted),
    ] {
        event(&db, one, second, kind).await;
    }
    let all = days(&db, None, 10).await;
    let [(first, day), (second, empty)] = &*all else { panic!("{all:?}") };
    assert_eq!((*first, *second), (one, quiet));
    let expected = DeviceDay {
        groups: strings(&["north", "tills"]),
        enrolled_at: at(-40 * HOUR),
        has_reported: true,
        agent_version: Some("1.4".into()),
        app_version: None,
        hours: 3,
        online_s: 620 + 3_500 + 100 + 1_000 + 720 + 720,
        battery_hours: 3,
        battery_low_hours: 1,
        battery_max_pct: Some(100.0),
        discharging_hours: 2,
        discharged_pct: 20.0,
        went_offline: 1,
        reboots: 1,
        app_changes: vec![(at(0), true), (at(60), false), (at(13 * HOUR), true)],
        is_app_down: false,
    };
    assert_eq!(*day, expected);
    assert_eq!(*empty, DeviceDay { groups: vec![], enrolled_at: at(-40 * HOUR), ..DeviceDay::default() });
    // A device that was seen before midnight and early after it was online in between, and not longer.
    hour(&db, quiet, -1, 3_000, 3_000, (2, 1.0, 2.0, 1.0), (2, 0)).await;
    let carried = async || days(&db, Some(one), 10).await[0].1.online_s;
    assert_eq!(carried().await, 120, "600 of 720 s were over at midnight");
    hour(&db, quiet, 0, 60, 0, (2, 1.0, 2.0, 1.0), (2, 0)).await;
    db.execute(&format!("UPDATE history_hour SET first_at = last_at WHERE device_id = '{}' AND hour_at = '{}'", quiet.0, at(DAY_BEGIN)))
        .await;
    assert_eq!(carried().await, 60 + 720, "until the first heartbeat, and after it");
    db.execute(&format!(
        "UPDATE history_hour SET last_at = last_at - interval '10 minutes' WHERE device_id = '{}' AND hour_at < '{}'",
        quiet.0,
        at(DAY_BEGIN)
    ))
    .await;
    assert_eq!(carried().await, 720, "offline at midnight");
    assert_eq!(days(&db, None, 1).await[0].0, one);
    assert_eq!(days(&db, Some(one), 10).await.len(), 1, "behind the first");
}

/// A day of 100,000 device hours is read by the keys, page by page: nothing reads all hours or events.
#[tokio::test]
async fn a_page_of_devices_is_read_by_the_keys_of_hours_and_events() {
    let db = TestDatabase::new().await;
    db.execute(
        "INSERT INTO device (device_id, alias, enrolled_at) SELECT gen_random_uuid(), 'd' || n, '2026-05-01' FROM generate_series(1, 4200) n",
    )
    .await;
    db.execute(&format!(
        "INSERT INTO history_hour (device_id, hour_at, heartbeats, first_at, last_at, online_s, battery_n, battery_min, battery_sum, battery_max,
             temperature_n, ram_available_n, ram_pressure_n, storage_free_n, charging_n, charging_yes, net_validated_n, net_validated_yes,
             wifi, cellular, ethernet, no_network, other_network)
         SELECT device_id, at, 60, at, at + interval '59 minutes', 3540, 60, 50, 3300, 60, 0, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 0
         FROM device, generate_series('{}'::timestamptz, '{}'::timestamptz, interval '1 hour') at",
        at(DAY_BEGIN),
        at(DAY_BEGIN + 23 * HOUR)
    ))
    .await;
    db.execute(
        "INSERT INTO device_event (device_id, at, kind) SELECT device_id, now() - n * interval '1 hour', 'rebooted' FROM device, generate_series(1, 5) n",
    )
    .await;
    db.execute(
        "INSERT INTO device_last_status (device_id, bucket_at, received_at, last_seen_at, clock_rejected)
         SELECT device_id, now(), now(), now(), false FROM device",
    )
    .await;
    db.execute("INSERT INTO device_condition (device_id, version, online, low_battery, app_down) SELECT device_id, 1, true, false, false FROM device").await;
    db.execute("ANALYZE device, history_hour, device_event, device_last_status, device_condition").await;
    // As the pool's connections plan it: once, for any parameters.
    let statement = include_str!("../../src/report_device_days.sql");
    let mut connection = db.pool().acquire().await.unwrap();
    let of_page = format!(
        "SET plan_cache_mode = force_generic_plan; PREPARE page AS {statement}; CREATE TEMP TABLE planned (line text);
         DO $$ DECLARE line text; BEGIN FOR line IN EXECUTE $q$EXPLAIN (COSTS off) EXECUTE page('00000000-0000-0000-0000-000000000000', '{}', '{}', 500, 15,
             720, 'went_offline', 'rebooted', 'app_down_began', 'app_down_ended', 1000)$q$ LOOP INSERT INTO planned VALUES (line); END LOOP; END $$;",
        at(DAY_BEGIN),
        at(DAY_BEGIN + 24 * HOUR)
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(of_page)).execute(&mut *connection).await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar("SELECT line FROM planned").fetch_all(&mut *connection).await.unwrap();
    drop(connection);
    let plan = plan.join("\n");
    for index in ["device_pkey", "history_hour_pkey", "device_event_pkey"] {
        assert!(plan.contains(index), "{index}: {plan}");
    }
    assert!(!plan.contains("Seq Scan"), "{plan}");

    let (mut tally, mut behind, mut pages) = (DayTally::new(june(1), false), None, 0);
    loop {
        let page = days(&db, behind, 500).await;
        let Some((last, _)) = page.last() else { break };
        behind = Some(*last);
        page.iter().for_each(|(_, device)| tally.add(device));
        pages += 1;
    }
    let fleet = tally.finish(10).remove(0).figures;
    assert_eq!((pages, fleet.device_days, fleet.never_reported), (9, 4_200, 0));
    assert_eq!(fleet.battery_hours, 4_200 * 24);
}

#[tokio::test]
async fn alerts_are_counted_by_rule_and_groups_on_the_days_of_their_raise_and_resolve() {
    let db = TestDatabase::new().await;
    let alert = |rule: &str, groups: &str, opened: i64, resolved: Option<i64>| {
        let (state, resolved) = match resolved {
            Some(second) => ("resolved", format!("'{}', 'cleared'", at(second))),
            None => ("firing", "NULL, NULL".to_owned()),
        };
        format!(
            "INSERT INTO alert (alert_id, shard_id, rule, subject_kind, subject_id, subject_name, groups, tags, severity, state, reason, opened_at,
                 resolved_at, resolve_cause, revision)
             VALUES (gen_random_uuid(), 0, '{rule}', 'device', gen_random_uuid()::text, '', '{groups}', '{{}}', 'info', '{state}', '', '{}', {resolved}, 1)",
            at(opened)
        )
    };
    for row in [
        alert("app_down", "{north}", 0, None),
        alert("app_down", "{north}", 60, Some(120)),
        alert("app_down", "{north}", DAY_BEGIN - 10, Some(0)),
        alert("app_down", "{}", 0, Some(14 * HOUR)),
        alert("low_battery", "{north,tills}", 12 * HOUR, None),
    ] {
        db.execute(&row).await;
    }
    let counted = db.store().report_alerts(june(1), 10).await.unwrap();
    let of = |groups: &[&str], raised, resolved| AlertsOfGroups {
        rule: "app_down".into(),
        groups: strings(groups),
        tally: AlertTally { raised, resolved },
    };
    assert_eq!(counted, [of(&[], 1, 0), of(&["north"], 2, 2)]);
    assert_eq!(db.store().report_alerts(june(1), 1).await.unwrap().len(), 1);
}

/// A tally with devices of two groups.
fn tally(day: NaiveDate, online_s: u64, version: &str) -> DayTally {
    let mut tally = DayTally::new(day, !version.is_empty());
    for (number, group) in ["North", "tills"].into_iter().enumerate() {
        tally.add(&DeviceDay {
            groups: strings(&[group]),
            enrolled_at: at(-9_000 * HOUR),
            has_reported: true,
            agent_version: Some(version.to_owned()),
            hours: 20,
            online_s: online_s + number as u64,
            ..DeviceDay::default()
        });
    }
    tally.add_alerts(&AlertsOfGroups {
        rule: "app_down".into(),
        groups: strings(&["north"]),
        tally: AlertTally { raised: 3, resolved: 1 },
    });
    tally
}

async fn store_day(db: &TestDatabase, day: NaiveDate, tally: DayTally, is_final: bool) -> bool {
    let lease = lease(db, SHARD).await;
    db.store().store_report_day(lease, day, &tally.finish(10), is_final, at(0)).await.unwrap()
}

#[tokio::test]
async fn figures_are_made_once_and_again_when_the_day_is_closed() {
    let db = TestDatabase::new().await;
    let to_report = async || db.store().days_to_report(june(1), 10).await.unwrap();
    for day in 1..=3 {
        db.store().note_aggregated_day(june(day)).await.unwrap();
    }
    assert_eq!(to_report().await, [(june(3), false), (june(2), false), (june(1), false)]);
    assert!(store_day(&db, june(2), tally(june(2), 43_200, "1.4"), false).await);
    assert_eq!(to_report().await, [(june(3), false), (june(1), false)]);
    db.store().close_day(june(2)).await.unwrap();
    assert_eq!(to_report().await, [(june(3), false), (june(2), true), (june(1), false)]);
    assert!(store_day(&db, june(2), tally(june(2), 86_399, ""), true).await);
    assert_eq!(to_report().await, [(june(3), false), (june(1), false)]);

    // Late heartbeats are in it; the versions are those of the day's end.
    let (day, _, figures) = db.store().report_days("north", june(1), june(3)).await.unwrap().remove(0);
    assert_eq!((day, figures.online_s), (june(2), 86_399));
    assert_eq!(figures.agent_versions, [VersionCount { version: "1.4".into(), devices: 1 }]);

    // Whoever was deposed writes nothing.
    let deposed = lease(&db, SHARD).await;
    next_epoch(&db, SHARD).await;
    let groups = tally(june(3), 1, "").finish(10);
    assert!(!db.store().store_report_day(deposed, june(3), &groups, false, at(0)).await.unwrap());
    assert_eq!(db.store().newest_report_day().await.unwrap(), Some(june(2)));
}

#[tokio::test]
async fn a_report_is_the_sum_of_its_days_and_compares_with_those_before() {
    let db = TestDatabase::new().await;
    // The week of the first of June, which is a Monday, and a day of the one before.
    let may = NaiveDate::from_ymd_opt(2026, 5, 31).unwrap();
    for (day, online_s) in [(may, 86_400 - 1), (june(1), 43_200), (june(3), 43_200)] {
        assert!(store_day(&db, day, tally(day, online_s, "1.4"), false).await);
    }
    let week = Period::of(PeriodKind::Weekly, june(3));
    let report = db.store().report(week, None, 10).await.unwrap();
    assert_eq!(report.days.iter().map(|(day, _)| *day).collect::<Vec<_>>(), [june(1), june(3)]);
    assert_eq!((report.total.device_days, report.total.gap_hours, report.before.device_days), (4, 16, 2));
    assert_eq!(report.total.alerts["app_down"], AlertTally { raised: 6, resolved: 2 });
    let online = Measure::OnlinePct.of(&report.total).unwrap();
    assert!((50.0..50.01).contains(&online), "{online}");
    assert_eq!(
        report.groups.iter().map(|(name, figures)| (name.as_str(), figures.device_days)).collect::<Vec<_>>(),
        [("North", 2), ("tills", 2)]
    );
    assert_eq!(db.store().report(week, None, 1).await.unwrap().groups.len(), 1);

    let north = db.store().report(week, Some("NORTH"), 10).await.unwrap();
    assert_eq!((north.group.as_deref(), north.total.device_days, north.groups.len()), (Some("North"), 2, 0));
    assert_eq!(north.total.alerts_raised, 6);
    let nobody = db.store().report(week, Some("nobody"), 10).await.unwrap();
    assert!(nobody.days.is_empty() && nobody.group.as_deref() == Some("nobody"));

    // A group that has no devices any more is not of the day when it is made again.
    let mut alone = DayTally::new(june(1), false);
    alone.add(&DeviceDay::default());
    assert!(store_day(&db, june(1), alone, true).await);
    assert!(db.store().report_days("north", june(1), june(1)).await.unwrap().is_empty());

    assert_eq!(db.store().purge_report_days(june(1), 2).await.unwrap(), 2);
    assert_eq!(db.store().purge_report_days(june(1), 2).await.unwrap(), 1);
    assert_eq!(db.store().report_days("", may, june(3)).await.unwrap().len(), 2);
}

fn schedule(number: u32, channel: u32, group: Option<&str>) -> ReportSchedule {
    ReportSchedule {
        id: ReportScheduleId(uuid(number)),
        channel: ChannelId(uuid(channel)),
        kind: PeriodKind::Daily,
        group: group.map(str::to_owned),
        at: DigestTime::parse("07:00", "Europe/Berlin").unwrap(),
    }
}

#[tokio::test]
async fn a_report_is_queued_once_whoever_sends_it() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    let by = entry(AuditAction::ReportScheduleMade);
    let schedule = schedule(1, 1, Some("north"));
    assert!(db.store().insert_report_schedule(&schedule, 1, "ada", &by, at(0)).await.unwrap());
    let period = Period::of(PeriodKind::Daily, june(1));
    assert!(store_day(&db, june(1), tally(june(1), 43_200, "1.4"), false).await);
    let report = db.store().report(period, Some("north"), 10).await.unwrap();
    let message = report_message(&schedule, &report, None);
    let (mine, deposed) = (lease(&db, SHARD).await, lease(&db, SHARD).await);

    // Two nodes at once, then again after an answer that was lost.
    let (a, b) = tokio::join!(
        db.store().queue_report(mine, &schedule, period, &message, at(10)),
        db.store().queue_report(mine, &schedule, period, &message, at(10))
    );
    assert_eq!(u8::from(a.unwrap()) + u8::from(b.unwrap()), 1);
    assert!(!db.store().queue_report(mine, &schedule, period, &message, at(11)).await.unwrap());
    assert!(!db.store().queue_report(mine, &schedule, period.before(), &message, at(11)).await.unwrap(), "none that is older");
    next_epoch(&db, SHARD).await;
    assert!(!db.store().queue_report(deposed, &schedule, period.after(), &message, at(12)).await.unwrap(), "the shard is another's");
    let stored = db.store().report_schedules(true, 10).await.unwrap().remove(0);
    assert_eq!((stored.schedule.clone(), stored.sent, stored.created_by.as_str()), (schedule.clone(), Some((june(1), at(10))), "ada"));
    let after = lease(&db, SHARD).await;
    assert!(db.store().queue_report(after, &schedule, period.after(), &message, at(13)).await.unwrap(), "the next node goes on");

    // Reports are no part of the limit of messages about alerts.
    assert!(db.store().coordinator_input(at(0), 10).await.unwrap().state.sent.is_empty());

    let claimed = db.store().claim_deliveries(10, 10, &[], HELD, at(20)).await.unwrap();
    let of_first = claimed.iter().find(|one| one.notification == report_notification_id(schedule.id, period)).unwrap();
    // The thread is the same for both here, so that the second waits for the first.
    assert_eq!((claimed.len(), of_first.message.kind), (1, NotificationKind::Report));
    assert_eq!(of_first.message, message, "lines and table are kept with it");
}

#[tokio::test]
async fn schedules_have_a_limit_a_channel_and_an_end() {
    let db = TestDatabase::new().await;
    add_channels(&db, 1).await;
    let by = entry(AuditAction::ReportScheduleMade);
    assert!(!db.store().insert_report_schedule(&schedule(1, 9, None), 1, "ada", &by, at(0)).await.unwrap(), "no such channel");
    assert!(db.store().insert_report_schedule(&schedule(2, 1, None), 1, "ada", &by, at(0)).await.unwrap());
    assert!(!db.store().insert_report_schedule(&schedule(3, 1, None), 1, "ada", &by, at(0)).await.unwrap(), "one is the limit");
    db.execute("UPDATE alert_channel SET enabled = false").await;
    assert_eq!(
        (db.store().report_schedules(true, 10).await.unwrap().len(), db.store().report_schedules(false, 10).await.unwrap().len()),
        (0, 1)
    );
    let gone = entry(AuditAction::ReportScheduleRemoved);
    assert!(db.store().delete_report_schedule(ReportScheduleId(uuid(2)), &gone, at(1)).await.unwrap());
    assert!(!db.store().delete_report_schedule(ReportScheduleId(uuid(2)), &gone, at(1)).await.unwrap());
    assert!(db.store().insert_report_schedule(&schedule(4, 1, None), 1, "ada", &by, at(2)).await.unwrap());
    db.store().delete_alert_channel(ChannelId(uuid(1)), &gone, at(3)).await.unwrap();
    assert!(db.store().report_schedules(false, 10).await.unwrap().is_empty(), "it goes with its channel");
}
