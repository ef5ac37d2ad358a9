# Shared by the scripts beside it, which source it: places, messages, Maven.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
export LC_ALL=C TZ=UTC

agent_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
scripts_dir=$agent_dir/scripts
app_dir=$agent_dir/app
fcm_dir=$agent_dir/fcm
out_dir=$agent_dir/out

# Oldest Android API level that the agent runs on.
min_sdk=26

say() { echo "agent: $*" >&2; }
fail() { echo "agent: error: $*" >&2; exit 1; }

# Maven without a terminal and without a daemon that outlives it. NEXMDM_AGENT_MAVEN_ARGS adds words, e.g. `-o` or `-s settings.xml`.
maven() {
    # shellcheck disable=SC2086 # words on purpose
    (cd "$agent_dir" && mvn -B -ntp -Dkotlin.compiler.daemon=false ${NEXMDM_AGENT_MAVEN_ARGS:-} "$@")
}

# A JVM for R8: short-lived, so neither a parallel collector nor the optimizing compiler pays.
r8() { # main class, arguments
    # Not shown: rules of libraries that match nothing here, and resource files that several libraries bring.
    java -Xmx2g -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$app_dir/target/tools/r8.jar" "com.android.tools.r8.$1" \
        --map-diagnostics info none "${@:2}" 2> >(grep -vE "^Warning: Resource '.*' already exists" >&2)
}

# The JDK that holds `java.*`, which the Android platform jar lacks.
jdk_home() { dirname "$(dirname "$(readlink -f "$(command -v javac)")")"; }

# The platform's classes that the agent is compiled against.
android_jar=$app_dir/target/framework/android-all.jar

# google-services.json of the Firebase project that the agent is built for: with it FCM is in the build, without it is not.
google_services=${NEXMDM_AGENT_GOOGLE_SERVICES:-}
if [ -n "$google_services" ]; then
    [ -r "$google_services" ] || fail "NEXMDM_AGENT_GOOGLE_SERVICES cannot be read: $google_services"
    google_services=$(readlink -f "$google_services")
    export NEXMDM_AGENT_GOOGLE_SERVICES=$google_services
fi

# Folder in which the APK of a mode is put together; fcm.sh has one of its own.
apk_dir() { echo "${NEXMDM_AGENT_APK_DIR:-$app_dir/target/apk-$1}"; }

# Mode of a build: debug or release.
check_mode() {
    case "$1" in debug | release) ;; *) fail "no such build: $1 (debug, release)" ;; esac
}

# Fails where a google-services.json does not serve a package. Run after `mvn package`.
check_google_services() { # file, package
    java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$fcm_dir/target/fcm-1.jar:$fcm_dir/target/libs/*" com.nexmdm.fcm.CheckKt "$1" "$2" ||
        fail "the Firebase project does not serve $2"
}

# Jars that become the APK: the app and what it needs at run time.
program_jars() { find "$app_dir/target" -maxdepth 1 -name 'app-*.jar' -print && find "$app_dir/target/libs" -name '*.jar' -print | sort; }

# One field of `name=value` lines on standard input.
field() { sed -n "s/^$1=//p"; }
