//! The end-to-end tests of `nexmdm`: real processes, most with a database of their own, from the outside. One binary, so that there is one to
//! link. libtest runs them in the order of the modules, as many at once as there are cores; within the process they share nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod access_matrix;
mod agent_updates;
mod apks;
mod audit;
mod auth;
mod bad_input;
mod browser;
mod clocks;
mod cluster;
mod command_paths;
mod commands;
mod common;
mod conformance;
mod ctl;
mod dashboard_requests;
mod deployment_cluster;
mod deployment_confirmation;
mod deployment_forms;
mod deployments;
mod device_edit;
mod device_filters;
mod device_history;
mod devices;
mod enroll_scripts;
mod enrollment;
mod heartbeats;
mod identity;
mod leases;
mod lost_rights;
mod openapi;
mod operate;
mod outage;
mod people;
mod proxies;
mod push;
mod reconcilers;
mod security;
mod shares;
mod start_checks;
mod task_reports;
mod telemetry;
mod unified_push;
mod unusable_values;
