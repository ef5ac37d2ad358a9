#!/bin/bash
# Makes the APKs of the tests anew, with throw-away keys: apt-get install aapt apksigner zipalign android-framework-res default-jdk-headless
# The files are committed, so that tests need none of that. New keys give new fingerprints; nothing but the APKs themselves tells them.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
framework=$(find /usr/share /usr/lib -name 'framework-res*.apk' 2>/dev/null | head -1)
pass=(--ks-pass pass:throwaway --key-pass pass:throwaway)

key() { # NAME KEYTOOL-OPTIONS...
    keytool -genkeypair -keystore "$work/$1.jks" -storepass throwaway -keypass throwaway -alias "$1" -dname "CN=$1" -validity 20000 "${@:2}" 2>/dev/null
}
key a -keyalg RSA -keysize 2048
key b -keyalg EC -groupname secp256r1
key c -keyalg RSA -keysize 2048
key agent -keyalg EC -groupname secp256r1

apk() { # FILE PACKAGE VERSION_CODE VERSION_NAME LABEL
    local tree="$work/$1"
    mkdir -p "$tree/res/values" "$tree/res/values-de" "$tree/res/drawable-mdpi" "$tree/res/drawable-xhdpi"
    echo "<resources><string name=\"app_name\">$5</string></resources>" > "$tree/res/values/strings.xml"
    echo "<resources><string name=\"app_name\">$5 auf Deutsch</string></resources>" > "$tree/res/values-de/strings.xml"
    base64 -d <<< "$mdpi" > "$tree/res/drawable-mdpi/icon.png"
    base64 -d <<< "$xhdpi" > "$tree/res/drawable-xhdpi/icon.png"
    cat > "$tree/AndroidManifest.xml" <<XML
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="$2" android:versionCode="$3" android:versionName="$4">
    <uses-sdk android:minSdkVersion="26" android:targetSdkVersion="33"/>
    <application android:label="@string/app_name" android:icon="@drawable/icon" android:hasCode="false"/>
</manifest>
XML
    aapt package -f -M "$tree/AndroidManifest.xml" -S "$tree/res" -I "$framework" -F "$work/$1.raw" >/dev/null
    zipalign -f 4 "$work/$1.raw" "$1"
}
sign() { # FILE KEY OPTIONS...
    apksigner sign --ks "$work/$2.jks" --ks-key-alias "$2" "${pass[@]}" --v4-signing-enabled false "${@:3}" "$1"
}
# Pictures of one colour, 2x2 and 4x4.
mdpi=$(python3 -c 'import zlib,struct,base64
def c(t,d): return struct.pack(">I",len(d))+t+d+struct.pack(">I",zlib.crc32(t+d))
def png(n): return b"\x89PNG\r\n\x1a\n"+c(b"IHDR",struct.pack(">IIBBBBB",n,n,8,2,0,0,0))+c(b"IDAT",zlib.compress((b"\0"+b"\x10\x80\xf0"*n)*n))+c(b"IEND",b"")
print(base64.b64encode(png(2)).decode())')
xhdpi=$(python3 -c 'import zlib,struct,base64
def c(t,d): return struct.pack(">I",len(d))+t+d+struct.pack(">I",zlib.crc32(t+d))
def png(n): return b"\x89PNG\r\n\x1a\n"+c(b"IHDR",struct.pack(">IIBBBBB",n,n,8,2,0,0,0))+c(b"IDAT",zlib.compress((b"\0"+b"\x10\x80\xf0"*n)*n))+c(b"IEND",b"")
print(base64.b64encode(png(4)).decode())')

rm -f ./*.apk
apk till-1.apk com.example.till 1 1.0 Till;        sign till-1.apk a
apk till-2.apk com.example.till 2 2.0 Till;        sign till-2.apk a
apk till-3.apk com.example.till 3 3.0 Till;        sign till-3.apk a
apk till-4-rollback.apk com.example.till 4 1.0-again Till; sign till-4-rollback.apk a
apk till-2-other-file.apk com.example.till 2 2.0-other Till; sign till-2-other-file.apk a
apk till-5-foreign.apk com.example.till 5 5.0 Till; sign till-5-foreign.apk c
apk till-6-v1.apk com.example.till 6 6.0 Till;     sign till-6-v1.apk a --v1-signing-enabled true --v2-signing-enabled false --v3-signing-enabled false --min-sdk-version 21
apk till-7-unsigned.apk com.example.till 7 7.0 Till
apksigner rotate --out "$work/lineage" --old-signer --ks "$work/a.jks" --ks-key-alias a "${pass[@]}" --new-signer --ks "$work/b.jks" --ks-key-alias b "${pass[@]}"
apk till-8-rotated.apk com.example.till 8 8.0 Till
apksigner sign --ks "$work/a.jks" --ks-key-alias a "${pass[@]}" --next-signer --ks "$work/b.jks" --ks-key-alias b "${pass[@]}" \
    --lineage "$work/lineage" --v4-signing-enabled false till-8-rotated.apk
apk till-9-v2.apk com.example.till 9 9.0 Till;     sign till-9-v2.apk a --v3-signing-enabled false
apk shelf-1.apk com.example.shelf 1 1.0 Shelf;     sign shelf-1.apk c
apk agent-120.apk com.nexmdm 120 1.0.120 NexMDM;   sign agent-120.apk agent
apk agent-121.apk com.nexmdm 121 1.0.121 NexMDM;   sign agent-121.apk agent
apk agent-122.apk com.nexmdm 122 1.0.122 NexMDM;   sign agent-122.apk agent
rm -f ./*.idsig
