//! `cargo xtask browser`: the kernel suites, compiled to wasm, in headless Chromium.
//!
//! Chromium comes with a software WebGPU adapter, so this needs no GPU. Several browsers share the kernels, because most of the time goes into
//! compiling shaders, of which one browser does one at a time. The pages say each line to the little server that served them.

mod run;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::web::{self, chromium};
use run::Run;
use server::Post;

/// How long a page may say nothing before its case counts as hung.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The most browsers side by side; each compiles shaders on one core.
const MOST_PAGES: usize = 4;

/// Builds, then runs the kernels whose folder contains `filter`; prints every line, a summary at the end, and returns whether no case failed.
///
/// # Errors
/// The build fails, or no browser gets as far as taking a kernel.
pub fn run(root: &Path, filter: &str) -> Result<bool> {
    let site = site(root)?;
    let (port, posts) = server::serve(&site)?;
    let mut run = Run::new(filter);
    let mut browsers = Browsers { site, port, running: Vec::new(), n_opened: 0 };
    let n_cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for _ in 0..n_cores.min(MOST_PAGES) {
        browsers.open()?;
    }
    let start = Instant::now();
    listen(&mut run, &mut browsers, &posts)?;
    println!();
    for kernel in &run.judged {
        println!(
            "browser: {:24} {:4} ok {:4} failed {:4} skipped {:7.1} s{}",
            kernel.kernel,
            kernel.n_passed,
            kernel.failures.len(),
            kernel.n_skipped,
            kernel.elapsed.as_secs_f64(),
            if kernel.passed() { "" } else { "  FAILED" },
        );
    }
    println!("browser: {} kernels in {:.1} s", run.judged.len(), start.elapsed().as_secs_f64());
    Ok(!run.judged.is_empty() && run.judged.iter().all(run::Judged::passed))
}

/// Answers the pages until every kernel is judged. A page that fails or hangs loses its kernel, and a new browser takes the others.
fn listen(run: &mut Run, browsers: &mut Browsers, posts: &Receiver<Post>) -> Result<()> {
    let mut last_post = Instant::now();
    while !browsers.running.is_empty() {
        let post = match posts.recv_timeout(Duration::from_millis(200)) {
            Ok(post) => Some(post).filter(|post| browsers.has(post.page)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => bail!("the server of the test pages has ended"),
        };
        let now = Instant::now();
        let mut ended = Vec::new();
        if let Some(post) = post {
            last_post = now;
            let mut answer = String::new();
            match post.verb.as_str() {
                "kernels" => run.name_kernels(&post.body),
                "say" => run.hear(post.page, &post.body, now),
                "next" => answer = run.next(post.page, now).unwrap_or_default(),
                "end" => browsers.close(post.page),
                _ => ended.push((post.page, post.body.clone())),
            }
            post.answer(&answer);
        }
        let hung = format!("hung, for the page has said nothing for {} s", TIMEOUT.as_secs());
        ended.extend(run.silent(TIMEOUT, now).into_iter().map(|page| (page, hung.clone())));
        ended.extend(browsers.gone().into_iter().map(|page| (page, "the browser has ended".to_owned())));
        for (page, reason) in ended {
            if !run.give_up(page, &reason, now) {
                bail!("a page ended before it took a kernel: {reason}");
            }
            browsers.close(page);
            if run.waits() {
                browsers.open()?;
            }
        }
        if now.duration_since(last_post) > 2 * TIMEOUT {
            bail!("no page has said anything for {} s", 2 * TIMEOUT.as_secs());
        }
    }
    Ok(())
}

/// The browsers of a run.
struct Browsers {
    site: PathBuf,
    port: u16,
    /// Each with its number, which no later one gets.
    running: Vec<(usize, Child)>,
    n_opened: usize,
}

impl Browsers {
    fn open(&mut self) -> Result<()> {
        let page = self.n_opened;
        self.n_opened += 1;
        let profile = self.site.join(format!("profile-{page}"));
        self.running.push((page, open(&format!("http://127.0.0.1:{}/?page={page}", self.port), &profile)?));
        Ok(())
    }

    fn has(&self, page: usize) -> bool {
        self.running.iter().any(|(number, _)| *number == page)
    }

    fn close(&mut self, page: usize) {
        for (_, browser) in self.running.extract_if(.., |(number, _)| *number == page) {
            end(browser);
        }
    }

    /// Pages whose browsers have ended by themselves.
    fn gone(&mut self) -> Vec<usize> {
        let has_ended = |browser: &mut Child| browser.try_wait().is_ok_and(|status| status.is_some());
        self.running.iter_mut().filter_map(|(page, browser)| has_ended(browser).then_some(*page)).collect()
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        for (_, browser) in self.running.drain(..) {
            end(browser);
        }
    }
}

fn end(mut browser: Child) {
    let _ = browser.kill();
    let _ = browser.wait();
}

/// Makes the folder of the pages.
fn site(root: &Path) -> Result<PathBuf> {
    let site = web::folder(root).join("suites");
    web::module(root, &site)?;
    fs::copy(root.join("web/suites/index.html"), site.join("index.html"))?;
    Ok(site)
}

fn open(url: &str, profile: &Path) -> Result<Child> {
    let _ = fs::remove_dir_all(profile);
    let Some(program) = chromium() else { bail!("chromium was not found") };
    let mut browser = Command::new(program);
    browser.args(["--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"]);
    browser.args(["--disable-component-update", "--disable-sync", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]);
    // SwiftShader compiles the zeros that this extension asks for one store at a time: 1.5 s for 16 KiB of workgroup memory, 0.1 s without. The
    // browser then zeroes with a loop, and shaders see the same.
    browser.arg("--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension");
    browser.arg(format!("--user-data-dir={}", profile.display())).arg(url);
    browser.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("chromium could not be started")
}
