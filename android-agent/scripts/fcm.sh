#!/usr/bin/env bash
# Tests the module fcm and builds the release with it for a made-up Firebase project, in app/target/apk-release-fcm: shrunk, measured, signed,
# verified. Run after build.sh, whose results it leaves alone.
#
# Leaves all that out, and says so, where Maven's repositories lack Google's libraries; NEXMDM_AGENT_REQUIRE_FCM=1 makes that an error.
# With NEXMDM_AGENT_GOOGLE_SERVICES there is nothing to do: build.sh did it, for the project given.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
if [ -n "$google_services" ]; then
    say "FCM: build.sh has tested it and built it in"
    exit 0
fi
if ! resolved=$(maven -q -Pfcm -pl fcm/libraries initialize 2>&1); then
    # Anything else that is wrong is no reason to go on.
    grep -qE 'Could not (find|resolve|transfer)' <<<"$resolved" || fail "FCM: $resolved"
    [ "${NEXMDM_AGENT_REQUIRE_FCM:-}" != 1 ] || fail "FCM: Maven's repositories lack Google's libraries: $resolved"
    say "WARNING: FCM was neither built nor tested: Maven's repositories lack Google's libraries: $(grep -m 1 -E 'Could not' <<<"$resolved")"
    exit 0
fi
export NEXMDM_AGENT_GOOGLE_SERVICES=$fcm_dir/src/test/resources/google-services.json
export NEXMDM_AGENT_APK_DIR=$app_dir/target/apk-release-fcm
version=$("$scripts_dir/version.sh")
rm -rf "$fcm_dir/target/libs" "$fcm_dir"/target/fcm-*.jar
# The tests of the other modules have been run.
maven -Pfcm -pl core,app,fcm/libraries,fcm package -DskipTests -Dmaven.test.skip=true -Dfcm.skipTests=false \
    -Dagent.versionCode="$(field version_code <<<"$version")" -Dagent.versionName="$(field version_name <<<"$version")"
if refusal=$(NEXMDM_AGENT_PACKAGE=com.example.absent "$scripts_dir/package.sh" release 2>&1); then
    fail "FCM: packaged for a package that the Firebase project does not have"
fi
grep -q 'com\.example\.absent' <<<"$refusal" || fail "FCM: the refusal does not name the package: $refusal"
"$scripts_dir/package.sh" release
"$scripts_dir/gates.sh" release
apk=$NEXMDM_AGENT_APK_DIR/nexmdm-agent-fcm.apk
"$scripts_dir/sign.sh" "$NEXMDM_AGENT_APK_DIR/unsigned.apk" "$apk"
facts=$("$scripts_dir/verify.sh" "$apk")
say "FCM: $(tr '\n' ' ' <<<"$facts")"
