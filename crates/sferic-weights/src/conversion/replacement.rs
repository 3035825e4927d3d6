//! A folder that appears whole, in place of an older one if need be.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    Result, WeightsError,
    folder::{CONFIG, Listing},
    write::atomic::sync_folder,
};

/// A folder under construction, beside its destination and under a temporary name; removed on drop unless it was renamed.
pub(super) struct Replacement {
    temporary: PathBuf,
    destination: PathBuf,
    is_done: bool,
}

impl Replacement {
    /// Checks that `destination` is new, empty or may be replaced, and makes the temporary folder.
    ///
    /// What is replaced must look like a model folder, so that a slip of the keyboard deletes nothing else, and must not be `source`.
    pub(super) fn prepare(destination: &Path, source: Option<&Path>, replace: bool) -> Result<Replacement> {
        let mut destination = destination.to_owned();
        match fs::canonicalize(&destination) {
            Ok(found) => {
                destination = found;
                check_old(&destination, source, replace)?;
            }
            Err(reason) if reason.kind() == ErrorKind::NotFound => {}
            Err(reason) => return Err(error("open the folder", reason, &destination)),
        }
        let Some(name) = destination.file_name() else {
            return Err(error("create the folder", ErrorKind::InvalidInput.into(), &destination));
        };
        let temporary = destination.with_file_name(temporary_name(name, "new"));
        fs::create_dir(&temporary).map_err(|reason| error("create the folder", reason, &destination))?;
        Ok(Replacement { temporary, destination, is_done: false })
    }

    /// Where to write.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Gives the folder its name.
    pub(super) fn finish(mut self) -> Result<()> {
        // Brings the names of the files to the disk before that of the folder.
        sync_folder(&self.temporary.join(CONFIG))?;
        let action = "replace the folder";
        let failed = |reason| error(action, reason, &self.destination);
        let old = if self.destination.exists() {
            let name = self.destination.file_name().unwrap_or_default();
            let old = self.destination.with_file_name(temporary_name(name, "old"));
            fs::rename(&self.destination, &old).map_err(failed)?;
            Some(old)
        } else {
            None
        };
        if let Err(reason) = fs::rename(&self.temporary, &self.destination) {
            if let Some(old) = &old {
                // The name is free: nothing but a failing disk can hinder this, and then the error is told anyway.
                fs::rename(old, &self.destination).unwrap_or(());
            }
            return Err(failed(reason));
        }
        self.is_done = true;
        sync_folder(&self.destination)?;
        if let Some(old) = old {
            fs::remove_dir_all(&old).map_err(|reason| error("remove the folder", reason, &old))?;
        }
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_done {
            // Nobody can be told from here; the leftover has a name that no reader looks for.
            fs::remove_dir_all(&self.temporary).unwrap_or(());
        }
    }
}

/// Checks that a folder which is there may go.
fn check_old(old: &Path, source: Option<&Path>, replace: bool) -> Result<()> {
    if !old.is_dir() {
        return Err(error("create the folder", ErrorKind::NotADirectory.into(), old));
    }
    let listing = Listing::read(old)?;
    if listing.is_empty() {
        return Ok(());
    }
    if !replace {
        return Err(WeightsError::NotEmpty { found: listing.to_string(), path: old.into() });
    }
    let refused = |why| Err(WeightsError::NotReplaced { why, path: old.into() });
    if source.and_then(|source| fs::canonicalize(source).ok()).is_some_and(|source| source.starts_with(old)) {
        return refused("the model is read from it");
    }
    if !old.join(CONFIG).is_file() || listing.names().any(|name| old.join(name).is_dir()) {
        return refused("it is not a plain model folder with a config.json");
    }
    Ok(())
}

/// A hidden name that no other run takes.
fn temporary_name(name: &std::ffi::OsStr, kind: &str) -> std::ffi::OsString {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.{kind}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    temporary
}

fn error(action: &'static str, reason: std::io::Error, path: &Path) -> WeightsError {
    WeightsError::Io { action, reason, path: path.into() }
}
