//! The program that an upgrade starts: which file it is, and whether it may be started.

use std::{
    env, fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

/// The mode bits that let any user execute a file.
const EXECUTABLE: u32 = 0o111;

/// The mode bits that let the group or others write to a file.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The kernel appends this to the path in `/proc/self/exe` once the file has been removed or
/// replaced (proc(5)), as a package upgrade does.
const DELETED: &[u8] = b" (deleted)";

/// The path that this process was started by, so that an upgrade finds what a package has since
/// installed there. An absolute first argument is preferred: it may be a symbolic link that now
/// points to another version.
///
/// Call it at the start: later, `/proc/self/exe` may name another file.
pub(super) fn own_path() -> Option<PathBuf> {
    let executed = fs::read_link("/proc/self/exe").ok()?;
    let named = env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute());
    let is_executed = |path: &PathBuf| fs::canonicalize(path).is_ok_and(|path| path == executed);
    named.filter(is_executed).or_else(|| Some(without_deleted(executed)))
}

fn without_deleted(path: PathBuf) -> PathBuf {
    let mut bytes = path.into_os_string().into_vec();
    if bytes.ends_with(DELETED) && !Path::new(std::ffi::OsStr::from_bytes(&bytes)).exists() {
        bytes.truncate(bytes.len() - DELETED.len());
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// Checks that `path` may be executed with the rights of this process.
///
/// # Errors
/// Why not, and what to do.
pub(super) fn check_file(path: &Path) -> Result<(), String> {
    let name = path.display();
    if !path.is_absolute() {
        return Err(format!("{name} is not an absolute path"));
    }
    let file = fs::metadata(path).map_err(|error| format!("cannot start {name}: {error}"))?;
    let mode = file.permissions().mode();
    if !file.is_file() {
        return Err(format!("{name} is not a regular file"));
    }
    if mode & EXECUTABLE == 0 {
        return Err(format!("{name} is not executable: set its mode to 0755"));
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "{name} can be written by its group or by other users, who could run any program with \
             the rights of this proxy: set its mode to 0755"
        ));
    }
    let owners = [0, geteuid().as_raw()];
    if !owners.contains(&file.uid()) {
        let uid = file.uid();
        return Err(format!(
            "{name} belongs to user {uid}, who could run any program with the rights of this \
             proxy: its owner has to be root or the user of this proxy"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    fn refusal(path: &Path) -> String {
        check_file(path).unwrap_err()
    }

    #[test]
    fn only_executables_that_no_other_user_can_write_are_allowed() {
        let (dir, path) = file(0o755);
        assert_eq!(check_file(&path), Ok(()));
        assert!(refusal(Path::new("program")).contains("not an absolute path"));
        assert!(refusal(dir.path()).contains("not a regular file"));
        assert!(refusal(&dir.path().join("missing")).contains("No such file"));
        for (mode, why) in [(0o644, "not executable"), (0o775, "written"), (0o757, "written")] {
            let (_dir, path) = file(mode);
            assert!(refusal(&path).contains(why), "{mode:o}");
        }
    }

    #[test]
    fn the_suffix_of_a_replaced_file_is_removed() {
        let (_dir, path) = file(0o755);
        let deleted = PathBuf::from(format!("{} (deleted)", path.display()));
        assert_eq!(without_deleted(deleted.clone()), path);
        assert_eq!(without_deleted(path.clone()), path);
        // A file that is really called so.
        fs::write(&deleted, "").unwrap();
        assert_eq!(without_deleted(deleted.clone()), deleted);
    }

    #[test]
    fn own_path_is_the_running_program() {
        assert!(own_path().is_some_and(|path| path.is_absolute() && path.exists()));
    }
}
