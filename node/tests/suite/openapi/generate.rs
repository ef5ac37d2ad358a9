//! Values by a JSON schema, fitting or not.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use serde_json::{Map, Value, json};

/// Deep enough for every schema here, and an end for those that contain themselves.
const DEPTH_MAX: usize = 8;

/// Text that trips the careless.
const NASTY: [&str; 12] = [
    "",
    " ",
    "\u{0}",
    "a\u{0}b",
    "'; DROP TABLE device; --",
    "=HYPERLINK(\"x\")",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "𝕏\u{202e}\u{feff}",
    "null",
    "-1",
    "{n}",
];

/// Ways to say which devices are meant; one of them is given.
const WAYS: [&str; 3] = ["fleet", "ids", "filter"];

/// Values that mean something, by the name of the field or parameter that takes them; more than a
/// schema can tell.
pub(crate) type Meaningful = BTreeMap<&'static str, Vec<String>>;

/// Values by the schemas of a document, from a seed.
pub(crate) struct Generator<'a> {
    document: &'a Value,
    meaningful: &'a Meaningful,
    rng: SmallRng,
    /// Whether optional fields are all there, and no list is empty.
    is_complete: bool,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(document: &'a Value, meaningful: &'a Meaningful, rng: SmallRng) -> Self {
        Self { document, meaningful, rng, is_complete: false }
    }

    pub(crate) fn toss(&mut self, share: f64) -> bool {
        self.rng.random_bool(share)
    }

    /// A part of a path: an id that exists, or one that does not.
    pub(crate) fn path_value(&mut self, name: &str, ids: &[String], fits: bool) -> String {
        let known = self.meaningful.get(name).map_or(ids, Vec::as_slice);
        match known.choose(&mut self.rng) {
            Some(id) if fits => id.clone(),
            _ if self.toss(0.3) => uuid::Uuid::from_u128(self.rng.random()).to_string(),
            _ => self.nasty().replace('\u{0}', "0") + "x",
        }
    }

    /// A value that fits the schema, or one that may not.
    pub(crate) fn value(&mut self, schema: &Value, fits: bool) -> Value {
        self.at_depth(schema, fits, 0)
    }

    /// A value that fits, with all that the schema knows in it.
    pub(crate) fn complete(&mut self, schema: &Value) -> Value {
        self.is_complete = true;
        let value = self.value(schema, true);
        self.is_complete = false;
        value
    }

    /// The same for a field or parameter of this name.
    pub(crate) fn named(&mut self, name: &str, schema: &Value, fits: bool, depth: usize) -> Value {
        let known = self.meaningful.get(name).filter(|_| fits).and_then(|known| known.choose(&mut self.rng));
        match known {
            Some(known) if schema["type"] == "array" => json!([known]),
            Some(known) => json!(known),
            None => self.at_depth(schema, fits, depth),
        }
    }

    fn at_depth(&mut self, schema: &Value, fits: bool, depth: usize) -> Value {
        if depth > DEPTH_MAX {
            return Value::Null;
        }
        if !fits && self.toss(0.12) {
            return self.anything();
        }
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            let described = self.document["components"]["schemas"][name].clone();
            return self.at_depth(&described, fits, depth + 1);
        }
        if let Some(choices) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()).or(schema["allOf"].as_array()) {
            let choice = choices.choose(&mut self.rng).cloned().unwrap_or_default();
            return self.at_depth(&choice, fits, depth + 1);
        }
        if let Some(one) = schema["enum"].as_array().and_then(|all| all.choose(&mut self.rng)) {
            return one.clone();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.choose(&mut self.rng).and_then(Value::as_str).unwrap_or("null").to_owned(),
            kind => kind.as_str().unwrap_or("null").to_owned(),
        };
        match kind.as_str() {
            "boolean" => json!(self.toss(0.5)),
            "integer" => self.integer(schema, fits),
            "number" => json!(self.rng.random_range(-10.0..120.0)),
            "string" => self.text(schema, fits),
            "array" => {
                let length = self.rng.random_range(usize::from(self.is_complete)..if fits { 3 } else { 8 });
                (0..length).map(|_| self.at_depth(&schema["items"], fits, depth + 1)).collect()
            }
            "object" => self.object(schema, fits, depth),
            _ => Value::Null,
        }
    }

    fn object(&mut self, schema: &Value, fits: bool, depth: usize) -> Value {
        let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut fields = Map::new();
        for (name, described) in schema["properties"].as_object().into_iter().flatten() {
            let wanted = if required.contains(&name.as_str()) { fits || self.toss(0.9) } else { self.is_complete || self.toss(0.4) };
            if wanted {
                fields.insert(name.clone(), self.named(name, described, fits, depth + 1));
            }
        }
        if fits && !self.is_complete {
            self.one_way(schema, &mut fields, depth);
        }
        if !fits && self.toss(0.2) {
            let value = self.anything();
            fields.insert(self.nasty(), value);
        }
        Value::Object(fields)
    }

    /// Leaves one of the ways to say which devices, where a schema has all of them: it cannot tell that they exclude each other.
    fn one_way(&mut self, schema: &Value, fields: &mut Map<String, Value>, depth: usize) {
        let described = |way: &str| schema["properties"].get(way).cloned();
        let Some(ways) = WAYS.iter().map(|way| Some((*way, described(way)?))).collect::<Option<Vec<_>>>() else { return };
        WAYS.iter().for_each(|way| drop(fields.remove(*way)));
        let Some((way, described)) = ways.choose(&mut self.rng).cloned() else { return };
        let value = if way == "fleet" { json!(true) } else { self.named(way, &described, true, depth + 1) };
        fields.insert(way.to_owned(), value);
    }

    fn integer(&mut self, schema: &Value, fits: bool) -> Value {
        let (low, high) = (schema["minimum"].as_i64().unwrap_or(1), schema["maximum"].as_i64().unwrap_or(100));
        match fits {
            true => json!(self.rng.random_range(low..=high.max(low))),
            false => [json!(i64::MAX), json!(-1), json!(0), json!(1e300), json!(u64::MAX), json!(2.5)]
                .choose(&mut self.rng)
                .cloned()
                .unwrap_or_default(),
        }
    }

    fn text(&mut self, schema: &Value, fits: bool) -> Value {
        if !fits {
            return json!(self.nasty());
        }
        match schema["format"].as_str() {
            Some("uuid") => json!(uuid::Uuid::from_u128(self.rng.random()).to_string()),
            Some("date-time") => json!("2026-01-01T00:00:00Z"),
            _ => json!(format!("text-{}", self.rng.random_range(0..1_000_000))),
        }
    }

    fn nasty(&mut self) -> String {
        match self.toss(0.1) {
            true => "ä".repeat(1_500),
            false => NASTY.choose(&mut self.rng).copied().unwrap_or_default().to_owned(),
        }
    }

    fn anything(&mut self) -> Value {
        let text = self.nasty();
        [json!(null), json!(true), json!(-7), json!(1e40), json!(text), json!([]), json!({}), json!([[[{}]]])]
            .choose(&mut self.rng)
            .cloned()
            .unwrap_or_default()
    }

    /// A body as it is, or cut off, or not text at all.
    pub(crate) fn damaged(&mut self, text: String) -> String {
        match self.rng.next_u32() % 8 {
            0 => text.chars().take(text.len() / 2).collect(),
            1 => self.nasty(),
            _ => text,
        }
    }
}
