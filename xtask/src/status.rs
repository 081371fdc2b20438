//! What `weir status` and `weir explain` say, read from their JSON in this one place. Unknown fields are ignored.

use anyhow::{Context, Result};
use serde_json::Value;

/// The answer of `weir status --json`.
pub(crate) struct Status {
    /// Devices and the attach kind that each one runs, empty while there is none.
    pub(crate) devices: Vec<(String, String)>,
    pub(crate) rules: Vec<Rule>,
}

/// A rule with the packets that it matched.
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) out: u64,
    pub(crate) in_: u64,
}

pub(crate) fn parse_status(json: &str) -> Result<Status> {
    let status: Value = serde_json::from_str(json).context("`weir status --json` printed no JSON")?;
    let devices = list(&status, "devices").map(|device| (text(device, "name"), text(device, "attach"))).collect();
    let packets = |rule: &Value, direction: &str| rule[direction]["packets"].as_u64().unwrap_or(0);
    let rules = list(&status, "rules")
        .map(|rule| Rule { name: text(rule, "name"), out: packets(rule, "out"), in_: packets(rule, "in") })
        .collect();
    Ok(Status { devices, rules })
}

/// The verdicts (out, in) of `weir explain ADDR --json`.
pub(crate) fn parse_verdicts(json: &str) -> Result<(String, String)> {
    let explained: Value = serde_json::from_str(json).context("`weir explain --json` printed no JSON")?;
    Ok((text(&explained, "verdict_out"), text(&explained, "verdict_in")))
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_status_and_ignores_what_it_does_not_know() {
        let status = parse_status(
            r#"{"generation":1,"new":[],"devices":[{"name":"lan0","attach":"xdp-native","state":"live"}],
                "rules":[{"name":"tiktok","action":"block","out":{"packets":3,"bytes":9},"in":{"packets":2}}]}"#,
        )
        .unwrap();
        assert_eq!(status.devices, [("lan0".to_owned(), "xdp-native".to_owned())]);
        assert_eq!((status.rules[0].name.as_str(), status.rules[0].out, status.rules[0].in_), ("tiktok", 3, 2));
    }

    #[test]
    fn a_status_without_fields_has_no_devices() {
        assert!(parse_status("{}").unwrap().devices.is_empty());
        assert!(parse_status("starting").is_err());
    }

    #[test]
    fn reads_both_verdicts() {
        let verdicts = parse_verdicts(r#"{"address":"192.0.2.1","verdict_out":"drop","verdict_in":"pass"}"#).unwrap();
        assert_eq!(verdicts, ("drop".to_owned(), "pass".to_owned()));
    }
}
