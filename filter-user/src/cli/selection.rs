//! What to filter, as given on the command line: a configuration file, or names, or both.

use std::path::PathBuf;

use clap::Args;

use super::Usage;
use crate::config::{AttachChoice, Config, Interface, RuleConfig, check_device_name, check_service, parse_prefix};
use crate::prefix::Asn;
use crate::ruleset::RuleAction;
use crate::store;

/// Rules by file and by name.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Configuration file; the options below add to it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Block a service of the catalog, such as tiktok; may be given several times
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Block the networks that an AS originates, such as 396986; may be given several times
    #[arg(long, value_name = "N")]
    asn: Vec<String>,
    /// Block a prefix or an address, such as 203.0.113.0/24; may be given several times
    #[arg(long, value_name = "P")]
    prefix: Vec<String>,
    /// Drop nothing: count what the rules would drop
    #[arg(long)]
    monitor: bool,
}

impl Selection {
    /// The configuration they make.
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => store::config(path)?,
            None => Config::default(),
        };
        let usage = |problem: String| Usage(problem);
        for id in &self.service {
            check_service(id).map_err(usage)?;
            add(&mut config, RuleConfig { services: vec![id.clone()], ..RuleConfig::block(id) })?;
        }
        for text in &self.asn {
            let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as")).unwrap_or(text);
            let asn: Asn = digits.parse().ok().filter(|&asn| asn != 0).ok_or_else(|| {
                Usage(format!("--asn {text} is no AS number; accepted: 1 to 4294967295, with or without AS before it"))
            })?;
            add(&mut config, RuleConfig { asns: vec![asn], ..RuleConfig::block(&format!("AS{asn}")) })?;
        }
        if !self.prefix.is_empty() {
            let prefixes = self.prefix.iter().map(|text| parse_prefix(text)).collect::<Result<_, _>>();
            let prefixes = prefixes.map_err(|problem| Usage(format!("--prefix {problem}")))?;
            add(&mut config, RuleConfig { prefixes, ..RuleConfig::block("prefixes") })?;
        }
        if config.rules.is_empty() {
            let problem = match &self.config {
                Some(path) => {
                    format!("{} has no [[rule]]: add one, or give --service, --asn or --prefix", path.display())
                }
                None => {
                    "nothing to filter: give -c FILE, --service NAME, --asn N or --prefix P (see weir --help)".into()
                }
            };
            return Err(Usage(problem).into());
        }
        if self.monitor {
            for rule in config.rules.iter_mut().filter(|rule| rule.identity.action == RuleAction::Block) {
                rule.identity.action = RuleAction::Monitor;
            }
        }
        Ok(config)
    }
}

fn add(config: &mut Config, rule: RuleConfig) -> Result<(), Usage> {
    let name = &rule.identity.name;
    if config.rules.iter().any(|other| other.identity.name == *name) {
        let problem =
            format!("rule \"{name}\" is there already, from the configuration file or another option: keep one");
        return Err(Usage(problem));
    }
    config.rules.push(rule);
    Ok(())
}

/// Adds devices named on the command line to those of the configuration.
pub(super) fn add_interfaces(config: &mut Config, names: &[String]) -> Result<(), Usage> {
    for name in names {
        check_device_name(name).map_err(Usage)?;
        if !config.interfaces.iter().any(|interface| interface.name == *name) {
            config.interfaces.push(Interface { name: name.clone(), attach: AttachChoice::Auto, egress: false });
        }
    }
    Ok(())
}
