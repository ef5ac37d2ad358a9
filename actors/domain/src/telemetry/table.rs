//! The telemetry table: every field of a heartbeat that is a reading of the device, declared once.
//!
//! `telemetry!(view => then { args })` calls the macro `then` with `args` and what a view has of each row: a crate turns that into its
//! types and statements. All views are below the table, and nothing else knows what a row looks like.
//!
//! Columns of a row:
//!
//! | | |
//! |---|---|
//! | no | Field number between nodes, never used again; a new field takes the next one. 35 is the watched packages', 41 that of unusable values. |
//! | field | Name in the server, in details, the API and CSV |
//! | type | Type in the server; `JsonText` is JSON of any shape. The wire's and the database's types follow from it. |
//! | key | Name in the heartbeat, within the object of its block |
//! | about, label, unit | What it is, as a sentence; its name on the device page; its unit |
//! | range | `[min, max]`, with `unknown n` for a number that means "unknown"; of text: the most characters, or `bytes n` |
//! | | What becomes of a value outside: the reading is unknown. With `cap` more than `max` is `max`; with `cut` longer text is cut; |
//! | | with `else word` an unknown word is this one. Words are known in any case, fractions of whole numbers are rounded. |
//! | stored | `column "name"` of `heartbeats` and `device_last_status`; `status "name"` of the latter only; `detail "name"` in its JSON |
//! | history | `measure "prefix"` of the columns of `history_hour`, `charted "tone"` on the device page; `share name "prefix"` of a yes/no |
//! | api | `pub`: part of `last` in the API |
//! | csv | Place among the telemetry of the device export |
//! | sort | `sort`: lists of devices can be sorted by it; a column of whole numbers from zero |
//! | page | Section of the device page that lists it, or `in "words"`: in brackets behind the one before it |
//! | kept | `opt_in "name"`: kept only when `telemetry.opt_in` of the configuration has this name |

/// Passes a view of the telemetry table to a macro.
#[macro_export]
macro_rules! telemetry {
    ($view:ident => $then:ident $args:tt) => {
        $crate::telemetry_view! { $view $then $args
//  no  field                         type       key                        about                                                             label                       unit      range                            stored                           history                                     api   csv  sort   page            kept
{ battery Battery "Battery." {
  {  1  battery_pct                   i16        pct                        "Charge, 0..100."                                                 "Battery"                   Percent   [0, 100]                         [column "battery_pct"]           [measure "battery" charted "accent"]        [pub] [3]  [sort] []              [] }
  {  2  charging                      bool       charging                   "Whether the battery is charging."                                "Charging"                  None      []                               [column "charging"]              [share charging_share "charging"]           [pub] [4]  []     []              [] }
  {  3  battery_temperature_c         f32        temperature_c              "Battery temperature in degrees Celsius."                         "Battery temperature"       Celsius   [-100.0, 200.0]                  [column "battery_temperature_c"] [measure "temperature" charted "warn"]      [pub] []  []     []              [] }
} }
{ . {
  {  4  app_version                   String     app_version                "Agent version name."                                             "Version"                   None      [128, cut]                       [column "app_version"]           []                                          [pub] [1]  []     [Agent]         [] }
  {  5  agent_version_code            i64        agent_version_code         "Agent version code."                                             "Version code"              None      [0, 9223372036854775807]         [column "agent_version_code"]    []                                          [pub] [2]  []     [in "code"]     [] }
} }
{ system System "Operating system and hardware." {
  {  6  android_version               String     android_version            "Android release."                                                "Android"                   None      [64, cut]                        [detail "android_version"]       []                                          [pub] [0]  []     [System]        [] }
  {  7  sdk_int                       i32        sdk_int                    "Android API level."                                              "API level"                 None      [1, 10000]                       [detail "sdk_int"]               []                                          [pub] []  []     [in "API"]      [] }
  {  8  patch_level                   String     patch_level                "Security patch level."                                           "Security patch"            None      [64, cut]                        [detail "patch_level"]           []                                          [pub] []  []     [System]        [] }
  {  9  build_id                      String     build_id                   "Build id."                                                       "Build"                     None      [128, cut]                       [detail "build_id"]              []                                          [pub] []  []     [System]        [] }
  { 10  model                         String     model                      "Model."                                                          "Model"                     None      [128, cut]                       [status "model"]                 []                                          []    []  []     []              [] }
  { 11  manufacturer                  String     manufacturer               "Manufacturer."                                                   "Manufacturer"              None      [128, cut]                       [detail "manufacturer"]          []                                          []    []  []     []              [] }
  { 42  supported_abis                String     supported_abis             "ABIs of native code that the device runs, best first, with commas between." "ABIs"                None      [256, cut]                       [detail "supported_abis"]        []                                          [pub] []  []     [System]        [] }
  { 12  uptime_s                      i64        uptime_seconds             "Seconds since boot."                                             "Uptime"                    Seconds   [0, 10000000000]                 [column "uptime_s"]              []                                          [pub] []  []     [System]        [] }
} }
{ memory Memory "Memory." {
  { 13  ram_total_mb                  i32        total_ram_mb               "Total memory, MiB."                                              "Memory"                    Mebibytes [0, 16777216]                    [detail "ram_total_mb"]          []                                          [pub] []  []     []              [] }
  { 14  ram_available_mb              i32        avail_ram_mb               "Available memory, MiB."                                          "Memory available"          Mebibytes [0, 16777216]                    [column "ram_available_mb"]      [measure "ram_available" charted "second"]  [pub] []  []     []              [] }
  { 15  ram_pressure_pct              i16        pressure_pct               "Memory pressure, 0..100."                                        "Memory pressure"           Percent   [0, 100]                         [column "ram_pressure_pct"]      [measure "ram_pressure"]                    [pub] []  []     []              [] }
} }
{ . {
  { 16  storage_free_mb               i64        storage_free_mb            "Free storage, MiB."                                              "Storage free"              Mebibytes [0, 1099511627776]               [column "storage_free_mb"]       [measure "storage_free" charted "third"]    [pub] [6]  []     []              [] }
} }
{ network Network "Network." {
  { 17  transport                     Transport  transport                  "Kind of network: `wifi`, `cellular`, `ethernet`, `none` or `other`." "Network"               None      [else other]                     [column "transport"]             []                                          [pub] [5]  []     []              [] }
  { 18  ssid                          String     ssid                       "SSID of the Wi-Fi network."                                      "Wi-Fi"                     None      [64, cut]                        [detail "ssid"]                  []                                          [pub] []  []     []              [] }
  { 19  carrier                       String     carrier                    "Mobile carrier."                                                 "Carrier"                   None      [128, cut]                       [detail "carrier"]               []                                          [pub] []  []     []              [] }
  { 20  ip                            String     ip                         "Address of the device, as it sees it."                           "Address"                   None      [64]                             [detail "ip"]                    []                                          [pub] []  []     []              [] }
} }
{ . {
  { 21  net_validated                 bool       net_validated              "Whether Android validated the network."                          "Network validated"         None      []                               [column "net_validated"]         [share net_validated_share "net_validated"] [pub] []  []     [Agent]         [] }
  { 22  metered                       bool       metered                    "Whether the network is metered."                                 "Metered"                   None      []                               [detail "metered"]               []                                          [pub] []  []     [Agent]         [] }
  { 23  foreground_recent_s           i32        monitored_foreground_recent_s "Seconds since the monitored app was in the foreground, -1 = unknown." "Monitored app in foreground" Seconds [0, 2147483647, unknown -1, cap] [column "foreground_recent_s"] []                                      [pub] []  []     []              [] }
  { 24  app_running                   bool       unity_process_running      "Whether the monitored process runs."                             "Monitored app running"     None      []                               [column "app_running"]           []                                          [pub] []  []     []              [] }
} }
{ speedtest_running_signals SpeedtestSignals "Signals of the speed test app." {
  { 25  speedtest_service_running     bool       has_service_notification   "Whether the speed test app shows its service notification."      "Speed test running"        None      []                               [detail "speedtest_service_running"] []                                      []    []  []     []              [] }
  { 26  speedtest_foreground_recent_s i32        foreground_recent_seconds  "Seconds since the speed test app was in the foreground, -1 = unknown." "Speed test in foreground" Seconds [0, 2147483647, unknown -1, cap] [detail "speedtest_foreground_recent_s"] []                                  []    []  []     []              [] }
} }
{ . {
  { 27  power_ok                      bool       power_ok                   "Whether battery optimization is off for the agent."              "Battery optimization off"  None      []                               [detail "power_ok"]              []                                          [pub] []  []     [Agent]         [] }
  { 28  doze_whitelisted              bool       doze_whitelisted           "Whether the agent is exempt from Doze."                          "Exempt from Doze"          None      []                               [detail "doze_whitelisted"]      []                                          [pub] []  []     [Agent]         [] }
  { 29  is_device_owner               bool       is_device_owner            "Whether the agent is device owner."                              "Device owner"              None      []                               [detail "is_device_owner"]       []                                          [pub] []  []     [Agent]         [] }
  { 30  in_call                       bool       in_call                    "Whether a phone call is in progress."                            "In a call"                 None      []                               [detail "in_call"]               []                                          [pub] []  []     [Agent]         [] }
  { 31  queue_depth                   i32        queue_depth                "Heartbeats queued on the device."                                "Queued heartbeats"         Count     [0, 2147483647, cap]             [column "queue_depth"]           []                                          [pub] []  []     [Agent]         [] }
  { 32  boot_id                       String     boot_id                    "Changes with every boot."                                        "Boot id"                   None      [64]                             [column "boot_id"]               []                                          []    []  []     []              [] }
  { 33  seq                           i64        seq                        "Counts heartbeats within a boot."                                "Sequence number"           None      [0, 9223372036854775807]         [column "seq"]                   []                                          []    []  []     []              [] }
  { 34  self_heal_hints               JsonText   self_heal_hints            "Opaque hints of the agent's self-repair."                        "Self-repair hints"         None      [bytes 4096]                     [detail "self_heal_hints"]       []                                          []    []  []     []              [] }
  { 36  cpu_load_pct                  i16        cpu_load_pct               "Load of the processors, 0..100."                                  "Processor load"            Percent   [0, 100]                         [column "cpu_load_pct"]          [measure "cpu_load" charted "good"]         [pub] [7]  []     [System]        [] }
} }
{ location Location "Position of the device, where the server is configured to keep it." {
  { 37  location_lat                  f64        lat                        "Latitude in degrees, north positive."                            "Latitude"                  Degrees   [-90.0, 90.0]                    [detail "location_lat"]          []                                          [pub] [8]  []     [System]        [opt_in "location"] }
  { 38  location_lon                  f64        lon                        "Longitude in degrees, east positive."                            "Longitude"                 Degrees   [-180.0, 180.0]                  [detail "location_lon"]          []                                          [pub] [9]  []     [System]        [opt_in "location"] }
  { 39  location_accuracy_m           f32        accuracy_m                 "Radius around the position in which the device is with a probability of 68 %, m." "Location accuracy" Meters [0.0, 100000000.0]          [detail "location_accuracy_m"]   []                                          [pub] [10]  []     [System]        [opt_in "location"] }
  { 40  location_at                   Timestamp  at                         "Time of the position."                                           "Location time"             None      []                               [detail "location_at"]           []                                          [pub] [11]  []     [System]        [opt_in "location"] }
} }
        }
    };
}

/// The views: what each passes on of a row, and of which rows.
#[doc(hidden)]
#[macro_export]
macro_rules! telemetry_view {
    // `{ object field type key about range [kept] }` of every row.
    (fields $then:ident $args:tt $( { $object:tt $($Object:ident $object_about:tt)? {
        $( { $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt $stored:tt $history:tt $api:tt $csv:tt
             $sort:tt $page:tt $kept:tt } )*
    } } )*) => {
        $then! { $args $($( { $object $field $type $key $about $range $kept } )*)* }
    };
    // Everything of every row, behind its object.
    (rows $then:ident $args:tt $( { $object:tt $($Object:ident $object_about:tt)? { $( { $no:tt $field:ident $($row:tt)* } )* } } )*) => {
        $then! { $args $($( { $object $no $field $($row)* } )*)* }
    };
    // `objects { object Object about { rows } }* top { rows }`, where a row is `{ field type key about range }`.
    (wire $then:ident $args:tt $($blocks:tt)*) => {
        $crate::telemetry_blocks! { $then $args [] [] $($blocks)* }
    };
    // `{ field type "name" ["name of heartbeats"] }` of the rows that are columns.
    (columns $then:ident $args:tt $( { $object:tt $($Object:ident $object_about:tt)? {
        $( { $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt
             [$(column $column:tt)? $(status $status:tt)? $(detail $detail:tt)?] $($rest:tt)* } )*
    } } )*) => {
        $then! { $args $($( $( { $field $type $column [$column] } )? $( { $field $type $status [] } )? )*)* }
    };
    // `{ no field "name" }` of the rows that are details.
    (details $then:ident $args:tt $( { $object:tt $($Object:ident $object_about:tt)? {
        $( { $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt
             [$(column $column:tt)? $(status $status:tt)? $(detail $detail:tt)?] $($rest:tt)* } )*
    } } )*) => {
        $then! { $args $($( $( { $no $field $detail } )? )*)* }
    };
    // `measures { field column "prefix" about label unit [tone] }* shares { field name column "prefix" about }*`.
    (history $then:ident $args:tt $( { $object:tt $($Object:ident $object_about:tt)? {
        $( { $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt [$stored:ident $name:tt]
             [$(measure $measure:tt $(charted $tone:tt)?)? $(share $share:ident $answers:tt)?] $($rest:tt)* } )*
    } } )*) => {
        $then! { $args
            measures { $($( $( { $field $name $measure $about $label $unit [$($tone)?] } )? )*)* }
            shares { $($( $( { $field $share $name $answers $about } )? )*)* }
        }
    };
    // `{ field type about pub }` of the rows that the API shows.
    (api $then:ident $args:tt $( { $object:tt $($Object:ident $object_about:tt)? {
        $( { $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt $stored:tt $history:tt
             [$($api:tt)?] $($rest:tt)* } )*
    } } )*) => {
        $then! { $args $($( $( { $field $type $about $api } )? )*)* }
    };
    // `{ no field }` of every row.
    (numbers $then:ident $args:tt $( { $object:tt $($Object:ident $object_about:tt)? { $( { $no:tt $field:ident $($rest:tt)* } )* } } )*) => {
        $then! { $args $($( { $no $field } )*)* }
    };
}

/// Sorts the blocks of the table into objects and fields of the heartbeat itself.
#[doc(hidden)]
#[macro_export]
macro_rules! telemetry_blocks {
    ($then:ident $args:tt [$($objects:tt)*] [$($top:tt)*]) => {
        $then! { $args objects { $($objects)* } top { $($top)* } }
    };
    ($then:ident $args:tt $objects:tt [$($top:tt)*] { . {
        $( { $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt $($row:tt)* } )*
    } } $($rest:tt)*) => {
        $crate::telemetry_blocks! { $then $args $objects [$($top)* $( { $field $type $key $about $range } )*] $($rest)* }
    };
    ($then:ident $args:tt [$($objects:tt)*] $top:tt { $object:ident $Object:ident $object_about:tt {
        $( { $no:tt $field:ident $type:ident $key:ident $about:tt $label:tt $unit:ident $range:tt $($row:tt)* } )*
    } } $($rest:tt)*) => {
        $crate::telemetry_blocks! { $then $args
            [$($objects)* { $object $Object $object_about { $( { $field $type $key $about $range } )* } }] $top $($rest)* }
    };
}
