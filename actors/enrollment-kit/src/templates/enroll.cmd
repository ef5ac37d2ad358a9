@echo off
rem Enrolls Android devices over USB with NexMDM. For the command prompt of Windows 10 or newer.
rem
rem This file holds enrollment tokens: whoever has it can enroll devices. Keep it private, and
rem delete it when the devices are enrolled.
rem
rem Exit codes: 0 all is done, otherwise
@EXIT_CODES@
setlocal DisableDelayedExpansion
chcp 65001 >nul

set SERVER_URL=@SERVER_URL@
set APK_URL=@APK_URL@
set APK_SHA256=@APK_SHA256@
set TOKEN_COUNT=@TOKEN_COUNT@
@TOKEN_LINES@
set BATCH=@BATCH@
set INSTALL=@INSTALL@

set PACKAGE=@PACKAGE@
set ADMIN=@ADMIN@
set MIN_SDK=@MIN_SDK@
set PERMISSIONS=@PERMISSIONS@
set CALL_SDK=@CALL_SDK@
set CALL_OWNER=@CALL_OWNER@
set CALL_ACCOUNTS=@CALL_ACCOUNTS@
set CALL_USERS=@CALL_USERS@
set CALL_DIGEST=@CALL_DIGEST@
set CALL_SET_OWNER=@CALL_SET_OWNER@
set CALL_GRANT=@CALL_GRANT@
set CALL_OPERATION=@CALL_OPERATION@
set CALL_DOZE_LIST=@CALL_DOZE_LIST@
set CALL_DOZE_ADD=@CALL_DOZE_ADD@
set CALL_ENROLL=@CALL_ENROLL@

set TIMEOUT_S=180
set STEPS=13
set "SERIAL=%ANDROID_SERIAL%"
set ALIAS_WANTED=
set DRY_RUN=0
set STEP=0
set INDEX=1
set ONE_OF_BATCH=0
set WORK=

@FAILURE_NAMES@
@FAILURE_REMEDIES@

setlocal EnableDelayedExpansion

:options
if "%~1"=="" goto options_read
if "%~1"=="--help" (call :usage & exit /b 0)
if "%~1"=="--dry-run" (set DRY_RUN=1& shift & goto options)
if "%~1"=="--no-install" (set INSTALL=0& shift & goto options)
if "%~2"=="" (call :fail 2 "%~1 is not known, or takes a value." & exit /b 2)
if "%~1"=="--serial" (set "SERIAL=%~2"& shift & shift & goto options)
if "%~1"=="--timeout" (set "TIMEOUT_S=%~2"& shift & shift & goto options)
if "%~1"=="--alias" (set "ALIAS_WANTED=%~2"& shift & shift & goto options)
rem The two that a batch calls itself with.
if "%~1"=="--one-of-batch" (set "INDEX=%~2"& set ONE_OF_BATCH=1& shift & shift & goto options)
if "%~1"=="--work" (set "WORK=%~2"& shift & shift & goto options)
call :fail 2 "%~1 is not known." & exit /b 2

:options_read
for /f "delims=0123456789" %%c in ("!TIMEOUT_S!") do (call :fail 2 "--timeout takes seconds." & exit /b 2)
if not "!WORK!"=="" goto work_made
set "WORK=%TEMP%\nexmdm.%RANDOM%%RANDOM%%RANDOM%"
mkdir "!WORK!" || (call :fail 22 "No temporary folder can be made." & exit /b 22)
:work_made
set "OUT=!WORK!\out.txt"
rem What libraries, linkers and adb say beside an answer, to be shown.
set "ERRORS=!WORK!\errors.txt"
break >"!ERRORS!"
rem Other characters could not be quoted for the device from here.
if not "!ALIAS_WANTED!"=="" (
    >"!OUT!" echo(!ALIAS_WANTED!
    findstr /r /x /c:"[A-Za-z0-9._ -]*" "!OUT!" >nul || (rmdir /s /q "!WORK!" & call :fail 2 "--alias takes letters, digits, blanks and . _ - in cmd; make the token with an alias instead." & exit /b 2)
    if "!BATCH!"=="1" (rmdir /s /q "!WORK!" & call :fail 2 "--alias is for a single device." & exit /b 2)
)

if "!ONE_OF_BATCH!"=="1" (
    set STEP=3
    call :enroll_device
    exit /b !ERRORLEVEL!
)
if "!BATCH!"=="1" (call :batch) else (call :one)
set "CODE=!ERRORLEVEL!"
rmdir /s /q "!WORK!" 2>nul
exit /b !CODE!

rem ---- words ----

:usage
echo Enrolls Android devices over USB: checks the device, installs the agent, makes it device owner,
echo configures server and token, and waits for the first heartbeat. The script can be run repeatedly.
echo(
echo   --serial SERIAL   serial number, if several devices are connected (see adb devices)
echo   --alias NAME      alias of the device, if the token has none
echo   --timeout SECONDS timeout of the wait for the first heartbeat (180)
echo   --no-install      do not install the agent: it is already installed
echo   --dry-run         print the adb calls and change nothing
echo   --help            this text
exit /b 0

:step
set "STEP=%~1"
echo [%~1/!STEPS!] %~2
exit /b 0

rem :fail CODE WORDS
:fail
set "WORDS=%~2"
(
    echo(
    echo FAILED at step !STEP!: !WORDS!
    echo Remedy: !REMEDY_%~1!
    echo Exit code %~1 ^(!NAME_%~1!^)
) >&2
exit /b %~1

:show
for %%f in ("!OUT!" "!ERRORS!") do for /f "usebackq delims=" %%l in (%%f) do if not "%%l"=="end" echo         ^| %%l>&2
exit /b 0

rem ---- calls ----

rem :ask NAME-OF-CALL: a look at the device that must come to its end; its words are in OUT.
:ask
if "!DRY_RUN!"=="1" (
    set "SHOWN=!SERIAL!"
    if "!SHOWN!"=="" set SHOWN=SERIAL
    echo         adb -s !SHOWN! shell !%~1!; echo end
    break >"!OUT!"
    exit /b 0
)
adb -s "!SERIAL!" shell "!%~1!; echo end" >"!OUT!" 2>"!ERRORS!" <nul
findstr /b /c:"end" "!OUT!" >nul || (call :show & call :fail 19 "The device !SERIAL! does not answer." & exit /b 19)
exit /b 0

rem :refused: whether a call that says nothing when it succeeds says that it failed.
:refused
@CALL_REFUSALS@
exit /b 0

rem :run WORDS: a call that changes something.
:run
if "!DRY_RUN!"=="1" (
    set "SHOWN=!SERIAL!"
    if "!SHOWN!"=="" set SHOWN=SERIAL
    echo         adb -s !SHOWN! shell %~1
    break >"!OUT!"
    exit /b 0
)
adb -s "!SERIAL!" shell "%~1" >"!OUT!" 2>"!ERRORS!" <nul
exit /b !ERRORLEVEL!

rem :look_at_token INDEX: HTTP_STATUS, TOKEN_STATUS, TOKEN_SEEN; the answer is in token.json. The token goes by
rem a file in a folder of this user: arguments can be seen by others.
:look_at_token
set HTTP_STATUS=000
set TOKEN_STATUS=
set TOKEN_SEEN=0
>"!WORK!\request.txt" echo url = "!SERVER_URL!/v1/enroll-tokens/self"
>>"!WORK!\request.txt" echo header = "Authorization: Bearer !TOKEN_%~1!"
for /f "delims=" %%s in ('curl.exe -q -sS -g -K "!WORK!\request.txt" --connect-timeout 10 --max-time 20 -o "!WORK!\token.json" -w "%%{http_code}" 2^>"!OUT!"') do set "HTTP_STATUS=%%s"
del "!WORK!\request.txt" 2>nul
if not "!HTTP_STATUS!"=="200" exit /b 0
for %%s in (unused used expired revoked) do findstr /c:"\"status\":\"%%s\"" "!WORK!\token.json" >nul && set TOKEN_STATUS=%%s
findstr /c:"\"first_heartbeat_at\":\"" "!WORK!\token.json" >nul && set TOKEN_SEEN=1
exit /b 0

rem ---- steps ----

:check_adb
call :step 1 "adb"
if "!DRY_RUN!"=="1" (echo         adb version& exit /b 0)
where adb >nul 2>&1 || (call :fail 10 "adb is not on the PATH." & exit /b 10)
where curl.exe >nul 2>&1 || (call :fail 22 "curl.exe is not on this computer." & exit /b 22)
adb version >"!OUT!" 2>"!ERRORS!" || (call :show & call :fail 10 "adb was found but does not run." & exit /b 10)
set TOLD=
for /f "usebackq delims=" %%t in ("!OUT!") do if not defined TOLD set "TOLD=%%t"
echo         !TOLD!
exit /b 0

:check_token
call :step 2 "The server and the token"
if "!DRY_RUN!"=="1" (echo         GET !SERVER_URL!/v1/enroll-tokens/self& exit /b 0)
call :look_at_token !INDEX!
if "!HTTP_STATUS!"=="000" (call :show & call :fail 20 "No answer from !SERVER_URL!." & exit /b 20)
if "!HTTP_STATUS!"=="401" (call :fail 21 "The token is unknown to the server." & exit /b 21)
if not "!HTTP_STATUS!"=="200" (call :fail 20 "!SERVER_URL! answered with status !HTTP_STATUS!." & exit /b 20)
if "!TOKEN_STATUS!"=="unused" exit /b 0
if "!TOKEN_STATUS!"=="used" exit /b 0
call :fail 21 "The token is !TOKEN_STATUS!."
exit /b 21

rem :list_devices: lines of serial, tabulator and state in devices.txt. A serial may hold blanks: adb-1A2B (2)._adb-tls-connect._tcp
:list_devices
adb devices >"!OUT!" 2>"!ERRORS!" <nul || (call :show & call :fail 10 "adb devices failed." & exit /b 10)
break >"!WORK!\devices.txt"
for /f "usebackq tokens=1,* delims=	" %%a in ("!OUT!") do (
    set "FIRST=%%a"
    if not "%%b"=="" if not "!FIRST:~0,1!"=="*" >>"!WORK!\devices.txt" echo %%a	%%b
)
exit /b 0

rem :check_state SERIAL STATE
:check_state
if "%~2"=="device" exit /b 0
if "%~2"=="unauthorized" (call :fail 13 "The device %~1 has not accepted this computer." & exit /b 13)
if "%~2"=="authorizing" (call :fail 13 "The device %~1 has not accepted this computer." & exit /b 13)
set "STATE=%~2"
if "!STATE:~0,14!"=="no permissions" (call :fail 13 "This computer is not permitted to access the device %~1." & exit /b 13)
call :fail 14 "The device %~1 is in the state: %~2"
exit /b 14

:choose_device
call :step 3 "The device"
if "!DRY_RUN!"=="1" (echo         adb devices& exit /b 0)
call :list_devices || exit /b !ERRORLEVEL!
set COUNT=0
for /f "usebackq tokens=1,* delims=	" %%a in ("!WORK!\devices.txt") do (
    set TAKEN=1
    if not "!SERIAL!"=="" if not "!SERIAL!"=="%%a" set TAKEN=0
    if "!TAKEN!"=="1" (
        set /a COUNT+=1
        set "FOUND=%%a"
        set "STATE=%%b"
    )
)
if "!COUNT!"=="0" (call :fail 11 "adb sees no such device." & exit /b 11)
if not "!COUNT!"=="1" (type "!WORK!\devices.txt" >&2 & call :fail 12 "adb sees !COUNT! devices." & exit /b 12)
set "SERIAL=!FOUND!"
call :check_state "!SERIAL!" "!STATE!" || exit /b !ERRORLEVEL!
echo         !SERIAL!
exit /b 0

:check_android
call :step 4 "Android version"
call :ask CALL_SDK || exit /b !ERRORLEVEL!
set SDK=10000
if "!DRY_RUN!"=="1" exit /b 0
set SDK=
rem The last line of digits alone: a linker on the device may have warned before. Not set /p: the lines of a device end in LF alone.
for /f "usebackq delims=" %%t in ("!OUT!") do for /f "delims=0123456789" %%c in ("%%tx") do if "%%c"=="x" set "SDK=%%t"
if not defined SDK (call :show & call :fail 19 "The API level of the device is unavailable." & exit /b 19)
if !SDK! LSS !MIN_SDK! (call :fail 15 "The device has API level !SDK!; the agent needs !MIN_SDK!." & exit /b 15)
echo         API level !SDK!
exit /b 0

:check_owner
call :step 5 "Other owners"
set IS_OWNER=0
call :ask CALL_OWNER || exit /b !ERRORLEVEL!
findstr /c:"{!PACKAGE!/" "!OUT!" >nul && (set IS_OWNER=1& echo         The agent is already device owner.& exit /b 0)
findstr /c:"admin=" "!OUT!" >nul && (call :show & call :fail 16 "Another app manages this device." & exit /b 16)
exit /b 0

:check_accounts
call :step 6 "Accounts"
if "!IS_OWNER!"=="1" (echo         Skipped: the agent is already device owner.& exit /b 0)
call :ask CALL_ACCOUNTS || exit /b !ERRORLEVEL!
findstr /c:"Accounts:" "!OUT!" >nul && (call :show & call :fail 17 "The device has accounts." & exit /b 17)
exit /b 0

:check_users
call :step 7 "Other users"
if "!IS_OWNER!"=="1" (echo         Skipped: the agent is already device owner.& exit /b 0)
call :ask CALL_USERS || exit /b !ERRORLEVEL!
set COUNT=0
for /f "delims=" %%n in ('findstr /c:"UserInfo" "!OUT!" ^| find /c "UserInfo"') do set "COUNT=%%n"
if !COUNT! GTR 1 (call :show & call :fail 18 "The device has more than one user." & exit /b 18)
exit /b 0

:download_agent
if exist "!WORK!\agent.apk" exit /b 0
echo         Downloading the agent
set HTTP_STATUS=000
>"!WORK!\request.txt" echo url = "!APK_URL!"
for /f "delims=" %%s in ('curl.exe -q -sS -g -K "!WORK!\request.txt" --connect-timeout 10 --max-time 600 -o "!WORK!\agent.part" -w "%%{http_code}" 2^>"!OUT!"') do set "HTTP_STATUS=%%s"
if not "!HTTP_STATUS!"=="200" (call :show & call :fail 30 "The server answered with status !HTTP_STATUS!." & exit /b 30)
set DIGEST=
for /f "skip=1 delims=" %%d in ('certutil -hashfile "!WORK!\agent.part" SHA256') do if not defined DIGEST set "DIGEST=%%d"
set "DIGEST=!DIGEST: =!"
if /i not "!DIGEST!"=="!APK_SHA256!" (call :fail 31 "Its SHA-256 is !DIGEST! instead of !APK_SHA256!." & exit /b 31)
move /y "!WORK!\agent.part" "!WORK!\agent.apk" >nul
exit /b 0

:install_agent
call :step 8 "The agent"
call :ask CALL_DIGEST || exit /b !ERRORLEVEL!
if "!DRY_RUN!"=="1" (
    if "!INSTALL!"=="1" echo         adb -s !SHOWN! install -r agent.apk
    exit /b 0
)
if "!INSTALL!"=="0" (
    findstr /b /c:"absent" "!OUT!" >nul && (call :fail 33 "The agent is not installed." & exit /b 33)
    echo         The agent is installed.
    exit /b 0
)
if "!APK_URL!"=="" (call :fail 33 "The server had no agent APK when this script was created." & exit /b 33)
findstr /b /c:"!APK_SHA256!" "!OUT!" >nul && (echo         This APK is already installed.& exit /b 0)
call :download_agent || exit /b !ERRORLEVEL!
echo         Installing the agent
adb -s "!SERIAL!" install -r "!WORK!\agent.apk" >"!OUT!" 2>"!ERRORS!" <nul
findstr /c:"Success" "!OUT!" >nul && exit /b 0
call :show
set HINT=
call :install_hint
if defined HINT echo         !HINT!>&2
call :fail 32 "adb could not install the agent."
exit /b 32

:install_hint
@INSTALL_REMEDIES@
exit /b 0

:become_owner
call :step 9 "Device owner"
if "!IS_OWNER!"=="1" (echo         The agent is already device owner.& exit /b 0)
call :run "!CALL_SET_OWNER!"
if "!DRY_RUN!"=="1" exit /b 0
findstr /c:"Success" "!OUT!" >nul && exit /b 0
call :show
set REFUSAL=
call :owner_refusal
if not defined REFUSAL (call :fail 40 "Android refused." & exit /b 40)
call :fail !REFUSAL! "Android refused."
exit /b !REFUSAL!

:owner_refusal
@OWNER_REFUSALS@
exit /b 0

:grant_permissions
call :step 10 "Permissions"
for %%p in (!PERMISSIONS!) do (
    for /f "tokens=1,2 delims=:" %%a in ("%%p") do (
        if !SDK! GEQ %%a (call :grant %%b || exit /b 41)
    )
)
call :run "!CALL_OPERATION!"
set "CODE=!ERRORLEVEL!"
call :refused || set CODE=41
if not "!CODE!"=="0" (call :show & call :fail 41 "Access to app usage was not granted." & exit /b 41)
exit /b 0

:grant
call :run "!CALL_GRANT! %~1"
set "CODE=!ERRORLEVEL!"
call :refused || set CODE=41
if "!CODE!"=="0" exit /b 0
findstr /c:"has not requested permission" /c:"nknown permission" "!OUT!" "!ERRORS!" >nul && (echo         %~1: not requested by this agent& exit /b 0)
call :show
call :fail 41 "%~1 was not granted."
exit /b 41

:exempt_from_doze
call :step 11 "Doze"
call :ask CALL_DOZE_LIST || exit /b !ERRORLEVEL!
findstr /c:",!PACKAGE!," "!OUT!" >nul && (echo         The agent is already exempt.& exit /b 0)
call :run "!CALL_DOZE_ADD!"
call :ask CALL_DOZE_LIST || exit /b !ERRORLEVEL!
if "!DRY_RUN!"=="1" exit /b 0
findstr /c:",!PACKAGE!," "!OUT!" >nul || (call :fail 42 "The agent is not on the list of exempt apps." & exit /b 42)
exit /b 0

rem The call with the token is ready in ENROLL_n (base64 of: !CALL_ENROLL! with its extras, quoted for the device). It goes
rem by standard input, so that no list of processes shows it; the # at the end of each line hides its carriage return.
:hand_over
call :step 12 "Configure server and token"
set ALREADY=0
if "!DRY_RUN!"=="1" (
    echo         adb -s !SHOWN! shell sh
    echo           with this on its standard input: !CALL_ENROLL! --es server_url !SERVER_URL! --es enrollment_token ^(hidden^)
    exit /b 0
)
>"!WORK!\call.b64" echo !ENROLL_%INDEX%!
certutil -f -decode "!WORK!\call.b64" "!WORK!\call.sh" >nul
if not "!ALIAS_WANTED!"=="" (>>"!WORK!\call.sh" echo  --es alias '!ALIAS_WANTED!' #) else (>>"!WORK!\call.sh" echo  #)
>>"!WORK!\call.sh" echo exit #
adb -s "!SERIAL!" shell sh <"!WORK!\call.sh" >"!OUT!" 2>"!ERRORS!"
del "!WORK!\call.b64" "!WORK!\call.sh" 2>nul
findstr /c:"result=1" "!OUT!" >nul && exit /b 0
findstr /c:"result=2" "!OUT!" >nul && (set ALREADY=1& echo         The device is already enrolled with this server; the token remains unused.& exit /b 0)
call :show
call :fail 43 "The agent rejected the configuration."
exit /b 43

:wait_until_seen
call :step 13 "Wait for the first heartbeat"
if "!DRY_RUN!"=="1" (echo         GET !SERVER_URL!/v1/enroll-tokens/self every 2 s, up to !TIMEOUT_S! s& exit /b 0)
if "!ALREADY!"=="1" (echo         Already enrolled.& exit /b 0)
set WAITED=0
:look_again
call :look_at_token !INDEX!
if "!TOKEN_STATUS!!TOKEN_SEEN!"=="used1" (echo         The server has heard from it.& exit /b 0)
if "!TOKEN_STATUS!"=="expired" (call :fail 21 "The token is expired by now." & exit /b 21)
if "!TOKEN_STATUS!"=="revoked" (call :fail 21 "The token is revoked by now." & exit /b 21)
if !WAITED! GEQ !TIMEOUT_S! (
    if "!TOKEN_STATUS!"=="used" (call :fail 44 "The device has registered, but sent no heartbeat within !TIMEOUT_S! s." & exit /b 44)
    if "!TOKEN_STATUS!"=="unused" (call :fail 44 "The device has not registered within !TIMEOUT_S! s." & exit /b 44)
    call :fail 44 "The server did not answer within !TIMEOUT_S! s (status !HTTP_STATUS!)." & exit /b 44
)
rem A pause of two seconds that needs no console.
ping -n 3 127.0.0.1 >nul
set /a WAITED+=2
goto look_again

:enroll_device
call :check_android || exit /b !ERRORLEVEL!
call :check_owner || exit /b !ERRORLEVEL!
call :check_accounts || exit /b !ERRORLEVEL!
call :check_users || exit /b !ERRORLEVEL!
call :install_agent || exit /b !ERRORLEVEL!
call :become_owner || exit /b !ERRORLEVEL!
call :grant_permissions || exit /b !ERRORLEVEL!
call :exempt_from_doze || exit /b !ERRORLEVEL!
call :hand_over || exit /b !ERRORLEVEL!
call :wait_until_seen
exit /b !ERRORLEVEL!

rem ---- one device ----

:one
call :check_adb || exit /b !ERRORLEVEL!
call :check_token || exit /b !ERRORLEVEL!
if "!TOKEN_STATUS!!TOKEN_SEEN!"=="used1" (echo Nothing is left to do: the device of this token reports.& exit /b 0)
set ALREADY=0
if "!TOKEN_STATUS!"=="used" (
    call :wait_until_seen
    exit /b !ERRORLEVEL!
)
call :choose_device || exit /b !ERRORLEVEL!
call :enroll_device || exit /b !ERRORLEVEL!
if "!DRY_RUN!"=="1" (echo A dry run: nothing was changed.) else (echo Enrolled.)
exit /b 0

rem ---- every device plugged in ----

rem :next_token: INDEX is the first token from INDEX on that no device has used.
:next_token
if !INDEX! GTR !TOKEN_COUNT! exit /b 45
call :look_at_token !INDEX!
if "!TOKEN_STATUS!"=="unused" exit /b 0
if not "!HTTP_STATUS!"=="200" if not "!HTTP_STATUS!"=="401" exit /b 20
set /a INDEX+=1
goto next_token

:batch
call :check_adb || exit /b !ERRORLEVEL!
if "!DRY_RUN!"=="1" (
    echo         adb devices; then for each device, with a token of its own:
    call :enroll_device
    echo A dry run: nothing was changed.
    exit /b 0
)
call :step 2 "The server"
call :next_token
set "CODE=!ERRORLEVEL!"
if "!CODE!"=="45" echo         All tokens of this script are used, expired or revoked.
if "!CODE!"=="20" (call :fail 20 "!SERVER_URL! answered with status !HTTP_STATUS!." & exit /b 20)
call :step 3 "The devices"
call :list_devices || exit /b !ERRORLEVEL!
set TOTAL=0
set FAILED=0
break >"!WORK!\summary.txt"
copy /y "!WORK!\devices.txt" "!WORK!\all.txt" >nul
for /f "usebackq tokens=1,* delims=	" %%a in ("!WORK!\all.txt") do (
    set TAKEN=1
    if not "!SERIAL!"=="" if not "!SERIAL!"=="%%a" set TAKEN=0
    if "!TAKEN!"=="1" call :one_of_batch "%%a" "%%b"
)
if "!TOTAL!"=="0" (call :fail 11 "adb sees no device." & exit /b 11)
set /a ENROLLED=TOTAL-FAILED
echo(
echo !ENROLLED! of !TOTAL! devices are enrolled.
type "!WORK!\summary.txt"
if not "!FAILED!"=="0" (set STEP=3& call :fail 1 "!FAILED! of !TOTAL! devices were not enrolled." & exit /b 1)
exit /b 0

rem :is_enrolled SERIAL: whether the agent says, asked without a token, that it is enrolled with this server.
:is_enrolled
>"!WORK!\call.sh" echo !CALL_ENROLL! --es server_url '!SERVER_URL!' #
>>"!WORK!\call.sh" echo exit #
adb -s "%~1" shell sh <"!WORK!\call.sh" >"!OUT!" 2>"!ERRORS!"
findstr /c:"result=2" "!OUT!" >nul
exit /b !ERRORLEVEL!

:one_of_batch
set /a TOTAL+=1
set STEP=3
echo(
echo == %~1
call :check_state "%~1" "%~2"
set "CODE=!ERRORLEVEL!"
if not "!CODE!"=="0" goto device_done
call :next_token
set "CODE=!ERRORLEVEL!"
if "!CODE!"=="45" call :is_enrolled "%~1" && (echo         Already enrolled.& set CODE=0& goto device_done)
if "!CODE!"=="45" call :fail 45 "No unused token is left for %~1."
if "!CODE!"=="20" call :fail 20 "!SERVER_URL! answered with status !HTTP_STATUS!."
if not "!CODE!"=="0" goto device_done
echo         Token !INDEX! of !TOKEN_COUNT! !ALIAS_%INDEX%!
set AGAIN=
if "!INSTALL!"=="0" set AGAIN=--no-install
call "%~f0" --serial "%~1" --timeout !TIMEOUT_S! --work "!WORK!" --one-of-batch !INDEX! !AGAIN!
set "CODE=!ERRORLEVEL!"
:device_done
rem Not as it is: a bracket of a serial would end the block.
set "NAMED=%~1"
if "!CODE!"=="0" (>>"!WORK!\summary.txt" echo   !NAMED!  enrolled) else (
    set /a FAILED+=1
    >>"!WORK!\summary.txt" echo   !NAMED!  FAILED with !CODE! ^(!NAME_%CODE%!^)
)
rem What was handed over may still be used by that device: it is given to no other one.
if "!CODE!"=="43" set /a INDEX+=1
if "!CODE!"=="44" set /a INDEX+=1
exit /b 0
