//! The dashboard in a real headless Chromium, against real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chaos::harness::{TempDir, free_port};
use common::{Bench, eventually, options, within};
use fantoccini::{Client as Browser, ClientBuilder, Locator};
use serde_json::{Value, json};

/// A device's state changes once in 10 seconds, and the battery not every time.
const SOME_BUCKETS: Duration = Duration::from_secs(60);

/// A browser and its driver; both end when this is dropped.
struct Chromium {
    browser: Browser,
    driver: Child,
    /// The driver's port and the session's path, to end the session with.
    session: (u16, String),
    _profile: TempDir,
}

impl Chromium {
    async fn start() -> Self {
        let (port, profile) = (free_port().unwrap(), TempDir::new("chromium").unwrap());
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver: install the package chromium-driver");
        let profile_dir = format!("--user-data-dir={}", profile.path().display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1440,900",
            &profile_dir,
        ];
        let capabilities = json!({"goog:chromeOptions": {"args": arguments}}).as_object().unwrap().clone();
        let address = format!("http://127.0.0.1:{port}");
        let browser = eventually("a browser session", async || {
            let connector = hyper_util::client::legacy::connect::HttpConnector::new();
            ClientBuilder::new(connector).capabilities(capabilities.clone()).connect(&address).await.ok()
        })
        .await;
        let session = (port, format!("/session/{}", browser.session_id().await.unwrap().unwrap()));
        Self { browser, driver, session, _profile: profile }
    }

    async fn goto(&self, url: &str) {
        self.browser.goto(url).await.unwrap();
    }

    /// Text of the first element that matches, when there is one.
    async fn text(&self, css: &str) -> Option<String> {
        self.browser.find(Locator::Css(css)).await.ok()?.text().await.ok()
    }

    async fn click(&self, css: &str) {
        eventually(&format!("a click on {css}"), async || self.browser.find(Locator::Css(css)).await.ok()?.click().await.ok()).await;
    }

    async fn fill(&self, css: &str, text: &str) {
        eventually(&format!("{css} to fill"), async || {
            let field = self.browser.find(Locator::Css(css)).await.ok()?;
            field.clear().await.ok()?;
            field.send_keys(text).await.ok()
        })
        .await;
    }

    async fn script(&self, script: &str) -> Value {
        self.browser.execute(script, vec![]).await.unwrap()
    }

    /// Waits until the page is connected to the server.
    async fn live(&self) {
        eventually("a live page", async || (self.script("return document.documentElement.dataset.live").await == "on").then_some(())).await;
    }

    async fn sign_in(&self, url: &str, username: &str, password: &str) {
        self.goto(&format!("{url}/login")).await;
        self.fill("input[name=username]", username).await;
        self.fill("input[name=password]", password).await;
        self.click("[data-testid=sign-in]").await;
        self.live().await;
    }

    /// Keeps a picture of the page among the test's output.
    async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-output/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), self.browser.screenshot().await.unwrap()).unwrap();
    }

    /// A mark that a reload of the page would wipe away.
    async fn mark(&self) {
        self.script("window.notReloaded = true").await;
    }

    async fn assert_not_reloaded(&self) {
        assert_eq!(self.script("return window.notReloaded === true").await, true, "the page was reloaded");
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Only the end of its session makes the driver end the browser; written by hand, as
        // nothing can be awaited here.
        use std::io::{Read, Write};
        let (port, path) = &self.session;
        if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", *port)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = write!(stream, "DELETE {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A simulated fleet in a process of its own.
struct Fleet(Child);

impl Fleet {
    fn start(url: &str, password: &str, state: &Path) -> Self {
        let chaos = PathBuf::from(env!("CARGO_BIN_EXE_nexmdm")).with_file_name("chaos");
        assert!(chaos.exists(), "{} is not built: cargo build --workspace --bins", chaos.display());
        let child = Command::new(chaos)
            .args(["fleet", "--server", url, "--devices", "3", "--interval", "1s", "--transport", "mix", "--model-speed", "1200"])
            .args(["--alias-prefix", "browser", "--duration", "5m", "--state-dir"])
            .arg(state)
            .env("NEXMDM_ENROLL_WITH", format!("admin:{password}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn an_admin_sees_the_fleet_live_through_an_outage() {
    let mut bench = Bench::with(options()).await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let state = TempDir::new("fleet").unwrap();
    let chromium = Chromium::start().await;

    // Signs in; a wrong password first.
    chromium.goto(&format!("{url}/devices")).await;
    assert!(chromium.browser.current_url().await.unwrap().path() == "/login", "the way in is the sign-in page");
    chromium.fill("input[name=username]", "admin").await;
    chromium.fill("input[name=password]", "wrong").await;
    chromium.click("[data-testid=sign-in]").await;
    eventually("a refusal", async || chromium.text("[data-testid=login-error]").await).await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.mark().await;
    chromium.picture("overview-empty").await;

    // Creates a token and sees it used.
    chromium.click("nav a[href='/enrollment']").await;
    chromium.fill("input[name=alias]", "by-hand").await;
    chromium.click("[data-testid=create-tokens]").await;
    let token = eventually("the new token", async || chromium.text("[data-testid=new-token]").await).await;
    eventually("it is listed as unused", async || chromium.text("[data-testid=token-row][data-status=unused]").await).await;
    let answer = bench.client.register(token.trim(), &wire::agent::RegisterRequest::default()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    eventually("it is listed as used", async || chromium.text("[data-testid=token-row][data-status=used]").await).await;
    chromium.picture("enrollment").await;

    // Devices of a separate process appear in the table by themselves.
    chromium.click("nav a[href='/devices']").await;
    eventually("the table", async || chromium.text("[data-testid=devices-table]").await).await;
    let fleet = Fleet::start(&url, &password, state.path());
    let row = "[data-testid=devices-table] [data-id] [data-col=alias]";
    eventually("three devices of the fleet", async || {
        let mut aliases = Vec::new();
        for cell in chromium.browser.find_all(Locator::Css(row)).await.ok()? {
            aliases.push(cell.text().await.ok()?);
        }
        (aliases.iter().filter(|alias| alias.contains("browser-")).count() == 3).then_some(())
    })
    .await;
    chromium.picture("devices").await;

    // Its battery changes while one looks. Some devices stand on a charger, full: not one of those.
    let mut first = std::collections::HashMap::new();
    let device = within(SOME_BUCKETS, "a battery in use", async || {
        let listed = bench.client.get_json("/v1/devices?q=browser-&status=online", &bench.admin).await.unwrap();
        listed["items"].as_array()?.iter().find_map(|device| {
            let (id, battery) = (device["id"].as_str()?.to_owned(), device["last"]["battery_pct"].as_i64()?);
            (*first.entry(id.clone()).or_insert(battery) != battery).then_some(id)
        })
    })
    .await;
    chromium.click(&format!("[data-testid=devices-table] [data-id='{device}'] [data-col=alias] a")).await;
    eventually("the device page", async || chromium.text("[data-testid=device-alias]").await.filter(|alias| alias.contains("browser-")))
        .await;
    let battery_changes = async || {
        let before = eventually("a battery", async || chromium.text("[data-testid=battery]").await).await;
        within(SOME_BUCKETS, "the battery changes", async || chromium.text("[data-testid=battery]").await.filter(|now| *now != before))
            .await;
    };
    battery_changes().await;
    chromium.assert_not_reloaded().await;
    chromium.picture("device").await;

    // Loses the server, says so, and is back by itself.
    let banner_hidden = async || chromium.script("return document.getElementById('live-banner').hidden").await == true;
    assert!(banner_hidden().await);
    bench.node.kill9().unwrap();
    eventually("the banner", async || (!banner_hidden().await).then_some(())).await;
    chromium.picture("connection-lost").await;
    bench.node.restart().await.unwrap();
    eventually("the banner goes", async || banner_hidden().await.then_some(())).await;
    eventually("the same device", async || chromium.text("[data-testid=device-alias]").await.filter(|alias| alias.contains("browser-")))
        .await;
    battery_changes().await;
    chromium.assert_not_reloaded().await;
    drop(fleet);

    // Signs out: the way back leads to the sign-in page.
    chromium.goto(&format!("{url}/logout")).await;
    chromium.goto(&url).await;
    chromium.live().await;
    chromium.script("document.querySelector('[data-testid=sign-out]').click()").await;
    eventually("the sign-in page", async || (chromium.browser.current_url().await.ok()?.path() == "/login").then_some(())).await;
    chromium.goto(&format!("{url}/devices")).await;
    assert_eq!(chromium.browser.current_url().await.unwrap().path(), "/login");
}

#[tokio::test]
async fn the_table_stays_smooth_with_ten_thousand_rows_and_keeps_its_state_in_the_url() {
    let bench = Bench::with(options()).await;
    // Enrolled in one statement: the table is under test here, not the enrollment.
    bench.sql(
        "INSERT INTO device (device_id, alias, enrolled_at) SELECT gen_random_uuid(), 'row-' || lpad(n::text, 5, '0'), now() \
         FROM generate_series(0, 9999) n",
    );
    let mut bench = bench;
    bench.node.restart().await.unwrap();
    let chromium = Chromium::start().await;
    chromium.sign_in(&bench.node.url(), "admin", bench.node.admin_password()).await;
    chromium.goto(&format!("{}/devices", bench.node.url())).await;
    chromium.live().await;
    let first_alias = "const rows = [...document.querySelectorAll('[data-testid=devices-table] [data-id]')]; \
         const table = document.querySelector('[data-testid=devices-table]'); if (!table) return null; const box = table.getBoundingClientRect(); \
         const seen = rows.filter(r => { const b = r.getBoundingClientRect(); return b.bottom > box.top + 60 && b.top < box.bottom; }); \
         return seen.length > 5 ? seen.map(r => r.querySelector('[data-col=alias]').textContent.trim()).sort()[0] : null;";
    eventually("the first rows", async || (chromium.script(first_alias).await.as_str()?.contains("row-00")).then_some(())).await;
    let rows = chromium.script("return document.querySelectorAll('[data-testid=devices-table] [data-id]').length").await;
    assert!(rows.as_u64().unwrap() <= 400, "{rows} rows in the page");
    // A jump to the end fills the window there.
    chromium.script("const t = document.querySelector('[data-testid=devices-table]'); t.scrollTop = t.scrollHeight").await;
    eventually("the last rows", async || (chromium.script(first_alias).await.as_str()?.contains("row-099")).then_some(())).await;
    // A filter stands in the URL and survives a reload.
    chromium.goto(&format!("{}/devices?q=row-0123", bench.node.url())).await;
    chromium.live().await;
    let filtered = async || {
        eventually("ten rows", async || {
            let count = chromium.script("return document.querySelectorAll('[data-testid=devices-table] [data-id]').length").await;
            (count == 10).then_some(())
        })
        .await;
    };
    filtered().await;
    chromium.browser.refresh().await.unwrap();
    chromium.live().await;
    filtered().await;
    tokio::time::timeout(Duration::from_secs(10), chromium.browser.back()).await.unwrap().unwrap();
}

/// What goes wrong among nodes is seen on the page while it is so, and that it is over as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_page_shows_faults_as_they_happen() {
    use chaos::faults::{Mode, Modes};
    let ClusterPage { mut cluster, chromium } = ClusterPage::open(3).await;
    let state = async |node: &str| chromium.text(&format!("{} [data-testid=node-state]", live_row(node))).await;
    let link = async |node: &str| chromium.text(&format!("{} [data-testid=node-link]", live_row(node))).await;
    let linked = async |node: &str, badge: &str| {
        eventually(&format!("the link to {node} is {badge}"), async || link(node).await?.contains(badge).then_some(())).await;
    };
    spread(&chromium, &["node-1", "node-2", "node-3"]).await;
    linked("node-2", "Up").await;
    linked("node-3", "Up").await;
    chromium.mark().await;

    // Frozen: out of reach first, then its lease runs out and others take over; thawed, it takes its part again.
    cluster.member("node-2").unwrap().node().suspend().unwrap();
    linked("node-2", "Down").await;
    chromium.picture("cluster-frozen").await;
    within(SOME_BUCKETS, "the frozen node is given up", async || {
        chromium.text("[data-node=node-2][data-state=expired] [data-testid=node-state]").await
    })
    .await;
    spread(&chromium, &["node-1", "node-3"]).await;
    cluster.member("node-2").unwrap().node().resume().unwrap();
    spread(&chromium, &["node-1", "node-2", "node-3"]).await;
    linked("node-2", "Up").await;

    // Cut off from each other, but not from the database: both stay what they are.
    cluster.set_link("node-1", "node-3", Modes::both(Mode::Cut)).unwrap();
    linked("node-3", "Down").await;
    linked("node-2", "Up").await;
    assert_eq!(state("node-3").await.unwrap(), "Active");
    cluster.set_link("node-1", "node-3", Modes::default()).unwrap();
    linked("node-3", "Up").await;

    // Without PostgreSQL the page says so, and keeps what it read last.
    cluster.stop_database().await.unwrap();
    eventually("the page says that the database is away", async || chromium.text("[data-testid=cluster-problem]").await).await;
    assert!(state("node-3").await.is_some());
    chromium.picture("cluster-without-database").await;
    cluster.start_database().await.unwrap();
    eventually("the notice goes", async || chromium.text("[data-testid=cluster-problem]").await.is_none().then_some(())).await;
    spread(&chromium, &["node-1", "node-2", "node-3"]).await;

    assert_eq!(cluster.add_node().await.unwrap(), "node-4");
    spread(&chromium, &["node-1", "node-2", "node-3", "node-4"]).await;
    linked("node-4", "Up").await;
    chromium.assert_not_reloaded().await;
}

/// A cluster, and its page in a browser.
struct ClusterPage {
    cluster: chaos::harness::Cluster,
    chromium: Chromium,
}

impl ClusterPage {
    async fn open(nodes: usize) -> Self {
        use chaos::harness::{Cluster, ClusterOptions};
        let quick = ["NEXMDM__AUTH__PASSWORD_BCRYPT_COST", "NEXMDM__AUTH__DEVICE_TOKEN_BCRYPT_COST"];
        let options = ClusterOptions::new(env!("CARGO_BIN_EXE_nexmdm"), nodes);
        let cluster = Cluster::start(quick.iter().fold(options, |options, name| options.env(name, "4"))).await.unwrap();
        let chromium = Chromium::start().await;
        chromium.sign_in(&cluster.members()[0].url(), "admin", cluster.admin_password()).await;
        chromium.click("nav.nav a[href='/cluster']").await;
        Self { cluster, chromium }
    }
}

/// The row of a node that has not ended.
fn live_row(node: &str) -> String {
    format!("[data-testid=node-row][data-node={node}]:not([data-state=left], [data-state=expired])")
}

/// How many shards a live node has, as the page shows it.
async fn shards(chromium: &Chromium, node: &str) -> Option<u32> {
    chromium.text(&format!("{} [data-testid=node-shards]", live_row(node))).await?.parse().ok()
}

/// Waits until these nodes have all shards, each of them some.
async fn spread(chromium: &Chromium, nodes: &[&str]) {
    within(SOME_BUCKETS, &format!("{nodes:?} share the shards"), async || {
        let mut all = 0;
        for node in nodes {
            all += shards(chromium, node).await.filter(|shards| *shards > 0)?;
        }
        (all == 256).then_some(())
    })
    .await;
}

/// Nodes drain, die and come back before the eyes of whoever looks, and the sign-in outlives the
/// node behind the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_page_shows_nodes_come_and_go() {
    let ClusterPage { mut cluster, chromium } = ClusterPage::open(3).await;
    let second = cluster.members()[1].url();
    let row = live_row;
    let number = async |node: &str| shards(&chromium, node).await;
    let spread = async |nodes: &[&str]| spread(&chromium, nodes).await;
    spread(&["node-1", "node-2", "node-3"]).await;
    eventually("links are up", async || {
        (chromium.text(&format!("{} [data-testid=node-link]", row("node-3"))).await?.contains("Up")).then_some(())
    })
    .await;
    chromium.picture("cluster").await;
    chromium.mark().await;

    chromium.click(&format!("{} [data-testid=drain]", row("node-2"))).await;
    chromium.click("[data-testid=confirm]").await;
    spread(&["node-1", "node-3"]).await;
    eventually("it is drained", async || {
        (chromium.text(&format!("{} [data-testid=node-state]", row("node-2"))).await? == "Drained").then_some(())
    })
    .await;
    chromium.click(&format!("{} [data-testid=resume]", row("node-2"))).await;
    spread(&["node-1", "node-2", "node-3"]).await;

    cluster.node_mut("node-3").unwrap().kill9().unwrap();
    within(SOME_BUCKETS, "the lost node is shown", async || {
        (chromium.text("[data-node=node-3][data-state=expired] [data-testid=node-state]").await? == "Lost").then_some(())
    })
    .await;
    spread(&["node-1", "node-2"]).await;
    assert!(chromium.text("[data-testid=moves]").await.unwrap().contains("of node-3, whose lease ran out"));
    chromium.picture("cluster-lost").await;
    chromium.assert_not_reloaded().await;

    cluster.node_mut("node-1").unwrap().kill9().unwrap();
    chromium.goto(&format!("{second}/cluster")).await;
    chromium.live().await;
    within(SOME_BUCKETS, "the page of the other node", async || (number("node-2").await? == 256).then_some(())).await;
}

#[tokio::test]
async fn new_tokens_come_with_scripts_and_show_who_used_them() {
    let bench = Bench::with(options()).await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.click("nav a[href='/enrollment']").await;
    chromium.fill("input[name=count]", "2").await;
    chromium.fill("input[name=alias_pattern]", "shop-{n}").await;
    chromium.click("[data-testid=create-tokens]").await;
    let token = eventually("a new token", async || chromium.text("[data-testid=new-token]").await).await;
    eventually("no APK is configured", async || chromium.text("[data-testid=no-apk]").await).await;
    let script = async || chromium.script("return document.querySelector('[data-testid=script]')?.textContent ?? ''").await;
    let shows = async |what: &str| eventually(what, async || script().await.as_str()?.contains(what).then_some(())).await;
    shows("#!/usr/bin/env bash").await;
    shows(&format!("'{}'", token.trim())).await;
    assert!(script().await.as_str().unwrap().contains(&format!("SERVER_URL='{url}'")), "devices reach the server as this browser does");
    // By key: the next tab is chosen and has the focus.
    let key = "document.getElementById('kit-bash').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))";
    chromium.script(key).await;
    shows("Windows PowerShell 5.1").await;
    eventually("the focus on the tab", async || {
        (chromium.script("return document.activeElement.id").await == "kit-powershell").then_some(())
    })
    .await;
    chromium.click("[data-testid=kit-cmd]").await;
    shows("@echo off\r\n").await;
    chromium.click("[data-testid=kit-qr]").await;
    eventually("why there is no code", async || chromium.text("#kit-panel").await.filter(|text| text.contains("without an APK"))).await;

    eventually("nobody is there", async || chromium.text("[data-testid=batch-progress]").await.filter(|text| text.contains("0 of 2")))
        .await;
    let answer = bench.client.register(token.trim(), &wire::agent::RegisterRequest::default()).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.detail());
    eventually("one is there", async || chromium.text("[data-testid=batch-progress]").await.filter(|text| text.contains("1 of 2"))).await;
    eventually("its name", async || chromium.text("[data-testid=used-by]").await.filter(|text| text.contains("shop-1"))).await;
    chromium.picture("enrollment-kit").await;
}

#[tokio::test]
async fn a_code_is_shown_on_a_white_plate_when_there_is_an_apk() {
    let folder = TempDir::new("apk").unwrap();
    let file = folder.path().join("agent.apk");
    std::fs::write(&file, b"PK\x03\x04 unsigned").unwrap();
    let signed_by = options()
        .env("NEXMDM__ENROLLMENT__AGENT_APK_FILE", file.to_str().unwrap())
        .env("NEXMDM__ENROLLMENT__AGENT_SIGNER_SHA256", "ab:".repeat(31) + "ab");
    let bench = Bench::with(signed_by).await;
    let (url, password) = (bench.node.url(), bench.node.admin_password().to_owned());
    let chromium = Chromium::start().await;
    chromium.sign_in(&url, "admin", &password).await;
    chromium.click("nav a[href='/enrollment']").await;
    chromium.click("[data-testid=create-tokens]").await;
    chromium.click("[data-testid=kit-qr]").await;
    let size = "const code = document.querySelector('[data-testid=qr-code]'); return code?.complete ? code.naturalWidth : 0";
    eventually("a picture that the browser can draw", async || chromium.script(size).await.as_f64().filter(|width| *width > 20.0)).await;
    chromium.fill("input[name=ssid]", "shop").await;
    chromium.fill("#kit-panel input[name=password]", "12345678").await;
    chromium.click("[data-testid=show-code]").await;
    let payload = "return document.querySelector('#kit-panel details pre')?.textContent ?? ''";
    eventually("the network in the payload", async || {
        let payload = chromium.script(payload).await;
        payload.as_str().filter(|text| text.contains("PROVISIONING_WIFI_SSID\": \"shop")).map(drop)
    })
    .await;
    chromium.picture("enrollment-code").await;
}
