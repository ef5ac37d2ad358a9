//! The statements of the store against a real database: a module per aggregate, and for each test a migrated database of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod accounts;
mod agent_build_stats;
mod agent_builds;
mod api_tokens;
mod apks;
mod audit;
mod canonical_names;
mod cluster;
mod cluster_locks;
mod command_reports;
mod commands;
mod common;
mod deployment_apply;
mod deployment_lists;
mod deployment_reports;
mod deployment_rows;
mod deployment_transitions;
mod deployments;
mod device_edit;
mod device_events;
mod device_identity;
mod device_lists;
mod devices;
mod enroll_tokens;
mod errors;
mod exec_commands;
mod flags;
mod heartbeats;
mod history;
mod packages;
mod partitions;
mod placement;
mod saved_filters;
mod sessions;
mod sign_in_failures;
