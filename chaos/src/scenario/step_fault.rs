//! Faults that steps of a scenario name: those of the cluster, those of files of their own, and hooks.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::faults::ScenarioFault;
use crate::faults::Fault;
use crate::harness::{ClusterOptions, PrimaryPart};

/// Kinds of [`Fault`], with their keys.
const CLUSTER_KINDS: [(&str, &[&str]); 15] = [
    ("kill", &["node"]),
    ("suspend", &["node"]),
    ("stop", &["node"]),
    ("restart", &["node"]),
    ("cut_link", &["a", "b"]),
    ("silence_link", &["a", "b"]),
    ("one_way", &["from", "to"]),
    ("isolate", &["node"]),
    ("slow_link", &["a", "b", "delay_ms"]),
    ("cut_database", &["node"]),
    ("slow_database", &["node", "delay_ms"]),
    ("stop_database", &[]),
    ("kill_primary", &["part"]),
    ("add_node", &[]),
    ("drain", &["node"]),
];
/// Kind of a fault that commands of the file bring about.
const HOOK: &str = "hook";

/// Fault of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepFault {
    /// Of nodes, links and the database.
    Cluster(Fault),
    /// Of a file of its own.
    Scenario(ScenarioFault),
    /// Of commands of the file.
    Hook {
        /// Name below `hooks`.
        hook: String,
    },
}

impl StepFault {
    /// What is wrong with its parameters: key and problem.
    ///
    /// # Errors
    /// The first parameter that is out of its limits.
    pub fn check(&self) -> Result<(), (String, String)> {
        match self {
            Self::Scenario(fault) => fault.as_fault().check().map_err(|error| (error.key.to_owned(), error.problem)),
            Self::Cluster(Fault::SlowLink { delay, .. } | Fault::SlowDatabase { delay, .. }) if delay.as_secs() > 60 || delay.is_zero() => {
                Err(("delay_ms".into(), format!("{} is not in 1 to 60000", delay.as_millis())))
            }
            _ => Ok(()),
        }
    }

    /// Turns on what it needs of a cluster that is to be started.
    pub fn prepare(&self, options: &mut ClusterOptions) {
        if let Self::Scenario(fault) = self {
            fault.as_fault().prepare(options);
        }
    }

    /// Whether it lasts until it is healed.
    pub fn lasts(&self) -> bool {
        match self {
            Self::Cluster(fault) => !matches!(fault, Fault::Restart { .. } | Fault::AddNode),
            Self::Scenario(fault) => fault.as_fault().lasts(),
            Self::Hook { .. } => true,
        }
    }

    /// Whether it outlasts the cluster that was started for the run.
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Hook { .. })
    }

    /// Names of nodes that it is about.
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Self::Cluster(Fault::CutLink { a, b } | Fault::SilenceLink { a, b } | Fault::SlowLink { a, b, .. }) => vec![a, b],
            Self::Cluster(Fault::OneWay { from, to }) => vec![from, to],
            Self::Cluster(fault) => fault.node().into_iter().collect(),
            Self::Scenario(fault) => fault.as_fault().node().into_iter().collect(),
            Self::Hook { .. } => Vec::new(),
        }
    }

    /// Names of all kinds.
    pub fn kinds() -> Vec<String> {
        let schema = schemars::schema_for!(ScenarioFault).to_value();
        let kind =
            |variant: &serde_json::Value| variant.pointer("/properties/kind/const").and_then(|kind| kind.as_str().map(str::to_owned));
        let scenario = schema["oneOf"].as_array().into_iter().flatten().filter_map(kind);
        CLUSTER_KINDS.iter().map(|(kind, _)| (*kind).to_owned()).chain(scenario).chain([HOOK.to_owned()]).collect()
    }
}

impl fmt::Display for StepFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(fault) => fault.fmt(f),
            Self::Scenario(fault) => fault.as_fault().fmt(f),
            Self::Hook { hook } => write!(f, "the commands of the hook {hook}"),
        }
    }
}

impl<'de> Deserialize<'de> for StepFault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        let kind = table.get("kind").and_then(toml::Value::as_str).ok_or_else(|| D::Error::custom("a fault has a `kind`"))?.to_owned();
        let unknown = |known: &[&str]| table.keys().find(|key| *key != "kind" && !known.contains(&key.as_str())).cloned();
        if kind == HOOK {
            if let Some(key) = unknown(&["hook"]) {
                return Err(D::Error::custom(format!("unknown key `{key}` of `{kind}`; it has `hook`")));
            }
            let hook =
                table.get("hook").and_then(toml::Value::as_str).ok_or_else(|| D::Error::custom("`hook` has to name one below [hooks]"))?;
            return Ok(Self::Hook { hook: hook.to_owned() });
        }
        if let Some((_, keys)) = CLUSTER_KINDS.iter().find(|(known, _)| *known == kind) {
            if let Some(key) = unknown(keys) {
                return Err(D::Error::custom(format!("unknown key `{key}` of `{kind}`; known: {}", keys.join(", "))));
            }
            return table.try_into().map(Self::Cluster).map_err(|error| D::Error::custom(one_line(&error)));
        }
        if !Self::kinds().contains(&kind) {
            return Err(D::Error::custom(format!("unknown kind `{kind}`; known: {}", Self::kinds().join(", "))));
        }
        table.try_into().map(Self::Scenario).map_err(|error| D::Error::custom(format!("`{kind}`: {}", one_line(&error))))
    }
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().lines().collect::<Vec<_>>().join("; ")
}

impl Serialize for StepFault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Cluster(fault) => fault.serialize(serializer),
            Self::Scenario(fault) => fault.serialize(serializer),
            Self::Hook { hook } => std::collections::BTreeMap::from([("kind", HOOK), ("hook", hook)]).serialize(serializer),
        }
    }
}

impl JsonSchema for StepFault {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StepFault".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut of_cluster: Vec<serde_json::Value> = Vec::with_capacity(CLUSTER_KINDS.len() + 2);
        for (kind, keys) in CLUSTER_KINDS {
            let mut properties = serde_json::Map::from_iter([("kind".to_owned(), serde_json::json!({ "const": kind }))]);
            for key in keys {
                let schema = match *key {
                    "delay_ms" => serde_json::json!({ "type": "integer", "minimum": 1, "maximum": 60_000 }),
                    "part" => generator.subschema_for::<PrimaryPart>().to_value(),
                    _ => serde_json::json!({ "type": "string" }),
                };
                properties.insert((*key).to_owned(), schema);
            }
            let required: Vec<&str> = [&["kind"][..], keys].concat();
            of_cluster.push(
                serde_json::json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false }),
            );
        }
        let hook = serde_json::json!({
            "type": "object",
            "properties": { "kind": { "const": HOOK }, "hook": { "type": "string" } },
            "required": ["kind", "hook"],
            "additionalProperties": false
        });
        let scenario = generator.subschema_for::<ScenarioFault>().to_value();
        of_cluster.extend([hook, scenario]);
        json_schema!({ "anyOf": of_cluster })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Step {
        fault: StepFault,
    }

    fn read(fault: &str) -> Result<StepFault, String> {
        toml::from_str::<Step>(&format!("fault = {fault}")).map(|step| step.fault).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn every_kind_of_the_cluster_is_read() {
        for (kind, keys) in CLUSTER_KINDS {
            let words = keys.iter().map(|key| match *key {
                "delay_ms" => ", delay_ms = 200".to_owned(),
                "part" => ", part = \"machine\"".to_owned(),
                key => format!(", {key} = \"node-1\""),
            });
            let text = format!("{{ kind = \"{kind}\"{} }}", words.collect::<String>());
            let fault = read(&text).unwrap();
            assert!(matches!(fault, StepFault::Cluster(_)), "{text}");
            assert_eq!(fault.check(), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        assert!(read("{ node = \"node-1\" }").unwrap_err().contains("`kind`"));
        assert!(read("{ kind = \"flood\" }").unwrap_err().starts_with("unknown kind `flood`; known: kill, suspend"));
        assert_eq!(read("{ kind = \"kill\", nodes = 1 }").unwrap_err(), "unknown key `nodes` of `kill`; known: node");
        assert!(read("{ kind = \"kill\" }").unwrap_err().contains("node"));
        assert!(read("{ kind = \"thundering_herd\", time = 3 }").unwrap_err().contains("time"));
        assert!(read("{ kind = \"hook\" }").unwrap_err().contains("`hook`"));
    }

    #[test]
    fn a_fault_is_written_as_it_is_read() {
        for text in [
            "{ kind = \"one_way\", from = \"node-1\", to = \"node-2\" }",
            "{ kind = \"thundering_herd\" }",
            "{ kind = \"hook\", hook = \"gone\" }",
        ] {
            let fault = read(text).unwrap();
            let written = toml::Value::try_from(&fault).unwrap().to_string();
            assert_eq!(read(&written).unwrap(), fault);
        }
    }

    #[test]
    fn delays_have_limits() {
        let fault = read("{ kind = \"slow_link\", a = \"node-1\", b = \"node-2\", delay_ms = 61000 }").unwrap();
        assert_eq!(fault.check().unwrap_err().0, "delay_ms");
    }
}
