//! Echo servers and the probes that ask them: whether traffic gets through, as an application would find out.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::netns::Netns;

/// The port of every echo server.
pub const ECHO_PORT: u16 = 7;
/// How long a server blocks before it looks whether it should stop.
const TURN: Duration = Duration::from_millis(50);

/// TCP and UDP echo on addresses of one namespace, until dropped.
#[derive(Debug)]
pub struct EchoServer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl EchoServer {
    /// Starts to listen; it answers from the address it was asked at.
    #[must_use]
    pub fn start(netns: &Netns, addresses: &[IpAddr]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for &address in addresses {
            let address = SocketAddr::new(address, ECHO_PORT);
            // Bound before the threads start: who asks next is answered.
            let (tcp, udp) = netns.enter(|| (TcpListener::bind(address), UdpSocket::bind(address)));
            let tcp = tcp.unwrap_or_else(|error| panic!("TCP {address}: {error}"));
            let udp = udp.unwrap_or_else(|error| panic!("UDP {address}: {error}"));
            let (tcp_stop, udp_stop) = (stop.clone(), stop.clone());
            threads.push(thread::spawn(move || serve_tcp(&tcp, &tcp_stop)));
            threads.push(thread::spawn(move || serve_udp(&udp, &udp_stop)));
        }
        Self { stop, threads }
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Whether the socket has something to read, or a connection to accept, before it is time to look whether to stop.
pub(crate) fn readable(socket: &impl AsFd) -> bool {
    let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut waiting, PollTimeout::try_from(TURN).unwrap()).is_ok_and(|ready| ready > 0)
}

fn serve_tcp(listener: &TcpListener, stop: &Arc<AtomicBool>) {
    let mut connections = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if !readable(listener) {
            continue;
        }
        let Ok((mut stream, _)) = listener.accept() else { continue };
        let stop = stop.clone();
        connections.push(thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                if !readable(&stream) {
                    continue;
                }
                match stream.read(&mut buffer) {
                    Ok(length) if length > 0 && stream.write_all(&buffer[..length]).is_ok() => {}
                    _ => break,
                }
            }
        }));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

fn serve_udp(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = vec![0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if !readable(socket) {
            continue;
        }
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

/// Whether a TCP connection from the namespace is accepted and echoes within the time.
#[must_use]
pub fn tcp_echo(netns: &Netns, address: IpAddr, timeout: Duration) -> bool {
    TcpProbe::connect(netns, address, timeout).is_some_and(|mut probe| probe.echo(timeout))
}

/// Whether a UDP datagram from the namespace comes back within the time; it is sent once a quarter of it.
#[must_use]
pub fn udp_echo(netns: &Netns, address: IpAddr, timeout: Duration) -> bool {
    let socket = netns.enter(|| UdpSocket::bind(any(address)).unwrap());
    let _ = socket.connect(SocketAddr::new(address, ECHO_PORT));
    socket.set_read_timeout(Some(timeout / 4)).unwrap();
    let deadline = Instant::now() + timeout;
    let mut buffer = [0; 64];
    while Instant::now() < deadline {
        let _ = socket.send(b"weir");
        if socket.recv(&mut buffer).is_ok_and(|length| &buffer[..length] == b"weir") {
            return true;
        }
    }
    false
}

/// An open TCP connection to an echo server, to see when it is cut.
#[derive(Debug)]
pub struct TcpProbe {
    stream: TcpStream,
    turn: u32,
}

impl TcpProbe {
    /// Connects; `None` if it is not accepted within the time.
    #[must_use]
    pub fn connect(netns: &Netns, address: IpAddr, timeout: Duration) -> Option<Self> {
        let address = SocketAddr::new(address, ECHO_PORT);
        let stream = netns.enter(|| TcpStream::connect_timeout(&address, timeout)).ok()?;
        stream.set_nodelay(true).unwrap();
        Some(Self { stream, turn: 0 })
    }

    /// Whether the connection still echoes within the time. An answer to an earlier question does not count.
    #[must_use]
    pub fn echo(&mut self, timeout: Duration) -> bool {
        self.turn += 1;
        let question = self.turn.to_be_bytes();
        if self.stream.write_all(&question).is_err() {
            return false;
        }
        let deadline = Instant::now() + timeout;
        let mut answer = [0; 4];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read_exact(&mut answer) {
                Ok(()) if answer == question => return true,
                Ok(()) => {}
                Err(_) => return false,
            }
        }
    }
}

fn any(address: IpAddr) -> SocketAddr {
    SocketAddr::new(if address.is_ipv4() { [0; 4].into() } else { [0_u8; 16].into() }, 0)
}
