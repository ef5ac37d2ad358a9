//! Telemetry: what a heartbeat says about its device, and what is known about each of its fields.

mod field;
mod opt_in;
mod sent;
mod table;
mod unusable;

pub use field::{Field, Page, Reading, Section, Storage, UNKNOWN_RANK, Unit};
pub use opt_in::OptIn;
pub use sent::Sent;
pub use unusable::{APPS, CLAIMED_ID, CLOCK, PUSH_TOKEN, Unusable, VALUE_MAX_CHARS};

/// Types that rows name.
pub use crate::Timestamp;

use crate::invalid::{Invalid, in_range};
use crate::telemetry;
use crate::text::{line, optional};

/// Most watched packages in one heartbeat.
pub const APPS_MAX: usize = 64;

/// Text that is JSON, as it was sent.
pub type JsonText = String;

/// The kind of network a device is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::IntoStaticStr, strum::EnumString, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Transport {
    /// Wi-Fi.
    Wifi,
    /// Mobile data.
    Cellular,
    /// Cable.
    Ethernet,
    /// No network.
    None,
    /// Something else.
    Other,
}

named!(pub Transport, parse -> Result);

/// Package that the agent watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedApp {
    /// Package name.
    pub package: String,
    /// Whether it is installed.
    pub installed: Option<bool>,
    /// Version name.
    pub version_name: Option<String>,
    /// Version code.
    pub version_code: Option<i64>,
}

impl WatchedApp {
    /// Longest package name.
    pub const PACKAGE_MAX_CHARS: usize = 255;
    /// Longest version name.
    pub const VERSION_MAX_CHARS: usize = 128;
}

/// Path of a field as devices know it.
macro_rules! wire_path {
    (. $key:ident) => {
        stringify!($key)
    };
    ($object:ident $key:ident) => {
        concat!(stringify!($object), ".", stringify!($key))
    };
}

/// A value within the range of its row.
macro_rules! within {
    ([], $path:expr, $value:expr) => {
        $value
    };
    ([else $word:ident], $path:expr, $value:expr) => {
        $value
    };
    ([bytes $max:literal], $path:expr, $value:expr) => {
        short($path, $value, $max)?
    };
    ([$max:literal $(, cut)?], $path:expr, $value:expr) => {
        optional($path, $value, $max)?
    };
    ([$min:literal, $max:literal $(, unknown $unknown:literal)? $(, cap)?], $path:expr, $value:expr) => {
        number($path, $value, $min, $max)?
    };
}

macro_rules! telemetry_struct {
    ({} $( { $object:tt $field:ident $type:ident $key:ident $about:tt $range:tt $kept:tt } )*) => {
        /// Telemetry of a heartbeat. `None`: not reported.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Telemetry {
            $(#[doc = $about] pub $field: Option<$type>,)*
            /// Watched packages.
            pub apps: Vec<WatchedApp>,
            /// Values that were sent and could not be used as they were, one per path at most.
            pub unusable: Vec<Unusable>,
        }

        impl Telemetry {
            /// Checks every value against its limits.
            ///
            /// # Errors
            /// Names the first field that breaks its limit, and the limit.
            pub fn checked(self) -> Result<Self, Invalid> {
                Ok(Self {
                    $($field: within!($range, wire_path!($object $key), self.$field),)*
                    apps: checked_apps(self.apps)?,
                    unusable: self.unusable,
                })
            }
        }
    };
}
telemetry! { fields => telemetry_struct {} }

impl Telemetry {
    /// Telemetry of a watched package.
    pub fn watched(&self, package: &str) -> Option<&WatchedApp> {
        self.apps.iter().find(|app| app.package == package)
    }
}

fn number<T: PartialOrd + std::fmt::Display + Copy>(field: &str, value: Option<T>, min: T, max: T) -> Result<Option<T>, Invalid> {
    value.map(|value| in_range(field, value, min, max)).transpose()
}

fn short(field: &str, value: Option<String>, max_bytes: usize) -> Result<Option<String>, Invalid> {
    match value {
        Some(text) if text.len() > max_bytes => Err(Invalid::new(field, format!("more than {max_bytes} bytes"))),
        value => Ok(value),
    }
}

fn checked_apps(apps: Vec<WatchedApp>) -> Result<Vec<WatchedApp>, Invalid> {
    if apps.len() > APPS_MAX {
        return Err(Invalid::new("app_versions", format!("{} packages are more than the {APPS_MAX} allowed", apps.len())));
    }
    for app in &apps {
        line("app_versions", &app.package, WatchedApp::PACKAGE_MAX_CHARS)?;
        if let Some(name) = &app.version_name {
            line("app_versions.version_name", name, WatchedApp::VERSION_MAX_CHARS)?;
        }
        number("app_versions.version_code", app.version_code, 0, i64::MAX)?;
    }
    Ok(apps)
}

macro_rules! field_list {
    ({} $( {
        $object:tt $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt [$stored:ident $name:tt]
        $history:tt $api:tt [$($csv:tt)?] $sort:tt $page:tt [$(opt_in $kept:tt)?]
    } )*) => {
        /// The rows of the telemetry table, in its order.
        pub const FIELDS: &[Field] = &[$(Field {
            number: $no,
            name: stringify!($field),
            path: wire_path!($object $key),
            kind: stringify!($type),
            about: $about,
            label: $label,
            unit: Unit::$unit,
            range: field::range!($range),
            storage: Storage::$stored($name),
            plotted: field::given!($history),
            in_api: field::given!($api),
            csv: field::option!($($csv)?),
            sortable: field::given!($sort),
            page: field::page!($page),
            opt_in: field::option!($($kept)?),
            get: |telemetry| telemetry.$field.as_ref().map(field::AsReading::reading),
            set: |telemetry, sent| {
                let taken = sent::take!($range, $type, sent);
                telemetry.$field = taken.value;
                taken.problem
            },
            clear: |telemetry| telemetry.$field = None,
        }),*];
    };
}
telemetry! { rows => field_list {} }

macro_rules! block_list {
    ({} objects { $( { $object:ident $Object:ident $about:tt $rows:tt } )* } top $top:tt) => {
        /// Objects of the heartbeat, by their names, and what each is about.
        pub const BLOCKS: &[(&str, &str)] = &[$((stringify!($object), $about)),*];
    };
}
telemetry! { wire => block_list {} }

#[cfg(test)]
mod tests;
