//! Target of a deployment: choice in the form, counted while typed.

use std::collections::BTreeSet;

use domain::DeviceId;
use domain::query::{DeviceFilter, Sort};
use domain::saved_filter::SavedFilter;
use services::DeploymentScope;

use super::draft::{Draft, field};
use crate::context::Session;
use crate::selection::Selection;

/// Kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Kind {
    /// Chosen in the table of devices.
    Chosen,
    Fleet,
    Tags,
    Groups,
    Saved,
}

domain::named!(pub(super) Kind, parse -> Option);

/// Target of the draft; `Err`: the field and what is missing.
pub(super) fn scope(draft: &Draft, chosen: &Selection, saved: &[SavedFilter]) -> Result<Target, (&'static str, &'static str)> {
    let named = |name, missing| Some(draft.labels(name)).filter(|names| !names.is_empty()).ok_or((name, missing));
    match Kind::parse(draft.get(field::TARGET)) {
        None => Err((field::TARGET, "choose a target")),
        Some(Kind::Fleet) => Ok(Target::Fleet),
        Some(Kind::Chosen) if chosen.is_empty() => Err((field::TARGET, "select devices in the table first")),
        Some(Kind::Chosen) => Ok(Target::Chosen(chosen.clone())),
        Some(Kind::Tags) => named(field::TAGS, "enter at least one tag").map(Target::Tags),
        Some(Kind::Groups) => named(field::GROUPS, "enter at least one group").map(Target::Groups),
        Some(Kind::Saved) => {
            let found = saved.iter().find(|filter| filter.id.to_string() == draft.get(field::SAVED));
            found.map(|filter| Target::Filter(Box::new(filter.filter.clone()))).ok_or((field::SAVED, "choose a filter"))
        }
    }
}

/// Target of a deployment.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Target {
    Fleet,
    Chosen(Selection),
    Tags(Vec<String>),
    Groups(Vec<String>),
    Filter(Box<DeviceFilter>),
}

impl Target {
    /// Devices that match now in the fleet view.
    pub(super) async fn devices(self, session: &Session) -> Vec<DeviceId> {
        let fleet = session.fleet.clone();
        // Off the pages' threads: a look at a hundred thousand devices takes a while.
        let looked = tokio::task::spawn_blocking(move || {
            let of = |filter: DeviceFilter| fleet.order(&filter, Sort::default());
            let any = |filters: Vec<DeviceFilter>| filters.into_iter().flat_map(of).collect::<BTreeSet<_>>().into_iter().collect();
            match self {
                Self::Fleet => of(DeviceFilter::default()),
                Self::Filter(filter) => of(*filter),
                Self::Tags(tags) => any(tags.into_iter().map(|tag| DeviceFilter { tag: Some(tag), ..DeviceFilter::default() }).collect()),
                Self::Groups(groups) => {
                    any(groups.into_iter().map(|group| DeviceFilter { group: Some(group), ..DeviceFilter::default() }).collect())
                }
                Self::Chosen(Selection::Devices(ids)) => ids.into_iter().filter(|id| fleet.device(*id).is_some()).collect(),
                Self::Chosen(Selection::Matching { filter, except }) => {
                    let mut ids = of(*filter);
                    ids.retain(|id| !except.contains(id));
                    ids
                }
            }
        });
        looked.await.unwrap_or_default()
    }

    /// Scope for the service, which resolves filters; selected devices are listed by id.
    pub(super) async fn scope(self, session: &Session) -> DeploymentScope {
        match self {
            Self::Fleet => DeploymentScope::Fleet,
            Self::Tags(tags) => DeploymentScope::Tags(tags),
            Self::Groups(groups) => DeploymentScope::Groups(groups),
            Self::Filter(filter) => DeploymentScope::Filter(*filter),
            Self::Chosen(Selection::Matching { filter, except }) if except.is_empty() => match *filter {
                // All that the list shows without a filter were selected: the fleet, by a click of its own.
                filter if filter == DeviceFilter::default() => DeploymentScope::Fleet,
                filter => DeploymentScope::Filter(filter),
            },
            chosen => DeploymentScope::Ids(chosen.devices(session).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_at_its_field() {
        let mut draft = Draft::conservative();
        let at = |draft: &Draft| scope(draft, &Selection::default(), &[]).err().map(|(field, _)| field);
        assert_eq!(at(&draft), Some(field::TARGET));
        for (kind, want) in
            [(Kind::Chosen, field::TARGET), (Kind::Tags, field::TAGS), (Kind::Groups, field::GROUPS), (Kind::Saved, field::SAVED)]
        {
            draft.set(field::TARGET, kind.as_str().to_owned());
            assert_eq!(at(&draft), Some(want));
        }
        draft.set(field::TARGET, "tags".to_owned());
        draft.set(field::TAGS, "till, ".to_owned());
        assert_eq!(scope(&draft, &Selection::default(), &[]), Ok(Target::Tags(vec!["till".to_owned()])));
        draft.set(field::TARGET, "fleet".to_owned());
        assert_eq!(scope(&draft, &Selection::default(), &[]), Ok(Target::Fleet));
    }
}
