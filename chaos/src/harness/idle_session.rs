//! Sessions that hold a connection of PostgreSQL and ask nothing, as a forgotten client does.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::network::Target;

/// Version of the protocol, 3.0.
const PROTOCOL: u32 = 196_608;
/// SQLSTATE of a server that has no connection left.
const TOO_MANY: &str = "53300";
/// Time limit of a start.
const STARTED_WITHIN: Duration = Duration::from_secs(20);
/// Largest message of a start.
const MESSAGE_BYTES: u32 = 64 << 10;
/// Most messages of a start.
const MESSAGES: usize = 200;

/// A session; ended on drop.
#[derive(Debug)]
pub struct IdleSession {
    /// Open connection.
    _stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Tcp(#[allow(dead_code, reason = "held open")] TcpStream),
    Unix(#[allow(dead_code, reason = "held open")] UnixStream),
}

impl IdleSession {
    /// Opens a session of this user, who needs no password; `None` when the server has no connection left.
    ///
    /// # Errors
    /// The server refuses it for another reason, or does not answer.
    pub async fn open(target: &Target, user: &str, database: &str) -> Result<Option<Self>> {
        let start = async {
            let stream = match target {
                Target::Tcp(address) => {
                    let mut stream = TcpStream::connect(address).await?;
                    if !start(&mut stream, user, database).await? {
                        return Ok(None);
                    }
                    Stream::Tcp(stream)
                }
                Target::Unix(path) => {
                    let mut stream = UnixStream::connect(path).await?;
                    if !start(&mut stream, user, database).await? {
                        return Ok(None);
                    }
                    Stream::Unix(stream)
                }
            };
            anyhow::Ok(Some(Self { _stream: stream }))
        };
        timeout(STARTED_WITHIN, start).await.context("PostgreSQL does not answer")?
    }
}

/// Whether a session was granted; false: no connection is left.
async fn start(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), user: &str, database: &str) -> Result<bool> {
    stream.write_all(&start_message(user, database)).await?;
    for _ in 0..MESSAGES {
        let kind = stream.read_u8().await.context("PostgreSQL has closed the connection")?;
        let length = stream.read_u32().await?;
        ensure!((4..=MESSAGE_BYTES).contains(&length), "a message of {length} bytes from PostgreSQL");
        // At most MESSAGE_BYTES, so that it fits.
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await?;
        match kind {
            b'Z' => return Ok(true),
            b'E' => match error_code(&body) {
                Some(code) if code == TOO_MANY => return Ok(false),
                code => bail!("PostgreSQL refuses a session: {}", code.unwrap_or_else(|| "without a code".into())),
            },
            b'R' if body != [0; 4] => bail!("PostgreSQL asks for a password, which idle sessions do not have"),
            _ => {}
        }
    }
    bail!("PostgreSQL does not end the start of a session")
}

fn start_message(user: &str, database: &str) -> Vec<u8> {
    let mut body = PROTOCOL.to_be_bytes().to_vec();
    for text in ["user", user, "database", database, "application_name", "chaos"] {
        body.extend(text.bytes().chain([0]));
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

/// SQLSTATE of an error: the field `C`.
fn error_code(body: &[u8]) -> Option<String> {
    let field = body.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"))?;
    String::from_utf8(field.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_as_long_as_it_says() {
        let message = start_message("u", "d");
        assert_eq!(message[..4], u32::try_from(message.len()).unwrap().to_be_bytes());
        assert_eq!(message[4..8], [0, 3, 0, 0]);
        assert_eq!(&message[8..], b"user\0u\0database\0d\0application_name\0chaos\0\0");
    }

    #[tokio::test]
    async fn answers_of_a_server_are_told_apart() {
        let error = |code: &str| [format!("SFATAL\0C{code}\0Mno\0").as_bytes(), b"\0"].concat();
        let message = |kind: u8, body: &[u8]| [&[kind][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let granted = [message(b'R', &[0; 4]), message(b'S', b"a\0b\0"), message(b'Z', b"I")].concat();
        for (answer, wanted) in [
            (granted, Ok(true)),
            (message(b'E', &error("53300")), Ok(false)),
            (message(b'E', &error("28000")), Err("28000")),
            (message(b'R', &[0, 0, 0, 10]), Err("password")),
            (vec![b'S', 0xff, 0xff, 0xff, 0xff], Err("bytes")),
            (Vec::new(), Err("closed")),
        ] {
            let (mut near, mut far) = tokio::io::duplex(4_096);
            far.write_all(&answer).await.unwrap();
            far.shutdown().await.unwrap();
            match (start(&mut near, "u", "d").await, wanted) {
                (Ok(found), Ok(wanted)) => assert_eq!(found, wanted),
                (Err(error), Err(wanted)) => assert!(error.to_string().contains(wanted), "{error:#}"),
                (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
            }
        }
    }
}
