//! How the files that a configuration names are opened: none of them may block a reload, or fill the
//! memory.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

/// The largest file that is read as a whole: a CRL of a million certificates has some 40 MB.
const MAX_BYTES: u64 = 64 << 20;

/// Opens a regular file. A named pipe would wait for its other end, and a device may never end.
///
/// # Errors
/// It cannot be opened, or is something else.
pub(super) fn open_regular_file(path: &Path) -> io::Result<File> {
    // Before it is opened, as opening a named pipe waits for a writer.
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Reads a regular file as a whole.
///
/// # Errors
/// Why it cannot be read, as the end of a sentence that begins with its name.
pub(super) fn read_regular_file(path: &Path) -> Result<Vec<u8>, String> {
    let cannot_read = |error| format!("cannot be read: {error}");
    let file = open_regular_file(path).map_err(cannot_read)?;
    read(file, MAX_BYTES).map_err(cannot_read)
}

fn read(file: impl io::Read, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("it has more than {max_bytes} bytes")));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_regular_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for special in [folder.path(), &pipe, Path::new("/dev/zero"), Path::new("/dev/null")] {
            let wanted = Err("cannot be read: it is not a regular file".to_owned());
            assert_eq!(read_regular_file(special), wanted, "{}", special.display());
        }
        fs::write(&file, "text").unwrap();
        assert_eq!(read_regular_file(&file), Ok(b"text".to_vec()));
        let missing = read_regular_file(&folder.path().join("missing")).unwrap_err();
        assert!(missing.starts_with("cannot be read: No such file"), "{missing}");
    }

    #[test]
    fn a_file_is_read_up_to_a_limit() {
        assert_eq!(read(&b"1234"[..], 4).unwrap(), b"1234");
        let error = read(io::repeat(b'1'), 4).unwrap_err();
        assert_eq!(error.to_string(), "it has more than 4 bytes");
    }
}
