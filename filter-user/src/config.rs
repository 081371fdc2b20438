//! The configuration: TOML text in, a validated [`Config`] out. Reads no file and no clock; later steps trust it.
//!
//! Every refusal names the file, the line, the key and what would be accepted.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use crate::catalog::{self, Catalog};
use crate::prefix::Asn;
use crate::ruleset::{RuleAction, RuleDirection, RuleIdentity};

/// How a device is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttachChoice {
    /// The first of the others that works, proven to run.
    #[default]
    Auto,
    /// XDP in the device's driver.
    XdpNative,
    /// tc ingress by tcx (kernel 6.6) or clsact.
    Tc,
    /// XDP behind the driver.
    XdpGeneric,
}

/// A device to filter on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// How to attach.
    pub attach: AttachChoice,
    /// Filter what leaves the device, too: the router's own traffic.
    pub egress: bool,
}

/// A rule as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// Name, action and direction.
    pub identity: RuleIdentity,
    /// Ids of catalog services.
    pub services: Vec<String>,
    /// Origin ASes.
    pub asns: Vec<Asn>,
    /// Prefixes written in place.
    pub prefixes: Vec<IpNet>,
    /// List files.
    pub files: Vec<PathBuf>,
    /// Lists may hold prefixes shorter than /8 (IPv4) or /19 (IPv6).
    pub allow_wide: bool,
}

impl RuleConfig {
    /// A rule with nothing listed, that blocks both directions.
    #[must_use]
    pub fn block(name: &str) -> Self {
        let identity =
            RuleIdentity { name: name.into(), action: RuleAction::Block, direction: RuleDirection::default() };
        Self { identity, services: vec![], asns: vec![], prefixes: vec![], files: vec![], allow_wide: false }
    }
}

/// A validated configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The devices.
    pub interfaces: Vec<Interface>,
    /// The rules, their names distinct.
    pub rules: Vec<RuleConfig>,
    /// ASN tables; the embedded snapshot where there is none.
    pub asn_tables: Vec<PathBuf>,
    /// What no rule may block.
    pub never_block: Vec<IpNet>,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {problem}", file.display())]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key, what is wrong with it, and what is accepted.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    #[serde(default)]
    interface: Vec<RawInterface>,
    #[serde(default)]
    rule: Vec<RawRule>,
    #[serde(default)]
    asn: RawAsn,
    #[serde(default)]
    never_block: RawNeverBlock,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInterface {
    name: Spanned<String>,
    #[serde(default)]
    attach: AttachChoice,
    #[serde(default)]
    egress: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    name: Spanned<String>,
    action: RuleAction,
    #[serde(default)]
    direction: RuleDirection,
    #[serde(default)]
    services: Vec<Spanned<String>>,
    #[serde(default)]
    asns: Vec<Spanned<toml::Value>>,
    #[serde(default)]
    prefixes: Vec<Spanned<String>>,
    #[serde(default)]
    files: Vec<Spanned<String>>,
    #[serde(default)]
    allow_wide: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAsn {
    #[serde(default)]
    tables: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNeverBlock {
    #[serde(default)]
    prefixes: Vec<Spanned<String>>,
}

impl Config {
    /// Reads the text of `file`. Relative paths in it count from the file's directory.
    pub fn parse(file: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|error| ConfigError {
            file: file.into(),
            line: 1 + bytes.iter().take(error.valid_up_to()).filter(|&&byte| byte == b'\n').count(),
            problem: "the configuration must be UTF-8 text".into(),
        })?;
        let place = Place { file, text };
        let raw: RawConfig = toml::from_str(text)
            .map_err(|error| place.refusal(&error.span().unwrap_or_default(), error.message().trim()))?;
        place.config(raw)
    }
}

/// Where a value stands, for errors.
struct Place<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn error(&self, span: &Range<usize>, problem: impl fmt::Display) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        ConfigError { file: self.file.into(), line, problem: problem.to_string() }
    }

    /// What the TOML reader refuses, with the key, which it leaves out.
    fn refusal(&self, span: &Range<usize>, message: &str) -> ConfigError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let value = self.text.get(span.clone()).unwrap_or_default();
        if message.starts_with("invalid type: map, expected a sequence") && value.starts_with('[') {
            return self.error(span, format!("{value} must have double brackets; write [{value}]"));
        }
        match line.split_once('=') {
            Some((key, _)) => self.error(span, format!("{}: {message}", key.trim())),
            None => self.error(span, message),
        }
    }

    fn config(&self, raw: RawConfig) -> Result<Config, ConfigError> {
        let mut names = BTreeSet::new();
        let mut interfaces = Vec::with_capacity(raw.interface.len());
        for interface in raw.interface {
            let name = interface.name.get_ref();
            check_device_name(name).map_err(|problem| self.error(&interface.name.span(), problem))?;
            if !names.insert(name.clone()) {
                return Err(
                    self.error(&interface.name.span(), format!("interface \"{name}\" is listed twice: keep one"))
                );
            }
            interfaces.push(Interface { name: name.clone(), attach: interface.attach, egress: interface.egress });
        }
        names.clear();
        let mut rules = Vec::with_capacity(raw.rule.len());
        for rule in raw.rule {
            let name = rule.name.get_ref().clone();
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                let problem = format!("rule name must have 1 to {MAX_NAME} bytes and no control characters");
                return Err(self.error(&rule.name.span(), problem));
            }
            if names.contains(&name) {
                let problem = format!("rule \"{name}\" is defined twice: counters are kept by name, choose another");
                return Err(self.error(&rule.name.span(), problem));
            }
            rules.push(self.rule(&rule, &name)?);
            names.insert(name);
        }
        Ok(Config {
            interfaces,
            rules,
            asn_tables: raw.asn.tables.iter().map(|path| self.path(path)).collect(),
            never_block: self.prefixes("never_block", &raw.never_block.prefixes)?,
        })
    }

    fn rule(&self, raw: &RawRule, name: &str) -> Result<RuleConfig, ConfigError> {
        for service in &raw.services {
            check_service(service.get_ref())
                .map_err(|problem| self.error(&service.span(), format!("rule \"{name}\": {problem}")))?;
        }
        let mut asns = Vec::with_capacity(raw.asns.len());
        for asn in &raw.asns {
            let number = asn.get_ref().as_integer().and_then(|number| Asn::try_from(number).ok());
            let number = number.filter(|&number| number != 0).ok_or_else(|| {
                let problem = format!(
                    "rule \"{name}\": asns: {} is no AS number; accepted: 1 to 4294967295, without quotes",
                    self.text.get(asn.span()).unwrap_or_default()
                );
                self.error(&asn.span(), problem)
            })?;
            asns.push(number);
        }
        if raw.services.is_empty() && asns.is_empty() && raw.prefixes.is_empty() && raw.files.is_empty() {
            let problem = format!("rule \"{name}\" lists nothing: give services, asns, prefixes or files");
            return Err(self.error(&raw.name.span(), problem));
        }
        Ok(RuleConfig {
            identity: RuleIdentity { name: name.into(), action: raw.action, direction: raw.direction },
            services: raw.services.iter().map(|service| service.get_ref().clone()).collect(),
            asns,
            prefixes: self.prefixes(&format!("rule \"{name}\""), &raw.prefixes)?,
            files: raw.files.iter().map(|path| self.path(path)).collect(),
            allow_wide: raw.allow_wide,
        })
    }

    fn prefixes(&self, owner: &str, raw: &[Spanned<String>]) -> Result<Vec<IpNet>, ConfigError> {
        raw.iter()
            .map(|prefix| {
                parse_prefix(prefix.get_ref())
                    .map_err(|problem| self.error(&prefix.span(), format!("{owner}: prefixes: {problem}")))
            })
            .collect()
    }

    fn path(&self, path: &Spanned<String>) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path.get_ref())
    }
}

/// Bytes in a rule name, at most: it becomes a label of metrics and a line of a terminal.
const MAX_NAME: usize = 64;

/// The name of a service, or why there is none.
pub fn check_service(id: &str) -> Result<(), String> {
    if catalog::service(id).is_some() {
        return Ok(());
    }
    Err(Catalog::embedded().no_such_service(id))
}

/// A prefix or bare address, without host bits.
pub fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let accepted = "accepted: a CIDR prefix such as \"203.0.113.0/24\" or an address";
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| format!("\"{text}\" is no prefix; {accepted}"))?;
    if let IpNet::V6(net) = net
        && net.addr().to_ipv4_mapped().is_some()
    {
        return Err(format!("\"{text}\" is IPv4-mapped IPv6, which no packet carries; write it as IPv4"));
    }
    if net.trunc() == net { Ok(net) } else { Err(format!("\"{text}\" has host bits set; write {}", net.trunc())) }
}

/// Whether Linux could have a device of this name (`dev_valid_name`, net/core/dev.c).
pub fn check_device_name(name: &str) -> Result<(), String> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        return Err(format!("interface name \"{name}\" is not one Linux accepts: 1 to 15 bytes, no '/', ':' or space"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("etc/weir.toml"), text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_complete_configuration_is_read() {
        let config = parse(
            r#"
            [[interface]]
            name = "eth0"
            attach = "xdp-native"
            egress = true
            [[rule]]
            name = "tiktok"
            action = "block"
            direction = "out"
            services = ["tiktok"]
            asns = [4294967295]
            prefixes = ["203.0.113.0/24", "2001:db8::1"]
            files = ["extra.netset"]
            [asn]
            tables = ["/var/lib/asn.csv.gz"]
            [never_block]
            prefixes = ["198.51.100.7/32"]
            "#,
        )
        .unwrap();
        assert_eq!(
            config.interfaces,
            [Interface { name: "eth0".into(), attach: AttachChoice::XdpNative, egress: true }]
        );
        let rule = &config.rules[0];
        assert_eq!(rule.identity.direction, RuleDirection::Out);
        assert_eq!(rule.asns, [u32::MAX]);
        assert_eq!(rule.prefixes[1], "2001:db8::1/128".parse().unwrap());
        assert_eq!(rule.files, [Path::new("etc/extra.netset")]);
        assert_eq!(config.asn_tables, [Path::new("/var/lib/asn.csv.gz")]);
        assert_eq!(config.never_block, ["198.51.100.7/32".parse().unwrap()]);
    }

    #[test]
    fn every_refusal_names_file_line_key_and_what_is_accepted() {
        let rule = |more: &str| format!("[[rule]]\nname = \"x\"\naction = \"block\"\n{more}\n");
        let cases = [
            ("frobnicate = 1", "etc/weir.toml:1: unknown field `frobnicate`, expected one of `interface`, `rule`"),
            (
                "[[interface]]\nname = \"eth0\"\nmode = 1",
                "etc/weir.toml:3: unknown field `mode`, expected one of `name`",
            ),
            (
                "[[interface]]\nname = \"eth0\"\nattach = \"xdp\"",
                "etc/weir.toml:3: attach: unknown variant `xdp`, expected one of `auto`, `xdp-native`, `tc`, `xdp-generic`",
            ),
            ("[[interface]]\nname = \"a/b\"", "etc/weir.toml:2: interface name \"a/b\" is not one Linux accepts"),
            (
                "[[interface]]\nname = \"a\"\n[[interface]]\nname = \"a\"",
                "etc/weir.toml:4: interface \"a\" is listed twice",
            ),
            (
                "[[rule]]\nname = \"x\"\naction = \"drop\"",
                "etc/weir.toml:3: action: unknown variant `drop`, expected one of `block`, `monitor`, `allow`",
            ),
            ("[[rule]]\nname = \"x\"", "etc/weir.toml:1: missing field `action`"),
            (
                "[[rule]]\nname = \"x\"\naction = \"block\"",
                "etc/weir.toml:2: rule \"x\" lists nothing: give services, asns, prefixes or files",
            ),
            (
                "[[rule]]\nname = \"\"\naction = \"block\"\nasns = [1]",
                "etc/weir.toml:2: rule name must have 1 to 64 bytes",
            ),
            (
                &rule("direction = \"up\""),
                "etc/weir.toml:4: direction: unknown variant `up`, expected one of `out`, `in`, `both`",
            ),
            (
                &rule("services = [\"tiktak\"]"),
                "etc/weir.toml:4: rule \"x\": service \"tiktak\" is not in the catalog; did you mean tiktok? `weir",
            ),
            (&rule("asns = [0]"), "etc/weir.toml:4: rule \"x\": asns: 0 is no AS number; accepted: 1 to 4294967295"),
            (&rule("asns = [\"AS1\"]"), "etc/weir.toml:4: rule \"x\": asns: \"AS1\" is no AS number; accepted: 1 to"),
            (&rule("asns = [-1]"), "etc/weir.toml:4: rule \"x\": asns: -1 is no AS number"),
            (&rule("allow_wide = 1"), "etc/weir.toml:4: allow_wide: invalid type: integer `1`, expected a boolean"),
            ("[rule]\nname = \"x\"", "etc/weir.toml:1: [rule] must have double brackets; write [[rule]]"),
            (
                &rule("prefixes = [\"::ffff:1.2.3.0/120\"]"),
                "etc/weir.toml:4: rule \"x\": prefixes: \"::ffff:1.2.3.0/120\" is IPv4-mapped IPv6, which no packet",
            ),
            (&rule("asns = [4294967296]"), "etc/weir.toml:4: rule \"x\": asns: 4294967296 is no AS number"),
            (
                &rule("prefixes = [\n\"10.0.0.0/33\"]"),
                "etc/weir.toml:5: rule \"x\": prefixes: \"10.0.0.0/33\" is no prefix; accepted:",
            ),
            (
                &rule("prefixes = [\"192.0.2.1/24\"]"),
                "etc/weir.toml:4: rule \"x\": prefixes: \"192.0.2.1/24\" has host bits set; write 192.0.2.0/24",
            ),
            ("[never_block]\nprefixes = [\"x\"]", "etc/weir.toml:2: never_block: prefixes: \"x\" is no prefix"),
            ("[asn]\ntable = 1", "etc/weir.toml:2: unknown field `table`, expected `tables`"),
            ("a = [", "etc/weir.toml:1: "),
        ];
        for (text, message) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(message), "{text}\n  gave   {error}\n  wanted {message}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let twice = format!("{}{}", rule("asns = [1]"), rule("asns = [2]"));
        assert!(parse(&twice).unwrap_err().starts_with("etc/weir.toml:6: rule \"x\" is defined twice"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let error = Config::parse(Path::new("weir.toml"), b"[asn]\n# \xff\n").unwrap_err();
        assert_eq!(error.to_string(), "weir.toml:2: the configuration must be UTF-8 text");
    }
}
