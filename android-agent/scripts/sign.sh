#!/usr/bin/env bash
# sign.sh UNSIGNED SIGNED: signature schemes v2 and v3; v1 is for devices older than the agent runs on.
#
# NEXMDM_AGENT_KEYSTORE (PKCS12 file), NEXMDM_AGENT_KEYSTORE_PASSWORD and NEXMDM_AGENT_KEY_ALIAS name the key. Without them a throw-away key
# is used, kept outside the clone so that a rebuild updates in place what an earlier one installed.
# shellcheck source=common.sh
source "$(dirname "$0")/common.sh"
unsigned=${1:?unsigned APK}
signed=${2:?signed APK}
umask 077
if [ -n "${NEXMDM_AGENT_KEYSTORE:-}" ]; then
    keystore=$NEXMDM_AGENT_KEYSTORE
    [ -r "$keystore" ] || fail "NEXMDM_AGENT_KEYSTORE cannot be read: $keystore"
    : "${NEXMDM_AGENT_KEYSTORE_PASSWORD:?the password of NEXMDM_AGENT_KEYSTORE}" "${NEXMDM_AGENT_KEY_ALIAS:?the alias of the key in NEXMDM_AGENT_KEYSTORE}"
    alias=$NEXMDM_AGENT_KEY_ALIAS
    export NEXMDM_AGENT_KEYSTORE_PASSWORD
else
    keystore=${XDG_CACHE_HOME:-$HOME/.cache}/nexmdm/agent-throw-away-key.p12
    alias=agent
    export NEXMDM_AGENT_KEYSTORE_PASSWORD=throw-away
    if [ ! -f "$keystore" ]; then
        mkdir -p "$(dirname "$keystore")"
        # Under a name of its own first: two builds at once must not see half a key store.
        fresh=$(mktemp -d "$(dirname "$keystore")/key.XXXXXX")
        keytool -genkeypair -keystore "$fresh/key.p12" -storetype PKCS12 -storepass:env NEXMDM_AGENT_KEYSTORE_PASSWORD -alias "$alias" \
            -keyalg EC -groupname secp256r1 -sigalg SHA256withECDSA -validity 36500 -dname "CN=NexMDM agent throw-away key" 2>/dev/null
        mv -n "$fresh/key.p12" "$keystore" && rm -rf "$fresh"
    fi
    say "WARNING: signed with the throw-away key $keystore. Devices that get this build accept updates only from that key; set" \
        "NEXMDM_AGENT_KEYSTORE, NEXMDM_AGENT_KEYSTORE_PASSWORD and NEXMDM_AGENT_KEY_ALIAS for a fleet."
fi
mkdir -p "$(dirname "$signed")"
apksigner sign --ks "$keystore" --ks-type PKCS12 --ks-key-alias "$alias" --ks-pass env:NEXMDM_AGENT_KEYSTORE_PASSWORD --min-sdk-version "$min_sdk" \
    --v1-signing-enabled false --v2-signing-enabled true --v3-signing-enabled true --v4-signing-enabled false --out "$signed" "$unsigned"
chmod 644 "$signed"
