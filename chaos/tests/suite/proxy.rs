//! The proxy between nodes, in each of its modes, on real connections.

use std::time::{Duration, Instant};

use chaos::network::{Mode, Modes, Proxy, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::{sleep, timeout};

use crate::support::{folder, scheduling};

/// As good as never on a link that takes a millisecond.
const QUIET: Duration = Duration::from_millis(200);

/// Answers every byte with the same one.
async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut buffer = [0; 1_024];
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 || stream.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}

async fn proxy() -> Proxy {
    scheduling::shared();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    Proxy::start(Target::Tcp(target)).await.unwrap()
}

async fn connect(proxy: &Proxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends a byte and waits for its echo.
async fn ping(stream: &mut TcpStream) -> Duration {
    let started = Instant::now();
    stream.write_all(b"x").await.unwrap();
    let byte = timeout(Duration::from_secs(40), stream.read_u8()).await.unwrap().unwrap();
    assert_eq!(byte, b'x');
    started.elapsed()
}

#[tokio::test]
async fn bytes_pass_both_ways_and_so_does_the_end() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await;
    let large = vec![7_u8; 4 << 20];
    let (mut reads, mut writes) = stream.split();
    let mut back = vec![0; large.len()];
    let (sent, received) = tokio::join!(writes.write_all(&large), reads.read_exact(&mut back));
    sent.unwrap();
    received.unwrap();
    assert!(back == large);
    stream.shutdown().await.unwrap();
    assert_eq!(timeout(Duration::from_secs(40), stream.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_reset_ends_every_connection_of_then_and_none_that_follows() {
    let proxy = proxy().await;
    let mut before = Vec::new();
    for _ in 0..50 {
        let mut stream = connect(&proxy).await;
        ping(&mut stream).await;
        before.push(stream);
    }
    // Twice in a row: none is missed, however late its task looks.
    proxy.reset();
    proxy.reset();
    for mut stream in before {
        assert!(timeout(Duration::from_secs(40), stream.read_u8()).await.unwrap().is_err());
    }
    let mut after = connect(&proxy).await;
    ping(&mut after).await;
    ping(&mut after).await;
}

#[tokio::test]
async fn a_lossy_line_delays_and_sends_some_pieces_again() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    let delay = Duration::from_millis(10);
    proxy.set(Modes { forward: Mode::Lossy { delay, loss_pct: 50 }, backward: Mode::Pass });
    let mut took = Vec::new();
    for _ in 0..6 {
        took.push(ping(&mut stream).await);
    }
    assert!(took.iter().all(|took| *took >= delay), "{took:?}");
    assert!(took.iter().filter(|took| **took >= Duration::from_millis(200)).count() >= 3, "every other is sent again: {took:?}");
}

#[tokio::test]
async fn a_delay_is_latency_in_its_direction_not_less_bandwidth() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    let delay = Duration::from_millis(150);
    proxy.set(Modes { forward: Mode::Delay(delay), backward: Mode::Pass });
    let once = ping(&mut stream).await;
    assert!(once >= delay && once < delay * 2, "{once:?}");
    proxy.set(Modes::both(Mode::Delay(delay)));
    let twice = ping(&mut stream).await;
    assert!(twice >= delay * 2 && twice < delay * 4, "{twice:?}");
    // Ten bytes behind each other are late together.
    let started = Instant::now();
    for _ in 0..10 {
        stream.write_all(b"y").await.unwrap();
        sleep(Duration::from_millis(5)).await;
    }
    stream.read_exact(&mut [0; 10]).await.unwrap();
    assert!(started.elapsed() < delay * 4, "{:?}", started.elapsed());
    proxy.set(Modes::default());
    assert!(ping(&mut stream).await < delay);
}

#[tokio::test]
async fn a_black_hole_holds_what_is_sent_until_it_is_healed() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await;
    proxy.set(Modes::both(Mode::Blackhole));
    stream.write_all(b"held").await.unwrap();
    let mut buffer = [0; 4];
    assert!(timeout(QUIET, stream.read_exact(&mut buffer)).await.is_err(), "the connection stays open and silent");
    // Who comes now is accepted by the kernel, but hears nothing.
    let mut late = connect(&proxy).await;
    late.write_all(b"z").await.unwrap();
    assert!(timeout(QUIET, late.read_u8()).await.is_err());
    proxy.set(Modes::default());
    timeout(Duration::from_secs(40), stream.read_exact(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer, b"held");
    assert_eq!(timeout(Duration::from_secs(40), late.read_u8()).await.unwrap().unwrap(), b'z');
}

#[tokio::test]
async fn one_direction_can_be_silent_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(Target::Tcp(listener.local_addr().unwrap())).await.unwrap();
    let mut client = connect(&proxy).await;
    let (mut server, _) = listener.accept().await.unwrap();
    proxy.set(Modes { forward: Mode::Pass, backward: Mode::Blackhole });
    client.write_all(b"a").await.unwrap();
    assert_eq!(timeout(Duration::from_secs(40), server.read_u8()).await.unwrap().unwrap(), b'a');
    server.write_all(b"b").await.unwrap();
    assert!(timeout(QUIET, client.read_u8()).await.is_err());
    proxy.set(Modes { forward: Mode::Blackhole, backward: Mode::Pass });
    assert_eq!(timeout(Duration::from_secs(40), client.read_u8()).await.unwrap().unwrap(), b'b');
    client.write_all(b"c").await.unwrap();
    assert!(timeout(QUIET, server.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_cut_resets_what_is_open_refuses_what_comes_and_heals_on_the_same_port() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await;
    ping(&mut stream).await;
    proxy.set(Modes::both(Mode::Cut));
    let lost = timeout(Duration::from_secs(40), stream.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(lost.kind(), std::io::ErrorKind::ConnectionReset);
    let refused = async {
        while TcpStream::connect(proxy.address()).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(40), refused).await.unwrap();
    proxy.set(Modes::default());
    let mut stream = timeout(Duration::from_secs(40), async {
        loop {
            match TcpStream::connect(proxy.address()).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await
    .unwrap();
    ping(&mut stream).await;
}

#[tokio::test]
async fn a_target_that_is_not_there_ends_the_connection_and_may_be_a_unix_socket() {
    scheduling::shared();
    let folder = folder();
    let path = folder.path().join("socket");
    let proxy = Proxy::start(Target::Unix(path.clone())).await.unwrap();
    let mut early = connect(&proxy).await;
    assert!(timeout(Duration::from_secs(40), early.read_u8()).await.unwrap().is_err());
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    ping(&mut connect(&proxy).await).await;
}
