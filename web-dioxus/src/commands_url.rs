//! URL state of the commands pages: list and filters.

use std::fmt;

use domain::DeviceId;
use domain::action::ActionKind;
use domain::command::CommandState;

use crate::url_state::{Query, pairs};

/// List on the commands page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum CommandsView {
    /// Batches.
    #[default]
    Batches,
    /// Commands sent to a single device.
    Single,
    /// Every command.
    All,
}

domain::named!(pub(crate) CommandsView, parse -> Option);

/// State of the commands page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandsUrl {
    /// List to show.
    pub(crate) view: CommandsView,
    /// Filter by state.
    pub(crate) state: Option<CommandState>,
    /// Filter by action.
    pub(crate) action: Option<ActionKind>,
    /// Filter by requesting account.
    pub(crate) by: Option<String>,
    /// Filter by device.
    pub(crate) device: Option<DeviceId>,
}

impl CommandsUrl {
    /// A list without filters.
    pub(crate) fn of(view: CommandsView) -> Self {
        Self { view, ..Self::default() }
    }

    /// Whether any filter is set.
    pub(crate) fn is_filtered(&self) -> bool {
        *self != Self::of(self.view)
    }
}

impl From<&str> for CommandsUrl {
    /// Parses known parameters and ignores the rest.
    fn from(query: &str) -> Self {
        let mut url = Self::default();
        for (key, value) in pairs(query) {
            match key {
                "view" => url.view = CommandsView::parse(&value).unwrap_or_default(),
                "state" => url.state = CommandState::parse(&value),
                "action" => url.action = ActionKind::parse("action", &value).ok(),
                "by" => url.by = Some(value),
                "device" => url.device = value.parse().ok(),
                _ => {}
            }
        }
        url
    }
}

impl fmt::Display for CommandsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::new(f);
        query.pair("view", Some(self.view.as_str()).filter(|_| self.view != CommandsView::default()))?;
        query.pair("state", self.state.map(CommandState::as_str))?;
        query.pair("action", self.action.map(ActionKind::as_str))?;
        query.pair("by", self.by.as_deref())?;
        query.pair("device", self.device.map(|id| id.to_string()).as_deref())
    }
}

/// State of the page of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BatchUrl {
    /// Only commands in this state.
    pub(crate) state: Option<CommandState>,
}

impl From<&str> for BatchUrl {
    fn from(query: &str) -> Self {
        Self { state: pairs(query).find(|(key, _)| *key == "state").and_then(|(_, name)| CommandState::parse(&name)) }
    }
}

impl fmt::Display for BatchUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Query::new(f).pair("state", self.state.map(CommandState::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Route;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        let full = CommandsUrl {
            view: CommandsView::All,
            state: Some(CommandState::Delivered),
            action: Some(ActionKind::LaunchApp),
            by: Some("käthe & co".into()),
            device: Some(DeviceId(uuid::Uuid::from_u128(7))),
        };
        for url in [CommandsUrl::default(), CommandsUrl::of(CommandsView::Single), full] {
            let route = Route::Commands { query: url };
            assert_eq!(route.to_string().parse::<Route>().ok(), Some(route));
        }
        assert_eq!(CommandsUrl::default().to_string(), "");
        let batch = Route::CommandBatch { id: "x".into(), query: BatchUrl { state: Some(CommandState::Failed) } };
        assert_eq!(batch.to_string().parse::<Route>().ok(), Some(batch));
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        assert_eq!(CommandsUrl::from("view=x&state=happy&action=wipe&device=7&foo=1&by="), CommandsUrl::default());
        assert!(!CommandsUrl::of(CommandsView::All).is_filtered() && CommandsUrl::from("by=ann").is_filtered());
    }
}
