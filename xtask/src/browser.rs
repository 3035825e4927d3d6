//! `cargo xtask browser`: the kernel suites, compiled to wasm, in headless Chromium.
//!
//! Chromium comes with a software WebGPU adapter, so this needs no GPU. The page posts its lines back to the little server that served it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cargo_program;

/// Kernels whose suites pass in Chromium; `cargo xtask test` runs these. The others are open work: Chromium's compiler wants barriers in control
/// flow that it can prove uniform (`indexer/top_k`), `moe/down` and one case of `moe/route` differ from their oracles there, and the rest did not
/// end within half a minute. `cargo xtask browser` runs any of them.
pub const PASSING: &[&str] =
    &["memory/copy", "norm/rms_norm", "rope/step", "rope/append", "linear/embed", "moe/sort", "moe/combine"];

/// How long the suites may take in the browser before they count as hung.
const TIMEOUT: Duration = Duration::from_secs(180);

/// What the machine lacks for this step, if anything.
pub fn missing() -> Option<&'static str> {
    if chromium().is_none() {
        return Some("chromium");
    }
    wasm_cargo()
        .is_none()
        .then_some("a Rust compiler for wasm32-unknown-unknown (rustup target, or rustc-web, cargo-web and rust-web-src)")
}

/// Builds, then serves and opens the page for each of `kernels`; prints every line and returns whether no case failed.
pub fn run(root: &Path, kernels: &[&str]) -> Result<bool> {
    let site = build(root)?;
    let mut passed = true;
    for kernel in kernels {
        passed &= run_page(&site, kernel)?;
    }
    Ok(passed)
}

fn run_page(site: &Path, kernel: &str) -> Result<bool> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port for the test page")?;
    let url = format!("http://127.0.0.1:{}/?kernel={kernel}", listener.local_addr()?.port());
    let mut browser = open(&url, &site.join("profile"))?;
    let lines = serve(&listener, site);
    let _ = browser.kill();
    let _ = browser.wait();
    let lines = lines?;
    print!("{lines}");
    let count = |word: &str| lines.lines().filter(|line| line.starts_with(word)).count();
    println!("browser: {kernel} {} ok, {} failed, {} skipped", count("ok "), count("FAILED"), count("skipped"));
    Ok(count("ok ") > 0 && count("FAILED") == 0)
}

fn chromium() -> Option<&'static str> {
    let runs =
        |program: &&str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(runs)
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

/// Compiles the web crate and makes its bindings; returns the folder of the page.
fn build(root: &Path) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("web");
    let Some(mut cargo) = wasm_cargo() else { bail!("no Rust compiler for wasm32-unknown-unknown was found") };
    cargo.current_dir(root).env("CARGO_TARGET_DIR", &target);
    cargo.args(["build", "--release", "--package", "sferic-web", "--target", "wasm32-unknown-unknown"]);
    if !cargo.status().context("cargo could not be started")?.success() {
        bail!("sferic-web does not build for wasm32-unknown-unknown");
    }
    let site = target.join("suites");
    fs::create_dir_all(&site).with_context(|| format!("{} cannot be made", site.display()))?;
    let bindgen = wasm_bindgen(root, &target)?;
    let wasm = target.join("wasm32-unknown-unknown/release/sferic_web.wasm");
    let status = Command::new(bindgen).args(["--target", "web", "--out-dir"]).arg(&site).arg(wasm).status()?;
    if !status.success() {
        bail!("wasm-bindgen failed");
    }
    fs::copy(root.join("web/suites/index.html"), site.join("index.html"))?;
    Ok(site)
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

fn open(url: &str, profile: &Path) -> Result<Child> {
    let _ = fs::remove_dir_all(profile);
    let Some(program) = chromium() else { bail!("chromium was not found") };
    let mut browser = Command::new(program);
    browser.args(["--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]);
    browser.args(["--disable-component-update", "--disable-sync", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]);
    browser.arg(format!("--user-data-dir={}", profile.display())).arg(url);
    browser.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("chromium could not be started")
}

/// Answers requests until the page has posted its lines.
fn serve(listener: &TcpListener, site: &Path) -> Result<String> {
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                if let Some(lines) = answer(stream, site)? {
                    return Ok(lines);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("the page said nothing for {} s", TIMEOUT.as_secs())
}

/// Answers one request; the body of a post is what the page has to say.
fn answer(stream: TcpStream, site: &Path) -> Result<Option<String>> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    // A browser opens connections ahead of need and closes them unused.
    if reader.read_line(&mut request).unwrap_or(0) == 0 {
        return Ok(None);
    }
    let mut n_body = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? <= 2 {
            break;
        }
        if let Some(length) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            n_body = length.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; n_body];
    reader.read_exact(&mut body)?;
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method == "POST" {
        respond(&stream, "200 OK", "text/plain", b"")?;
        return Ok(Some(String::from_utf8_lossy(&body).into_owned()));
    }
    let name = match path.split('?').next() {
        Some("/") | None => "index.html",
        Some(path) => path.trim_start_matches('/'),
    };
    let mime = match Path::new(name).extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("wasm") => "application/wasm",
        _ => "text/plain",
    };
    let is_plain = !name.contains("..") && !name.contains('/');
    match fs::read(site.join(name)) {
        Ok(bytes) if is_plain => respond(&stream, "200 OK", mime, &bytes)?,
        _ => respond(&stream, "404 Not Found", "text/plain", b"")?,
    }
    Ok(None)
}

fn respond(mut stream: &TcpStream, status: &str, mime: &str, body: &[u8]) -> Result<()> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {mime}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // A page that has gone away wants no answer.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    Ok(())
}
