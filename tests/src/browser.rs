//! A Chromium in a namespace, driven as a person would by `WebDriver` (W3C) and a little of Chromium's own protocol. Judges
//! nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::http;
use crate::lab::DEADLINE;
use crate::netns::Netns;

/// Where chromedriver listens, in the browser's namespace.
const DRIVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9515);

/// A browser with one page; ended when dropped.
#[derive(Debug)]
pub struct Browser<'a> {
    netns: &'a Netns,
    driver: Child,
    session: String,
}

impl<'a> Browser<'a> {
    /// Whether there is one on this machine.
    #[must_use]
    pub fn is_here() -> bool {
        let runs = |program| {
            let mut command = Command::new(program);
            command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        runs("chromedriver") && runs("chromium")
    }

    /// Starts one in the namespace. It keeps its profile in `directory`.
    #[must_use]
    pub fn start(netns: &'a Netns, directory: &Path) -> Self {
        let mut command = netns.command("chromedriver");
        command.arg(format!("--port={}", DRIVER.port())).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // The profile and all that Chromium leaves behind goes away with the test.
        command.env("HOME", directory).env("TMPDIR", directory);
        let driver = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut browser = Self { netns, driver, session: String::new() };
        let started = Instant::now();
        while http::connect(netns, DRIVER).is_err() {
            assert!(started.elapsed() < DEADLINE, "chromedriver does not listen");
            thread::sleep(Duration::from_millis(50));
        }
        let profile = format!("--user-data-dir={}", directory.join("chromium").display());
        // As root there is no sandbox, and the namespace has no way to the Internet.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
        let quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--lang=en-GB"];
        let arguments: Vec<&str> = arguments.into_iter().chain(quiet).chain([profile.as_str()]).collect();
        let session = browser.command(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
                "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            } } }),
        );
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser
    }

    fn try_command(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let reply = http::ask(self.netns, DRIVER, method, path, &[], body.as_bytes());
        let answer = reply.json()["value"].clone();
        if reply.status == 200 { Ok(answer) } else { Err(answer) }
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_command(method, path, body).unwrap_or_else(|fault| panic!("{method} {path}: {fault}"))
    }

    /// Does something with an element, again where the page moved under the pointer meanwhile: a person would, too.
    fn with(&self, selector: &str, method: &str, what: &str, body: &Value) -> Value {
        let started = Instant::now();
        loop {
            let path = format!("/session/{}/element/{}/{what}", self.session, self.find(selector));
            match self.try_command(method, &path, body) {
                Ok(answer) => return answer,
                Err(fault) => {
                    let error = fault["error"].as_str().unwrap_or_default();
                    let moved = ["element click intercepted", "element not interactable", "stale element reference"];
                    let again = moved.contains(&error) && started.elapsed() < DEADLINE;
                    assert!(again, "{method} {what} of {selector}: {fault}");
                    thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.command("POST", &format!("/session/{}/{command}", self.session), body)
    }

    /// Opens an address.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Runs a script in the page.
    pub fn run(&self, script: &str) {
        self.post("execute/sync", &json!({ "script": script, "args": [] }));
    }

    /// Runs a script in the page, and gives what it returns.
    #[must_use]
    pub fn ask(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script that calls its last argument when it is done, and gives what it calls it with.
    #[must_use]
    pub fn ask_async(&self, script: &str) -> Value {
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    fn find(&self, selector: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// The text of an element, as it is shown.
    #[must_use]
    pub fn text(&self, selector: &str) -> String {
        self.with(selector, "GET", "text", &Value::Null).as_str().unwrap().to_owned()
    }

    /// Clicks an element, where a person could.
    pub fn click(&self, selector: &str) {
        self.with(selector, "POST", "click", &json!({}));
    }

    /// Types into an element; `\n` is the Enter key.
    pub fn write(&self, selector: &str, text: &str) {
        self.with(selector, "POST", "value", &json!({ "text": text.replace('\n', "\u{e007}") }));
    }

    /// Presses keys, wherever the focus is.
    pub fn press(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// A command of Chromium's own protocol.
    fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Gives the page a size, and one of the colour schemes `light` and `dark`.
    pub fn show_as(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.tell("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.tell("Emulation.setEmulatedMedia", &scheme);
    }

    /// A picture of the whole page, as PNG.
    #[must_use]
    pub fn picture(&self) -> Vec<u8> {
        let shot = self.tell("Page.captureScreenshot", &json!({ "format": "png", "captureBeyondViewport": true }));
        base64(shot["data"].as_str().unwrap())
    }

    /// What was logged since it was asked last: `browser` is the console, `performance` what the network did.
    #[must_use]
    pub fn log(&self, kind: &str) -> Vec<Value> {
        self.post("se/log", &json!({ "type": kind })).as_array().unwrap().clone()
    }

    /// The addresses of all requests since it was asked last.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let entries = self.log("performance");
        let messages =
            entries.iter().filter_map(|entry| serde_json::from_str::<Value>(entry["message"].as_str()?).ok());
        let sent = messages.filter(|message| message["message"]["method"] == "Network.requestWillBeSent");
        sent.filter_map(|message| message["message"]["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Ends Chromium and its helpers, too. A driver that does not answer is killed all the same.
        if !self.session.is_empty() && !thread::panicking() {
            self.command("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = signal::kill(Pid::from_raw(self.driver.id().cast_signed()), Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.driver.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Decodes base64 (RFC 4648, section 4).
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut word, mut bits) = (Vec::with_capacity(text.len() / 4 * 3), 0_u32, 0);
    for letter in text.bytes().filter(|&letter| letter != b'=') {
        let value = LETTERS.iter().position(|&known| known == letter).unwrap();
        word = word << 6 | u32::try_from(value).unwrap();
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    bytes
}
