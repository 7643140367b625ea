//! A real browser, Debian's Chromium without a window, driven over WebDriver. One at a time: several would take the
//! processor from each other and from what they look at.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::http::Method;
use fantoccini::actions::{InputSource, MOUSE_BUTTON_LEFT, MouseActions, PointerAction};
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};
use url::{ParseError, Url};

use super::process::bound;
use super::{PATIENCE, repository};

static ONE: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

/// A desktop's window.
pub const DESKTOP: (u32, u32) = (1280, 900);
/// A phone's.
pub const PHONE: (u32, u32) = (375, 812);

/// A browser with one page.
pub struct Browser {
    pub client: Client,
    driver: Child,
    _alone: MutexGuard<'static, ()>,
}

/// A command of Chromium's driver that WebDriver does not have.
#[derive(Debug)]
struct Extension(&'static str, Value);

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _url: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}

impl Browser {
    /// Starts it, with the window of a desktop in light colours.
    pub async fn start() -> Self {
        let alone = ONE.lock().await;
        let (driver, port) = tokio::task::block_in_place(start_driver);
        // By a pipe, so that the browser ends with its driver, however that ends.
        let mut arguments =
            vec!["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars", "--lang=en-GB"];
        if rustix::process::geteuid().is_root() {
            arguments.push("--no-sandbox");
        }
        let capabilities = json!({
            "goog:chromeOptions": {"args": arguments, "prefs": {"intl.accept_languages": "en-GB"}},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("Chromium starts");
        let browser = Self { client, driver, _alone: alone };
        browser.looks_like(DESKTOP, false).await;
        browser
    }

    /// Ends it in order.
    pub async fn close(self) {
        self.client.clone().close().await.expect("closes");
    }

    /// A command of the DevTools protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.client.issue_cmd(Extension("goog/cdp/execute", body)).await.expect("DevTools answer")
    }

    /// The size of the window, and the colours that the system prefers.
    pub async fn looks_like(&self, (width, height): (u32, u32), dark: bool) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    /// Opens an address.
    pub async fn goto(&self, address: &str) {
        self.client.goto(address).await.expect("opens");
    }

    /// What a script returns.
    pub async fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.client.execute(script, arguments.to_vec()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// What a script's promise comes to.
    pub async fn run_async(&self, script: &str, arguments: &[Value]) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; (async (...arguments) => {{ {script} }})(...arguments).then(done, (error) => done(String(error)))"
        );
        self.client.execute_async(&script, arguments.to_vec()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until an expression is true on the page.
    pub async fn wait_for(&self, what: &str, expression: &str) {
        self.wait_within(PATIENCE, what, expression).await;
    }

    /// As [`Self::wait_for`], for a promise about time.
    pub async fn wait_within(&self, patience: Duration, what: &str, expression: &str) {
        let deadline = Instant::now() + patience;
        // A page that is just being replaced answers with an error.
        while !matches!(
            self.client.execute(&format!("return Boolean({expression})"), vec![]).await,
            Ok(Value::Bool(true))
        ) {
            if Instant::now() >= deadline {
                let body = self.run("return document.body.innerText", &[]).await;
                panic!(
                    "waited {} s until {what} ({expression}); the page says:\n{}",
                    patience.as_secs(),
                    body.as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The text of the first element that a selector finds.
    pub async fn text(&self, selector: &str) -> String {
        let text =
            self.run("return document.querySelector(arguments[0])?.textContent ?? null", &[json!(selector)]).await;
        text.as_str().unwrap_or_else(|| panic!("no {selector}")).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Clicks what a selector finds, as a person would: it has to be there to be hit.
    pub async fn click(&self, selector: &str) {
        // Elements are replaced as results come: then again.
        for attempt in 0.. {
            match self.try_click(selector).await {
                Ok(()) => return,
                Err(error) => assert!(attempt < 20, "{selector}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_click(&self, selector: &str) -> Result<(), CmdError> {
        self.client.find(Locator::Css(selector)).await?.click().await
    }

    /// Types into what has the focus.
    pub async fn press(&self, keys: &str) {
        self.client.active_element().await.expect("a focus").send_keys(keys).await.expect("typed");
    }

    /// Presses the button at one place of an element, and lets it go at another; places from 0 (left) to 1 (right).
    pub async fn drag(&self, selector: &str, from: f64, to: f64) {
        let place = "const element = document.querySelector(arguments[0]); element.scrollIntoView({block: 'center'}); const {left, top, width, height} = element.getBoundingClientRect(); return [left, top + height / 2, width]";
        let place = self.run(place, &[json!(selector)]).await;
        let at = |index: usize| place[index].as_f64().expect("a number");
        let to_place = |share: f64| PointerAction::MoveTo {
            duration: Some(Duration::from_millis(60)),
            x: (at(0) + share * at(2)).round(),
            y: at(1).round(),
        };
        let mouse = MouseActions::new("mouse".into())
            .then(to_place(from))
            .then(PointerAction::Down { button: MOUSE_BUTTON_LEFT })
            .then(to_place(to))
            .then(PointerAction::Up { button: MOUSE_BUTTON_LEFT });
        self.client.perform_actions(mouse).await.expect("moved");
    }

    /// The serious and critical findings of axe.
    pub async fn accessibility(&self) -> Vec<String> {
        let axe =
            std::fs::read_to_string(super::npm::packages().join("axe-core/axe.min.js")).expect("axe, of the lock file");
        self.run(&axe, &[]).await;
        let found = self
            .run_async(
                "const { violations } = await axe.run(document); return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
                 .map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`).join(' | ')}`)",
                &[],
            )
            .await;
        let found = found.as_array().unwrap_or_else(|| panic!("axe: {found}"));
        found.iter().map(|finding| finding.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What was logged to the console since it was last asked, warnings and errors.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Extension("se/log", json!({"type": "browser"}))).await.expect("a log");
        let entries = log.as_array().cloned().unwrap_or_default();
        let complaints = entries.iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        complaints.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The URL of every request since it was last asked.
    pub async fn requests(&self) -> Vec<Url> {
        let log = self.client.issue_cmd(Extension("se/log", json!({"type": "performance"}))).await.expect("a log");
        let entries = log.as_array().cloned().unwrap_or_default();
        let messages =
            entries.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let sent = messages.filter(|entry| entry["message"]["method"] == "Network.requestWillBeSent");
        sent.filter_map(|entry| Url::parse(entry["message"]["params"]["request"]["url"].as_str()?).ok()).collect()
    }

    /// A picture of the window.
    pub async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a picture")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Chromium's driver, and the port it chose.
fn start_driver() -> (Child, u16) {
    let mut driver = bound("chromedriver")
        .args(["--port=0"])
        .current_dir(repository(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver runs; `make test` installs it");
    let output = BufReader::new(driver.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);
    let port =
        lines.find_map(|line| line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok());
    let port = port.expect("chromedriver tells its port");
    // What it goes on saying is nobody's; but a pipe that nobody reads would stop it.
    std::thread::spawn(move || lines.for_each(drop));
    (driver, port)
}
