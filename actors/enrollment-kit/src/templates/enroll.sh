#!/usr/bin/env bash
# Enrolls Android devices over USB with NexMDM. For bash 3.2 or newer, on Linux and macOS.
#
# This file holds enrollment tokens: whoever has it can enroll devices. Keep it private, and
# delete it when the devices are enrolled.
#
# Exit codes: 0 all is done, otherwise
@EXIT_CODES@
set -u
LC_ALL=C
export LC_ALL

SERVER_URL=@SERVER_URL@
APK_URL=@APK_URL@
APK_SHA256=@APK_SHA256@
TOKENS=(@TOKENS@)
ALIASES=(@ALIASES@)
BATCH=@BATCH@
INSTALL=@INSTALL@

PACKAGE=@PACKAGE@
ADMIN=@ADMIN@
MIN_SDK=@MIN_SDK@
PERMISSIONS=@PERMISSIONS@
CALL_SDK=@CALL_SDK@
CALL_OWNER=@CALL_OWNER@
CALL_ACCOUNTS=@CALL_ACCOUNTS@
CALL_USERS=@CALL_USERS@
CALL_DIGEST=@CALL_DIGEST@
CALL_SET_OWNER=@CALL_SET_OWNER@
CALL_GRANT=@CALL_GRANT@
CALL_OPERATION=@CALL_OPERATION@
CALL_DOZE_LIST=@CALL_DOZE_LIST@
CALL_DOZE_ADD=@CALL_DOZE_ADD@
CALL_ENROLL=@CALL_ENROLL@

TIMEOUT_S=180
POLL_S=2
CALL_TIMEOUT_S=60
INSTALL_TIMEOUT_S=300
STEPS=13

SERIAL=${ANDROID_SERIAL:-}
ALIAS_WANTED=
DRY_RUN=0
STEP=0
OUT=
ERRORS=
WORK=
TAB=$(printf '\t')

failure_name() { case "$1" in
@FAILURE_NAMES@
esac; }

failure_remedy() { case "$1" in
@FAILURE_REMEDIES@
esac; }

install_remedy() { case "$1" in
@INSTALL_REMEDIES@
esac; }

owner_refusal() { case "$1" in
@OWNER_REFUSALS@
    *) echo 40 ;;
esac; }

# is_refused WORDS: whether a call that says nothing when it succeeds says that it failed.
is_refused() { case "$1" in
@CALL_REFUSALS@
    *) return 1 ;;
esac; }

usage() {
    cat <<'END'
Enrolls Android devices over USB: checks the device, installs the agent, makes it device owner,
configures server and token, and waits for the first heartbeat. The script can be run repeatedly.

  --serial SERIAL   serial number, if several devices are connected (see adb devices)
  --alias NAME      alias of the device, if the token has none
  --timeout SECONDS timeout of the wait for the first heartbeat (180)
  --no-install      do not install the agent: it is already installed
  --dry-run         print the adb calls and change nothing
  --help            this text
END
}

# ---- words ----

step() {
    STEP=$1
    printf '[%s/%s] %s\n' "$1" "$STEPS" "$2"
}
note() { printf '        %s\n' "$1"; }
show() { printf '%s\n' "$1" | sed -e '/^end$/d' -e '/^$/d' -e 's/^/        | /' >&2; }

# fail CODE WORDS
fail() {
    {
        printf '\nFAILED at step %s: %s\n' "$STEP" "$2"
        printf 'Remedy: %s\n' "$(failure_remedy "$1")"
        printf 'Exit code %s (%s)\n' "$1" "$(failure_name "$1")"
    } >&2
    exit "$1"
}

clean_up() {
    if [ -n "$WORK" ]; then
        rm -rf "$WORK"
    fi
}

# ---- calls ----

# A word as the device's shell reads it.
device_word() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

# limited SECONDS COMMAND...: ends it when it takes longer; input comes from $WORK/input.
limited() {
    local seconds=$1 child watch code
    shift
    "$@" <"$WORK/input" &
    child=$!
    (
        exec </dev/null >/dev/null 2>&1
        sleep "$seconds" &
        nap=$!
        trap 'kill $nap' TERM
        wait $nap && kill "$child"
    ) &
    watch=$!
    { wait "$child"; code=$?; kill "$watch"; wait "$watch"; } 2>/dev/null
    return "$code"
}

# run_adb SECONDS ARGUMENTS...: its answer is in OUT. What libraries, linkers and adb itself say beside it is in ERRORS, to be shown.
run_adb() {
    local seconds=$1 code
    shift
    OUT=$(limited "$seconds" adb "$@" 2>"$WORK/adb-errors" | tr -d '\r'; exit "${PIPESTATUS[0]}")
    code=$?
    ERRORS=$(tr -d '\r' <"$WORK/adb-errors")
    return "$code"
}

# show_answer: everything that the last call of adb said.
show_answer() {
    show "$OUT
$ERRORS"
}

# adb_call SECONDS ARGUMENTS...: a call to the chosen device, as run_adb. A dry run only prints it.
adb_call() {
    local seconds=$1
    shift
    if [ "$DRY_RUN" = 1 ]; then
        local shown="adb -s $(device_word "${SERIAL:-SERIAL}")" word
        for word in "$@"; do
            case "$word" in
                *[!A-Za-z0-9./_-]*) shown="$shown $(device_word "$word")" ;;
                *) shown="$shown $word" ;;
            esac
        done
        note "$shown"
        OUT=
        ERRORS=
        return 0
    fi
    run_adb "$seconds" -s "$SERIAL" "$@"
}

# ask COMMAND: a look at the device that must come to its end.
ask() {
    adb_call "$CALL_TIMEOUT_S" shell "$1; echo end"
    if [ "$DRY_RUN" = 1 ]; then
        return 0
    fi
    printf '%s\n' "$OUT" | grep -qx end || {
        show_answer
        fail 19 "The device $SERIAL does not answer."
    }
    OUT=$(printf '%s\n' "$OUT" | sed '/^end$/d')
}

# answer PATTERN...: the last line of OUT that one of two patterns matches as a whole. A linker on the device may have warned before.
answer() { printf '%s\n' "$OUT" | grep -x -e "$1" -e "${2:-$1}" | tail -n 1; }

# fetch URL FILE SECONDS [TOKEN]: HTTP_STATUS is 000 when there is no answer. Tokens go by standard
# input or a private file: arguments can be seen by every user of this computer.
fetch() {
    local url=$1 file=$2 seconds=$3 token=${4:-} code
    HTTP_STATUS=000
    if command -v curl >/dev/null 2>&1; then
        HTTP_STATUS=$({
            printf 'globoff\nurl = "%s"\n' "$url"
            if [ -n "$token" ]; then
                printf 'header = "Authorization: Bearer %s"\n' "$token"
            fi
        } | curl -q -sS -K - --connect-timeout 10 --max-time "$seconds" -o "$file" -w '%{http_code}' 2>"$WORK/fetch-errors")
        code=$?
        # Libraries warn on standard error as well: whether it worked, the exit code says.
        if [ "$code" != 0 ]; then
            HTTP_STATUS=000
        fi
    elif command -v wget >/dev/null 2>&1; then
        if [ -n "$token" ]; then
            printf 'header = Authorization: Bearer %s\n' "$token" >"$WORK/wgetrc"
        else
            : >"$WORK/wgetrc"
        fi
        WGETRC="$WORK/wgetrc" wget -S -O "$file" --tries=1 --timeout=10 "$url" >/dev/null 2>"$WORK/fetch-errors"
        code=$?
        HTTP_STATUS=$(sed -n 's/^ *HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' "$WORK/fetch-errors" | tail -n 1)
        HTTP_STATUS=${HTTP_STATUS:-000}
        # Cut off after its head.
        if [ "$code" != 0 ] && [ "$HTTP_STATUS" = 200 ]; then
            HTTP_STATUS=000
        fi
        rm -f "$WORK/wgetrc"
    else
        fail 22 "Neither curl nor wget is on this computer."
    fi
}

sha256_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum <"$1" | cut -d' ' -f1
    elif command -v shasum >/dev/null 2>&1; then
        shasum -a 256 <"$1" | cut -d' ' -f1
    elif command -v openssl >/dev/null 2>&1; then
        openssl dgst -sha256 <"$1" | sed 's/.*= *//'
    else
        fail 22 "Neither sha256sum, shasum nor openssl is on this computer."
    fi
}

# Asks the server about a token: TOKEN_STATUS, TOKEN_DEVICE, TOKEN_SEEN.
look_at_token() {
    fetch "$SERVER_URL/v1/enroll-tokens/self" "$WORK/token.json" 20 "$1"
    TOKEN_STATUS=
    TOKEN_DEVICE=
    TOKEN_SEEN=
    if [ "$HTTP_STATUS" = 200 ]; then
        TOKEN_STATUS=$(sed -n 's/.*"status":"\([a-z]*\)".*/\1/p' "$WORK/token.json")
        TOKEN_DEVICE=$(sed -n 's/.*"device_id":"\([^"]*\)".*/\1/p' "$WORK/token.json")
        TOKEN_SEEN=$(sed -n 's/.*"first_heartbeat_at":"\([^"]*\)".*/\1/p' "$WORK/token.json")
    fi
}

# ---- steps ----

check_adb() {
    step 1 "adb"
    if [ "$DRY_RUN" = 1 ]; then
        note "adb version"
        return
    fi
    command -v adb >/dev/null 2>&1 || fail 10 "adb is not on the PATH."
    run_adb "$CALL_TIMEOUT_S" version || {
        show_answer
        fail 10 "adb was found but does not run."
    }
    note "$(printf '%s\n' "$OUT" | head -n 1)"
}

# check_token TOKEN
check_token() {
    step 2 "The server and the token"
    if [ "$DRY_RUN" = 1 ]; then
        note "GET $SERVER_URL/v1/enroll-tokens/self (asked in a real run)"
        return
    fi
    case "$SERVER_URL" in
        *://127.* | *://localhost* | *://0.0.0.0*) note "Note: a device cannot reach $SERVER_URL unless it is forwarded; set http.public_url on the server." ;;
    esac
    look_at_token "$1"
    case "$HTTP_STATUS:$TOKEN_STATUS" in
        200:unused) ;;
        200:used) note "The token was already used by device $TOKEN_DEVICE." ;;
        200:*) fail 21 "The token is $TOKEN_STATUS." ;;
        401:*) fail 21 "The token is unknown to the server." ;;
        000:*)
            show "$(cat "$WORK/fetch-errors")"
            fail 20 "No answer from $SERVER_URL."
            ;;
        *) fail 20 "$SERVER_URL answered with status $HTTP_STATUS." ;;
    esac
}

# list_devices: DEVICES holds lines of serial, tabulator and state. A serial may hold blanks: adb-1A2B (2)._adb-tls-connect._tcp
list_devices() {
    run_adb "$CALL_TIMEOUT_S" devices || {
        show_answer
        fail 10 "adb devices failed."
    }
    DEVICES=$(printf '%s\n' "$OUT" | sed '/^List of devices/d' | grep "^[^*$TAB][^$TAB]*$TAB")
}

# split_device LINE: SERIAL_FOUND and STATE_FOUND.
split_device() {
    SERIAL_FOUND=${1%%"$TAB"*}
    STATE_FOUND=${1#*"$TAB"}
}

# check_state SERIAL STATE
check_state() {
    case "$2" in
        device) ;;
        unauthorized | authorizing) fail 13 "The device $1 has not accepted this computer." ;;
        no*permissions*) fail 13 "This computer is not permitted to access the device $1: $2" ;;
        *) fail 14 "The device $1 is in the state: $2" ;;
    esac
}

choose_device() {
    step 3 "The device"
    if [ "$DRY_RUN" = 1 ]; then
        note "adb devices"
        return
    fi
    list_devices
    local line count=0 found=
    while IFS= read -r line; do
        split_device "$line"
        if [ -n "$line" ] && { [ -z "$SERIAL" ] || [ "$SERIAL_FOUND" = "$SERIAL" ]; }; then
            count=$((count + 1))
            found=$line
        fi
    done <<END
$DEVICES
END
    if [ "$count" = 0 ] && [ -n "$SERIAL" ]; then
        fail 11 "There is no device $SERIAL."
    elif [ "$count" = 0 ]; then
        fail 11 "adb sees no device."
    elif [ "$count" -gt 1 ]; then
        show "$DEVICES"
        fail 12 "adb sees $count devices."
    fi
    split_device "$found"
    SERIAL=$SERIAL_FOUND
    check_state "$SERIAL" "$STATE_FOUND"
    note "$SERIAL"
}

check_android() {
    step 4 "Android version"
    ask "$CALL_SDK"
    SDK=$(answer '[0-9][0-9]*')
    if [ "$DRY_RUN" = 1 ]; then
        SDK=10000
        return
    fi
    if [ -z "$SDK" ]; then
        show_answer
        fail 19 "The API level of the device is unavailable."
    fi
    [ "$SDK" -ge "$MIN_SDK" ] || fail 15 "The device has API level $SDK; the agent needs $MIN_SDK."
    note "API level $SDK"
}

# IS_OWNER: whether the agent is device owner already.
check_owner() {
    step 5 "Other owners"
    IS_OWNER=0
    ask "$CALL_OWNER"
    case "$OUT" in
        *"{$PACKAGE/"*)
            IS_OWNER=1
            note "The agent is already device owner."
            ;;
        *admin=*)
            show "$OUT"
            fail 16 "Another app manages this device."
            ;;
    esac
}

check_accounts() {
    step 6 "Accounts"
    if [ "$IS_OWNER" = 1 ]; then
        note "Skipped: the agent is already device owner."
        return
    fi
    ask "$CALL_ACCOUNTS"
    case "$OUT" in
        *Accounts:*)
            show "$OUT"
            fail 17 "The device has accounts."
            ;;
    esac
}

check_users() {
    step 7 "Other users"
    if [ "$IS_OWNER" = 1 ]; then
        note "Skipped: the agent is already device owner."
        return
    fi
    ask "$CALL_USERS"
    if [ "$(printf '%s\n' "$OUT" | grep -c 'UserInfo')" -gt 1 ]; then
        show "$OUT"
        fail 18 "The device has more than one user."
    fi
}

download_agent() {
    if [ -f "$WORK/agent.apk" ]; then
        return
    fi
    note "Downloading the agent"
    fetch "$APK_URL" "$WORK/agent.part" 600
    if [ "$HTTP_STATUS" != 200 ]; then
        show "$(cat "$WORK/fetch-errors")"
        fail 30 "The server answered with status $HTTP_STATUS."
    fi
    local digest
    digest=$(sha256_of "$WORK/agent.part") || exit $?
    [ "$digest" = "$APK_SHA256" ] || fail 31 "Its SHA-256 is $digest instead of $APK_SHA256."
    mv "$WORK/agent.part" "$WORK/agent.apk"
}

install_agent() {
    step 8 "The agent"
    ask "$CALL_DIGEST"
    if [ "$DRY_RUN" = 1 ]; then
        if [ "$INSTALL" = 1 ]; then
            adb_call "$INSTALL_TIMEOUT_S" install -r agent.apk
        fi
        return
    fi
    # Nothing, or the digest and the file's name.
    case "$INSTALL:$(answer absent '[0-9a-f]\{64\} .*')" in
        0:absent) fail 33 "The agent is not installed." ;;
        0:*)
            note "The agent is installed."
            return
            ;;
        1:"$APK_SHA256 "*)
            note "This APK is already installed."
            return
            ;;
    esac
    [ -n "$APK_URL" ] || fail 33 "The server had no agent APK when this script was created."
    download_agent
    note "Installing the agent"
    adb_call "$INSTALL_TIMEOUT_S" install -r "$WORK/agent.apk"
    case "$OUT" in
        *Success*) ;;
        *)
            local hint
            show_answer
            hint=$(install_remedy "$OUT
$ERRORS")
            if [ -n "$hint" ]; then
                printf '        %s\n' "$hint" >&2
            fi
            fail 32 "adb could not install the agent."
            ;;
    esac
}

become_owner() {
    step 9 "Device owner"
    if [ "$IS_OWNER" = 1 ]; then
        note "The agent is already device owner."
        return
    fi
    adb_call "$CALL_TIMEOUT_S" shell "$CALL_SET_OWNER"
    if [ "$DRY_RUN" = 1 ]; then
        return
    fi
    case "$OUT" in
        *Success*) ;;
        *)
            show_answer
            fail "$(owner_refusal "$OUT
$ERRORS")" "Android refused."
            ;;
    esac
}

grant_permissions() {
    step 10 "Permissions"
    local entry since permission
    for entry in $PERMISSIONS; do
        since=${entry%%:*}
        permission=${entry#*:}
        if [ "$SDK" -lt "$since" ]; then
            continue
        fi
        adb_call "$CALL_TIMEOUT_S" shell "$CALL_GRANT $permission" && ! is_refused "$OUT$ERRORS" && continue
        case "$OUT$ERRORS" in
            *"has not requested permission"* | *"nknown permission"*) note "$permission: not requested by this agent" ;;
            *)
                show_answer
                fail 41 "$permission was not granted."
                ;;
        esac
    done
    adb_call "$CALL_TIMEOUT_S" shell "$CALL_OPERATION" && ! is_refused "$OUT$ERRORS" && return
    show_answer
    fail 41 "Access to app usage was not granted."
}

exempt_from_doze() {
    step 11 "Doze"
    ask "$CALL_DOZE_LIST"
    case "$OUT" in
        *",$PACKAGE,"*)
            note "The agent is already exempt."
            return
            ;;
    esac
    adb_call "$CALL_TIMEOUT_S" shell "$CALL_DOZE_ADD"
    local told="$OUT
$ERRORS"
    ask "$CALL_DOZE_LIST"
    if [ "$DRY_RUN" = 1 ]; then
        return
    fi
    case "$OUT" in
        *",$PACKAGE,"*) ;;
        *)
            show "$told"
            fail 42 "The agent is not on the list of exempt apps."
            ;;
    esac
}

# hand_over TOKEN ALIAS. The token goes by standard input, so that no list of processes shows it.
# ALREADY: whether the device is enrolled with this server, so that the token is left over.
hand_over() {
    step 12 "Configure server and token"
    ALREADY=0
    local call="$CALL_ENROLL --es server_url $(device_word "$SERVER_URL")"
    if [ "$DRY_RUN" = 1 ]; then
        adb_call "$CALL_TIMEOUT_S" shell sh
        note "  with this on its standard input: $call --es enrollment_token (hidden)"
        return
    fi
    call="$call --es enrollment_token $(device_word "$1")"
    if [ -n "$2" ]; then
        call="$call --es alias $(device_word "$2")"
    fi
    (umask 077 && printf '%s\nexit\n' "$call" >"$WORK/input")
    adb_call "$CALL_TIMEOUT_S" shell sh
    : >"$WORK/input"
    case "$OUT" in
        *"result=1"*) ;;
        *"result=2"*)
            ALREADY=1
            note "The device is already enrolled with this server; the token remains unused."
            ;;
        *)
            show_answer
            fail 43 "The agent rejected the configuration."
            ;;
    esac
}

# wait_until_seen TOKEN
wait_until_seen() {
    step 13 "Wait for the first heartbeat"
    if [ "$DRY_RUN" = 1 ]; then
        note "GET $SERVER_URL/v1/enroll-tokens/self every $POLL_S s, up to $TIMEOUT_S s"
        return
    fi
    if [ "$ALREADY" = 1 ]; then
        note "Already enrolled."
        return
    fi
    local until=$((SECONDS + TIMEOUT_S))
    while :; do
        look_at_token "$1"
        case "$TOKEN_STATUS" in
            used)
                if [ -n "$TOKEN_SEEN" ]; then
                    break
                fi
                ;;
            expired | revoked) fail 21 "The token is $TOKEN_STATUS by now." ;;
        esac
        if [ "$SECONDS" -ge "$until" ]; then
            case "$TOKEN_STATUS" in
                used) fail 44 "Device $TOKEN_DEVICE has registered, but sent no heartbeat within $TIMEOUT_S s." ;;
                unused) fail 44 "The device has not registered within $TIMEOUT_S s." ;;
                *) fail 44 "The server did not answer within $TIMEOUT_S s (status $HTTP_STATUS)." ;;
            esac
        fi
        sleep "$POLL_S"
    done
    note "Device $TOKEN_DEVICE reported at $TOKEN_SEEN."
}

# enroll_device TOKEN ALIAS: everything after the choice of the device.
enroll_device() {
    check_android
    check_owner
    check_accounts
    check_users
    install_agent
    become_owner
    grant_permissions
    exempt_from_doze
    hand_over "$1" "$2"
    wait_until_seen "$1"
}

# ---- one device ----

one() {
    check_adb
    check_token "${TOKENS[0]}"
    if [ "${TOKEN_STATUS:-}" = used ]; then
        if [ -n "$TOKEN_SEEN" ]; then
            printf '\nNothing is left to do: device %s reports since %s.\n' "$TOKEN_DEVICE" "$TOKEN_SEEN"
            exit 0
        fi
        ALREADY=0
        wait_until_seen "${TOKENS[0]}"
        printf '\nEnrolled.\n'
        exit 0
    fi
    choose_device
    enroll_device "${TOKENS[0]}" "${ALIAS_WANTED:-${ALIASES[0]}}"
    if [ "$DRY_RUN" = 1 ]; then
        printf '\nA dry run: nothing was changed.\n'
    else
        printf '\nEnrolled.\n'
    fi
}

# ---- every device plugged in ----

# next_token: NEXT is the first token from NEXT on that no device has used.
next_token() {
    while [ "$NEXT" -lt "${#TOKENS[@]}" ]; do
        if [ "$DRY_RUN" = 1 ]; then
            return 0
        fi
        look_at_token "${TOKENS[NEXT]}"
        case "$HTTP_STATUS:$TOKEN_STATUS" in
            200:unused) return 0 ;;
            200:* | 401:*) NEXT=$((NEXT + 1)) ;;
            *) return 20 ;;
        esac
    done
    return 45
}

# is_enrolled: whether the agent says, asked without a token, that it is enrolled with this server.
is_enrolled() {
    printf '%s\nexit\n' "$CALL_ENROLL --es server_url $(device_word "$SERVER_URL")" >"$WORK/input"
    adb_call "$CALL_TIMEOUT_S" shell sh
    : >"$WORK/input"
    case "$OUT" in *"result=2"*) return 0 ;; esac
    return 1
}

one_of_batch() {
    STEP=3
    check_state "$1" "$2"
    SERIAL=$1
    next_token
    case $? in
        0) ;;
        45)
            is_enrolled || fail 45 "No unused token is left for $1."
            note "Already enrolled."
            return 0
            ;;
        *) fail 20 "$SERVER_URL answered with status $HTTP_STATUS." ;;
    esac
    printf '%s\n' "$NEXT" >"$WORK/next"
    note "Token $((NEXT + 1)) of ${#TOKENS[@]} ${ALIASES[NEXT]}"
    enroll_device "${TOKENS[NEXT]}" "${ALIASES[NEXT]}"
}

batch() {
    local line serial code total=0 failed=0 summary=
    check_adb
    NEXT=0
    if [ "$DRY_RUN" = 1 ]; then
        note "adb devices; then for each device, with a token of its own:"
        enroll_device "${TOKENS[0]}" "${ALIASES[0]}"
        printf '\nA dry run: nothing was changed.\n'
        exit 0
    fi
    step 2 "The server"
    next_token
    case $? in
        0) ;;
        45) note "All tokens of this script are used, expired or revoked." ;;
        *) fail 20 "$SERVER_URL answered with status $HTTP_STATUS." ;;
    esac
    step 3 "The devices"
    list_devices
    [ -n "$DEVICES" ] || fail 11 "adb sees no device."
    while IFS= read -r line <&3; do
        split_device "$line"
        serial=$SERIAL_FOUND
        if [ -n "$SERIAL" ] && [ "$serial" != "$SERIAL" ]; then
            continue
        fi
        total=$((total + 1))
        printf '\n== %s\n' "$serial"
        : >"$WORK/input"
        (one_of_batch "$serial" "$STATE_FOUND")
        code=$?
        if [ -s "$WORK/next" ]; then
            NEXT=$(cat "$WORK/next")
        fi
        case "$code" in
            0) summary="$summary
  $serial  enrolled" ;;
            130) exit 130 ;;
            *)
                failed=$((failed + 1))
                summary="$summary
  $serial  FAILED with $code ($(failure_name "$code"))"
                ;;
        esac
        # What was handed over may still be used by that device: it is given to no other one.
        case "$code" in
            43 | 44) NEXT=$((NEXT + 1)) ;;
        esac
    done 3<<END
$DEVICES
END
    [ "$total" -gt 0 ] || fail 11 "There is no device $SERIAL."
    printf '\n%s of %s devices are enrolled.%s\n' "$((total - failed))" "$total" "$summary"
    if [ "$failed" -gt 0 ]; then
        STEP=3
        fail 1 "$failed of $total devices were not enrolled."
    fi
}

# ---- start ----

bad_usage() {
    usage >&2
    fail 2 "$1"
}

while [ $# -gt 0 ]; do
    case "$1" in
        --help | -h)
            usage
            exit 0
            ;;
        --dry-run) DRY_RUN=1 ;;
        --no-install) INSTALL=0 ;;
        --serial | --alias | --timeout)
            [ $# -ge 2 ] && [ -n "$2" ] || bad_usage "$1 takes a value."
            case "$1" in
                --serial) SERIAL=$2 ;;
                --alias) ALIAS_WANTED=$2 ;;
                --timeout)
                    case "$2" in *[!0-9]*) bad_usage "--timeout takes seconds." ;; esac
                    TIMEOUT_S=$2
                    ;;
            esac
            shift
            ;;
        *) bad_usage "$1 is not known." ;;
    esac
    shift
done
case "$ALIAS_WANTED" in *'
'*) bad_usage "--alias takes one line." ;; esac
if [ "$BATCH" = 1 ] && [ -n "$ALIAS_WANTED" ]; then
    bad_usage "--alias is for a single device."
fi

trap clean_up EXIT
trap 'exit 130' INT TERM HUP
umask 077
WORK=$(mktemp -d "${TMPDIR:-/tmp}/nexmdm.XXXXXX") || fail 22 "No temporary folder can be made."
: >"$WORK/input"

if [ "$BATCH" = 1 ]; then
    batch
else
    one
fi
