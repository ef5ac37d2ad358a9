//! What alerts are about, and how much they matter.

use std::fmt;

use crate::{DeploymentId, DeviceId};

use super::{Rule, SubjectKind};

/// Longest name of a subject.
pub const SUBJECT_NAME_MAX_CHARS: usize = 200;

/// Subject of an alert.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A device.
    Device(DeviceId),
    /// A deployment.
    Deployment(DeploymentId),
    /// A node, by its name.
    Node(String),
    /// A part of the system, by its name; empty: the cluster as a whole.
    System(String),
}

impl Subject {
    /// Kind.
    pub fn kind(&self) -> SubjectKind {
        match self {
            Self::Device(_) => SubjectKind::Device,
            Self::Deployment(_) => SubjectKind::Deployment,
            Self::Node(_) => SubjectKind::Node,
            Self::System(_) => SubjectKind::System,
        }
    }

    /// Id within its kind, as it is stored.
    pub fn id(&self) -> String {
        match self {
            Self::Device(id) => id.to_string(),
            Self::Deployment(id) => id.to_string(),
            Self::Node(name) | Self::System(name) => name.clone(),
        }
    }

    /// Parses a stored subject.
    pub fn parse(kind: &str, id: &str) -> Option<Self> {
        Some(match SubjectKind::parse(kind)? {
            SubjectKind::Device => Self::Device(id.parse().ok()?),
            SubjectKind::Deployment => Self::Deployment(id.parse().ok()?),
            SubjectKind::Node => Self::Node(id.to_owned()),
            SubjectKind::System => Self::System(id.to_owned()),
        })
    }

    /// The device, if it is one.
    pub fn device(&self) -> Option<DeviceId> {
        if let Self::Device(id) = self { Some(*id) } else { None }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind().as_str(), self.id())
    }
}

/// What alerts are put together by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum AlertGrouping {
    /// Rule.
    Rule,
    /// Group of the device.
    Group,
    /// Tag of the device.
    Tag,
    /// The subject itself.
    Subject,
}

named!(pub AlertGrouping, parse -> Option);

/// What alerts are deduplicated by: at most one alert of a rule is open for a subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// Rule.
    pub rule: Rule,
    /// Subject.
    pub subject: Subject,
}

/// Name and labels of a subject when its alert was raised: what people read, and what routes and silences go by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectLabels {
    /// Alias of a device, name of a deployment or node.
    pub name: String,
    /// Groups of a device, sorted.
    pub groups: Vec<String>,
    /// Tags of a device, sorted.
    pub tags: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Severity;

    #[test]
    fn subjects_are_read_as_they_were_stored() {
        let id = uuid::Uuid::from_u128(7);
        for subject in [
            Subject::Device(DeviceId(id)),
            Subject::Deployment(DeploymentId(id)),
            Subject::Node("n1".into()),
            Subject::System("data".into()),
            Subject::System(String::new()),
        ] {
            assert_eq!(Subject::parse(subject.kind().as_str(), &subject.id()).unwrap(), subject);
        }
        assert_eq!(Subject::parse("device", "n1"), None);
        assert_eq!(Subject::parse("planet", "mars"), None);
        assert!(Severity::Info < Severity::Warning && Severity::Warning < Severity::Critical);
    }
}
