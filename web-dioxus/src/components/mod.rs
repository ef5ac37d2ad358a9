//! The parts that pages are built from.

pub(crate) mod action_form;
pub(crate) mod bits;
pub(crate) mod chart;
pub(crate) mod command_bits;
pub(crate) mod command_rows;
pub(crate) mod deployment_bits;
pub(crate) mod device_bits;
pub(crate) mod dialog;
pub(crate) mod form;
pub(crate) mod link;

pub(crate) use crate::icon::{Glyph, icon};
pub(crate) use bits::{CopyButton, Curl, EmptyState, LocalTime, PageHeader, Pager, Problem, Skeleton, StatTile, local_time, time_ago};
pub(crate) use device_bits::{app_badge, battery_bar, labels, status_dot, unknown};
pub(crate) use dialog::{Confirm, Dialog};
pub(crate) use link::Go;
