//! Fuzz targets: functions that take any bytes and must neither panic nor hang, whatever these are.
//!
//! One file per target, and a row of [`TARGETS`]. `make fuzz` runs each for a minute, guided by coverage; `cargo test -p fuzz` runs
//! what is in `corpus/NAME` and the other folders of seeds once. Bytes that broke something go into `corpus/NAME`.

mod apk;
mod csv;
mod dashboard;
mod filter;
mod heartbeat;
mod link;
mod manifest;
mod names;
mod resources;
mod samples;
mod socket;
mod telemetry;

/// A fuzz target.
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// Takes bytes of anybody.
    pub run: fn(&[u8]),
    /// Folders of files to begin with beside its corpus, seen from the workspace.
    pub seeds: &'static [&'static str],
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "apk", run: apk::run, seeds: &["actors/testdata/apks"] },
    Target { name: "csv", run: csv::run, seeds: &[] },
    Target { name: "dashboard", run: dashboard::run, seeds: &[] },
    Target { name: "filter", run: filter::run, seeds: &[] },
    Target { name: "heartbeat", run: heartbeat::run, seeds: &["actors/wire/fixtures"] },
    Target { name: "heartbeats", run: heartbeat::run_list, seeds: &[] },
    Target { name: "link", run: link::run, seeds: &[] },
    Target { name: "manifest", run: manifest::run, seeds: &[] },
    Target { name: "names", run: names::run, seeds: &[] },
    Target { name: "resources", run: resources::run, seeds: &[] },
    Target { name: "socket", run: socket::run, seeds: &[] },
    Target { name: "telemetry", run: telemetry::run, seeds: &[] },
];
