//! The bytes of a file: memory-mapped, already in memory, or read a range at a time.

use std::{borrow::Cow, fmt, io, ops::Range};

/// A file whose bytes are read a range at a time: what a browser keeps or its visitor has picked.
pub trait ByteSource: Send + Sync {
    /// Returns the length of the file.
    fn size_bytes(&self) -> u64;

    /// Fills `buffer` with the bytes from `begin` on; the range lies in the file.
    ///
    /// # Errors
    /// Whatever keeps the bytes from being read.
    fn read(&self, begin: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// The bytes of a safetensors file.
pub(crate) enum Storage {
    /// A read-only map of a file, so that a checkpoint may be larger than the memory.
    #[cfg(not(target_family = "wasm"))]
    Mapped(memmap2::Mmap),
    /// An embedded or downloaded model.
    Memory(Cow<'static, [u8]>),
    /// A file that is neither in memory nor on a disk that could be mapped.
    Ranges(Box<dyn ByteSource>),
}

impl Storage {
    /// Maps a file.
    #[cfg(not(target_family = "wasm"))]
    #[expect(unsafe_code, reason = "a memory map is the only way to read checkpoints larger than the memory")]
    pub(crate) fn map(path: &std::path::Path) -> crate::Result<Storage> {
        let io = |action, reason| crate::WeightsError::Io { action, reason, path: path.into() };
        let file = std::fs::File::open(path).map_err(|e| io("open the file", e))?;
        let metadata = file.metadata().map_err(|e| io("read the length of the file", e))?;
        if metadata.is_dir() {
            return Err(io("open the file", std::io::ErrorKind::IsADirectory.into()));
        }
        // Some systems refuse an empty map.
        if metadata.len() == 0 {
            return Ok(Storage::Memory(Cow::Borrowed(&[])));
        }
        // SAFETY: the map is private to this crate and never written through. The bytes are read as plain integers, for which every
        // value is valid. That no other process shortens the file while it is mapped cannot be enforced on any system; the
        // writers of this crate replace files by renaming and never change one in place.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| io("map the file into memory", e))?;
        Ok(Storage::Mapped(map))
    }

    /// Tells the system that a range has been used and need not stay resident.
    ///
    /// Without this a load leaves the whole checkpoint in the process's resident set, beside the tensors made from it.
    #[cfg_attr(
        all(unix, not(target_family = "wasm")),
        expect(unsafe_code, reason = "the advice that keeps the file in the page cache is an unchecked one")
    )]
    #[cfg_attr(any(not(unix), target_family = "wasm"), expect(unused_variables, reason = "only Unix takes this advice"))]
    pub(crate) fn release(&self, range: &Range<u64>) {
        match self {
            #[cfg(all(unix, not(target_family = "wasm")))]
            Storage::Mapped(map) => {
                let len = range.end.saturating_sub(range.start) as usize;
                if range.end <= map.len() as u64 {
                    // SAFETY: the range lies inside the map. The map is shared and read-only, so dropping its pages changes no byte:
                    // a later or concurrent read faults the same bytes in again from the file.
                    let advised =
                        unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start as usize, len) };
                    // It is advice: where the system does not take it, the pages merely stay.
                    advised.unwrap_or(());
                }
            }
            #[cfg(all(not(unix), not(target_family = "wasm")))]
            Storage::Mapped(_) => {}
            Storage::Memory(_) | Storage::Ranges(_) => {}
        }
    }

    /// Returns the length of the file.
    pub(crate) fn len(&self) -> u64 {
        match self {
            #[cfg(not(target_family = "wasm"))]
            Storage::Mapped(map) => map.len() as u64,
            Storage::Memory(bytes) => bytes.len() as u64,
            Storage::Ranges(source) => source.size_bytes(),
        }
    }

    /// Returns the bytes of a range: borrowed where they are in the address space, copied where they are not.
    pub(crate) fn read(&self, range: &Range<u64>) -> io::Result<Cow<'_, [u8]>> {
        let bytes: &[u8] = match self {
            #[cfg(not(target_family = "wasm"))]
            Storage::Mapped(map) => map,
            Storage::Memory(bytes) => bytes,
            Storage::Ranges(source) => {
                let n_bytes = range.end.saturating_sub(range.start);
                let n_bytes = usize::try_from(n_bytes).ok().filter(|_| range.end <= source.size_bytes()).ok_or_else(beyond)?;
                let mut buffer = vec![0; n_bytes];
                source.read(range.start, &mut buffer)?;
                return Ok(Cow::Owned(buffer));
            }
        };
        bytes.get(range.start as usize..range.end as usize).map(Cow::Borrowed).ok_or_else(beyond)
    }
}

/// The error of a range that does not lie in its file.
fn beyond() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Storage({} bytes)", self.len())
    }
}
