//! Frames over real sockets, written by hand where the writer would not do it so.

use std::{
    fs::{self, File},
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    cmsg_space,
    net::{self, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use tokio::{net::UnixStream, time};

use super::super::{
    connection::pair,
    frame::{Frame, FrameError, FrameReader, FrameWriter, MAX_DESCRIPTORS, MAX_PAYLOAD_BYTES},
};

fn sockets() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = pair().unwrap();
    let theirs = std::os::unix::net::UnixStream::from(theirs);
    theirs.set_nonblocking(true).unwrap();
    (ours, UnixStream::from_std(theirs).unwrap())
}

fn to_tokio(socket: OwnedFd) -> UnixStream {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true).unwrap();
    UnixStream::from_std(socket).unwrap()
}

fn send(socket: &OwnedFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let sent = net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent.unwrap(), bytes.len());
}

fn header(payload: usize, descriptors: usize) -> Vec<u8> {
    [(payload as u32).to_le_bytes(), (descriptors as u32).to_le_bytes()].concat()
}

/// How many descriptors of this process are open on a file: other tests open others meanwhile.
fn open_on(file: &File) -> usize {
    let path = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
    let path = path.unwrap();
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter(|entry| {
            fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|link| link == path)
        })
        .count()
}

fn file() -> File {
    tempfile::tempfile().unwrap()
}

async fn next(reader: &mut FrameReader, socket: &UnixStream) -> Result<Option<Frame>, FrameError> {
    time::timeout(Duration::from_secs(20), reader.next(socket)).await.unwrap()
}

#[tokio::test]
async fn every_split_of_a_frame() {
    let file = file();
    let bytes = [header(3, 2), vec![0], b"abc".to_vec()].concat();
    for split in 1..bytes.len() {
        let (ours, theirs) = sockets();
        let mut reader = FrameReader::default();
        let both = [file.as_fd(), file.as_fd()];
        // With the part that has the byte of the batch: it is where the writer puts them.
        let (first, second): (&[_], &[_]) = if split > 8 { (&both, &[]) } else { (&[], &both) };
        send(&ours, &bytes[..split], first);
        let early = time::timeout(Duration::from_millis(2), reader.next(&theirs)).await;
        assert!(early.is_err(), "split at {split}: {early:?}");
        send(&ours, &bytes[split..], second);
        // A second frame, whose descriptors must not be taken for those of the first.
        send(&ours, &[header(1, 1), vec![0, b'x']].concat(), &[file.as_fd()]);
        drop(ours);
        let (payload, descriptors) = next(&mut reader, &theirs).await.unwrap().unwrap();
        assert_eq!((&payload[..], descriptors.len()), (&b"abc"[..], 2), "split at {split}");
        let (payload, descriptors) = next(&mut reader, &theirs).await.unwrap().unwrap();
        assert_eq!((&payload[..], descriptors.len()), (&b"x"[..], 1));
        for descriptor in &descriptors {
            let flags = rustix::io::fcntl_getfd(descriptor).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        assert!(next(&mut reader, &theirs).await.unwrap().is_none());
    }
    assert_eq!(open_on(&file), 1);
}

#[tokio::test]
async fn every_end_within_a_frame() {
    let file = file();
    let bytes = [header(3, 1), vec![0], b"abc".to_vec()].concat();
    for end in 1..bytes.len() {
        let (ours, theirs) = sockets();
        let mut reader = FrameReader::default();
        let descriptors: &[_] = if end > 8 { &[file.as_fd()] } else { &[] };
        send(&ours, &bytes[..end], descriptors);
        drop(ours);
        let read = next(&mut reader, &theirs).await;
        assert!(matches!(read, Err(FrameError::Truncated)), "end at {end}: {read:?}");
    }
    assert_eq!(open_on(&file), 1);
}

#[tokio::test]
async fn malformed_frames() {
    let file = file();
    let one: &[_] = &[file.as_fd()];
    let two: &[_] = &[file.as_fd(), file.as_fd()];
    for (bytes, descriptors, error) in [
        (header(MAX_PAYLOAD_BYTES + 1, 0), one, "a frame of 4194305 bytes exceeds the limit"),
        (header(0, MAX_DESCRIPTORS + 1), one, "a frame with 16385 descriptors exceeds the limit"),
        (b"GET / HTTP/1.1\r\n".to_vec(), one, "a frame of 542393671 bytes exceeds the limit"),
        ([header(1, 0), vec![b'x']].concat(), one, "announces 0 descriptors and carries 1"),
        ([header(1, 1), vec![0, b'x']].concat(), two, "announces 1 descriptors and carries 2"),
        ([header(1, 2), vec![0, b'x']].concat(), one, "announces 2 descriptors and carries 1"),
        ([header(1, 1), vec![7, b'x']].concat(), one, "byte 0x07 in place of a batch"),
    ] {
        let (ours, theirs) = sockets();
        send(&ours, &bytes, descriptors);
        let read = next(&mut FrameReader::default(), &theirs).await.unwrap_err().to_string();
        assert!(read.contains(error), "{read}");
    }
    assert_eq!(open_on(&file), 1);
}

#[tokio::test]
async fn large_frames_with_many_descriptors() {
    let file = file();
    let (ours, theirs) = sockets();
    let ours = to_tokio(ours);
    let payload = vec![7; MAX_PAYLOAD_BYTES];
    for count in [0, 1, 252, 253, 254, 5000] {
        let descriptors = vec![file.as_fd(); count];
        let mut reader = FrameReader::default();
        let (written, read) = tokio::join!(
            FrameWriter::write(&ours, &payload, &descriptors),
            next(&mut reader, &theirs)
        );
        written.unwrap();
        let (received, received_descriptors) = read.unwrap().unwrap();
        assert!(*received == payload);
        assert_eq!(received_descriptors.len(), count);
        assert_eq!(open_on(&file), 1 + count);
    }
    assert_eq!(open_on(&file), 1);
}

#[tokio::test]
async fn too_large_is_found_before_anything_is_written() {
    let file = file();
    let (ours, theirs) = sockets();
    let ours = to_tokio(ours);
    let payload = vec![7; MAX_PAYLOAD_BYTES + 1];
    let error = FrameWriter::write(&ours, &payload, &[]).await.unwrap_err();
    assert!(matches!(error, FrameError::TooLarge(_)));
    let descriptors = vec![file.as_fd(); MAX_DESCRIPTORS + 1];
    let error = FrameWriter::write(&ours, b"x", &descriptors).await.unwrap_err();
    assert!(matches!(error, FrameError::TooManyDescriptors(_)));
    drop(ours);
    assert!(next(&mut FrameReader::default(), &theirs).await.unwrap().is_none());
}

/// Runs the test below in a process of its own, whose limit of open files it reaches.
#[test]
fn descriptor_limit_of_the_receiver() {
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 100 && exec \"$0\" --ignored --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("upgrade::tests::frames::within_a_limit_of_100_open_files")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

#[tokio::test]
#[ignore = "needs a process of its own"]
async fn within_a_limit_of_100_open_files() {
    let file = file();
    let (ours, theirs) = sockets();
    send(&ours, &[header(1, 200), vec![0, b'x']].concat(), &[file.as_fd(); 200]);
    let read = next(&mut FrameReader::default(), &theirs).await;
    assert!(matches!(read, Err(FrameError::DescriptorLimit)), "{read:?}");
    assert_eq!(open_on(&file), 1);
}
