//! `weir catalog`: which services there are, and what stands behind a name. Blocks nothing.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Outcome, Usage, print, print_json};
use crate::catalog::{self, Category, Network, Service};
use crate::store;

/// Show the services that rules can name, and what stands behind each
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir catalog list                      every service, by category\n  \
    weir catalog show tiktok               its networks and names, and what a block by address leaves\n\n\
    docs/catalog.md says how entries are made and how to add your own.")]
pub(super) struct Catalog {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Show(Show),
}

/// List the services: networks of their own, lists, names, and whether others share the networks
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir catalog list --category gaming            one category\n  \
    weir catalog list --catalog own.toml --json    with your own entries, for a program to read")]
struct List {
    /// Only the services of this category, such as social-media
    #[arg(long, value_name = "C")]
    category: Option<String>,
    #[command(flatten)]
    source: Source,
}

/// Show everything about a service, or the services of a category
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    weir catalog show tiktok           its networks and names, and what a block by address leaves\n  \
    weir catalog show social-media     the services of a category")]
struct Show {
    /// The service or category
    id: String,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Args)]
struct Source {
    /// Your own entries, which replace, add to and remove those of the built-in catalog
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Print JSON (docs/json.md)
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ListReport<'a> {
    services: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    category: &'a str,
    networks: usize,
    lists: usize,
    domains: usize,
    shared: bool,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ShowReport<'a> {
    Service(ServiceReport<'a>),
    Category { id: &'a str, name: &'a str, services: Vec<Row<'a>> },
}

#[derive(Serialize)]
struct ServiceReport<'a> {
    id: &'a str,
    name: &'a str,
    category: &'a str,
    networks: &'a [Network],
    lists: &'a [String],
    domains: Vec<String>,
    domains_source: &'a str,
    checked: &'a str,
    shared: bool,
    note: &'a str,
}

impl Catalog {
    pub(super) fn execute(&self) -> anyhow::Result<Outcome> {
        match &self.verb {
            Verb::List(verb) => verb.execute(),
            Verb::Show(verb) => verb.execute(),
        }
    }
}

impl List {
    fn execute(&self) -> anyhow::Result<Outcome> {
        let catalog = store::catalog(self.source.catalog.as_deref())?;
        let categories = match &self.category {
            None => catalog.categories(),
            Some(id) => {
                std::slice::from_ref(catalog.category(id).ok_or_else(|| Usage(no_such_category(&catalog, id)))?)
            }
        };
        let services = categories.iter().flat_map(|category| catalog.services_of(&category.id)).map(row).collect();
        self.source.print(&ListReport { services }, |report| rows(&report.services))
    }
}

impl Show {
    fn execute(&self) -> anyhow::Result<Outcome> {
        let catalog = store::catalog(self.source.catalog.as_deref())?;
        let report = match (catalog.service(&self.id), catalog.category(&self.id)) {
            (Some(service), _) => ShowReport::Service(service_report(service)),
            (None, Some(Category { id, name })) => {
                ShowReport::Category { id, name, services: catalog.services_of(id).map(row).collect() }
            }
            (None, None) => return Err(Usage(nothing_called(&catalog, &self.id)).into()),
        };
        self.source.print(&report, text)
    }
}

impl Source {
    fn print<T: Serialize>(&self, report: &T, text: impl Fn(&T) -> String) -> anyhow::Result<Outcome> {
        if self.json {
            print_json(report)?;
        } else {
            print(&text(report))?;
        }
        Ok(Outcome::Done)
    }
}

fn no_such_category(catalog: &catalog::Catalog, id: &str) -> String {
    let known: Vec<_> = catalog.categories().iter().map(|category| category.id.as_str()).collect();
    format!("category \"{id}\" is not in the catalog; accepted: {}", known.join(", "))
}

fn nothing_called(catalog: &catalog::Catalog, id: &str) -> String {
    let near = [catalog.nearest(id), catalog.nearest_category(id)].concat();
    let meant = if near.is_empty() { String::new() } else { format!(" did you mean {}?", near.join(" or ")) };
    format!("\"{id}\" is no service and no category of the catalog;{meant} `weir catalog list` shows all")
}

fn row(service: &Service) -> Row<'_> {
    let Service { id, name, category, networks, lists, domains, shared, .. } = service;
    Row {
        id,
        name,
        category,
        networks: networks.iter().filter(|network| !network.dormant).count(),
        lists: lists.len(),
        domains: domains.len(),
        shared: *shared,
    }
}

fn service_report(service: &Service) -> ServiceReport<'_> {
    ServiceReport {
        id: &service.id,
        name: &service.name,
        category: &service.category,
        networks: &service.networks,
        lists: &service.lists,
        domains: service.domains.iter().map(ToString::to_string).collect(),
        domains_source: &service.domains_source,
        checked: &service.checked,
        shared: service.shared,
        note: &service.note,
    }
}

fn rows(rows: &[Row<'_>]) -> String {
    let width = |least: usize, text: fn(&Row<'_>) -> usize| rows.iter().map(text).max().unwrap_or_default().max(least);
    let id = width(7, |row| row.id.chars().count());
    let name = width(4, |row| row.name.chars().count());
    let category = width(8, |row| row.category.chars().count());
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{:<id$}  {:<name$}  {:<category$}  {:>8}  {:>5}  {:>7}  shared",
        "service", "name", "category", "networks", "lists", "domains"
    );
    for row in rows {
        let _ = writeln!(
            text,
            "{:<id$}  {:<name$}  {:<category$}  {:>8}  {:>5}  {:>7}  {}",
            row.id,
            row.name,
            row.category,
            row.networks,
            row.lists,
            row.domains,
            if row.shared { "yes" } else { "no" }
        );
    }
    text
}

fn text(report: &ShowReport<'_>) -> String {
    match report {
        ShowReport::Category { id, name, services } => format!("{id}: {name}\n\n{}", rows(services)),
        ShowReport::Service(service) => service_text(service),
    }
}

fn service_text(service: &ServiceReport<'_>) -> String {
    let mut text = format!("{}: {}\n", service.id, service.name);
    let mut line = |label: &str, words: &str| text.push_str(&paragraph(label, words));
    line("category:", service.category);
    line("checked:", service.checked);
    for (i, network) in service.networks.iter().enumerate() {
        let label = if i == 0 { "networks:" } else { "" };
        let dormant = if network.dormant { " (announces nothing)" } else { "" };
        line(label, &format!("AS{} {}{dormant}", network.asn, network.name));
    }
    if service.networks.is_empty() {
        line("networks:", "none of its own");
    }
    if service.shared {
        line("shared:", "others live in these networks: a rule must say allow_shared = true");
    }
    line("lists:", &service.lists.join(" "));
    line("by address:", &by_address(service));
    line("note:", service.note);
    line("domains:", &service.domains.join(" "));
    line("from:", service.domains_source);
    text
}

/// The words behind a label, in as many lines as they need; nothing where there are no words.
fn paragraph(label: &str, words: &str) -> String {
    const WIDTH: usize = 100;
    let mut lines: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= WIDTH) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.into()),
        }
    }
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<12} {line}", if i == 0 { label } else { "" });
    }
    text
}

/// What a rule with this service blocks, and what it does not.
fn by_address(service: &ServiceReport<'_>) -> String {
    let awake = service.networks.iter().filter(|network| !network.dormant).count();
    let names = if service.domains.is_empty() { "" } else { "; the domains are not blocked by address" };
    match (awake, service.lists.len()) {
        (0, 0) => "nothing of it can be blocked by address alone".into(),
        (0, _) => format!("a rule blocks what the lists name{names}"),
        (_, 0) => format!("a rule blocks what its networks announce{names}"),
        _ => format!("a rule blocks what its networks announce and what the lists name{names}"),
    }
}
