//! The real Prometheus and its tool. Judges nothing.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use weir_tests::lab::{DEADLINE, wait_until};
use weir_tests::netns::Netns;
use weir_tests::skipped;
use weir_tests::weir::Scratch;

use crate::HERE;

const LISTEN: &str = "127.0.0.1:9090";

/// A file that is shipped.
pub(crate) fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

/// Whether Prometheus is here; else says that `test` is skipped.
pub(crate) fn here(test: &str) -> bool {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|told| told.status.success());
    let here = runs("prometheus") && runs("promtool");
    if !here {
        skipped(test, "no prometheus and promtool; run: cargo xtask test");
    }
    here
}

/// Runs promtool on `input`.
pub(crate) fn promtool(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A Prometheus that scrapes weir each second, with the alerts that are shipped; killed when dropped.
pub(crate) struct Prometheus<'a> {
    child: Child,
    netns: &'a Netns,
    scratch: Scratch,
}

impl<'a> Prometheus<'a> {
    pub(crate) fn start(netns: &'a Netns) -> Self {
        let scratch = Scratch::new();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{job_name: weir, static_configs: [{{targets: ['{HERE}']}}]}}]\n",
            shipped("alerts/weir.rules.yml").display()
        );
        let config = scratch.file("prometheus.yml", config);
        let log = |name: &str| File::create(scratch.path().join(name)).unwrap();
        let mut command = netns.command("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()));
        command.arg(format!("--web.listen-address={LISTEN}"));
        let child = command.stdin(Stdio::null()).stdout(log("stdout")).stderr(log("stderr")).spawn().unwrap();
        let prometheus = Self { child, netns, scratch };
        wait_until(DEADLINE * 2, "Prometheus has scraped weir", || {
            prometheus.try_query("up", None).is_ok_and(|found| found[0]["value"][1] == "1")
        });
        prometheus
    }

    /// The result of an expression, now or at a time in Unix milliseconds.
    pub(crate) fn query(&self, expression: &str, at: Option<u64>) -> Value {
        self.try_query(expression, at).unwrap_or_else(|problem| panic!("{expression}: {problem}"))
    }

    fn try_query(&self, expression: &str, at: Option<u64>) -> Result<Value, String> {
        let mut command = self.netns.command("promtool");
        command.args(["query", "instant", "--format=json"]);
        command.args(at.map(|at| format!("--time={}.{:03}", at / 1000, at % 1000)));
        let output = command.arg(format!("http://{LISTEN}")).arg(expression).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))
    }

    /// The one value of an expression.
    pub(crate) fn value(&self, expression: &str, at: Option<u64>) -> String {
        let result = self.query(expression, at);
        assert_eq!(result.as_array().map(Vec::len), Some(1), "{expression}: {result:#}");
        result[0]["value"][1].as_str().unwrap().to_owned()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default();
            eprintln!("Prometheus complained:\n{log}");
        }
    }
}
