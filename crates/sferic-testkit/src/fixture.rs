//! Reference checkpoints and files.

use std::path::{Path, PathBuf};

pub use sferic_engine::Golden;

/// The reference checkpoints: every family that the model definition covers.
pub const GOLDENS: [&str; 10] = [
    "deepseek_v32-tiny",
    "deepseek_v32-yarn",
    "deepseek_v32-realdims",
    "deepseek_v32-fp8",
    "deepseek_v3-tiny",
    "deepseek_v2-lite",
    "glm_moe_dsa-tiny",
    "glm4_moe_lite-tiny",
    "youtu-tiny",
    "minicpm3-tiny",
];

/// The folders searched for reference data: the one beside the repository, then the copies in it.
fn roots() -> [PathBuf; 2] {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    [here.join("../../../shared/golden"), here.join("../../tests/fixtures/golden")]
}

/// Returns the path of a file or folder of reference data, given relative to the golden folder, where it exists.
pub fn path(relative: &str) -> Option<PathBuf> {
    roots().iter().map(|root| root.join(relative)).find(|path| path.exists())
}

/// Returns name and folder of every reference checkpoint at hand, and prints the names of the others.
///
/// # Panics
/// When there is none: the repository carries four.
pub fn goldens() -> Vec<(&'static str, PathBuf)> {
    let complete = |folder: &PathBuf| folder.join("golden.safetensors").is_file() && folder.join("config.json").is_file();
    let mut found = Vec::new();
    for name in GOLDENS {
        match path(name).filter(complete) {
            Some(folder) => found.push((name, folder)),
            None => println!("skipped: no reference checkpoint {name}"),
        }
    }
    assert!(!found.is_empty(), "no reference checkpoint under ../shared/golden or tests/fixtures/golden");
    found
}

/// Returns the folder of one reference checkpoint, or prints that it is skipped.
pub fn golden(name: &str) -> Option<PathBuf> {
    let found = path(name);
    if found.is_none() {
        println!("skipped: no reference checkpoint {name}");
    }
    found
}
