//! Reads a catalog file: TOML text in, checked entries out. Trusts no file, and opens none.
//!
//! Every refusal names the file, the line, the key and what would be accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;

use super::near::did_you_mean;
use super::raw::{CatalogError, Place, RawCatalog, RawNetwork, RawService, RawShared};
use super::{Catalog, Category, Domain, Network, Service, SharedNetwork, rented};
use crate::prefix::Asn;

/// Reads the text of `file`, whose entries come on top of `base`.
pub(super) fn read(file: &Path, bytes: &[u8], base: &Catalog) -> Result<Catalog, CatalogError> {
    let text = std::str::from_utf8(bytes).map_err(|error| CatalogError {
        file: file.into(),
        line: 1 + bytes.iter().take(error.valid_up_to()).filter(|&&byte| byte == b'\n').count(),
        problem: "the catalog must be UTF-8 text".into(),
    })?;
    let place = Place { file, text };
    let raw: RawCatalog = toml::from_str(text)
        .map_err(|error| place.refusal(&error.span().unwrap_or_default(), error.message().trim()))?;
    Reader { place, base, read: Catalog::default() }.catalog(&raw)
}

struct Reader<'a> {
    place: Place<'a>,
    base: &'a Catalog,
    read: Catalog,
}

impl Reader<'_> {
    fn catalog(mut self, raw: &RawCatalog) -> Result<Catalog, CatalogError> {
        for category in &raw.category {
            let (id, name) = (self.id("category", &category.id)?, self.line("name", &category.name)?);
            if self.read.category(&id).is_some() {
                return Err(self.twice("category", &category.id));
            }
            if self.base.service(&id).is_some() {
                let problem = format!("category \"{id}\": a service has this id: choose another");
                return Err(self.place.error(&category.id.span(), problem));
            }
            self.read.categories.push(Category { id, name });
        }
        for service in &raw.service {
            self.service(service)?;
        }
        for shared in &raw.shared {
            self.shared(shared)?;
        }
        self.read.rented = rented(&self.read.services);
        let merged = self.base.with(&self.read);
        for service in raw.service.iter().filter(|service| service.shared != Some(true)) {
            self.owns_its_networks(service, &merged)?;
        }
        Ok(self.read)
    }

    fn service(&mut self, raw: &RawService) -> Result<(), CatalogError> {
        let id = self.id("service", &raw.id)?;
        if self.read.services.contains_key(&id) || self.read.removed_services.contains(&id) {
            return Err(self.twice("service", &raw.id));
        }
        if !raw.remove {
            let service = self.entry(raw, id.clone())?;
            self.read.services.insert(id, service);
            return Ok(());
        }
        if !raw.has_nothing_else() {
            return Err(self.refuse(raw, &raw.id.span(), "remove = true stands alone: delete the other keys"));
        }
        if self.base.service(&id).is_none() {
            let meant = did_you_mean(&self.base.nearest(&id));
            let problem = format!("there is no such service to remove;{meant} `weir catalog list` shows all");
            return Err(self.refuse(raw, &raw.id.span(), &problem));
        }
        self.read.removed_services.insert(id);
        Ok(())
    }

    fn entry(&self, raw: &RawService, id: String) -> Result<Service, CatalogError> {
        if self.knows_category(&id) {
            return Err(self.refuse(raw, &raw.id.span(), "a category has this id: choose another"));
        }
        let (Some(name), Some(category), Some(checked)) = (&raw.name, &raw.category, &raw.checked) else {
            return Err(self.refuse(raw, &raw.id.span(), "name, category and checked must be given"));
        };
        if !self.knows_category(category.get_ref()) {
            let known = self.base.with(&self.read);
            let known: Vec<_> = known.categories.iter().map(|known| known.id.as_str()).collect();
            let problem = format!("category \"{}\" is unknown; accepted: {}", category.get_ref(), known.join(", "));
            return Err(self.refuse(raw, &category.span(), &problem));
        }
        if !is_date(checked.get_ref()) {
            let problem = format!("checked: \"{}\" is no date; accepted: such as 2026-11-24", checked.get_ref());
            return Err(self.refuse(raw, &checked.span(), &problem));
        }
        let (networks, lists, domains) = (self.networks(raw)?, self.lists(raw)?, self.domains(raw)?);
        if networks.is_empty() && lists.is_empty() && domains.is_empty() {
            return Err(self.refuse(raw, &raw.id.span(), "names nothing: give asns, lists or domains"));
        }
        let optional = |key, value: &Option<Spanned<String>>| {
            value.as_ref().map_or_else(|| Ok(String::new()), |value| self.line(key, value))
        };
        Ok(Service {
            id,
            name: self.line("name", name)?,
            category: category.get_ref().clone(),
            networks,
            lists,
            domains,
            domains_source: optional("domains_source", &raw.domains_source)?,
            checked: checked.get_ref().clone(),
            shared: raw.shared.unwrap_or_default(),
            note: optional("note", &raw.note)?,
        })
    }

    fn knows_category(&self, id: &str) -> bool {
        self.read.category(id).or(self.base.category(id)).is_some()
    }

    fn networks(&self, raw: &RawService) -> Result<Vec<Network>, CatalogError> {
        let mut networks: BTreeMap<Asn, Network> = BTreeMap::new();
        for RawNetwork { asn: written, name, dormant } in raw.asns.iter().flatten() {
            let asn = self.asn(written)?;
            let network = Network { asn, name: self.line("name", name)?, dormant: *dormant };
            if networks.insert(asn, network).is_some() {
                return Err(self.refuse(raw, &written.span(), &format!("AS{asn} is listed twice: keep one")));
            }
        }
        Ok(networks.into_values().collect())
    }

    /// Refuses a service that takes a network of many for its own.
    fn owns_its_networks(&self, raw: &RawService, merged: &Catalog) -> Result<(), CatalogError> {
        for network in raw.asns.iter().flatten() {
            if let Some(SharedNetwork { asn, operator, .. }) = merged.shared(self.asn(&network.asn)?) {
                let problem = format!("AS{asn} is shared by many ({operator}): leave it out, or set shared = true");
                return Err(self.refuse(raw, &network.asn.span(), &problem));
            }
        }
        Ok(())
    }

    fn lists(&self, raw: &RawService) -> Result<Vec<String>, CatalogError> {
        let mut seen = BTreeSet::new();
        let lists = raw.lists.iter().flatten().map(|list| {
            let id = self.id("list", list)?;
            if seen.insert(id.clone()) { Ok(id) } else { Err(self.twice("list", list)) }
        });
        lists.collect()
    }

    fn domains(&self, raw: &RawService) -> Result<Vec<Domain>, CatalogError> {
        let mut seen = BTreeSet::new();
        let domains = raw.domains.iter().flatten().map(|domain| {
            let text = domain.get_ref();
            let parsed = match text.strip_prefix("full:") {
                Some(name) if is_host_name(name) => Domain::Full(name.into()),
                None if is_host_name(text) => Domain::Suffix(text.clone()),
                _ => {
                    let problem = format!(
                        "domains: {text:?} is no domain; accepted: example.com (and all names below it) or \
                         full:www.example.com, in lower case, other scripts as xn--"
                    );
                    return Err(self.refuse(raw, &domain.span(), &problem));
                }
            };
            if seen.insert(text) { Ok(parsed) } else { Err(self.twice("domain", domain)) }
        });
        domains.collect()
    }

    fn shared(&mut self, raw: &RawShared) -> Result<(), CatalogError> {
        let asn = self.asn(&raw.asn)?;
        let refuse = |problem: &str| self.place.error(&raw.asn.span(), format!("shared AS{asn}: {problem}"));
        if self.read.shared.contains_key(&asn) || self.read.removed_shared.contains(&asn) {
            return Err(refuse("listed twice: keep one"));
        }
        if raw.remove {
            if raw.name.is_some() || raw.operator.is_some() {
                return Err(refuse("remove = true stands alone: delete the other keys"));
            }
            if !self.base.shared.contains_key(&asn) {
                return Err(refuse(match self.base.rented.get(&asn) {
                    Some(_) => "it is the network of a shared service: replace or remove that [[service]]",
                    None => "there is no such entry to remove",
                }));
            }
            self.read.removed_shared.insert(asn);
            return Ok(());
        }
        let (Some(name), Some(operator)) = (&raw.name, &raw.operator) else {
            return Err(refuse("name and operator must be given"));
        };
        let (name, operator) = (self.line("name", name)?, self.line("operator", operator)?);
        self.read.shared.insert(asn, SharedNetwork { asn, name, operator });
        Ok(())
    }

    fn id(&self, what: &str, id: &Spanned<String>) -> Result<String, CatalogError> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        let text = id.get_ref();
        if (1..=MAX_ID).contains(&text.len()) && text.bytes().all(is_letter) {
            return Ok(text.clone());
        }
        let problem = format!("{what} id {text:?} must have 1 to {MAX_ID} lower-case letters, digits, - or _");
        Err(self.place.error(&id.span(), problem))
    }

    fn refuse(&self, service: &RawService, span: &Range<usize>, problem: &str) -> CatalogError {
        self.place.error(span, format!("service \"{}\": {problem}", service.id.get_ref()))
    }

    fn twice(&self, what: &str, id: &Spanned<String>) -> CatalogError {
        self.place.error(&id.span(), format!("{what} \"{}\" is listed twice: keep one", id.get_ref()))
    }

    fn asn(&self, asn: &Spanned<toml::Value>) -> Result<Asn, CatalogError> {
        let number = asn.get_ref().as_integer().and_then(|number| Asn::try_from(number).ok());
        number.filter(|&number| number != 0).ok_or_else(|| {
            let text = self.place.text.get(asn.span()).unwrap_or_default();
            let problem = format!("asn: {text} is no AS number; accepted: 1 to 4294967295, without quotes");
            self.place.error(&asn.span(), problem)
        })
    }

    /// Text that is printed as part of a line.
    fn line(&self, key: &str, text: &Spanned<String>) -> Result<String, CatalogError> {
        if text.get_ref().is_empty() || text.get_ref().chars().any(char::is_control) {
            let problem = format!("{key} must not be empty nor hold line breaks and other control characters");
            return Err(self.place.error(&text.span(), problem));
        }
        Ok(text.get_ref().clone())
    }
}

/// Bytes in an id, at most: it becomes the name of a rule.
const MAX_ID: usize = 64;

/// A day that exists, as ISO 8601's `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    text.parse::<jiff::civil::Date>().is_ok_and(|date| date.to_string() == text)
}

/// A name of two labels or more as DNS carries it: letters, digits and hyphens (RFC 1123 section 2.1), lower case, at
/// most 63 bytes a label and 253 in all. An all-numeric last label would make it an address.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253
        && name.split('.').all(is_label)
        && name.rsplit_once('.').is_some_and(|(_, last)| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Catalog, String> {
        Catalog::parse(Path::new("own.toml"), text.as_bytes()).map_err(|error| error.to_string())
    }

    /// A service in order but for the keys at its end, the first of which stands on line 6.
    fn service(keys: &str) -> String {
        let head = "[[service]]\nid = \"x\"\nname = \"X\"\ncategory = \"ai\"\nchecked = \"2026-11-24\"\n";
        format!("{head}{keys}\n")
    }

    #[test]
    fn a_refusal_of_what_stands_on_two_lines_is_one_line_of_a_terminal() {
        let refused = parse("[[shared]]\nasn = [\n1]\n").unwrap_err();
        let expected = "own.toml:2: asn: [\\n1] is no AS number; accepted: 1 to 4294967295, without quotes";
        assert_eq!(refused, expected);
        let refused = parse(&service("").replace("\"ai\"", "\"no\\nsuch\\u001b[2J\"")).unwrap_err();
        assert!(refused.contains("category \"no\\nsuch\\u{1b}[2J\" is unknown"), "{refused}");
    }

    #[test]
    fn a_complete_entry_is_read() {
        let text = service(
            r#"asns = [{ asn = 4294967295, name = "Two" }, { asn = 1, name = "One", dormant = true }]
            lists = ["spamhaus-drop"]
            domains = ["example.com", "full:a-1.xn--p1ai"]
            domains_source = "own"
            shared = true
            note = "the rest stays""#,
        );
        let catalog = parse(&text).unwrap();
        let expected = Service {
            id: "x".into(),
            name: "X".into(),
            category: "ai".into(),
            networks: vec![
                Network { asn: 1, name: "One".into(), dormant: true },
                Network { asn: u32::MAX, name: "Two".into(), dormant: false },
            ],
            lists: vec!["spamhaus-drop".into()],
            domains: vec![Domain::Suffix("example.com".into()), Domain::Full("a-1.xn--p1ai".into())],
            domains_source: "own".into(),
            checked: "2026-11-24".into(),
            shared: true,
            note: "the rest stays".into(),
        };
        assert_eq!(catalog.service("x"), Some(&expected));
        assert_eq!(catalog.services().count(), 1);
        let least = parse(&service("lists = [\"a\"]")).unwrap();
        assert_eq!(least.service("x").map(|x| (x.shared, x.note.as_str())), Some((false, "")));
        assert_eq!(parse("").unwrap(), Catalog::default());
    }

    fn refused<T: AsRef<str>>(cases: &[(T, &str)]) {
        for (text, message) in cases {
            let text = text.as_ref();
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(message), "{text}\n  gave   {error}\n  wanted {message}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn what_is_no_catalog_is_refused_with_its_line_and_what_is_accepted() {
        refused(&[
            ("a = [", "own.toml:1: "),
            ("[service]\nid = \"x\"", "own.toml:1: [service] must have double brackets; write [[service]]"),
            ("[[services]]", "own.toml:1: unknown field `services`, expected one of `category`, `service`"),
            ("[[service]]\nname = \"X\"", "own.toml:1: missing field `id`"),
            ("[[category]]\nid = \"tiktok\"\nname = \"T\"", "own.toml:2: category \"tiktok\": a service has this id"),
            (
                "[[category]]\nid = \"c\"\nname = \"C\"\n[[category]]\nid = \"c\"\nname = \"D\"",
                "own.toml:5: category \"c\" is listed twice: keep one",
            ),
        ]);
        refused(&[
            (service("asn = 1"), "own.toml:6: unknown field `asn`, expected one of `id`, `name`, `category`"),
            (service("note = 1"), "own.toml:6: note: invalid type: integer `1`, expected a string"),
        ]);
    }

    #[test]
    fn a_service_out_of_order_is_refused_with_its_line_and_what_is_accepted() {
        let but = |old: &str, new: &str| service("domains = [\"a.b\"]").replace(old, new);
        refused(&[
            (service(""), "own.toml:2: service \"x\": names nothing: give asns, lists or domains"),
            (service("domains = []"), "own.toml:2: service \"x\": names nothing: give asns, lists or domains"),
            (but("name = \"X\"", ""), "own.toml:2: service \"x\": name, category and checked must be given"),
            (but("\"X\"", "\"\""), "own.toml:3: name must not be empty nor hold line breaks"),
            (
                but("\"ai\"", "\"AI\""),
                "own.toml:4: service \"x\": category \"AI\" is unknown; accepted: social-media, messenger, streaming, ",
            ),
            (
                but("2026-11-24", "2026-02-30"),
                "own.toml:5: service \"x\": checked: \"2026-02-30\" is no date; accepted: such as 2026-11-24",
            ),
            (but("2026-11-24", "20261124"), "own.toml:5: service \"x\": checked: \"20261124\" is no date"),
            (but("\"x\"", "\"X Y\""), "own.toml:2: service id \"X Y\" must have 1 to 64 lower-case letters, digits"),
            (but("\"x\"", "\"gaming\""), "own.toml:2: service \"gaming\": a category has this id: choose another"),
            (but("", "").repeat(2), "own.toml:8: service \"x\" is listed twice: keep one"),
            (service("lists = [\"a\", \"a\"]"), "own.toml:6: list \"a\" is listed twice: keep one"),
            (service("lists = [\"a b\"]"), "own.toml:6: list id \"a b\" must have 1 to 64 lower-case letters"),
        ]);
        let note = service("domains = [\"a.b\"]\nnote = \"\"\"\na\nb\"\"\"");
        refused(&[(note, "own.toml:7: note must not be empty nor hold line breaks and other control characters")]);
    }

    #[test]
    fn a_network_out_of_order_is_refused_with_its_line_and_what_is_accepted() {
        let asns = |asns: &str| service(&format!("asns = {asns}"));
        refused(&[
            (asns("[\n{ asn = 1, nam = \"N\" }]"), "own.toml:7: unknown field `nam`, expected one of `asn`, `name`"),
            (asns("[\n{ asn = 1, name = 1 }]"), "own.toml:7: name: invalid type: integer `1`, expected a string"),
            (
                asns("[1]"),
                "own.toml:6: asns: invalid type: integer `1`, expected a table such as { asn = 64500, name = \"Example\" }",
            ),
            (asns("[\n{ asn = 0, name = \"N\" }]"), "own.toml:7: asn: 0 is no AS number; accepted: 1 to 4294967295"),
            (asns("[{ asn = 4294967296, name = \"N\" }]"), "own.toml:6: asn: 4294967296 is no AS number"),
            (asns("[{ asn = \"AS1\", name = \"N\" }]"), "own.toml:6: asn: \"AS1\" is no AS number; accepted: 1 to"),
            (asns("[{ asn = 1, name = \"\" }]"), "own.toml:6: name must not be empty nor hold line breaks"),
            (
                asns("[{ asn = 1, name = \"N\" },\n{ asn = 1, name = \"M\" }]"),
                "own.toml:7: service \"x\": AS1 is listed twice: keep one",
            ),
            (
                asns("[\n{ asn = 13335, name = \"Cloudflare, Inc.\" }]"),
                "own.toml:7: service \"x\": AS13335 is shared by many (Cloudflare): leave it out, or set shared = true",
            ),
            (asns("[{ asn = 9009, name = \"M\" }]"), "own.toml:6: service \"x\": AS9009 is shared by many (M247)"),
        ]);
    }

    #[test]
    fn what_no_dns_name_can_be_is_refused_with_its_line() {
        let longest_label = "a".repeat(64) + ".com";
        let longest_name = "a.".repeat(126) + "com";
        for text in [
            "com",
            "",
            "a..b",
            "A.example",
            "*.example.com",
            "example.com.",
            "-a.example",
            "a-.example",
            "192.0.2.1",
            "full:com",
            "full:",
            "keyword:tiktok.com",
            "a_b.example",
            "пример.рф",
            &longest_label,
            &longest_name,
        ] {
            let message =
                format!("own.toml:7: service \"x\": domains: {text:?} is no domain; accepted: example.com (and");
            refused(&[(service(&format!("domains = [\"example.com\",\n{text:?}]")), message.as_str())]);
        }
        let twice = service("domains = [\"example.com\",\n\"example.com\"]");
        refused(&[(twice, "own.toml:7: domain \"example.com\" is listed twice: keep one")]);
    }

    #[test]
    fn a_removal_of_nothing_and_half_a_shared_network_are_refused() {
        refused(&[
            (
                "[[service]]\nid = \"tiktok\"\nremove = true\nshared = true",
                "own.toml:2: service \"tiktok\": remove = true stands alone: delete the other keys",
            ),
            (
                "[[service]]\nid = \"tiktak\"\nremove = true",
                "own.toml:2: service \"tiktak\": there is no such service to remove; did you mean tiktok? `weir ",
            ),
            (
                "[[service]]\nid = \"aws\"\nremove = true\n[[service]]\nid = \"aws\"\nremove = true",
                "own.toml:5: service \"aws\" is listed twice: keep one",
            ),
            ("[[shared]]\nasn = 1", "own.toml:2: shared AS1: name and operator must be given"),
            ("[[shared]]\nasn = 1\nremove = true", "own.toml:2: shared AS1: there is no such entry to remove"),
            (
                "[[shared]]\nasn = 13335\nremove = true",
                "own.toml:2: shared AS13335: it is the network of a shared service: replace or remove that [[service]]",
            ),
            (
                "[[shared]]\nasn = 9009\nname = \"M\"\nremove = true",
                "own.toml:2: shared AS9009: remove = true stands alone: delete the other keys",
            ),
            (
                "[[shared]]\nasn = 1\nname = \"A\"\noperator = \"B\"\n[[shared]]\nasn = 1",
                "own.toml:6: shared AS1: listed twice: keep one",
            ),
        ]);
    }

    #[test]
    fn whoever_takes_a_shared_network_may_say_so_or_declare_it_unshared() {
        let takes = service("asns = [{ asn = 9009, name = \"M247 Europe SRL\" }]\nshared = true");
        assert_eq!(parse(&takes).unwrap().shared(9009).unwrap().operator, "X");
        let unshared = service("asns = [{ asn = 9009, name = \"M247 Europe SRL\" }]");
        let merged =
            Catalog::embedded().with(&parse(&format!("{unshared}[[shared]]\nasn = 9009\nremove = true")).unwrap());
        assert_eq!((merged.service("x").unwrap().shared, merged.shared(9009)), (false, None));
        let own = format!("{unshared}[[shared]]\nasn = 64500\nname = \"A\"\noperator = \"B\"").replace("9009", "64500");
        assert!(parse(&own).unwrap_err().contains("AS64500 is shared by many (B)"));
    }

    #[test]
    fn the_longest_names_are_read() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        assert_eq!(longest.len(), 253);
        assert!(parse(&service(&format!("domains = [\"{longest}\"]"))).is_ok());
        let id = "x".repeat(64);
        let text = service("domains = [\"a.b\"]").replace("\"x\"", &format!("{id:?}"));
        assert!(parse(&text).unwrap().service(&id).is_some());
        assert!(parse(&text.replace(&id, &"x".repeat(65))).is_err());
    }

    #[test]
    fn the_examples_of_the_manual_are_accepted() {
        let manual = include_str!("../../../docs/catalog.md");
        let examples: Vec<&str> =
            manual.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(examples.len(), 2);
        let entry = parse(examples[0]).unwrap();
        assert_eq!(entry.service("telegram").map(|telegram| telegram.networks.len()), Some(1));
        let merged = Catalog::embedded().with(&parse(examples[1]).unwrap());
        assert!(merged.service("intranet").is_some() && merged.service("wargaming").is_none());
        assert_eq!(merged.shared(49544), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_line() {
        let error = Catalog::parse(Path::new("own.toml"), b"\n# \xff\n").unwrap_err();
        assert_eq!(error.to_string(), "own.toml:2: the catalog must be UTF-8 text");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\[\\[(service|shared|category)\\]\\]\n|(id|name|asn|asns|remove) = (1|true|\"a\"|\\[\\])\n|.){0,20}") {
            let _ = parse(&text);
        }
    }
}
