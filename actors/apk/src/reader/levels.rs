//! Numbers of the manifest that decide where an APK installs: its API levels and its version code, whether they stand there themselves or
//! as a resource.

use domain::Invalid;

use super::manifest::{Manifest, Value};
use super::refused;
use super::resources::Resources;

/// API levels and version code of an APK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Levels {
    /// Oldest API level.
    pub(super) min_sdk: Option<i32>,
    /// API level that it was made for.
    pub(super) target_sdk: Option<i32>,
    /// Version code, the major part included.
    pub(super) version_code: i64,
}

/// Reads the numbers.
///
/// # Errors
/// Names `apk` and the attribute: it is a code name, no number, out of range, or a resource that is not in the APK or that differs by
/// device. None of them may count as if it were not there.
pub(super) fn read(manifest: &Manifest, resources: &Resources<'_>) -> Result<Levels, Invalid> {
    let level = |attribute, value: &Option<Value>| value.as_ref().map(|value| level(attribute, value, resources)).transpose();
    let min_sdk = level("android:minSdkVersion", &manifest.min_sdk)?;
    let target_sdk = level("android:targetSdkVersion", &manifest.target_sdk)?;
    let max_sdk = level("android:maxSdkVersion", &manifest.max_sdk)?;
    if let (Some(max), least) = (max_sdk, min_sdk.unwrap_or(1))
        && max < least
    {
        return Err(refused(format!("no device installs it: android:maxSdkVersion is {max}, and android:minSdkVersion {least}")));
    }
    let code = |attribute, value: &Option<Value>| value.as_ref().map(|value| number(attribute, value, resources)).transpose();
    let version_code = code("android:versionCode", &manifest.version_code)?;
    let version_code = version_code.ok_or_else(|| refused("the manifest has no android:versionCode"))?;
    let major = code("android:versionCodeMajor", &manifest.version_code_major)?.unwrap_or_default();
    if !(0..=i64::from(i32::MAX)).contains(&major) {
        return Err(refused("android:versionCodeMajor is out of range"));
    }
    // As PackageInfo.getLongVersionCode() has it: the major part in the upper half.
    Ok(Levels { min_sdk, target_sdk, version_code: major << 32 | version_code })
}

/// An API level.
fn level(attribute: &str, value: &Value, resources: &Resources<'_>) -> Result<i32, Invalid> {
    match constant(attribute, value, resources)? {
        Value::Number(level) => i32::try_from(level).map_err(|_| out_of_range(attribute)),
        Value::Text(text) => text.parse().map_err(|_| {
            refused(format!(
                "built for a preview of Android ({attribute} is {}), which devices with a released version refuse; build with the number of \
                 a released API level",
                super::line(&text)
            ))
        }),
        _ => Err(refused(format!("{attribute} is not a number"))),
    }
}

/// Half of a version code.
fn number(attribute: &str, value: &Value, resources: &Resources<'_>) -> Result<i64, Invalid> {
    match constant(attribute, value, resources)? {
        Value::Number(number) => Ok(i64::from(number)),
        // Some tools write numbers as text.
        Value::Text(text) => text.parse::<u32>().map(i64::from).map_err(|_| refused(format!("{attribute} is not a number"))),
        _ => Err(refused(format!("{attribute} is not a number"))),
    }
}

/// What an attribute stands for on every device.
fn constant(attribute: &str, value: &Value, resources: &Resources<'_>) -> Result<Value, Invalid> {
    resources.constant(value).ok_or_else(|| {
        refused(format!(
            "{attribute} is a resource that is not in the APK, or that has other values on other devices; build with the number itself"
        ))
    })
}

fn out_of_range(attribute: &str) -> Invalid {
    refused(format!("{attribute} is out of range"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::Deadline;
    use super::*;

    /// A resource table of the package 0x7f with one kind (1), and for each of its entries a value in every configuration; the version of
    /// Android of a configuration is its place.
    fn table(configurations: &[&[(u8, u32)]]) -> Vec<u8> {
        let chunk = |kind: u16, head: &[u8], body: &[u8]| {
            let head_size = 8 + head.len();
            let mut bytes = kind.to_le_bytes().to_vec();
            bytes.extend(u16::try_from(head_size).unwrap().to_le_bytes());
            bytes.extend(u32::try_from(head_size + body.len()).unwrap().to_le_bytes());
            bytes.extend(head);
            bytes.extend(body);
            bytes
        };
        let types = configurations.iter().enumerate().map(|(at, values)| {
            let count = u32::try_from(values.len()).unwrap();
            let config_size = 64_u32;
            let entries_start = 8 + 12 + config_size + 4 * count;
            let mut head = vec![1, 0, 0, 0];
            head.extend(count.to_le_bytes());
            head.extend(entries_start.to_le_bytes());
            let mut config = config_size.to_le_bytes().to_vec();
            config.resize(config_size as usize, 0);
            // sdkVersion of ResTable_config.
            config[24] = at as u8;
            head.extend(config);
            let mut body: Vec<u8> = (0..count).flat_map(|n| (n * 16).to_le_bytes()).collect();
            for (kind, data) in *values {
                body.extend([8, 0, 0, 0, 0, 0, 0, 0]);
                body.extend([8, 0, 0, *kind]);
                body.extend(data.to_le_bytes());
            }
            chunk(0x0201, &head, &body)
        });
        let types: Vec<u8> = types.flatten().collect();
        let mut head = 0x7f_u32.to_le_bytes().to_vec();
        head.resize(280, 0);
        chunk(0x0002, &1_u32.to_le_bytes(), &chunk(0x0200, &head, &types))
    }

    const INT: u8 = 0x10;
    const REFERENCE: u8 = 0x01;

    fn entry(n: u32) -> Option<Value> {
        Some(Value::Reference(0x7f01_0000 + n))
    }

    fn manifest() -> Manifest {
        Manifest { version_code: Some(Value::Number(7)), ..Manifest::default() }
    }

    fn read_with(manifest: &Manifest, table: &[u8]) -> Result<Levels, String> {
        let resources = Resources::read(table, Deadline(Instant::now() + Duration::from_secs(60))).unwrap();
        read(manifest, &resources).map_err(|invalid| invalid.problem)
    }

    #[test]
    fn a_resource_is_what_it_stands_for() {
        let table = table(&[&[(INT, 29), (REFERENCE, 0x7f01_0000), (INT, 1 << 20)]]);
        let of = |min, code| read_with(&Manifest { min_sdk: min, target_sdk: entry(1), version_code: code, ..manifest() }, &table);
        let levels = Levels { min_sdk: Some(29), target_sdk: Some(29), version_code: 1 << 20 };
        assert_eq!(of(entry(0), entry(2)), Ok(levels));
        assert_eq!(of(entry(1), entry(2)), Ok(levels), "a reference to a reference");
        let major = Manifest { version_code_major: entry(0), ..manifest() };
        assert_eq!(read_with(&major, &table).unwrap().version_code, 29 << 32 | 7);
        // The same on every device, in whichever configurations.
        let table = self::table(&[&[(INT, 29)], &[(INT, 29)]]);
        assert_eq!(read_with(&Manifest { min_sdk: entry(0), ..manifest() }, &table).unwrap().min_sdk, Some(29));
    }

    #[test]
    fn what_is_there_and_does_not_read_is_refused_and_never_taken_for_absent() {
        let differs = table(&[&[(INT, 21)], &[(INT, 29)]]);
        let loops = table(&[&[(REFERENCE, 0x7f01_0000)]]);
        let framework = Some(Value::Reference(0x0101_0000));
        for (value, table, wanted) in [
            (entry(9), differs.as_slice(), "not in the APK"),
            (entry(0), &differs, "other values on other devices"),
            (entry(0), &loops, "not in the APK"),
            (entry(0), &[], "not in the APK"),
            (framework, &differs, "not in the APK"),
            (Some(Value::Flag(true)), &[], "not a number"),
            (Some(Value::Other), &[], "not a number"),
            (Some(Value::Number(u32::MAX)), &[], "out of range"),
            (Some(Value::Text("Baklava".into())), &[], "preview"),
        ] {
            for (attribute, manifest) in [
                ("android:minSdkVersion", Manifest { min_sdk: value.clone(), ..manifest() }),
                ("android:targetSdkVersion", Manifest { target_sdk: value.clone(), ..manifest() }),
                ("android:maxSdkVersion", Manifest { max_sdk: value.clone(), ..manifest() }),
            ] {
                let problem = read_with(&manifest, table).unwrap_err();
                assert!(problem.contains(attribute) && problem.contains(wanted), "{value:?}: {problem}");
            }
        }
        for (value, wanted) in [(entry(9), "not in the APK"), (Some(Value::Other), "not a number"), (None, "no android:versionCode")] {
            let problem = read_with(&Manifest { version_code: value, ..manifest() }, &differs).unwrap_err();
            assert!(problem.contains("android:versionCode") && problem.contains(wanted), "{problem}");
        }
    }

    #[test]
    fn levels_that_no_device_has_are_refused() {
        let of =
            |min, max| read_with(&Manifest { min_sdk: Some(Value::Number(min)), max_sdk: Some(Value::Number(max)), ..manifest() }, &[]);
        assert!(of(26, 26).is_ok());
        assert!(of(26, 25).unwrap_err().contains("no device installs it"));
    }
}
