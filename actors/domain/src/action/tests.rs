use super::*;
use crate::access::Role;
use crate::param::ParamKind;

fn problem(action: Action) -> Option<String> {
    action.checked().err().map(|invalid| invalid.field)
}

#[test]
fn parameters_have_limits() {
    let app = |package: &str| Action::RestartApp { package: package.into() };
    let wifi = |ssid: &str, security, password: Option<&str>| Action::WifiConnect {
        ssid: ssid.into(),
        security,
        password: password.map(str::to_owned),
    };
    let long = "s".repeat(33);
    let table = [
        (Action::Ping, None),
        (Action::Ring { duration_s: 1 }, None),
        (Action::Ring { duration_s: 300 }, None),
        (Action::Ring { duration_s: 0 }, Some("params.duration_s")),
        (Action::Ring { duration_s: 301 }, Some("params.duration_s")),
        (app("com.example.app"), None),
        (app("nodots"), Some("params.package")),
        (app("com.example; reboot"), Some("params.package")),
        (Action::LaunchApp { package: "a.b".into(), intent: Some(String::new()) }, Some("params.intent")),
        (Action::LaunchApp { package: "a.b".into(), intent: Some("x".repeat(501)) }, Some("params.intent")),
        (wifi("shop", WifiSecurity::Wpa2, Some("12345678")), None),
        (wifi("shop", WifiSecurity::Open, None), None),
        (wifi("", WifiSecurity::Open, None), Some("params.ssid")),
        (wifi(&long, WifiSecurity::Open, None), Some("params.ssid")),
        (wifi("shop", WifiSecurity::Open, Some("12345678")), Some("params.password")),
        (wifi("shop", WifiSecurity::Wpa3, None), Some("params.password")),
        (wifi("shop", WifiSecurity::Wpa3, Some("1234567")), Some("params.password")),
        (wifi("shop", WifiSecurity::Wpa3, Some(&"p".repeat(64))), Some("params.password")),
        (Action::Exec { name: "collect-logs".into() }, None),
        (Action::Exec { name: "rm -rf /".into() }, Some("params.name")),
        (Action::Exec { name: "-x".into() }, Some("params.name")),
    ];
    for (n, (action, want)) in table.into_iter().enumerate() {
        assert_eq!(problem(action).as_deref(), want, "row {n}");
    }
}

#[test]
fn names_are_read_back_and_secrets_are_not_printed() {
    for kind in ActionKind::ALL {
        assert_eq!(ActionKind::parse("action", kind.as_str()), Ok(kind));
    }
    assert!(ActionKind::parse("action", "wipe").is_err_and(|invalid| invalid.problem.contains("ping, ring")));
    assert!(ActionKind::parse("action", "deploy_apk").is_err_and(|invalid| invalid.problem.contains("deployments")));
    let wifi = Action::WifiConnect { ssid: "shop".into(), security: WifiSecurity::Wpa2, password: Some("open sesame".into()) };
    assert!(!format!("{wifi:?}").contains("sesame"));
}

#[test]
fn what_cannot_be_undone_takes_an_administrator() {
    for kind in ActionKind::ALL {
        let sensitive = matches!(kind, ActionKind::ClearAppData | ActionKind::Exec | ActionKind::RotateKey);
        assert_eq!(Role::Operator.allows(kind.permission()), !sensitive, "{kind:?}");
        assert!(Role::Admin.allows(kind.permission()) && !Role::Viewer.allows(kind.permission()), "{kind:?}");
    }
}

#[test]
fn an_expiry_has_limits() {
    let now = chrono::DateTime::from_timestamp(0, 0).unwrap();
    let lasts = |asked_s| expiry(now, asked_s, 600, 86_400).map(|at| at.timestamp());
    assert_eq!(lasts(None), Ok(600));
    assert_eq!(lasts(Some(86_400)), Ok(86_400));
    for bad in [0, -5, 86_401] {
        assert_eq!(lasts(Some(bad)).unwrap_err().field, "expires_in_s");
    }
}

fn given(values: &[(&str, ParamValue)]) -> BTreeMap<String, ParamValue> {
    values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn text(value: &str) -> ParamValue {
    ParamValue::Text(value.to_owned())
}

#[test]
fn an_action_is_read_from_named_values_and_says_them_back() {
    let ring = Action::parse(ActionKind::Ring, given(&[("duration_s", ParamValue::Integer(3))])).unwrap();
    assert_eq!(ring, Action::Ring { duration_s: 3 });
    assert_eq!(Action::parse(ActionKind::Ring, given(&[])), Ok(Action::Ring { duration_s: 10 }), "the default");
    let wifi = given(&[("ssid", text("shop")), ("security", text("wpa2")), ("password", text(" 1234567"))]);
    let read = Action::parse(ActionKind::WifiConnect, wifi.clone()).unwrap();
    let said: BTreeMap<_, _> = read.params().filter_map(|(spec, value)| Some((spec.name.to_owned(), value?))).collect();
    assert_eq!(said, wifi);
    for (kind, values, field) in [
        (ActionKind::Ping, given(&[("loud", ParamValue::Flag(true))]), "params.loud"),
        (ActionKind::Ring, given(&[("duration_s", text("3"))]), "params.duration_s"),
        (ActionKind::Ring, given(&[("duration_s", ParamValue::Integer(i64::MAX))]), "params.duration_s"),
        (ActionKind::LaunchApp, given(&[]), "params.package"),
        (ActionKind::WifiConnect, given(&[("ssid", text("shop")), ("security", text("wep"))]), "params.security"),
    ] {
        assert_eq!(Action::parse(kind, values).unwrap_err().field, field);
    }
    let secret = given(&[("ssid", text("shop")), ("security", text("open")), ("password", text("open sesame"))]);
    assert!(!Action::parse(ActionKind::WifiConnect, secret).unwrap_err().problem.contains("sesame"));
}

#[test]
fn every_action_has_words_and_names_that_mean_one_thing() {
    for kind in ActionKind::ALL {
        let spec = kind.spec();
        assert!(!spec.title.is_empty() && spec.description.ends_with('.') && spec.consequence().ends_with('.'), "{kind:?}");
        assert!(spec.question("till-1", |name| format!("<{name}>")).contains("till-1"), "{kind:?}");
        for given in spec.params {
            let known = param(given.name).unwrap();
            assert_eq!((known.kind, known.unit), (given.kind, given.unit), "{}", given.field);
            assert_eq!(given.field, format!("params.{}", given.name));
            assert!(
                !given.label.is_empty() && (!matches!(given.kind, ParamKind::Integer { .. }) || !given.unit.is_empty()),
                "{}",
                given.field
            );
            assert!(given.unless.is_none_or(|(other, _)| spec.param(other).is_some()), "{}", given.field);
        }
        // People fill in what the question names.
        let requested = spec.confirmation.map_or("", |confirmation| confirmation.question);
        for name in requested.split('{').skip(1).filter_map(|part| part.split('}').next()) {
            assert!(name == "device" || spec.param(name).is_some(), "{kind:?}: {name}");
        }
    }
    let question = ActionKind::ClearAppData.spec().question("till-1", |_| "com.example.kiosk".into());
    assert_eq!(question, "Clear the data of com.example.kiosk on till-1?");
}

#[test]
fn the_documents_name_every_action() {
    let documents = include_str!("../../../../docs/operate.md");
    for kind in ActionKind::ALL {
        assert!(documents.contains(&format!("`{}`", kind.as_str())), "docs/operate.md lacks {}", kind.as_str());
    }
}
