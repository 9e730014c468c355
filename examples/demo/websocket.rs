//! What stands between a client and the proxy with `--ws`: it takes MQTT and puts it into WebSocket
//! frames, so that clients need no WebSocket of their own.

use std::{
    io::Cursor,
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tungstenite::{
    ClientRequestBuilder,
    client::IntoClientRequest,
    handshake::client::generate_request,
    protocol::frame::{
        Frame, FrameHeader,
        coding::{Data, OpCode},
    },
};

/// What is sent in one frame at most.
const PIECE: usize = 4096;

/// Takes connections on the address that it returns, and opens a WebSocket at `proxy` for each.
pub(crate) async fn wrap(proxy: SocketAddr) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // A connection that fails here ends; the proxy says so in its log.
            tokio::spawn(carry(client, proxy));
        }
    });
    Ok(address)
}

async fn carry(client: TcpStream, proxy: SocketAddr) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(proxy).await?;
    client.set_nodelay(true)?;
    socket.set_nodelay(true)?;
    let frames = upgrade(&mut socket, proxy).await?;
    let (from_client, to_client) = client.into_split();
    let (from_proxy, to_proxy) = socket.into_split();
    tokio::try_join!(to_frames(from_client, to_proxy), from_frames(from_proxy, frames, to_client))?;
    Ok(())
}

/// Returns what was read behind the head of the answer.
async fn upgrade(socket: &mut TcpStream, proxy: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let request = ClientRequestBuilder::new(format!("ws://{proxy}/mqtt").parse()?);
    let request = request.with_sub_protocol("mqtt").into_client_request()?;
    socket.write_all(&generate_request(request)?.0).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            ensure!(answer.starts_with(b"HTTP/1.1 101 "), "no WebSocket");
            return Ok(answer.split_off(end + 4));
        }
        if socket.read_buf(&mut answer).await? == 0 {
            bail!("closed before its answer was whole");
        }
    }
}

async fn to_frames(mut client: OwnedReadHalf, mut proxy: OwnedWriteHalf) -> anyhow::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let n = client.read(&mut piece).await?;
        let mut frame = match n {
            0 => Frame::close(None),
            _ => Frame::message(piece[..n].to_vec(), OpCode::Data(Data::Binary), true),
        };
        frame.header_mut().mask = Some(fastrand::u32(..).to_ne_bytes());
        let mut bytes = Vec::new();
        frame.format(&mut bytes)?;
        proxy.write_all(&bytes).await?;
        if n == 0 {
            return Ok(());
        }
    }
}

async fn from_frames(
    mut proxy: OwnedReadHalf,
    mut frames: Vec<u8>,
    mut client: OwnedWriteHalf,
) -> anyhow::Result<()> {
    loop {
        let mut cursor = Cursor::new(&frames[..]);
        let header = FrameHeader::parse(&mut cursor)?;
        let begin = cursor.position() as usize;
        if let Some((header, len)) = header
            && let Some(payload) = frames.get(begin..begin + len as usize)
        {
            // The proxy has no reason to send Pings, and its Close is its end.
            if !matches!(header.opcode, OpCode::Data(_)) {
                return Ok(());
            }
            client.write_all(payload).await?;
            frames.drain(..begin + len as usize);
        } else if proxy.read_buf(&mut frames).await? == 0 {
            return Ok(());
        }
    }
}
