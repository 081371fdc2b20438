//! The shape of a catalog file, and where in it a value stands. Judges no value.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::config::one_line;

/// Why a catalog file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {problem}", file.display())]
pub struct CatalogError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The key, what is wrong with it, and what is accepted.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCatalog {
    #[serde(default)]
    pub(super) category: Vec<RawCategory>,
    #[serde(default)]
    pub(super) service: Vec<RawService>,
    #[serde(default)]
    pub(super) shared: Vec<RawShared>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCategory {
    pub(super) id: Spanned<String>,
    pub(super) name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawService {
    pub(super) id: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) category: Option<Spanned<String>>,
    pub(super) checked: Option<Spanned<String>>,
    pub(super) asns: Option<Vec<RawNetwork>>,
    pub(super) lists: Option<Vec<Spanned<String>>>,
    pub(super) domains: Option<Vec<Spanned<String>>>,
    pub(super) domains_source: Option<Spanned<String>>,
    pub(super) note: Option<Spanned<String>>,
    pub(super) shared: Option<bool>,
    #[serde(default)]
    pub(super) remove: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table such as { asn = 64500, name = \"Example\" }")]
pub(super) struct RawNetwork {
    pub(super) asn: Spanned<toml::Value>,
    pub(super) name: Spanned<String>,
    #[serde(default)]
    pub(super) dormant: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShared {
    pub(super) asn: Spanned<toml::Value>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) operator: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) remove: bool,
}

/// Where a value stands, for errors.
pub(super) struct Place<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Place<'_> {
    pub(super) fn error(&self, span: &Range<usize>, problem: impl fmt::Display) -> CatalogError {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        CatalogError { file: self.file.into(), line, problem: one_line(&problem.to_string()) }
    }

    /// What the TOML reader refuses, with the key, which it leaves out.
    pub(super) fn refusal(&self, span: &Range<usize>, message: &str) -> CatalogError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let value = self.text.get(span.clone()).unwrap_or_default();
        if message.starts_with("invalid type: map, expected a sequence") && value.starts_with('[') {
            return self.error(span, format!("{value} must have double brackets; write [{value}]"));
        }
        // Such messages name the key themselves.
        let names_key =
            ["unknown field", "missing field", "duplicate key"].iter().any(|start| message.starts_with(start));
        let key = line.rsplit_once('=').and_then(|(key, _)| key.trim_end().rsplit([' ', '{', ',']).next());
        match key {
            Some(key) if !names_key => self.error(span, format!("{key}: {message}")),
            _ => self.error(span, message),
        }
    }
}

impl RawService {
    /// True when no key is given but the id and what is read before.
    pub(super) fn has_nothing_else(&self) -> bool {
        let texts = [&self.name, &self.category, &self.checked, &self.domains_source, &self.note];
        let lists = [&self.lists, &self.domains];
        texts.iter().all(|text| text.is_none())
            && lists.iter().all(|list| list.is_none())
            && self.asns.is_none()
            && self.shared.is_none()
    }
}
