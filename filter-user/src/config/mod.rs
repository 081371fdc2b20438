//! The configuration: TOML text in, a validated [`Config`] out. Reads no file and no clock; later steps trust it.
//!
//! Every refusal names the file, the line, the key and what would be accepted.

mod evidence;
mod place;
mod rule;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use crate::catalog::Catalog;
use place::Place;

pub(crate) use place::one_line;

pub use evidence::{
    CountersConfig, EventsConfig, EvidenceConfig, HistoryConfig, HttpConfig, Keep, LISTEN, MetricsConfig, Resolutions,
};
pub use rule::{RuleConfig, check_category, check_service};
pub use source::{ASN_MARK, AsnConfig, FetchConfig, Location, SourceConfig, host_of, known};

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

/// A validated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The devices.
    pub interfaces: Vec<Interface>,
    /// The rules, their names distinct.
    pub rules: Vec<RuleConfig>,
    /// Which sources say what an AS originates.
    pub asn: AsnConfig,
    /// All sources by name, the known ones among them.
    pub sources: BTreeMap<String, SourceConfig>,
    /// How they are fetched.
    pub fetch: FetchConfig,
    /// What no rule may block.
    pub never_block: Vec<IpNet>,
    /// How evidence is kept and shown.
    pub evidence: EvidenceConfig,
    /// The services and categories that rules name.
    pub catalog: Arc<Catalog>,
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
    rule: Vec<rule::RawRule>,
    #[serde(default)]
    source: Vec<source::RawSource>,
    #[serde(default)]
    asn: source::RawAsn,
    #[serde(default)]
    fetch: source::RawFetch,
    #[serde(default)]
    catalog: RawCatalog,
    #[serde(default)]
    never_block: RawNeverBlock,
    #[serde(default)]
    counters: evidence::RawCounters,
    #[serde(default)]
    events: evidence::RawEvents,
    #[serde(default)]
    history: evidence::RawHistory,
    #[serde(default)]
    http: evidence::RawHttp,
    #[serde(default)]
    metrics: evidence::RawMetrics,
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCatalog {
    file: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNeverBlock {
    #[serde(default)]
    prefixes: Vec<Spanned<String>>,
}

impl Config {
    /// Reads the text of `file`; names of services and categories are `catalog`'s. Relative paths in it count from the
    /// file's directory.
    pub fn parse(file: &Path, bytes: &[u8], catalog: Arc<Catalog>) -> Result<Self, ConfigError> {
        let place = Place::new(file, bytes)?;
        let raw: RawConfig = place.read()?;
        let interfaces = interfaces(&place, raw.interface)?;
        let sources = source::sources(&place, &raw.source)?;
        let fetch = source::fetch(&place, &raw.fetch)?;
        let names = rule::Names { catalog: &catalog, sources: &sources, fetch: &fetch, interfaces: &interfaces };
        let rules = rule::rules(&place, &raw.rule, &names)?;
        let never_block =
            place.each("never_block: prefixes", &raw.never_block.prefixes, |prefix| parse_prefix(prefix))?;
        let asn = source::asn(&place, &raw.asn, &sources, &fetch, &rules)?;
        let RawConfig { counters, events, history, http, metrics, .. } = raw;
        let evidence = evidence::evidence(&place, &evidence::Raw { counters, events, history, http, metrics })?;
        Ok(Self { interfaces, rules, asn, sources, fetch, never_block, evidence, catalog })
    }

    /// The file with the operator's own catalog entries that the configuration in `file` names.
    pub fn catalog_file(file: &Path, bytes: &[u8]) -> Result<Option<PathBuf>, ConfigError> {
        let place = Place::new(file, bytes)?;
        let raw: RawConfig = place.read()?;
        Ok(raw.catalog.file.as_ref().map(|path| place.path(path)))
    }
}

impl Default for Config {
    /// Nothing to filter, nowhere; the embedded catalog and the known sources.
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            rules: Vec::new(),
            asn: AsnConfig { quorum: 1, ..AsnConfig::default() },
            sources: known(),
            fetch: FetchConfig::default(),
            never_block: Vec::new(),
            evidence: EvidenceConfig::default(),
            catalog: Catalog::embedded(),
        }
    }
}

fn interfaces(place: &Place<'_>, raw: Vec<RawInterface>) -> Result<Vec<Interface>, ConfigError> {
    let mut interfaces: Vec<Interface> = Vec::with_capacity(raw.len());
    for RawInterface { name, attach, egress } in raw {
        let at = name.span();
        check_device_name(name.get_ref()).map_err(|problem| place.error(&at, problem))?;
        if interfaces.iter().any(|interface| interface.name == *name.get_ref()) {
            return Err(place.error(&at, format!("interface \"{}\" is listed twice: keep one", name.get_ref())));
        }
        interfaces.push(Interface { name: name.into_inner(), attach, egress });
    }
    Ok(interfaces)
}

/// A time span such as `90s`, `15m`, `24h` or `1h 30m`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refusal = || format!("\"{text}\" is no time span; accepted: such as 90s, 15m or 24h, up to 9999h");
    let span = text.parse::<jiff::SignedDuration>().map_err(|_| refusal())?;
    Duration::try_from(span).ok().filter(|span| *span <= Duration::from_hours(9999)).ok_or_else(refusal)
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
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        return Err(format!(
            "interface name \"{name}\" is not one Linux accepts: 1 to 15 bytes, no '/', ':', space or control character"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::RuleDirection;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("etc/weir.toml"), text.as_bytes(), Catalog::embedded())
            .map_err(|error| error.to_string())
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
        assert_eq!(config.asn.tables, [Path::new("/var/lib/asn.csv.gz")]);
        assert_eq!(config.never_block, ["198.51.100.7/32".parse().unwrap()]);
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases is read as a whole")]
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
                "etc/weir.toml:2: rule \"x\" lists nothing: give services, categories, asns",
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
            (
                "[counters]\nclients = -1",
                "etc/weir.toml:2: counters: clients -1 is out of range; accepted: 0 to 1048576",
            ),
            ("[events]\nrate = 10001", "etc/weir.toml:2: events: rate 10001 is out of range; accepted: 0 to 10000"),
            ("[events]\nsyslog = 1", "etc/weir.toml:2: syslog: invalid type: integer `1`, expected a boolean"),
            (
                "[history]\nkeep = \"tape\"",
                "etc/weir.toml:2: keep: unknown variant `tape`, expected one of `auto`, `disk`",
            ),
            ("[history]\nday_days = 0", "etc/weir.toml:2: history: day_days 0 is out of range; accepted: 1 to 36600"),
            (
                "[http]\nlisten = \"lan\"",
                "etc/weir.toml:2: http: listen \"lan\" is no address; accepted: such as \"127.0.0.1:9846\"",
            ),
            ("[http]\nhosts = [\"a:80\"]", "etc/weir.toml:2: http: hosts: \"a:80\" is no host name; accepted: such as"),
            ("[metrics]\nclients = 101", "etc/weir.toml:2: metrics: clients 101 is out of range; accepted: 0 to 100"),
            ("[metric]", "etc/weir.toml:1: unknown field `metric`, expected one of"),
            ("[never_block]\nprefixes = [\"x\"]", "etc/weir.toml:2: never_block: prefixes: \"x\" is no prefix"),
            ("[asn]\ntable = 1", "etc/weir.toml:2: unknown field `table`, expected one of `tables`, `sources`"),
            (
                &rule("services = [\"social-media\"]"),
                "etc/weir.toml:4: rule \"x\": \"social-media\" is a category, not a service",
            ),
            (
                &rule("categories = [\"social\"]"),
                "etc/weir.toml:4: rule \"x\": category \"social\" is not in the catalog; accepted: ",
            ),
            (
                &rule("organisations = [\"a\"]"),
                "etc/weir.toml:4: rule \"x\": organisations: \"a\" is no part of an AS name; accepted: one or more whole",
            ),
            (
                &rule("lists = [\"drop\"]"),
                "etc/weir.toml:4: rule \"x\": lists: no source is called \"drop\"; accepted: bgptools, iptoasn,",
            ),
            (
                &rule("asns = [1]\nvlans = [4095]"),
                "etc/weir.toml:5: rule \"x\": vlans: 4095 is no VLAN id; accepted: 1 to 4094, and 0 for frames without",
            ),
            (
                &rule("asns = [1]\nmacs = [\"02:00\"]"),
                "etc/weir.toml:5: rule \"x\": macs: \"02:00\" is no MAC address; accepted: six bytes",
            ),
            (
                &rule("asns = [1]\nclients = [\"192.168.1.7/24\"]"),
                "etc/weir.toml:5: rule \"x\": clients: \"192.168.1.7/24\" has host bits set; write 192.168.1.0/24",
            ),
            (
                &format!("[[interface]]\nname = \"lan0\"\n{}", rule("asns = [1]\ndevices = [\"wan0\"]")),
                "etc/weir.toml:7: rule \"x\": devices: weir does not filter on \"wan0\"; accepted: the [[interface]] names",
            ),
            (
                &rule("asns = [1]\nschedule = { from = \"08:00\", to = \"16:00\", zone = \"Europe/Berln\" }"),
                "etc/weir.toml:5: rule \"x\": schedule: ",
            ),
            (
                &rule("asns = [1]\nschedule = { from = \"25:00\", to = \"16:00\", zone = \"UTC\" }"),
                "etc/weir.toml:5: rule \"x\": schedule: ",
            ),
            (
                &rule("asns = [1]\nschedule = { zone = \"UTC\" }"),
                "etc/weir.toml:5: rule \"x\": schedule: give either days, from and to, or windows",
            ),
            (
                "[[source]]\nname = \"My List\"\nfile = \"x\"",
                "etc/weir.toml:2: source name \"My List\" must be 1 to 40 lower-case letters, digits and dashes",
            ),
            ("[[source]]\nname = \"a\"", "etc/weir.toml:2: source \"a\" needs one of url, file and irr"),
            (
                "[[source]]\nname = \"a\"\nurl = \"x\"\nfile = \"y\"",
                "etc/weir.toml:2: source \"a\" needs one of url, file and irr",
            ),
            (
                "[[source]]\nname = \"a\"\nurl = \"ftp://x/\"",
                "etc/weir.toml:3: source \"a\": url: \"ftp://x/\" is no http:// or https:// URL",
            ),
            (
                "[[source]]\nname = \"a\"\nirr = \"whois.radb.net\"",
                "etc/weir.toml:3: source \"a\": irr: \"whois.radb.net\" is no host:port",
            ),
            (
                "[[source]]\nname = \"a\"\nfile = \"x\"\n[[source]]\nname = \"a\"\nfile = \"y\"",
                "etc/weir.toml:5: source \"a\" is defined twice: keep one",
            ),
            (
                "[[source]]\nname = \"a\"\nurl = \"https://x.example/\"\nrefresh = \"5m\"",
                "etc/weir.toml:4: source \"a\": refresh: at least 15m, for publishers lock out who asks more often",
            ),
            (
                "[[source]]\nname = \"a\"\nfile = \"x\"\nrefresh = \"soon\"",
                "etc/weir.toml:4: source \"a\": refresh: \"soon\" is no time span; accepted: such as 90s, 15m or 24h",
            ),
            (
                "[asn]\nsources = [\"x\"]",
                "etc/weir.toml:2: asn: sources: no source is called \"x\"; accepted: bgptools,",
            ),
            (
                "[asn]\nsources = [\"bgptools\"]",
                "etc/weir.toml:2: asn: sources: source \"bgptools\" answers only to clients that say who they are: set [fetch]",
            ),
            (
                "[asn]\nsources = [\"radb\"]",
                "etc/weir.toml:2: asn: sources: \"radb\" is a routing registry, where anyone can register anything",
            ),
            (
                &rule("lists = [\"ipverse\"]"),
                "etc/weir.toml:4: rule \"x\": lists: source \"ipverse\" answers for one AS at a time: write asns, and",
            ),
            (
                "[asn]\nsources = [\"iptoasn\",\n\"iptoasn\"]\nquorum = 2",
                "etc/weir.toml:3: asn: \"iptoasn\" is named twice, here and before or in a rule's lists: keep one",
            ),
            (
                &format!("{}[asn]\nsources = [\"iptoasn\"]", rule("lists = [\"iptoasn\"]")),
                "etc/weir.toml:6: asn: \"iptoasn\" is named twice, here and before or in a rule's lists: keep one",
            ),
            ("[asn]\ntables = [\"a\",\n\"a\"]", "etc/weir.toml:3: asn: tables: \"a\" is listed twice: keep one"),
            (
                "[asn]\nrpki = \"ripestat\"",
                "etc/weir.toml:2: asn: rpki: source \"ripestat\" answers for one AS at a time: name one document",
            ),
            ("[asn]\nirr = \"rpki\"", "etc/weir.toml:2: asn: irr: source \"rpki\" has no irr = \"host:port\""),
            (
                "[asn]\nsources = [\"ipverse\"]\nquorum = 2",
                "etc/weir.toml:3: asn: quorum: accepted: 1 to the 1 tables and sources that [asn] names",
            ),
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
    fn sources_scopes_and_schedules_are_read() {
        let config = parse(
            r#"
            [[interface]]
            name = "lan0"
            [[rule]]
            name = "school"
            action = "block"
            categories = ["social-media"]
            organisations = ["ByteDance"]
            lists = ["campus", "spamhaus-drop"]
            clients = ["192.168.20.0/24", "fd00:20::/64"]
            vlans = [0, 20]
            devices = ["lan0"]
            macs = ["02:00:5e:10:00:01"]
            schedule = { days = ["mon-fri"], from = "08:00", to = "16:00", zone = "Europe/Berlin" }
            allow_shared = true
            [[rule]]
            name = "night"
            action = "monitor"
            asns = [64512]
            allow_bogon = true
            schedule = { zone = "UTC", windows = [{ from = "22:00", to = "06:00" }, { days = ["sat"], from = "00:00", to = "24:00" }] }
            [[source]]
            name = "campus"
            url = "http://127.0.0.1:8080/campus.netset"
            refresh = "2s"
            shrink = 50
            grow = 200
            may_be_empty = true
            [[source]]
            name = "ripestat"
            file = "ripestat/AS{asn}.json"
            [asn]
            tables = ["asn.csv"]
            sources = ["ripestat", "bgptools"]
            quorum = 2
            rpki = "rpki"
            irr = "radb"
            [fetch]
            contact = "noc@example.org"
            ca = "ca.pem"
            retry = "1s"
            "#,
        )
        .unwrap();
        let rule = &config.rules[0];
        assert_eq!((rule.scope.vlans.as_slice(), rule.scope.macs[0]), ([0, 20].as_slice(), [2, 0, 0x5e, 0x10, 0, 1]));
        assert_eq!(rule.scope.clients.len() + rule.scope.devices.len() + rule.lists.len(), 5);
        assert!(rule.allow_shared && !rule.allow_bogon && rule.schedule.is_some());
        assert!(config.rules[1].schedule.as_ref().unwrap().active(23 * 3600));
        let campus = &config.sources["campus"];
        assert_eq!((campus.refresh, campus.limits.shrink, campus.limits.grow), (Duration::from_secs(2), 50, 200));
        let ripestat = &config.sources["ripestat"];
        assert_eq!(ripestat.location, Location::File("etc/ripestat/AS{asn}.json".into()));
        assert!(ripestat.location.is_per_asn() && !campus.location.is_per_asn());
        assert_eq!(
            (config.asn.quorum, config.asn.rpki.as_deref(), config.asn.irr.as_deref()),
            (2, Some("rpki"), Some("radb"))
        );
        assert_eq!(
            (config.fetch.retry, config.fetch.ca.as_deref()),
            (Duration::from_secs(1), Some(Path::new("etc/ca.pem")))
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let error = Config::parse(Path::new("weir.toml"), b"[asn]\n# \xff\n", Catalog::embedded()).unwrap_err();
        assert_eq!(error.to_string(), "weir.toml:2: the configuration must be UTF-8 text");
    }
}
