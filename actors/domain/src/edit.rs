//! Editable values of a device, and changes of them.

use crate::device::MonitoredApp;
use crate::invalid::{Invalid, in_range};
use crate::name;
use crate::text::{self, LABELS_MAX};

/// Longest package name, in characters.
pub const PACKAGE_MAX_CHARS: usize = 255;
/// Shortest and longest time out of the foreground after which a monitored app may count as down, s.
pub const STALE_AFTER_S: (i32, i32) = (10, 604_800);

/// Editable values of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Editable {
    /// Alias.
    pub alias: String,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Groups, sorted.
    pub groups: Vec<String>,
    /// Monitored app.
    pub monitored: Option<MonitoredApp>,
}

/// A change of tags or groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// Set to these.
    Set(Vec<String>),
    /// Add these.
    Add(Vec<String>),
    /// Remove these.
    Remove(Vec<String>),
}

/// Change of a device; `None`: unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DevicePatch {
    /// Another alias.
    pub alias: Option<String>,
    /// Other tags.
    pub tags: Option<LabelChange>,
    /// Other groups.
    pub groups: Option<LabelChange>,
    /// Another monitored app; `Some(None)`: none.
    pub monitored: Option<Option<MonitoredApp>>,
}

impl LabelChange {
    fn checked(self, field: &str) -> Result<Self, Invalid> {
        Ok(match self {
            Self::Set(labels) => Self::Set(text::labels(field, labels)?),
            Self::Add(labels) => Self::Add(text::labels(field, labels)?),
            Self::Remove(labels) => Self::Remove(text::removed_labels(field, labels)?),
        })
    }

    /// Applies the change to labels.
    fn applied(&self, field: &str, current: &[String]) -> Result<Vec<String>, Invalid> {
        let is_removed = |label: &String, removed: &[String]| removed.iter().any(|removed| name::same(label, removed));
        let labels = match self {
            Self::Set(labels) => labels.clone(),
            Self::Add(labels) => current.iter().chain(labels).cloned().collect(),
            Self::Remove(labels) => current.iter().filter(|label| !is_removed(label, labels)).cloned().collect(),
        };
        let labels = text::label_set(labels);
        if labels.len() > LABELS_MAX {
            return Err(Invalid::new(field, format!("{} entries would be more than the {LABELS_MAX} allowed", labels.len())));
        }
        Ok(labels)
    }
}

/// A package name as Android takes it: two or more parts of letters, digits and `_`, each beginning
/// with a letter (developer.android.com, "Set the application ID").
///
/// # Errors
/// It is not one.
pub fn package(field: &str, name: &str) -> Result<String, Invalid> {
    text::line(field, name, PACKAGE_MAX_CHARS)?;
    let is_part =
        |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match name.contains('.') && name.split('.').all(is_part) {
        true => Ok(name.to_owned()),
        false => Err(Invalid::new(field, "not a package name such as com.example.app")),
    }
}

/// A monitored app.
///
/// # Errors
/// Names the value that is not a package, or out of its range.
pub fn monitored_app(app: MonitoredApp) -> Result<MonitoredApp, Invalid> {
    let stale_after_s = app.stale_after_s;
    if let Some(seconds) = stale_after_s {
        in_range("monitored_app.stale_after_s", seconds, STALE_AFTER_S.0, STALE_AFTER_S.1)?;
    }
    Ok(MonitoredApp { package: package("monitored_app.package", &app.package)?, stale_after_s })
}

impl DevicePatch {
    /// Checks every value against its limits.
    ///
    /// # Errors
    /// Names the value that breaks its limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        Ok(Self {
            alias: self.alias.map(|alias| text::alias("alias", &alias)).transpose()?,
            tags: self.tags.map(|change| change.checked("tags")).transpose()?,
            groups: self.groups.map(|change| change.checked("groups")).transpose()?,
            monitored: self.monitored.map(|app| app.map(monitored_app).transpose()).transpose()?,
        })
    }

    /// Applies a checked patch; `None`: unchanged.
    ///
    /// # Errors
    /// It would have more tags or groups than allowed.
    pub fn applied(&self, current: &Editable) -> Result<Option<Editable>, Invalid> {
        let labels = |field, change: &Option<LabelChange>, current: &[String]| match change {
            Some(change) => change.applied(field, current),
            None => Ok(current.to_vec()),
        };
        let next = Editable {
            alias: self.alias.clone().unwrap_or_else(|| current.alias.clone()),
            tags: labels("tags", &self.tags, &current.tags)?,
            groups: labels("groups", &self.groups, &current.groups)?,
            monitored: self.monitored.clone().unwrap_or_else(|| current.monitored.clone()),
        };
        Ok((next != *current).then_some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(tags: &[&str]) -> Editable {
        Editable { alias: "kiosk-1".into(), tags: tags.iter().map(|tag| (*tag).into()).collect(), groups: vec![], monitored: None }
    }

    #[test]
    fn a_patch_names_what_is_wrong() {
        let field = |patch: DevicePatch| patch.checked().unwrap_err().field;
        assert_eq!(field(DevicePatch { alias: Some(" ".into()), ..Default::default() }), "alias");
        assert_eq!(field(DevicePatch { tags: Some(LabelChange::Add(vec!["a".into(), "\0".into()])), ..Default::default() }), "tags[1]");
        let app = |package: &str, stale_after_s| DevicePatch {
            monitored: Some(Some(MonitoredApp { package: package.into(), stale_after_s })),
            ..Default::default()
        };
        for bad in ["", "app", "1.app", "a..b", "a.b ", "a.b-c", "=a.b"] {
            assert_eq!(field(app(bad, None)), "monitored_app.package", "{bad}");
        }
        assert_eq!(field(app("a.b", Some(9))), "monitored_app.stale_after_s");
        assert!(app("io.unitynodes.unityapp", Some(600)).checked().is_ok());
    }

    #[test]
    fn labels_are_set_added_and_removed_within_their_limit() {
        let change = |change| DevicePatch { tags: Some(change), ..Default::default() };
        let tags = |given, current: &[&str]| change(given).applied(&device(current)).unwrap().map(|next| next.tags);
        assert_eq!(tags(LabelChange::Set(vec![]), &["a"]), Some(vec![]));
        assert_eq!(tags(LabelChange::Add(vec!["a".into(), "c".into()]), &["b"]), Some(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(tags(LabelChange::Add(vec!["b".into()]), &["b"]), None, "nothing changes");
        assert_eq!(tags(LabelChange::Remove(vec!["b".into(), "x".into()]), &["a", "b"]), Some(vec!["a".into()]));
        assert_eq!(tags(LabelChange::Add(vec!["B".into()]), &["b"]), None, "the same name");
        assert_eq!(tags(LabelChange::Remove(vec!["CAFE\u{301}".into()]), &["Café", "x"]), Some(vec!["x".into()]));
        assert_eq!(tags(LabelChange::Set(vec!["Till".into()]), &["till"]), Some(vec!["Till".into()]), "written otherwise");
        let many: Vec<String> = (0..LABELS_MAX).map(|n| n.to_string()).collect();
        assert_eq!(change(LabelChange::Add(many)).applied(&device(&["more"])).unwrap_err().field, "tags");
    }

    proptest! {
        /// A patch that was applied changes nothing when it is applied again.
        #[test]
        fn patches_settle(current in proptest::collection::btree_set("[a-d]", 0..4), given in proptest::collection::vec("[a-d]", 0..4), kind in 0..3) {
            let change = match kind { 0 => LabelChange::Set(given), 1 => LabelChange::Add(given), _ => LabelChange::Remove(given) };
            let patch = DevicePatch { groups: Some(change), alias: Some("b".into()), ..Default::default() }.checked().unwrap();
            let device = Editable { groups: current.into_iter().collect(), ..device(&[]) };
            let next = patch.applied(&device).unwrap().unwrap_or(device);
            prop_assert_eq!(patch.applied(&next).unwrap(), None);
        }
    }
}
