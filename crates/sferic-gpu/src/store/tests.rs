#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use super::*;
use crate::{Device, GpuError, Selection};
use sferic_shaders::kernel::{Case, Features};
use sferic_shaders::suites::SUITES;
use std::fs;

fn device(folder: &Path) -> Option<Device> {
    let store = PipelineStore::at(folder);
    match pollster::block_on(Device::open(&Selection::Best)) {
        Ok(device) => Some(device.with_pipeline_store(Some(&store))).filter(|device| device.kept.is_some()),
        Err(error) if std::env::var_os("SFERIC_REQUIRE_GPU").is_some() => panic!("{error}"),
        Err(_) => None,
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Compiles the programs of the copy kernel's suite and of row sums, and runs a case with its own pipelines.
fn compile_and_run(device: &Device) {
    let capabilities = device.capabilities.limited_to(Features::BASE);
    let suites = SUITES.iter().filter(|suite| ["memory/copy", "norm/rms_norm"].contains(&suite.kernel));
    let cases: Vec<Case> = suites.flat_map(|suite| (suite.cases)(&capabilities).unwrap()).collect();
    let programs: Vec<_> = cases.iter().flat_map(|case| &case.steps).map(|step| step.launch.program.clone()).collect();
    assert_eq!(pollster::block_on(device.pipelines(&programs)).unwrap().len(), programs.len());
    let case = &cases[0];
    let outputs = pollster::block_on(async { crate::Prepared::new(device, case).await?.run().await });
    (case.check)(&outputs.unwrap()).unwrap();
}

#[test]
fn pipelines_are_kept_in_one_file_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("made/when/needed");
    let Some(first) = device(&inside) else { return };
    assert!(files(&inside).is_empty());
    compile_and_run(&first);
    // Saved at once, not only when the device goes.
    let found = files(&inside);
    assert_eq!(found.len(), 1, "{found:?}");
    let written = fs::read(&found[0]).unwrap();
    drop(first);
    let second = device(&inside).unwrap();
    let kept = second.kept.as_ref().unwrap();
    assert_ne!(*kept.saved.lock().unwrap(), Some(0), "the file was not read");
    compile_and_run(&second);
    drop(second);
    assert_eq!(files(&inside), found);
    assert!(read(&found[0]).is_some());
    assert!(written.starts_with(MAGIC));
}

#[test]
fn a_damaged_or_foreign_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let Some(first) = device(folder.path()) else { return };
    compile_and_run(&first);
    let file = files(folder.path()).remove(0);
    drop(first);
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    // The checksum is right and wgpu does not know what follows: another device's data.
    let foreign = [&MAGIC[..], &checksum(&[7; 100]).to_le_bytes(), &[7; 100]].concat();
    for bad in [Vec::new(), b"sfericP1".to_vec(), whole[..whole.len() / 2].to_vec(), flipped, foreign] {
        fs::write(&file, &bad).unwrap();
        let device = device(folder.path()).unwrap();
        compile_and_run(&device);
        drop(device);
        assert_eq!(files(folder.path()), std::slice::from_ref(&file));
        let data = read(&file).unwrap();
        assert_ne!(data, [7; 100]);
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_nobodys_problem() {
    let folder = tempfile::tempdir().unwrap();
    // A file in its place refuses everybody, root included.
    let place = folder.path().join("file");
    fs::write(&place, "in the way").unwrap();
    let Some(device) = device(&place) else { return };
    compile_and_run(&device);
    drop(device);
    assert_eq!(fs::read(&place).unwrap(), b"in the way");
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_keeps_what_it_has() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("read-only");
    fs::create_dir(&inside).unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o500)).unwrap();
    let Some(device) = device(&inside) else { return };
    compile_and_run(&device);
    drop(device);
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o700)).unwrap();
    // Root may write all the same; then the file is whole.
    assert!(files(&inside).iter().all(|file| read(file).is_some()));
}

#[test]
fn a_lost_device_takes_its_file_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let Some(device) = device(folder.path()) else { return };
    compile_and_run(&device);
    assert_eq!(files(folder.path()).len(), 1);
    device.device.destroy();
    drop(device);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn what_was_discarded_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(device) = device(folder.path()) else { return };
    compile_and_run(&device);
    device.discard_kept_pipelines();
    assert!(files(folder.path()).is_empty());
    compile_and_run(&device);
    drop(device);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn one_program_that_does_not_compile_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let Some(device) = device(folder.path()) else { return };
    let suite = SUITES.iter().find(|suite| suite.kernel == "norm/rms_norm").unwrap();
    let cases = (suite.cases)(&device.capabilities.limited_to(Features::BASE)).unwrap();
    let mut programs: Vec<_> = cases.iter().flat_map(|case| &case.steps).map(|step| step.launch.program.clone()).collect();
    let mut broken = (*programs[0]).clone();
    broken.name = "broken".into();
    broken.body.push_str("fn f() -> u32 { return 1.5; }");
    programs.insert(1, broken.into());
    match pollster::block_on(device.pipelines(&programs)) {
        Err(GpuError::Compile { program, .. }) => assert_eq!(program, "broken"),
        other => panic!("{:?}", other.map(|found| found.len())),
    }
}

#[test]
fn the_folder_follows_the_environment() {
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(choose(path("off"), path("/caches")), None);
    assert_eq!(choose(path("/named"), path("/caches")), path("/named"));
    assert_eq!(choose(None, path("/caches")), path("/caches/sferic/pipelines"));
    assert_eq!(choose(None, None), None);
    if cfg!(all(unix, not(target_os = "macos"))) {
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/a"));
        assert_eq!(caches(&home), path("/home/a/.cache"));
        let both = |name: &str| Some(PathBuf::from(if name == "HOME" { "/home/a" } else { "/x" }));
        assert_eq!(caches(&both), path("/x"));
        let relative = |name: &str| Some(PathBuf::from(if name == "HOME" { "/home/a" } else { "x" }));
        assert_eq!(caches(&relative), path("/home/a/.cache"));
    }
}
