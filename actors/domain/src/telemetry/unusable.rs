//! Readings that a device sent and that could not be used as they were: kept with the others, shown to people, never a reason to
//! refuse a heartbeat.

use std::fmt::Display;

use super::{APPS_MAX, BLOCKS, FIELDS, Field, Sent, Telemetry, WatchedApp, sent};
use crate::Timestamp;
use crate::text::{excerpt, line};

/// Most characters of a value that are kept.
pub const VALUE_MAX_CHARS: usize = 64;

/// The watched packages, in a heartbeat.
pub const APPS: &str = "app_versions";
/// The clock of the device, in a heartbeat.
pub const CLOCK: &str = "timestamp_utc";
/// The push token, in a heartbeat.
pub const PUSH_TOKEN: &str = "fcm_token";
/// The id that a device claims, in a heartbeat.
pub const CLAIMED_ID: &str = "device_id";

/// What can be unusable beside the rows and objects of the telemetry table.
const OTHERS: [(&str, &str); 4] = [(APPS, "Monitored apps"), (CLOCK, "Clock"), (PUSH_TOKEN, "Push token"), (CLAIMED_ID, "Device id")];

/// A value that could not be used as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Path in the heartbeat.
    pub field: String,
    /// The value, fit to be shown.
    pub value: String,
    /// Why it is unusable, and what was taken instead, if anything was.
    pub problem: String,
    /// Receipt of the first heartbeat of those in a row whose value was unusable.
    pub since: Timestamp,
}

impl Unusable {
    /// Name of the field for people.
    pub fn label(&self) -> &str {
        let rows = FIELDS.iter().map(|field| (field.path, field.label));
        let blocks = BLOCKS.iter().map(|(name, about)| (*name, about.trim_end_matches('.')));
        // A later build may have more.
        rows.chain(blocks).chain(OTHERS).find(|(path, _)| *path == self.field).map_or(&self.field, |(_, label)| label)
    }
}

/// A text cut to what is kept of a value, without characters that do not show or that turn others round.
fn shown(text: &str) -> String {
    excerpt(text, VALUE_MAX_CHARS)
}

impl Telemetry {
    /// Notes that the value at `path` was unusable; of several at one path the first stands.
    pub fn note_unusable(&mut self, path: &str, value: impl Display, problem: impl Into<String>, at: Timestamp) {
        if self.unusable.iter().all(|noted| noted.field != path) {
            self.unusable.push(Unusable { field: path.to_owned(), value: shown(&value.to_string()), problem: problem.into(), since: at });
        }
    }

    /// Takes the reading of a field from what a device sent.
    pub fn take(&mut self, field: &Field, sent: Sent<'_>, at: Timestamp) {
        if let Some(problem) = (field.set)(self, sent) {
            self.note_unusable(field.path, sent, problem, at);
        }
    }

    /// Takes a watched package from what a device sent: whether it is installed, its version name and version code.
    pub fn take_app(&mut self, package: &str, notified: [Option<Sent<'_>>; 3], at: Timestamp) {
        if self.apps.len() >= APPS_MAX {
            return self.note_unusable(APPS, package, format!("more than the {APPS_MAX} packages allowed; left out"), at);
        }
        if let Err(invalid) = line(APPS, package, WatchedApp::PACKAGE_MAX_CHARS) {
            return self.note_unusable(APPS, package, format!("package name: {}", invalid.problem), at);
        }
        let [installed, version_name, version_code] = notified;
        let installed = installed.map(sent::plain::<bool>);
        let name = version_name.map(|notified| sent::text(notified, WatchedApp::VERSION_MAX_CHARS, true));
        let code = version_code.map(|notified| sent::number::<i64>(notified, 0, i64::MAX, None, false));
        let problems = [
            ("installed", notified[0], installed.as_ref().and_then(|taken| taken.problem.clone())),
            ("version_name", notified[1], name.as_ref().and_then(|taken| taken.problem.clone())),
            ("version_code", notified[2], code.as_ref().and_then(|taken| taken.problem.clone())),
        ];
        for (part, notified, problem) in problems {
            if let Some((notified, problem)) = notified.zip(problem) {
                self.note_unusable(APPS, notified, format!("{part} of {}: {problem}", shown(package)), at);
            }
        }
        self.apps.push(WatchedApp {
            package: package.to_owned(),
            installed: installed.and_then(|taken| taken.value),
            version_name: name.and_then(|taken| taken.value),
            version_code: code.and_then(|taken| taken.value),
        });
    }

    /// Carries on since when values are unusable, from the heartbeat before.
    pub fn continue_unusable(&mut self, before: &Self) {
        for noted in &mut self.unusable {
            if let Some(earlier) = before.unusable.iter().find(|earlier| earlier.field == noted.field) {
                noted.since = noted.since.min(earlier.since);
            }
        }
    }
}

#[cfg(test)]
mod tests;
