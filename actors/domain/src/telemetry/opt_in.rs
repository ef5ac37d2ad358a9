//! Readings that say where a device or who its user is: kept only when the configuration asks for them.

use std::collections::BTreeSet;

use super::{FIELDS, Field, Telemetry};
use crate::Invalid;

/// The opt-in readings that are kept, by the names that the telemetry table has for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptIn(BTreeSet<&'static str>);

impl OptIn {
    /// All that there are.
    pub fn all() -> Self {
        Self(FIELDS.iter().filter_map(|field| field.opt_in).collect())
    }

    /// Whether readings of a field are kept.
    pub fn keeps(&self, field: &Field) -> bool {
        field.opt_in.is_none_or(|name| self.0.contains(name))
    }

    /// Parses names with commas between them.
    ///
    /// # Errors
    /// One is not a name of the telemetry table.
    pub fn parse(field: &str, names: &str) -> Result<Self, Invalid> {
        let known = Self::all().0;
        let parse = |name: &str| {
            let all = || known.iter().copied().collect::<Vec<_>>().join(", ");
            known.get(name).copied().ok_or_else(|| Invalid::new(field, format!("{name:?} is not one of: {}", all())))
        };
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Telemetry {
    /// Drops the opt-in readings that are not kept.
    pub fn drop_unless(&mut self, kept: &OptIn) {
        for field in FIELDS.iter().filter(|field| !kept.keeps(field)) {
            (field.clear)(self);
        }
    }
}
