//! The code that a factory-new device scans: Android's provisioning payload, and its picture.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Invalid, text};
use qrcode::{Color, EcLevel, QrCode};
use serde_json::{Value, json};
use std::fmt::Write;

use super::ADMIN_COMPONENT;

/// Light modules around the code (ISO/IEC 18004 asks for four).
const QUIET_ZONE: usize = 4;
/// Longest name of a Wi-Fi network, in bytes (IEEE 802.11).
const SSID_MAX_BYTES: usize = 32;
/// Longest password of a Wi-Fi network: a passphrase has 8 to 63 characters, a key 64.
const WIFI_PASSWORD_MAX_CHARS: usize = 64;

/// Security of a Wi-Fi network, as Android's provisioning names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WifiSecurity {
    /// No security.
    None,
    /// WPA, WPA2 or WPA3 with a password.
    Wpa,
    /// WEP.
    Wep,
}

/// A Wi-Fi network that the device joins before anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wifi {
    /// Name.
    pub ssid: String,
    /// Security.
    pub security: WifiSecurity,
    /// Password.
    pub password: Option<String>,
    /// Whether it does not announce its name.
    pub hidden: bool,
}

impl Wifi {
    /// A network whose values fit together.
    ///
    /// # Errors
    /// Names the field that is out of its limits, missing or superfluous.
    pub fn checked(ssid: String, security: Option<&str>, password: Option<String>, hidden: bool) -> Result<Self, Invalid> {
        text::line("wifi.ssid", &ssid, SSID_MAX_BYTES)?;
        if ssid.is_empty() || ssid.len() > SSID_MAX_BYTES {
            return Err(Invalid::new("wifi.ssid", format!("must have 1..{SSID_MAX_BYTES} bytes")));
        }
        let password = password.filter(|password| !password.is_empty());
        let security = match security {
            None if password.is_some() => WifiSecurity::Wpa,
            None | Some("none") => WifiSecurity::None,
            Some("wpa") => WifiSecurity::Wpa,
            Some("wep") => WifiSecurity::Wep,
            Some(_) => return Err(Invalid::new("wifi.security", "not one of none, wpa, wep")),
        };
        match (&password, security) {
            (Some(_), WifiSecurity::None) => return Err(Invalid::new("wifi.password", "must be empty for a network without security")),
            (None, WifiSecurity::Wpa | WifiSecurity::Wep) => return Err(Invalid::new("wifi.password", "required for this security")),
            (Some(password), _) => text::opaque("wifi.password", password, WIFI_PASSWORD_MAX_CHARS)?,
            (None, _) => {}
        }
        Ok(Self { ssid, security, password, hidden })
    }
}

/// Content of a QR code.
pub struct Provisioning<'a> {
    /// URL of the server for the device.
    pub server_url: &'a str,
    /// Download address.
    pub apk_url: &'a str,
    /// SHA-256 of the certificate that signed the APK.
    pub signer_sha256: &'a [u8; 32],
    /// The token it enrolls with.
    pub token: &'a str,
    /// The network it joins first.
    pub wifi: Option<&'a Wifi>,
}

/// The payload, after `android.app.admin.DevicePolicyManager`: the extras named
/// `EXTRA_PROVISIONING_*` (<https://developer.android.com/reference/android/app/admin/DevicePolicyManager>).
/// The checksum is that of the signer, not of the file, so that a code survives updates of the APK.
pub fn payload(wanted: &Provisioning<'_>) -> Value {
    const EXTRA: &str = "android.app.extra.PROVISIONING_";
    let mut payload = serde_json::Map::new();
    let mut put = |name: &str, value: Value| drop(payload.insert(format!("{EXTRA}{name}"), value));
    put("DEVICE_ADMIN_COMPONENT_NAME", json!(ADMIN_COMPONENT));
    put("DEVICE_ADMIN_PACKAGE_DOWNLOAD_LOCATION", json!(wanted.apk_url));
    put("DEVICE_ADMIN_SIGNATURE_CHECKSUM", json!(URL_SAFE_NO_PAD.encode(wanted.signer_sha256)));
    put("LEAVE_ALL_SYSTEM_APPS_ENABLED", json!(true));
    put("ADMIN_EXTRAS_BUNDLE", json!({"server_url": wanted.server_url, "enrollment_token": wanted.token}));
    if let Some(wifi) = wanted.wifi {
        put("WIFI_SSID", json!(wifi.ssid));
        let security = match wifi.security {
            WifiSecurity::None => "NONE",
            WifiSecurity::Wpa => "WPA",
            WifiSecurity::Wep => "WEP",
        };
        put("WIFI_SECURITY_TYPE", json!(security));
        if let Some(password) = &wifi.password {
            put("WIFI_PASSWORD", json!(password));
        }
        if wifi.hidden {
            put("WIFI_HIDDEN", json!(true));
        }
    }
    Value::Object(payload)
}

/// A code of `text` as SVG: black on a white plate with its quiet zone, whatever is around it.
///
/// # Errors
/// The text does not fit into a code (2,953 bytes).
pub fn picture(text: &str) -> Result<String, Invalid> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)
        .map_err(|_| Invalid::new("server_url", "the payload does not fit into a QR code; use a shorter address"))?;
    let (width, modules) = (code.width(), code.to_colors());
    let whole = width + 2 * QUIET_ZONE;
    let mut path = String::new();
    for (y, row) in modules.chunks(width).enumerate() {
        let mut x = 0;
        while x < width {
            let run = row[x..].iter().take_while(|module| **module == Color::Dark).count();
            if run > 0 {
                // Writing to a String does not fail.
                let _ = write!(path, "M{} {}h{run}v1h-{run}z", x + QUIET_ZONE, y + QUIET_ZONE);
            }
            x += run.max(1);
        }
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole} {whole}\" shape-rendering=\"crispEdges\" role=\"img\">\
         <title>Enrollment code</title><path fill=\"#fff\" d=\"M0 0h{whole}v{whole}H0z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_android_asks_for() {
        let wifi = Wifi::checked("shop".into(), None, Some("secret pass".into()), true).unwrap();
        let wanted = Provisioning {
            server_url: "https://mdm.example",
            apk_url: "https://mdm.example/v1/agent/apk?expires=1&signature=ab",
            signer_sha256: &[0xfb; 32],
            token: "t",
            wifi: Some(&wifi),
        };
        let expected = json!({
            "android.app.extra.PROVISIONING_DEVICE_ADMIN_COMPONENT_NAME": "com.nexmdm/.NexDeviceAdminReceiver",
            "android.app.extra.PROVISIONING_DEVICE_ADMIN_PACKAGE_DOWNLOAD_LOCATION": "https://mdm.example/v1/agent/apk?expires=1&signature=ab",
            // URL-safe alphabet, no padding.
            "android.app.extra.PROVISIONING_DEVICE_ADMIN_SIGNATURE_CHECKSUM": "-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s",
            "android.app.extra.PROVISIONING_LEAVE_ALL_SYSTEM_APPS_ENABLED": true,
            "android.app.extra.PROVISIONING_ADMIN_EXTRAS_BUNDLE": {"server_url": "https://mdm.example", "enrollment_token": "t"},
            "android.app.extra.PROVISIONING_WIFI_SSID": "shop",
            "android.app.extra.PROVISIONING_WIFI_SECURITY_TYPE": "WPA",
            "android.app.extra.PROVISIONING_WIFI_PASSWORD": "secret pass",
            "android.app.extra.PROVISIONING_WIFI_HIDDEN": true,
        });
        assert_eq!(payload(&wanted), expected);
    }

    #[test]
    fn a_network_names_the_field_that_is_wrong() {
        let field = |ssid: &str, security: Option<&str>, password: Option<&str>| {
            Wifi::checked(ssid.into(), security, password.map(str::to_owned), false).map_err(|invalid| invalid.field)
        };
        assert_eq!(field("open", None, None).unwrap().security, WifiSecurity::None);
        assert_eq!(field("", None, None).unwrap_err(), "wifi.ssid");
        assert_eq!(field(&"é".repeat(17), None, None).unwrap_err(), "wifi.ssid");
        assert_eq!(field("a", Some("eap"), None).unwrap_err(), "wifi.security");
        assert_eq!(field("a", Some("wpa"), None).unwrap_err(), "wifi.password");
        assert_eq!(field("a", Some("none"), Some("x")).unwrap_err(), "wifi.password");
        assert_eq!(field("a", Some("wep"), Some(&"x".repeat(65))).unwrap_err(), "wifi.password");
    }

    #[test]
    fn a_picture_draws_every_dark_module_on_a_white_plate() {
        let svg = picture("hello").unwrap();
        // Version 1 has 21 modules a side; its upper left corner is a finder pattern, 7 dark modules wide.
        assert!(svg.contains("viewBox=\"0 0 29 29\"") && svg.contains("M0 0h29v29H0z") && svg.contains("M4 4h7v1h-7z"), "{svg}");
        let code = QrCode::with_error_correction_level("hello", EcLevel::L).unwrap();
        let dark = code.to_colors().iter().filter(|module| **module == Color::Dark).count();
        let drawn: usize = svg
            .split("h")
            .filter_map(|part| part.split_once("v1h").or(part.split_once("v1")).and_then(|(run, _)| run.parse::<usize>().ok()))
            .sum();
        assert_eq!(drawn, dark);
        assert!(picture(&"x".repeat(3000)).is_err());
    }
}
