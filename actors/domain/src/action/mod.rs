//! Actions of a device, with their parameters, limits, permissions and words.
//!
//! [`table`] declares each action once. Its row makes the typed variants of [`Action`] and [`ActionKind`] and the [`ActionSpec`], from which
//! the API, its description, the forms, the command line and what is shown of a command are made.

use std::collections::BTreeMap;

use crate::access::Permission;
use crate::invalid::in_range;
use crate::param::{ParamSpec, ParamValue};
use crate::{Invalid, Timestamp};

/// Declares the actions: a variant with typed parameters, and the spec of each.
macro_rules! actions {
    ($($(#[$doc:meta])* $kind:ident $({ $($param:ident: $type:ty = $label:literal, $spec:expr;)+ })? => $action:expr;)+) => {
        /// Kind of an action, without its parameters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ActionKind {
            $($(#[$doc])* $kind,)+
        }

        impl ActionKind {
            /// Every action that people can ask for, in the order that they are shown.
            pub const ALL: [Self; [$(Self::$kind),+].len()] = [$(Self::$kind),+];

            /// Declaration of the action.
            pub fn spec(self) -> &'static ActionSpec {
                match self {
                    $(Self::$kind => {
                        const SPEC: ActionSpec = ActionSpec {
                            params: &[$($(ParamSpec {
                                name: stringify!($param), field: concat!("params.", stringify!($param)), label: $label, ..$spec
                            },)+)?],
                            ..$action
                        };
                        &SPEC
                    })+
                }
            }
        }

        /// Action of a device, with its parameters.
        #[derive(Clone, PartialEq, Eq)]
        pub enum Action {
            $($(#[$doc])* $kind $({ $(#[doc = $label] $param: $type,)+ })?,)+
        }

        impl Action {
            /// Kind of the action.
            pub fn kind(&self) -> ActionKind {
                match self {
                    $(Self::$kind { .. } => ActionKind::$kind,)+
                }
            }

            /// Action of this kind with the values that were given.
            pub(super) fn read(kind: ActionKind, given: &mut Values) -> Result<Self, Invalid> {
                match kind {
                    $(ActionKind::$kind => Ok(Self::$kind $({ $($param: given.take(kind, stringify!($param))?,)+ })?),)+
                }
            }

            /// Value of each parameter, in the order of their specs.
            pub(super) fn values(&self) -> Vec<Option<ParamValue>> {
                match self {
                    $(Self::$kind $({ $($param,)+ })? => vec![$($(Param::to_value($param),)+)?],)+
                }
            }
        }
    };
}

mod exec;
mod table;

/// Name of the action with which a deployment has an APK installed. People do not send it.
pub const DEPLOY_APK: &str = "deploy_apk";

/// Title of an action by name; `None` for one of a later build.
pub fn title(name: &str) -> Option<&'static str> {
    match name {
        DEPLOY_APK => Some("Install app"),
        name => ActionKind::parse("action", name).ok().map(|kind| kind.spec().title),
    }
}

pub use exec::{AllowedExecCommand, ExecCommand};
pub use table::{Action, ActionKind};

/// Declaration of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActionSpec {
    /// Name in the API, the database and to devices.
    pub name: &'static str,
    /// Title.
    pub title: &'static str,
    /// Description, a sentence.
    pub description: &'static str,
    /// Parameters.
    pub params: &'static [ParamSpec],
    /// Permission that sending it requires.
    pub permission: Permission,
    /// Question that people are asked first, because work on the device may be lost or interrupted.
    pub confirmation: Option<Confirmation>,
    /// Whether a newer one supersedes an older one, so that push messages may collapse.
    pub collapses: bool,
    /// Whether the agent has to be device owner.
    pub device_owner: bool,
}

/// Question before an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// Question, with `{device}` and parameters by name.
    pub question: &'static str,
    /// Consequence of the action.
    pub consequence: &'static str,
}

impl ActionSpec {
    const fn new(name: &'static str, title: &'static str, description: &'static str) -> Self {
        Self {
            name,
            title,
            description,
            params: &[],
            permission: Permission::SendCommands,
            confirmation: None,
            collapses: false,
            device_owner: false,
        }
    }

    /// The same for administrators only.
    const fn sensitive(self) -> Self {
        Self { permission: Permission::SendSensitiveCommands, ..self }
    }

    /// The same after a question.
    const fn asks(self, question: &'static str, consequence: &'static str) -> Self {
        Self { confirmation: Some(Confirmation { question, consequence }), ..self }
    }

    const fn collapses(self) -> Self {
        Self { collapses: true, ..self }
    }

    const fn device_owner(self) -> Self {
        Self { device_owner: true, ..self }
    }

    /// Parameter of this name.
    pub fn param(&self, name: &str) -> Option<&'static ParamSpec> {
        self.params.iter().find(|spec| spec.name == name)
    }

    /// Consequence of the action for people who are about to send it: its warning, or what it does.
    pub fn consequence(&self) -> &'static str {
        self.confirmation.map_or(self.description, |confirmation| confirmation.consequence)
    }

    /// Question to people before the action is sent to `device`; `value` tells a parameter by its name.
    pub fn question(&self, device: &str, value: impl Fn(&str) -> String) -> String {
        let Some(Confirmation { question, .. }) = self.confirmation else { return format!("{} on {device}?", self.title) };
        let mut parts = question.split('{');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap_or((part, ""));
            text.push_str(&if name == "device" { device.to_owned() } else { value(name) });
            text.push_str(rest);
        }
        text
    }
}

/// Spec of a parameter by its name, whichever action has it: equal names mean the same.
pub fn param(name: &str) -> Option<&'static ParamSpec> {
    ActionKind::ALL.into_iter().find_map(|kind| kind.spec().param(name))
}

impl ActionKind {
    /// Name in the API, the database and to devices.
    pub fn as_str(self) -> &'static str {
        self.spec().name
    }

    /// Parses a name.
    ///
    /// # Errors
    /// Names every action that there is.
    pub fn parse(field: &str, name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| match name {
            DEPLOY_APK => Invalid::new(field, format!("{DEPLOY_APK} is sent by deployments only")),
            _ => Invalid::new(field, format!("not one of {}", Self::ALL.map(Self::as_str).join(", "))),
        })
    }

    /// Permission that sending it requires.
    pub fn permission(self) -> Permission {
        self.spec().permission
    }

    /// Whether people are asked for confirmation.
    pub fn asks_first(self) -> bool {
        self.spec().confirmation.is_some()
    }

    /// Whether a newer one supersedes an older one, so that push messages may collapse.
    pub fn collapses(self) -> bool {
        self.spec().collapses
    }
}

/// Security of a Wi-Fi network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WifiSecurity {
    /// No security.
    Open,
    /// WPA2 with a passphrase.
    Wpa2,
    /// WPA3 with a passphrase.
    Wpa3,
}

impl WifiSecurity {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Open, Self::Wpa2, Self::Wpa3];
    /// Names with their labels.
    pub(crate) const CHOICES: &'static [(&'static str, &'static str)] =
        &[(Self::Open.as_str(), "None (open)"), (Self::Wpa2.as_str(), "WPA2"), (Self::Wpa3.as_str(), "WPA3")];

    /// Name in the API and to devices.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Wpa2 => "wpa2",
            Self::Wpa3 => "wpa3",
        }
    }
}

/// Type of a parameter in [`Action`].
trait Param: Sized {
    /// Value of this type; `None` when the given one is of another type, or missing.
    fn from_value(value: Option<ParamValue>) -> Option<Self>;
    /// The value; `None` when the parameter is absent.
    fn to_value(&self) -> Option<ParamValue>;
}

impl Param for u32 {
    fn from_value(value: Option<ParamValue>) -> Option<Self> {
        // What exceeds the type exceeds every limit.
        if let Some(ParamValue::Integer(number)) = value { Some(Self::try_from(number).unwrap_or(Self::MAX)) } else { None }
    }

    fn to_value(&self) -> Option<ParamValue> {
        Some(ParamValue::Integer((*self).into()))
    }
}

impl Param for String {
    fn from_value(value: Option<ParamValue>) -> Option<Self> {
        if let Some(ParamValue::Text(text)) = value { Some(text) } else { None }
    }

    fn to_value(&self) -> Option<ParamValue> {
        Some(ParamValue::Text(self.clone()))
    }
}

impl Param for Option<String> {
    fn from_value(value: Option<ParamValue>) -> Option<Self> {
        match value {
            None => Some(None),
            value => String::from_value(value).map(Some),
        }
    }

    fn to_value(&self) -> Option<ParamValue> {
        self.as_ref().and_then(String::to_value)
    }
}

impl Param for WifiSecurity {
    fn from_value(value: Option<ParamValue>) -> Option<Self> {
        let name = String::from_value(value)?;
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    fn to_value(&self) -> Option<ParamValue> {
        Some(ParamValue::Text(self.as_str().to_owned()))
    }
}

/// Values of parameters by name.
struct Values(BTreeMap<String, ParamValue>);

impl Values {
    fn take<T: Param>(&mut self, kind: ActionKind, name: &str) -> Result<T, Invalid> {
        let Some(spec) = kind.spec().param(name) else { return Err(Invalid::new(name, "unknown")) };
        let value = self.0.remove(name);
        if let Some(value) = &value {
            spec.check(value)?;
        }
        let missing = value.is_none();
        let value = value.or(spec.default.map(ParamValue::Integer));
        T::from_value(value).ok_or_else(|| if missing { spec.missing() } else { spec.wrong_type() })
    }
}

impl Action {
    /// Action with these values for its parameters.
    ///
    /// # Errors
    /// Names the parameter as `params.<name>`: unknown, missing, of another kind, or out of its limits. No value is repeated but a number.
    pub fn parse(kind: ActionKind, given: BTreeMap<String, ParamValue>) -> Result<Self, Invalid> {
        if let Some(unknown) = given.keys().find(|name| kind.spec().param(name).is_none()) {
            let known: Vec<_> = kind.spec().params.iter().map(|spec| spec.name).collect();
            let known = if known.is_empty() { "no parameters".to_owned() } else { known.join(", ") };
            return Err(Invalid::new(format!("params.{unknown}"), format!("unknown: {} takes {known}", kind.as_str())));
        }
        Self::read(kind, &mut Values(given))?.checked()
    }

    /// The parameters with their values; `None`: absent.
    pub fn params(&self) -> impl Iterator<Item = (&'static ParamSpec, Option<ParamValue>)> {
        self.kind().spec().params.iter().zip(self.values())
    }

    /// Checks every parameter against its limits, and against those that exclude it.
    ///
    /// # Errors
    /// Names the parameter as `params.<name>`.
    pub fn checked(self) -> Result<Self, Invalid> {
        let values = self.values();
        let has = |name: &str, wanted: &str| {
            self.params().any(|(spec, value)| spec.name == name && value.as_ref().and_then(ParamValue::as_text) == Some(wanted))
        };
        for (spec, value) in self.kind().spec().params.iter().zip(&values) {
            let excluded = spec.unless.filter(|(other, wanted)| has(other, wanted));
            match (value, excluded) {
                (Some(_), Some((other, wanted))) => {
                    return Err(Invalid::new(spec.field, format!("must be empty when {other} is {wanted}")));
                }
                (Some(value), None) => spec.check(value)?,
                (None, None) if spec.required => return Err(spec.missing()),
                (None, _) => {}
            }
        }
        Ok(self)
    }
}

/// Parameters may be secret.
impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Action({})", self.kind().as_str())
    }
}

/// Expiry of a command that is created at `now`; `asked_s`: requested life.
///
/// # Errors
/// Not within the limits.
pub fn expiry(now: Timestamp, asked_s: Option<i64>, default_s: i64, max_s: i64) -> Result<Timestamp, Invalid> {
    let lasts_s = match asked_s {
        Some(asked_s) => in_range("expires_in_s", asked_s, 1, max_s)?,
        None => default_s.min(max_s),
    };
    Ok(now + chrono::TimeDelta::seconds(lasts_s))
}

#[cfg(test)]
mod tests;
