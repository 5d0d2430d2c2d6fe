//! The program itself, its libraries and its configuration, and the hub.

use serde_json::json;

use super::{CheckResult, quoted};
use crate::cli::config;
use crate::media::inventory::{FfmpegInventory, FfmpegParts};
use crate::model::{Runtime, TESTED_RUNTIME, device_states};
use crate::program_files::{ProgramFiles, ProgramOrigin};
use crate::pull::{HubEnvironment, reach};

/// What `pip` does for a package whose files descry finds there.
pub(super) fn pip(package: &str, version: &str) -> String {
    let folder = ProgramFiles::of_this_program().user_libraries();
    let folder = folder.map_or("FOLDER".to_string(), |folder| quoted(folder.display().to_string()));
    format!("python3 -m pip install --no-deps --target {folder} {package}=={version}")
}

/// Whether the program belongs to a checkout, where `make setup` gets what is missing.
pub(super) fn is_of_checkout() -> bool {
    matches!(ProgramFiles::of_this_program().origin(), ProgramOrigin::Checkout(_))
}

/// The program, its configuration and its libraries.
pub(super) fn program() -> Vec<CheckResult> {
    let mut results = vec![version(), configuration()];
    results.extend(ffmpeg());
    results.push(runtime());
    results.push(devices());
    results
}

fn version() -> CheckResult {
    let version = env!("CARGO_PKG_VERSION");
    let (kind, place) = match ProgramFiles::of_this_program().origin() {
        ProgramOrigin::Checkout(root) => ("checkout", root.display().to_string()),
        ProgramOrigin::Prefix(prefix) => ("prefix", prefix.display().to_string()),
        ProgramOrigin::Packages(packages) => ("Python's packages", packages.display().to_string()),
        ProgramOrigin::Unknown => ("unknown", String::new()),
    };
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    CheckResult::ok("descry", format!("{version} for {target}, {kind} {place}"))
        .with_found(json!({ "version": version, "target": target, "origin": kind, "folder": place }))
}

fn configuration() -> CheckResult {
    match config::check() {
        Err(e) => CheckResult::of_error("configuration", &e),
        Ok((files, warnings)) if warnings.is_empty() => {
            let text = if files.is_empty() { "no descry.toml".into() } else { files.join("\n") };
            CheckResult::ok("configuration", text).with_found(json!({ "files": files }))
        }
        Ok((files, warnings)) => CheckResult::note("configuration", [files.clone(), warnings].concat().join("\n"))
            .with_found(json!({ "files": files })),
    }
}

fn ffmpeg() -> Vec<CheckResult> {
    let inventory = FfmpegInventory::read();
    let libraries = inventory.libraries.iter().map(|library| {
        let path = library.path.as_ref().map_or(String::new(), |path| format!(", {}", path.display()));
        format!("{} {}{path}", library.name, library.version)
    });
    let text = libraries.collect::<Vec<_>>().join("\n");
    let part = |check, parts: &FfmpegParts, what: &str| {
        let found = json!(parts);
        if parts.missing.is_empty() {
            return CheckResult::ok(check, parts.present.join(", ")).with_found(found);
        }
        let (missing, present) = (parts.missing.join(", "), parts.present.join(", "));
        CheckResult::note(check, format!("this FFmpeg lacks {missing}; it has {present}"))
            .with_fix(format!("install an FFmpeg with {what}, as Debian's (apt-get install ffmpeg)"))
            .with_found(found)
    };
    vec![
        CheckResult::ok("FFmpeg", text).with_found(json!({ "libraries": inventory.libraries })),
        part("decoders", &inventory.decoders, "these decoders"),
        part("encoders", &inventory.encoders, "these encoders"),
        part("protocols", &inventory.protocols, "these protocols"),
    ]
}

fn runtime() -> CheckResult {
    match Runtime::load() {
        Ok(runtime) => {
            let (library, build) = (runtime.library().display().to_string(), runtime.build_info());
            CheckResult::ok("ONNX Runtime", format!("{library}\n{}", build.trim()))
                .with_found(json!({ "library": library, "build": build, "tested": TESTED_RUNTIME }))
        }
        Err(e) => {
            let named = ["DESCRY_ONNXRUNTIME", "ORT_DYLIB_PATH"]
                .into_iter()
                .find(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
            let fix = match named {
                Some(variable) => format!("unset {variable}"),
                None if is_of_checkout() => "make setup".into(),
                None => pip("onnxruntime", TESTED_RUNTIME),
            };
            CheckResult::of_error("ONNX Runtime", &e).with_fix(fix)
        }
    }
}

fn devices() -> CheckResult {
    let states = device_states(Runtime::load().is_ok());
    let text = states.iter().map(|(name, state)| format!("{name}: {}", state.words())).collect::<Vec<_>>().join(", ");
    let found: serde_json::Map<_, _> = states.iter().map(|(name, state)| (name.to_string(), json!(state))).collect();
    CheckResult::ok("devices", text).with_found(found.into())
}

/// The hub that models are pulled from.
pub(super) fn network(is_asked: bool) -> CheckResult {
    let environment = match HubEnvironment::read() {
        Ok(environment) => environment,
        Err(e) => return CheckResult::of_error("network", &e),
    };
    let (hub, token) = (environment.shown(), environment.has_token());
    let words = if token { ", with a token" } else { "" };
    let found = |answers: Option<bool>| json!({ "endpoint": hub, "token": token, "offline": environment.is_offline(), "answers": answers });
    if environment.is_offline() {
        let text = format!("HF_HUB_OFFLINE is set: models are pulled from the hub's cache alone ({hub}{words})");
        return CheckResult::ok("network", text).with_found(found(None));
    }
    if !is_asked {
        return CheckResult::ok("network", format!("{hub}{words}, not asked")).with_found(found(None));
    }
    match reach(&environment) {
        Ok(()) => CheckResult::ok("network", format!("{hub} answers{words}")).with_found(found(Some(true))),
        Err(cause) => CheckResult::note("network", format!("{hub} does not answer: {cause}. Only pulls need it"))
            .with_fix("check the network and HTTPS_PROXY, or name a mirror: export HF_ENDPOINT=https://HOST")
            .with_found(found(Some(false))),
    }
}
