//! `resources.arsc`: what a reference of the manifest stands for.

use std::cmp::Reverse;

use domain::Invalid;

use super::Deadline;
use super::bytes::{Chunk, Chunks, index, u16_at, u32_at};
use super::manifest::{Value, typed};
use super::strings::{POOL, Strings};

const TABLE: u16 = 0x0002;
const PACKAGE: u16 = 0x0200;
const TYPE: u16 = 0x0201;
/// The entries of a type are a list of pairs, not an array.
const SPARSE: u8 = 0x01;
/// Offsets of entries have two bytes.
const OFFSET16: u8 = 0x02;
const COMPLEX: u16 = 0x0001;
const COMPACT: u16 = 0x0008;
/// References that are followed one after the other.
const STEPS_MAX: usize = 8;
/// Types of one table: one for each kind of resource and each configuration.
const TYPES_MAX: usize = 20_000;
/// Files that are tried for an icon.
const FILES_MAX: usize = 32;
/// The density that dashboards need; what is above is only larger.
const DENSITY_WANTED: u16 = 320;

/// A resource table; without one it knows nothing.
#[derive(Default)]
pub(super) struct Resources<'a> {
    strings: Strings<'a>,
    types: Vec<Type<'a>>,
}

/// The entries of one kind of resource in one configuration.
struct Type<'a> {
    package: u32,
    id: u8,
    density: u16,
    /// No language: for whoever has none of the others.
    neutral: bool,
    english: bool,
    chunk: Chunk<'a>,
}

impl<'a> Resources<'a> {
    /// Reads where things are; values are read when they are asked for.
    ///
    /// # Errors
    /// The deadline has passed.
    pub(super) fn read(bytes: &'a [u8], deadline: Deadline) -> Result<Self, Invalid> {
        let mut resources = Self::default();
        let Some(table) = Chunks(bytes).next().filter(|chunk| chunk.kind == TABLE) else { return Ok(resources) };
        for chunk in Chunks(table.body()) {
            deadline.check()?;
            match chunk.kind {
                POOL => resources.strings = Strings::of(&chunk),
                PACKAGE => {
                    let id = u32_at(chunk.bytes, 8).unwrap_or_default();
                    let types = Chunks(chunk.body()).filter(|part| part.kind == TYPE).filter_map(|part| Type::of(id, part));
                    let capacity = TYPES_MAX.saturating_sub(resources.types.len());
                    resources.types.extend(types.take(capacity));
                }
                _ => {}
            }
        }
        Ok(resources)
    }

    /// The text of a value, in no language or English if it has several.
    pub(super) fn text(&self, value: &Value) -> Option<String> {
        let mut value = value.clone();
        for _ in 0..STEPS_MAX {
            match value {
                Value::Text(text) => return Some(text),
                Value::Number(number) => return Some(number.to_string()),
                Value::Flag(_) | Value::Other => return None,
                Value::Reference(id) => value = self.preferred(id)?,
            }
        }
        None
    }

    /// What a value stands for on every device; `None`: a resource that is not in the table, or differs by device.
    pub(super) fn constant(&self, value: &Value) -> Option<Value> {
        let mut value = value.clone();
        for _ in 0..STEPS_MAX {
            let Value::Reference(id) = value else { return Some(value) };
            let mut found = self.values(id).map(|(_, value)| value);
            let first = found.next()?;
            if found.any(|other| other != first) {
                return None;
            }
            value = first;
        }
        None
    }

    /// Whether a value is yes or no; `None` where it is neither.
    pub(super) fn flag(&self, value: &Value) -> Option<bool> {
        let mut value = value.clone();
        for _ in 0..STEPS_MAX {
            match value {
                Value::Flag(flag) => return Some(flag),
                Value::Number(number) => return Some(number != 0),
                Value::Text(text) => return text.parse().ok(),
                Value::Other => return None,
                Value::Reference(id) => value = self.preferred(id)?,
            }
        }
        None
    }

    /// The value of a resource in no language, or in English.
    fn preferred(&self, id: u32) -> Option<Value> {
        let mut found: Vec<_> = self.values(id).collect();
        found.sort_by_key(|(of, _)| (!of.neutral, !of.english));
        Some(found.into_iter().next()?.1)
    }

    /// The files that a value names, those of a good density first.
    pub(super) fn files(&self, value: &Value) -> Vec<String> {
        let mut wanted = vec![value.clone()];
        let mut files = Vec::new();
        for _ in 0..STEPS_MAX {
            let mut next = Vec::new();
            for value in wanted.drain(..).take(FILES_MAX) {
                match value {
                    Value::Text(name) => files.push(name),
                    Value::Number(_) | Value::Flag(_) | Value::Other => {}
                    Value::Reference(id) => {
                        let mut found: Vec<_> = self.values(id).collect();
                        // The largest up to what is wanted, then the smallest above.
                        found.sort_by_key(|(of, _)| match of.density <= DENSITY_WANTED {
                            true => (0, Reverse(of.density), 0),
                            false => (1, Reverse(0), of.density),
                        });
                        next.extend(found.into_iter().map(|(_, value)| value).take(FILES_MAX));
                    }
                }
            }
            wanted = next;
        }
        files.truncate(FILES_MAX);
        files
    }

    fn values(&self, id: u32) -> impl Iterator<Item = (&Type<'a>, Value)> {
        let (package, kind, entry) = (id >> 24, (id >> 16) as u8, id & 0xffff);
        let of_kind = self.types.iter().filter(move |of| of.package == package && of.id == kind);
        of_kind.filter_map(move |of| Some((of, of.value(entry, &self.strings)?)))
    }
}

impl<'a> Type<'a> {
    fn of(package: u32, chunk: Chunk<'a>) -> Option<Self> {
        let config = 20;
        let language = u16_at(chunk.bytes, config + 8)?;
        Some(Self {
            package,
            id: *chunk.bytes.get(8)?,
            density: u16_at(chunk.bytes, config + 14)?,
            neutral: language == 0,
            english: language == u16::from_le_bytes(*b"en"),
            chunk,
        })
    }

    fn value(&self, entry: u32, strings: &Strings<'_>) -> Option<Value> {
        let bytes = self.chunk.bytes;
        let flags = *bytes.get(9)?;
        let count = u32_at(bytes, 12)?;
        let offsets = self.chunk.body();
        let offset = if flags & SPARSE != 0 {
            let pairs = offsets.get(..index(count).checked_mul(4)?)?.chunks_exact(4);
            let pair = pairs.into_iter().find(|pair| u16_at(pair, 0).map(u32::from) == Some(entry))?;
            index(u32::from(u16_at(pair, 2)?)) * 4
        } else if entry >= count {
            return None;
        } else if flags & OFFSET16 != 0 {
            let offset = u16_at(offsets, index(entry) * 2).filter(|offset| *offset != u16::MAX)?;
            usize::from(offset) * 4
        } else {
            index(u32_at(offsets, index(entry) * 4).filter(|offset| *offset != u32::MAX)?)
        };
        let entry = bytes.get(index(u32_at(bytes, 16)?).checked_add(offset)?..)?;
        let flags = u16_at(entry, 2)?;
        if flags & COMPACT != 0 {
            return typed((flags >> 8) as u8, u32_at(entry, 4)?, strings);
        }
        if flags & COMPLEX != 0 {
            return None;
        }
        let value = entry.get(usize::from(u16_at(entry, 0)?)..)?;
        typed(*value.get(3)?, u32_at(value, 4)?, strings)
    }
}
