//! The program's log of decisions, for `weir run --trace`. Costs nothing while it is off.

use aya_log::{EbpfLogger, Error};
use log::{Log, Metadata, Record};
use tracing::info;

use super::publish::Datapath;

/// Reads the log of one generation.
pub struct Trace(EbpfLogger<Words>);

/// Turns the numbers of the log into words.
struct Words {
    /// By set id: the names of its rules.
    rules: Vec<String>,
}

impl Datapath {
    /// The log of the generation that runs; each has its own. `rules` names the rules of each set.
    pub fn trace(&mut self, rules: Vec<String>) -> Option<Result<Trace, Error>> {
        Some(EbpfLogger::init_with_logger(&mut self.object()?.ebpf, Words { rules }).map(Trace))
    }
}

impl Trace {
    /// Passes on what was logged since the last call.
    pub fn flush(&mut self) {
        self.0.flush();
    }
}

impl Log for Words {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        info!("{}", words(&record.args().to_string(), &self.rules));
    }

    fn flush(&self) {}
}

/// The log's line `text` with words for `reason`, `direction`, `protocol` and `set`.
fn words(text: &str, rules: &[String]) -> String {
    let word = |word: &str| {
        let number = |key: &str| word.strip_prefix(key)?.parse::<usize>().ok();
        let pick = |words: &[&str], at: usize| words.get(at).copied().unwrap_or("?").to_owned();
        if let Some(reason) = number("reason=") {
            pick(&["passed", "allowed", "monitored", "DROPPED"], reason)
        } else if let Some(direction) = number("direction=") {
            pick(&["out", "in"], direction)
        } else if let Some(protocol) = number("protocol=") {
            pick(&["(IPv4)", "(IPv6)", "(another protocol)", "(a truncated frame)"], protocol)
        } else if let Some(set) = number("set=") {
            format!("rules=[{}]", rules.get(set).map_or("", String::as_str))
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_log_become_words() {
        let rules = [String::new(), "tiktok,lists".into()];
        assert_eq!(
            words("192.0.2.1 > 71.18.1.1 reason=3 direction=0 set=1", &rules),
            "192.0.2.1 > 71.18.1.1 DROPPED out rules=[tiktok,lists]"
        );
        assert_eq!(words("no IP packet protocol=2", &rules), "no IP packet (another protocol)");
        assert_eq!(words("a > b reason=9 direction=0 set=7", &rules), "a > b ? out rules=[]");
    }
}
