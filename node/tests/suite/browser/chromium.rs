//! A browser of a test, and how it looks at pages.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chaos::client::Client;
use chaos::harness::{TempDir, free_port};
use fantoccini::{Client as Browser, ClientBuilder, Locator};
use serde_json::{Value, json};

use crate::common::eventually;

/// The zone that pages are seen from: far from UTC, and not by whole hours.
pub(crate) const ZONE: &str = "Asia/Kathmandu";

/// A browser and its driver; both end when this is dropped.
pub(crate) struct Chromium {
    pub(crate) browser: Browser,
    driver: Child,
    /// The driver's port and the session's path, to end the session with.
    session: (u16, String),
    _profile: TempDir,
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        let (port, profile) = (free_port().unwrap(), TempDir::new("chromium").unwrap());
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("TZ", ZONE)
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
            "--hide-scrollbars",
            "--lang=en-US",
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

    pub(crate) async fn goto(&self, url: &str) {
        self.browser.goto(url).await.unwrap();
    }

    /// Text of the first element that matches, when there is one.
    pub(crate) async fn text(&self, css: &str) -> Option<String> {
        self.browser.find(Locator::Css(css)).await.ok()?.text().await.ok()
    }

    pub(crate) async fn click(&self, css: &str) {
        eventually(&format!("a click on {css}"), async || self.browser.find(Locator::Css(css)).await.ok()?.click().await.ok()).await;
    }

    pub(crate) async fn fill(&self, css: &str, text: &str) {
        eventually(&format!("{css} to fill"), async || {
            let field = self.browser.find(Locator::Css(css)).await.ok()?;
            field.clear().await.ok()?;
            field.send_keys(text).await.ok()
        })
        .await;
    }

    pub(crate) async fn script(&self, script: &str) -> Value {
        self.browser.execute(script, vec![]).await.unwrap()
    }

    /// Waits until the page is connected to the server.
    pub(crate) async fn live(&self) {
        eventually("a live page", async || (self.script("return document.documentElement.dataset.live").await == "on").then_some(())).await;
    }

    pub(crate) async fn sign_in(&self, url: &str, username: &str, password: &str) {
        self.goto(&format!("{url}/login")).await;
        self.fill("input[name=username]", username).await;
        self.fill("input[name=password]", password).await;
        self.click("[data-testid=sign-in]").await;
        self.live().await;
    }

    /// Keeps a picture of the page among the test's output.
    pub(crate) async fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-output/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), self.browser.screenshot().await.unwrap()).unwrap();
    }

    /// Talks to the browser itself, past the page.
    async fn devtools(&self, command: &str, parameters: Value) {
        let (port, path) = &self.session;
        let driver = Client::new(&format!("http://127.0.0.1:{port}")).unwrap();
        let wanted = json!({"cmd": command, "params": parameters});
        let answer = driver.post(&format!("{path}/goog/cdp/execute"), None, &wanted).await.unwrap();
        assert_eq!(answer.status, 200, "{command}: {}", answer.detail());
    }

    /// Gives the page this size, also one that no window of this browser can have.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Has the browser claim these media features.
    pub(crate) async fn emulate(&self, media: Value) {
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Shows the page in a theme from now on.
    pub(crate) async fn theme(&self, theme: &str) {
        self.script(&format!("localStorage.setItem('nexmdm-theme', '{theme}'); document.documentElement.dataset.theme = '{theme}'")).await;
    }

    /// Asserts that the page is no wider than its window and has no serious finding of axe-core.
    pub(crate) async fn assert_sound(&self, what: &str) {
        let wide = self.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth").await;
        assert!(wide.as_i64().unwrap() <= 0, "{what} is {wide} px wider than its window");
        if self.script("return typeof axe").await == "undefined" {
            self.script(include_str!("../../assets/axe.min.js")).await;
        }
        let run = "const done = arguments[arguments.length - 1]; \
             axe.run(document, { resultTypes: ['violations'] }).then((found) => done(found.violations \
               .filter((finding) => ['serious', 'critical'].includes(finding.impact)) \
               .map((finding) => `${finding.id}: ${finding.help}: ` + finding.nodes.slice(0, 3).map((node) => \
                 node.html.slice(0, 160) + ' ' + (node.any[0]?.message ?? '')).join(' | '))), (error) => done([String(error)]));";
        let findings = self.browser.execute_async(run, vec![]).await.unwrap();
        assert_eq!(findings, json!([]), "{what}: {findings:#}");
    }

    /// Looks at the page in both themes and three widths: sound in all, a picture of each.
    pub(crate) async fn look(&self, name: &str) {
        for theme in ["light", "dark"] {
            self.theme(theme).await;
            for (width, height) in [(1440, 900), (768, 1024), (390, 844)] {
                self.size(width, height).await;
                // What has a transition is at its end, and what the glue fills is filled.
                self.script("document.getAnimations().filter((one) => isFinite(one.effect.getComputedTiming().endTime)).forEach((one) => one.finish())").await;
                // Roles and names are the same in all widths but where the layout is another; colours where the theme is.
                if width != 768 {
                    self.assert_sound(&format!("{name} {theme} {width}")).await;
                }
                self.picture(&format!("{name}-{theme}-{width}")).await;
            }
        }
        self.size(1440, 900).await;
        self.theme("light").await;
    }

    /// Waits until an element that matches is there.
    pub(crate) async fn shown(&self, css: &str) {
        eventually(css, async || self.browser.find(Locator::Css(css)).await.ok().map(drop)).await;
    }

    /// Waits until nothing matches.
    pub(crate) async fn gone(&self, css: &str) {
        eventually(&format!("no {css}"), async || self.browser.find_all(Locator::Css(css)).await.ok()?.is_empty().then_some(())).await;
    }

    /// Waits until the text of an element contains this.
    pub(crate) async fn says(&self, css: &str, wanted: &str) {
        eventually(&format!("{css} says {wanted:?}"), async || self.text(css).await?.contains(wanted).then_some(())).await;
    }

    /// Presses keys, wherever the focus is.
    pub(crate) async fn keys(&self, keys: &str) {
        self.browser.active_element().await.unwrap().send_keys(keys).await.unwrap();
    }

    /// A mark that a reload of the page would wipe away.
    pub(crate) async fn mark(&self) {
        self.script("window.notReloaded = true").await;
    }

    pub(crate) async fn assert_not_reloaded(&self) {
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
