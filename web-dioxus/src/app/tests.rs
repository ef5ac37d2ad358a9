//! Every page is rendered for every role, over fleets that are empty and full.

use std::sync::{Arc, Weak};
use std::time::Duration;

use actors::fleet_view::FleetView;
use dioxus::prelude::VirtualDom;
use dioxus_interpreter_js::MutationState;
use domain::access::{Principal, Role};
use domain::{SessionId, UserId};

use super::app;
use crate::Limit;
use crate::context::{InitialPath, Session};
use crate::fleet_watch::FleetWatch;
use crate::fleet_watch::tests::{POLICY, fleet, view};
use crate::url_state::DevicesUrl;

/// All text that the browser is sent within the first moments of a page.
async fn shown(path: &str, devices: u128, role: Role) -> String {
    let fleet = fleet(devices);
    fleet.note_stored(devices as u64);
    shown_of(fleet, path, role).await
}

async fn shown_of(fleet: Arc<FleetView>, path: &str, role: Role) -> String {
    let session = Session {
        clock: clock::Clock::system(),
        system: Weak::new(),
        runtime: tokio::runtime::Handle::current(),
        watch: FleetWatch::new(Arc::clone(&fleet), POLICY),
        fleet,
        policy: POLICY,
        principal: Principal::User {
            user_id: UserId(uuid::Uuid::nil()),
            username: "ann".into(),
            role,
            session_id: SessionId(uuid::Uuid::nil()),
            origin: domain::access::Origin::default(),
        },
        origin: "https://mdm.example".into(),
        address: std::net::IpAddr::from([127, 0, 0, 1]),
        uploads: Arc::default(),
        alert_counts: Arc::default(),
        limits: Arc::new([Limit { group: "Sign-in", setting: "auth.x", meaning: "Failed attempts", value: "10".into() }]),
    };
    let mut document = VirtualDom::new(app).with_root_context(session).with_root_context(InitialPath(path.into()));
    let mut mutations = Box::<MutationState>::default();
    let mut bytes = Vec::new();
    document.rebuild(&mut *mutations);
    mutations.write_memory_into(&mut bytes);
    let settled = async {
        loop {
            document.wait_for_work().await;
            document.render_immediate(&mut *mutations);
            mutations.write_memory_into(&mut bytes);
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(600), settled).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn assert_shows(path: &str, devices: u128, role: Role, wanted: &[&str], unwanted: &[&str]) {
    let text = shown(path, devices, role).await;
    for wanted in wanted {
        assert!(text.contains(wanted), "{path} with {devices} devices for {role} lacks {wanted:?}");
    }
    for unwanted in unwanted {
        assert!(!text.contains(unwanted), "{path} with {devices} devices for {role} has {unwanted:?}");
    }
}

#[tokio::test]
async fn an_empty_fleet_says_how_to_begin() {
    assert_shows("/", 0, Role::Admin, &["No devices yet", "https://mdm.example/v1/register", "Create an enrollment token"], &[]).await;
    assert_shows("/", 0, Role::Viewer, &["No devices yet"], &["button primary"]).await;
    assert_shows("/devices", 0, Role::Admin, &["No devices yet", "Enroll the first device"], &["table-row"]).await;
}

/// Right after its start a node knows no device, or some.
#[tokio::test]
async fn a_fleet_that_is_not_known_yet_is_neither_empty_nor_counted() {
    for devices in [0, 3] {
        let fleet = fleet(devices);
        fleet.note_stored(10);
        let text = shown_of(fleet, "/", Role::Admin).await;
        assert!(text.contains("Counting:") && !text.contains("No devices yet") && !text.contains(" enrolled"), "{devices}: {text}");
    }
}

#[tokio::test]
async fn deployments_show_each_role_what_it_may_do() {
    for path in ["/deployments", "/apks", "/apks/packages", "/deployments/new"] {
        let manages = if path == "/apks" { "upload-apk" } else { "nav-deployments" };
        assert_shows(path, 3, Role::Admin, &["nav-apks", "nav-deployments", manages], &["Not for this role"]).await;
    }
    assert_shows("/deployments", 3, Role::Operator, &["new-deployment"], &["turn-off"]).await;
    assert_shows("/deployments", 3, Role::Viewer, &["nav-deployments"], &["new-deployment", "stop-all"]).await;
    assert_shows("/deployments/new", 3, Role::Viewer, &["Not for this role"], &["deployment-form"]).await;
    assert_shows("/apks/packages", 3, Role::Operator, &["Managed packages"], &["allow-package"]).await;
    assert_shows("/deployments/7", 3, Role::Viewer, &["There is no such deployment"], &[]).await;
    let one = "/devices?sel=00000000000000000000000000000001";
    assert_shows(one, 3, Role::Operator, &["bulk-deploy"], &[]).await;
}

#[tokio::test]
async fn storage_is_seen_by_all_and_run_by_admins() {
    assert_shows("/storage", 3, Role::Admin, &["nav-storage", "run-now"], &["Not for this role"]).await;
    for role in [Role::Operator, Role::Viewer] {
        assert_shows("/storage?day=2026-09-01", 3, role, &["nav-storage", "Storage"], &["run-now"]).await;
    }
}

#[tokio::test]
async fn the_table_holds_only_the_rows_around_the_visible_ones() {
    let text = shown("/devices?sort=battery_pct", 1000, Role::Operator).await;
    assert!(text.contains("1,000 devices"));
    let rows = (1..=1000).filter(|n| text.contains(&view(*n).identity.id.to_string())).count();
    assert!((200..=240).contains(&rows), "{rows} rows");
}

#[tokio::test]
async fn filter_and_selection_come_from_the_address() {
    let mut url = DevicesUrl::from("q=kiosk-1&status=online");
    assert!(url.selected.set(view(1).identity.id, true));
    let path = format!("/devices?{url}");
    assert_shows(&path, 20, Role::Admin, &["kiosk-1", "1 selected", "Clear"], &["kiosk-20"]).await;
    assert_shows(&path, 20, Role::Viewer, &["kiosk-1"], &["1 selected", "Select all"]).await;
    assert_shows("/devices?status=offline&all=status~3Doffline", 20, Role::Admin, &["all that match"], &[]).await;
    assert_shows("/devices?q=nothing-like-it", 20, Role::Admin, &["No device matches"], &["kiosk-1"]).await;
}

#[tokio::test]
async fn a_device_shows_its_state_and_what_the_role_may_do() {
    let path = format!("/devices/{}", view(1).identity.id);
    assert_shows(&path, 20, Role::Admin, &["kiosk-1", "13 %", "3.8 GB", "1 d 1 h", "Revoke credentials", "io.example"], &[]).await;
    assert_shows(&path, 20, Role::Viewer, &["kiosk-1"], &["Revoke credentials", "Delete"]).await;
    assert_shows(&path, 20, Role::Admin, &[], &["Unusable values"]).await;
    let unusable = format!("/devices/{}", view(11).identity.id);
    assert_shows(&unusable, 20, Role::Viewer, &["Unusable values", "outside 0..100", "(empty)", "Clock"], &[]).await;
    let never_seen = format!("/devices/{}", view(7).identity.id);
    assert_shows(&never_seen, 20, Role::Admin, &["kiosk-7", "No heartbeat yet"], &[]).await;
    for gone in [format!("/devices/{}", view(21).identity.id), "/devices/xyz".into()] {
        assert_shows(&gone, 20, Role::Admin, &["There is no such device"], &["Revoke credentials"]).await;
    }
}

#[tokio::test]
async fn enrollment_says_so_when_the_server_cannot_answer() {
    let refused = "The server cannot do this right now";
    assert_shows("/enrollment?status=used", 0, Role::Operator, &["Create tokens", refused, "Try again"], &[]).await;
    assert_shows("/enrollment", 0, Role::Viewer, &[refused], &["Create tokens"]).await;
}

#[tokio::test]
async fn the_audit_trail_is_for_those_who_may_read_it() {
    assert_shows(
        "/audit?who=ann",
        0,
        Role::Admin,
        &["All changes with actor", "Download CSV", "The server cannot do this right now"],
        &["Only for admins"],
    )
    .await;
    assert_shows("/audit", 0, Role::Operator, &["Only for admins"], &["Download CSV", "nav-audit"]).await;
}

#[tokio::test]
async fn the_cluster_says_so_when_the_server_cannot_answer() {
    assert_shows("/cluster", 0, Role::Viewer, &["Cluster", "The server cannot do this right now"], &["Drain"]).await;
}

#[tokio::test]
async fn the_pages_beside_the_table_say_what_they_are_for() {
    assert_shows(
        "/devices/deleted",
        1,
        Role::Viewer,
        &["Deleted devices", "The server cannot do this right now"],
        &["There is no such device"],
    )
    .await;
    assert_shows("/devices/import", 1, Role::Operator, &["Choose a file", "new_alias"], &[]).await;
    assert_shows("/devices/import", 1, Role::Viewer, &["Only for operators"], &["Choose a file"]).await;
}

#[tokio::test]
async fn settings_show_what_the_role_may_see() {
    assert_shows("/settings/profile", 1, Role::Viewer, &["Change your password", "API tokens", "Sessions"], &["Rate limits", "Users"])
        .await;
    assert_shows("/settings/limits", 1, Role::Admin, &["Failed attempts", "auth.x", "Users"], &[]).await;
    for section in ["users", "limits"] {
        assert_shows(&format!("/settings/{section}"), 1, Role::Operator, &["Only for admins"], &["Add user", "auth.x"]).await;
    }
    assert_shows("/settings/tokens", 1, Role::Viewer, &["Create token"], &[]).await;
    assert_shows("/settings/nothing", 1, Role::Admin, &["Page not found"], &[]).await;
}

#[tokio::test]
async fn actions_are_those_that_the_role_may_use() {
    let path = format!("/devices/{}", view(1).identity.id);
    assert_shows(&path, 20, Role::Admin, &["Reboot", "Clear app data", "Rotate key", "Expires after"], &[]).await;
    assert_shows(&path, 20, Role::Operator, &["Reboot", "Launch app"], &["Clear app data", "Rotate key", "Run command"]).await;
    assert_shows(&path, 20, Role::Viewer, &["kiosk-1"], &["Reboot", "Expires after"]).await;
    let mut url = DevicesUrl::default();
    assert!(url.selected.set(view(1).identity.id, true));
    assert_shows(&format!("/devices?{url}"), 20, Role::Operator, &["Send command"], &[]).await;
}

#[tokio::test]
async fn commands_say_so_when_the_server_cannot_answer() {
    let refused = "The server cannot do this right now";
    assert_shows("/commands", 1, Role::Viewer, &["Single commands", refused, "Try again"], &["Select devices"]).await;
    assert_shows("/commands?view=all&state=failed", 1, Role::Operator, &[refused, "Action: any", "Select devices", "Clear"], &[]).await;
    assert_shows("/commands/batches/018f0000-0000-7000-8000-000000000000", 1, Role::Viewer, &[refused], &["Cancel pending"]).await;
    assert_shows("/commands/batches/xyz", 1, Role::Viewer, &["There is no such batch"], &[]).await;
    assert_shows("/settings/exec", 1, Role::Admin, &["Allow a command", refused], &[]).await;
    assert_shows("/settings/exec", 1, Role::Operator, &["Only for admins"], &["Allow a command"]).await;
}

#[tokio::test]
async fn updates_of_the_agent_say_so_when_the_server_cannot_answer() {
    let refused = "The server cannot do this right now";
    assert_shows("/agent-updates", 1, Role::Admin, &["Agent updates", "Add a build", refused, "Try again"], &[]).await;
    for role in [Role::Operator, Role::Viewer] {
        assert_shows("/agent-updates", 1, role, &["Agent updates", refused], &["Add a build"]).await;
    }
}

#[tokio::test]
async fn alerts_show_each_role_what_it_may_do_and_say_so_when_the_server_cannot_answer() {
    let refused = "The server cannot do this right now";
    for role in [Role::Admin, Role::Operator, Role::Viewer] {
        assert_shows("/alerts", 3, role, &["nav-alerts", "export-alerts", refused, "Try again", "Rule: any"], &["Not for this role"]).await;
        assert_shows("/alerts?by=rule&rule=app_down", 3, role, &["by-rule", refused], &["Group: any"]).await;
        assert_shows("/alerts/rules", 3, role, &["Rules", refused], &[]).await;
        assert_shows("/alerts/rules/nonsense", 3, role, &["There is no such rule"], &[]).await;
        assert_shows("/alerts/xyz", 3, role, &["There is no such alert"], &[]).await;
        assert_shows("/alerts/018f0000-0000-7000-8000-000000000000", 3, role, &[refused], &["acknowledge"]).await;
    }
    assert_shows("/alerts/rules/low_battery", 3, Role::Operator, &["Low battery", "set-rule", refused, "For one device"], &[]).await;
    assert_shows("/alerts/rules/disk_low", 3, Role::Operator, &["Disk low", "set-rule", "Change"], &["For one device"]).await;
    assert_shows("/alerts/rules/low_battery", 3, Role::Viewer, &["Low battery"], &["set-rule"]).await;
    assert_shows("/alerts/silences", 3, Role::Operator, &["add-silence", "add-window", refused], &["tab-channels"]).await;
    assert_shows("/alerts/silences", 3, Role::Viewer, &["Maintenance windows", refused], &["add-silence", "add-window"]).await;
    for path in ["/alerts/channels", "/alerts/routes"] {
        assert_shows(path, 3, Role::Admin, &["tab-channels", "tab-routes", refused], &["Not for this role"]).await;
        assert_shows(path, 3, Role::Operator, &["Not for this role"], &["tab-channels", "add-channel", refused]).await;
    }
    assert_shows("/alerts/channels/xyz", 3, Role::Admin, &["There is no such channel"], &[]).await;
}

#[tokio::test]
async fn open_alerts_stand_at_their_device() {
    use domain::alert::{Rule, RuleSet};
    let fleet = fleet(3);
    let mut alerted = view(1);
    let mut open = RuleSet::EMPTY;
    open.set(Rule::LowBattery, true);
    open.set(Rule::AppDown, true);
    alerted.open_alerts = open;
    fleet.publish(alerted, domain::shard::Epoch(1));
    fleet.note_stored(3);
    for path in ["/devices".to_owned(), format!("/devices/{}", view(1).identity.id)] {
        let text = shown_of(Arc::clone(&fleet), &path, Role::Viewer).await;
        assert!(text.contains("Alerts: Low battery, Monitored app down"), "{path}");
    }
    let text = shown_of(fleet, &format!("/devices/{}", view(2).identity.id), Role::Viewer).await;
    assert!(!text.contains("alert-mark") && text.contains("Alerts of the last 24 hours"), "{text}");
}

#[tokio::test]
async fn any_other_address_is_not_a_page() {
    assert_shows("/no/such", 1, Role::Viewer, &["Page not found", "/no/such"], &[]).await;
}

#[tokio::test]
async fn reports_are_for_everybody_and_their_schedules_for_who_manages_channels() {
    assert_shows("/reports", 3, Role::Viewer, &["nav-reports", "export-report"], &["schedules-title"]).await;
    assert_shows("/reports?period=weekly&group=north", 3, Role::Operator, &["/export/report.csv?period=weekly"], &["schedules-title"])
        .await;
    assert_shows("/reports", 3, Role::Admin, &["schedules-title"], &[]).await;
}
