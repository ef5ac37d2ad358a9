# Enrolls Android devices over USB with NexMDM. For Windows PowerShell 5.1 or newer.
# Run it with: powershell -ExecutionPolicy Bypass -File FILE [options]
#
# This file holds enrollment tokens: whoever has it can enroll devices. Keep it private, and
# delete it when the devices are enrolled.
#
# Exit codes: 0 all is done, otherwise
@EXIT_CODES@

$ErrorActionPreference = 'Stop'
Set-StrictMode -Version 2

$ServerUrl = @SERVER_URL@
$ApkUrl = @APK_URL@
$ApkSha256 = @APK_SHA256@
$Tokens = @(@TOKENS@)
$Aliases = @(@ALIASES@)
$Batch = @BATCH@
$Install = @INSTALL@

$Package = @PACKAGE@
$Admin = @ADMIN@
$MinSdk = @MIN_SDK@
$Permissions = @PERMISSIONS@
$Calls = @{
    CALL_SDK = @CALL_SDK@
    CALL_OWNER = @CALL_OWNER@
    CALL_ACCOUNTS = @CALL_ACCOUNTS@
    CALL_USERS = @CALL_USERS@
    CALL_DIGEST = @CALL_DIGEST@
    CALL_SET_OWNER = @CALL_SET_OWNER@
    CALL_GRANT = @CALL_GRANT@
    CALL_OPERATION = @CALL_OPERATION@
    CALL_DOZE_LIST = @CALL_DOZE_LIST@
    CALL_DOZE_ADD = @CALL_DOZE_ADD@
    CALL_ENROLL = @CALL_ENROLL@
}

$TimeoutSeconds = 180
$PollSeconds = 2
$CallTimeoutSeconds = 60
$InstallTimeoutSeconds = 300
$Steps = 13

$Serial = $env:ANDROID_SERIAL
$AliasWanted = ''
$DryRun = $false
$Step = 0
$Work = $null
$Sdk = 0
$IsOwner = $false
$Already = $false

$FailureNames = @{
@FAILURE_NAMES@
}
$FailureRemedies = @{
@FAILURE_REMEDIES@
}
$InstallRemedies = [ordered]@{
@INSTALL_REMEDIES@
}
$OwnerRefusals = [ordered]@{
@OWNER_REFUSALS@
}
$CallRefusals = @(
@CALL_REFUSALS@
)

$Usage = @'
Enrolls Android devices over USB: checks the device, installs the agent, makes it device owner,
configures server and token, and waits for the first heartbeat. The script can be run repeatedly.

  --serial SERIAL   serial number, if several devices are connected (see adb devices)
  --alias NAME      alias of the device, if the token has none
  --timeout SECONDS timeout of the wait for the first heartbeat (180)
  --no-install      do not install the agent: it is already installed
  --dry-run         print the adb calls and change nothing
  --help            this text
'@

# ---- words ----

function Step([int]$Number, [string]$Words) {
    $script:Step = $Number
    Write-Host "[$Number/$Steps] $Words"
}
function Note([string]$Words) { Write-Host "        $Words" }
function Show([string]$Words) {
    foreach ($Line in ($Words -split "`n")) {
        if ($Line -ne '' -and $Line -ne 'end') { [Console]::Error.WriteLine("        | $Line") }
    }
}

# Ends the enrollment of this device: the exception carries the exit code.
function Fail([int]$Code, [string]$Words) {
    [Console]::Error.WriteLine('')
    [Console]::Error.WriteLine("FAILED at step ${Step}: $Words")
    [Console]::Error.WriteLine("Remedy: $($FailureRemedies[$Code])")
    [Console]::Error.WriteLine("Exit code $Code ($($FailureNames[$Code]))")
    throw "nexmdm-exit:$Code"
}
function CodeOf($Problem) {
    if ("$($Problem.Exception.Message)" -match '^nexmdm-exit:(\d+)$') { return [int]$Matches[1] }
    [Console]::Error.WriteLine("$Problem")
    return 19
}

# ---- calls ----

# A word as the device's shell reads it.
function DeviceWord([string]$Value) { return "'" + $Value.Replace("'", "'\''") + "'" }

# An argument as Windows programs read it.
function Argument([string]$Value) {
    if ($Value -match '^[A-Za-z0-9_./:=+-]+$') { return $Value }
    return '"' + ($Value -replace '(\\*)"', '$1$1\"' -replace '(\\+)$', '$1$1') + '"'
}

# Runs adb: its exit code, its answer (Out), and everything it said (All), to be shown: libraries, linkers and adb itself warn beside
# an answer. It is ended when it takes too long.
function Adb([int]$Seconds, [string[]]$Arguments, [string]$Typed = '') {
    $Info = New-Object System.Diagnostics.ProcessStartInfo
    $Info.FileName = 'adb'
    $Info.Arguments = (@($Arguments | ForEach-Object { Argument $_ }) -join ' ')
    $Info.UseShellExecute = $false
    $Info.CreateNoWindow = $true
    $Info.RedirectStandardInput = $true
    $Info.RedirectStandardOutput = $true
    $Info.RedirectStandardError = $true
    $Process = [System.Diagnostics.Process]::Start($Info)
    $Out = $Process.StandardOutput.ReadToEndAsync()
    $Err = $Process.StandardError.ReadToEndAsync()
    if ($Typed -ne '') {
        # Written as bytes: a writer might begin with a byte order mark.
        $Bytes = [System.Text.Encoding]::UTF8.GetBytes($Typed)
        $Process.StandardInput.BaseStream.Write($Bytes, 0, $Bytes.Length)
    }
    $Process.StandardInput.BaseStream.Close()
    if (-not $Process.WaitForExit($Seconds * 1000)) {
        try { $Process.Kill() } catch { $null = $_ }
        return @{ Code = 124; Out = ''; All = "no answer within $Seconds s" }
    }
    $Answer = ($Out.Result -replace "`r", '').TrimEnd("`n")
    $Beside = ($Err.Result -replace "`r", '').TrimEnd("`n")
    return @{ Code = $Process.ExitCode; Out = $Answer; All = "$Answer`n$Beside" }
}

# The last line of an answer that matches as a whole. A linker on the device may have warned before.
function LineOf([string]$Answer, [string]$Pattern) {
    $Found = @($Answer -split "`n" | Where-Object { $_ -match "^(?:$Pattern)$" })
    if ($Found.Count -eq 0) { return '' }
    return $Found[-1]
}

# Whether a call that says nothing when it succeeds has failed.
function IsRefused($Answer) {
    if ($Answer.Code -ne 0) { return $true }
    foreach ($Words in $CallRefusals) { if ($Answer.All.Contains($Words)) { return $true } }
    return $false
}

# A call to the chosen device. A dry run only prints it.
function AdbCall([int]$Seconds, [string[]]$Arguments, [string]$Typed = '') {
    if ($DryRun) {
        $Name = $Serial
        if (-not $Name) { $Name = 'SERIAL' }
        Note ("adb -s $(DeviceWord $Name) " + (@($Arguments | ForEach-Object { Argument $_ }) -join ' '))
        return @{ Code = 0; Out = ''; All = '' }
    }
    return Adb $Seconds (@('-s', $Serial) + $Arguments) $Typed
}

# A look at the device that must come to its end.
function Ask([string]$Name) {
    $Answer = AdbCall $CallTimeoutSeconds @('shell', "$($Calls[$Name]); echo end")
    if ($DryRun) { return '' }
    if ((LineOf $Answer.Out 'end') -eq '') {
        Show $Answer.All
        Fail 19 "The device $Serial does not answer."
    }
    return (@($Answer.Out -split "`n" | Where-Object { $_ -ne 'end' }) -join "`n")
}

# Status and body of a request; status 0 when there is no answer.
function Fetch([string]$Url, [int]$Seconds, [string]$Token = '', [string]$File = '') {
    $Headers = @{}
    if ($Token -ne '') { $Headers['Authorization'] = "Bearer $Token" }
    $Wanted = @{ Uri = $Url; Headers = $Headers; TimeoutSec = $Seconds; UseBasicParsing = $true }
    if ($File -ne '') { $Wanted['OutFile'] = $File }
    try {
        $Answer = Invoke-WebRequest @Wanted
        $Body = ''
        if ($File -eq '') { $Body = [string]$Answer.Content }
        return @{ Status = 200; Body = $Body }
    } catch {
        $Response = $null
        if ($_.Exception.PSObject.Properties['Response']) { $Response = $_.Exception.Response }
        if ($null -ne $Response) { return @{ Status = [int]$Response.StatusCode; Body = '' } }
        return @{ Status = 0; Body = "$($_.Exception.Message)" }
    }
}

# What the server says about a token.
function LookAtToken([string]$Token) {
    $Answer = Fetch "$ServerUrl/v1/enroll-tokens/self" 20 $Token
    $Look = @{ Http = $Answer.Status; Status = ''; Device = ''; Seen = ''; Words = $Answer.Body }
    if ($Answer.Status -eq 200) {
        $Read = $Answer.Body | ConvertFrom-Json
        $Look.Status = [string]$Read.status
        $Look.Device = [string]$Read.device_id
        $Look.Seen = [string]$Read.first_heartbeat_at
    }
    return $Look
}

# ---- steps ----

function CheckAdb {
    Step 1 'adb'
    if ($DryRun) { Note 'adb version'; return }
    if ($null -eq (Get-Command adb -ErrorAction SilentlyContinue)) { Fail 10 'adb is not on the PATH.' }
    $Answer = Adb $CallTimeoutSeconds @('version')
    if ($Answer.Code -ne 0) { Show $Answer.All; Fail 10 'adb was found but does not run.' }
    Note (($Answer.Out -split "`n")[0])
}

function CheckToken([string]$Token) {
    Step 2 'The server and the token'
    if ($DryRun) { Note "GET $ServerUrl/v1/enroll-tokens/self (asked in a real run)"; return @{ Status = 'unused' } }
    if ($ServerUrl -match '://(127\.|localhost|0\.0\.0\.0)') {
        Note "Note: a device cannot reach $ServerUrl unless it is forwarded; set http.public_url on the server."
    }
    $Look = LookAtToken $Token
    if ($Look.Http -eq 200) {
        if ($Look.Status -eq 'used') { Note "The token was already used by device $($Look.Device)." }
        elseif ($Look.Status -ne 'unused') { Fail 21 "The token is $($Look.Status)." }
    }
    elseif ($Look.Http -eq 401) { Fail 21 'The token is unknown to the server.' }
    elseif ($Look.Http -eq 0) { Show $Look.Words; Fail 20 "No answer from $ServerUrl." }
    else { Fail 20 "$ServerUrl answered with status $($Look.Http)." }
    return $Look
}

# Lines of serial, tabulator and state. A serial may hold blanks: adb-1A2B (2)._adb-tls-connect._tcp
function ListDevices {
    $Answer = Adb $CallTimeoutSeconds @('devices')
    if ($Answer.Code -ne 0) { Show $Answer.All; Fail 10 'adb devices failed.' }
    $Found = @()
    foreach ($Line in ($Answer.Out -split "`n")) {
        if ($Line -match '^(List of devices|\*)' -or $Line -notmatch '^([^\t]+)\t(.+)$') { continue }
        $Found += @{ Serial = $Matches[1]; State = $Matches[2].Trim() }
    }
    return $Found
}

function CheckState($Device) {
    if ($Device.State -eq 'device') { return }
    if ($Device.State -eq 'unauthorized' -or $Device.State -eq 'authorizing') { Fail 13 "The device $($Device.Serial) has not accepted this computer." }
    if ($Device.State -match 'permissions') { Fail 13 "This computer is not permitted to access the device $($Device.Serial): $($Device.State)" }
    Fail 14 "The device $($Device.Serial) is in the state: $($Device.State)"
}

function ChooseDevice {
    Step 3 'The device'
    if ($DryRun) { Note 'adb devices'; return }
    $Found = @(ListDevices | Where-Object { -not $Serial -or $_.Serial -eq $Serial })
    if ($Found.Count -eq 0 -and $Serial) { Fail 11 "There is no device $Serial." }
    if ($Found.Count -eq 0) { Fail 11 'adb sees no device.' }
    if ($Found.Count -gt 1) {
        foreach ($Device in $Found) { Show "$($Device.Serial) $($Device.State)" }
        Fail 12 "adb sees $($Found.Count) devices."
    }
    $script:Serial = $Found[0].Serial
    CheckState $Found[0]
    Note $Serial
}

function CheckAndroid {
    Step 4 'Android version'
    $Told = Ask 'CALL_SDK'
    if ($DryRun) { $script:Sdk = 10000; return }
    $Level = LineOf $Told '[0-9]{1,5}'
    if ($Level -eq '') { Show $Told; Fail 19 'The API level of the device is unavailable.' }
    $script:Sdk = [int]$Level
    if ($Sdk -lt $MinSdk) { Fail 15 "The device has API level $Sdk; the agent needs $MinSdk." }
    Note "API level $Sdk"
}

function CheckOwner {
    Step 5 'Other owners'
    $script:IsOwner = $false
    $Told = Ask 'CALL_OWNER'
    if ($Told.Contains("{$Package/")) { $script:IsOwner = $true; Note 'The agent is already device owner.' }
    elseif ($Told.Contains('admin=')) { Show $Told; Fail 16 'Another app manages this device.' }
}

function CheckAccounts {
    Step 6 'Accounts'
    if ($IsOwner) { Note 'Skipped: the agent is already device owner.'; return }
    $Told = Ask 'CALL_ACCOUNTS'
    if ($Told.Contains('Accounts:')) { Show $Told; Fail 17 'The device has accounts.' }
}

function CheckUsers {
    Step 7 'Other users'
    if ($IsOwner) { Note 'Skipped: the agent is already device owner.'; return }
    $Told = Ask 'CALL_USERS'
    if (@($Told -split "`n" | Where-Object { $_ -match 'UserInfo' }).Count -gt 1) { Show $Told; Fail 18 'The device has more than one user.' }
}

function DownloadAgent([string]$File) {
    if (Test-Path -LiteralPath $File) { return }
    Note 'Downloading the agent'
    $Part = "$File.part"
    $Answer = Fetch $ApkUrl 600 '' $Part
    if ($Answer.Status -ne 200) { Show $Answer.Body; Fail 30 "The server answered with status $($Answer.Status)." }
    $Digest = (Get-FileHash -LiteralPath $Part -Algorithm SHA256).Hash.ToLowerInvariant()
    if ($Digest -ne $ApkSha256) { Fail 31 "Its SHA-256 is $Digest instead of $ApkSha256." }
    Move-Item -LiteralPath $Part -Destination $File
}

function InstallAgent {
    Step 8 'The agent'
    $Told = LineOf (Ask 'CALL_DIGEST') 'absent|[0-9a-f]{64} .*'
    if ($DryRun) {
        if ($Install -eq 1) { $null = AdbCall $InstallTimeoutSeconds @('install', '-r', 'agent.apk') }
        return
    }
    if ($Install -eq 0) {
        if ($Told -eq 'absent') { Fail 33 'The agent is not installed.' }
        Note 'The agent is installed.'
        return
    }
    if ($ApkSha256 -ne '' -and $Told.StartsWith("$ApkSha256 ")) { Note 'This APK is already installed.'; return }
    if ($ApkUrl -eq '') { Fail 33 'The server had no agent APK when this script was created.' }
    $File = Join-Path $Work 'agent.apk'
    DownloadAgent $File
    Note 'Installing the agent'
    $Answer = AdbCall $InstallTimeoutSeconds @('install', '-r', $File)
    if ($Answer.Out.Contains('Success')) { return }
    Show $Answer.All
    foreach ($Name in $InstallRemedies.Keys) {
        if ($Answer.All.Contains($Name)) { [Console]::Error.WriteLine("        $($InstallRemedies[$Name])"); break }
    }
    Fail 32 'adb could not install the agent.'
}

function BecomeOwner {
    Step 9 'Device owner'
    if ($IsOwner) { Note 'The agent is already device owner.'; return }
    $Answer = AdbCall $CallTimeoutSeconds @('shell', $Calls['CALL_SET_OWNER'])
    if ($DryRun -or $Answer.Out.Contains('Success')) { return }
    Show $Answer.All
    foreach ($Words in $OwnerRefusals.Keys) {
        if ($Answer.All.Contains($Words)) { Fail ($OwnerRefusals[$Words]) 'Android refused.' }
    }
    Fail 40 'Android refused.'
}

function GrantPermissions {
    Step 10 'Permissions'
    foreach ($Entry in $Permissions -split ' ') {
        $Since, $Permission = $Entry -split ':', 2
        if ($Sdk -lt [int]$Since) { continue }
        $Answer = AdbCall $CallTimeoutSeconds @('shell', "$($Calls['CALL_GRANT']) $Permission")
        if (-not (IsRefused $Answer)) { continue }
        if ($Answer.All -match 'has not requested permission|nknown permission') { Note "${Permission}: not requested by this agent" }
        else { Show $Answer.All; Fail 41 "$Permission was not granted." }
    }
    $Answer = AdbCall $CallTimeoutSeconds @('shell', $Calls['CALL_OPERATION'])
    if (IsRefused $Answer) { Show $Answer.All; Fail 41 'Access to app usage was not granted.' }
}

function ExemptFromDoze {
    Step 11 'Doze'
    if ((Ask 'CALL_DOZE_LIST').Contains(",$Package,")) { Note 'The agent is already exempt.'; return }
    $Answer = AdbCall $CallTimeoutSeconds @('shell', $Calls['CALL_DOZE_ADD'])
    $Told = Ask 'CALL_DOZE_LIST'
    if ($DryRun) { return }
    if (-not $Told.Contains(",$Package,")) { Show $Answer.All; Fail 42 'The agent is not on the list of exempt apps.' }
}

# The token goes by standard input, so that no list of processes shows it.
function HandOver([string]$Token, [string]$Alias) {
    Step 12 'Configure server and token'
    $script:Already = $false
    $Call = "$($Calls['CALL_ENROLL']) --es server_url $(DeviceWord $ServerUrl)"
    if ($DryRun) {
        $null = AdbCall $CallTimeoutSeconds @('shell', 'sh')
        Note "  with this on its standard input: $Call --es enrollment_token (hidden)"
        return
    }
    $Call += " --es enrollment_token $(DeviceWord $Token)"
    if ($Alias -ne '') { $Call += " --es alias $(DeviceWord $Alias)" }
    $Answer = AdbCall $CallTimeoutSeconds @('shell', 'sh') "$Call`nexit`n"
    if ($Answer.Out.Contains('result=1')) { return }
    if ($Answer.Out.Contains('result=2')) {
        $script:Already = $true
        Note 'The device is already enrolled with this server; the token remains unused.'
        return
    }
    Show $Answer.All
    Fail 43 'The agent rejected the configuration.'
}

function WaitUntilSeen([string]$Token) {
    Step 13 'Wait for the first heartbeat'
    if ($DryRun) { Note "GET $ServerUrl/v1/enroll-tokens/self every $PollSeconds s, up to $TimeoutSeconds s"; return }
    if ($Already) { Note 'Already enrolled.'; return }
    $Watch = [System.Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $Look = LookAtToken $Token
        if ($Look.Status -eq 'used' -and $Look.Seen -ne '') { break }
        if ($Look.Status -eq 'expired' -or $Look.Status -eq 'revoked') { Fail 21 "The token is $($Look.Status) by now." }
        if ($Watch.Elapsed.TotalSeconds -ge $TimeoutSeconds) {
            if ($Look.Status -eq 'used') { Fail 44 "Device $($Look.Device) has registered, but sent no heartbeat within $TimeoutSeconds s." }
            if ($Look.Status -eq 'unused') { Fail 44 "The device has not registered within $TimeoutSeconds s." }
            Fail 44 "The server did not answer within $TimeoutSeconds s (status $($Look.Http))."
        }
        Start-Sleep -Seconds $PollSeconds
    }
    Note "Device $($Look.Device) reported at $($Look.Seen)."
}

function EnrollDevice([string]$Token, [string]$Alias) {
    CheckAndroid
    CheckOwner
    CheckAccounts
    CheckUsers
    InstallAgent
    BecomeOwner
    GrantPermissions
    ExemptFromDoze
    HandOver $Token $Alias
    WaitUntilSeen $Token
}

# ---- one device ----

function EnrollOne {
    CheckAdb
    $Look = CheckToken $Tokens[0]
    if ($Look.Status -eq 'used') {
        if ($Look.Seen -ne '') { Write-Host "`nNothing is left to do: device $($Look.Device) reports since $($Look.Seen)."; return }
        WaitUntilSeen $Tokens[0]
        Write-Host "`nEnrolled."
        return
    }
    ChooseDevice
    $Alias = $AliasWanted
    if ($Alias -eq '') { $Alias = $Aliases[0] }
    EnrollDevice $Tokens[0] $Alias
    if ($DryRun) { Write-Host "`nA dry run: nothing was changed." } else { Write-Host "`nEnrolled." }
}

# ---- every device plugged in ----

# The first token from $Next on that no device has used.
function NextToken([int]$Next) {
    for (; $Next -lt $Tokens.Count; $Next++) {
        $Look = LookAtToken $Tokens[$Next]
        if ($Look.Status -eq 'unused') { return $Next }
        if ($Look.Http -ne 200 -and $Look.Http -ne 401) { Fail 20 "$ServerUrl answered with status $($Look.Http)." }
    }
    return $Next
}

# Whether the agent says, asked without a token, that it is enrolled with this server.
function IsEnrolled {
    $Answer = AdbCall $CallTimeoutSeconds @('shell', 'sh') "$($Calls['CALL_ENROLL']) --es server_url $(DeviceWord $ServerUrl)`nexit`n"
    return $Answer.Out.Contains('result=2')
}

function EnrollBatch {
    CheckAdb
    if ($DryRun) {
        Note 'adb devices; then for each device, with a token of its own:'
        EnrollDevice $Tokens[0] $Aliases[0]
        Write-Host "`nA dry run: nothing was changed."
        return
    }
    Step 2 'The server'
    $Next = NextToken 0
    if ($Next -ge $Tokens.Count) { Note 'All tokens of this script are used, expired or revoked.' }
    Step 3 'The devices'
    $Only = $Serial
    $Found = @(ListDevices | Where-Object { -not $Only -or $_.Serial -eq $Only })
    if ($Found.Count -eq 0) { Fail 11 'adb sees no device.' }
    $Failed = 0
    $Summary = ''
    foreach ($Device in $Found) {
        Write-Host "`n== $($Device.Serial)"
        $Code = 0
        try {
            $script:Step = 3
            CheckState $Device
            $script:Serial = $Device.Serial
            $Next = NextToken $Next
            if ($Next -lt $Tokens.Count) {
                Note "Token $($Next + 1) of $($Tokens.Count) $($Aliases[$Next])"
                EnrollDevice $Tokens[$Next] $Aliases[$Next]
            }
            elseif (IsEnrolled) { Note 'Already enrolled.' }
            else { Fail 45 "No unused token is left for $($Device.Serial)." }
        } catch {
            $Code = CodeOf $_
        }
        if ($Code -eq 0) { $Summary += "`n  $($Device.Serial)  enrolled" }
        else { $Failed++; $Summary += "`n  $($Device.Serial)  FAILED with $Code ($($FailureNames[$Code]))" }
        # What was handed over may still be used by that device: it is given to no other one.
        if ($Code -eq 43 -or $Code -eq 44) { $Next++ }
    }
    Write-Host "`n$($Found.Count - $Failed) of $($Found.Count) devices are enrolled.$Summary"
    if ($Failed -gt 0) { $script:Step = 3; Fail 1 "$Failed of $($Found.Count) devices were not enrolled." }
}

# ---- start ----

function BadUsage([string]$Words) {
    [Console]::Error.WriteLine($Usage)
    Fail 2 $Words
}

$Code = 0
try {
    for ($Index = 0; $Index -lt $args.Count; $Index++) {
        $Option = [string]$args[$Index]
        switch ($Option) {
            '--help' { Write-Host $Usage; exit 0 }
            '--dry-run' { $DryRun = $true }
            '--no-install' { $Install = 0 }
            { $_ -in '--serial', '--alias', '--timeout' } {
                $Index++
                if ($Index -ge $args.Count -or [string]$args[$Index] -eq '') { BadUsage "$Option takes a value." }
                $Value = [string]$args[$Index]
                if ($Option -eq '--serial') { $Serial = $Value }
                elseif ($Option -eq '--alias') { $AliasWanted = $Value }
                elseif ($Value -match '^\d+$') { $TimeoutSeconds = [int]$Value }
                else { BadUsage '--timeout takes seconds.' }
            }
            default { BadUsage "$Option is not known." }
        }
    }
    if ($AliasWanted -match '[\r\n]') { BadUsage '--alias takes one line.' }
    if ($Batch -eq 1 -and $AliasWanted -ne '') { BadUsage '--alias is for a single device.' }
    # 5.1 would offer nothing newer than TLS 1.0 by itself, and draws a slow progress bar.
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
    $ProgressPreference = 'SilentlyContinue'
    if ($null -eq (Get-Command Invoke-WebRequest -ErrorAction SilentlyContinue)) { Fail 22 'This PowerShell has no Invoke-WebRequest.' }
    $Work = Join-Path ([IO.Path]::GetTempPath()) ('nexmdm.' + [Guid]::NewGuid())
    $null = New-Item -ItemType Directory -Path $Work
    if ($Batch -eq 1) { EnrollBatch } else { EnrollOne }
} catch {
    $Code = CodeOf $_
} finally {
    if ($Work) { Remove-Item -LiteralPath $Work -Recurse -Force -ErrorAction SilentlyContinue }
}
exit $Code
