#!/usr/bin/env bash
# Shrinks core and host with the rules of the APK into a JVM jar and lets it enroll, report and run a command against a stand-in of a node.
# A dex cannot be run here; this shows that the rules keep what the core needs. Run after `mvn package`.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
work=$agent_dir/host/target/shrunk
rm -rf "$work" && mkdir -p "$work/jars" "$work/only-host"
# What the APK has is shrunk; what the host alone has stays a library.
mapfile -t program < <(program_jars | grep -vE '/(app-[^/]*|kotlinx-coroutines-android[^/]*)\.jar$')
host_classes=$agent_dir/host/target/host-1.jar
[ -f "$host_classes" ] || fail "no $host_classes: run build.sh"
for jar in "$agent_dir"/host/target/libs/*.jar; do
    name=$(basename "$jar")
    case " $(basename -a "${program[@]}" | tr '\n' ' ') " in *" $name "*) ;; *) cp "$jar" "$work/only-host/" ;; esac
done
libraries=()
for jar in "$work"/only-host/*.jar; do libraries+=(--classpath "$jar"); done
cat >"$work/host.pro" <<'RULES'
-keep class com.nexmdm.host.MainKt { public static void main(java.lang.String[]); }
RULES
r8 R8 --release --classfile --lib "$android_jar" --lib "$(jdk_home)" "${libraries[@]}" --pg-conf "$app_dir/r8.pro" --pg-conf "$work/host.pro" \
    --pg-map-output "$work/mapping.txt" --output "$work/shrunk.jar" "$host_classes" "${program[@]}"
class_path=$work/shrunk.jar$(printf ':%s' "$work"/only-host/*.jar)
usage=$(java -cp "$class_path" com.nexmdm.host.MainKt 2>&1) && fail "the shrunk host starts without arguments"
grep -q '^usage: ' <<<"$usage" || fail "the shrunk host does not print how it is used: $usage"
timeout 120 java "$scripts_dir/shrunk-core/NodeStandIn.java" "$work/state" java -cp "$class_path" com.nexmdm.host.MainKt
say "shrunk core: $(stat -c %s "$work/shrunk.jar") bytes, enrolls, reports and runs a command"
