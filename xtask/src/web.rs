//! `cargo xtask web`: the wasm module, the page and the npm package, and their tests in headless Chromium.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo_program;

/// What the machine lacks for wasm and a browser, if anything.
pub fn missing() -> Option<&'static str> {
    if chromium().is_none() {
        return Some("chromium");
    }
    if wasm_cargo().is_none() {
        return Some("a Rust compiler for wasm32-unknown-unknown (rustup target, or rustc-web, cargo-web and rust-web-src)");
    }
    (!runs("node") || !runs("npm")).then_some("node and npm, version 18 or later")
}

/// Builds the page and the npm package; returns the folder that holds both.
///
/// # Errors
/// A compiler, npm or the build of the page fails.
pub fn build(root: &Path) -> Result<PathBuf> {
    let web = root.join("web");
    module(root, &web.join("package/wasm"))?;
    npm(&web, &["ci", "--ignore-scripts", "--no-progress"])?;
    npm(&web, &["run", "--silent", "check"])?;
    let out = folder(root).join("dist");
    let built =
        Command::new("node").current_dir(&web).arg("build.mjs").arg(&out).status().context("node could not be started")?;
    if !built.success() {
        bail!("the page does not build");
    }
    Ok(out)
}

/// Builds and runs the tests of the page; returns whether all passed. The native program, which they compare with, has to be built.
///
/// # Errors
/// Those of [`build`].
pub fn test(root: &Path) -> Result<bool> {
    let out = build(root)?;
    let program = target(root).join("release").join(format!("sferic{}", std::env::consts::EXE_SUFFIX));
    let mut tests = Command::new("npm");
    tests.current_dir(root.join("web")).args(["test", "--silent"]).env("SFERIC_SITE", out).env("SFERIC_PROGRAM", program);
    Ok(tests.status().context("npm could not be started")?.success())
}

/// Compiles the web crate and writes its module and bindings into the folder `out`.
///
/// # Errors
/// There is no compiler for wasm, or it fails.
pub fn module(root: &Path, out: &Path) -> Result<()> {
    let target = folder(root);
    let Some(mut cargo) = wasm_cargo() else { bail!("no Rust compiler for wasm32-unknown-unknown was found") };
    cargo.current_dir(root).env("CARGO_TARGET_DIR", &target);
    cargo.args(["build", "--profile", "web", "--package", "sferic-web", "--target", "wasm32-unknown-unknown"]);
    if !cargo.status().context("cargo could not be started")?.success() {
        bail!("sferic-web does not build for wasm32-unknown-unknown");
    }
    fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    let bindgen = wasm_bindgen(root, &target)?;
    let wasm = target.join("wasm32-unknown-unknown/web/sferic_web.wasm");
    if !Command::new(bindgen).args(["--target", "web", "--out-dir"]).arg(out).arg(wasm).status()?.success() {
        bail!("wasm-bindgen failed");
    }
    Ok(())
}

/// Where everything of the web is built: another compiler must not share the native folder.
pub fn folder(root: &Path) -> PathBuf {
    target(root).join("web")
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn npm(web: &Path, args: &[&str]) -> Result<()> {
    if !Command::new("npm").current_dir(web).args(args).status().context("npm could not be started")?.success() {
        bail!("npm {} failed", args.join(" "));
    }
    Ok(())
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The browser of this machine.
pub fn chromium() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|program| runs(program))
}

/// A cargo that builds for wasm, with the arguments and variables that it needs.
fn wasm_cargo() -> Option<Command> {
    // Where rustup has the target, the pinned compiler does it.
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim());
    if sysroot.join("lib/rustlib/wasm32-unknown-unknown").is_dir() {
        return Some(Command::new(cargo_program()));
    }
    // Debian's compiler for the web has the source of its standard library, and builds it.
    let system = Path::new("/usr/bin/cargo");
    let has_source =
        Path::new("/usr/lib/rustlib/src").exists() || Path::new("/usr/src/rustc-web").exists() || rust_source("/usr/bin/rustc");
    if !system.exists() || !has_source {
        return None;
    }
    let mut cargo = Command::new(system);
    cargo.env("RUSTC", "/usr/bin/rustc").env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    // `wasm-ld` of Debian's lld takes the place of the linker that rustup would bring.
    if Path::new("/usr/bin/wasm-ld").exists() {
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "/usr/bin/wasm-ld");
    }
    cargo.args(["-Zbuild-std=std,panic_abort"]);
    Some(cargo)
}

fn rust_source(rustc: &str) -> bool {
    let Ok(sysroot) = Command::new(rustc).args(["--print", "sysroot"]).output() else { return false };
    Path::new(String::from_utf8_lossy(&sysroot.stdout).trim()).join("lib/rustlib/src/rust/library/std").is_dir()
}

/// Returns the `wasm-bindgen` program of exactly the locked version, installing it under `target` if need be.
fn wasm_bindgen(root: &Path, target: &Path) -> Result<PathBuf> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock cannot be read")?;
    let version = lock
        .split_once("name = \"wasm-bindgen\"\nversion = \"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(version, _)| version)
        .context("Cargo.lock names no wasm-bindgen")?;
    let folder = target.join(format!("wasm-bindgen-{version}"));
    let program = folder.join("bin/wasm-bindgen");
    if !program.exists() {
        let mut cargo = Command::new(cargo_program());
        cargo.args(["install", "--version", version, "--root"]).arg(&folder).arg("wasm-bindgen-cli");
        if !cargo.env("CARGO_TARGET_DIR", target.join("tools")).status()?.success() {
            bail!("wasm-bindgen-cli {version} cannot be installed");
        }
    }
    Ok(program)
}
