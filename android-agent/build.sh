#!/usr/bin/env bash
# From a clone to the agent: build.sh [debug|release] [--no-tests] [--unsigned]
#
#   out/nexmdm-agent-{debug,release}.apk   signed and verified; with digest, version, bill of materials and provenance beside it
#   out/nexmdm-agent-host.jar              the core as a process of the JVM
#
# With NEXMDM_AGENT_GOOGLE_SERVICES, the google-services.json of a Firebase project, push by FCM is in the APK.
#
# Installs missing tools on Debian. --no-tests leaves the tests and the run of the shrunk core out; --unsigned ends before signing. See
# scripts/ for the steps and their variables.
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/scripts/common.sh"
mode=release tests=true signed=true
for word in "$@"; do
    case "$word" in
    --no-tests) tests=false ;;
    --unsigned) tests=false signed=false ;;
    -h | --help) sed -n '2,/^#[^!]*$/{s/^# \{0,1\}//p}' "$0" && exit 0 ;;
    -*) fail "no such option: $word" ;;
    *) mode=$word ;;
    esac
done
check_mode "$mode"
"$agent_dir/../.ci/install-deps" agent

version=$("$scripts_dir/version.sh")
# Left-overs of an earlier build would be packaged with this one, or compared with the next.
rm -rf "$app_dir/target/libs" "$app_dir"/target/app-*.jar "$agent_dir"/host/target/libs "$agent_dir"/host/target/host-*.jar "$fcm_dir/target/libs" "$fcm_dir"/target/fcm-*.jar \
    "$app_dir/target/apk-release-fcm" "$agent_dir"/{core,host,app,fcm}/target/classes
goals=(package -Dagent.versionCode="$(field version_code <<<"$version")" -Dagent.versionName="$(field version_name <<<"$version")")
[ "$tests" = true ] || goals+=(-DskipTests -Dmaven.test.skip=true)
[ -z "$google_services" ] || goals+=(-Pfcm)
maven "${goals[@]}"
mkdir -p "$out_dir"
cp "$agent_dir"/host/target/host-*-all.jar "$out_dir/nexmdm-agent-host.jar"

"$scripts_dir/package.sh" "$mode"
"$scripts_dir/gates.sh" "$mode"
[ "$tests" = false ] || [ "$mode" = debug ] || "$scripts_dir/shrunk-core.sh"
[ "$signed" = true ] || exit 0
unsigned=$(apk_dir "$mode")/unsigned.apk
apk=$out_dir/nexmdm-agent-$mode.apk
"$scripts_dir/sign.sh" "$unsigned" "$apk"
facts=$("$scripts_dir/verify.sh" "$apk")
printf '%s\nunsigned=%s\n' "$facts" "$(sha256sum "$unsigned" | cut -d' ' -f1)" | "$scripts_dir/metadata.sh" "$apk"
say "$(tr '\n' ' ' <<<"$facts")"
say "built: ${apk#"$agent_dir"/} and out/nexmdm-agent-host.jar"
