//! The star rule: which crate of the workspace may use which, dev- and build-dependencies included.
//! Everything meets in `pipeline` and in the root package; nothing else knows two siblings, and a user
//! of `sde-core`, `score-match` or `ode-solvers` never meets libtorch.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use cargo_metadata::MetadataCommand;

/// One line of the rule. A dependency behind a feature is one with `optional = true`.
struct May {
    name: &'static str,
    always: &'static [&'static str],
    behind_a_feature: &'static [&'static str],
}

const fn may(name: &'static str, always: &'static [&'static str]) -> May {
    May { name, always, behind_a_feature: &[] }
}

const RULE: &[May] = &[
    may("sde-core", &[]),
    may("score-match", &["sde-core"]),
    may("ode-solvers", &["sde-core"]),
    may("torch-ext", &["tch", "torch-sys"]),
    may("models", &["sde-core", "torch-ext", "tch"]),
    may("dist", &["sde-core", "torch-ext", "tch"]),
    May {
        name: "pipeline",
        always: &["sde-core", "score-match", "ode-solvers"],
        behind_a_feature: &["models", "dist", "torch-ext", "tch"],
    },
    May {
        name: "score-sde",
        always: &["sde-core", "score-match", "ode-solvers", "pipeline"],
        behind_a_feature: &["models"],
    },
    may("xtask", &[]),
];

/// Packages of others that the rule is about.
const LIBTORCH: &[&str] = &["tch", "torch-sys"];

/// What a manifest says about one dependency.
struct Dependency {
    of: String,
    on: String,
    optional: bool,
}

/// A sentence for each crate without a rule and each dependency that the rule forbids.
fn violations(crates: &[&str], dependencies: &[Dependency]) -> Vec<String> {
    let unknown = crates.iter().filter(|name| RULE.iter().all(|may| may.name != **name));
    let unknown = unknown.map(|name| format!("{name} has no line in the star rule"));
    let guarded = |on: &str| crates.contains(&on) || LIBTORCH.contains(&on);
    let forbidden = dependencies.iter().filter(|d| guarded(&d.on)).filter(|d| !allowed(d));
    let forbidden = forbidden.map(|Dependency { of, on, optional }| {
        let how = if *optional { " behind a feature" } else { "" };
        format!("{of} may not depend on {on}{how}")
    });
    unknown.chain(forbidden).collect()
}

fn allowed(Dependency { of, on, optional }: &Dependency) -> bool {
    RULE.iter().filter(|may| may.name == of).any(|may| {
        may.always.contains(&on.as_str())
            || *optional && may.behind_a_feature.contains(&on.as_str())
    })
}

fn dependency(of: &str, on: &str, optional: bool) -> Dependency {
    Dependency { of: of.into(), on: on.into(), optional }
}

#[test]
fn the_workspace_keeps_the_rule() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let packages = metadata.workspace_packages();
    let crates: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let dependencies: Vec<_> = packages
        .iter()
        .flat_map(|package| package.dependencies.iter().map(|d| (package.name.as_str(), d)))
        .map(|(of, on)| dependency(of, &on.name, on.optional))
        .collect();
    assert!(crates.contains(&"sde-core") && dependencies.iter().any(|d| d.on == "sde-core"));
    assert_eq!(violations(&crates, &dependencies), Vec::<String>::new());
}

#[test]
fn siblings_that_know_each_other_are_found() {
    let crates = ["sde-core", "score-match", "ode-solvers"];
    let found = violations(
        &crates,
        &[
            dependency("ode-solvers", "sde-core", false),
            dependency("score-match", "ode-solvers", false),
        ],
    );
    assert_eq!(found, ["score-match may not depend on ode-solvers"]);
}

#[test]
fn the_core_knows_nobody() {
    let found = violations(&["sde-core", "pipeline"], &[dependency("sde-core", "pipeline", true)]);
    assert_eq!(found, ["sde-core may not depend on pipeline behind a feature"]);
}

#[test]
fn libtorch_is_optional_for_the_pipeline_and_closed_to_the_solvers() {
    let found = violations(
        &["pipeline", "ode-solvers"],
        &[
            dependency("pipeline", "tch", true),
            dependency("pipeline", "tch", false),
            dependency("ode-solvers", "torch-sys", true),
        ],
    );
    let expected = [
        "pipeline may not depend on tch",
        "ode-solvers may not depend on torch-sys behind a feature",
    ];
    assert_eq!(found, expected);
}

#[test]
fn other_packages_are_free_and_a_new_crate_needs_a_line() {
    let found = violations(&["plots"], &[dependency("plots", "ndarray", false)]);
    assert_eq!(found, ["plots has no line in the star rule"]);
}
