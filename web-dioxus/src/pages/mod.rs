//! One module per page.

mod agent_builds;
mod alerts;
mod apks;
mod audit;
mod cluster;
mod commands;
mod deployments;
mod device;
mod devices;
mod enrollment;
mod not_found;
pub(crate) mod overview;
mod reports;
mod settings;
mod storage;

pub(crate) use agent_builds::AgentBuilds;
pub(crate) use alerts::{Alert, AlertChannel, AlertChannels, AlertRoutes, AlertRule, AlertRules, AlertSilences, Alerts};
pub(crate) use apks::{Apks, Packages};
pub(crate) use audit::Audit;
pub(crate) use cluster::Cluster;
pub(crate) use commands::{CommandBatch, Commands};
pub(crate) use deployments::{Deployment, Deployments, NewDeployment};
pub(crate) use device::Device;
pub(crate) use devices::{DeletedDevices, Devices, ImportDevices};
pub(crate) use enrollment::Enrollment;
pub(crate) use not_found::NotFound;
pub(crate) use overview::Overview;
pub(crate) use reports::Reports;
pub(crate) use settings::Settings;
pub(crate) use storage::Storage;
