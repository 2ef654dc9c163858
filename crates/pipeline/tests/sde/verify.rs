//! `sde verify`: its checks, its files, what it refuses.

use super::*;

#[test]
fn verify_reports_every_check_and_writes_its_files() {
    let folder = folder();
    let x = data::digits().test.images.midpoints();
    let x = x.slice_axis(Axis(0), Slice::from(..3)).to_owned().into_dyn();
    write_npy(folder.path().join("x.npy"), &x).unwrap();
    let args = "verify --model net --data x.npy --t-min 0.05 --t-max 0.2 --num 2";
    let report = json(&folder, &format!("{args} --out v.json --plot v.png --html v.html"));
    expect_keys(&report, &format!("{HEAD} checks"));
    let checks = report["checks"].as_array().unwrap();
    let named = |start: &str| {
        checks.iter().filter(|c| c["name"].as_str().unwrap().starts_with(start)).collect::<Vec<_>>()
    };
    let counts = [
        "space_time_loop t=",
        "asymmetry t=",
        "terminal_snr",
        "prior_mismatch",
        "sliced_w1 eta=",
        "round_trip tol=",
        "ode_above_bound",
    ]
    .map(|name| named(name).len());
    assert_eq!(counts, [5, 5, 1, 1, 4, 2, 1]);
    for check in checks {
        expect_keys(check, "name value se normal_below verdict");
        let number = |key: &str| check[key].as_f64();
        let (value, below) = (number("value").unwrap(), number("normal_below").unwrap());
        let verdict = match value < below {
            true => "normal",
            false if value - 2.0 * number("se").unwrap_or(0.0) >= below => "high",
            false => "unclear",
        };
        assert_eq!(check["verdict"], verdict, "{check}");
    }
    let snr = named("terminal_snr")[0]["value"].as_f64().unwrap();
    let alpha2 = (-0.1 * 0.2 - 0.5 * 19.9 * 0.2_f64.powi(2)).exp(); // exp(−∫β)
    assert!((snr / (alpha2 / (1.0 - alpha2)) - 1.0).abs() < 1e-9);
    assert_eq!(named("terminal_snr")[0]["verdict"], "high"); // t_max is far from the end
    let trips =
        named("round_trip").iter().map(|c| c["value"].as_f64().unwrap()).collect::<Vec<_>>();
    assert!(trips[0] > 0.0 && trips[1] < 0.2 * trips[0], "{trips:?}"); // they follow the tolerance
    // weights that were never trained are no score of anything
    let high = |name: &str| named(name).iter().any(|c| c["verdict"] == "high");
    assert!(high("space_time_loop") || high("asymmetry"), "{report}");

    let file: Value =
        serde_json::from_slice(&fs::read(folder.path().join("v.json")).unwrap()).unwrap();
    assert_eq!(file["checks"], report["checks"]);
    let picture = fs::read(folder.path().join("v.png")).unwrap();
    let page = fs::read_to_string(folder.path().join("v.html")).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && page.contains("data:image/png;base64,iVBORw0KGgo"));
    assert!(page.contains("ode_above_bound") && !page.contains("http"));
}

#[test]
fn verify_refuses_more_than_there_is() {
    let folder = folder();
    let args = "verify --model net --data digits:test";
    let found = complaint(&folder, &format!("{args} --num 271"), 2);
    assert!(found.contains("--num 271 and 270 samples of data"), "{found}");
}
