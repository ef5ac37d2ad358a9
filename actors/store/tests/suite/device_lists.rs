//! Lists of devices: filters agree with the domain's, pages with its order.

use domain::DeviceId;
use domain::device::DeviceListScope;
use domain::device::{AppStatus, Connectivity, DeviceState, DeviceView, IdentityStatus, MonitoredApp};
use domain::edit::Editable;
use domain::enrollment::Registration;
use domain::heartbeat::{Telemetry, WatchedApp};
use domain::query::{Cursor, DeviceFilter, NEVER, OpenAlerts, Sort, SortKey};
use domain::rule::Rule;
use store::{NewDevice, StatusThresholds};
use test_database::TestDatabase;

use crate::common::{at, delete_devices, device, enroll_device, heartbeat, new_device, policy, strings};

const NOW: i64 = 10_000;

/// Properties that differ from device to device: labels, telemetry, when the last heartbeat came, the monitored app.
async fn fleet(db: &TestDatabase) -> Vec<DeviceView> {
    let app = |installed| WatchedApp { package: "app.a".into(), installed, version_name: None, version_code: None };
    let told = |second, telemetry: Telemetry| Some((second, telemetry));
    let telemetry = Telemetry::default;
    let heartbeats = [
        None,
        told(NOW - 721, Telemetry { battery_pct: Some(19), app_running: Some(true), ..telemetry() }),
        // Not online any more: the limit itself counts as silence.
        told(NOW - 720, Telemetry { battery_pct: Some(20), app_running: Some(false), ..telemetry() }),
        told(NOW - 719, Telemetry { battery_pct: Some(21), foreground_recent_s: Some(601), ..telemetry() }),
        told(NOW - 10, Telemetry { model: Some("Pixel".into()), foreground_recent_s: Some(600), ..telemetry() }),
        told(NOW - 20, Telemetry { app_version: Some("1.2".into()), apps: vec![app(Some(false))], app_running: Some(true), ..telemetry() }),
        told(NOW - 30, Telemetry { app_version: Some("1.20".into()), apps: vec![app(Some(true))], ..telemetry() }),
        told(NOW - 40, Telemetry { battery_pct: Some(0), apps: vec![app(None)], foreground_recent_s: Some(30), ..telemetry() }),
        None,
        None,
    ];
    let labels: [(&[&str], &[&str]); 3] = [(&["a", "b"], &["g"]), (&["ab"], &[]), (&[], &["g", "h"])];
    let mut ids: Vec<DeviceId> = Vec::new();
    for (index, told) in heartbeats.into_iter().enumerate() {
        let number = index as u32 + 1;
        let registration = Registration {
            model: if index == 8 { Some("ÄRA 9".to_owned()) } else { (index % 2 == 0).then(|| "Pixel".to_owned()) },
            hardware_id: if index == 7 { Some("ÄB-77".to_owned()) } else { (index % 3 == 0).then(|| format!("HW-{index}")) },
            ..Registration::default()
        };
        let alias = ["b", "Ba", "ä", "a%", "A_", "Shop 5", "shop 6", "z", "Äste", "deleted"][index];
        let new = NewDevice { registration, ..new_device(number, alias) };
        let (tags, groups) = labels[index % 3];
        // Two enrolled at the same time.
        ids.push(enroll_device(db, &new, tags, groups, at(index as i64 / 2)).await);
        if let Some((second, telemetry)) = told {
            db.store().write_heartbeats(&mut [heartbeat(device(number), second, telemetry)]).await.unwrap();
        }
    }
    monitor(db, &ids[3..8]).await;
    // In conflict; dismissed; of credentials that were revoked since.
    for (index, generation, dismissed) in [(2, 1, "NULL"), (3, 1, "now()"), (4, 7, "NULL")] {
        let set = format!("conflict_at = now(), conflict_generation = {generation}, conflict_dismissed_at = {dismissed}");
        db.execute(&format!("UPDATE device_condition SET {set} WHERE device_id = '{}'", ids[index].0)).await;
    }
    delete_devices(db, &ids[9..], at(50)).await;
    let mut views = Vec::new();
    for stored in db.store().devices_by_id(&ids[..9]).await.unwrap() {
        views.push(DeviceState::restored(stored.known(), at(NOW), &policy()).view(&policy()));
    }
    // As their owners know: one with two alerts, one with one, one whose alert is over.
    for (index, rule, state) in
        [(1, "low_battery", "firing"), (1, "app_down", "acknowledged"), (4, "app_down", "firing"), (5, "app_down", "resolved")]
    {
        let id = ids[index].0;
        let ended = if state == "resolved" { "now(), 'cleared'" } else { "NULL, NULL" };
        let acknowledged = if state == "acknowledged" { "'ada', '', now()" } else { "NULL, NULL, NULL" };
        db.execute(&format!(
            "INSERT INTO alert (alert_id, shard_id, rule, subject_kind, subject_id, subject_name, groups, tags, severity, state, reason, opened_at,
                 acknowledged_by, acknowledged_note, acknowledged_at, resolved_at, resolve_cause, revision)
             VALUES (gen_random_uuid(), 0, '{rule}', 'device', '{id}', 'x', '{{}}', '{{}}', 'warning', '{state}', 'r', now(), {acknowledged},
                 {ended}, 1)"
        ))
        .await;
        let view = views.iter_mut().find(|view| view.identity.id.0 == id).unwrap();
        view.open_alerts.set(rule.parse().unwrap(), state != "resolved");
    }
    assert_eq!(views.len(), 9);
    views
}

/// The first of these has a limit of its own for the app in the background.
async fn monitor(db: &TestDatabase, ids: &[DeviceId]) {
    let mut work = db.store().device_work().await.unwrap();
    let records = work.device_records(ids).await.unwrap();
    let app = |id| MonitoredApp { package: "app.a".into(), stale_after_s: (id == ids[0]).then_some(700) };
    let edited: Vec<_> = ids.iter().map(|id| Editable { monitored: Some(app(*id)), ..records[id].editable.clone() }).collect();
    let edits: Vec<_> = ids.iter().map(|id| &records[id]).zip(&edited).collect();
    work.edit(&edits, None, at(40)).await.unwrap();
    work.commit().await.unwrap();
}

fn thresholds() -> StatusThresholds {
    StatusThresholds::at(at(NOW), &policy())
}

fn filters() -> Vec<DeviceFilter> {
    let none = DeviceFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let mut filters = vec![none()];
    for connectivity in [Connectivity::Online, Connectivity::Offline, Connectivity::NeverSeen] {
        filters.push(DeviceFilter { connectivity: Some(connectivity), ..none() });
    }
    for status in IdentityStatus::ALL {
        filters.push(DeviceFilter { identity: Some(status), ..none() });
    }
    for status in AppStatus::ALL {
        filters.push(DeviceFilter { app_status: Some(status), ..none() });
    }
    filters.extend(["a", "ab", "AB", "g", "x"].map(|tag| DeviceFilter { tag: text(tag), ..none() }));
    filters.extend(["g", "h", "a"].map(|group| DeviceFilter { group: text(group), ..none() }));
    filters.extend([0, 1, 20, 21, 101].map(|limit| DeviceFilter { battery_below: Some(limit), ..none() }));
    filters.extend(["1.2", "1.20", "2"].map(|version| DeviceFilter { app_version: text(version), ..none() }));
    filters.extend(["Pixel", "pixel"].map(|model| DeviceFilter { model: text(model), ..none() }));
    for alert in [
        OpenAlerts::Any,
        OpenAlerts::None,
        OpenAlerts::Of(Rule::AppDown),
        OpenAlerts::Of(Rule::LowBattery),
        OpenAlerts::Of(Rule::ClockWrong),
    ] {
        filters.push(DeviceFilter { alert: Some(alert), ..none() });
    }
    for needle in ["b", "SHOP", "%", "_", "pix", "hw-", "00000003", "ä", "Ä", "Ära", "a\u{308}", "A\u{308}RA", "ÄB-7", "Ｐｉｘ", "\\", "'"]
    {
        filters.push(DeviceFilter { text: text(needle), ..none() });
    }
    filters.push(DeviceFilter { connectivity: Some(Connectivity::Online), tag: text("a"), text: text("hop"), ..none() });
    filters
}

#[tokio::test]
async fn the_database_and_the_domain_select_the_same_devices() {
    let db = TestDatabase::new().await;
    let views = fleet(&db).await;
    let mut selective = 0;
    for filter in filters() {
        let mut wanted: Vec<_> = views.iter().filter(|view| filter.matches(view)).map(|view| view.identity.id).collect();
        wanted.sort();
        let found = db.store().device_ids(&filter, DeviceListScope::Active, thresholds(), 100).await.unwrap();
        assert_eq!(found, wanted, "{filter:?}");
        selective += usize::from(!wanted.is_empty() && wanted.len() < views.len());
    }
    assert!(selective >= 20, "only {selective} filters tell devices apart");
}

#[tokio::test]
async fn ids_are_bounded_and_of_the_asked_scope() {
    let db = TestDatabase::new().await;
    fleet(&db).await;
    let all = DeviceFilter::default();
    let ids = async |scope, limit| db.store().device_ids(&all, scope, thresholds(), limit).await.unwrap();
    assert_eq!(ids(DeviceListScope::Active, 3).await, [device(1), device(2), device(3)]);
    assert_eq!(ids(DeviceListScope::Deleted, 100).await, [device(10)]);
}

fn cursor(view: &DeviceView, key: SortKey) -> Cursor {
    let key = match key {
        SortKey::Alias => view.identity.alias.clone(),
        SortKey::LastSeen => view.last_seen_at.map_or_else(|| NEVER.to_owned(), Cursor::time_key),
        SortKey::Reading(_) => view.battery_pct().unwrap_or(-1).to_string(),
        SortKey::Enrolled => Cursor::time_key(view.identity.enrolled_at),
    };
    Cursor { key, id: view.identity.id }
}

#[tokio::test]
async fn pages_of_each_order_hold_every_device_once_as_the_domain_sorts_them() {
    let db = TestDatabase::new().await;
    let mut views = fleet(&db).await;
    let all = DeviceFilter::default();
    for key in [SortKey::Alias, SortKey::LastSeen, SortKey::BATTERY, SortKey::Enrolled] {
        for descending in [false, true] {
            let sort = Sort { key, descending };
            views.sort_by(|a, b| sort.compare(a, b));
            let wanted: Vec<_> = views.iter().map(|view| view.identity.id).collect();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = db.store().devices_page(&all, DeviceListScope::Active, sort, after.as_ref(), thresholds(), 2).await.unwrap();
                assert!(page.len() <= 2);
                let Some(last) = page.last() else { break };
                let view = views.iter().find(|view| view.identity.id == last.identity.id).unwrap();
                after = Some(cursor(view, key).checked(sort).unwrap());
                found.extend(page.into_iter().map(|device| device.identity.id));
            }
            assert_eq!(found, wanted, "{sort:?}");
        }
    }
}

#[tokio::test]
async fn a_page_is_filtered_before_it_is_cut() {
    let db = TestDatabase::new().await;
    fleet(&db).await;
    let filter = DeviceFilter { tag: Some("ab".into()), ..DeviceFilter::default() };
    let sort = Sort { key: SortKey::Alias, descending: false };
    let page = db.store().devices_page(&filter, DeviceListScope::Active, sort, None, thresholds(), 2).await.unwrap();
    assert_eq!(page.iter().map(|device| device.identity.alias.as_str()).collect::<Vec<_>>(), ["A_", "Ba"]);
    assert_eq!(page[0].identity.tags, strings(&["ab"]));
    let deleted = db.store().devices_page(&DeviceFilter::default(), DeviceListScope::Deleted, sort, None, thresholds(), 9).await.unwrap();
    assert_eq!(deleted.iter().map(|device| device.deleted_at).collect::<Vec<_>>(), [Some(at(50))]);
}
