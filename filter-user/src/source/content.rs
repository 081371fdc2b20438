//! What a source says, whatever its format, and what somebody wants to know of it. Knows no format by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::copy::{Copy, WantedAsns};
use super::{AsnTable, Parsed, SourceError, Wanted, Warning, irr, read_asn_table, read_list, read_vrps};
use crate::prefix::{Asn, Prefixes};

/// What somebody wants to know from a source's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// The prefixes of a list.
    List,
    /// What some ASes originate, from an ASN table.
    Origins(WantedAsns),
    /// RPKI payloads: which AS may originate which prefix.
    Payloads,
    /// What a routing registry holds for an AS.
    Registered(Asn),
}

/// What a source says, whatever its format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The ranges that were wanted.
    pub prefixes: Prefixes,
    /// Names of the wanted ASes.
    pub organisations: BTreeMap<Asn, String>,
    /// Entries of the source, wanted or not.
    pub rows: u64,
    /// As [`Parsed::declared`].
    pub declared: Option<u64>,
    /// As [`Parsed::cut`].
    pub cut: Option<String>,
    /// As [`Parsed::warnings`].
    pub warnings: Vec<Warning>,
}

impl Content {
    /// Prefixes of a source that says nothing else.
    fn of(prefixes: Prefixes) -> Self {
        Self::from(Parsed { prefixes, ..Parsed::default() })
    }
}

impl From<Parsed> for Content {
    fn from(Parsed { prefixes, warnings, declared, cut }: Parsed) -> Self {
        let rows = (prefixes.v4.len() + prefixes.v6.len()) as u64;
        Self { prefixes, organisations: BTreeMap::new(), rows, declared, cut, warnings }
    }
}

impl From<Copy> for Content {
    /// What a copy was made of, but for what the source says of itself.
    fn from(copy: Copy) -> Self {
        let mut prefixes = Prefixes::default();
        copy.batches.into_iter().for_each(|batch| prefixes.append(batch.prefixes));
        let warnings = copy.warnings.into_iter().map(|text| Warning { line: 0, text }).collect();
        Self { prefixes, organisations: copy.organisations, rows: copy.provenance.rows, warnings, ..Self::default() }
    }
}

impl From<AsnTable> for Content {
    fn from(AsnTable { parsed, organisations, rows }: AsnTable) -> Self {
        Self { organisations, rows, ..Self::from(parsed) }
    }
}

/// Reads what `need` asks for.
pub fn read(bytes: &[u8], need: &Need) -> Result<Content, SourceError> {
    match need {
        Need::List => read_list(bytes).map(Content::from),
        Need::Origins(wanted) => read_asn_table(bytes, &Wanted::from(wanted)).map(Content::from),
        Need::Payloads => read_vrps(bytes).map(Content::of),
        Need::Registered(asn) => Ok(Content::of(irr::routes(bytes, *asn)?)),
    }
}
