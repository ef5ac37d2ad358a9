//! Specs of deployment options, and the macro that declares them.

use super::options::{CANARY_SIZE, CanaryOptions, FailurePause, INTENT, OnUnmet, Options, Retries, WINDOW};
use crate::param::{ParamSpec, ParamValue};

/// Topic of an option, under which forms show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionGroup {
    /// The first devices.
    Canary,
    /// Rate, concurrency and failure handling.
    Rate,
    /// Requirements of devices.
    Requirements,
    /// When it may run.
    Schedule,
    /// Steps after an installation.
    AfterInstall,
}

impl OptionGroup {
    /// Title of the topic.
    pub fn title(self) -> &'static str {
        match self {
            Self::Canary => "Canary",
            Self::Rate => "Rate and failure handling",
            Self::Requirements => "Device requirements",
            Self::Schedule => "Schedule",
            Self::AfterInstall => "After install",
        }
    }
}

/// Flag of `nexmdm ctl deployments create` that sets an option; without a value it sets a switch to the opposite of its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CliFlag {
    /// Name without the dashes.
    pub name: &'static str,
    /// Help.
    pub help: &'static str,
}

/// Declaration of an option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// Path in the API, limits and words.
    pub param: ParamSpec,
    /// Topic.
    pub group: OptionGroup,
    /// Flag of the command line; other options are given as JSON.
    pub flag: Option<CliFlag>,
    pub(super) get: fn(&Options) -> Option<ParamValue>,
    pub(super) set: fn(&mut Options, ParamValue),
}

/// A spec is told by its path.
impl PartialEq for OptionSpec {
    fn eq(&self, other: &Self) -> bool {
        self.param == other.param
    }
}

impl OptionSpec {
    /// Value of the option; `None` where it does not apply.
    pub fn value(&self, options: &Options) -> Option<ParamValue> {
        match (self.get)(options) {
            None if self.param.name == CANARY_SIZE => Some(ParamValue::Integer(0)),
            value => value,
        }
    }

    /// Default of the option; `None` where there is none, or it depends on the number of devices.
    pub fn default_value(&self) -> Option<ParamValue> {
        let value = self.value(&Options::conservative(1));
        value.filter(|value| self.value(&Options::conservative(1_000)).as_ref() == Some(value))
    }

    pub(super) fn apply(&self, options: &mut Options, value: ParamValue) {
        (self.set)(options, value);
    }
}

/// Every option, in the order that they are shown within their topics.
pub fn option_specs() -> impl Iterator<Item = &'static OptionSpec> {
    let flat = CanaryOptions::SPECS.iter().chain(Options::SPECS).chain(FailurePause::SPECS).chain(Retries::SPECS);
    flat.chain(WINDOW).chain(INTENT)
}

/// Spec of the option with this path.
pub fn option_spec(path: &str) -> Option<&'static OptionSpec> {
    option_specs().find(|spec| spec.param.name == path)
}

/// Type of an option's value.
pub(super) trait OptionType: Copy {
    fn to_value(self) -> ParamValue;
    fn from_value(value: ParamValue) -> Option<Self>;
}

impl OptionType for u32 {
    fn to_value(self) -> ParamValue {
        ParamValue::Integer(self.into())
    }

    fn from_value(value: ParamValue) -> Option<Self> {
        if let ParamValue::Integer(number) = value { Self::try_from(number).ok() } else { None }
    }
}

impl OptionType for u8 {
    fn to_value(self) -> ParamValue {
        ParamValue::Integer(self.into())
    }

    fn from_value(value: ParamValue) -> Option<Self> {
        if let ParamValue::Integer(number) = value { Self::try_from(number).ok() } else { None }
    }
}

impl OptionType for OnUnmet {
    fn to_value(self) -> ParamValue {
        ParamValue::Text(self.as_str().to_owned())
    }

    fn from_value(value: ParamValue) -> Option<Self> {
        value.as_text().and_then(Self::parse)
    }
}

impl OptionType for bool {
    fn to_value(self) -> ParamValue {
        ParamValue::Flag(self)
    }

    fn from_value(value: ParamValue) -> Option<Self> {
        if let ParamValue::Flag(on) = value { Some(on) } else { None }
    }
}

pub(super) const fn flag(name: &'static str, help: &'static str) -> Option<CliFlag> {
    Some(CliFlag { name, help })
}

/// Declares options of one struct: field, type and default; path in the API; topic; label; limits; flag of the command line.
macro_rules! options {
    (
        $(#[$doc:meta])* $name:ident from |$options:ident| $get:expr, $set:expr;
        $($field:ident: $type:ty = $default:expr, $path:literal, $group:ident, $label:literal, $spec:expr, $flag:expr;)+
        $(@parts { $($(#[$part_doc:meta])* $part:ident: $part_type:ty = $part_default:expr,)+ })?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $(#[doc = $label] pub $field: $type,)+
            $($($(#[$part_doc])* pub $part: $part_type,)+)?
        }

        /// What was stored before an option came has the option's default.
        impl Default for $name {
            fn default() -> Self {
                Self::DEFAULT
            }
        }

        impl $name {
            const DEFAULT: Self = Self { $($field: $default,)+ $($($part: $part_default,)+)? };

            pub(super) const SPECS: &'static [OptionSpec] = &[$(OptionSpec {
                param: ParamSpec { name: $path, field: concat!("options.", $path), label: $label, ..$spec.optional() },
                group: OptionGroup::$group,
                flag: $flag,
                get: |$options| {
                    let of: Option<&$name> = $get;
                    of.map(|of| OptionType::to_value(of.$field))
                },
                set: |$options, value| {
                    let of: Option<&mut $name> = $set;
                    if let (Some(of), Some(value)) = (of, OptionType::from_value(value)) {
                        of.$field = value;
                    }
                },
            }),+];
        }
    };
}

pub(super) use options;
