//! Files that appear whole or not at all, also when the process or the machine stops in between.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Result, WeightsError};

/// Writes a file so that a reader sees either the old content or all of the new one.
///
/// # Errors
/// [`WeightsError::Io`]; the old file is then untouched.
pub fn write_atomic(path: impl AsRef<Path>, content: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path.as_ref())?;
    file.write(content)?;
    file.finish()?.rename()
}

/// A file under construction, beside its destination and under a temporary name; removed on drop.
pub(crate) struct AtomicFile {
    writer: BufWriter<File>,
    finished: FinishedFile,
}

/// A file that is on the disk under its temporary name; removed on drop unless renamed.
pub(crate) struct FinishedFile {
    temporary: PathBuf,
    destination: PathBuf,
    renamed: bool,
}

impl AtomicFile {
    /// Creates the temporary file.
    pub(crate) fn create(destination: &Path) -> Result<AtomicFile> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name =
            destination.file_name().ok_or_else(|| error("create the file", ErrorKind::IsADirectory.into(), destination))?;
        loop {
            let mut temporary = std::ffi::OsString::from(".");
            temporary.push(name);
            temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
            let temporary = destination.with_file_name(temporary);
            match OpenOptions::new().write(true).create_new(true).open(&temporary) {
                Ok(file) => {
                    let finished = FinishedFile { temporary, destination: destination.into(), renamed: false };
                    return Ok(AtomicFile { writer: BufWriter::with_capacity(1 << 20, file), finished });
                }
                // Left behind by an earlier process with our number.
                Err(reason) if reason.kind() == ErrorKind::AlreadyExists => {}
                Err(reason) => return Err(error("create the file", reason, destination)),
            }
        }
    }

    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|reason| error("write the file", reason, &self.finished.destination))
    }

    /// Brings all bytes to the disk.
    pub(crate) fn finish(mut self) -> Result<FinishedFile> {
        let written = self.writer.flush().and_then(|()| self.writer.get_ref().sync_all());
        written.map_err(|reason| error("write the file", reason, &self.finished.destination))?;
        Ok(self.finished)
    }
}

impl FinishedFile {
    /// Gives the file its name, replacing an older one.
    pub(crate) fn rename(mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.destination).map_err(|reason| error("replace the file", reason, &self.destination))?;
        self.renamed = true;
        sync_folder(&self.destination)
    }
}

impl Drop for FinishedFile {
    fn drop(&mut self) {
        if !self.renamed {
            // Nobody can be told from here; the leftover has a name that no reader looks for.
            fs::remove_file(&self.temporary).unwrap_or(());
        }
    }
}

/// Brings the names in the folder of `path` to the disk.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    // Only Unix can open a folder; elsewhere the file system orders names by itself.
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        return synced.map_err(|reason| error("write the folder", reason, folder));
    }
    Ok(())
}

fn error(action: &'static str, reason: std::io::Error, path: &Path) -> WeightsError {
    WeightsError::Io { action, reason, path: path.into() }
}
