//! What to filter, as given on the command line: a configuration file, or names, or both; and what that compiles to.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;

use super::Usage;
use crate::config::{
    AttachChoice, Config, Interface, RuleConfig, check_category, check_device_name, check_service, parse_prefix,
};
use crate::controller::ConfigText;
use crate::network;
use crate::prefix::Asn;
use crate::report;
use crate::ruleset::parts::Copies;
use crate::ruleset::{self, Guard, Host, Resolved, Rule, RuleAction, Ruleset, Sets};
use crate::store::{self, STATE_DIR, Store};

/// Rules by file and by name.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Configuration file; the options below add to it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Block a service of the catalog, such as tiktok; may be given several times
    #[arg(long, value_name = "NAME")]
    service: Vec<String>,
    /// Block all services of a category, such as social-media; may be given several times
    #[arg(long, value_name = "NAME")]
    category: Vec<String>,
    /// Block the networks that an AS originates, such as 396986; may be given several times
    #[arg(long, value_name = "N")]
    asn: Vec<String>,
    /// Block a prefix or an address, such as 203.0.113.0/24; may be given several times
    #[arg(long, value_name = "P")]
    prefix: Vec<String>,
    /// Drop nothing: count what the rules would drop
    #[arg(long)]
    monitor: bool,
    /// Directory with the copies of sources that the daemon keeps
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub(super) state_dir: PathBuf,
}

/// A configuration with all that is known of its lists.
pub(super) struct Known {
    /// The rules with their lists.
    pub(super) resolved: Resolved,
    /// The never-block set.
    pub(super) guard: Guard,
    /// The rules as they were compiled.
    pub(super) rules: Vec<Rule>,
    /// The set ids.
    pub(super) sets: Sets,
    /// What the kernel would get.
    pub(super) compiled: Ruleset,
    /// The copies that the lists were resolved from.
    pub(super) copies: Copies,
}

impl Known {
    /// Resolves and compiles `config` for `host` from the files it names and the copies in the state directory.
    pub(super) fn new(config: &Config, state_dir: &Path, host: &Host) -> anyhow::Result<Self> {
        let mut copies = store::files(config)?;
        let (stored, problems) = Store::new(state_dir).copies(config);
        copies.extend(stored);
        let mut resolved = ruleset::resolve(config, &copies)?;
        resolved.warnings.extend(problems);
        resolved.warnings.extend(report::degraded(&resolved.gaps));
        Self::of(resolved, config, copies, host)
    }

    /// Compiles what is resolved.
    pub(super) fn of(resolved: Resolved, config: &Config, copies: Copies, host: &Host) -> anyhow::Result<Self> {
        let written = resolved.rules.iter().flat_map(|rule| &rule.written);
        let guard = ruleset::guard(&config.never_block, host, written);
        let rules = resolved.rules();
        let mut sets = Sets::default();
        let devices = network::indices().context("cannot list the network devices")?;
        let compiled = ruleset::compile(&rules, &guard, &mut sets, &devices)?;
        Ok(Self { resolved, guard, rules, sets, compiled, copies })
    }
}

/// Unix seconds.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Selection {
    /// The configuration they make.
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        Ok(self.load_text()?.0)
    }

    /// The configuration they make, and the text of the file.
    pub(super) fn load_text(&self) -> anyhow::Result<(Config, Option<ConfigText>)> {
        match &self.config {
            Some(path) => {
                let (config, text) = store::config(path)?;
                Ok((self.complete(config)?, Some(text)))
            }
            None => Ok((self.complete(Config::default())?, None)),
        }
    }

    /// Adds what the command line names to `config`.
    pub(super) fn complete(&self, mut config: Config) -> anyhow::Result<Config> {
        let usage = |problem: String| Usage(problem);
        for id in &self.service {
            check_service(&config.catalog, id).map_err(usage)?;
            add(&mut config, RuleConfig { services: vec![id.clone()], ..RuleConfig::block(id) })?;
        }
        for id in &self.category {
            check_category(&config.catalog, id).map_err(usage)?;
            add(&mut config, RuleConfig { categories: vec![id.clone()], ..RuleConfig::block(id) })?;
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
