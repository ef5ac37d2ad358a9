//! Shared components of the pages.

pub(crate) mod action_form;
pub(crate) mod alert_widgets;
pub(crate) mod chart;
pub(crate) mod command_rows;
pub(crate) mod command_widgets;
pub(crate) mod deployment_widgets;
pub(crate) mod device_widgets;
pub(crate) mod dialog;
pub(crate) mod form;
pub(crate) mod kept_secret;
pub(crate) mod link;
pub(crate) mod param_words;
pub(crate) mod set_flag;
pub(crate) mod widgets;

pub(crate) use crate::icon::{Glyph, icon};
pub(crate) use device_widgets::{app_badge, battery_bar, identity_mark, labels, status_dot, unknown};
pub(crate) use dialog::{Confirm, Dialog};
pub(crate) use kept_secret::KeptSecret;
pub(crate) use link::RouteLink;
pub(crate) use widgets::{CopyButton, Curl, EmptyState, LocalTime, PageHeader, Pager, Problem, Skeleton, StatTile, local_time, time_ago};
