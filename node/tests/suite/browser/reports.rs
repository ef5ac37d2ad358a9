//! The reports page: figures of a day and a week by group, in the address; downloaded, and sent by a schedule.

use serde_json::json;

use super::chromium::Chromium;
use crate::common::{Bench, PASSWORD, eventually};

/// Figures of the last two weeks, of the fleet and of four groups; one has a name that is long.
pub(crate) fn report_days(bench: &Bench) {
    bench.sql(
        "INSERT INTO report_day
         SELECT (now() AT TIME ZONE 'UTC')::date - n, canonical, name, devices, devices / 50, devices * 86400, devices * (86400 - 4000 * (n % 4)), devices / 9,
             devices * (n % 4), devices * 20, devices * (n % 3), devices - 5, devices / 8, devices / 30, devices / 20 + n, n, n * 3600, 12 + n, 11,
             '{\"device_offline\": [8, 7], \"low_battery\": [4, 4], \"a_rule_of_later\": [1, 0]}'::jsonb, '[[\"1.4.0\", 8000], [\"1.3.2\", 2000]]'::jsonb,
             CASE n % 2 WHEN 0 THEN '[]'::jsonb ELSE '[[\"3.2.1\", 9000], [\"(other)\", 12]]' END, now(), false
         FROM generate_series(1, 16) n, (VALUES ('', '', 10000), ('berlin', 'Berlin', 2500), ('hamburg', 'Hamburg', 2500), ('munich', 'munich', 2500),
             ('a-group-whose-name-nobody-would-want-to-read-in-a-table-but-64-c', 'a-group-whose-name-nobody-would-want-to-read-in-a-table-but-64-c', 2500))
             g (canonical, name, devices)",
    );
}

#[tokio::test]
async fn a_report_is_read_by_period_and_group_and_sent_by_a_schedule() {
    let bench = Bench::start().await;
    let url = bench.node.url();
    report_days(&bench);
    bench.add_user("vic", "viewer");
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", bench.node.admin_password()).await;
    chromium.click("[data-testid=nav-reports]").await;
    chromium.shown("[data-testid=report-measures]").await;
    chromium.says("[data-testid=measure-devices]", "10,000").await;
    chromium.look("reports-daily").await;

    // The period and the group are in the address.
    chromium.mark().await;
    chromium.click("[data-testid=period-weekly]").await;
    chromium.shown("[data-testid=report-plot-online_pct]").await;
    chromium.click("[data-testid=earlier]").await;
    eventually("the week before, in the address", async || {
        let query = chromium.browser.current_url().await.ok()?.query()?.to_owned();
        (query.contains("period=weekly") && query.contains("date=")).then_some(())
    })
    .await;
    chromium.click("[data-testid=report-groups] tbody a").await;
    chromium.gone("[data-testid=report-groups]").await;
    chromium.says("[data-testid=measure-devices]", "2,500").await;
    let chosen = chromium.script("return document.querySelector('[data-testid=report-group]').value").await;
    assert!(chromium.browser.current_url().await.unwrap().query().unwrap().contains("group="), "{chosen}");
    chromium.assert_not_reloaded().await;
    chromium.goto(&format!("{url}/reports?group=BERLIN")).await;
    chromium.live().await;
    chromium.says("[data-testid=measure-devices]", "2,500").await;
    let said = "return document.querySelector('[data-testid=report-group]').value";
    eventually("the group by its name", async || (chromium.script(said).await == "Berlin").then_some(())).await;
    chromium.goto(&format!("{url}/reports?group=nobody")).await;
    chromium.live().await;
    chromium.shown("[data-testid=empty-state]").await;

    // A date that has no report leaves a way to one.
    chromium.goto(&format!("{url}/reports?date=2999-01-01")).await;
    chromium.live().await;
    chromium.click("[data-testid=newest-report]").await;
    chromium.shown("[data-testid=report-measures]").await;

    // The download is what the page shows.
    chromium.goto(&format!("{url}/reports?group=Berlin&period=weekly")).await;
    chromium.live().await;
    chromium.shown("[data-testid=report-measures]").await;
    let csv =
        chromium.script("return fetch(document.querySelector('[data-testid=export-report]').href).then((answer) => answer.text())").await;
    let csv = csv.as_str().unwrap();
    assert!(csv.contains("\"weekly\"") && csv.contains("\"Berlin\",\"online_pct\"") && !csv.contains("Hamburg"), "{csv}");

    // Printed, it is the report alone.
    chromium.emulate(json!({"media": "print"})).await;
    let hidden = "return ['.side', '[data-testid=export-report]', '.report-schedules'].every((css) => document.querySelector(css).getClientRects().length === 0)";
    assert_eq!(chromium.script(hidden).await, true);
    chromium.emulate(json!({"media": ""})).await;

    // A schedule needs a channel.
    let hook = json!({"name": "Office", "kind": "ntfy", "url": "https://ntfy.example.org/office"});
    assert_eq!(bench.client.post("/v1/alert-channels", Some(&bench.admin), &hook).await.unwrap().status, 201);
    chromium.goto(&format!("{url}/reports")).await;
    chromium.live().await;
    chromium.click("[data-testid=add-schedule]").await;
    chromium.fill("#tz", "Mars").await;
    chromium.click("[data-testid=submit]").await;
    chromium.shown("[data-testid=error-tz]").await;
    chromium.fill("#tz", "Europe/Berlin").await;
    chromium.fill("#group", "Berlin").await;
    chromium.assert_sound("the form of a schedule").await;
    chromium.click("[data-testid=submit]").await;
    chromium.says("[data-testid=schedule-row]", "Daily, group Berlin, every day at 07:00, Europe/Berlin").await;
    chromium.look("reports-schedule").await;
    chromium.click("[data-testid=remove-schedule]").await;
    chromium.click("[data-testid=confirm]").await;
    chromium.gone("[data-testid=schedule-row]").await;

    let viewer = Chromium::start().await;
    viewer.sign_in(&url, "vic", PASSWORD).await;
    viewer.goto(&format!("{url}/reports")).await;
    viewer.live().await;
    viewer.shown("[data-testid=report-measures]").await;
    viewer.gone(".report-schedules").await;
}
