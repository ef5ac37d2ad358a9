//! Actions of a device, with their parameters, limits and permissions.

use crate::access::Permission;
use crate::edit::package;
use crate::invalid::in_range;
use crate::text::bounded;
use crate::{Invalid, Timestamp};

/// Longest name of an SSID, in bytes (IEEE 802.11, section 9.4.2.2).
const SSID_MAX_BYTES: usize = 32;
/// Lengths of a WPA passphrase, in characters (IEEE 802.11, annex J.4.1).
const PASSPHRASE_CHARS: (usize, usize) = (8, 63);
/// Longest intent, in characters.
const INTENT_MAX_CHARS: usize = 500;
/// Longest ring, s.
const RING_MAX_S: u32 = 300;
/// Default duration of a ring, s.
pub const RING_DEFAULT_S: u32 = 10;
/// Longest name of an allowed command, in characters.
const EXEC_NAME_MAX_CHARS: usize = 64;
/// Most arguments of an allowed command.
const EXEC_ARGV_MAX: usize = 32;
/// Longest argument of an allowed command, in characters.
const EXEC_ARG_MAX_CHARS: usize = 500;
/// Programs that run a program named by their arguments; the agent refuses the same ones.
const EXEC_SHELLS: [&str; 32] = [
    "sh",
    "bash",
    "ash",
    "dash",
    "ksh",
    "mksh",
    "zsh",
    "toybox",
    "busybox",
    "su",
    "env",
    "xargs",
    "timeout",
    "nohup",
    "setsid",
    "nice",
    "ionice",
    "time",
    "chrt",
    "taskset",
    "watch",
    "find",
    "awk",
    "linker",
    "linker64",
    "app_process",
    "app_process32",
    "app_process64",
    "nsenter",
    "unshare",
    "flock",
    "run-as",
];
/// Longest description of an allowed command, in characters.
const EXEC_DESCRIPTION_MAX_CHARS: usize = 500;

/// Kind of an action, without its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// Reply.
    Ping,
    /// Ring, so that the device can be found.
    Ring,
    /// Restart the device.
    Reboot,
    /// Bring an app to the front.
    LaunchApp,
    /// Force-stop an app and reopen it.
    RestartApp,
    /// Clear the data of an app.
    ClearAppData,
    /// Turn the screen on.
    Wake,
    /// Lock the screen.
    Lock,
    /// Change the monitored app.
    SetMonitoredApp,
    /// Join a Wi-Fi network.
    WifiConnect,
    /// Run an allowed command.
    Exec,
    /// Check for an agent update.
    Update,
    /// Rotate the device key.
    RotateKey,
    /// Send a heartbeat now.
    Sync,
}

impl ActionKind {
    /// Every action that people can ask for, in the order that they are shown.
    pub const ALL: [Self; 14] = [
        Self::Ping,
        Self::Ring,
        Self::Wake,
        Self::Sync,
        Self::LaunchApp,
        Self::RestartApp,
        Self::SetMonitoredApp,
        Self::WifiConnect,
        Self::Update,
        Self::Lock,
        Self::Reboot,
        Self::ClearAppData,
        Self::Exec,
        Self::RotateKey,
    ];

    /// Name in the API, the database and to devices.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Ring => "ring",
            Self::Reboot => "reboot",
            Self::LaunchApp => "launch_app",
            Self::RestartApp => "restart_app",
            Self::ClearAppData => "clear_app_data",
            Self::Wake => "wake",
            Self::Lock => "lock",
            Self::SetMonitoredApp => "set_monitored_app",
            Self::WifiConnect => "wifi_connect",
            Self::Exec => "exec",
            Self::Update => "update",
            Self::RotateKey => "rotate_key",
            Self::Sync => "sync",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// Names every action that there is.
    pub fn parse(field: &str, name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| match name {
            "deploy_apk" => Invalid::new(field, "deploy_apk is sent by deployments only"),
            _ => Invalid::new(field, format!("not one of {}", Self::ALL.map(Self::as_str).join(", "))),
        })
    }

    /// Permission that sending it requires.
    pub fn permission(self) -> Permission {
        match self {
            Self::ClearAppData | Self::Exec | Self::RotateKey => Permission::SendSensitiveCommands,
            _ => Permission::SendCommands,
        }
    }

    /// Whether the UI asks for confirmation, because work on the device may be lost or interrupted.
    pub fn asks_first(self) -> bool {
        matches!(self, Self::Reboot | Self::Lock | Self::ClearAppData | Self::RotateKey | Self::Exec)
    }

    /// Whether a newer one supersedes an older one, so that push messages may collapse.
    pub fn collapses(self) -> bool {
        self == Self::Sync
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

    /// Name in the API and to devices.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Wpa2 => "wpa2",
            Self::Wpa3 => "wpa3",
        }
    }

    /// Parses a name.
    ///
    /// # Errors
    /// Not one of them.
    pub fn parse(field: &str, name: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|known| known.as_str() == name).ok_or_else(|| Invalid::new(field, "not one of open, wpa2, wpa3"))
    }
}

/// Action of a device, with its parameters.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Reply.
    Ping,
    /// Ring.
    Ring {
        /// Duration, s.
        duration_s: u32,
    },
    /// Restart the device.
    Reboot,
    /// Bring an app to the front.
    LaunchApp {
        /// Package of the app.
        package: String,
        /// Action of the intent that starts the app; `None`: its launcher intent.
        intent: Option<String>,
    },
    /// Force-stop an app and reopen it.
    RestartApp {
        /// Package of the app.
        package: String,
    },
    /// Clear the data of an app.
    ClearAppData {
        /// Package of the app.
        package: String,
    },
    /// Turn the screen on.
    Wake,
    /// Lock the screen.
    Lock,
    /// Change the monitored app.
    SetMonitoredApp {
        /// Package of the app.
        package: String,
    },
    /// Join a Wi-Fi network.
    WifiConnect {
        /// Name.
        ssid: String,
        /// Security.
        security: WifiSecurity,
        /// Passphrase.
        password: Option<String>,
    },
    /// Run an allowed command.
    Exec {
        /// Name.
        name: String,
    },
    /// Check for an agent update.
    Update,
    /// Rotate the device key.
    RotateKey,
    /// Send a heartbeat now.
    Sync,
}

impl Action {
    /// Kind of the action.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Ping => ActionKind::Ping,
            Self::Ring { .. } => ActionKind::Ring,
            Self::Reboot => ActionKind::Reboot,
            Self::LaunchApp { .. } => ActionKind::LaunchApp,
            Self::RestartApp { .. } => ActionKind::RestartApp,
            Self::ClearAppData { .. } => ActionKind::ClearAppData,
            Self::Wake => ActionKind::Wake,
            Self::Lock => ActionKind::Lock,
            Self::SetMonitoredApp { .. } => ActionKind::SetMonitoredApp,
            Self::WifiConnect { .. } => ActionKind::WifiConnect,
            Self::Exec { .. } => ActionKind::Exec,
            Self::Update => ActionKind::Update,
            Self::RotateKey => ActionKind::RotateKey,
            Self::Sync => ActionKind::Sync,
        }
    }

    /// Checks every parameter against its limits.
    ///
    /// # Errors
    /// Names the parameter as `params.<name>`.
    pub fn checked(self) -> Result<Self, Invalid> {
        match &self {
            Self::Ring { duration_s } => drop(in_range("params.duration_s", *duration_s, 1, RING_MAX_S)?),
            Self::LaunchApp { package: name, intent } => {
                package("params.package", name)?;
                if let Some(intent) = intent {
                    bounded("params.intent", intent, INTENT_MAX_CHARS)?;
                    if intent.is_empty() {
                        return Err(Invalid::new("params.intent", "empty"));
                    }
                }
            }
            Self::RestartApp { package: name } | Self::ClearAppData { package: name } | Self::SetMonitoredApp { package: name } => {
                drop(package("params.package", name)?);
            }
            Self::WifiConnect { ssid, security, password } => wifi(ssid, *security, password.as_deref())?,
            Self::Exec { name } => exec_name("params.name", name)?,
            _ => {}
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

fn wifi(ssid: &str, security: WifiSecurity, password: Option<&str>) -> Result<(), Invalid> {
    bounded("params.ssid", ssid, SSID_MAX_BYTES)?;
    if ssid.is_empty() || ssid.len() > SSID_MAX_BYTES {
        return Err(Invalid::new("params.ssid", format!("{} bytes; must be 1..{SSID_MAX_BYTES}", ssid.len())));
    }
    match (security, password) {
        (WifiSecurity::Open, None) => Ok(()),
        (WifiSecurity::Open, Some(_)) => Err(Invalid::new("params.password", "must be empty for an open network")),
        (_, None) => Err(Invalid::new("params.password", "required")),
        (_, Some(password)) => {
            bounded("params.password", password, PASSPHRASE_CHARS.1)?;
            let chars = password.chars().count();
            let (least, most) = PASSPHRASE_CHARS;
            if chars < least {
                Err(Invalid::new("params.password", format!("{chars} characters; must be {least}..{most}")))
            } else {
                Ok(())
            }
        }
    }
}

/// Checks the name of an allowed command: `[a-z0-9][a-z0-9._-]*`, 1..64 characters.
///
/// # Errors
/// Names the field and the limit.
pub fn exec_name(field: &str, name: &str) -> Result<(), Invalid> {
    let good = |(at, c): (usize, char)| c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && matches!(c, '.' | '_' | '-'));
    if name.is_empty() || name.len() > EXEC_NAME_MAX_CHARS || !name.char_indices().all(good) {
        return Err(Invalid::new(
            field,
            format!("not 1..{EXEC_NAME_MAX_CHARS} of a-z, 0-9, '.', '_', '-', beginning with a letter or digit"),
        ));
    }
    Ok(())
}

/// Command that `exec` may run: a program and its arguments, never a shell line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecCommand {
    /// Name.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Description.
    pub description: String,
}

/// An allowed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedExecCommand {
    /// Program.
    pub command: ExecCommand,
    /// Who allowed or changed it last.
    pub updated_by: String,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl ExecCommand {
    /// Checks the command against its limits.
    ///
    /// # Errors
    /// Names the field, the problem and the limit.
    pub fn checked(self) -> Result<Self, Invalid> {
        exec_name("name", &self.name)?;
        if self.argv.is_empty() || self.argv.len() > EXEC_ARGV_MAX {
            return Err(Invalid::new("argv", format!("{} parts; must be 1..{EXEC_ARGV_MAX}", self.argv.len())));
        }
        for (index, part) in self.argv.iter().enumerate() {
            bounded(&format!("argv[{index}]"), part, EXEC_ARG_MAX_CHARS)?;
        }
        let program = self.argv.first().map_or("", String::as_str);
        if !program.starts_with('/') {
            return Err(Invalid::new("argv[0]", "not the absolute path of a program"));
        }
        if EXEC_SHELLS.contains(&program.rsplit('/').next().unwrap_or_default()) {
            return Err(Invalid::new("argv[0]", "programs that run other programs are not allowed"));
        }
        bounded("description", &self.description, EXEC_DESCRIPTION_MAX_CHARS)?;
        Ok(self)
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
mod tests {
    use super::*;
    use crate::access::Role;

    fn problem(action: Action) -> Option<String> {
        action.checked().err().map(|invalid| invalid.field)
    }

    #[test]
    fn parameters_have_limits() {
        let app = |package: &str| Action::RestartApp { package: package.into() };
        let wifi = |ssid: &str, security, password: Option<&str>| Action::WifiConnect {
            ssid: ssid.into(),
            security,
            password: password.map(str::to_owned),
        };
        let long = "s".repeat(33);
        let table = [
            (Action::Ping, None),
            (Action::Ring { duration_s: 1 }, None),
            (Action::Ring { duration_s: 300 }, None),
            (Action::Ring { duration_s: 0 }, Some("params.duration_s")),
            (Action::Ring { duration_s: 301 }, Some("params.duration_s")),
            (app("com.example.app"), None),
            (app("nodots"), Some("params.package")),
            (app("com.example; reboot"), Some("params.package")),
            (Action::LaunchApp { package: "a.b".into(), intent: Some(String::new()) }, Some("params.intent")),
            (Action::LaunchApp { package: "a.b".into(), intent: Some("x".repeat(501)) }, Some("params.intent")),
            (wifi("shop", WifiSecurity::Wpa2, Some("12345678")), None),
            (wifi("shop", WifiSecurity::Open, None), None),
            (wifi("", WifiSecurity::Open, None), Some("params.ssid")),
            (wifi(&long, WifiSecurity::Open, None), Some("params.ssid")),
            (wifi("shop", WifiSecurity::Open, Some("12345678")), Some("params.password")),
            (wifi("shop", WifiSecurity::Wpa3, None), Some("params.password")),
            (wifi("shop", WifiSecurity::Wpa3, Some("1234567")), Some("params.password")),
            (wifi("shop", WifiSecurity::Wpa3, Some(&"p".repeat(64))), Some("params.password")),
            (Action::Exec { name: "collect-logs".into() }, None),
            (Action::Exec { name: "rm -rf /".into() }, Some("params.name")),
            (Action::Exec { name: "-x".into() }, Some("params.name")),
        ];
        for (n, (action, want)) in table.into_iter().enumerate() {
            assert_eq!(problem(action).as_deref(), want, "row {n}");
        }
    }

    #[test]
    fn only_programs_with_arguments_are_allowed() {
        let field = |argv: &[&str]| {
            let argv = argv.iter().map(|&part| part.to_owned()).collect();
            ExecCommand { name: "n".into(), argv, description: String::new() }.checked().err().map(|invalid| invalid.field)
        };
        assert_eq!(field(&["/system/bin/logcat", "-d"]), None);
        assert_eq!(field(&[]).as_deref(), Some("argv"));
        assert_eq!(field(&["logcat"]).as_deref(), Some("argv[0]"));
        assert_eq!(field(&["/system/bin/sh", "-c", "id"]).as_deref(), Some("argv[0]"));
        assert_eq!(field(&["/system/bin/timeout", "5", "sh"]).as_deref(), Some("argv[0]"));
        assert_eq!(field(&["/system/bin/logcat", &"x".repeat(501)]).as_deref(), Some("argv[1]"));
    }

    #[test]
    fn names_are_read_back_and_secrets_are_not_printed() {
        for kind in ActionKind::ALL {
            assert_eq!(ActionKind::parse("action", kind.as_str()), Ok(kind));
        }
        assert!(ActionKind::parse("action", "wipe").is_err_and(|invalid| invalid.problem.contains("ping, ring")));
        assert!(ActionKind::parse("action", "deploy_apk").is_err_and(|invalid| invalid.problem.contains("deployments")));
        let wifi = Action::WifiConnect { ssid: "shop".into(), security: WifiSecurity::Wpa2, password: Some("open sesame".into()) };
        assert!(!format!("{wifi:?}").contains("sesame"));
    }

    #[test]
    fn what_cannot_be_undone_takes_an_administrator() {
        for kind in ActionKind::ALL {
            let sensitive = matches!(kind, ActionKind::ClearAppData | ActionKind::Exec | ActionKind::RotateKey);
            assert_eq!(Role::Operator.allows(kind.permission()), !sensitive, "{kind:?}");
            assert!(Role::Admin.allows(kind.permission()) && !Role::Viewer.allows(kind.permission()), "{kind:?}");
        }
    }

    #[test]
    fn an_expiry_has_limits() {
        let now = chrono::DateTime::from_timestamp(0, 0).unwrap();
        let lasts = |asked_s| expiry(now, asked_s, 600, 86_400).map(|at| at.timestamp());
        assert_eq!(lasts(None), Ok(600));
        assert_eq!(lasts(Some(86_400)), Ok(86_400));
        for bad in [0, -5, 86_401] {
            assert_eq!(lasts(Some(bad)).unwrap_err().field, "expires_in_s");
        }
    }
}
