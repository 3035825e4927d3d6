//! How much the files in `assets/` may weigh.

use super::{Finding, Tree};

/// Limit for all of `assets/` together, and so for each file: a clone and the binary that embeds the demo model stay small.
pub const MAX_ASSETS_BYTES: u64 = 48 << 20;

/// Finds files in `assets/` above 48 MiB, and the folder itself if all its files together are above that.
pub fn asset_sizes(tree: &Tree) -> Vec<Finding> {
    let assets: Vec<_> = tree.files.iter().filter(|file| file.path.starts_with("assets/")).collect();
    let mut findings: Vec<Finding> = assets
        .iter()
        .filter(|file| file.size_bytes > MAX_ASSETS_BYTES)
        .map(|file| Finding::of_file(&file.path, format!("{} bytes, more than {MAX_ASSETS_BYTES}", file.size_bytes)))
        .collect();
    let total_bytes: u64 = assets.iter().map(|file| file.size_bytes).sum();
    if total_bytes > MAX_ASSETS_BYTES {
        findings.push(Finding::of_file("assets", format!("{total_bytes} bytes in all, more than {MAX_ASSETS_BYTES}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::File;

    fn tree(sizes: &[u64]) -> Tree {
        let files = sizes
            .iter()
            .enumerate()
            .map(|(file_idx, &size_bytes)| File { path: format!("assets/{file_idx}"), size_bytes, text: None })
            .collect();
        Tree { files }
    }

    #[test]
    fn a_heavy_file_and_a_heavy_folder_are_found() {
        assert_eq!(asset_sizes(&tree(&[MAX_ASSETS_BYTES - 1, 1])), []);
        assert_eq!(asset_sizes(&tree(&[MAX_ASSETS_BYTES, 1])).len(), 1);
        assert_eq!(asset_sizes(&tree(&[MAX_ASSETS_BYTES + 1])).len(), 2);
    }
}
