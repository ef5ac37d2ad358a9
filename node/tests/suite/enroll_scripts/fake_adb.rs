//! A laptop with an `adb` that reaches fake devices: each has a shell with its own `pm`, `dpm`, `am` and so on,
//! keeps state, and misbehaves on demand. Its agent registers with the real server.

use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use chaos::harness::TempDir;
use tokio::process::Command;

/// How long a script may take.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);

/// `adb` itself. `shell` runs its words in a shell whose commands are the device's.
const ADB: &str = r#"#!/bin/bash
PATH=/usr/bin:/bin
root='@ROOT@'
printf '%s\n' "$*" >>"$root/arguments"
printf '%s\n' "$*" >>"$root/calls"
if [ -e "$root/adb_broken" ]; then echo 'cannot execute' >&2; exit 1; fi
if [ -e "$root/noise" ]; then
    echo "ERROR: ld.so: object 'libhook.so' from LD_PRELOAD cannot be preloaded (cannot open shared object file): ignored." >&2
    echo 'adb: /lib/x86_64-linux-gnu/libusb-1.0.so.0: no version information available (required by adb)' >&2
fi
serial=
if [ "$1" = -s ]; then serial=$2; shift 2; fi
export FAKE="$root/devices.d/$serial"
fault=$(cat "$FAKE/fault" 2>/dev/null)
case "$1" in
    version)
        [ -e "$root/noise" ] && echo 'adb server version (40) does not match this client (41); killing...' >&2
        echo 'Android Debug Bridge version 1.0.41'
        echo 'Version 35.0.2-fake'
        ;;
    devices)
        if [ -e "$root/noise" ]; then
            echo '* daemon not running; starting now at tcp:5037' >&2
            printf 'WARNING: linker: libusb.so has text relocations\n\n'
        fi
        echo '* daemon started successfully'
        echo 'List of devices attached'
        cat "$root/devices" 2>/dev/null
        echo
        ;;
    install)
        echo 'Performing Streamed Install'
        case "$fault" in install:*) echo "adb: failed to install: Failure [${fault#install:}: x]"; exit 1 ;; esac
        cp "$3" "$FAKE/base.apk"
        echo Success
        ;;
    shell)
        shift
        if [ "$fault" = silent ]; then echo "error: device '$serial' not found" >&2; exit 1; fi
        export PATH="$root/device:/usr/bin:/bin"
        if [ -e "$root/noise" ]; then
            # Of the shell itself, and of each program that it starts.
            printf 'WARNING: linker: Warning: "/system/lib64/libx.so" unused DT entry: type 0x1d arg 0x33 (ignoring)\r\n'
            echo 'WARNING: linker: Warning: "/system/lib64/liby.so" unused DT entry (ignoring)' >&2
        fi
        if [ "$*" = sh ]; then
            text=$(cat)
            printf '%s\n' "$text" >>"$root/calls"
            printf '%s\n' "$text" | sh
        else
            sh -c "$*"
        fi
        ;;
    *) echo "adb: unknown command $1" >&2; exit 1 ;;
esac
"#;

/// The device's commands; `$FAKE` is its folder.
const DEVICE: [(&str, &str); 6] = [
    ("getprop", r#"if grep -qx old "$FAKE/fault"; then echo 25; else echo 33; fi"#),
    (
        "dumpsys",
        r#"case "$1" in
    device_policy)
        echo 'Current Device Policy Manager state:'
        owner=$(cat "$FAKE/owner" 2>/dev/null)
        grep -qx other_owner "$FAKE/fault" && owner=com.other
        if [ -n "$owner" ]; then printf '  Device Owner: \n    admin=ComponentInfo{%s/%s.Admin}\n    name=\n' "$owner" "$owner"; fi
        grep -qx profile_owner "$FAKE/fault" && printf '  Profile Owner (User 10): \n    admin=ComponentInfo{com.work/com.work.Admin}\n'
        ;;
    account)
        echo 'User UserInfo{0:Owner:c13}:'
        if grep -qx account "$FAKE/fault"; then printf '  Accounts: 1\n    Account {name=a@example.com, type=com.google}\n'; else echo '  Accounts: 0'; fi
        ;;
    deviceidle)
        case "$3" in
            +*) if grep -qx doze "$FAKE/fault"; then echo 'Unknown package'; else echo "user,${3#+},10123" >"$FAKE/doze"; echo "Added: ${3#+}"; fi ;;
            *) echo 'system,com.android.shell,2000'; cat "$FAKE/doze" 2>/dev/null ;;
        esac
        ;;
esac
exit 0"#,
    ),
    (
        "pm",
        r#"case "$1" in
    list)
        printf 'Users:\n\tUserInfo{0:Owner:c13} running\n'
        grep -qx second_user "$FAKE/fault" && printf '\tUserInfo{10:Work:1030}\n'
        ;;
    path) if [ -e "$FAKE/base.apk" ]; then echo "package:$FAKE/base.apk"; else exit 1; fi ;;
    grant)
        if grep -qx grant "$FAKE/fault"; then echo 'java.lang.SecurityException: grantRuntimePermission' >&2; exit 255; fi
        if grep -qx grant_unwanted "$FAKE/fault"; then
            echo "Exception: java.lang.SecurityException: Package $2 has not requested permission $3" >&2
            exit 255
        fi
        ;;
esac
exit 0"#,
    ),
    ("appops", r#"if grep -qx operation "$FAKE/fault"; then echo 'Error: Unknown operation string'; exit 255; fi"#),
    (
        "dpm",
        r#"fault=$(cat "$FAKE/fault" 2>/dev/null)
case "$fault" in owner:*) echo "java.lang.IllegalStateException: Not allowed to set the device owner ${fault#owner:}" >&2; exit 1 ;; esac
[ -e "$FAKE/base.apk" ] || { echo 'Error: Unknown admin' >&2; exit 1; }
echo com.nexmdm >"$FAKE/owner"
echo "Success: Device owner set to package $4""#,
    ),
    (
        "am",
        r#"mkdir -p "$FAKE/handed"
rm -f "$FAKE"/handed/*
component=
action=
while [ $# -gt 0 ]; do
    case "$1" in
        --es) printf %s "$3" >"$FAKE/handed/$2"; shift 2 ;;
        -a) action=$2; shift ;;
        -n) component=$2; shift ;;
    esac
    shift
done
fault=$(cat "$FAKE/fault" 2>/dev/null)
echo "Broadcasting: Intent { act=$action flg=0x30 cmp=$component (has extras) }"
if [ "$action" != com.nexmdm.ENROLL ] || [ "$component" != com.nexmdm/.EnrollReceiver ] || [ "$fault" = receiver ]; then
    echo 'Broadcast completed: result=0'
    exit 0
fi
if [ "$fault" = receiver_foreign ]; then echo 'Broadcast completed: result=3, data="enrolled with https://other.example"'; exit 0; fi
if [ -e "$FAKE/identity" ]; then echo 'Broadcast completed: result=2, data="enrolled"'; exit 0; fi
if [ ! -s "$FAKE/handed/enrollment_token" ]; then echo 'Broadcast completed: result=4, data="no token"'; exit 0; fi
echo 'Broadcast completed: result=1, data="accepted"'
[ "$fault" = unregistered ] && exit 0
(
    url=$(cat "$FAKE/handed/server_url")
    json='Content-Type: application/json'
    told=$(curl -s -m 20 -H "Authorization: Bearer $(cat "$FAKE/handed/enrollment_token")" -H "$json" -d '{"model":"fake"}' "$url/v1/register")
    token=$(printf %s "$told" | sed -n 's/.*"device_token":"\([^"]*\)".*/\1/p')
    [ -n "$token" ] || exit
    printf %s "$token" >"$FAKE/identity"
    [ "$fault" = heartbeatless ] || curl -s -m 20 -H "Authorization: Bearer $token" -H "$json" -d '{"battery":{"pct":80}}' "$url/v1/heartbeat"
) </dev/null >/dev/null 2>&1 &
exit 0"#,
    ),
];

/// Programs that scripts use besides `adb` and the one they fetch with.
const TOOLS: [&str; 17] =
    ["bash", "sh", "sed", "grep", "tr", "cut", "head", "tail", "cat", "mktemp", "rm", "mv", "sha256sum", "printf", "sleep", "env", "true"];

/// Programs that warn of a library on each call, and work.
const NOISY: [(&str, &str); 3] = [
    (
        "curl",
        "#!/bin/sh\necho 'curl: /usr/lib/libcurl.so.4: no version information available (required by curl)' >&2\nexec /usr/bin/curl \"$@\"\n",
    ),
    ("sed", "#!/bin/sh\necho 'sed: cannot change locale (de_DE.UTF-8)' >&2\nexec /bin/sed \"$@\"\n"),
    ("sha256sum", "#!/bin/sh\necho 'ERROR: ld.so: object libhook.so from LD_PRELOAD: ignored.' >&2\nexec /usr/bin/sha256sum \"$@\"\n"),
];

/// The computer that a person enrolls from.
pub(crate) struct Laptop {
    folder: TempDir,
}

/// Outcome of a script's run.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
    /// Every call of adb, with what was typed into the device's shell.
    pub(crate) calls: String,
    /// The arguments alone, as any process of the computer sees them.
    pub(crate) arguments: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n{}\n{}\ncalls:\n{}", self.code, self.output, self.errors, self.calls)
    }
}

impl Laptop {
    pub(crate) fn new() -> Self {
        let laptop = Self { folder: TempDir::new("laptop").unwrap() };
        for folder in ["bin", "device", "devices.d", "tmp", "with-curl", "with-wget", "with-noise"] {
            fs::create_dir(laptop.path(folder)).unwrap();
        }
        let root = laptop.folder.path().to_str().unwrap().to_owned();
        laptop.program("bin/adb", &ADB.replace("@ROOT@", &root));
        for (name, body) in DEVICE {
            laptop.program(&format!("device/{name}"), &format!("#!/bin/sh\n{body}\n"));
        }
        for (name, text) in NOISY {
            laptop.program(&format!("with-noise/{name}"), text);
        }
        for (folder, fetcher) in [("with-curl", "curl"), ("with-wget", "wget")] {
            for tool in TOOLS.into_iter().chain([fetcher]) {
                let found = ["/usr/bin", "/bin"].map(|place| PathBuf::from(place).join(tool)).into_iter().find(|path| path.exists());
                symlink(found.unwrap_or_else(|| panic!("{tool} is not installed")), laptop.path(folder).join(tool)).unwrap();
            }
        }
        laptop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.file(name, text.as_bytes());
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A file, new or replaced.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Connects a factory-new device, in this state of adb.
    pub(crate) fn plug(&self, serial: &str, state: &str) {
        let known = fs::read_to_string(self.path("devices")).unwrap_or_default();
        self.file("devices", format!("{known}{serial}\t{state}\n").as_bytes());
        fs::create_dir_all(self.path(&format!("devices.d/{serial}"))).unwrap();
        self.fault_of(serial, "");
    }

    /// Makes the device A1, or adb itself, misbehave.
    pub(crate) fn fault(&self, fault: &str) {
        match fault {
            "adb_broken" | "noise" => drop(self.file(fault, b"")),
            fault => self.fault_of("A1", fault),
        }
    }

    /// Makes a device misbehave.
    pub(crate) fn fault_of(&self, serial: &str, fault: &str) {
        self.file(&format!("devices.d/{serial}/fault"), fault.as_bytes());
    }

    /// Unplugs and forgets every device.
    pub(crate) fn reset(&self) {
        for file in ["devices", "adb_broken", "noise"] {
            let _ = fs::remove_file(self.path(file));
        }
        fs::remove_dir_all(self.path("devices.d")).unwrap();
        fs::create_dir(self.path("devices.d")).unwrap();
    }

    /// Last settings that the agent of a device was handed.
    pub(crate) fn handed(&self, serial: &str, extra: &str) -> String {
        fs::read_to_string(self.path(&format!("devices.d/{serial}/handed/{extra}"))).unwrap_or_default()
    }

    pub(crate) async fn run(&self, script: &str, arguments: &[&str]) -> Outcome {
        self.run_with(script, arguments, &["bin", "with-curl"]).await
    }

    pub(crate) async fn run_with_wget(&self, script: &str) -> Outcome {
        self.run_with(script, &[], &["bin", "with-wget"]).await
    }

    /// On a computer whose programs warn of their libraries.
    pub(crate) async fn run_with_noise(&self, script: &str, arguments: &[&str]) -> Outcome {
        self.run_with(script, arguments, &["bin", "with-noise", "with-curl"]).await
    }

    pub(crate) async fn run_without_adb(&self, script: &str) -> Outcome {
        self.run_with(script, &[], &["with-curl"]).await
    }

    pub(crate) async fn run_without_adb_dry(&self, script: &str) -> Outcome {
        self.run_with(script, &["--dry-run"], &["with-curl"]).await
    }

    async fn run_with(&self, script: &str, arguments: &[&str], places: &[&str]) -> Outcome {
        let file = self.file("enroll.sh", script.as_bytes());
        for log in ["calls", "arguments"] {
            self.file(log, b"");
        }
        let path = places.iter().map(|place| self.path(place).to_str().unwrap().to_owned()).collect::<Vec<_>>().join(":");
        let running = Command::new("/bin/bash")
            .arg(&file)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let out = tokio::time::timeout(SCRIPT_TIMEOUT, running).await.expect("the script ends").unwrap();
        let left: Vec<_> = fs::read_dir(self.path("tmp")).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "files are left behind: {left:?}");
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        Outcome {
            code: out.status.code().unwrap_or(-1),
            output: String::from_utf8(out.stdout).unwrap(),
            errors: String::from_utf8(out.stderr).unwrap(),
            calls: read("calls"),
            arguments: read("arguments"),
        }
    }
}

fn sized(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
}

/// A ZIP file with nothing in it but a signature of scheme v2 by this certificate
/// (<https://source.android.com/docs/security/features/apksigning/v2>).
pub(crate) fn apk(certificate: &[u8]) -> Vec<u8> {
    let digest = sized(&[&0x0103u32.to_le_bytes(), &sized(&[&[7; 32]])]);
    let signed_data = sized(&[&sized(&[&digest]), &sized(&[&sized(&[certificate])]), &sized(&[])]);
    let signature = sized(&[&0x0103u32.to_le_bytes(), &sized(&[&[9; 64]])]);
    let value = sized(&[&sized(&[&signed_data, &sized(&[&signature]), &sized(&[&[5; 16]])])]);
    let pair = [&(value.len() as u64 + 4).to_le_bytes()[..], &0x7109_871au32.to_le_bytes(), &value].concat();
    let block_size = (pair.len() as u64 + 24).to_le_bytes();
    let entries = [&b"PK\x03\x04"[..], &[0; 26]].concat();
    let block = [&block_size[..], &pair, &block_size, b"APK Sig Block 42"].concat();
    let directory = [&b"PK\x01\x02"[..], &[0; 42]].concat();
    let directory_at = u32::try_from(entries.len() + block.len()).unwrap();
    let end = [&b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..], &46u32.to_le_bytes(), &directory_at.to_le_bytes(), &[0, 0]].concat();
    [entries, block, directory, end].concat()
}
