//! `sde compare`: nothing between a file and itself, much between digits and noise, and what it refuses.

use super::*;

#[test]
fn compare_tells_digits_from_noise() {
    let folder = folder();
    let digits = data::digits().validation.images.midpoints().into_dyn();
    write_npy(folder.path().join("digits.npy"), &digits).unwrap();
    write_npy(folder.path().join("noise.npy"), &(&digits * -0.5)).unwrap();
    let keys =
        "n features dimension frechet mmd2 sliced_w1 sliced_w1_by_chance sliced_w1_deviation";
    for (features, dimension) in [("pixels", 64), ("pca:8", 8), ("random:32", 32)] {
        let of = |samples: &str| {
            let args =
                format!("compare --data digits:test --samples {samples} --features {features}");
            let report = json(&folder, &args);
            expect_keys(&report, &format!("{HEAD} {keys}"));
            assert_eq!(report["dimension"], dimension);
            ["frechet", "mmd2", "sliced_w1"].map(|key| report[key].as_f64().unwrap())
        };
        let (near, far) = (of("digits.npy"), of("noise.npy"));
        for (near, far) in near.into_iter().zip(far) {
            assert!(far > 5.0 * near.abs() && near.is_finite(), "{features}: {near} {far}");
        }
    }
    let same = json(&folder, "compare --data digits.npy --samples digits.npy");
    assert!(same["frechet"].as_f64().unwrap() < 1e-9 && same["sliced_w1"] == 0.0);
    let out = sde(&folder, "compare --data digits.npy --samples digits.npy --features inception");
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    let out =
        sde(&folder, "compare --data digits.npy --samples digits.npy --features script:gone.ts");
    assert!(String::from_utf8_lossy(&out.stderr).contains("gone.ts"), "{out:?}");
}
