//! Every page in both themes and three widths, full and empty: sound by axe-core, no wider than its
//! window, and a picture of each to look at. And what all pages have in common: keys, motion, times.

use fantoccini::Locator;
use fantoccini::key::Key;
use serde_json::{Value, json};

use super::chromium::{Chromium, ZONE};
use super::fleet::{alerts, large, with_a_past};
use super::reports::report_days;
use crate::common::{Bench, eventually, options};

/// Pages, by what they are called and where they are; and what shows that they are there.
async fn look_at(chromium: &Chromium, url: &str, pages: &[(&str, &str, &str)]) {
    for (name, path, shown) in pages {
        chromium.goto(&format!("{url}{path}")).await;
        chromium.live().await;
        chromium.shown(shown).await;
        chromium.look(name).await;
    }
}

#[tokio::test]
async fn every_page_is_sound_with_ten_thousand_devices() {
    let mut bench = Bench::with(options()).await;
    large(&mut bench, 10_000).await;
    let device = with_a_past(&bench);
    let url = bench.node.url();
    bench.sql("UPDATE device SET deleted_at = now() - interval '2 days' WHERE device_id IN (SELECT device_id FROM device_last_status WHERE last_seen_at < now() - interval '1 hour' LIMIT 3)");
    bench.sql(
        "INSERT INTO saved_filter SELECT gen_random_uuid(), user_id, 'Tills in Berlin', '{\"tag\": \"till\", \"group\": \"berlin\"}', true, now(), now() FROM app_user",
    );
    alerts(&bench);
    report_days(&bench);
    let chromium = Chromium::start().await;
    chromium.goto(&format!("{url}/login")).await;
    chromium.look("login").await;
    chromium.sign_in(&url, "admin", bench.node.admin_password()).await;
    eventually("the fleet is counted", async || (chromium.text("[data-testid=stat-online] .stat-value").await? != "0").then_some(())).await;
    let long_name = bench.sql("SELECT device_id FROM device WHERE alias LIKE 'flagship%' AND deleted_at IS NULL ORDER BY alias LIMIT 1");
    let plots = "[data-testid=plot-battery]:not([data-points='0'])";
    look_at(
        &chromium,
        &url,
        &[
            ("overview", "/", "[data-testid=online-history]:not([data-points='0'])"),
            ("devices", "/devices", "[data-testid=devices-table] [data-id]"),
            ("devices-selected", "/devices?tag=till&status=online&sort=-battery_pct&all=tag~3Dtill", "[data-testid=selection-bar]"),
            ("device", &format!("/devices/{device}"), plots),
            ("device-7-days", &format!("/devices/{device}?range=7d"), plots),
            ("device-long-name", &format!("/devices/{long_name}"), "[data-testid=device-alias]"),
            ("alerts", "/alerts", "[data-testid=alert-row]"),
            ("alerts-by-rule", "/alerts?by=rule", "[data-testid=alert-group]"),
            ("alerts-history", "/alerts?state=resolved", "[data-testid=alert-row]"),
            ("alert-rules", "/alerts/rules", "[data-testid=rule-row]"),
            ("alert-rule", "/alerts/rules/device_offline", "[data-testid=rule-preview]"),
            ("deleted", "/devices/deleted", "[data-testid=deleted-row]"),
            ("import", "/devices/import", "[data-testid=import-file]"),
            ("reports", "/reports", "[data-testid=report-measures]"),
            ("reports-weekly", "/reports?period=weekly", "[data-testid=report-plot-online_pct]"),
            ("cluster-page", "/cluster", "[data-testid=node-row]"),
            ("storage", "/storage", "[data-testid=day-row]"),
            ("audit", "/audit", "[data-testid=audit-row]"),
            ("settings-profile", "/settings/profile", "[data-testid=profile-name]"),
            ("settings-sessions", "/settings/sessions", "[data-testid=session-row]"),
            ("settings-tokens", "/settings/tokens", "[data-testid=empty-state]"),
            ("settings-users", "/settings/users", "[data-testid=user-row]"),
            ("settings-limits", "/settings/limits", "[data-testid=limit-value]"),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_page_is_sound_without_a_device() {
    let bench = Bench::start().await;
    let url = bench.node.url();
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", bench.node.admin_password()).await;
    look_at(
        &chromium,
        &url,
        &[
            ("overview-empty", "/", "[data-testid=step-1]"),
            ("devices-empty", "/devices", "[data-testid=empty-state]"),
            ("devices-none-match", "/devices?q=nothing-like-it", "[data-testid=empty-state]"),
            ("device-gone", "/devices/018f0000-0000-7000-8000-000000000000", "[data-testid=empty-state]"),
            ("deleted-empty", "/devices/deleted", "[data-testid=empty-state]"),
            ("alerts-empty", "/alerts?state=acknowledged", "[data-testid=empty-state]"),
            ("alerts-none-match", "/alerts?rule=archive_failed&severity=critical", "[data-testid=empty-state]"),
            ("alert-gone", "/alerts/018f0000-0000-7000-8000-000000000000", "[data-testid=empty-state]"),
            ("silences-empty", "/alerts/silences", "[data-testid=empty-state]"),
            ("channels-empty", "/alerts/channels", "[data-testid=empty-state]"),
            ("channel-gone", "/alerts/channels/018f0000-0000-7000-8000-000000000000", "[data-testid=empty-state]"),
            ("routes-empty", "/alerts/routes", "[data-testid=empty-state]"),
            ("storage-none-match", "/storage?state=lost", "[data-testid=empty-state]"),
            ("reports-empty", "/reports", "[data-testid=empty-state]"),
            ("audit-none-match", "/audit?who=nobody", "[data-testid=empty-state]"),
            ("no-such-page", "/no/such/page", "h1"),
        ],
    )
    .await;
}

/// The cursor of a plot: led by the mouse and by keys, in the zone of whoever looks, shared by all
/// plots of the page.
#[tokio::test]
async fn a_plot_reads_out_its_values_in_the_zone_of_the_viewer() {
    let mut bench = Bench::with(options()).await;
    large(&mut bench, 50).await;
    let device = with_a_past(&bench);
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.goto(&format!("{}/devices/{device}?range=24h", bench.node.url())).await;
    chromium.live().await;
    chromium.shown("[data-testid=plot-battery]:not([data-points='0'])").await;
    chromium.shown("[data-testid=plot-cpu_load]:not([data-points='0'])").await;
    let data = "const plot = document.querySelector('[data-testid=plot-battery] .chart-plot'); if (!plot) return null; \
                const data = JSON.parse(plot.dataset.chart); ";
    let said = async || chromium.script("return document.querySelector('[data-testid=plot-battery] [data-chart-said]')?.textContent").await;
    let point = |back: u32| {
        format!(
            "{data} const point = data.points.at(-1 - {back}); const time = new Intl.DateTimeFormat('en-US', {{ timeZone: '{ZONE}', weekday: 'short', \
             day: 'numeric', month: 'short', hour: 'numeric', minute: '2-digit' }}).format(new Date(point[0] * 1000)); return `${{time}}: ${{point[2][0]}}`"
        )
    };
    // By keys: to the end, and one back. The first plots may still be replaced by those with newer values.
    let last = eventually("the last value is read out", async || {
        chromium.script("document.querySelector('[data-testid=plot-battery] .chart-plot')?.focus()").await;
        chromium.keys(&Key::End.to_string()).await;
        let last = chromium.script(&point(0)).await;
        (last.is_string() && said().await == last).then_some(last)
    })
    .await;
    assert!(last.as_str().unwrap().contains(" %"), "{last}");
    chromium.keys(&Key::Left.to_string()).await;
    assert_eq!(said().await, chromium.script(&point(1)).await);
    chromium.picture("plot-by-keys").await;

    // By the mouse: in the middle, and the other plots follow.
    let hover = "const box = plot.getBoundingClientRect(); plot.dispatchEvent(new PointerEvent('pointermove', \
         { bubbles: true, clientX: box.left + box.width * 0.25, clientY: box.top + 40 }));";
    chromium.script(&format!("{data} {hover}")).await;
    let tip = chromium.text("[data-testid=plot-battery] .chart-tip").await.expect("a tip");
    assert!(tip.contains('%'), "{tip}");
    let hairs = chromium.script("return document.querySelectorAll('.chart-hair').length").await;
    assert!(hairs.as_u64().unwrap() >= 5, "{hairs} plots show the cursor");
    chromium.picture("plot-by-mouse").await;

    // Six hours without a word are a gap in the line, and the axis names hours of the viewer's clock.
    let line = chromium.script("return document.querySelector('[data-testid=plot-battery] .chart-line').getAttribute('d')").await;
    assert!(line.as_str().unwrap().matches('M').count() >= 2, "no gap");
    let axis = chromium
        .script("return [...document.querySelectorAll('[data-testid=plot-battery] .chart-x span')].map((label) => label.textContent)")
        .await;
    let labels: Vec<String> = serde_json::from_value(axis).unwrap();
    assert!(labels.len() >= 3 && labels.iter().all(|label| label.contains(":00") || !label.contains(':')), "{labels:?}");

    // Another length of time stands in the address and survives a reload.
    chromium.click("[data-testid=range-7d]").await;
    eventually("the address", async || (chromium.browser.current_url().await.ok()?.query()? == "range=7d").then_some(())).await;
    chromium.browser.refresh().await.unwrap();
    chromium.live().await;
    chromium.shown("[data-testid=range-7d][aria-current=page]").await;
    eventually("a week of hours", async || {
        let span = chromium.script(&format!("{data} return data.to - data.from")).await;
        (span.as_i64()? > 6 * 86_400).then_some(())
    })
    .await;
}

/// Without a mouse: the skip link, the navigation, a dialog that keeps the focus and gives it back.
#[tokio::test]
async fn everything_can_be_reached_by_keys_and_motion_can_be_refused() {
    let bench = Bench::start().await;
    let device = bench.enroll("by-keys").await;
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    let focused = async |script: &str| chromium.script(&format!("const focused = document.activeElement; return {script}")).await;
    chromium.keys(&Key::Tab.to_string()).await;
    assert_eq!(focused("focused.className").await, "skip");
    let outline = focused("getComputedStyle(focused).outlineStyle").await;
    assert_eq!(outline, "solid", "the focus can be seen");
    for wanted in ["/", "/", "/devices"] {
        chromium.keys(&Key::Tab.to_string()).await;
        assert_eq!(focused("focused.getAttribute('href')").await, wanted);
    }
    chromium.keys(&Key::Enter.to_string()).await;
    chromium.shown("[data-testid=devices-table] [data-id]").await;
    assert_eq!(focused("focused.tagName").await, "H1", "a new page has the focus at its head");

    chromium.goto(&format!("{}/devices/{}", bench.node.url(), device.device_id)).await;
    chromium.live().await;
    chromium.shown("[data-testid=edit-device]:not([disabled])").await;
    chromium.script("document.querySelector('[data-testid=edit-device]').focus()").await;
    chromium.keys(&Key::Enter.to_string()).await;
    chromium.shown("dialog[open] input[name=alias]").await;
    assert_eq!(focused("!!focused.closest('dialog')").await, true);
    chromium.keys(&Key::Escape.to_string()).await;
    chromium.gone("dialog[open]").await;
    eventually("the focus is back", async || (focused("focused.dataset.testid").await == "edit-device").then_some(())).await;

    let media = json!({"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]});
    chromium.emulate(media).await;
    let still: Value = chromium
        .script("const spinner = document.body.appendChild(document.createElement('span')); spinner.className = 'spinner'; return parseFloat(getComputedStyle(spinner).animationDuration)")
        .await;
    assert!(still.as_f64().unwrap() < 0.001, "{still} s of motion");
    assert!(chromium.browser.find(Locator::Css("main")).await.is_ok());
}

/// The pictures of the documentation: `make screenshots`.
#[tokio::test]
#[ignore = "writes into docs/"]
async fn screenshots_of_the_documentation() {
    let mut bench = Bench::with(options()).await;
    large(&mut bench, 2_400).await;
    let device = with_a_past(&bench);
    let url = bench.node.url();
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", bench.node.admin_password()).await;
    chromium.size(1440, 900).await;
    chromium.theme("light").await;
    let pages = [
        ("overview", "/".to_owned(), "[data-testid=online-history]:not([data-points='0'])"),
        ("devices", "/devices".to_owned(), "[data-testid=devices-table] [data-id]"),
        ("device", format!("/devices/{device}"), "[data-testid=plot-battery]:not([data-points='0'])"),
    ];
    for (name, path, shown) in pages {
        chromium.goto(&format!("{url}{path}")).await;
        chromium.live().await;
        chromium.shown(shown).await;
        eventually("counts", async || {
            (name != "overview" || chromium.text("[data-testid=stat-online] .stat-value").await? != "0").then_some(())
        })
        .await;
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/{name}.png"));
        std::fs::write(file, chromium.browser.screenshot().await.unwrap()).unwrap();
    }
}
