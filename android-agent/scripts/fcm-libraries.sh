#!/usr/bin/env bash
# Unpacks the AARs in fcm/libraries/target/aar: each to target/unpacked, the classes of all to target/classes. Maven calls it in
# `generate-resources`.
set -euo pipefail
cd "$(dirname "$0")/../fcm/libraries/target"
rm -rf unpacked classes
mkdir classes
for aar in aar/*.aar; do
    folder=unpacked/$(basename "$aar" .aar)
    mkdir -p "$folder"
    unzip -q "$aar" -d "$folder"
    unzip -q -o "$folder/classes.jar" -d classes
    # Read by the shrinker of the Android Gradle plugin alone; it would end up in the APK.
    rm -f "$folder"/res/raw/*_keep.xml
done
# Parts of Firebase that the manifest leaves out (fcm/src/main/AndroidManifest.xml); a rule of the libraries would keep them.
find classes -name 'TransportRegistrar*.class' -delete
find classes -name '*KtxRegistrar*.class' -delete
