//! Table of the actions: each row declares one with its parameters, permission and words.

use super::{ActionSpec, Param, Values, WifiSecurity};
use crate::Invalid;
use crate::param::{ParamKind, ParamSpec, ParamValue};

/// Longest intent, in characters.
const INTENT_MAX_CHARS: usize = 500;
/// Longest name of an SSID, in bytes (IEEE 802.11, section 9.4.2.2).
const SSID_MAX_BYTES: usize = 32;
/// Lengths of a WPA passphrase, in characters (IEEE 802.11, annex J.4.1).
const PASSPHRASE: ParamKind = ParamKind::Text { min_chars: 8, max_chars: 63 };

const PACKAGE: ParamSpec = ParamSpec::new(ParamKind::Package).hint("package name").example("com.example.kiosk");

actions! {
    /// Reply.
    Ping => ActionSpec::new("ping", "Ping", "Checks whether the device responds.");
    /// Ring, so that the device can be found.
    Ring {
        duration_s: u32 = "Duration", ParamSpec::integer(1, 300).unit("s").or(10);
    } => ActionSpec::new("ring", "Ring", "Plays a sound, so that the device can be found.");
    /// Turn the screen on.
    Wake => ActionSpec::new("wake", "Wake screen", "Turns the screen on.");
    /// Send a heartbeat now.
    Sync => ActionSpec::new("sync", "Sync now", "Makes the device send a heartbeat now.").collapses();
    /// Bring an app to the front.
    LaunchApp {
        package: String = "App", PACKAGE;
        intent: Option<String> = "Intent action", ParamSpec::new(ParamKind::Text { min_chars: 1, max_chars: INTENT_MAX_CHARS })
            .optional().hint("empty: the launcher intent").example("com.example.app.OPEN");
    } => ActionSpec::new("launch_app", "Launch app", "Opens an app in the foreground.");
    /// Force-stop an app and reopen it.
    RestartApp {
        package: String = "App", PACKAGE;
    } => ActionSpec::new("restart_app", "Restart app", "Force-stops and reopens an app.");
    /// Change the monitored app.
    SetMonitoredApp {
        package: String = "App", PACKAGE;
    } => ActionSpec::new("set_monitored_app", "Monitored app", "Changes the app that the device monitors.");
    /// Join a Wi-Fi network.
    WifiConnect {
        ssid: String = "Network name", ParamSpec::new(ParamKind::Bytes { max_bytes: SSID_MAX_BYTES }).verbatim().hint("SSID");
        security: WifiSecurity = "Security", ParamSpec::new(ParamKind::Choice(WifiSecurity::CHOICES)).preset("wpa2");
        password: Option<String> = "Passphrase", ParamSpec::new(PASSPHRASE)
            .unless("security", "open").secret().verbatim().hint("8 to 63 characters; not shown again");
    } => ActionSpec::new("wifi_connect", "Join Wi-Fi", "Connects the device to a Wi-Fi network.");
    /// Set the brightness of the screen.
    SetBrightness {
        level_pct: u32 = "Brightness", ParamSpec::integer(0, 100).unit("%");
    } => ActionSpec::new(
        "set_brightness",
        "Set brightness",
        "Sets the brightness of the screen and turns automatic brightness off.",
    ).device_owner();
    /// Check for an agent update.
    Update => ActionSpec::new("update", "Update agent", "Checks for an agent update now.");
    /// Lock the screen.
    Lock => ActionSpec::new("lock", "Lock screen", "Locks the screen.").asks(
        "Lock the screen of {device}?",
        "The screen is locked immediately. The user has to unlock it.",
    );
    /// Restart the device.
    Reboot => ActionSpec::new("reboot", "Reboot", "Restarts the device.").device_owner().asks(
        "Reboot {device}?",
        "The device restarts immediately. Work in progress is interrupted, and the device is offline for a minute or more.",
    );
    /// Clear the data of an app.
    ClearAppData {
        package: String = "App", PACKAGE;
    } => ActionSpec::new("clear_app_data", "Clear app data", "Erases all data that an app has stored.").sensitive().device_owner().asks(
        "Clear the data of {package} on {device}?",
        "All data of the app on the device is erased: settings, sign-ins, files. This cannot be undone.",
    );
    /// Run an allowed command.
    Exec {
        name: String = "Command", ParamSpec::new(ParamKind::ExecCommand).hint("from the allowed commands");
    } => ActionSpec::new("exec", "Run command", "Runs one of the allowed commands.").sensitive().asks(
        "Run {name} on {device}?",
        "The program runs on the device with the agent's privileges. Its changes cannot be undone from here.",
    );
    /// Rotate the device key.
    RotateKey => ActionSpec::new("rotate_key", "Rotate key", "Replaces the key that signs the device's commands.").sensitive().asks(
        "Rotate the key of {device}?",
        "The device replaces the key that signs its commands. Both keys are valid until the device confirms the new one; then only the new key is.",
    );
}
