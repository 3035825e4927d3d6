//! Compiled pipelines on disk: a driver compiles a program once for a machine and not once for every start.
//!
//! Only Vulkan gives its compiled pipelines away; other APIs keep caches of their own, as do browsers. Nothing here is an error: a file that
//! cannot be read or written costs time alone.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A folder with the compiled pipelines of every adapter that was used, one file for each adapter and driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineStore(PathBuf);

impl PipelineStore {
    /// The environment variable that names another folder, or is `off`.
    pub const VARIABLE: &str = "SFERIC_PIPELINE_CACHE";

    /// The folder that [`PipelineStore::VARIABLE`] names, else `sferic/pipelines` where the platform keeps caches.
    ///
    /// `None` where the variable is `off`, and where there is neither a variable nor a home.
    pub fn standard() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        choose(set(Self::VARIABLE), caches(&set)).map(Self)
    }

    /// Pipelines in `folder`, which is made when there is something to write.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }
}

fn choose(named: Option<PathBuf>, caches: Option<PathBuf>) -> Option<PathBuf> {
    match named {
        Some(named) if named == Path::new("off") => None,
        Some(named) => Some(named),
        None => Some(caches?.join("sferic").join("pipelines")),
    }
}

/// Where the platform keeps caches. A relative `XDG_CACHE_HOME` is to be ignored, says its specification.
fn caches(set: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if cfg!(windows) {
        return set("LOCALAPPDATA");
    }
    if cfg!(target_os = "macos") {
        return set("HOME").map(|home| home.join("Library/Caches"));
    }
    set("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()).or_else(|| set("HOME").map(|home| home.join(".cache")))
}

/// The pipelines of one device, in memory and in a file.
#[derive(Debug)]
pub(crate) struct Kept {
    cache: wgpu::PipelineCache,
    file: PathBuf,
    /// Whether something was compiled since the last save.
    used: AtomicBool,
    /// Checksum of what the file holds, 0 for nothing that is of use; `None` when nothing may be written any more.
    saved: Mutex<Option<u64>>,
}

impl Kept {
    /// Reads what an earlier start has left for this adapter and driver; `None` where the device gives no pipelines away.
    pub(crate) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, store: &PipelineStore) -> Option<Self> {
        if !device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let key = wgpu::util::pipeline_cache_key(info)?;
        let driver = checksum(format!("{} {} {}", info.name, info.driver, info.driver_info).as_bytes());
        let file = store.0.join(format!("{key}_{driver:016x}.bin"));
        let data = read(&file);
        let saved = data.as_deref().map_or(0, checksum);
        let cache = create(device, data.as_deref());
        Some(Self { cache, file, used: AtomicBool::new(false), saved: Mutex::new(Some(saved)) })
    }

    /// What a compilation is given.
    pub(crate) fn cache(&self) -> &wgpu::PipelineCache {
        self.used.store(true, Ordering::Relaxed);
        &self.cache
    }

    /// Writes what was compiled since the last time.
    pub(crate) fn save(&self) {
        if !self.used.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(before), Some(data)) = (*saved, self.cache.get_data()) else { return };
        let sum = checksum(&data);
        if sum != before && write(&self.file, &data).is_ok() {
            *saved = Some(sum);
        }
    }

    /// Removes the file and writes none any more.
    pub(crate) fn discard(&self) {
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Drop for Kept {
    /// A device that was lost gives no data: one of the pipelines may be the reason, so that the file goes with it.
    fn drop(&mut self) {
        match self.cache.get_data() {
            Some(_) => self.save(),
            None => self.discard(),
        }
    }
}

/// The driver's cache with the data of an earlier one.
#[allow(unsafe_code, reason = "wgpu cannot know where the data has been")]
fn create(device: &wgpu::Device, data: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("sferic"), data, fallback: true };
    // A device that is lost already says so here; its pipelines will say it again.
    let _scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    // SAFETY: the obligation is that the data comes from `get_data`. `read` returns only what carries the checksum that `write` gives to such
    // data, and wgpu and the driver compare their versions and the device with those in it.
    unsafe { device.create_pipeline_cache(&descriptor) }
}

/// First bytes of a file, its version among them.
const MAGIC: &[u8; 8] = b"sfericP1";
/// Pipelines of programs that have changed stay in a cache for ever; one that has grown to this size is begun anew.
const MOST_BYTES: u64 = 128 << 20;

/// The data of a file that is whole.
fn read(file: &Path) -> Option<Vec<u8>> {
    if std::fs::metadata(file).ok()?.len() > MOST_BYTES {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, data) = rest.split_first_chunk::<8>()?;
    (magic == MAGIC && u64::from_le_bytes(*sum) == checksum(data)).then(|| data.to_vec())
}

/// Replaces a file as a whole: readers, and a crash, find the old one or the new one.
fn write(file: &Path, data: &[u8]) -> io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
    let mut builder = DirBuilder::new();
    // What is in the folder runs on the device, so that nobody else may write to it.
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)?;
    let unique = format!("tmp-{}-{}", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed));
    let temporary = file.with_extension(unique);
    let written = write_new(&temporary, data).and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn write_new(file: &Path, data: &[u8]) -> io::Result<()> {
    let mut out = File::create_new(file)?;
    out.write_all(MAGIC)?;
    out.write_all(&checksum(data).to_le_bytes())?;
    out.write_all(data)?;
    out.sync_all()
}

/// FNV-1a over words of 8 bytes: it finds damage, not malice.
fn checksum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(0x0100_0000_01B3).rotate_left(29);
    let start = 0xCBF2_9CE4_8422_2325 ^ bytes.len() as u64;
    let sum = words.iter().fold(start, |sum, word| mix(sum, u64::from_le_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| mix(sum, u64::from(*byte))).max(1)
}

#[cfg(test)]
mod tests;
